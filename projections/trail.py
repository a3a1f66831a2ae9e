"""Which entries of the trail are next, from a position on or back from one, and how far is that?

Searches, feeds, tails and exports all read by position, a part at a time: so they hold nothing
between two parts, and whoever remembers how far a part looked misses nothing and repeats nothing.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, false, or_, select

from domain.events import Record
from projections import marks
from projections.audit import EVERYWHERE, OUTCOME, Scope
from projections.entries import TABLE, Entry

if TYPE_CHECKING:
    from projections.marks import AnyOf

# Records so near to each other are read together: what lies between costs less than asking again.
_NEAR_POSITIONS: Final = 16

_FIELDS: Final = Entry.__struct_fields__


class Sought(Struct, frozen=True, kw_only=True):
    """What entries are asked for: all that is given holds, and what is not given is not asked.

    `target` is any object that an entry concerns, `token` the one that was used. `topics` are
    whole, or `token.*` for all that begin so; any of them does. `words` all stand in the entry's
    names, topic or reason, or are ids of its objects.
    """

    actor: str | None = None
    token: str | None = None
    target: str | None = None
    address: str | None = None
    correlation: str | None = None
    command: str | None = None
    outcome: str | None = None
    topics: tuple[str, ...] = ()
    words: str = ""
    since: datetime | None = None
    until: datetime | None = None


EVERYTHING: Final = Sought()

_COLUMNS: Final = {
    "actor": "actor_id",
    "token": "actor_token_id",
    "address": "actor_address",
    "correlation": "correlation_id",
    "command": "command_id",
}


class Part(Struct, frozen=True, kw_only=True):
    """Some entries in their order; all that match were looked at as far as `through`.

    That is the last position looked at, or going backwards the first; where the part is empty
    and there was nothing to look at, the position that it was to begin behind.
    """

    entries: tuple[Entry, ...]
    through: int
    is_last: bool


def part(
    connection: Connection, scope: Scope, sought: Sought, after: int, until: int, limit: int
) -> Part:
    """Answer the next entries behind the position `after` up to and with `until`, in order."""
    found = _found(connection, scope, sought, (after, until), limit, descending=False)
    is_last = len(found) < limit
    through = max(after, until) if is_last else found[-1].position
    return Part(entries=found, through=through, is_last=is_last)


def part_before(
    connection: Connection, scope: Scope, sought: Sought, after: int, until: int, limit: int
) -> Part:
    """Answer the last entries behind the position `after` up to and with `until`, newest first."""
    found = _found(connection, scope, sought, (after, until), limit, descending=True)
    is_last = len(found) < limit
    through = min(after + 1, until) if is_last else found[-1].position
    return Part(entries=found, through=through, is_last=is_last)


def _found(
    connection: Connection,
    scope: Scope,
    sought: Sought,
    span: tuple[int, int],
    limit: int,
    *,
    descending: bool,
) -> tuple[Entry, ...]:
    after, until = _within(connection, sought, *span)
    if after >= until:
        return ()
    wanted = _marks(sought)
    statement = select(*(TABLE.c[field] for field in _FIELDS)).where(*_exactly(scope, sought))
    position: ColumnElement[int] = TABLE.c.position
    if wanted:
        dialect: Any = connection.dialect.name
        position = marks.TABLE.c.rowid
        statement = statement.join(marks.TABLE, position == TABLE.c.position)
        statement = statement.where(marks.condition((*wanted, *_tenant(scope)), dialect))
    statement = statement.where(position > after, position <= until)
    order = position.desc() if descending else position.asc()
    rows = connection.execute(statement.order_by(order).limit(limit))
    return tuple(Entry(**dict(zip(_FIELDS, values, strict=True))) for values in rows)


def _marks(sought: Sought) -> tuple[AnyOf, ...]:
    given = ((column, getattr(sought, name)) for name, column in _COLUMNS.items())
    return (
        *(marks.single(column, value) for column, value in given if value is not None),
        *(() if sought.target is None else (marks.target(sought.target),)),
        *((marks.topics(sought.topics),) if sought.topics else ()),
        *marks.words(sought.words),
    )


def _tenant(scope: Scope) -> tuple[AnyOf, ...]:
    return () if scope is EVERYWHERE else (marks.single("tenant", str(scope)),)


def _exactly(scope: Scope, sought: Sought) -> Iterator[ColumnElement[bool]]:
    """Yield what must hold of an entry whatever its marks say: they ignore case on SQLite."""
    if scope is not EVERYWHERE:
        yield TABLE.c.tenant == scope
    for name, column in _COLUMNS.items():
        value = getattr(sought, name)
        if value is not None:
            yield TABLE.c[column] == value
    if sought.target is not None:
        yield or_(*(TABLE.c[column] == sought.target for column in marks.TARGETS))
    if sought.outcome not in {None, OUTCOME} or (sought.words and not marks.words(sought.words)):
        yield false()


def _within(connection: Connection, sought: Sought, after: int, until: int) -> tuple[int, int]:
    """Answer the span of positions that lies between the instants too.

    In one order the instants and the positions are the same, so a few looks find the place.
    """

    def instant(position: int) -> datetime:
        found = select(TABLE.c.at).where(TABLE.c.position == position)
        at: datetime = connection.execute(found).scalar_one()
        return at

    first = after
    if sought.since is not None:
        first += bisect_left(range(after + 1, until + 1), sought.since, key=instant)
    if sought.until is not None:
        until = first + bisect_right(range(first + 1, until + 1), sought.until, key=instant)
    return first, until


# What belongs together


def related(
    connection: Connection, position: int, scope: Scope, one: Entry, limit: int
) -> dict[str, tuple[Entry, ...]]:
    """Answer the last entries of the same command, of the same request and about the same object.

    Each without the entry itself, at most `limit` of each kind, newest first.
    """
    asked = {
        "command": Sought(command=one.command_id),
        "request": Sought(correlation=one.correlation_id),
        "target": Sought(target=one.object_id),
    }
    found: dict[str, tuple[Entry, ...]] = {}
    for name, sought in asked.items():
        entries = part_before(connection, scope, sought, 0, position, limit + 1).entries
        others = [other for other in entries if other.position != one.position]
        found[name] = tuple(others[:limit])
    return found


# The records themselves


class Reader(Protocol):
    """A way to read the log that is these records' own."""

    def read(self, after: int, limit: int) -> list[Record]: ...


class Records:
    """The stored records at given positions; may be asked from any thread, one at a time."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._reading = threading.Lock()

    def at(self, positions: Sequence[int]) -> list[Record]:
        """Answer the records at these positions, which are in the log, in their order.

        Raises what reading the log raises.
        """
        wanted = set(positions)
        found: dict[int, Record] = {}
        with self._reading:
            for first, last in _runs(sorted(wanted)):
                for record in self._reader.read(first - 1, last - first + 1):
                    found[record.position] = record
        return [found[position] for position in positions]


def _runs(positions: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last of the positions that lie near each other."""
    first = last = 0
    for position in positions:
        if first and position - last > _NEAR_POSITIONS:
            yield first, last
            first = 0
        first = first or position
        last = position
    if first:
        yield first, last
