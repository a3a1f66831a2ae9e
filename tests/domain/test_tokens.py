"""Are tokens issued as the rules say, never wider than their owner and their maker?"""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec import UNSET, structs

from domain.access import Narrowing
from domain.ids import MAIN, ServiceAccountId, TokenId, UserId
from domain.permissions import from_lists
from domain.principals import InstanceOwnerGranted
from domain.scopes import WHOLE_TENANT, Resource, Scope
from domain.tokens import (
    DisableToken,
    EnableToken,
    RevokeAllTokens,
    RevokeToken,
)
from domain.users import UserRestricted
from tests.domain.token_world import (
    DAY_SECONDS,
    ISSUE,
    ONE_TENANT,
    OPERATING,
    OWN,
    OWN_ISSUE,
    ROTATE,
    TOKEN,
)
from tests.domain.world import (
    ADA,
    BETA,
    BOT,
    BOTS,
    CAL,
    DAN,
    DRONE,
    MANAGER,
    NEW_TOKEN,
    NOWHERE,
    OPERATOR,
    PROD,
    RECORD,
    ROOT,
    SHARED,
    SOON,
    WORLD,
    bound,
    token,
)
from tests.fixed_inputs import START


def test_issue_token_by_a_tenant_route_keeps_it_in_that_tenant() -> None:
    """Kestra-iam 5.6: a token made through a tenant route works in that tenant only."""
    WORLD.when(ISSUE, by=CAL).then(token(NEW_TOKEN, BOT, ONE_TENANT))
    elsewhere = structs.replace(ISSUE, narrowing=Narrowing(namespaces=("prod",)))
    WORLD.when(elsewhere, by=CAL).then(
        token(NEW_TOKEN, BOT, Narrowing(tenants=(MAIN,), namespaces=("prod",)))
    )


def test_issue_token_by_an_instance_owner_is_wide() -> None:
    """Kestra-iam 5.6: an instance owner's token is not kept to the route's tenant."""
    WORLD.when(ISSUE, by=ROOT).then(token(NEW_TOKEN, BOT))
    WORLD.when(structs.replace(ISSUE, tenant=UNSET, owner=DAN), by=ROOT).then(token(NEW_TOKEN, DAN))


def test_issue_token_for_oneself_is_recorded_with_all_that_was_asked() -> None:
    """Kestra-iam 6.2: everybody makes tokens of its own, user or program."""
    narrowing = Narrowing(
        permissions=from_lists({"FLOW": ["READ"]}), resources=(Resource("record", "r-17"),)
    )
    command = structs.replace(
        OWN_ISSUE,
        description="prod",
        max_age_seconds=DAY_SECONDS,
        extended=True,
        narrowing=narrowing,
        allowed_addresses=("10.0.0.0/8", "2001:db8::/32", "127.0.0.1"),
    )

    WORLD.when(command, by=DAN).then(
        structs.replace(
            token(
                NEW_TOKEN,
                DAN,
                narrowing,
                expires_at=START + timedelta(days=1),
                max_age_seconds=DAY_SECONDS,
                extended=True,
                allowed_addresses=command.allowed_addresses,
            ),
            description="prod",
        )
    )
    WORLD.when(structs.replace(OWN_ISSUE, owner=BOT), by=BOT).then(token(NEW_TOKEN, BOT))


def test_issue_token_for_oneself_whose_rights_begin_later_is_recorded() -> None:
    """A token is judged at each use, so one's own token gives one nothing new."""
    world = WORLD.and_then(bound(DAN, OPERATOR, not_before=SOON))

    world.when(OWN_ISSUE, by=DAN).then(token(NEW_TOKEN, DAN))


def test_issue_token_without_an_age_never_extends() -> None:
    """Kestra-iam 6.2: without maxAge extended has no effect."""
    WORLD.when(structs.replace(OWN_ISSUE, extended=True), by=DAN).then(token(NEW_TOKEN, DAN))


def test_issue_token_for_another_is_refused() -> None:
    """Without the privilege one makes tokens of one's own, or of a tenant's accounts."""
    WORLD.when(OWN_ISSUE, by=ADA).refuses("privilege.required")
    WORLD.when(ISSUE, by=DAN).refuses("permission.denied")
    WORLD.when(ISSUE, by=BOT).refuses("permission.denied")


def test_issue_token_by_a_restricted_user_is_refused() -> None:
    """Kestra-iam 6.6: a restricted user makes no tokens, but may end those it has."""
    world = WORLD.and_then(UserRestricted(id=DAN), token(TOKEN, DAN))

    world.when(OWN_ISSUE, by=DAN).refuses("privilege.required")
    enable = EnableToken(owner=DAN, id=TOKEN)
    world.when(enable, by=DAN).refuses("privilege.required")
    rotate = structs.replace(ROTATE, tenant=UNSET, owner=DAN)
    world.when(rotate, by=DAN).refuses("privilege.required")
    assert world.when(DisableToken(owner=DAN, id=TOKEN), by=DAN).events
    assert world.when(RevokeToken(owner=DAN, id=TOKEN), by=DAN).events
    assert world.when(RevokeAllTokens(owner=DAN), by=DAN).events


def test_issue_token_of_an_account_with_more_rights_is_refused() -> None:
    """Security 2.2: whoever gets the token acts with its owner's rights, own and by group."""
    own = WORLD.and_then(bound(BOT, OPERATOR))
    grouped = WORLD.and_then(bound(BOTS, OPERATOR))
    later = WORLD.and_then(bound(BOT, OPERATOR, not_before=SOON))

    for world in (own, grouped, later):
        world.when(ISSUE, by=CAL).refuses("token.escalation")
        assert world.when(ISSUE, by=ADA).events


def test_issue_token_narrowed_to_what_the_caller_holds_is_recorded() -> None:
    """Kestra-iam 5.6: only the owner's rights that the token would carry are judged."""
    world = WORLD.and_then(bound(BOT, OPERATOR))
    harmless = Narrowing(permissions=from_lists({"GROUP": ["*"], "SECRET": ["VIEW"]}))
    harmful = Narrowing(permissions=from_lists({"FLOW": ["VIEW"]}))

    assert world.when(structs.replace(ISSUE, narrowing=harmless), by=CAL).events
    world.when(structs.replace(ISSUE, narrowing=harmful), by=CAL).refuses("token.escalation")


def test_issue_token_by_a_tenant_route_for_another_tenant_only_is_refused() -> None:
    """Kestra-iam 5.6: what was asked is never turned into a scope that was not."""
    command = structs.replace(ISSUE, narrowing=Narrowing(tenants=(BETA,)))
    both = structs.replace(ISSUE, narrowing=Narrowing(tenants=(BETA, MAIN)))
    world = WORLD.and_then(bound(SHARED, MANAGER))

    refusal = world.when(command, by=SHARED).refuses("token.invalid")
    assert ["scope.tenants"] == [fault.path for fault in refusal.fields]
    world.when(both, by=SHARED).then(token(NEW_TOKEN, BOT, ONE_TENANT))
    world.when(command, by=ROOT).then(token(NEW_TOKEN, BOT, Narrowing(tenants=(BETA,))))


IN_PROD = Narrowing(namespaces=("prod",))
ON_RECORD = Narrowing(resources=(Resource("record", "r-17"),))
ON_OTHER = Narrowing(resources=(Resource("record", "r-18"),))
DEV = Scope(namespace="dev")
BILLING = Scope(namespace="prod.billing")


@pytest.mark.parametrize(
    ("owners", "narrowing", "callers", "accepted"),
    [
        (WHOLE_TENANT, IN_PROD, PROD, True),
        (WHOLE_TENANT, IN_PROD, BILLING, False),
        (WHOLE_TENANT, IN_PROD, DEV, False),
        (BILLING, IN_PROD, BILLING, True),
        (BILLING, IN_PROD, DEV, False),
        (DEV, IN_PROD, RECORD, True),
        (RECORD, IN_PROD, RECORD, True),
        (RECORD, IN_PROD, PROD, False),
        (WHOLE_TENANT, ON_RECORD, RECORD, True),
        (WHOLE_TENANT, ON_RECORD, PROD, False),
        (PROD, ON_RECORD, PROD, True),
        (PROD, ON_RECORD, DEV, False),
        (RECORD, ON_OTHER, DEV, True),
    ],
)
def test_issue_token_narrowed_to_places_is_judged_there(
    owners: Scope, narrowing: Narrowing, callers: Scope, *, accepted: bool
) -> None:
    """Kestra-iam 5.6: what is left of the owner's rights at those places must be held there."""
    world = WORLD.and_then(bound(BOT, OPERATOR, owners), bound(CAL, OPERATOR, callers))

    outcome = world.when(structs.replace(ISSUE, narrowing=narrowing), by=CAL)

    assert accepted == isinstance(outcome.verdict, tuple)


def test_issue_token_of_an_instance_owner_is_refused_unless_it_leaves_that_out() -> None:
    """Security 2.2: the privilege is given by nobody but an instance owner."""
    world = WORLD.and_then(InstanceOwnerGranted(principal=BOT))
    asks = structs.replace(ISSUE, narrowing=Narrowing(instance_owner=True))

    world.when(asks, by=ADA).refuses("token.escalation")
    world.when(ISSUE, by=ADA).then(token(NEW_TOKEN, BOT, ONE_TENANT))


def test_issue_token_with_malformed_words_is_refused() -> None:
    """Every field that does not fit is named."""
    narrowing = Narrowing(
        permissions=from_lists({"no type": ["VIEW"]}),
        tenants=(NOWHERE,),
        namespaces=("a..b",),
        resources=(Resource("no type", ""),),
    )
    command = structs.replace(
        OWN_ISSUE,
        name="No",
        description="\x00",
        max_age_seconds=0,
        narrowing=narrowing,
        allowed_addresses=("10.0.0.1/8", "host", "fe80::1%eth0"),
    )

    refusal = WORLD.when(command, by=DAN).refuses("token.invalid")

    assert [
        "name",
        "description",
        "allowedAddresses[0]",
        "allowedAddresses[1]",
        "allowedAddresses[2]",
        "scope.permissions",
        "scope.namespaces",
        "scope.resources.type",
        "scope.resources.id",
        "scope.tenants",
        "maxAge",
    ] == [fault.path for fault in refusal.fields]


def test_issue_token_of_an_age_beyond_the_calendar_is_refused() -> None:
    """Security 6.6: no number makes the instant of expiry impossible to write."""
    command = structs.replace(OWN_ISSUE, max_age_seconds=999_999_999 * DAY_SECONDS)
    century = structs.replace(OWN_ISSUE, max_age_seconds=36_500 * DAY_SECONDS)

    WORLD.when(command, by=DAN).refuses("token.invalid")
    assert WORLD.when(century, by=DAN).events


def test_issue_token_for_a_tenant_that_the_caller_does_not_see_is_refused_alike() -> None:
    """Security 2.3: a foreign tenant answers as one that never existed."""
    answers = {
        WORLD.when(structs.replace(OWN_ISSUE, narrowing=Narrowing(tenants=(tenant,))), by=DAN)
        .refuses("token.invalid")
        .fields
        for tenant in (BETA, NOWHERE)
    }

    assert 1 == len(answers)


def test_issue_token_with_too_long_lists_is_refused() -> None:
    """Security 6.2: at most 50 addresses, and 50 places of a kind."""
    addresses = structs.replace(OWN_ISSUE, allowed_addresses=("10.0.0.1",) * 51)
    places = structs.replace(OWN_ISSUE, narrowing=Narrowing(namespaces=("prod",) * 51))

    for command in (addresses, places):
        refusal = WORLD.when(command, by=DAN).refuses("token.invalid")
        assert ["too_many"] == [fault.code for fault in refusal.fields]


def test_issue_token_beyond_the_limit_is_refused() -> None:
    """Security 6.2: an owner has at most 100 tokens."""
    full = WORLD.and_then(*(token(TokenId(f"tok_{n}"), DAN) for n in range(100)))

    full.when(OWN_ISSUE, by=DAN).refuses("token.too_many")
    rotate = structs.replace(ROTATE, tenant=UNSET, owner=DAN)
    full.when(rotate, by=DAN).refuses("token.too_many")


def test_issue_token_of_an_unknown_or_foreign_account_is_refused_alike() -> None:
    """Security 2.3: by a tenant route there are its service accounts and nobody else."""
    for owner in (DRONE, ServiceAccountId("sa_none"), DAN):
        refusal = WORLD.when(structs.replace(ISSUE, owner=owner), by=ADA)
        assert f"no service account {owner}" == refusal.refuses("service_account.unknown").detail
    unknown = structs.replace(OWN_ISSUE, owner=UserId("usr_none"))
    WORLD.when(unknown, by=ROOT).refuses("principal.unknown")


@pytest.mark.parametrize(
    "own",
    [
        Narrowing(),
        Narrowing(permissions=from_lists({"FLOW": ["READ"]}), instance_owner=True),
        Narrowing(namespaces=("prod",)),
        Narrowing(resources=(Resource("record", "r-17"),)),
        ONE_TENANT,
    ],
)
def test_issue_token_with_a_narrowed_token_is_as_narrow(own: Narrowing) -> None:
    """Kestra-iam 8: a token can only make tokens as narrow as itself."""
    world = WORLD.and_then(token(OWN, DAN, own))
    wider = structs.replace(OWN_ISSUE, narrowing=structs.replace(own, instance_owner=True))

    world.when(OWN_ISSUE, by=DAN, token=OWN).refuses("token.escalation")
    world.when(structs.replace(OWN_ISSUE, narrowing=own), by=DAN, token=OWN).then(
        token(NEW_TOKEN, DAN, own)
    )
    accepted = isinstance(world.when(wider, by=DAN, token=OWN).verdict, tuple)
    assert own.instance_owner == accepted


@pytest.mark.parametrize(
    ("own", "asked", "fits"),
    [
        ({"permissions": {"FLOW": ["*"]}}, {"permissions": {"FLOW": ["VIEW", "READ"]}}, True),
        ({"permissions": {"FLOW": ["VIEW"]}}, {"permissions": {"FLOW": ["READ"]}}, False),
        ({"permissions": {"FLOW": ["VIEW"]}}, {"permissions": {"*": ["VIEW"]}}, False),
        ({"permissions": {"FLOW": ["VIEW"]}}, {"namespaces": ("prod",)}, False),
        ({"namespaces": ("prod",)}, {"namespaces": ("prod.billing", "prod")}, True),
        ({"namespaces": ("prod",)}, {"namespaces": ("production",)}, False),
        ({"namespaces": ("prod.billing",)}, {"namespaces": ("prod",)}, False),
        ({"namespaces": ("prod",)}, {"resources": (Resource("record", "r-17"),)}, False),
        ({"resources": (Resource("a", "1"),)}, {"resources": (Resource("a", "1"),)}, True),
        ({"resources": (Resource("a", "1"),)}, {"resources": (Resource("a", "2"),)}, False),
        ({"resources": (Resource("a", "1"),)}, {"namespaces": ("prod",)}, False),
        ({"namespaces": ("prod",)}, {"tenants": (MAIN,)}, False),
        ({"tenants": (MAIN,)}, {"namespaces": ("prod",)}, False),
        ({"tenants": (MAIN, BETA)}, {"tenants": (MAIN,)}, True),
    ],
)
def test_issue_token_with_a_narrowed_token_compares_each_list(
    own: dict[str, object], asked: dict[str, object], *, fits: bool
) -> None:
    """Kestra-iam 8: every list of the new token lies within that of the old."""
    world = WORLD.and_then(token(OWN, SHARED, narrowing_of(own)))
    command = structs.replace(OWN_ISSUE, owner=SHARED, narrowing=narrowing_of(asked))

    outcome = world.when(command, by=SHARED, token=OWN)

    assert fits == isinstance(outcome.verdict, tuple)


def narrowing_of(members: dict[str, object]) -> Narrowing:
    """Answer a narrowing whose permissions are written as on the wire."""
    lists = members.get("permissions")
    permissions = from_lists(lists) if isinstance(lists, dict) else UNSET
    others = {name: value for name, value in members.items() if name != "permissions"}
    return structs.replace(Narrowing(permissions=permissions), **others)


def test_issue_token_with_a_token_for_some_addresses_is_for_no_others() -> None:
    """Kestra-iam 8: where a token may be used from narrows it too."""
    world = WORLD.and_then(token(OWN, DAN, allowed_addresses=("10.0.0.1", "10.0.0.2")))
    fewer = structs.replace(OWN_ISSUE, allowed_addresses=("10.0.0.2",))
    other = structs.replace(OWN_ISSUE, allowed_addresses=("10.0.0.3",))

    world.when(OWN_ISSUE, by=DAN, token=OWN).refuses("token.escalation")
    world.when(other, by=DAN, token=OWN).refuses("token.escalation")
    assert world.when(fewer, by=DAN, token=OWN).events


def test_issue_token_of_another_with_a_narrowed_token_is_as_narrow() -> None:
    """Security 2.2: a narrowed token is no way round by somebody else's token."""
    own = Narrowing(permissions=from_lists({"SERVICE_ACCOUNT": ["*"]}))
    world = OPERATING.and_then(token(OWN, ADA, own))
    narrow = structs.replace(ISSUE, narrowing=own)

    world.when(ISSUE, by=ADA, token=OWN).refuses("token.escalation")
    world.when(narrow, by=ADA, token=OWN).then(
        token(NEW_TOKEN, BOT, structs.replace(own, tenants=(MAIN,)))
    )
