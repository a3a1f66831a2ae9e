"""How does the trail reach its sinks, at least once, in order, and without holding anybody up?

Each sink has a thread that reads the log behind its own position, hands a batch over, and only
then moves on. What fails is tried again after growing pauses; after many in a row the sink halts
and says so, and nothing is ever passed over (audit-export 2).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from api.deliveries import Ledger
from domain.state import State
from ops.sink_ledger import SinkLedgers
from ops.sink_targets import SinkError, Target
from ops.store_errors import StoreError
from projections import exporting
from projections.audit import EVERYWHERE
from projections.exporting import Part, Telling, Wanted
from projections.trail import Records, Sought

if TYPE_CHECKING:
    from domain.ids import SinkId
    from domain.sinks import Sink
    from ops.inputs import Inputs

POLL_SECONDS: Final = 1.0
# How long nobody looks whether the process that holds a sink has gone.
HELD_ELSEWHERE: Final = timedelta(seconds=5)
REST_SECONDS: Final = 0.1
PAUSE_FIRST: Final = timedelta(seconds=1)
PAUSE_MAX: Final = timedelta(minutes=5)
FAILURES_MAX: Final = 30
STOP_SECONDS: Final = 6.0

_log = logging.getLogger("muniment.sinks")


class _Rest(NamedTuple):
    """A sink as of its last change has nothing to do up to a position, or before an instant."""

    changed: int
    position: int
    until: datetime | None = None


class Deliveries:
    """The deliveries of one process; `publish` what is new, `stop` at the end."""

    def __init__(
        self,
        *,
        ledgers: SinkLedgers,
        records: Records,
        views: Engine,
        reached: Callable[[], int],
        telling: Callable[[State], Telling],
        target: Callable[[Sink], Target],
        inputs: Inputs,
    ) -> None:
        """`reached` answers how far the views tell, `target` the receiver of a sink."""
        self._ledgers = ledgers
        self._records = records
        self._views = views
        self._reached = reached
        self._telling = telling
        self._target = target
        self._inputs = inputs
        self._state = State()
        self._bell = threading.Condition()
        self._stopping = False
        self._threads: dict[SinkId, threading.Thread] = {}
        # Each entry is its sink's thread's.
        self._rests: dict[SinkId, _Rest] = {}
        self.failures: dict[SinkId, int] = {}

    def publish(self, state: State) -> None:
        """Say what there is now; from any thread, and nobody waits for a receiver."""
        with self._bell:
            self._state = state
            if self._stopping:
                return
            for sink in state.sinks:
                if sink not in self._threads:
                    thread = threading.Thread(
                        target=self._run, args=(sink,), name=f"sink-{sink[:8]}", daemon=True
                    )
                    self._threads[sink] = thread
                    thread.start()
            self._bell.notify_all()

    def stop(self) -> None:
        """End every thread after the batch that it is at, or without it where that hangs."""
        with self._bell:
            self._stopping = True
            self._bell.notify_all()
        for thread in [*self._threads.values()]:
            thread.join(STOP_SECONDS)
        try:
            self._ledgers.release()
        except SQLAlchemyError:
            # It is released by itself when its time is over.
            _log.warning("the sinks were not released")

    # One sink's thread

    def _run(self, id_: SinkId) -> None:
        target: Target | None = None
        while True:
            with self._bell:
                state = self._state
                if self._stopping or id_ not in state.sinks:
                    self._threads.pop(id_, None)
                    break
            sink = state.sinks[id_]
            target = target or self._target(sink)
            if not self._step(sink, target, state):
                with self._bell:
                    if self._state is state and not self._stopping:
                        self._bell.wait(POLL_SECONDS)
            with self._bell:
                self._bell.wait_for(lambda: self._stopping, REST_SECONDS)
        self._rests.pop(id_, None)
        if id_ not in state.sinks:
            self._forget(id_)

    def _forget(self, id_: SinkId) -> None:
        self.failures.pop(id_, None)
        try:
            self._ledgers.forget(id_)
        except SQLAlchemyError:
            _log.warning("the ledger of a deleted sink was kept", extra={"sink": id_})

    def _step(self, sink: Sink, target: Target, state: State) -> bool:
        """Hand over one batch if it is time; tell whether there is more to do at once."""
        if sink.paused or self._rests_still(sink, state):
            return False
        try:
            ledger = self._ledgers.claim(sink)
        except SQLAlchemyError:
            _log.warning("a sink's ledger cannot be read", extra={"sink": sink.id})
            return False
        if ledger is None:
            look_again = self._inputs.now() + HELD_ELSEWHERE
            self._rests[sink.id] = _Rest(sink.changed, state.position, look_again)
            return False
        if ledger.position >= state.position:
            self._rests[sink.id] = _Rest(sink.changed, state.position)
            return False
        if not self._is_due(sink, ledger):
            return False
        until = min(state.position, self._reached())
        if ledger.position < until:
            return self._deliver(sink, target, ledger, until, state)
        # The views are on their way.
        return True

    def _rests_still(self, sink: Sink, state: State) -> bool:
        """Tell whether there is nothing to ask the ledger for, as most of the time."""
        rest = self._rests.get(sink.id)
        if rest is None or rest.changed != sink.changed:
            return False
        if rest.until is None:
            return state.position <= rest.position
        return self._inputs.now() < rest.until

    def _deliver(
        self, sink: Sink, target: Target, ledger: Ledger, until: int, state: State
    ) -> bool:
        try:
            part = self._read(sink, target, ledger.position, until, state)
            if part.lines:
                target.take(part.lines)
            position = until if part.after is None else part.after
            self._ledgers.delivered(sink, position)
        except SinkError as fault:
            return self._failed(sink, ledger, fault.code)
        except (SQLAlchemyError, StoreError):
            return self._failed(sink, ledger, "store.unreachable")
        except Exception as fault:  # noqa: BLE001 - whatever it is, this sink halts and no other
            _log.error("a sink's batch", extra={"sink": sink.id, "reason": type(fault).__name__})
            return self._failed(sink, ledger, "sink.poisoned", at_once=True)
        return position < state.position

    def _is_due(self, sink: Sink, ledger: Ledger) -> bool:
        if ledger.halted is not None:
            return sink.changed > ledger.halted
        return ledger.next_try is None or ledger.next_try <= self._inputs.now()

    def _read(self, sink: Sink, target: Target, after: int, until: int, state: State) -> Part:
        wanted = Wanted(
            scope=EVERYWHERE, after=after, until=until, sought=Sought(topics=sink.types)
        )
        with self._views.connect() as connection:
            return exporting.part(
                connection, self._records, wanted, target.form, self._telling(state)
            )

    def _failed(self, sink: Sink, ledger: Ledger, code: str, *, at_once: bool = False) -> bool:
        """Note a failure, the next try, and after many in a row the halt; answers False."""
        self.failures[sink.id] = self.failures.get(sink.id, 0) + 1
        failures = 1 if ledger.halted is not None else ledger.failures + 1
        halts = at_once or failures >= FAILURES_MAX
        pause = min(PAUSE_FIRST * 2 ** min(failures - 1, 16), PAUSE_MAX)
        noted = Ledger(
            position=ledger.position,
            begun=ledger.begun,
            failures=failures,
            error=code,
            next_try=None if halts else self._inputs.now() + pause,
            halted=sink.changed if halts else None,
        )
        said = {"sink": sink.id, "code": code, "failures": failures, "position": ledger.position}
        if halts:
            _log.critical("a sink halted", extra=said)
        else:
            _log.warning("a sink did not take a batch", extra=said)
        try:
            self._ledgers.failed(sink, noted)
        except SQLAlchemyError:
            _log.warning("a sink's ledger cannot be written", extra={"sink": sink.id})
        return False
