"""Is every earlier state found again, exactly, at little cost, and without holding anyone up?"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from domain.events import decode
from domain.state import State, evolve
from projections import history as past
from projections.history import History
from tests.histories import Histories

if TYPE_CHECKING:
    from domain.events import Record

SEEDS = (1, 2)
WAIT_SECONDS = 30.0
SMALL = {"NEAR_POSITIONS": 7, "RECENT_POSITIONS": 40, "FAR_POSITIONS": 25, "PAGE_RECORDS": 6}


class CountingReader:
    """A reader of a list that counts what it gives out."""

    def __init__(self, records: list[Record]) -> None:
        self._records = records
        self.given = 0

    def read(self, after: int, limit: int) -> list[Record]:
        """Answer at most `limit` records that follow a position."""
        page = self._records[after : after + limit]
        self.given += len(page)
        return page


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep and fold in small steps, so that a short log crosses every limit."""
    for name, value in SMALL.items():
        monkeypatch.setattr(past, name, value)


def followed(seed: int, *, every: int = 1) -> tuple[History, CountingReader, list[State]]:
    """Follow a random log, noting every so many heads; answer its true states too."""
    world = Histories(seed)
    world.run(400)
    states = [State()]
    for record in world.records:
        states.append(evolve(states[-1], [decode(record)]))
    reader = CountingReader(world.records)
    history = History(reader)
    for state in states[::every]:
        history.keep(state)
    return history, reader, states


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("every", [1, 1000])
def test_the_state_at_any_position_is_the_fold_to_it(seed: int, every: int) -> None:
    """Kept or folded, near or far, asked in any order: it is the same (reliability B6)."""
    history, _, states = followed(seed, every=every)
    positions = [*range(0, len(states), 7), *reversed(range(0, len(states), 11))]

    assert [states[position] for position in positions] == [*map(history.at, positions)]


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("every", [1, 1000])
def test_the_position_at_an_instant_is_the_last_not_later(seed: int, every: int) -> None:
    """Events of one instant belong together; before the first event it is 0 (http-api 6)."""
    history, _, states = followed(seed, every=every)
    moment = timedelta(microseconds=1)
    around = {state.at + shift for state in states[1:] for shift in (-moment, moment * 0, moment)}
    never, always = datetime(1960, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)

    for instant in (never, always, *sorted(around)[::11]):
        reached = [state.position for state in states[1:] if state.at <= instant]
        assert max(reached, default=0) == history.position_at(instant)


@pytest.mark.usefixtures("_small")
def test_recent_states_are_near_and_old_ones_not_forgotten() -> None:
    """A recent state is folded over few events; an old one over one far step (core 1)."""
    history, reader, states = followed(1)
    head = len(states) - 1
    assert head > 3 * SMALL["RECENT_POSITIONS"]

    costs = []
    for position in range(head):
        before = reader.given
        history.at(position)
        costs.append(reader.given - before)

    # The first that is still kept near by may come so much later than what is recent begins.
    recent = head - SMALL["RECENT_POSITIONS"] + SMALL["NEAR_POSITIONS"]
    assert max(costs[recent:]) <= SMALL["NEAR_POSITIONS"]
    assert max(costs) <= SMALL["FAR_POSITIONS"] + SMALL["NEAR_POSITIONS"]
    assert max(costs[:recent]) > SMALL["NEAR_POSITIONS"]


@pytest.mark.usefixtures("_small")
def test_a_long_way_is_long_only_once() -> None:
    """The first question folds from the beginning and leaves marks for those after it."""
    history, reader, states = followed(2, every=1_000)
    target = len(states) - 2

    history.at(target)
    first = reader.given
    history.at(target - 1)

    assert first == target
    assert reader.given - first <= SMALL["FAR_POSITIONS"]


@pytest.mark.usefixtures("_small")
def test_a_kept_state_is_not_folded_again() -> None:
    """What is kept is answered as it is: the same value, and nothing is read."""
    history, reader, states = followed(3, every=SMALL["NEAR_POSITIONS"])
    kept = states[-1 - (len(states) - 1) % SMALL["NEAR_POSITIONS"]]

    assert history.at(kept.position) is kept
    assert history.at(0).position == 0
    assert reader.given == 0


class SlowReader(CountingReader):
    """A reader that is stuck until it is told to go on."""

    def __init__(self, records: list[Record]) -> None:
        super().__init__(records)
        self.is_reading = threading.Event()
        self.may_go_on = threading.Event()

    def read(self, after: int, limit: int) -> list[Record]:
        """Wait, then answer."""
        self.is_reading.set()
        assert self.may_go_on.wait(WAIT_SECONDS)
        return super().read(after, limit)


def test_keeping_never_waits_for_a_question() -> None:
    """While a question about the past reads, the writer goes on to new heads (security 6.7)."""
    world = Histories(4)
    world.run(50)
    reader = SlowReader(world.records)
    history = History(reader)
    asker = threading.Thread(target=history.at, args=(len(world.records),))
    asker.start()
    assert reader.is_reading.wait(WAIT_SECONDS)
    writer = threading.Thread(target=history.keep, args=(world.state,), daemon=True)
    writer.start()

    writer.join(WAIT_SECONDS / 10)
    waited = writer.is_alive()
    reader.may_go_on.set()
    asker.join()

    assert not waited
