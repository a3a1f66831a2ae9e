"""How does a test give commands to a writer, and see what becomes of them?"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType, structs

from domain.commands import Command, Context
from domain.errors import DomainError
from domain.events import Actor, Event, decode, encode
from domain.groups import CreateGroup
from domain.ids import MAIN, CommandId, GroupId
from domain.state import State, evolve
from ops.writer import Outcome, Publication, WritableLog, Writer, settle
from tests.domain.world import EVENTS, ROOT
from tests.fixed_inputs import START, FixedInputs
from tests.memory_log import MemoryLog
from tests.spec import actor, facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from domain.events import Record

WAIT_SECONDS = 30.0
LOG_ID = "0b5a1c5e-7d0c-4f0e-9d3b-3f6f2f9c1a77"

Answer = Future[Outcome]


def as_records(head: int, events: Sequence[Event], command_id: str = "") -> list[Record]:
    """Answer events as records that follow a head, each a command unless an id makes them one."""
    return [
        encode(
            fact.position,
            structs.replace(
                fact.envelope,
                command_id=CommandId(command_id or fact.envelope.command_id),
                actor=actor(ROOT),
            ),
        )
        for fact in facts(State(position=head), tuple(events))
    ]


def state_of(log: WritableLog) -> State:
    """Answer the fold of the whole log."""
    return evolve(State(), map(decode, log.read(0, 1_000_000)))


def events_of(log: WritableLog, after: int = len(EVENTS)) -> list[Event]:
    """Answer the events that follow a position, by default what came after the given world."""
    return [decode(record).envelope.event for record in log.read(after, 1_000_000)]


class WatchedLog(MemoryLog):
    """The given world in memory; it notes each append, and lets a test act just before one."""

    def __init__(self) -> None:
        super().__init__(LOG_ID)
        super().append(1, as_records(0, EVENTS))
        self.appends: list[list[Record]] = []
        self.before_append: Callable[[], None] = lambda: None

    def append(self, position: int, records: Sequence[Record]) -> None:
        """Let the test act, store, and note what was stored."""
        self.before_append()
        super().append(position, records)
        self.appends.append(list(records))

    def elsewhere(self, *events: Event, command_id: str = "") -> None:
        """Store events as another process does."""
        self.store(as_records(self.head(), events, command_id))

    def store(self, records: Sequence[Record]) -> None:
        """Store records past the watch."""
        super().append(self.head() + 1, records)


class Desk:
    """A writer over a log, and everything that it published and said."""

    def __init__(
        self,
        log: WritableLog,
        kind: type[Writer] = Writer,
        *,
        state: State | None = None,
        inputs: FixedInputs | None = None,
    ) -> None:
        self.log = log
        self.inputs = inputs or FixedInputs()
        self.published: list[Publication] = []
        self.halts: list[str] = []
        self.news = threading.Event()
        self.halted = threading.Event()
        self._ids = 0
        self.writer = kind(
            log,
            self.inputs,
            self._publish,
            state=state_of(log) if state is None else state,
            on_halt=self._halt,
        )

    def _halt(self, reason: str) -> None:
        self.halts.append(reason)
        self.halted.set()

    def _publish(self, publication: Publication) -> None:
        self.published.append(publication)
        settle(publication)
        self.news.set()

    def give(
        self,
        command: Command,
        by: str | Actor = ROOT,
        *,
        key: str = "",
        fingerprint: str | UnsetType = UNSET,
    ) -> Answer:
        """Queue a command; with a key it has this command id and, unless told, a fingerprint."""
        self._ids += 1
        answer: Answer = Future()
        context = Context(
            at=START,
            actor=by if isinstance(by, Actor) else actor(by),
            command_id=CommandId(key or f"cmd_{id(self)}_{self._ids}"),
            correlation_id=f"request-{self._ids}",
            fingerprint=fingerprint or (f"as {key}" if key else UNSET),
        )
        self.writer.submit(command, context, answer)
        return answer

    @contextmanager
    def open(self) -> Iterator[Desk]:
        """Let the writer work; what was given before is taken at once."""
        self.writer.start()
        try:
            yield self
        finally:
            self.writer.stop()

    def work(self) -> None:
        """Let the writer do all that waits, and end."""
        with self.open():
            pass


def group(number: int, name: str = "") -> CreateGroup:
    """A command that makes a group."""
    return CreateGroup(tenant=MAIN, id=GroupId(f"grp_{number}"), name=name or f"Group {number}")


def outcome(answer: Answer) -> Outcome:
    """Answer what became of a command; raises what it was refused with."""
    return answer.result(WAIT_SECONDS)


def refusal(answer: Answer) -> str:
    """Answer the code with which a command was refused."""
    fault = answer.exception(WAIT_SECONDS)
    assert fault is not None, "it was accepted"
    code = fault.code if isinstance(fault, DomainError) else getattr(fault, "code", "internal")
    return str(code)
