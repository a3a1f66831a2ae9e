"""Does the same history always amount to the same state, however it is folded?"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from msgspec import structs

from domain import state as states
from domain.ids import MAIN, TenantId, UserId
from domain.state import DeferredMap, Draft, PersistentMap, State, apply, digest, evolve
from domain.tenants import TenantRenamed
from tests.domain.campaign import FIRST, Campaign
from tests.domain.examples import EXAMPLES, example_facts
from tests.domain.world import WORLD
from tests.spec import facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.events import Event, Fact

ROOT = Path(__file__).parents[2]
seeds = st.integers(min_value=0, max_value=2**64)


def history(seed: int) -> tuple[Fact, ...]:
    """Answer the facts of a random campaign, after those of the world that it begins in."""
    found: list[Fact] = []
    campaign = Campaign(seed)
    real = states.evolve

    def remember(state: State, new: tuple[Fact, ...]) -> State:
        found.extend(new)
        return real(state, new)

    with pytest.MonkeyPatch.context() as watched:
        watched.setattr("tests.domain.campaign.evolve", remember)
        campaign.run(40)
    return tuple(found)


@settings(max_examples=20)
@for_all(seed=seeds)
def test_replay_equals_live(seed: int) -> None:
    """Design 1: one by one, in one go, and in two parts, a history amounts to the same."""
    recorded = history(seed)
    live = FIRST
    for fact in recorded:
        live = evolve(live, (fact,))

    middle = len(recorded) // 2
    in_two = evolve(evolve(FIRST, recorded[:middle]), recorded[middle:])

    assert live == evolve(FIRST, recorded) == in_two
    assert digest(live) == digest(in_two)


PRINT_DIGEST = """
import domain.state as states
from tests.domain.campaign import FIRST
from tests.domain.test_state import history
state = states.evolve(FIRST, history(7))
{break_it}
print(states.digest(state))
"""


def digests_of_processes(break_it: str = "") -> set[str]:
    """Answer the digests of one history in processes whose hash tables are ordered otherwise."""
    return {
        subprocess.run(
            [sys.executable, "-c", PRINT_DIGEST.format(break_it=break_it)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }


def test_a_digest_is_the_same_in_another_process() -> None:
    """Style 8.6: the order of hash tables, which differs between processes, does not show."""
    assert 1 == len(digests_of_processes())


def test_a_digest_in_the_order_of_a_hash_table_is_caught() -> None:
    """Style 8.6, the control: without sorting, processes disagree."""
    assert 2 == len(digests_of_processes("states.sorted = list"))


def test_different_states_have_different_digests() -> None:
    """Each part of the state is told apart by the digest, also what only positions tell."""
    seen = [digest(State())]
    state = State()
    for fact in example_facts():
        state = evolve(state, (fact,))
        seen.append(digest(state))

    assert len(seen) == len(set(seen))


def test_an_older_state_is_untouched() -> None:
    """Design 3: a state is a value, and an old root is the past."""
    before = digest(FIRST)

    evolve(FIRST, facts(FIRST, EXAMPLES))

    assert before == digest(FIRST)


def test_a_dropped_draft_is_the_rollback() -> None:
    """Design 3: a draft that is dropped leaves nothing behind."""
    draft = Draft(FIRST)
    apply(draft, facts(FIRST, (TenantRenamed(tenant=MAIN, name="x"),))[0])

    assert "main" == FIRST.tenants[MAIN].name
    assert "x" == draft.finish().tenants[MAIN].name


NUMBERED = ("first", "second", "third")


def numbered(rows: Sequence[int]) -> list[tuple[str, int]]:
    """Answer the entries of an inner map from the numbers of its rows."""
    return [(NUMBERED[row], row) for row in rows]


def test_a_deferred_map_is_made_at_the_first_question_and_once() -> None:
    """Performance 3: a start makes no inner map that nobody asks for."""
    asked: list[Sequence[int]] = []

    def entries(rows: Sequence[int]) -> list[tuple[str, int]]:
        asked.append(rows)
        return numbered(rows)

    deferred = DeferredMap(entries, range(1, 3))
    assert [] == asked

    assert 1 == deferred["second"]
    assert 2 == deferred["third"]
    assert [range(1, 3)] == asked


def test_a_deferred_map_answers_as_the_map_that_it_stands_for() -> None:
    """Rules cannot tell a map from a snapshot from one that was folded."""
    plain = PersistentMap({"first": 0, "third": 2})

    deferred = DeferredMap(numbered, (0, 2))

    assert plain == deferred
    assert deferred == plain
    assert deferred != plain.delete("first")
    assert list(plain) == list(deferred)
    assert list(plain.values()) == list(deferred.values())
    assert list(plain.items()) == list(deferred.items())
    assert (2, 2) == (len(deferred), deferred.get("third"))
    assert "second" not in deferred
    assert deferred.get("second") is None


def test_a_deferred_map_stays_as_it_is_when_it_is_changed() -> None:
    """Design 3: a state is a value, also one whose maps are not made yet."""
    deferred = DeferredMap(numbered, (0, 2))

    more = deferred.set("second", 1)
    less = deferred.delete("first")

    assert {"first": 0, "second": 1, "third": 2} == dict(more)
    assert {"third": 2} == dict(less)
    assert {"first": 0, "third": 2} == dict(deferred)


def test_a_deferred_map_that_two_threads_ask_first_answers_both() -> None:
    """The writer and the checks read the same state: neither sees half a map."""
    together = Barrier(2, timeout=10)

    def entries(rows: Sequence[int]) -> list[tuple[str, int]]:
        together.wait()
        return numbered(rows)

    deferred = DeferredMap(entries, (0, 2))
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda _: dict(deferred), range(2)))

    assert [{"first": 0, "third": 2}] * 2 == answers


def test_a_digest_does_not_tell_a_deferred_map_from_another() -> None:
    """A state from a snapshot has the digest of the state that was saved."""
    access = {TenantId("main"): FIRST.at}
    plain = structs.replace(FIRST, access=PersistentMap({UserId("u"): PersistentMap(access)}))

    later = DeferredMap(lambda _: list(access.items()), ())
    deferred = structs.replace(FIRST, access=PersistentMap({UserId("u"): later}))

    assert digest(plain) == digest(deferred)
    assert plain == deferred


@settings(max_examples=40)
@for_all(seed=seeds, order=st.permutations(range(len(EXAMPLES))), rounds=st.integers(1, 2))
def test_apply_never_raises(seed: int, order: list[int], rounds: int) -> None:
    """Style 8.1: a recorded event is folded into any state, also one it was not decided on."""
    campaign = Campaign(seed)
    campaign.run(10)
    shuffled: tuple[Event, ...] = tuple(EXAMPLES[number] for number in order) * rounds

    state = evolve(campaign.state, facts(campaign.state, shuffled))

    assert campaign.state.position + len(shuffled) == state.position
    assert digest(state)


def test_apply_never_raises_on_the_examples_backwards() -> None:
    """Style 8.1: also where every end comes before its beginning."""
    for beginning in (State(), WORLD.state):
        for event in reversed(EXAMPLES):
            assert evolve(beginning, facts(beginning, (event,))).position > beginning.position


def test_a_rule_inside_the_fold_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Style 8.1, the control: an apply that refuses breaks the property."""

    def refuse(*_: object) -> None:
        raise ValueError("a limit was lowered")

    monkeypatch.setitem(states._APPLY, TenantRenamed, refuse)  # noqa: SLF001 the control plants a fault

    with pytest.raises(ValueError, match="lowered"):
        test_apply_never_raises_on_the_examples_backwards()
