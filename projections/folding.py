"""What of the journal is written in full, and what is only counted?

Whoever is refused can be refused a million times, so what comes from one source in a minute is
written in full up to a budget and counted beyond it: neither the disk nor the memory grows with
the flood, and nothing is lost from the sums. Strangers, whose sources are as many as they like,
share a budget besides.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from projections.journal import Counted

# Entries in full a minute: of one source, of one stranger's network, of all strangers, of all.
A_SOURCE_MAX: Final = 120
A_STRANGER_MAX: Final = 30
STRANGERS_MAX: Final = 300
ALL_MAX: Final = 6_000

# Different counts a minute: those of one source that tell what was asked for, and all.
COUNTS_OF_A_SOURCE_MAX: Final = 64
COUNTS_MAX: Final = 20_000


class Folding:
    """The budgets and the counts of a minute at a time; used from one thread."""

    def __init__(self) -> None:
        self.minute = 0
        self._written = 0
        self._written_of_strangers = 0
        self._written_of: Counter[str] = Counter()
        self._counts_of: Counter[str] = Counter()
        self._counts: dict[Counted, int] = {}
        self._over: dict[Counted, int] = {}

    def go_on(self, minute: int) -> None:
        """Begin a new minute where it has come: its budgets are fresh."""
        if minute == self.minute:
            return
        for counted, number in _positive(self._counts):
            self._set_aside(counted, number)
        self.minute = minute
        self._written = self._written_of_strangers = 0
        self._written_of = Counter()
        self._counts_of = Counter()
        self._counts = {}

    def admits(self, source: str, *, stranger: bool) -> bool:
        """Tell whether one more of a source is written in full, and charge it to the budgets."""
        if self._written >= ALL_MAX:
            return False
        if stranger and self._written_of_strangers >= STRANGERS_MAX:
            return False
        # Asked of what is there only, since a flood from everywhere would fill the memory.
        if self._written_of.get(source, 0) >= (A_STRANGER_MAX if stranger else A_SOURCE_MAX):
            return False
        self._written += 1
        self._written_of_strangers += stranger
        self._written_of[source] += 1
        return True

    def count(self, source: str, counted: Counted, number: int = 1) -> None:
        """Count what is not written in full, for the present minute."""
        counts = self._counts
        if counted not in counts:
            counted = self._bounded(source, counted)
        counts[counted] = counts.get(counted, 0) + number

    def _bounded(self, source: str, counted: Counted) -> Counted:
        """Answer under what a new thing is counted: less tells of it, the more there are."""
        if len(self._counts) >= COUNTS_MAX:
            return _barely(counted)
        if self._counts_of[source] >= COUNTS_OF_A_SOURCE_MAX:
            return counted._replace(code="", tenant="", subject="", resource_type="", action="")
        self._counts_of[source] += 1
        return counted

    def _set_aside(self, counted: Counted, number: int) -> None:
        """Keep the count of a minute that is over until it is written, however long that takes."""
        if counted not in self._over and len(self._over) >= COUNTS_MAX:
            counted = _barely(counted)
        self._over[counted] = self._over.get(counted, 0) + number

    def due(self) -> list[tuple[Counted, int]]:
        """Answer what was counted and not yet taken as written; see `settled`."""
        due = dict(self._over)
        for counted, number in _positive(self._counts):
            due[counted] = due.get(counted, 0) + number
        return [*due.items()]

    def settled(self, due: list[tuple[Counted, int]]) -> None:
        """Take it that what `due` answered is written.

        A count of the present minute stays known at zero: written again, it is no new one.
        """
        for counted, number in due:
            rest = number - self._over.pop(counted, 0)
            if rest:
                self._counts[counted] -= rest


_NOTHING: Final = ("",) * (len(Counted._fields) - 3)


def _barely(counted: Counted) -> Counted:
    minute, kind, outcome, *_ = counted
    return Counted(minute, kind, outcome, *_NOTHING)


def _positive(counts: dict[Counted, int]) -> list[tuple[Counted, int]]:
    return [(counted, number) for counted, number in counts.items() if number]
