"""Who may be erased, by whom, and does no decision of the past depend on it?"""

from __future__ import annotations

from typing import Final

import pytest

from domain.access import Narrowing
from domain.erasures import EraseUser, UserErased
from domain.ids import MAIN, BindingId, TokenId, UserId
from domain.principals import (
    BindingDeleted,
    InstanceOwnerGranted,
    InstanceOwnerRevoked,
    TenantAccessEnded,
    TokenRevoked,
)
from domain.state import State
from domain.users import CreateUser, UserDeleted
from tests.domain.world import (
    ADA,
    BOT,
    DAN,
    OPERATOR,
    ROOT,
    WORLD,
    bound,
    index,
    sealed,
    token,
)

TOKEN: Final = TokenId("tok_dan")
WHY: Final = "Dan asked for it"


def test_erase_user_ends_all_that_it_holds_and_says_so_last() -> None:
    """Transparency-log 5: a user who is still there is deleted, and then erased."""
    world = WORLD.and_then(
        InstanceOwnerGranted(principal=DAN),
        bound(DAN, OPERATOR, id_="bnd_1"),
        token(TOKEN, DAN),
    )

    world.when(EraseUser(id=DAN), by=ROOT, reason=WHY).then(
        TokenRevoked(id=TOKEN),
        BindingDeleted(tenant=MAIN, id=BindingId("bnd_1")),
        TenantAccessEnded(tenant=MAIN, principal=DAN),
        InstanceOwnerRevoked(principal=DAN),
        UserDeleted(id=DAN),
        UserErased(id=DAN),
    )


def test_erase_user_who_was_deleted_before_is_recorded() -> None:
    """Whoever has left may ask to be forgotten."""
    left = WORLD.and_then(TenantAccessEnded(tenant=MAIN, principal=DAN), UserDeleted(id=DAN))

    left.when(EraseUser(id=DAN), by=ROOT, reason=WHY).then(UserErased(id=DAN))


def test_erase_user_twice_records_nothing() -> None:
    """What is gone is gone, with or without a reason."""
    erased = WORLD.and_then(UserDeleted(id=DAN), UserErased(id=DAN))

    erased.when(EraseUser(id=DAN), by=ROOT).records_nothing()


@pytest.mark.parametrize("nobody", [UserId("usr_never"), UserId(BOT)])
def test_erase_user_whom_nobody_knew_is_refused(nobody: UserId) -> None:
    """Neither one who never was nor a service account is a person."""
    WORLD.when(EraseUser(id=nobody), by=ROOT, reason=WHY).refuses("user.unknown")


def test_erase_user_without_a_reason_is_refused() -> None:
    """Cli 6: what cannot be undone is explained."""
    WORLD.when(EraseUser(id=DAN), by=ROOT).refuses("reason.required")


def test_erase_user_who_is_the_last_owner_is_refused() -> None:
    """Security 2.6: one owner who can sign in stays."""
    WORLD.when(EraseUser(id=ROOT), by=ROOT, reason=WHY).refuses("owner.last")


def test_erase_user_is_the_unbounded_owners() -> None:
    """Security 2.2: neither Admin nor a narrowed token of an owner erases anybody."""
    narrow = WORLD.and_then(token(TOKEN, ROOT, Narrowing(instance_owner=True, tenants=(MAIN,))))

    WORLD.when(EraseUser(id=DAN), by=ADA, reason=WHY).refuses("privilege.required")
    narrow.when(EraseUser(id=DAN), by=ROOT, token=TOKEN, reason=WHY).refuses("privilege.required")


def test_erase_user_frees_the_email_and_keeps_who_was_erased() -> None:
    """Transparency-log 5: the entry of the blind index is dropped; the id stays known."""
    email = WORLD.state.users[DAN].email_index
    erased = WORLD.and_then(UserDeleted(id=DAN), UserErased(id=DAN))

    assert email not in erased.state.emails
    assert erased.state.erased_users[DAN] == erased.state.position
    assert DAN not in erased.state.former_users
    again = CreateUser(id=UserId("usr_2"), email=sealed("dan"), email_index=index("dan"))
    assert erased.when(again, by=ROOT).events


def test_former_users_are_known_until_they_are_erased() -> None:
    """A deleted user is told from one who never was."""
    left = WORLD.and_then(UserDeleted(id=DAN))

    assert left.state.former_users[DAN] == left.state.position
    assert DAN not in left.state.erased_users


def test_no_rule_looks_at_what_was_erased() -> None:
    """Design 3: beside who is known to be erased, the event changes nothing that is folded."""
    left = WORLD.and_then(UserDeleted(id=DAN))
    erased = left.and_then(UserErased(id=DAN))

    changed = {
        name
        for name in State.__struct_fields__
        if getattr(left.state, name) != getattr(erased.state, name)
    }
    assert changed == {"position", "former_users", "erased_users"}
