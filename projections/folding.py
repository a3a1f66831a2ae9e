"""What of the journal is written in full, and what is only counted?

Whoever is refused can be refused a million times, so what comes from one source in a minute is
written in full up to a budget and counted beyond it: neither the disk nor the memory grows with
the flood, and nothing is lost from the sums. Strangers, whose sources are as many as they like,
share a budget besides.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Final

from projections.journal import Counted, Kind, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

# Entries in full a minute: of one source, of one stranger's network, of all strangers, of all.
A_SOURCE_MAX: Final = 120
A_STRANGER_MAX: Final = 30
STRANGERS_MAX: Final = 300
ALL_MAX: Final = 6_000

# Different counts a minute: those of one source that tell what was asked for, and all.
COUNTS_OF_A_SOURCE_MAX: Final = 64
COUNTS_MAX: Final = 20_000


# Kind and outcome of acts, and whose they were: principal, token and network.
Who = tuple[Kind, Outcome, str, str, str]
# Subject, resource type, action, tenant and code of an act; decisions have no code of their own.
What = tuple[str | None, str, str, str, str] | tuple[str | None, str, str, str]

_NOTHING: Final = ("", "", "", "", "")


class Folding:
    """The budgets and the counts of a minute at a time.

    Whoever acts and whoever writes may be two threads: `due` and `settled` are the writer's, and
    all else takes turns.
    """

    def __init__(self, minute: int) -> None:
        self._turns = threading.Lock()
        self._minute = minute
        self._written = 0
        self._written_of_strangers = 0
        self._written_of: Counter[str] = Counter()
        self._known = 0
        self._known_of: Counter[str] = Counter()
        self._counts: dict[Who, dict[What, int]] = {}
        self._past: list[tuple[int, dict[Who, dict[What, int]]]] = []
        self._over: dict[Counted, int] = {}

    def go_on(self, minute: int) -> None:
        """Begin a new minute where it has come: its budgets are fresh."""
        if minute == self._minute:
            return
        with self._turns:
            self._past.append((self._minute, self._counts))
            self._minute = minute
            self._written = self._written_of_strangers = self._known = 0
            self._written_of = Counter()
            self._known_of = Counter()
            self._counts = {}

    def admits(self, source: str, number: int = 1, *, stranger: bool = False) -> int:
        """Answer how many more of a source are written in full, and charge the budgets."""
        with self._turns:
            # Asked of what is there only, since a flood from everywhere would fill the memory.
            written = self._written_of.get(source, 0)
            left = min(
                number,
                ALL_MAX - self._written,
                (A_STRANGER_MAX if stranger else A_SOURCE_MAX) - written,
            )
            if stranger:
                left = min(left, STRANGERS_MAX - self._written_of_strangers)
            if left <= 0:
                return 0
            self._written += left
            self._written_of_strangers += left * stranger
            self._written_of[source] = written + left
            return left

    def count(self, source: str, who: Who, acts: Sequence[What]) -> None:
        """Count what is not written in full, for the present minute.

        Less is told of what is new, the more there is: of the act, then of whose it was.
        """
        with self._turns:
            counts = self._counts.get(who, {})
            room = min(
                COUNTS_OF_A_SOURCE_MAX - self._known_of.get(source, 0), COUNTS_MAX - self._known
            )
            begun, rest = len(counts), 0
            for act in acts:
                number = counts.get(act)
                if number is not None:
                    counts[act] = number + 1
                elif room > 0:
                    room -= 1
                    counts[act] = 1
                else:
                    rest += 1
            new = len(counts) - begun
            if new:
                self._counts[who] = counts
                self._known += new
                self._known_of[source] += new
            if rest:
                self._count_barely(who, rest)

    def _count_barely(self, who: Who, number: int) -> None:
        if self._known >= COUNTS_MAX:
            who = _barely(who)
        counts = self._counts.setdefault(who, {})
        self._known += _NOTHING not in counts
        counts[_NOTHING] = counts.get(_NOTHING, 0) + number

    def due(self) -> list[tuple[Counted, int]]:
        """Answer what was counted and not yet taken as written; see `settled`.

        A count of the present minute stays known at zero: written again, it is no new one.
        """
        with self._turns:
            counted, self._past = [*self._past, (self._minute, self._counts)], []
            self._counts = {who: dict.fromkeys(acts, 0) for who, acts in self._counts.items()}
        for minute, counts in counted:
            self._set_aside(minute, counts)
        return [*self._over.items()]

    def _set_aside(self, minute: int, counts: dict[Who, dict[What, int]]) -> None:
        """Keep the counts until they are written, however long that takes."""
        over = self._over
        for who, acts in counts.items():
            for act, number in acts.items():
                if not number:
                    continue
                counted = _counted(minute, who, act)
                if counted not in over and len(over) >= COUNTS_MAX:
                    counted = _counted(minute, _barely(who), _NOTHING)
                over[counted] = over.get(counted, 0) + number

    def settled(self) -> None:
        """Take it that what `due` answered is written."""
        self._over.clear()


def _barely(who: Who) -> Who:
    kind, outcome, *_ = who
    return kind, outcome, "", "", ""


def _counted(minute: int, who: Who, act: What) -> Counted:
    kind, outcome, principal, token, network = who
    subject, type_, action, tenant, *code = act
    return Counted(
        minute,
        kind,
        outcome,
        code[0] if code else "",
        tenant,
        principal,
        token,
        subject or "",
        type_,
        action,
        network,
    )
