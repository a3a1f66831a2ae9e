"""How do the views follow the log, and when have they reached a position?

A thread of its own reads whole commands, folds them, and writes what they change together with
the position, all in one transaction. What it cannot apply it does not pass over: it halts.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Protocol

from sqlalchemy.exc import InterfaceError, OperationalError

from domain.events import Record, UnknownTopicError, UnreadableEventError, decode
from domain.state import Draft, State, apply
from projections import audit, views
from projections.batch import Batch
from projections.directory import changes, temporal
from projections.transparency import TreeWriter

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from domain.events import Fact
    from projections.views import Place

PAGE_RECORDS: Final = 500
POLL_SECONDS: Final = 1.0

_log = logging.getLogger("muniment.views")


class LogReader(Protocol):
    """What the views need of the log; it is read in their own thread."""

    @property
    def log_id(self) -> str: ...
    def read(self, after: int, limit: int) -> list[Record]: ...


class MissingEventError(Exception):
    """The log does not go on where it was left."""


_SPEAKING = (MissingEventError, UnknownTopicError, UnreadableEventError)


def project(batch: Batch, draft: Draft, fact: Fact) -> None:
    """Apply one event to the draft, and gather what it changes in every view."""
    touched = changes.touched(draft, fact.envelope.event)
    seen = audit.see(draft, fact)
    apply(draft, fact)
    for row in touched:
        temporal.record(batch, draft, row)
    audit.record(batch, draft, fact, seen)


class ViewRunner:
    """The views' only writer in this process; `start` it once, `stop` it once.

    Several processes may keep the same views: whoever has the lock writes what the others have
    not, and each follows with its own fold.
    """

    def __init__(
        self,
        log: LogReader,
        engine: Engine,
        *,
        state: State | None = None,
        state_at: Callable[[int], State] | None = None,
        retry_on: tuple[type[Exception], ...] = (),
        on_halt: Callable[[str], None] | None = None,
        on_applied: Callable[[int], None] | None = None,
    ) -> None:
        """Take a fold to begin with: `state`, or where the rows are behind it, `state_at`'s.

        Without either the whole log is folded again. `on_applied` is told in the views' thread
        how many events were taken in.

        After an exception of `retry_on`, as after a lost connection to the views, the same is
        tried again; after any other the views halt, and `on_halt` is told why in their thread.
        """
        self._log = log
        self._engine = engine
        self._state = State() if state is None else state
        self._state_at = state_at
        self._retry_on: tuple[type[Exception], ...] = (
            OperationalError,
            InterfaceError,
            *retry_on,
        )
        self._on_halt = on_halt
        self._on_applied = on_applied
        self._bell = threading.Condition()
        self._told = 0
        self._stopping = False
        self._verified = False
        self._waiters: dict[asyncio.Future[bool], int] = {}
        self._thread = threading.Thread(target=self._run, name="views", daemon=True)
        self._tree = TreeWriter()
        self.position = 0
        self.halted: str | None = None

    def start(self) -> None:
        """Begin to follow the log."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the batch that it is at."""
        with self._bell:
            self._stopping = True
            self._bell.notify()
        if self._thread.is_alive():
            self._thread.join()

    def catch_up(self) -> int:
        """Apply all that the log holds, in the caller's thread and not after `start`.

        Answers the position; raises what would halt the views.
        """
        while self._advance():
            pass
        return self.position

    def notify(self, position: int) -> None:
        """Say that the log has come to a position; from any thread."""
        with self._bell:
            self._told = max(self._told, position)
            self._bell.notify()

    async def wait_for(self, position: int, timeout_seconds: float) -> bool:
        """Wait until the views tell up to a position; False when they do not get there in time."""
        waiting: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        with self._bell:
            if self.position >= position:
                return True
            if self.halted is not None:
                return False
            self._waiters[waiting] = position
        try:
            return await asyncio.wait_for(waiting, timeout_seconds)
        except TimeoutError:
            return False
        finally:
            with self._bell:
                self._waiters.pop(waiting, None)

    # The thread

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._follow()
        except Exception as fault:  # noqa: BLE001 - whatever it is, it is not passed over
            # What a database or its driver says may quote rows, which belong in no log.
            said = f": {fault}" if isinstance(fault, _SPEAKING) else ""
            self._halt(f"{type(fault).__name__}{said}")

    def _follow(self) -> None:
        """Go on by one batch, or wait for news."""
        try:
            moved = self._advance()
        except self._retry_on as fault:
            _log.warning("not followed", extra={"reason": type(fault).__name__})
            with self._bell:
                self._bell.wait_for(lambda: self._stopping, POLL_SECONDS)
            return
        with self._bell:
            if not moved and not self._stopping and self._told <= self._state.position:
                self._bell.wait(POLL_SECONDS)

    def _advance(self) -> bool:
        """Apply the next whole commands; tell whether there was anything to do."""
        if not self._verified:
            self._verify()
        records, facts = self._read()
        if not facts:
            return False
        with self._engine.begin() as connection:
            place = views.lock(connection)
            if place is None or place.position < self._state.position:
                # Another process has begun anew.
                self._verified = False
                return True
            batch = Batch()
            state = self._fold(batch, facts, place.position)
            tree = self._tree.add(connection, batch, place.position, records)
            batch.write(connection)
            if state.position > place.position:
                views.move(connection, state.position, _hash(records[-1]))
        self._state = state
        self._tree.keep(tree)
        self._reached(max(place.position, state.position))
        if self._on_applied is not None:
            self._on_applied(len(facts))
        return True

    def _verify(self) -> None:
        """Begin anew where the rows are not those of this log (event-log 7)."""
        with self._engine.begin() as connection:
            place = views.lock(connection)
            if place is None or not self._is_ours(place):
                if place is not None:
                    _log.warning("the views are made anew")
                views.begin(connection, self._log.log_id)
                place = None
        position = 0 if place is None else place.position
        if position < self._state.position:
            self._state = State() if self._state_at is None else self._state_at(position)
        self._verified = True
        self._reached(position)

    def _is_ours(self, place: Place) -> bool:
        if place.log_id != self._log.log_id:
            return False
        if place.position == 0:
            return True
        found = self._log.read(place.position - 1, 1)
        return bool(found) and _hash(found[0]) == place.record_hash

    def _read(self) -> tuple[list[Record], list[Fact]]:
        """Answer the next whole commands of the log, as stored and as read."""
        limit = PAGE_RECORDS
        while True:
            records = self._log.read(self._state.position, limit)
            facts = [decode(record) for record in records]
            end = len(facts) if len(facts) < limit else _end_of_whole_commands(facts)
            if end or not facts:
                return records[:end], facts[:end]
            limit *= 2

    def _fold(self, batch: Batch, facts: list[Fact], stored: int) -> State:
        draft = Draft(self._state)
        for fact in facts:
            if fact.position != draft.position + 1:
                raise MissingEventError(f"position {draft.position + 1} is missing")
            if fact.position <= stored:
                apply(draft, fact)
            else:
                project(batch, draft, fact)
        return draft.finish()

    def _reached(self, position: int) -> None:
        with self._bell:
            self.position = position
            ready = [waiting for waiting, wanted in self._waiters.items() if wanted <= position]
            for waiting in ready:
                del self._waiters[waiting]
        _tell(ready, reached=True)

    def _halt(self, reason: str) -> None:
        """Stop for good: the rows are right up to their position, and will not go on."""
        _log.critical("halted", extra={"reason": reason})
        with self._bell:
            self.halted = reason
            ready = [*self._waiters]
            self._waiters.clear()
        _tell(ready, reached=False)
        if self._on_halt is not None:
            self._on_halt(reason)


def _hash(record: Record) -> bytes:
    return sha256(record.state).digest()


def _end_of_whole_commands(facts: list[Fact]) -> int:
    """Answer where the last command begins, because its end may lie beyond the page."""
    last = facts[-1].envelope.command_id
    end = len(facts)
    while end and facts[end - 1].envelope.command_id == last:
        end -= 1
    return end


def _tell(ready: list[asyncio.Future[bool]], *, reached: bool) -> None:
    for waiting in ready:
        waiting.get_loop().call_soon_threadsafe(_settle, waiting, reached)


def _settle(waiting: asyncio.Future[bool], reached: bool) -> None:  # noqa: FBT001 - called back
    if not waiting.done():
        waiting.set_result(reached)
