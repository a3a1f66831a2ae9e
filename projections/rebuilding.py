"""Are the views what the log amounts to, and how are they made so while they are in use?

They are made anew in a file of their own, table by table compared with the live ones as of one
position, and rows that differ are put right in one transaction: whoever reads meanwhile sees the
rows before it or after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, Engine, Table, and_, delete, select, update
from sqlalchemy.exc import DatabaseError

from projections import views
from projections.batch import Batch
from projections.runner import ViewRunner
from projections.views import METADATA, POSITION, unversioned

if TYPE_CHECKING:
    from pathlib import Path

    from domain.events import Record
    from projections.runner import LogReader
    from projections.views import Place

ROWS_AT_ONCE: Final = 1_000
# Of a table with more wrong rows than this all rows are written anew.
SINGLY_MAX: Final = 10_000

TABLES: Final[dict[str, Table]] = {
    str(unversioned(table.name)): table for table in METADATA.sorted_tables if table is not POSITION
}

Row = tuple[Any, ...]
Progress = Callable[[int], None]


class NoViewsError(Exception):
    """There are no rows of this log to compare with: a server makes them at its start."""


class Compared(Struct, frozen=True, kw_only=True):
    """A table as of `position`: how many rows the log comes to, and SHA-256 (hex) over each side.

    `differing` rows are missing, surplus, or say something else; `healed` tells that they were.
    """

    view: str
    position: int
    rows: int
    live: str
    rebuilt: str
    differing: int
    healed: bool


class _UpTo:
    """A log that ends at a position."""

    def __init__(self, log: LogReader) -> None:
        self._log = log
        self.end = 0

    @property
    def log_id(self) -> str:
        return self._log.log_id

    def read(self, after: int, limit: int) -> list[Record]:
        return self._log.read(after, min(limit, self.end - after)) if after < self.end else []


class Rebuilt:
    """The views made anew from a log, in a file that nobody else uses."""

    def __init__(self, log: LogReader, path: Path, on_progress: Progress) -> None:
        """Begin the file at `path`, which must not exist; `on_progress` is told of events."""
        self._log = _UpTo(log)
        self.engine = views.open_sqlite(path)
        self._runner = ViewRunner(self._log, self.engine, on_applied=on_progress)

    @property
    def log_id(self) -> str:
        """The log that they are made from."""
        return self._log.log_id

    @property
    def position(self) -> int:
        """How far they have come."""
        return self._runner.position

    def follow(self, position: int) -> None:
        """Go on to a position, which the log has reached. Raises what would halt the views."""
        self._log.end = position
        self._runner.catch_up()

    def close(self) -> None:
        """Let go of the file."""
        self.engine.dispose()


def compare(
    live: Engine, rebuilt: Rebuilt, names: tuple[str, ...], *, heal: bool
) -> list[Compared]:
    """Compare the live tables of these names with rebuilt ones, and put right what differs.

    Raises NoViewsError where there is nothing to compare with.
    """
    found: list[Compared] = []
    wrong: dict[str, list[Row]] = {}
    # Not to the log's head, which the live rows may not have reached: they are never ahead of them.
    with live.connect() as connection:
        rebuilt.follow(_place(connection, rebuilt).position)
    with _snapshot(live) as connection, rebuilt.engine.connect() as own:
        place = _place(connection, rebuilt)
        rebuilt.follow(place.position)
        for name in names:
            sides = _Sides(TABLES[name])
            keys = [*sides.differing(connection, own)]
            if keys:
                wrong[name] = keys
            found.append(
                Compared(
                    view=name,
                    position=place.position,
                    rows=sides.count,
                    live=sides.live.hexdigest(),
                    rebuilt=sides.rebuilt.hexdigest(),
                    differing=len(keys),
                    healed=heal and bool(keys),
                )
            )
    if heal and wrong:
        _put_right(live, rebuilt, wrong)
    return found


def _snapshot(engine: Engine) -> Connection:
    """Answer a connection whose every question sees the same moment, and locks nobody out."""
    if engine.dialect.name == "sqlite":
        connection = engine.connect()
        # The driver begins no transaction for reading.
        connection.exec_driver_sql("BEGIN")
        return connection
    return engine.connect().execution_options(isolation_level="REPEATABLE READ")


def _place(connection: Connection, rebuilt: Rebuilt) -> Place:
    try:
        place = views.place(connection)
    except DatabaseError as fault:
        raise NoViewsError from fault
    # Rows that were begun anew meanwhile are behind what was rebuilt: not to be compared with it.
    if place is None or place.log_id != rebuilt.log_id or place.position < rebuilt.position:
        raise NoViewsError
    return place


class _Sides:
    """Both sides of one table, row by row in the order of its key."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._width = len(table.primary_key.columns)
        self.count = 0
        self.live, self.rebuilt = sha256(), sha256()

    def differing(self, live: Connection, rebuilt: Connection) -> Iterator[Row]:
        """Yield the keys of rows that are not the same on both sides."""
        ours, theirs = self._rows(live), self._rows(rebuilt)
        one, other = next(ours, None), next(theirs, None)
        while one is not None or other is not None:
            key = min(row[: self._width] for row in (one, other) if row is not None)
            mine = one is not None and one[: self._width] == key
            right = other is not None and other[: self._width] == key
            if not (mine and right and one == other):
                yield key
            if mine:
                self.live.update(_canonical(one))
                one = next(ours, None)
            if right:
                self.rebuilt.update(_canonical(other))
                self.count += 1
                other = next(theirs, None)

    def _rows(self, connection: Connection) -> Iterator[Row]:
        keys = [*self._table.primary_key.columns]
        rest = [column for column in self._table.columns if column not in set(keys)]
        query = select(*keys, *rest).order_by(*keys)
        streamed = connection.execution_options(yield_per=ROWS_AT_ONCE).execute(query)
        return (tuple(row) for row in streamed)


def _canonical(row: Row | None) -> bytes:
    return msgspec.json.encode(row) + b"\n"


# Putting right


def _put_right(live: Engine, rebuilt: Rebuilt, wrong: dict[str, list[Row]]) -> None:
    """Let the live rows of these keys be the rebuilt ones, at the position of now."""
    with live.begin() as connection:
        # The first statement writes, so that nobody moves the rows from here on.
        connection.execute(update(POSITION).values(position=POSITION.c.position))
        rebuilt.follow(_place(connection, rebuilt).position)
        with rebuilt.engine.connect() as own:
            for name, keys in wrong.items():
                _replace(connection, own, TABLES[name], keys)


def _replace(live: Connection, rebuilt: Connection, table: Table, keys: list[Row]) -> None:
    """Write the rows of these keys as they were rebuilt, or of very many keys the whole table."""
    if len(keys) > SINGLY_MAX:
        live.execute(delete(table))
        found = rebuilt.execution_options(yield_per=ROWS_AT_ONCE).execute(select(table))
        _insert(live, table, (dict(row) for row in found.mappings()))
        return
    for key in keys:
        live.execute(delete(table).where(_is(table, key)))
    rows = (rebuilt.execute(select(table).where(_is(table, key))).mappings() for key in keys)
    _insert(live, table, (dict(row) for found in rows for row in found))


def _is(table: Table, key: Row) -> ColumnElement[bool]:
    columns = table.primary_key.columns
    return and_(*(column == value for column, value in zip(columns, key, strict=True)))


def _insert(connection: Connection, table: Table, rows: Iterator[dict[str, Any]]) -> None:
    while some := [*islice(rows, ROWS_AT_ONCE)]:
        batch = Batch()
        for row in some:
            batch.insert(table, row)
        batch.write(connection)
