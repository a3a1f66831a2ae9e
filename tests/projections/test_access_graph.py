"""Does the live graph answer as the rules say, at every head, and keep no more than it should?"""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import UNSET, Struct

from domain import principals, roles, service_accounts, tenants, users
from domain.events import decode
from domain.groups import GroupDeleted
from domain.ids import MAIN, GroupId, RoleId, ServiceAccountId, SubjectId, TenantId, UserId
from domain.permissions import from_lists, granted
from domain.principals import BindingDeleted, MemberRemoved, TenantAccessEnded, has_access
from domain.scopes import Resource, Scope
from domain.state import State, evolve
from ops import writer as writing
from projections.access_graph import AccessGraph, Check
from tests import oracle
from tests.domain.model import ACTIONS, NAMESPACES, RESOURCES, TYPES, Question, model_of
from tests.domain.world import (
    ADA,
    BEGINNING,
    BETA,
    BOT,
    BOTS,
    DAN,
    EVENTS,
    OPERATOR,
    WORLD,
    account,
    bound,
    group,
    index,
    managed,
    member,
    opened,
    role,
    user,
)
from tests.fixed_inputs import START
from tests.histories import NAMESPACES as KNOWN_NAMESPACES
from tests.histories import WORDS, Histories
from tests.ops.desk import Desk, WatchedLog, group as new_group, outcome, state_of
from tests.spec import facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from domain.events import Event

NOW = START.timestamp()
UNHEARD = TenantId("unheard")


def email_index(email: str) -> bytes:
    """Answer the index that a user of this id and any domain has in tests."""
    return index(email.partition("@")[0])


def ask(graph: AccessGraph, tenant: str, subject: str, asked: Question, now: float) -> bool:
    """Put the oracle's form of a question to the graph."""
    return ask_with(graph.check, tenant, subject, asked, now)


def ask_with(check: Check, tenant: str, subject: str, asked: Question, now: float) -> bool:
    """Put the oracle's form of a question to whatever answers checks."""
    type_, action, namespace, resource = asked
    kind, _, id_ = resource.partition("/")
    return check(
        TenantId(tenant),
        UserId(subject),
        type_,
        action,
        namespace or None,
        (kind, id_) if resource else None,
        now,
    )


def kept(graph: AccessGraph) -> set[tuple[str, str]]:
    """Answer which subjects have an entry, and in which tenants."""
    return {
        (tenant, subject)
        for tenant, found in graph._tenants.items()
        for subject in found.compiled
    }


# Random installations

QUESTION_TYPES = ("FLOW", "record", "EXECUTION", "UNHEARD")
QUESTION_ACTIONS = ("VIEW", "LIST", "READ", "record:write", "UNHEARD")
PLACES = ("", *KNOWN_NAMESPACES, "prod.billing.eu", "pro")
OBJECTS = ("", *(f"record/{word}" for word in WORDS[:3]))
CLOCK_STEPS = (-300_000, -7_200, -1, 0, 0, 0, 40, 5_000, 300_000)


class Asker:
    """Chooses questions: half of them at random, half near something that a binding gives."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
        self._subjects = {"nobody"}

    def question(self, state: State) -> tuple[str, str, Question]:
        """Answer tenant, subject and question; subjects that are gone are asked about too."""
        self._subjects |= {*state.users, *state.service_accounts, *state.groups}
        one = self._random.choice
        tenant, subject = one([*sorted(state.tenants), UNHEARD]), one(sorted(self._subjects))
        type_, action = one(QUESTION_TYPES), one(QUESTION_ACTIONS)
        space, thing = one(PLACES), one(OBJECTS)
        if state.bindings and one((True, False)):
            binding = state.bindings[one(sorted(state.bindings))]
            tenant = binding.tenant
            subject = one([binding.subject, *sorted(state.members.get(GroupId(binding.subject), ()))])
            pairs = [*granted(state.roles[binding.role].permissions)]
            type_, action = one(pairs) if pairs else (type_, action)
            space = binding.scope.namespace or space
            if binding.scope.resource is not UNSET:
                thing = f"{binding.scope.resource.type}/{binding.scope.resource.id}"
        return tenant, subject, (type_, action, space, thing)

    def moment(self, now: float) -> float:
        """Answer an instant around now: clocks are put forward and back."""
        return now + self._random.choice(CLOCK_STEPS)


class Tally(Struct):
    """What came of asking the graph and the oracle the same."""

    asked: int = 0
    allowed: int = 0
    wrong: int = 0


def tally(kind: type[AccessGraph], seeds: Iterable[int]) -> Tally:
    """Let events flow and the clock move, and ask 20 questions after each command."""
    total = Tally()
    for seed in seeds:
        world, asker = Histories(seed), Asker(seed)
        world.run(150)
        graph = kind(world.state, email_index)
        for _ in range(100):
            before = len(world.records)
            world.run(1)
            graph.publish(world.state, map(decode, world.records[before:]))
            model = model_of(world.state)
            for _ in range(20):
                tenant, subject, question = asker.question(world.state)
                now = asker.moment(world.inputs.now().timestamp())
                answer = ask(graph, tenant, subject, question, now)
                total.asked += 1
                total.allowed += answer
                total.wrong += answer != oracle.allowed(model, tenant, subject, question, now)
    return total


def test_the_graph_answers_as_the_oracle_while_events_flow() -> None:
    """20,000 checks on random installations, with a clock that jumps: no difference (B1)."""
    found = tally(AccessGraph, range(10))

    assert (20_000, 0) == (found.asked, found.wrong)
    assert found.allowed > found.asked // 10


class Unmoved(AccessGraph):
    """Broken: what was worked out stays, whatever happens."""

    def _drop(self, before: State, event: Event) -> None:
        pass


class Flip(AccessGraph):
    """Broken: one decision in 100 is inverted."""

    asked = 0

    def check(self, *question: Any) -> bool:
        """Answer, now and then wrongly."""
        self.asked += 1
        return super().check(*question) != (self.asked % 100 == 0)


class Timeless(AccessGraph):
    """Broken: what was compiled once is never judged by another clock."""

    def check(self, *question: Any) -> bool:
        """Answer as of the beginning."""
        return super().check(*question[:-1], NOW)


class Sticky(AccessGraph):
    """Broken: a clock that is put back does not find its earlier limits again."""

    latest = 0.0

    def check(self, *question: Any) -> bool:
        """Answer by the latest clock that was ever seen."""
        self.latest = max(self.latest, question[-1])
        return super().check(*question[:-1], self.latest)


@pytest.mark.parametrize("mutant", [Unmoved, Flip, Timeless, Sticky])
def test_a_graph_that_answers_wrongly_is_caught(mutant: type[AccessGraph]) -> None:
    """Positive controls: `stale_cache`, `flip`, and two that misread the clock."""
    assert tally(mutant, range(5)).wrong


def test_the_past_is_answered_as_the_oracle() -> None:
    """The same questions as of earlier states, on a graph that is far beyond them (design 5)."""
    wrong = asked = allowed = 0
    for seed in range(3):
        world, asker = Histories(seed), Asker(seed)
        pasts = []
        for _ in range(8):
            world.run(40)
            pasts.append((world.state, world.inputs.now().timestamp()))
        graph = AccessGraph(world.state, email_index)
        for state, then in pasts:
            check, model = graph.check_in(state), model_of(state)
            for _ in range(50):
                tenant, subject, question = asker.question(state)
                now = asker.moment(then)
                answer = ask_with(check, tenant, subject, question, now)
                asked, allowed = asked + 1, allowed + answer
                wrong += answer != oracle.allowed(model, tenant, subject, question, now)

    assert (1_200, 0) == (asked, wrong)
    assert allowed > asked // 10
