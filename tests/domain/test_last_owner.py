"""Can any sequence of commands leave the installation without an owner who can sign in?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from msgspec import UNSET

from domain import privilege
from domain.errors import ConflictError
from domain.owners import GrantInstanceOwner, RevokeInstanceOwner
from domain.users import (
    ChangeUser,
    CreateUser,
    DeleteUser,
    DisableUser,
    EnableUser,
    RemovePassword,
)
from tests.domain.campaign import Campaign
from tests.domain.makers import MAKERS
from tests.domain.world import DAN, ROOT, WORLD, user
from tests.spec import History

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.state import State

# Nothing but what makes and unmakes owners, so that there are few of them most of the time.
KINDS = (
    GrantInstanceOwner,
    RevokeInstanceOwner,
    RevokeInstanceOwner,
    ChangeUser,
    CreateUser,
    DisableUser,
    DisableUser,
    EnableUser,
    RemovePassword,
    DeleteUser,
    DeleteUser,
)


def owners_who_sign_in(state: State) -> list[str]:
    """Answer the enabled users with the privilege and a password."""
    return [
        one.id
        for one in state.users.values()
        if one.id in state.owners and one.enabled and one.password is not UNSET
    ]


def fewest_owners(seed: int, steps: int) -> int:
    """Answer the smallest number of owners who could sign in, over all the states of a run."""
    campaign = Campaign(seed, KINDS)
    fewest = len(owners_who_sign_in(campaign.state))
    for _ in range(steps):
        if not campaign.state.users:
            return 0
        command = MAKERS[campaign.pick(KINDS)](campaign)
        history = History(campaign.state, campaign.at)
        caller = campaign.pick([ROOT, *sorted(campaign.state.owners)])
        outcome = history.when(command, by=caller)
        if isinstance(outcome.verdict, tuple):
            campaign.state = history.and_then(*outcome.events).state
            fewest = min(fewest, len(owners_who_sign_in(campaign.state)))
    return fewest


@settings(max_examples=40)
@for_all(seed=st.integers(min_value=0, max_value=2**64))
def test_one_owner_who_can_sign_in_stays(seed: int) -> None:
    """Security 2.6: whatever owners do to one another and themselves, one stays."""
    assert 1 <= fewest_owners(seed, 60)


def test_runs_come_down_to_the_last_owner() -> None:
    """The property is not kept by never getting near."""
    assert 1 in {fewest_owners(seed, 60) for seed in range(10)}


def unguarded(*_: object) -> None:
    """Keep nobody."""


def guarded_by_number(state: State, _: object) -> None:
    """Count those who cannot sign in, too."""
    if len(state.owners) == 1:
        raise ConflictError("owner.last", "the last one")


@pytest.mark.parametrize("broken", [unguarded, guarded_by_number])
def test_a_broken_rule_is_caught(
    broken: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Security 2.6, the control: no rule, or one that counts those who cannot sign in."""
    monkeypatch.setattr(privilege, "require_other_owner", broken)

    assert 0 in {fewest_owners(seed, 60) for seed in range(20)}


def test_two_owners_who_remove_one_another_do_not_both_succeed() -> None:
    """Security 2.6: the second command is decided on the state that the first has left."""
    world = WORLD.and_then(*user(DAN, owner=True)[-1:])
    first = world.when(RevokeInstanceOwner(principal=DAN), by=ROOT)

    after = world.and_then(*first.events)

    after.when(RevokeInstanceOwner(principal=ROOT), by=DAN).refuses("privilege.required")
    after.when(DeleteUser(id=ROOT), by=ROOT).refuses("owner.last")
