"""What was the state right after any position, and which position was the last at an instant?

Old states are values that cost little to keep, because they share what did not change. Some are
kept, close together for the recent past and far apart before; every other one is folded from the
nearest kept one, by the same fold as everything else. So that no way is too long there are
snapshots on disk: what is kept of the past behind one of them goes when it has not been asked for.
"""

from __future__ import annotations

import threading
from bisect import bisect_right, insort
from collections import OrderedDict
from contextlib import nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from domain.events import Record, decode
from domain.state import Draft, State, apply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from domain.events import Fact

# How near to each other states are kept, by how far they are behind the head: what is folded
# between two of them is what a question about the past costs, some 10 µs an event.
NEAR: Final = ((10_000, 150), (50_000, 1_000))
FAR_POSITIONS: Final = 1_500
# Of a longer log they are kept further apart: each may take a megabyte.
KEPT_MAX: Final = 800
PAGE_RECORDS: Final = 1_000

# A snapshot is looked for where the way from what is kept is longer than this, and one is
# written wherever a way comes through a multiple of the other.
LOOKED_FOR_POSITIONS: Final = 10_000
SAVED_POSITIONS: Final = 250_000
# A state from a snapshot shares nothing with the others: it takes as much as the live one.
LOADED_MAX: Final = 4


class Reader(Protocol):
    """A way to read the log that is this history's own."""

    def read(self, after: int, limit: int) -> list[Record]: ...


class Snapshots(Protocol):
    """States on disk; used by one thread at a time, together with the history's reader."""

    def between(self, after: int, position: int) -> State | None:
        """Answer the last state behind the one position and not behind the other, if any fits."""
        ...

    def save(self, state: State) -> None:
        """Write a state; what cannot be written is done without."""
        ...


class _Kept(NamedTuple):
    """A state, and the position of the snapshot that it comes from, 0 for the live states."""

    state: State
    origin: int


class History:
    """Earlier states of one log; may be asked from any thread, and reads for one at a time."""

    def __init__(
        self,
        reader: Reader,
        snapshots: Snapshots | None = None,
        *,
        on_folded: Callable[[int], None] | None = None,
        undisturbed: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`on_folded` is told, by whoever asked, how many events more were folded on a long way.

        A fold is done within `undisturbed`.
        """
        self._reader = reader
        self._snapshots = snapshots
        self._on_folded = on_folded
        self._undisturbed = undisturbed
        # Two locks, because whoever keeps a new head must never wait for a long way back.
        self._reading = threading.Lock()
        self._keeping = threading.Lock()
        self._kept = [_Kept(State(), 0)]
        self._loaded: OrderedDict[int, None] = OrderedDict()

    def keep(self, state: State) -> None:
        """Take note of a new head, and keep it where the last kept one is far enough behind."""
        with self._keeping:
            if state.position - self._kept[-1].state.position >= NEAR[0][1]:
                self._kept.append(_Kept(state, 0))
                self._thin()

    def save(self, state: State) -> None:
        """Write a snapshot of a head, for the next start and for questions about its past."""
        with self._reading:
            self._save(state)

    def at(self, position: int) -> State:
        """Answer the state right after the event at a position that has been reached.

        Raises what reading the log raises.
        """
        state, _ = self._nearest(position)
        if state.position == position:
            return state
        with self._reading, self._undisturbed():
            return self._folded(*self._nearer(position), position)

    def position_at(self, instant: datetime) -> int:
        """Answer the last position whose event is not later than the instant, 0 for none.

        Raises what reading the log raises.
        """
        with self._reading:
            with self._keeping:
                index = bisect_right(self._kept, instant, key=_instant)
                before = self._kept[max(0, index - 1)].state.position
                beyond = self._kept[index].state.position if index < len(self._kept) else None
            if beyond is not None:
                between = range(before + 1, beyond)
                return before + bisect_right(between, instant, key=self._instant_of)
            for fact in self._facts(before, None):
                if fact.envelope.at > instant:
                    break
                before = fact.position
            return before

    # The way to a position

    def _nearest(self, position: int) -> _Kept:
        with self._keeping:
            return self._kept[bisect_right(self._kept, position, key=_position) - 1]

    def _nearer(self, position: int) -> _Kept:
        """Answer the nearest state, from disk where that is much nearer."""
        # Whoever read before may have left a mark nearer by.
        kept = self._nearest(position)
        behind = kept.state.position
        if self._snapshots is not None and position - behind > LOOKED_FOR_POSITIONS:
            found = self._snapshots.between(behind, position)
            if found is not None:
                kept = _Kept(found, found.position)
                with self._keeping:
                    insort(self._kept, kept, key=_position)
        if kept.origin:
            self._use(kept.origin)
        return kept

    def _use(self, origin: int) -> None:
        """Note that a loaded snapshot was asked for; forget the one that has longest not been."""
        with self._keeping:
            self._loaded[origin] = None
            self._loaded.move_to_end(origin)
            if len(self._loaded) > LOADED_MAX:
                oldest, _ = self._loaded.popitem(last=False)
                self._kept = [one for one in self._kept if one.origin != oldest]

    def _folded(self, state: State, origin: int, position: int) -> State:
        """Fold on to the position, leaving marks on a long way, so that it is long only once."""
        while True:
            begun = state.position
            marked = min(position, begun + self._apart(begun))
            draft = Draft(state)
            for fact in self._facts(begun, marked):
                apply(draft, fact)
            state = draft.finish()
            if marked == position:
                return state
            self._mark(_Kept(state, origin), marked - begun)

    def _mark(self, kept: _Kept, folded: int) -> None:
        with self._keeping:
            insort(self._kept, kept, key=_position)
        position = kept.state.position
        if position // SAVED_POSITIONS > (position - folded) // SAVED_POSITIONS:
            self._save(kept.state)
        if self._on_folded is not None:
            self._on_folded(folded)

    def _save(self, state: State) -> None:
        if self._snapshots is not None:
            self._snapshots.save(state)

    # Reading

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

    # What is kept

    def _apart(self, position: int) -> int:
        """Answer how far from each other states are kept at a position: far, long ago.

        Further in a log that is long, so that they are never too many.
        """
        head = self._kept[-1].state.position
        far = FAR_POSITIONS * (1 + head // (FAR_POSITIONS * KEPT_MAX))
        return next((apart for reach, apart in NEAR if position > head - reach), far)

    def _thin(self) -> None:
        """Take away what is nearer to the one before than it need be any more."""
        kept: list[_Kept] = []
        for one in self._kept:
            position = one.state.position
            if (
                not kept
                or position - kept[-1].state.position >= self._apart(position)
                or position == one.origin
            ):
                kept.append(one)
        self._kept = kept


def _position(kept: _Kept) -> int:
    return kept.state.position


def _instant(kept: _Kept) -> datetime:
    return kept.state.at
