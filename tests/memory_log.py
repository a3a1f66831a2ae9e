"""What does a log do that forgets everything at the end of a test?"""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING

from ops.store_errors import AppendRefusedError, PositionTakenError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from domain.events import Record


class MemoryLog:
    """A log in a list, for tests of what stands on the protocol; the conformance suite holds it."""

    def __init__(self, log_id: str) -> None:
        self.log_id = log_id
        self._records: list[Record] = []
        self._lock = threading.Lock()
        self._bell = threading.Event()

    def head(self) -> int:
        """Return the last position, 0 when there is none."""
        return len(self._records)

    def read(self, after: int, limit: int) -> list[Record]:
        """Return at most `limit` records at `after` + 1 and on, in order."""
        return self._records[after : after + limit]

    def append(self, position: int, records: Sequence[Record]) -> None:
        """Store `records` at `position` and after, all or none."""
        if [record.position for record in records] != [*range(position, position + len(records))]:
            raise ValueError(f"records do not stand at {position} and after, without gaps")
        if not records:
            raise ValueError("an append without records")
        with self._lock:
            if position <= len(self._records):
                raise PositionTakenError(f"position {position} is taken")
            if position > len(self._records) + 1:
                raise AppendRefusedError(f"position {position} does not follow")
            self._records.extend(records)
        self._bell.set()

    def turn(self) -> AbstractContextManager[None]:
        """Return a context for read, decide, append."""
        return nullcontext()

    def wait(self, timeout_seconds: float) -> None:
        """Return when the log has grown since the last wait, at `wake`, or in time."""
        self._bell.wait(timeout_seconds)
        self._bell.clear()

    def wake(self) -> None:
        """End the present or next `wait` at once."""
        self._bell.set()

    def close(self) -> None:
        """Do nothing: there is nothing to close."""
