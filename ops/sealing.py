"""When is the log signed, and when must it not be?

A thread of its own signs the tree now and then, so that no command waits for it. It never signs
what contradicts an earlier checkpoint: an outsider who keeps that one could then no longer tell
whether the log was changed (transparency-log 2).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from sqlalchemy.exc import SQLAlchemyError

from ops.sinks import ship
from ops.store_errors import StoreError
from ops.vault import VaultError
from projections import transparency
from projections.transparency import BehindError

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from api.evidence import Signed
    from domain.events import Record
    from ops.checkpoints import Checkpoints, Turn
    from ops.inputs import Inputs
    from ops.sinks import Sink
    from ops.stores import Reader
    from ops.vault import Vault

EVERY_SECONDS: Final = 10.0
EVERY_EVENTS: Final = 10_000
# However many ask for a proof of what is not signed yet, they are answered together.
PAUSE_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.5

CONFLICT: Final = "muniment_checkpoint_conflict"

_AGAIN_AFTER: Final = (SQLAlchemyError, StoreError, VaultError)

_log = logging.getLogger("muniment.sealing")


class CheckpointConflictError(Exception):
    """What would be signed contradicts what was."""


class Rhythm(Struct, frozen=True, kw_only=True):
    """How often is signed: when that has passed, or so much was added, but not in between."""

    seconds: float = EVERY_SECONDS
    events: int = EVERY_EVENTS
    pause_seconds: float = PAUSE_SECONDS


class Sealer:
    """The signer of this process; `start` it once, `stop` it once.

    Several processes may sign the same log: they take turns, and each sees what the others signed.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        vault: Vault,
        tree: Engine,
        log: Reader,
        inputs: Inputs,
        *,
        reached: Callable[[], int],
        sink: Sink | None = None,
        rhythm: Rhythm | None = None,
    ) -> None:
        """`tree` are the views, whose nodes tell up to the position that `reached` answers."""
        self.checkpoints = checkpoints
        self._vault = vault
        self._tree = tree
        self._log = log
        self._reading = threading.Lock()
        self._inputs = inputs
        self._reached = reached
        self._sink = sink
        self._rhythm = rhythm or Rhythm()
        self._bell = threading.Condition()
        self._stopping = False
        self._asked = 0
        self._tried_at = -self._rhythm.seconds + inputs.monotonic()
        self._shipped: int | None = None
        self._waiters: dict[asyncio.Future[bool], int] = {}
        self._thread = threading.Thread(target=self._run, name="sealing", daemon=True)
        self.sealed_through = 0
        self.sealed_at: datetime | None = None
        self.conflict: str | None = None

    def start(self) -> None:
        """Begin to sign."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and sign what the views have reached by then."""
        with self._bell:
            self._stopping = True
            self._bell.notify()
        if self._thread.is_alive():
            self._thread.join()
        self._attempt()
        self._ship()

    async def wait_for(self, size: int, timeout_seconds: float) -> bool:
        """Ask for a checkpoint of at least this size, and wait; False when it does not come."""
        waiting: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        with self._bell:
            if self.sealed_through >= size:
                return True
            self._waiters[waiting] = size
            self._asked = max(self._asked, min(size, self._reached()))
            self._bell.notify()
        try:
            return await asyncio.wait_for(waiting, timeout_seconds)
        except TimeoutError:
            return False
        finally:
            with self._bell:
                self._waiters.pop(waiting, None)

    # Signing

    def seal(self) -> Signed | None:
        """Sign the tree as it is now; None where nothing has been added, or it is being made anew.

        Raises CheckpointConflictError, signing nothing, where the log was cut or is another one.
        """
        size = self._reached()
        with self.checkpoints.turn() as turn, self._tree.connect() as connection:
            self._require_continued(turn, connection, size)
            if size <= (turn.last.size if turn.last else 0):
                return None
            root = transparency.root(connection, size)
            self._require_own_end(connection, size)
            return turn.sign(size, root, self._vault, self._inputs)

    def note(self, text: str) -> str:
        """Answer a text as a note of the present origin, signed by every key that signs now."""
        return self.checkpoints.note(text, self._vault, self._inputs)

    def _require_continued(self, turn: Turn, connection: Connection, size: int) -> None:
        """Refuse a tree that does not continue the last one that was signed."""
        last = turn.last
        if last is None:
            return
        if size < last.size:
            # Either the nodes are being made anew, or there is less than was signed.
            with self._reading:
                head = self._log.head()
            if head < last.size:
                raise CheckpointConflictError(f"{last.size} events were signed, {head} are left")
        elif transparency.root(connection, last.size) != last.root:
            raise CheckpointConflictError(f"the first {last.size} events are not those signed")

    def _require_own_end(self, connection: Connection, size: int) -> None:
        """Refuse nodes of another log: the last leaf must be that of the record as it is stored."""
        record = self.record(size)
        stored = transparency.leaves(connection, size - 1, 1)
        if record is None or stored != [(size, transparency.leaf(record))]:
            raise CheckpointConflictError(f"event {size} is not the one that the tree knows")

    def record(self, position: int) -> Record | None:
        """Answer the record at a position, exactly as it is stored; from any thread."""
        with self._reading:
            found = self._log.read(position - 1, 1)
        return found[0] if found and found[0].position == position else None

    # The thread

    def _run(self) -> None:
        while not self._stopping:
            self.look()
            with self._bell:
                if not self._stopping:
                    self._bell.wait(self._wait_seconds())

    def look(self) -> None:
        """Take note of what others signed; sign where it is time; hand the notes on."""
        try:
            last = self.checkpoints.last()
            self._tell(last)
        except _AGAIN_AFTER as fault:
            _log.warning("not signed", extra={"reason": type(fault).__name__})
            return
        if self._is_due():
            self._attempt()
        self._ship()

    def _attempt(self) -> None:
        """Sign, and tell those who wait; what fails is tried again later."""
        self._tried_at = self._inputs.monotonic()
        try:
            signed = self.seal()
            self.conflict = None
            if signed is not None:
                self._tell(signed)
        except CheckpointConflictError as conflict:
            if self.conflict is None:
                _log.critical(CONFLICT, extra={"reason": str(conflict)})
            self.conflict = str(conflict)
        except BehindError:
            _log.info("not signed while the views are made anew")
        except _AGAIN_AFTER as fault:
            _log.warning("not signed", extra={"reason": type(fault).__name__})

    def _is_due(self) -> bool:
        grown = self._reached() - self.sealed_through
        since = self._inputs.monotonic() - self._tried_at
        if grown == 0 or since < self._rhythm.pause_seconds:
            return False
        is_wanted = self._asked > self.sealed_through or grown >= self._rhythm.events
        # Less than was signed has to be looked into as well.
        return is_wanted or since >= self._rhythm.seconds

    def _wait_seconds(self) -> float:
        if self._asked <= self.sealed_through:
            return POLL_SECONDS
        since = self._inputs.monotonic() - self._tried_at
        return min(POLL_SECONDS, max(0.0, self._rhythm.pause_seconds - since))

    def _tell(self, signed: Signed | None) -> None:
        size = 0 if signed is None else signed.size
        with self._bell:
            if 0 < self.sealed_through < size:
                self._tried_at = self._inputs.monotonic()
            self.sealed_through = size
            self.sealed_at = None if signed is None else signed.at
            ready = [waiting for waiting, wanted in self._waiters.items() if wanted <= size]
            for waiting in ready:
                del self._waiters[waiting]
        for waiting in ready:
            waiting.get_loop().call_soon_threadsafe(_settle, waiting)

    def _ship(self) -> None:
        """Hand on what was signed; what a sink does not take now is not passed over."""
        if self._sink is None:
            return
        try:
            after = self._sink.last() if self._shipped is None else self._shipped
            self._shipped = ship(self._sink, self.checkpoints, after)
        except (SQLAlchemyError, OSError) as fault:
            _log.warning("not shipped", extra={"reason": type(fault).__name__})
            self._shipped = None


def _settle(waiting: asyncio.Future[bool]) -> None:
    if not waiting.done():
        waiting.set_result(True)
