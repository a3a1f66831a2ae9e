"""Can a caller of one tenant change or learn anything of another? (security 2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from msgspec import UNSET, Struct, UnsetType, structs

from domain import bindings, commands, groups, principals, tenants
from domain.access import Narrowing
from domain.commands import Expectation
from domain.errors import DomainError, NotFoundError
from domain.ids import MAIN, TokenId, UserId
from domain.service_accounts import ServiceAccountDisabled
from tests.domain.campaign import Campaign
from tests.domain.makers import MAKERS
from tests.domain.world import (
    ADA,
    BETA,
    BETA_ROLE,
    BOTS,
    CREW,
    DAN,
    DRONE,
    EVE,
    SHARED,
    SPARE,
    WORLD,
    alias,
    bound,
    managed,
    member,
    token,
)
from tests.spec import History, context

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.commands import Command, Context
    from domain.groups import Group
    from domain.ids import GroupId
    from domain.state import State

T = TypeVar("T")
THEIRS = WORLD.and_then(
    bound(CREW, BETA_ROLE, tenant=BETA, id_="bnd_theirs"),
    member(CREW, DRONE, "OWNER", tenant=BETA),
    bound(DRONE, BETA_ROLE, tenant=BETA),
    token(TokenId("tok_drone"), DRONE),
    token(TokenId("tok_theirs"), SHARED, Narrowing(tenants=(BETA,))),
    bound(SHARED, BETA_ROLE, tenant=BETA),
    alias(SHARED, "identity", "4711", tenant=BETA),
    alias(DRONE, "identity", "0815", tenant=BETA),
    alias(EVE, "user", "eve", tenant=BETA),
)
FOREIGN = (
    CREW,
    BETA_ROLE,
    managed(BETA, "Admin"),
    "bnd_theirs",
    DRONE,
    EVE,
    "tok_drone",
    "tok_theirs",
    BETA,
)


def view_of(state: State) -> dict[str, Any]:
    """Answer everything that belongs to the tenant beta."""
    return {
        "tenants": state.tenants[BETA],
        "groups": {one for one in state.groups.values() if one.tenant == BETA},
        "roles": {one for one in state.roles.values() if one.tenant == BETA},
        "bindings": {one for one in state.bindings.values() if one.tenant == BETA},
        "members": {
            one for held in state.members.values() for one in held.values() if one.tenant == BETA
        },
        "access": {id_ for id_, held in state.access.items() if BETA in held},
        "account": state.service_accounts.get(DRONE),
        "shared": state.service_accounts.get(SHARED),
        "user": state.users.get(EVE),
        "aliases": {
            one for held in state.aliases_of.values() for one in held.values() if one.tenant == BETA
        },
        "tokens": [state.tokens.get(id_) for id_ in ("tok_drone", "tok_theirs")],
        "default": state.default_roles.get(BETA),
        "words": state.vocabulary[BETA],
    }


def answer(history: History, command: Command, by: str, expects: Expectation | UnsetType) -> str:
    """Answer all that the caller is told: the refusal in full, or that it was accepted."""
    try:
        events = commands.decide(history.state, command, context(by, expects=expects))
    except DomainError as refusal:
        told = (refusal.code, refusal.detail, refusal.fields, refusal.required, refusal.dependents)
        return repr((type(refusal).__name__, told))
    return repr(events)


def renamed(value: T, old: str, new: str) -> T:
    """Answer the command with one id in the place of another, wherever it stands."""
    found: object = value
    if value == old:
        found = new
    elif isinstance(value, tuple):
        found = tuple(renamed(one, old, new) for one in value)
    elif isinstance(value, Struct):
        members = structs.asdict(value)
        found = structs.replace(
            value, **{name: renamed(one, old, new) for name, one in members.items()}
        )
    return cast("T", found)


def ids_in(value: object, state: State) -> set[str]:
    """Answer the ids in a command that stand for something that exists."""
    if isinstance(value, str):
        tables = (state.users, state.service_accounts, state.groups, state.roles)
        known = (*tables, state.bindings, state.tokens, state.tenants)
        return {value} if any(value in table for table in known) else set()
    members = structs.astuple(value) if isinstance(value, Struct) else value
    if not isinstance(members, tuple):
        return set()
    return {found for one in members for found in ids_in(one, state)}


def probes(seed: int, foreign: str) -> list[str]:
    """Answer the commands of ADA, Admin in main, that an id never made answers otherwise."""
    campaign = Campaign(seed)
    campaign.state = THEIRS.state
    unheard = foreign[:-1] + ("x" if foreign[-1] != "x" else "y")
    told: list[str] = []
    for make in MAKERS.values():
        command = make(campaign)
        for own in sorted(ids_in(command, THEIRS.state)):
            theirs, nobodys = renamed(command, own, foreign), renamed(command, own, unheard)
            if may_be_reached(theirs, foreign):
                continue
            for position in (UNSET, None, 0):
                first, second = (
                    answer(
                        THEIRS,
                        one,
                        ADA,
                        position if position is UNSET else Expectation(id_, position),
                    )
                    for one, id_ in ((theirs, foreign), (nobodys, unheard))
                )
                if first != second.replace(unheard, foreign):
                    told.append(f"{theirs}: {first} instead of {second}")
    return told


def may_be_reached(command: Command, foreign: str) -> bool:
    """Tell whether the contract lets an Admin name this principal, to give it access.

    Kestra-iam 5.6: who holds USER:CREATE gives access to any principal of the installation.
    """
    return foreign in (DRONE, EVE) and isinstance(command, REACHING)


REACHING = (
    groups.CreateGroup,
    groups.AddMember,
    groups.ReplaceGroups,
    bindings.AssignRole,
    bindings.AssignRoles,
    tenants.GrantTenantAccess,
)


@settings(max_examples=60)
@for_all(seed=st.integers(min_value=0), foreign=st.sampled_from(FOREIGN))
def test_a_foreign_id_answers_as_one_that_never_existed(seed: int, foreign: str) -> None:
    """Security 2.3: status, code, words and fields are equal, for every command."""
    assert [] == probes(seed, foreign)


@settings(max_examples=30)
@for_all(seed=st.integers(min_value=0, max_value=2**64))
def test_nobody_of_one_tenant_changes_another(seed: int) -> None:
    """Security 2.3: whatever main's Admin may do, beta stays as it was."""
    campaign = Campaign(seed)
    campaign.state = THEIRS.state
    before = view_of(campaign.state)
    for _ in range(60):
        command = MAKERS[campaign.pick(campaign.kinds)](campaign)
        foreign = campaign.pick(FOREIGN)
        for own in sorted(ids_in(command, campaign.state))[:2]:
            history = History(campaign.state, campaign.at)
            outcome = history.when(renamed(command, own, foreign), by=ADA)
            if isinstance(outcome.verdict, tuple):
                campaign.state = history.and_then(*outcome.events).state

    assert before == view_of(campaign.state)


def test_main_and_beta_are_both_changed_by_their_own() -> None:
    """The view of beta, which others leave alone, does change with beta."""
    off = THEIRS.and_then(ServiceAccountDisabled(id=DRONE)).state

    assert view_of(THEIRS.state) != view_of(off)


# Controls


def by_path_only(state: State, _: object, id_: GroupId) -> Group:
    """Find a group whatever tenant it is in."""
    found = state.groups.get(id_)
    if found is None:
        raise NotFoundError("group.unknown", f"no group {id_}")
    return found


def test_a_build_that_checks_the_path_only_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Security 2.3, the control: the tenant of the target counts, not that of the path."""
    monkeypatch.setattr(groups, "require", by_path_only)

    assert any(probes(seed, CREW) for seed in range(20))


def test_a_build_that_judges_if_match_first_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Security 2.3, the control: If-Match before existence tells that the object exists."""
    real = commands._DECIDE  # noqa: SLF001 the control plants a fault inside

    def expecting_first(kind: type) -> Callable[..., object]:
        def rule(state: State, command: Command, circumstances: Context) -> object:
            if circumstances.expects is not UNSET:
                commands._require_expected(state, circumstances.expects)  # noqa: SLF001 as above
            return real[kind](state, command, circumstances)

        return rule

    monkeypatch.setattr(commands, "_DECIDE", {kind: expecting_first(kind) for kind in real})

    assert any(probes(seed, CREW) for seed in range(20))


def test_a_build_that_names_strangers_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Security 2.3, the control: to one who gives no access, strangers are all alike."""
    monkeypatch.setattr(principals, "require_may_reach", lambda *_: None)
    owned = THEIRS.and_then(member(BOTS, DAN, "OWNER"))
    command = groups.AddMember(tenant=MAIN, group=BOTS, principal=EVE, default_binding=SPARE)

    theirs = answer(owned, command, DAN, UNSET)
    nobodys = answer(owned, structs.replace(command, principal=UserId("usr_none")), DAN, UNSET)
    assert theirs != nobodys.replace("usr_none", EVE)
