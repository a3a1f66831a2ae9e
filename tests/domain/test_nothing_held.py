"""Why does a subject that holds nothing hold nothing?"""

from __future__ import annotations

import pytest
from msgspec import UNSET

from domain.explaining import Code, why_nothing
from domain.ids import MAIN, SubjectId, UserId
from domain.service_accounts import ServiceAccountDisabled
from domain.state import evolve
from tests.domain.world import (
    BETA,
    BOT,
    BOTS,
    CREW,
    DAN,
    DRONE,
    EVE,
    LATER,
    NEW_ROLE,
    OPERATOR,
    SOON,
    WORLD,
    bound,
    role,
)
from tests.fixed_inputs import START
from tests.spec import facts

NOW = START.timestamp()


@pytest.mark.parametrize(
    ("subject", "code"),
    [
        (UserId("nobody"), "subject.unknown"),
        (BOT, "subject.disabled"),
        (EVE, "tenant.no_access"),
        (CREW, "tenant.no_access"),
        (DAN, "binding.none_in_scope"),
        (BOTS, "binding.outside_time"),
    ],
)
def test_the_first_condition_that_fails_is_told(subject: SubjectId, code: Code) -> None:
    """In the fixed order of explanations (authzen 6)."""
    later = bound(BOTS, OPERATOR, not_before=SOON, expires_at=LATER)
    state = evolve(WORLD.state, facts(WORLD.state, (ServiceAccountDisabled(id=BOT), later)))

    assert code == why_nothing(state, MAIN, subject, NOW)
    assert "subject.unknown" == why_nothing(state, BETA, UserId("nobody"), NOW)


def test_a_role_without_permissions_grants_nothing() -> None:
    """A binding in force of an empty role: the permission is what lacks."""
    events = (role(NEW_ROLE, ()), bound(DRONE, NEW_ROLE), bound(DAN, NEW_ROLE))
    state = evolve(WORLD.state, facts(WORLD.state, events))

    assert "permission.not_granted" == why_nothing(state, MAIN, DAN, NOW)
    assert "tenant.no_access" == why_nothing(state, MAIN, DRONE, NOW)
    assert UNSET is events[1].expires_at
