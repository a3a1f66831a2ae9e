"""Does every event reach every sink, in order, whatever fails, and is nobody held up by it?"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import pytest
from sqlalchemy import event

from api.deliveries import Ledger
from domain.groups import CreateGroup
from domain.ids import MAIN, GroupId, SinkId
from domain.sinks import CreateSink, DeleteSink, PauseSink, ReplaySink, ResumeSink
from ops import deliveries, sink_ledger
from ops.deliveries import Deliveries
from ops.sink_ledger import SinkLedgers
from ops.sink_targets import SinkError
from ops.vault import sqlite_engine
from projections import exporting, views
from projections.export_ndjson import NDJSON
from projections.exporting import CLOSED, Telling
from projections.runner import ViewRunner
from projections.trail import Records
from tests.fixed_inputs import FixedInputs
from tests.histories import Histories
from tests.memory_log import MemoryLog

if TYPE_CHECKING:
    from domain.commands import Command
    from domain.state import State

WAIT_SECONDS: Final = 10.0
SIEM: Final = SinkId("siem")
OTHER: Final = SinkId("other")


class Receiver:
    """A target that takes, refuses or breaks as it is told, and keeps every position."""

    form = NDJSON

    def __init__(self) -> None:
        self.positions: list[int] = []
        self.fault: Exception | None = None
        self.tries = 0
        self.open = threading.Event()
        self.open.set()

    def take(self, lines: bytes) -> None:
        """Take a batch, when it may be."""
        self.tries += 1
        self.open.wait(WAIT_SECONDS)
        if self.fault is not None:
            raise self.fault
        self.positions += [msgspec.json.decode(line)["position"] for line in lines.splitlines()]


class World:
    """A log that grows, its views, and what delivers it."""

    def __init__(self, directory: Path) -> None:
        self.histories = Histories(5)
        self.inputs = FixedInputs()
        self.log = MemoryLog("log-1")
        self.views = views.open_sqlite(directory / "views.db")
        self.store = sqlite_engine(directory / "sessions.db")
        sink_ledger.create(self.store)
        self.receivers = {SIEM: Receiver(), OTHER: Receiver()}
        self.running: list[Deliveries] = []
        self.reached = 0
        self._appended = 0
        self.grow(30)

    @property
    def state(self) -> State:
        """The state at the head."""
        return self.histories.state

    def grow(self, events: int) -> None:
        """Let so many groups come into being, of which nobody is told yet."""
        for _ in range(events):
            id_ = GroupId(self.histories.inputs.id())
            self.histories.give(CreateGroup(tenant=MAIN, id=id_, name=f"group {id_}"))

    def ledgers(self) -> SinkLedgers:
        """Return the ledgers as another process has them."""
        return SinkLedgers(self.store, self.inputs)

    @property
    def ledger(self) -> Ledger:
        """The ledger of the first sink, an empty one before there is any."""
        return self.ledgers().all().get(SIEM, Ledger(position=0, begun=0))

    def start(self) -> Deliveries:
        """Start a process that delivers."""
        started = Deliveries(
            ledgers=self.ledgers(),
            records=Records(self.log),
            views=self.views,
            reached=lambda: self.reached,
            telling=_telling,
            target=lambda sink: self.receivers[sink.id],
            inputs=self.inputs,
        )
        self.running.append(started)
        self.publish()
        return started

    def publish(self) -> None:
        """Append what there is, let the views follow, and tell whoever delivers."""
        records = self.histories.records[self._appended :]
        if records:
            self.log.append(self._appended + 1, records)
            self._appended += len(records)
        self.reached = ViewRunner(self.log, self.views).catch_up()
        for one in self.running:
            one.publish(self.state)

    def give(self, *commands: Command) -> None:
        """Give commands and publish."""
        for command in commands:
            self.histories.give(command)
        self.publish()

    def stop(self) -> None:
        """Stop whoever delivers."""
        for one in self.running:
            one.stop()
        self.running.clear()

    def expected(self, after: int = 0) -> list[int]:
        """Return every position behind one."""
        return [*range(after + 1, self.state.position + 1)]


def _telling(state: State) -> Telling:
    return Telling(
        public_url="https://iam.example",
        version="0",
        state=state,
        shown=lambda *_: CLOSED,
        person=lambda _: None,
    )


def create(id_: SinkId = SIEM, *types: str) -> CreateSink:
    """Return the command that makes a sink that gets everything from the first event on."""
    return CreateSink(id=id_, name="SIEM", kind="webhook", url="https://x.example", types=types)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Yield a world in which nobody waits long, and which has stopped at the end."""
    monkeypatch.setattr(deliveries, "REST_SECONDS", 0.005)
    monkeypatch.setattr(deliveries, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(exporting, "PAGE_EVENTS", 7)
    made = World(tmp_path)
    yield made
    for receiver in made.receivers.values():
        receiver.open.set()
    made.stop()
    made.views.dispose()
    made.store.dispose()


def until(condition: object) -> None:
    """Wait until something holds."""
    assert callable(condition)
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


def test_everything_arrives_once_and_in_order(world: World) -> None:
    """Audit-export 2.1: from the start on, and what comes later as well."""
    receiver = world.receivers[SIEM]
    world.give(create())
    world.start()
    until(lambda: receiver.positions == world.expected())

    world.grow(20)
    world.publish()

    until(lambda: receiver.positions == world.expected())
    # What was taken is noted a moment later.
    until(lambda: world.ledger.position == world.state.position)
    ledger = world.ledger
    assert (ledger.position, ledger.failures, ledger.error) == (world.state.position, 0, "")
    assert ledger.delivered_at == world.inputs.now()


def test_a_filter_lets_through_what_it_names_and_the_position_moves_on(world: World) -> None:
    """Audit-export 2.2: also where nothing matches, so that nothing is looked at twice."""
    receiver = world.receivers[SIEM]
    world.give(create(SIEM, "sink.created.v1", "role.*"))
    world.start()

    until(lambda: world.ledger.position == world.state.position)

    topics = {record.position: record.topic for record in world.histories.records}
    assert receiver.positions == [
        position
        for position in world.expected()
        if topics[position].startswith(("role.", "sink.created"))
    ]


def test_what_is_refused_is_tried_again_after_growing_pauses(world: World) -> None:
    """Audit-export 2.2: the same batch, later and later; nothing after it is sent before it."""
    receiver = world.receivers[SIEM]
    receiver.fault = SinkError("sink.refused")
    world.give(create())
    started = world.start()
    pauses: list[float] = []
    for failures in range(1, 13):
        until(lambda failures=failures: world.ledger.failures == failures)
        ledger = world.ledger
        assert ledger.next_try is not None
        pauses.append((ledger.next_try - world.inputs.now()).total_seconds())
        world.inputs.advance(pauses[-1])

    receiver.fault = None
    world.inputs.advance(300)

    until(lambda: receiver.positions == world.expected())
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert world.ledger.failures == 0
    # What is counted for those who watch does not begin anew.
    assert started.failures == {SIEM: 12}
    world.give(DeleteSink(id=SIEM))
    until(lambda: started.failures == {})


def test_a_sink_halts_and_says_so_rather_than_skip(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Audit-export 2.2: after many failures it waits to be resumed; then nothing is missing."""
    monkeypatch.setattr(deliveries, "FAILURES_MAX", 2)
    receiver = world.receivers[SIEM]
    receiver.fault = SinkError("sink.refused")
    world.give(create())
    with caplog.at_level(logging.WARNING, "muniment.sinks"):
        world.start()
        until(lambda: receiver.tries == 1)
        world.inputs.advance(1)
        until(lambda: world.ledger.halted is not None)
    receiver.fault = None
    world.inputs.advance(10_000)
    world.grow(5)
    world.publish()
    time.sleep(0.1)
    assert receiver.positions == []
    assert "CRITICAL" in {record.levelname for record in caplog.records}

    world.give(ResumeSink(id=SIEM))

    until(lambda: receiver.positions == world.expected())


def test_a_poisoned_event_halts_its_sink_and_no_other(world: World) -> None:
    """Audit-export 2.2: whatever breaks, the others go on; a halt is counted anew when resumed."""
    poisoned, sound = world.receivers[SIEM], world.receivers[OTHER]
    poisoned.fault = ValueError("poison")
    world.give(create(), create(OTHER))
    world.start()

    until(lambda: sound.positions == world.expected())
    until(lambda: world.ledger.halted is not None)

    assert world.ledger.error == "sink.poisoned"
    assert poisoned.tries == 1
    poisoned.fault = SinkError("sink.refused")
    world.give(ResumeSink(id=SIEM))
    until(lambda: world.ledger.failures == 1 and poisoned.tries == 2)


def test_a_receiver_that_hangs_holds_nobody_up(world: World) -> None:
    """A sink that is down never blocks a write, nor another sink."""
    world.receivers[SIEM].open.clear()
    world.give(create(), create(OTHER))
    world.start()
    until(lambda: world.receivers[SIEM].tries == 1)

    begun = time.monotonic()
    world.grow(20)
    world.publish()

    assert time.monotonic() - begun < WAIT_SECONDS / 2
    until(lambda: world.receivers[OTHER].positions == world.expected())
    assert world.receivers[SIEM].positions == []


def test_a_paused_sink_waits_and_misses_nothing(world: World) -> None:
    """Audit-export 2.2: pause and resume are commands."""
    receiver = world.receivers[SIEM]
    world.give(create(), PauseSink(id=SIEM))
    world.start()
    time.sleep(0.1)
    assert receiver.tries == 0

    world.give(ResumeSink(id=SIEM))

    until(lambda: receiver.positions == world.expected())


def test_a_replay_sends_again_from_its_position_on(world: World) -> None:
    """Audit-export 2.2: everything behind it comes a second time."""
    receiver = world.receivers[SIEM]
    world.give(create())
    world.start()
    until(lambda: receiver.positions == world.expected())
    first = [*receiver.positions]

    world.give(ReplaySink(id=SIEM, after=5))

    until(lambda: receiver.positions[len(first) :] == world.expected(5))


def test_a_deleted_sink_gets_no_more_and_is_forgotten(world: World) -> None:
    """Its ledger goes with it."""
    receiver = world.receivers[SIEM]
    world.give(create())
    world.start()
    until(lambda: receiver.positions == world.expected())

    world.give(DeleteSink(id=SIEM))

    until(lambda: SIEM not in world.ledgers().all())
    time.sleep(0.05)
    assert max(receiver.positions) < world.state.position


def test_after_a_restart_it_goes_on_where_it_was(world: World) -> None:
    """Audit-export 2.1: the position is kept, and what was not taken is sent."""
    receiver = world.receivers[SIEM]
    world.give(create())
    world.start()
    until(lambda: receiver.positions == world.expected())
    world.stop()

    world.grow(10)
    world.start()

    until(lambda: receiver.positions == world.expected())


def test_an_idle_sink_asks_its_ledger_for_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sink that has everything costs the database nothing until there is news."""
    monkeypatch.setattr(deliveries, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(deliveries, "REST_SECONDS", 0.0)
    receiver = world.receivers[SIEM]
    world.give(create())
    world.start()
    until(lambda: receiver.positions == world.expected())
    until(lambda: world.ledger.position == world.state.position)
    time.sleep(0.1)
    asked: list[str] = []
    event.listen(world.store, "before_cursor_execute", lambda *given: asked.append(given[2]))
    time.sleep(0.2)

    assert asked == []

    world.grow(1)
    world.publish()
    until(lambda: receiver.positions == world.expected())
    assert asked


def test_whoever_does_not_hold_a_sink_looks_only_now_and_then(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two processes one delivers, and the other takes over once the first has gone."""
    monkeypatch.setattr(deliveries, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(deliveries, "REST_SECONDS", 0.0)
    receiver = world.receivers[SIEM]
    world.give(create())
    elsewhere = SinkLedgers(world.store, world.inputs)
    assert elsewhere.claim(world.state.sinks[SIEM]) is not None
    world.start()
    time.sleep(0.1)
    asked: list[str] = []
    event.listen(world.store, "before_cursor_execute", lambda *given: asked.append(given[2]))
    time.sleep(0.2)

    assert asked == []
    assert receiver.positions == []

    world.inputs.advance(sink_ledger.LEASE.total_seconds() + 1)
    until(lambda: receiver.positions == world.expected())
