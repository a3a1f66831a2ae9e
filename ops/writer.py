"""How do commands become events, one after another, each on the exact head of the log?

One thread owns the head state and the writing connection. It takes all the commands that wait,
decides them one after another on a draft, appends their events as one batch, and tells readers
and callers when they are durable. That a decision was taken on the exact head is proved by its
append, or, where there is nothing to append, by reading on; whatever other processes appended
first is applied, and all is decided anew (event-log 3 and 7).
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct, structs

from api.request_errors import UnavailableError
from domain import (
    bindings,
    commands,
    erasures,
    groups,
    owners,
    service_accounts,
    tenants,
    tokens,
    users,
)
from domain.errors import DomainError
from domain.events import (
    Event,
    Fact,
    Log,
    Record,
    UnfaithfulEventError,
    decode,
)
from domain.state import Draft, Recorded, State, apply
from ops.appends import Appends
from ops.store_errors import (
    AppendRefusedError,
    LogRegressedError,
    PositionTakenError,
    StoreBrokenError,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from ops.inputs import Inputs

QUEUE_COMMANDS_MAX: Final = 1024
# Places that only revocations may take, so that no flood keeps one waiting (security 6.4).
RESERVED_COMMANDS: Final = 64
BATCH_COMMANDS_MAX: Final = 256
# A batch is full once it holds this much; its last command may reach beyond, since it goes whole.
BATCH_BYTES_MAX: Final = 1_048_576
DECISIONS_MAX: Final = 5
PAGE_RECORDS: Final = 500
POLL_SECONDS: Final = 1.0

REVOCATIONS: Final = (
    bindings.DeleteBinding,
    groups.RemoveMember,
    owners.RevokeInstanceOwner,
    service_accounts.DisableServiceAccount,
    service_accounts.DeleteServiceAccount,
    tenants.EndTenantAccess,
    tokens.DisableToken,
    tokens.RevokeToken,
    tokens.RevokeAllTokens,
    users.DisableUser,
    users.DeleteUser,
    erasures.EraseUser,
    users.EndSessions,
    users.RemovePassword,
)

_log = logging.getLogger("muniment.writer")


class HaltedError(UnavailableError):
    """The process has stopped at something that it must not pass over."""


class Outcome(Struct, frozen=True):
    """What became of a command: its last position, and its events.

    `position` is the head where there was nothing to do; with `replayed` the events are those
    that the same command left when it was given first.
    """

    position: int
    events: tuple[Event, ...]
    replayed: bool = False


class Waiting(Protocol):
    """Whoever waits for an outcome: a future of asyncio or of concurrent.futures."""

    def done(self) -> bool: ...
    def set_result(self, result: Outcome, /) -> None: ...
    def set_exception(self, exception: BaseException, /) -> None: ...


class Pending(Struct, frozen=True):
    """A command in the queue."""

    command: commands.Command
    context: commands.Context
    waiting: Waiting


Settled = tuple[Waiting, Outcome | BaseException]


class Publication(Struct, frozen=True):
    """A new head: the state, the facts that led to it, and who can be told what."""

    state: State
    facts: tuple[Fact, ...]
    settled: tuple[Settled, ...]


class WritableLog(Log, Protocol):
    """What the writer needs beyond reading and appending."""

    def turn(self) -> AbstractContextManager[None]:
        """Hold other writers off while this one reads, decides and appends; a courtesy."""
        ...


class _Batch:
    """Commands decided on one draft, not yet appended."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.draft = Draft(state)
        self.records: list[Record] = []
        self.facts: list[Fact] = []
        self.settled: list[Settled] = []
        self.bytes = 0

    def undo(self) -> None:
        """Go back to the last whole command, whatever a fault has left on the draft."""
        self.draft = Draft(self.state)
        for fact in self.facts:
            apply(self.draft, fact)

    def publication(self) -> Publication:
        return Publication(self.draft.finish(), tuple(self.facts), tuple(self.settled))


def settle(publication: Publication) -> None:
    """Tell every caller of a batch its outcome; one that has hung up is told nothing."""
    for waiting, outcome in publication.settled:
        if waiting.done():
            continue
        if isinstance(outcome, BaseException):
            waiting.set_exception(outcome)
        else:
            waiting.set_result(outcome)


class Writer:
    """The only road by which events come into the log; `start` it once, `stop` it once.

    `publish` is called in the writer's thread for every new head, after its events are durable,
    and for outcomes that changed nothing; it hands them to the readers and then calls `settle`.
    """

    def __init__(
        self,
        log: WritableLog,
        inputs: Inputs,
        publish: Callable[[Publication], None],
        *,
        state: State | None = None,
        on_halt: Callable[[str], None] | None = None,
    ) -> None:
        self._log = log
        self._inputs = inputs
        self._publish = publish
        self._on_halt = on_halt
        self._state = State() if state is None else state
        self._ordinary: deque[Pending] = deque()
        self._revocations: deque[Pending] = deque()
        self._bell = threading.Condition()
        self._news = False
        self._stopping = False
        self._proved_at = inputs.monotonic()
        # What this process believes to be the end of the log, to be found there again.
        self._last = log.read(self._state.position - 1, 1) if self._state.position else []
        self._in_doubt = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self.halted: str | None = None
        self.appends = Appends()

    def start(self) -> None:
        """Begin to follow the log and to take commands."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what waits, then end the thread."""
        with self._bell:
            self._stopping = True
            self._bell.notify()
        if self._thread.is_alive():
            self._thread.join()

    def submit(
        self, command: commands.Command, context: commands.Context, waiting: Waiting
    ) -> None:
        """Queue a command; its outcome reaches `waiting` through `publish`.

        `context.at` is set by the writer. Raises UnavailableError: `writer.busy` for a full
        queue, `writer.halted`, `writer.stopping`.
        """
        pending = Pending(command, context, waiting)
        urgent = isinstance(command, REVOCATIONS)
        with self._bell:
            if self.halted is not None:
                raise HaltedError("writer.halted", 10)
            if self._stopping:
                raise UnavailableError("writer.stopping", 1)
            if self._in_doubt:
                raise UnavailableError("store.unreachable", 1)
            taken = len(self._ordinary) + len(self._revocations)
            if taken >= QUEUE_COMMANDS_MAX - (0 if urgent else RESERVED_COMMANDS):
                raise UnavailableError("writer.busy", 1)
            (self._revocations if urgent else self._ordinary).append(pending)
            self._bell.notify()

    def turn_away(self) -> None:
        """Refuse what waits, and what comes until it is known what became of the present append.

        The log says so, in the writer's thread, when an append has lost its answer: following that
        up may take 10 s, and nobody else is to hang so long (reliability E1).
        """
        with self._bell:
            self._in_doubt = True
            waiting = [*self._revocations, *self._ordinary]
            self._revocations.clear()
            self._ordinary.clear()
        self._refuse(waiting, "store.unreachable")

    def wake(self) -> None:
        """Look for what other processes appended, at once."""
        with self._bell:
            self._news = True
            self._bell.notify()

    def staleness_seconds(self) -> float:
        """Answer how long ago the process began the last proof of being at the head."""
        return self._inputs.monotonic() - self._proved_at

    # The thread

    def _run(self) -> None:
        while True:
            pending = self._take()
            if pending is None:
                return
            try:
                if not pending:
                    self._follow()
                while pending:
                    pending = pending[self._write(pending) :]
            except (AppendRefusedError, LogRegressedError, StoreBrokenError) as fault:
                self._halt(fault.code, pending, fault)
            except StoreError as fault:
                self._refuse(pending, fault.code)
            except Exception as fault:  # noqa: BLE001 - nothing is passed over: the process halts
                # An unknown topic, unreadable bytes, a fold that raises: what comes next may be
                # a revocation, so from here on nothing is known (reliability B7).
                self._halt(f"{type(fault).__name__}: {fault}", pending, fault)

    def _take(self) -> list[Pending] | None:
        """Wait for commands, news or the next poll; None when there is nothing left to do."""
        with self._bell:
            if not (self._revocations or self._ordinary or self._news or self._stopping):
                self._bell.wait(POLL_SECONDS)
            self._news = False
            pending: list[Pending] = []
            while len(pending) < BATCH_COMMANDS_MAX and (self._revocations or self._ordinary):
                pending.append((self._revocations or self._ordinary).popleft())
            return pending if pending or not self._stopping else None

    def _write(self, pending: list[Pending]) -> int:
        """Decide and append the first of these commands; answer how many were settled."""
        at_head = False
        for _ in range(DECISIONS_MAX):
            with self._log.turn():
                began = self._inputs.monotonic()
                batch = self._decided(pending)
                proved = self._append(batch) if batch.records else at_head or not self._follow()
                if not proved:
                    # Someone else was first: rights may have changed, so all is decided anew.
                    at_head = True
                    continue
            if batch.records:
                self._proved_at = began
                self._last = batch.records[-1:]
            publication = batch.publication()
            self._state = publication.state
            self._publish(publication)
            return len(batch.settled)
        self._refuse(pending, "log.contention")
        return len(pending)

    def _decided(self, pending: list[Pending]) -> _Batch:
        """Decide one after another on a fresh draft, until the batch is full."""
        batch = _Batch(self._state)
        for one in pending:
            if batch.bytes >= BATCH_BYTES_MAX:
                break
            batch.settled.append((one.waiting, self._decide(batch, one)))
        return batch

    def _append(self, batch: _Batch) -> bool:
        """Store the batch; False where someone else was first, whose events are then applied."""
        began = self._inputs.monotonic()
        try:
            self._log.append(batch.records[0].position, batch.records)
        except PositionTakenError:
            self.appends.conflicts += 1
            if not self._follow():
                raise AppendRefusedError("a position is taken and not to be read") from None
            return False
        finally:
            self._in_doubt = False
        took = self._inputs.monotonic() - began
        self.appends.done(batch.records, len(batch.settled), took)
        return True

    def _decide(self, batch: _Batch, pending: Pending) -> Outcome | BaseException:
        """Decide one command on the batch's draft: all its events or none."""
        draft = batch.draft
        at = max(self._inputs.now(), draft.at)
        context = structs.replace(pending.context, at=at)
        try:
            verdict = commands.decide(draft, pending.command, context)
            if not isinstance(verdict, Recorded):
                return self._accept(batch, pending.command, context, verdict)
        except (DomainError, UnfaithfulEventError) as refusal:
            return refusal
        except Exception as fault:  # noqa: BLE001 - a fault of one rule fails its command alone
            # Nothing of it is appended; its caller is told 500, and the others their outcomes.
            name = type(pending.command).__name__
            request = {"command": name, "request_id": context.correlation_id}
            _log.error("a command failed", exc_info=fault, extra=request)
            batch.undo()
            return fault
        return self._repeat(verdict, batch)

    def _accept(
        self,
        batch: _Batch,
        command: commands.Command,
        context: commands.Context,
        events: tuple[Event, ...],
    ) -> Outcome:
        draft = batch.draft
        facts = [*commands.facts_of(command, context, events, draft.position)]
        records = [commands.record_of(fact) for fact in facts]
        for fact in facts:
            apply(draft, fact)
        batch.records += records
        batch.facts += facts
        batch.bytes += sum(len(record.state) for record in records)
        return Outcome(draft.position, events)

    def _repeat(self, recorded: Recorded, batch: _Batch) -> Outcome:
        """Answer the events that the same command left when it was given first."""
        own: list[Fact] = []
        for fact in self._backwards(recorded.position, batch):
            # They stand side by side; an older command of the same id, whose record is forgotten,
            # may stand further back.
            if own and fact.envelope.command_id != own[0].envelope.command_id:
                break
            own.append(fact)
        events = tuple(fact.envelope.event for fact in reversed(own))
        return Outcome(recorded.position, events, replayed=True)

    def _backwards(self, position: int, batch: _Batch) -> Iterator[Fact]:
        """Yield the facts from a position down, those of this batch or else those of the log."""
        here = position - self._state.position
        if here > 0:
            yield from reversed(batch.facts[:here])
            return
        while position:
            after = max(0, position - PAGE_RECORDS)
            yield from map(decode, reversed(self._log.read(after, position - after)))
            position = after

    def _follow(self) -> bool:
        """Read on to the head in whole commands; tell whether there was anything new."""
        found = False
        limit = PAGE_RECORDS
        while True:
            began = self._inputs.monotonic()
            records = self._read_on(limit)
            page = [decode(record) for record in records]
            is_last = len(page) < limit
            whole = page if is_last else _whole_commands(page)
            if whole:
                found = True
                self._go_on(whole)
                self._last = records[len(whole) - 1 : len(whole)]
            if is_last:
                self._proved_at = began
                return found
            if not whole:
                # One command fills the page.
                limit *= 2

    def _read_on(self, limit: int) -> list[Record]:
        """Answer what follows the own last record, which must still stand where it stood.

        After a failover that lost events, or in another log, it does not: nothing that this
        process knows is sure then, so it halts (event-log 7).
        """
        known = len(self._last)
        records = self._log.read(self._state.position - known, limit + known)
        if records[:known] != self._last:
            raise LogRegressedError(f"position {self._state.position} is not what it was")
        return records[known:]

    def _go_on(self, facts: list[Fact]) -> None:
        """Apply and publish what others stored, whole commands without a gap."""
        draft = Draft(self._state)
        for fact in facts:
            if fact.position != draft.position + 1:
                raise AppendRefusedError(f"position {draft.position + 1} is missing")
            apply(draft, fact)
        self._state = draft.finish()
        self._publish(Publication(self._state, tuple(facts), ()))

    def _refuse(self, pending: list[Pending], code: str) -> None:
        if pending:
            settled = tuple((one.waiting, UnavailableError(code, 1)) for one in pending)
            self._publish(Publication(self._state, (), settled))

    def _halt(self, reason: str, pending: list[Pending], fault: Exception) -> None:
        """Stop for good: no answer is right any more until a person has looked."""
        _log.critical("halted", exc_info=fault, extra={"reason": reason})
        with self._bell:
            self.halted = reason
            pending = [*pending, *self._revocations, *self._ordinary]
            self._revocations.clear()
            self._ordinary.clear()
            self._stopping = True
        settled = tuple((one.waiting, HaltedError("writer.halted", 10)) for one in pending)
        self._publish(Publication(self._state, (), settled))
        if self._on_halt is not None:
            self._on_halt(reason)


def _whole_commands(page: list[Fact]) -> list[Fact]:
    """Answer the page without the last command, whose end may lie beyond the page."""
    last = page[-1].envelope.command_id
    end = len(page)
    while end and page[end - 1].envelope.command_id == last:
        end -= 1
    return page[:end]
