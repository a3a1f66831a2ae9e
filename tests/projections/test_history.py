"""Is every earlier state found again, exactly, at little cost, and without holding anyone up?"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from domain.events import decode
from domain.state import State, evolve
from projections import history as past
from projections.history import History
from tests.histories import Histories

if TYPE_CHECKING:
    from domain.events import Record

SEEDS = (1, 2)
WAIT_SECONDS = 30.0
NEAR, RECENT, FAR = 7, 40, 25
SMALL = {
    "NEAR": ((RECENT, NEAR),),
    "FAR_POSITIONS": FAR,
    "PAGE_RECORDS": 6,
    "LOOKED_FOR_POSITIONS": 30,
    "SAVED_POSITIONS": 100,
}


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
    assert head > 3 * RECENT

    costs = []
    for position in range(head):
        before = reader.given
        history.at(position)
        costs.append(reader.given - before)

    # The first that is still kept near by may come so much later than what is recent begins.
    recent = head - RECENT + NEAR
    assert max(costs[recent:]) <= NEAR
    assert max(costs) <= FAR + NEAR
    assert max(costs[:recent]) > NEAR


@pytest.mark.usefixtures("_small")
def test_a_long_way_is_long_only_once() -> None:
    """The first question folds from the beginning and leaves marks for those after it."""
    history, reader, states = followed(2, every=1_000)
    target = len(states) - 2

    history.at(target)
    first = reader.given
    history.at(target - 1)

    assert first == target
    assert reader.given - first <= FAR


@pytest.mark.usefixtures("_small")
def test_a_kept_state_is_not_folded_again() -> None:
    """What is kept is answered as it is: the same value, and nothing is read."""
    history, reader, states = followed(3, every=NEAR)
    kept = states[-1 - (len(states) - 1) % NEAR]

    assert history.at(kept.position) is kept
    assert history.at(0).position == 0
    assert reader.given == 0


@pytest.mark.usefixtures("_small")
def test_a_longer_log_keeps_its_states_further_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the log, only so many old states are kept in memory."""
    monkeypatch.setattr(past, "KEPT_MAX", 4)
    history, reader, states = followed(1)

    free = 0
    for position in range(len(states)):
        before = reader.given
        history.at(position)
        free += reader.given == before

    assert len(states) // FAR > 2 * past.KEPT_MAX + RECENT // NEAR
    assert free <= 1 + past.KEPT_MAX + RECENT // NEAR + 1


class Shelf:
    """Snapshots in a dictionary, that notes what it is asked for."""

    def __init__(self) -> None:
        self.states: dict[int, State] = {}
        self.asked: list[tuple[int, int]] = []

    def between(self, after: int, position: int) -> State | None:
        """Answer the last state of the span."""
        self.asked.append((after, position))
        found = [one for one in self.states if after < one <= position]
        return self.states[max(found)] if found else None

    def save(self, state: State) -> None:
        """Keep a state."""
        self.states[state.position] = state


def restarted(seed: int) -> tuple[History, CountingReader, Shelf, list[State]]:
    """A history that has met nothing but the head, and snapshots at every hundredth event."""
    _, reader, states = followed(seed)
    shelf = Shelf()
    for position in range(100, len(states), 100):
        shelf.save(states[position])
    history = History(reader, shelf)
    history.keep(states[-1])
    reader.given = 0
    return history, reader, shelf, states


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("seed", SEEDS)
def test_states_behind_a_snapshot_are_the_fold_to_them(seed: int) -> None:
    """From disk, from memory or folded, asked in any order: it is the same (reliability B6)."""
    history, _, shelf, states = restarted(seed)
    positions = [*range(0, len(states), 7), *reversed(range(0, len(states), 11))]

    assert [states[position] for position in positions] == [*map(history.at, positions)]
    assert shelf.asked


@pytest.mark.usefixtures("_small")
def test_a_snapshot_that_lies_is_noticed() -> None:
    """The comparison would notice a snapshot of another position (positive control)."""
    history, _, shelf, states = restarted(1)
    shelf.states[200] = structs.replace(states[150], position=200)

    assert history.at(210) != states[210]


@pytest.mark.usefixtures("_small")
def test_a_snapshot_spares_the_long_way() -> None:
    """A first question folds from the snapshot before it and not from the first event."""
    history, reader, shelf, states = restarted(1)
    target = len(states) - 10

    history.at(target)

    assert reader.given == target % 100
    assert shelf.asked == [(0, target)]


@pytest.mark.usefixtures("_small")
def test_no_snapshot_is_looked_for_where_the_way_is_short() -> None:
    """Near what is kept in memory the disk is left alone."""
    history, _, shelf, _ = restarted(1)

    history.at(past.LOOKED_FOR_POSITIONS)

    assert shelf.asked == []


@pytest.mark.usefixtures("_small")
def test_what_is_behind_an_old_snapshot_is_forgotten_and_found_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only so many loaded states are kept: the one least asked for goes, with all behind it."""
    monkeypatch.setattr(past, "LOADED_MAX", 2)
    history, reader, shelf, states = restarted(1)
    for position in (190, 290, 190, 390):
        assert history.at(position) == states[position]
    loads = len(shelf.asked)

    # 100 was asked for after 200, so 200 has gone.
    assert history.at(190) == states[190]
    assert len(shelf.asked) == loads
    assert history.at(290) == states[290]
    assert len(shelf.asked) == loads + 1
    assert reader.given > 0


@pytest.mark.usefixtures("_small")
def test_a_long_way_leaves_snapshots_on_disk() -> None:
    """So that it is long only once in the life of an installation, and not of a process."""
    _, reader, states = followed(1)
    shelf = Shelf()
    history = History(reader, shelf)
    folded: list[int] = []
    told = History(reader, None, on_folded=folded.append)

    history.at(len(states) - 1)
    told.at(len(states) - 1)

    assert [position // 100 for position in shelf.states] == [
        *range(1, (len(states) - 1) // 100 + 1)
    ]
    assert all(state == states[position] for position, state in shelf.states.items())
    assert 0 < len(states) - 1 - sum(folded) <= FAR


@pytest.mark.usefixtures("_small")
def test_a_head_is_saved_where_there_are_snapshots() -> None:
    """At a pause the head is written; without a place for it nothing happens."""
    history, reader, shelf, states = restarted(2)

    history.save(states[-1])
    History(reader).save(states[-1])

    assert shelf.states[states[-1].position] is states[-1]


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
