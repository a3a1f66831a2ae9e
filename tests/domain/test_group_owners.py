"""Does anyone come to manage a group's members by less than managing them? (security 2.2)."""

from __future__ import annotations

from datetime import timedelta, timezone

import pytest
from msgspec import structs

from domain.access import Narrowing
from domain.errors import Dependent, Requirement
from domain.groups import AddMember, ChangeMembership, DeleteGroup, MembershipChanged
from domain.ids import MAIN, RoleId
from domain.permissions import from_lists
from domain.principals import MemberAdded
from domain.service_accounts import EnableServiceAccount, ServiceAccountDisabled
from tests.domain.token_world import ISSUE
from tests.domain.world import (
    BOT,
    BOTS,
    CAL,
    DAN,
    LATER,
    OPERATOR,
    SOON,
    SPARE,
    WORLD,
    bound,
    member,
    role,
)
from tests.spec import History

KEEPER = RoleId("rol_keeper")
ADD = AddMember(tenant=MAIN, group=BOTS, principal=DAN, default_binding=SPARE, level="OWNER")
PROMOTE = ChangeMembership(tenant=MAIN, group=BOTS, principal=BOT, level="OWNER")
OWNED = WORLD.and_then(MembershipChanged(tenant=MAIN, group=BOTS, principal=BOT, level="OWNER"))


def allowed(world: History, lists: dict[str, list[str]]) -> History:
    """Answer the history in which DAN may do this besides."""
    return world.and_then(role(KEEPER, from_lists(lists)), bound(DAN, KEEPER))


@pytest.mark.parametrize(("command", "action"), [(ADD, "CREATE"), (PROMOTE, "UPDATE")])
def test_add_member_or_change_membership_by_one_legacy_permission_makes_no_owner(
    command: AddMember | ChangeMembership, action: str
) -> None:
    """Kestra-iam 5.6: an owner adds, changes and removes, which is more than any one of them."""
    world = allowed(WORLD, {"GROUP_MEMBERSHIP": [action]})

    refusal = world.when(command, by=DAN).refuses("group.escalation")
    assert (Requirement("GROUP", "MANAGE_MEMBERS"),) == refusal.required
    plain = world.and_then(member(BOTS, BOT, "OWNER"))
    assert plain.when(structs.replace(command, level="MEMBER"), by=DAN).events


@pytest.mark.parametrize("command", [ADD, PROMOTE])
def test_add_member_or_change_membership_by_one_who_manages_members_makes_an_owner(
    command: AddMember | ChangeMembership,
) -> None:
    """Kestra-iam 5.3: by the permission, by all three of generation 1, or as an owner."""
    legacy = allowed(WORLD, {"GROUP_MEMBERSHIP": ["CREATE", "UPDATE", "DELETE"]})
    by_owner = WORLD.and_then(member(BOTS, CAL, "OWNER"))

    assert WORLD.when(command, by=CAL).events
    assert legacy.when(command, by=DAN).events
    assert by_owner.when(command, by=CAL).events


def test_issue_token_of_an_owner_of_a_group_by_one_who_manages_no_members_is_refused() -> None:
    """Kestra-iam 5.6: the token would carry the owner's power over the group."""
    lists = {"SERVICE_ACCOUNT": ["UPDATE"]}
    flows = structs.replace(ISSUE, narrowing=Narrowing(permissions=from_lists({"FLOW": ["*"]})))

    refusal = allowed(OWNED, lists).when(ISSUE, by=DAN).refuses("token.escalation")

    assert (Requirement("GROUP", "MANAGE_MEMBERS"),) == refusal.required
    assert allowed(WORLD, lists).when(ISSUE, by=DAN).events
    assert allowed(OWNED, lists).when(flows, by=DAN).events
    assert OWNED.when(ISSUE, by=CAL).events


def test_enable_service_account_that_owns_a_group_needs_the_same() -> None:
    """Security 2.2: enabling wakes what the account may do, also with its groups."""
    command = EnableServiceAccount(tenant=MAIN, id=BOT)
    off = allowed(OWNED, {"SERVICE_ACCOUNT": ["UPDATE"]}).and_then(ServiceAccountDisabled(id=BOT))

    off.when(command, by=DAN).refuses("service_account.escalation")
    assert off.when(command, by=CAL).events


def test_add_member_keeps_its_span_in_utc() -> None:
    """Kestra-iam 2.4: an instant is answered with Z, in whatever zone it was sent."""
    there = timezone(timedelta(hours=-7))
    command = structs.replace(
        ADD, not_before=SOON.astimezone(there), expires_at=LATER.astimezone(there)
    )

    (added,) = WORLD.when(command, by=CAL).events

    assert isinstance(added, MemberAdded)
    assert (str(SOON), str(LATER)) == (str(added.not_before), str(added.expires_at))


def test_delete_group_in_use_names_bindings_only_to_one_who_may_see_them() -> None:
    """Security 2.12: dependents hold only what the caller's right to list or view covers."""
    command = DeleteGroup(tenant=MAIN, id=BOTS, if_unused=True)
    world = WORLD.and_then(bound(BOTS, OPERATOR, id_="bnd_1"))
    blind = allowed(world, {"GROUP": ["DELETE"]})
    seeing = allowed(world, {"GROUP": ["DELETE"], "BINDING": ["VIEW"]})

    assert () == blind.when(command, by=DAN).refuses("group.in_use").dependents
    refusal = seeing.when(command, by=DAN).refuses("group.in_use")
    assert (Dependent("BINDING", "bnd_1"),) == refusal.dependents
