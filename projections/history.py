"""What was the state right after any position, and which position was the last at an instant?

Old states are values that cost little to keep, because they share what did not change. Some are
kept, close together for the recent past and far apart before; every other one is folded from the
nearest kept one, by the same fold as everything else.
"""

from __future__ import annotations

import threading
from bisect import bisect_right, insort
from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol

from domain.events import Record, decode
from domain.state import Draft, State, apply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from domain.events import Fact

NEAR_POSITIONS: Final = 1_000
RECENT_POSITIONS: Final = 50_000
FAR_POSITIONS: Final = 10_000
PAGE_RECORDS: Final = 1_000


class Reader(Protocol):
    """A way to read the log that is this history's own."""

    def read(self, after: int, limit: int) -> list[Record]: ...


class History:
    """Earlier states of one log; may be asked from any thread, by one at a time."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self._kept: list[State] = [State()]

    def keep(self, state: State) -> None:
        """Take note of a new head, and keep it where the last kept one is far enough behind."""
        with self._lock:
            if state.position - self._kept[-1].position >= NEAR_POSITIONS:
                self._kept.append(state)
                self._thin()

    def at(self, position: int) -> State:
        """Answer the state right after the event at a position that has been reached.

        Raises what reading the log raises.
        """
        with self._lock:
            state = self._nearest(position)
            if state.position == position:
                return state
            draft = Draft(state)
            for fact in self._facts(state.position, position):
                apply(draft, fact)
                if draft.position % FAR_POSITIONS == 0 and draft.position < position:
                    # A long way: leave marks, so that it is long only once.
                    mark = draft.finish()
                    insort(self._kept, mark, key=_position)
                    draft = Draft(mark)
            return draft.finish()

    def position_at(self, instant: datetime) -> int:
        """Answer the last position whose event is not later than the instant, 0 for none."""
        with self._lock:
            index = bisect_right(self._kept, instant, key=_instant)
            start = self._kept[max(0, index - 1)]
            found = start.position
            for fact in self._facts(start.position, None):
                if fact.envelope.at > instant:
                    break
                found = fact.position
            return found

    def _nearest(self, position: int) -> State:
        return self._kept[bisect_right(self._kept, position, key=_position) - 1]

    def _facts(self, after: int, last: int | None) -> Iterator[Fact]:
        """Yield the facts that follow `after`, up to and with `last` or to the head."""
        while last is None or after < last:
            limit = PAGE_RECORDS if last is None else min(PAGE_RECORDS, last - after)
            page = self._reader.read(after, limit)
            for record in page:
                yield decode(record)
            if len(page) < limit:
                return
            after = page[-1].position

    def _thin(self) -> None:
        """Keep only every far one of what is no longer recent."""
        oldest = self._kept[-1].position - RECENT_POSITIONS
        kept: list[State] = []
        for state in self._kept:
            if not kept or state.position > oldest:
                kept.append(state)
            elif state.position - kept[-1].position >= FAR_POSITIONS:
                kept.append(state)
        self._kept = kept


def _position(state: State) -> int:
    return state.position


def _instant(state: State) -> datetime:
    return state.at
