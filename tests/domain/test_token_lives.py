"""Are tokens rotated, disabled, revoked and prolonged as the rules say?"""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec import UNSET, structs

from domain.access import Narrowing
from domain.ids import MAIN, RoleId, TokenId
from domain.permissions import from_lists
from domain.principals import TokenRevoked
from domain.tokens import (
    DisableToken,
    EnableToken,
    ExtendToken,
    RevokeAllTokens,
    RevokeToken,
    RotateToken,
    TokenDisabled,
    TokenEnabled,
    TokenExtended,
)
from tests.domain.token_world import (
    DAY_SECONDS,
    HELD,
    ISSUE,
    ONE_TENANT,
    OPERATING,
    OWN,
    OWN_ISSUE,
    ROTATE,
    ROTATED,
    TOKEN,
)
from tests.domain.world import (
    ADA,
    BETA,
    BOT,
    CAL,
    DAN,
    DRONE,
    HOUR,
    LATER,
    NEW_TOKEN,
    ROOT,
    SHARED,
    SOON,
    WORLD,
    bound,
    digest_of,
    role,
    token,
)
from tests.fixed_inputs import START


def test_rotate_token_ends_the_old_after_its_grace() -> None:
    """Kestra-iam 8: the new one takes over, the old one dies at the end of grace."""
    HELD.when(ROTATE, by=CAL).then(ROTATED)


def test_rotate_token_inherits_all_and_prolongs_nothing() -> None:
    """Kestra-iam 8: same expiry for the new one, never a later one for the old."""
    ends = token(
        TOKEN,
        BOT,
        ONE_TENANT,
        expires_at=START + HOUR / 2,
        max_age_seconds=DAY_SECONDS,
        extended=True,
        allowed_addresses=("10.0.0.1",),
    )
    world = WORLD.and_then(ends)

    outcome = world.when(ROTATE, by=CAL)

    outcome.then(structs.replace(ROTATED, grace_until=START + HOUR / 2))
    after = world.and_then(*outcome.events).state
    new, old = after.tokens[NEW_TOKEN], after.tokens[TOKEN]
    inherited = ("owner", "name", "description", "expires_at", "max_age_seconds", "extended")
    for member_name in (*inherited, "narrowing", "allowed_addresses", "enabled"):
        assert getattr(old, member_name) == getattr(new, member_name)
    assert (TOKEN, NEW_TOKEN) == (new.rotated_from, old.rotated_to)
    assert START + HOUR / 2 == old.grace_until
    assert UNSET is new.rotated_to
    assert UNSET is new.grace_until


def test_rotate_token_twice_disabled_or_expired_is_refused() -> None:
    """Kestra-iam 8: only a live token that has no successor is rotated."""
    HELD.and_then(ROTATED).when(ROTATE, by=CAL).refuses("token.not_rotatable")
    HELD.and_then(TokenDisabled(id=TOKEN)).when(ROTATE, by=CAL).refuses("token.not_rotatable")
    over = WORLD.and_then(token(TOKEN, BOT, ONE_TENANT, expires_at=SOON)).later(SOON)
    over.when(ROTATE, by=CAL).refuses("token.not_rotatable")


@pytest.mark.parametrize("grace_seconds", [-1, 7 * DAY_SECONDS + 1])
def test_rotate_token_with_an_impossible_grace_is_refused(grace_seconds: int) -> None:
    """Kestra-iam 8: the grace is PT0S to P7D."""
    command = structs.replace(ROTATE, grace_seconds=grace_seconds)

    HELD.when(command, by=CAL).refuses("token.invalid")


def test_rotate_token_of_an_account_with_more_rights_is_refused() -> None:
    """Security 2.2: whoever gets the new secret acts with its owner's rights."""
    OPERATING.when(ROTATE, by=CAL).refuses("token.escalation")
    assert OPERATING.when(ROTATE, by=ADA).events


def test_rotate_token_with_a_narrowed_token_is_as_narrow() -> None:
    """Kestra-iam 8: a narrowed token does not get at the secret of a wider one."""
    world = WORLD.and_then(token(TOKEN, DAN), token(OWN, DAN, ONE_TENANT))
    command = structs.replace(ROTATE, tenant=UNSET, owner=DAN)

    world.when(command, by=DAN, token=OWN).refuses("token.escalation")
    assert world.when(structs.replace(command, id=OWN), by=DAN, token=OWN).events
    assert world.when(command, by=DAN, token=TOKEN).events


def test_disable_token_is_recorded_once() -> None:
    """A disabled token is refused from the next use on."""
    command = DisableToken(tenant=MAIN, owner=BOT, id=TOKEN)
    off = HELD.and_then(TokenDisabled(id=TOKEN))

    HELD.when(command, by=CAL).then(TokenDisabled(id=TOKEN))
    off.when(command, by=CAL).records_nothing()
    own = structs.replace(OWN_ISSUE, owner=BOT)
    off.when(own, by=BOT, token=TOKEN).refuses("token.disabled")


def test_enable_token_is_recorded_once() -> None:
    """A token comes back as it was."""
    command = EnableToken(tenant=MAIN, owner=BOT, id=TOKEN)
    off = HELD.and_then(TokenDisabled(id=TOKEN))

    off.when(command, by=CAL).then(TokenEnabled(id=TOKEN))
    HELD.when(command, by=CAL).records_nothing()


def test_enable_token_of_an_account_with_more_rights_is_refused() -> None:
    """Security 2.2: enabling is a way to give, whoever holds the secret."""
    off = OPERATING.and_then(TokenDisabled(id=TOKEN))
    command = EnableToken(tenant=MAIN, owner=BOT, id=TOKEN)

    off.when(command, by=CAL).refuses("token.escalation")
    assert off.when(command, by=ADA).events


def test_enable_token_with_a_narrowed_token_is_as_narrow() -> None:
    """Kestra-iam 8: a narrowed token does not wake a wider one."""
    world = WORLD.and_then(token(TOKEN, DAN), TokenDisabled(id=TOKEN), token(OWN, DAN, ONE_TENANT))

    world.when(EnableToken(owner=DAN, id=TOKEN), by=DAN, token=OWN).refuses("token.escalation")


def test_revoke_token_is_recorded() -> None:
    """A revoked token is refused, even by its digest known again."""
    command = RevokeToken(tenant=MAIN, owner=BOT, id=TOKEN)
    gone = HELD.and_then(TokenRevoked(id=TOKEN))

    HELD.when(command, by=CAL).then(TokenRevoked(id=TOKEN))
    gone.when(structs.replace(OWN_ISSUE, owner=BOT), by=BOT, token=TOKEN).refuses("token.revoked")
    assert TOKEN == gone.state.digests[digest_of(TOKEN)]
    assert TOKEN not in gone.state.tokens


def test_revoke_all_tokens_is_recorded() -> None:
    """Kestra-iam 8: all of one owner's tokens at once, and only those."""
    world = HELD.and_then(token(OWN, BOT, ONE_TENANT), token(TokenId("tok_dan"), DAN))

    outcome = world.when(RevokeAllTokens(tenant=MAIN, owner=BOT), by=CAL)

    assert {TokenRevoked(id=TOKEN), TokenRevoked(id=OWN)} == set(outcome.events)
    WORLD.when(RevokeAllTokens(tenant=MAIN, owner=BOT), by=CAL).records_nothing()
    world.when(RevokeAllTokens(owner=DAN), by=DAN).then(TokenRevoked(id=TokenId("tok_dan")))


@pytest.mark.parametrize("command", [RotateToken, DisableToken, EnableToken, RevokeToken])
def test_rotate_token_disable_enable_and_revoke_need_the_permission(
    command: type[RotateToken | DisableToken | EnableToken | RevokeToken],
) -> None:
    """RotateToken, DisableToken, EnableToken and RevokeToken: not without the permission."""
    by_tenant = command_of(command)

    HELD.when(by_tenant, by=DAN).refuses("permission.denied")
    HELD.when(structs.replace(by_tenant, tenant=UNSET), by=ADA).refuses("privilege.required")
    assert not isinstance(HELD.when(by_tenant, by=CAL).verdict, Exception)


@pytest.mark.parametrize("command", [RotateToken, DisableToken, EnableToken, RevokeToken])
def test_rotate_token_disable_enable_and_revoke_refuse_foreign_tokens_alike(
    command: type[RotateToken | DisableToken | EnableToken | RevokeToken],
) -> None:
    """Security 2.3: another's token and another tenant's answer as one that never existed."""
    world = WORLD.and_then(
        token(TokenId("tok_dan"), DAN), token(TOKEN, SHARED, Narrowing(tenants=(BETA,)))
    )
    of_shared = structs.replace(command_of(command), owner=SHARED)

    for id_ in (TOKEN, TokenId("tok_dan"), TokenId("tok_none")):
        outcome = world.when(structs.replace(of_shared, id=id_), by=ADA)
        assert f"no token {id_}" == outcome.refuses("token.unknown").detail


@pytest.mark.parametrize("command", [RotateToken, DisableToken, EnableToken, RevokeToken])
def test_rotate_token_disable_enable_and_revoke_of_one_that_works_elsewhere_are_the_owners(
    command: type[RotateToken | DisableToken | EnableToken | RevokeToken],
) -> None:
    """Kestra-iam 5.6: a tenant route touches a shared account only as far as the tenant goes."""
    wide = WORLD.and_then(token(TOKEN, SHARED))
    narrow = WORLD.and_then(token(TOKEN, SHARED, ONE_TENANT))
    of_shared = structs.replace(command_of(command), owner=SHARED)

    wide.when(of_shared, by=ADA).refuses("service_account.shared")
    assert not isinstance(wide.when(of_shared, by=ROOT).verdict, Exception)
    assert not isinstance(narrow.when(of_shared, by=ADA).verdict, Exception)


def command_of(
    command: type[RotateToken | DisableToken | EnableToken | RevokeToken],
) -> RotateToken | DisableToken | EnableToken | RevokeToken:
    """Answer the command for the token of BOT by the tenant route."""
    if issubclass(command, RotateToken):
        return ROTATE
    return command(tenant=MAIN, owner=BOT, id=TOKEN)


def test_revoke_all_tokens_of_a_shared_account_leaves_other_tenants_alone() -> None:
    """Kestra-iam 5.6: tokens of another tenant stay, and one that works in both is the owner's."""
    theirs = token(OWN, SHARED, Narrowing(tenants=(BETA,)))
    world = WORLD.and_then(token(TOKEN, SHARED, ONE_TENANT), theirs)
    command = RevokeAllTokens(tenant=MAIN, owner=SHARED)

    world.when(command, by=ADA).then(TokenRevoked(id=TOKEN))
    both = world.and_then(token(TokenId("tok_both"), SHARED))
    both.when(command, by=ADA).refuses("service_account.shared")
    ended = {TokenRevoked(id=TOKEN), TokenRevoked(id=TokenId("tok_both"))}
    assert ended == set(both.when(command, by=ROOT).events)


@pytest.mark.parametrize("command", [DisableToken, RevokeToken, RevokeAllTokens])
def test_disable_token_and_revoke_by_a_token_of_one_tenant_leave_other_tenants_alone(
    command: type[DisableToken | RevokeToken | RevokeAllTokens],
) -> None:
    """Kestra-iam 5.6: a token got by a tenant route works in that tenant only, also on others."""
    made = WORLD.when(structs.replace(ISSUE, owner=SHARED), by=CAL).events
    theirs = token(OWN, SHARED, Narrowing(tenants=(BETA,)))
    world = WORLD.and_then(*made, token(TOKEN, SHARED, ONE_TENANT))
    shared = world.and_then(theirs)

    def by_own_route(id_: TokenId) -> DisableToken | RevokeToken | RevokeAllTokens:
        if issubclass(command, RevokeAllTokens):
            return command(owner=SHARED)
        return command(owner=SHARED, id=id_)

    shared.when(by_own_route(OWN), by=SHARED, token=NEW_TOKEN).refuses("token.escalation")
    assert world.when(by_own_route(TOKEN), by=SHARED, token=NEW_TOKEN).events
    assert shared.when(by_own_route(OWN), by=SHARED).events


def test_revoke_token_by_a_narrowed_one_of_an_owner_who_acts_nowhere_else_is_recorded() -> None:
    """Kestra-iam 5.6: nothing of another tenant is at stake, so a leaked token may be ended."""
    world = WORLD.and_then(token(TOKEN, DAN), token(OWN, DAN, ONE_TENANT))

    world.when(RevokeToken(owner=DAN, id=TOKEN), by=DAN, token=OWN).then(TokenRevoked(id=TOKEN))


def test_revoke_all_tokens_without_permission_is_refused() -> None:
    """Whoever lacks SERVICE_ACCOUNT:DELETE revokes none of an account's."""
    keeper = role(RoleId("rol_keeper"), from_lists({"SERVICE_ACCOUNT": ["UPDATE"]}))
    world = HELD.and_then(keeper, bound(DAN, keeper.id))

    world.when(RevokeAllTokens(tenant=MAIN, owner=BOT), by=DAN).refuses("permission.denied")
    world.when(RevokeToken(tenant=MAIN, owner=BOT, id=TOKEN), by=DAN).refuses("permission.denied")
    world.when(RevokeAllTokens(owner=BOT), by=ADA).refuses("privilege.required")
    foreign = RevokeAllTokens(tenant=MAIN, owner=DRONE)
    world.when(foreign, by=ADA).refuses("service_account.unknown")


EXTENDED = WORLD.and_then(
    token(
        TOKEN, BOT, max_age_seconds=DAY_SECONDS, extended=True, expires_at=START + timedelta(days=1)
    )
)
EXTEND = ExtendToken(owner=BOT, id=TOKEN)
USED = START + timedelta(hours=3)


def test_extend_token_moves_the_expiry_by_use() -> None:
    """Kestra-iam 6.2: use moves the expiry to use and maxAge."""
    EXTENDED.later(USED).when(EXTEND, by=BOT, token=TOKEN).then(
        TokenExtended(id=TOKEN, expires_at=USED + timedelta(days=1))
    )


def test_extend_token_too_soon_or_not_extended_records_nothing() -> None:
    """Kestra-iam 6.2: a move is written when a tenth of maxAge has passed, and only if asked."""
    soon = EXTENDED.later(START + timedelta(hours=2))
    plain = WORLD.and_then(token(TOKEN, BOT, max_age_seconds=DAY_SECONDS, expires_at=LATER))

    soon.when(EXTEND, by=BOT, token=TOKEN).records_nothing()
    plain.when(EXTEND, by=BOT, token=TOKEN).records_nothing()


def test_extend_token_that_was_rotated_records_nothing() -> None:
    """Kestra-iam 8: the old token is never prolonged."""
    grace = structs.replace(ROTATED, grace_until=START + timedelta(hours=6))

    EXTENDED.and_then(grace).later(USED).when(EXTEND, by=BOT, token=TOKEN).records_nothing()


def test_extend_token_that_has_expired_is_refused() -> None:
    """Kestra-iam 6.2: an expired token is not used, so it does not come back."""
    over = EXTENDED.later(START + timedelta(days=1))

    over.when(EXTEND, by=BOT, token=TOKEN).refuses("token.expired")


def test_extend_token_by_other_means_is_refused() -> None:
    """Only the token's own use prolongs it: no session, no other token, no other principal."""
    world = EXTENDED.and_then(token(OWN, BOT)).later(USED)

    world.when(EXTEND, by=BOT).refuses("privilege.required")
    world.when(EXTEND, by=BOT, token=OWN).refuses("privilege.required")
    world.when(EXTEND, by=ADA).refuses("privilege.required")
    unknown = ExtendToken(owner=BOT, id=TokenId("tok_none"))
    world.when(unknown, by=ROOT).refuses("token.unknown")


def test_extend_token_of_one_long_expired_records_nothing() -> None:
    """An owner cannot bring an expired token back to life either."""
    over = EXTENDED.later(START + timedelta(days=9))

    over.when(EXTEND, by=ROOT).records_nothing()


def test_a_token_expires_at_the_instant_itself() -> None:
    """Kestra-iam 6.2: the end is not included."""
    own = structs.replace(OWN_ISSUE, owner=BOT)
    world = WORLD.and_then(token(TOKEN, BOT, expires_at=SOON))

    assert world.later(SOON - timedelta(seconds=1)).when(own, by=BOT, token=TOKEN).events
    world.later(SOON).when(own, by=BOT, token=TOKEN).refuses("token.expired")
