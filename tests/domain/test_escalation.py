"""Can anyone give what they lack, by any road? (security 2.2)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from msgspec import Struct

from domain import access, groups, principals
from domain.aliases import SetAlias
from domain.bindings import AssignRole, AssignRoles
from domain.commands import Command
from domain.groups import AddMember, ReplaceGroups
from domain.owners import GrantInstanceOwner
from domain.principals import TenantAccessEnded
from domain.roles import ChangeRole
from domain.service_accounts import (
    ChangeServiceAccount,
    CreateServiceAccount,
    DisableServiceAccount,
    EnableServiceAccount,
)
from domain.tenants import EndTenantAccess, GrantTenantAccess
from domain.tokens import EnableToken, IssueToken, RotateToken
from domain.users import ChangeOwnPassword, ChangeUser
from tests.domain.campaign import Campaign
from tests.domain.makers import MAKERS, ROADS

if TYPE_CHECKING:
    from domain.commands import Context
    from domain.ids import PrincipalId, TenantId
    from domain.principals import Event, MemberAdded
    from domain.scopes import Scope
    from domain.state import Facts

# About 3,000 commands in a normal run; the same campaign is run for longer by hand.
CAMPAIGNS = 40
COMMANDS = 100


@settings(max_examples=CAMPAIGNS)
@for_all(seed=st.integers(min_value=0, max_value=2**64))
def test_nobody_gives_what_they_lack(seed: int) -> None:
    """Security 2.2: rights after lie within rights before and what the caller held."""
    assert [] == Campaign(seed).run(COMMANDS)


def test_every_command_takes_part() -> None:
    """Security 2.2: a command that no campaign gives would be a road nobody watches."""
    assert set(get_args(Command)) == set(MAKERS)
    assert set(ROADS) < set(MAKERS)


def test_campaigns_accept_commands_of_many_kinds() -> None:
    """The property is not kept by refusing everything."""
    campaigns = [Campaign(seed) for seed in range(10)]
    for campaign in campaigns:
        campaign.run(COMMANDS)

    assert 80 < sum(campaign.accepted for campaign in campaigns)


# Controls: one mutant for each road, each of which must be caught.


class Mutant(Struct, frozen=True):
    """A deliberately broken build: where a module looks for others, it finds broken ones."""

    replaced: dict[str, dict[str, Callable[..., object]]]
    kinds: tuple[type, ...]


def unjudged(*_: object, **__: object) -> None:
    """Refuse nothing."""


def anyone(*_: object, **__: object) -> bool:
    """Let everybody."""
    return True


def nobody(*_: object, **__: object) -> bool:
    """See nobody."""
    return False


def join_unless_owner(state: Facts, context: Context, added: MemberAdded) -> None:
    """Judge only those who do not own the group."""
    if not groups.owns(state, added.tenant, added.group, context):
        principals.require_may_join(state, context, added)


def end_access_alone(_: Facts, tenant: TenantId, principal: PrincipalId) -> tuple[Event, ...]:
    """Leave bindings and memberships where they are."""
    return (TenantAccessEnded(tenant=tenant, principal=principal),)


def holds_anywhere(rights: access.Rights, type_: str, action: str, _: Scope) -> bool:
    """Forget where a right is held."""
    needed = access.need(rights.facts, rights.tenant, type_, action)
    return rights.everything or any(mask & needed for mask in rights.masks.values())


def holds_beside_token(rights: access.Rights, type_: str, action: str, scope: Scope) -> bool:
    """Forget that the caller's token is narrowed."""
    needed = access.need(rights.facts, rights.tenant, type_, action)
    return rights.everything or access.evaluate(rights.masks, needed, *access.places(scope))


HANDS_OUT: dict[str, dict[str, Callable[..., object]]] = {
    "domain.tokens.escalation": {"require_may_give_all": unjudged}
}

MUTANTS = {
    "alias": Mutant({"domain.aliases.escalation": {"require_may_give_all": unjudged}}, (SetAlias,)),
    "alias by a narrowed token": Mutant(
        {"domain.aliases.access": {"is_narrowed": nobody}}, (SetAlias,)
    ),
    "binding": Mutant(
        {"domain.bindings.escalation": {"require_may_give_role": unjudged}},
        (AssignRole, AssignRoles),
    ),
    "scope moved upwards": Mutant(
        {"domain.access.Rights": {"holds": holds_anywhere}}, (AssignRole, AssignRoles)
    ),
    "narrowed caller": Mutant(
        {"domain.access.Rights": {"holds": holds_beside_token}}, (AddMember, AssignRole)
    ),
    "membership": Mutant(
        {"domain.principals.escalation": {"require_may_give_bindings": unjudged}},
        (AddMember, ReplaceGroups),
    ),
    "membership of an account": Mutant(
        {"domain.principals.escalation": {"require_may_give_bindings": unjudged}},
        (CreateServiceAccount, ChangeServiceAccount),
    ),
    "membership as group owner": Mutant(
        {"domain.groups.principals": {"require_may_join": join_unless_owner}}, (AddMember,)
    ),
    "role edit": Mutant({"domain.roles": {"_require_may_give": unjudged}}, (ChangeRole,)),
    "default role": Mutant(
        {"domain.principals.escalation": {"require_may_give_role": unjudged}},
        (GrantTenantAccess, EndTenantAccess),
    ),
    "token issue": Mutant(HANDS_OUT, (IssueToken,)),
    "token rotation": Mutant(HANDS_OUT, (RotateToken,)),
    "token enable": Mutant(HANDS_OUT, (EnableToken,)),
    "narrowed token widened": Mutant(
        {"domain.tokens.escalation": {"require_as_narrow": unjudged}},
        (IssueToken, RotateToken, EnableToken),
    ),
    "narrowed token to password": Mutant(
        {"domain.users.access": {"is_narrowed": nobody}}, (ChangeOwnPassword,)
    ),
    "tenant access": Mutant(
        {"domain.principals": {"end_access": end_access_alone}},
        (EndTenantAccess, GrantTenantAccess),
    ),
    "account enabled": Mutant(
        {"domain.service_accounts.escalation": {"require_may_give_all": unjudged}},
        (EnableServiceAccount, DisableServiceAccount),
    ),
    "password set by another": Mutant(
        {
            "domain.commands": {"require_owner": unjudged},
            "domain.users.escalation": {"require_may_give_all": unjudged},
        },
        (ChangeUser,),
    ),
    "instance owner": Mutant(
        {
            "domain.commands": {"require_owner": unjudged},
            "domain.privilege.access": {"is_unbounded_owner": anyone},
        },
        (GrantInstanceOwner,),
    ),
    "instance owner of an account": Mutant(
        {"domain.privilege.access": {"is_unbounded_owner": anyone}}, (ChangeServiceAccount,)
    ),
    "instance owner at birth": Mutant(
        {"domain.privilege.access": {"is_unbounded_owner": anyone}}, (CreateServiceAccount,)
    ),
}


def plant(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the build: in a module or class itself, or only as another module sees it."""
    for target, replacements in mutant.replaced.items():
        owner, _, name = target.rpartition(".")
        found = sys.modules.get(target) or getattr(sys.modules[owner], name)
        if target in sys.modules or isinstance(found, type):
            for attribute, broken in replacements.items():
                monkeypatch.setattr(found, attribute, broken)
        else:
            seen = SimpleNamespace(**{**vars(found), **replacements})
            monkeypatch.setattr(sys.modules[owner], name, seen)


def first_caught(kinds: tuple[type, ...]) -> int | None:
    """Answer the first seed with which commands of these kinds are caught escalating."""
    return next((seed for seed in range(20) if Campaign(seed, kinds).run(COMMANDS)), None)


@pytest.mark.parametrize("road", MUTANTS)
def test_a_broken_road_is_caught(road: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Security 2.2, the control: the same commands escalate on a broken build, and only there."""
    mutant = MUTANTS[road]

    with monkeypatch.context() as broken:
        plant(mutant, broken)
        seed = first_caught(mutant.kinds)

    assert seed is not None
    assert [] == Campaign(seed, mutant.kinds).run(COMMANDS)


def test_the_gate_alone_keeps_the_passwords_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Security 2.2: passwords are guarded twice, by the gate and by the rule."""
    mutant = MUTANTS["password set by another"]
    target = "domain.users.escalation"
    plant(Mutant({target: mutant.replaced[target]}, ()), monkeypatch)

    assert first_caught(mutant.kinds) is None
