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
    """Earlier states of one log; may be asked from any thread, and reads for one at a time."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        # Two locks, because whoever keeps a new head must never wait for a long way back.
        self._reading = threading.Lock()
        self._keeping = threading.Lock()
        self._kept: list[State] = [State()]

    def keep(self, state: State) -> None:
        """Take note of a new head, and keep it where the last kept one is far enough behind."""
        with self._keeping:
            if state.position - self._kept[-1].position >= NEAR_POSITIONS:
                self._kept.append(state)
                self._thin()

    def at(self, position: int) -> State:
        """Answer the state right after the event at a position that has been reached.

        Raises what reading the log raises.
        """
        state = self._nearest(position)
        if state.position == position:
            return state
        with self._reading:
            # Whoever read before may have left a mark nearer by.
            draft = Draft(self._nearest(position))
            for fact in self._facts(draft.position, position):
                apply(draft, fact)
                if draft.position % FAR_POSITIONS == 0 and draft.position < position:
                    draft = Draft(self._marked(draft.finish()))
            return draft.finish()

    def position_at(self, instant: datetime) -> int:
        """Answer the last position whose event is not later than the instant, 0 for none.

        Raises what reading the log raises.
        """
        with self._reading:
            with self._keeping:
                index = bisect_right(self._kept, instant, key=_instant)
                before = self._kept[max(0, index - 1)].position
                beyond = self._kept[index].position if index < len(self._kept) else None
            if beyond is not None:
                between = range(before + 1, beyond)
                return before + bisect_right(between, instant, key=self._instant_of)
            for fact in self._facts(before, None):
                if fact.envelope.at > instant:
                    break
                before = fact.position
            return before

    def _nearest(self, position: int) -> State:
        with self._keeping:
            return self._kept[bisect_right(self._kept, position, key=_position) - 1]

    def _marked(self, state: State) -> State:
        """Leave a mark on a long way, so that it is long only once."""
        with self._keeping:
            insort(self._kept, state, key=_position)
        return state

    def _instant_of(self, position: int) -> datetime:
        (record,) = self._reader.read(position - 1, 1)
        return decode(record).envelope.at

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
            if (
                not kept
                or state.position > oldest
                or state.position - kept[-1].position >= FAR_POSITIONS
            ):
                kept.append(state)
        self._kept = kept


def _position(state: State) -> int:
    return state.position


def _instant(state: State) -> datetime:
    return state.at
