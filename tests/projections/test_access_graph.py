"""Does the live graph answer as the rules say, at every head, and keep no more than it should?"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import UNSET, Struct

from domain.events import decode
from domain.ids import (
    MAIN,
    GroupId,
)
from domain.permissions import granted
from domain.principals import MemberRemoved
from domain.scopes import Scope
from domain.state import State, evolve
from ops import writer as writing
from projections import access_graph
from tests import oracle
from tests.domain.model import Question, model_of
from tests.domain.world import (
    ADA,
    BOT,
    BOTS,
    DAN,
    OPERATOR,
    WORLD,
    alias_index,
    bound,
    group,
    member,
)
from tests.histories import NAMESPACES as KNOWN_NAMESPACES
from tests.histories import WORDS, Histories
from tests.ops.desk import Desk, WatchedLog, outcome, state_of
from tests.ops.desk import group as new_group
from tests.spec import facts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domain.events import Event

from tests.projections.graph import NOW, UNHEARD, Open, ask, ask_with, email_index

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
        if state.bindings and self._random.random() < 1 / 2:
            binding = state.bindings[one(sorted(state.bindings))]
            tenant = binding.tenant
            subject = one(
                [binding.subject, *sorted(state.members.get(GroupId(binding.subject), ()))]
            )
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


def tally(kind: type[Open], seeds: Iterable[int]) -> Tally:
    """Let events flow and the clock move, and ask 20 questions after each command."""
    total = Tally()
    for seed in seeds:
        world, asker = Histories(seed), Asker(seed)
        world.run(150)
        graph = kind(world.state, email_index, alias_index)
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
    found = tally(Open, range(10))

    assert (20_000, 0) == (found.asked, found.wrong)
    assert found.allowed > found.asked // 20


class Unmoved(Open):
    """Broken: what was worked out stays, whatever happens."""

    def _drop(self, before: State, event: Event) -> None:
        pass


class Flip(Open):
    """Broken: one decision in 100 is inverted."""

    asked = 0

    def check(self, *question: Any) -> bool:  # noqa: ANN401 - passed on
        """Answer, now and then wrongly."""
        self.asked += 1
        return super().check(*question) != (self.asked % 100 == 0)


class Timeless(Open):
    """Broken: what was compiled once is never judged by another clock."""

    def check(self, *question: Any) -> bool:  # noqa: ANN401 - passed on
        """Answer as of the beginning."""
        return super().check(*(*question[:-1], NOW))


class Unreturning(Open):
    """Broken: what was worked out holds for earlier instants too, when the clock is put back."""

    def check(self, *question: Any) -> bool:  # noqa: ANN401 - passed on
        """Forget from when the entries hold."""
        for tenant in self._tenants.values():
            for subject, (masks, _, until) in tenant.compiled.items():
                tenant.compiled[subject] = (masks, -math.inf, until)
        return super().check(*question)


@pytest.mark.parametrize("mutant", [Unmoved, Flip, Timeless, Unreturning])
def test_a_graph_that_answers_wrongly_is_caught(mutant: type[Open]) -> None:
    """Positive controls: `stale_cache`, `flip`, and two that misread the clock."""
    assert tally(mutant, range(2)).wrong


def test_the_past_is_answered_as_the_oracle() -> None:
    """The same questions as of earlier states, on a graph that is far beyond them (design 5)."""
    wrong = asked = allowed = 0
    for seed in range(3):
        world, asker = Histories(seed), Asker(seed)
        pasts = []
        for _ in range(8):
            world.run(40)
            pasts.append((world.state, world.inputs.now().timestamp()))
        graph = Open(world.state, email_index, alias_index)
        for state, then in pasts:
            check, model = graph.check_in(state), model_of(state)
            for _ in range(50):
                tenant, subject, question = asker.question(state)
                now = asker.moment(then)
                answer = ask_with(check, tenant, subject, question, now)
                asked, allowed = asked + 1, allowed + answer
                wrong += answer != oracle.allowed(model, tenant, subject, question, now)

    assert (1_200, 0) == (asked, wrong)
    assert allowed > asked // 20


# What is kept

TEAM = GroupId("grp_team")


def test_unknown_names_are_not_kept() -> None:
    """Asking for what does not exist leaves nothing behind, however often (performance 2)."""
    graph = Open(WORLD.state, email_index, alias_index)
    ask(graph, MAIN, ADA, ("FLOW", "VIEW", "", ""), NOW)
    before = graph.sizes()

    for number in range(1_000):
        word = f"unknown{number}"
        assert not ask(graph, MAIN, word, ("FLOW", "VIEW", word, f"record/{word}"), NOW)
        assert not ask(graph, word, ADA, ("FLOW", "VIEW", "", ""), NOW)
        assert not ask(graph, MAIN, DAN, (word, word, f"{word}.{word}", f"{word}/{word}"), NOW)
        assert ask(graph, MAIN, ADA, (word, word, f"{word}.{word}", ""), NOW)
        for type_ in ("user", "service_account", "group", word):
            assert graph.resolve(MAIN, type_, f"{word}@example.com") is None

    assert {(MAIN, ADA), (MAIN, DAN)} == graph.entries()
    assert before == graph.sizes()


def test_namespaces_are_kept_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What bindings name is kept; beyond the limit it begins anew, and answers stay right."""
    monkeypatch.setattr(access_graph, "_NAMESPACES_KEPT_MAX", 10)
    graph = Open(WORLD.state, email_index, alias_index)
    state = WORLD.state
    for number in range(30):
        new = facts(state, (bound(BOT, OPERATOR, Scope(namespace=f"n{number}"), id_=f"b{number}"),))
        state = evolve(state, new)
        graph.publish(state, new)
        assert graph.namespaces() <= 10

    asked = [ask(graph, MAIN, BOT, ("FLOW", "VIEW", f"n{n}.x", ""), NOW) for n in range(31)]

    assert [True] * 30 + [False] == asked


# Whole commands


def moments_without_rights(monkeypatch: pytest.MonkeyPatch) -> int:
    """Move a bot between two groups of equal rights, again and again, at another process.

    Answers at how many published heads it had no rights.
    """
    monkeypatch.setattr(writing, "PAGE_RECORDS", 3)
    log = WatchedLog()
    log.elsewhere(group(TEAM, "Team"), bound(TEAM, OPERATOR), bound(BOTS, OPERATOR))
    state = state_of(log)
    groups = (BOTS, TEAM)
    for number in range(50):
        left, joined = groups[number % 2], groups[1 - number % 2]
        moved = (MemberRemoved(tenant=MAIN, group=left, principal=BOT), member(joined, BOT))
        log.elsewhere(*moved, command_id=f"move_{number}")
    desk = Desk(log, state=state)
    with desk.open():
        outcome(desk.give(new_group(1)))
    graph = Open(state, email_index, alias_index)
    denied = 0
    for publication in desk.published:
        graph.publish(publication.state, publication.facts)
        denied += not ask(graph, MAIN, BOT, ("FLOW", "EXECUTE", "prod", ""), NOW)
    assert len(desk.published) > 25
    return denied


def test_no_check_sees_half_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that removes and adds is seen before or after, never between (reliability B9)."""
    assert not moments_without_rights(monkeypatch)


def test_a_follower_that_publishes_pages_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positive control: pages published as they come show the bot without rights."""
    monkeypatch.setattr(writing, "_whole_commands", lambda page: page)

    assert moments_without_rights(monkeypatch)
