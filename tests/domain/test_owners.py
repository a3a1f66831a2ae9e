"""Who may give and take the privilege of an instance owner?"""

from __future__ import annotations

from domain.access import Narrowing
from domain.ids import MAIN, TokenId, UserId
from domain.owners import GrantInstanceOwner, RevokeInstanceOwner
from domain.principals import InstanceOwnerGranted, InstanceOwnerRevoked
from domain.users import UserCreated, UserDisabled
from tests.domain.world import (
    ADA,
    BOT,
    DAN,
    NEW,
    ROOT,
    WORLD,
    index,
    sealed,
    token,
)

TOKEN = TokenId("tok_root")
TWO = WORLD.and_then(InstanceOwnerGranted(principal=DAN))


def test_grant_instance_owner_is_recorded() -> None:
    """Kestra-iam 5.5: an instance owner makes another, of a user or a program."""
    WORLD.when(GrantInstanceOwner(principal=DAN), by=ROOT).then(InstanceOwnerGranted(principal=DAN))
    WORLD.when(GrantInstanceOwner(principal=BOT), by=ROOT).then(InstanceOwnerGranted(principal=BOT))


def test_grant_instance_owner_to_one_who_is_records_nothing() -> None:
    """There is nothing to do."""
    WORLD.when(GrantInstanceOwner(principal=ROOT), by=ROOT).records_nothing()


def test_grant_instance_owner_by_another_is_refused() -> None:
    """Security 2.2: no role gives the privilege, not even Admin."""
    WORLD.when(GrantInstanceOwner(principal=ADA), by=ADA).refuses("privilege.required")


def test_grant_instance_owner_with_a_narrowed_token_is_refused() -> None:
    """Kestra-iam 8: only a token that narrows nothing else holds what an owner holds."""
    bare = WORLD.and_then(token(TOKEN, ROOT, Narrowing()))
    one_tenant = WORLD.and_then(token(TOKEN, ROOT, Narrowing(instance_owner=True, tenants=(MAIN,))))
    whole = WORLD.and_then(token(TOKEN, ROOT, Narrowing(instance_owner=True)))
    plain = WORLD.and_then(token(TOKEN, ROOT))
    command = GrantInstanceOwner(principal=DAN)

    bare.when(command, by=ROOT, token=TOKEN).refuses("privilege.required")
    one_tenant.when(command, by=ROOT, token=TOKEN).refuses("privilege.required")
    assert whole.when(command, by=ROOT, token=TOKEN).events
    assert plain.when(command, by=ROOT, token=TOKEN).events


def test_grant_instance_owner_to_an_unknown_principal_is_refused() -> None:
    """The privilege belongs to somebody who exists."""
    WORLD.when(GrantInstanceOwner(principal=UserId("usr_none")), by=ROOT).refuses(
        "principal.unknown"
    )


def test_revoke_instance_owner_is_recorded() -> None:
    """An owner demotes another, or itself while another stays."""
    TWO.when(RevokeInstanceOwner(principal=DAN), by=ROOT).then(InstanceOwnerRevoked(principal=DAN))
    TWO.when(RevokeInstanceOwner(principal=ROOT), by=ROOT).then(
        InstanceOwnerRevoked(principal=ROOT)
    )


def test_revoke_instance_owner_of_one_who_is_none_records_nothing() -> None:
    """There is nothing to do."""
    WORLD.when(RevokeInstanceOwner(principal=DAN), by=ROOT).records_nothing()


def test_revoke_instance_owner_by_another_is_refused() -> None:
    """No role takes the privilege."""
    WORLD.when(RevokeInstanceOwner(principal=ROOT), by=ADA).refuses("privilege.required")


def test_revoke_instance_owner_of_the_last_is_refused() -> None:
    """Security 2.6: one enabled owner who can sign in stays."""
    WORLD.when(RevokeInstanceOwner(principal=ROOT), by=ROOT).refuses("owner.last")


def test_revoke_instance_owner_where_the_others_cannot_sign_in_is_refused() -> None:
    """Security 2.6: a program, a disabled user and one without a password do not count."""
    lame = WORLD.and_then(
        InstanceOwnerGranted(principal=BOT),
        InstanceOwnerGranted(principal=DAN),
        UserDisabled(id=DAN),
        UserCreated(id=NEW, email=sealed("new"), email_index=index("new")),
        InstanceOwnerGranted(principal=NEW),
    )

    lame.when(RevokeInstanceOwner(principal=ROOT), by=ROOT).refuses("owner.last")
    for other in (BOT, DAN, NEW):
        lame.when(RevokeInstanceOwner(principal=other), by=ROOT).then(
            InstanceOwnerRevoked(principal=other)
        )
