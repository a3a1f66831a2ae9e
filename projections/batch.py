"""Which rows do the events of one transaction come to?

Changes are gathered in memory and written by a few statements. A row that comes and goes within
one batch is written once, with both positions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Connection, Insert, Table, Update, and_, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from projections.views import FOREVER, SCHEMA, TOTALS, Document, Instant, Key, Values

_KEY: Final = "key_"


@cache
def _stored(table: Table) -> tuple[tuple[str, Callable[[Any], object]], ...]:
    """Answer the columns whose values are stored in a form of their own, and that form."""
    return tuple(
        (column.name, column.type.stored)
        for column in table.columns
        if isinstance(column.type, Instant | Document)
    )


class Batch:
    """Rows to be inserted, live rows to be closed, lists that grow or shrink."""

    def __init__(self) -> None:
        self._inserted: dict[Table, list[Values]] = {}
        self._live: dict[tuple[Table, Key], Values] = {}
        self._closed: dict[Table, list[Values]] = {}
        self._totals: dict[tuple[str, str], Values] = {}

    def insert(self, table: Table, row: Values) -> None:
        """Add a row that never changes."""
        self._inserted.setdefault(table, []).append(row)

    def open(self, table: Table, key: Key, position: int, row: Values) -> None:
        """Add a row that holds from this position on."""
        row["valid_from"] = position
        row["valid_to"] = FOREVER
        self._live[table, key] = row
        self.insert(table, row)

    def close(self, table: Table, keys: Values, key: Key, position: int) -> None:
        """End the row of a key, given with and without its columns' names, at this position."""
        row = self._live.pop((table, key), None)
        if row is not None:
            row["valid_to"] = position
            return
        ended: Values = {_KEY + column: value for column, value in keys.items()}
        ended["until"] = position
        self._closed.setdefault(table, []).append(ended)

    def count(self, table: Table, scope: str, change: int, position: int) -> None:
        """Let the list of this scope grow or shrink."""
        counted = self._totals.get((table.name, scope))
        if counted is None:
            self._totals[table.name, scope] = {
                "list": table.name,
                "scope": scope,
                "total": change,
                "changed": position,
            }
        else:
            counted["total"] += change
            counted["changed"] = position

    def write(self, connection: Connection) -> None:
        """Write everything; closing comes first, because a key has one live row at most."""
        for table, closed in self._closed.items():
            connection.execute(_closing(table, closed[0]), closed)
        for table, rows in self._inserted.items():
            _insert(connection, table, rows)
        if self._totals:
            connection.execute(_adding(connection), list(self._totals.values()))


def _insert(connection: Connection, table: Table, rows: list[Values]) -> None:
    """Insert past the library, whose care for each value takes longer than the database."""
    for name, stored in _stored(table):
        for row in rows:
            row[name] = stored(row[name])
    names = table.columns.keys()
    values = map(itemgetter(*names), rows)
    if connection.dialect.name == "sqlite":
        insertion = table.insert().compile(dialect=connection.dialect, column_keys=names)
        connection.exec_driver_sql(str(insertion), list(values))
        return
    listed = ", ".join(f'"{name}"' for name in names)
    # One statement for each row, even a pipeline of them, would take three times as long.
    driver: Any = connection.connection
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {SCHEMA}.{table.name} ({listed}) FROM STDIN") as copy,
    ):
        for row in values:
            copy.write_row(row)


def _closing(table: Table, example: Values) -> Update:
    keys = [name.removeprefix(_KEY) for name in example if name.startswith(_KEY)]
    matches = (table.c[name] == bindparam(_KEY + name) for name in keys)
    return (
        update(table)
        .where(and_(*matches, table.c.valid_to == FOREVER))
        .values(valid_to=bindparam("until"))
    )


def _adding(connection: Connection) -> Insert:
    kind = sqlite if connection.dialect.name == "sqlite" else postgresql
    new = kind.insert(TOTALS)
    adding: Insert = new.on_conflict_do_update(
        index_elements=[TOTALS.c.list, TOTALS.c.scope],
        set_={"total": TOTALS.c.total + new.excluded.total, "changed": new.excluded.changed},
    )
    return adding


def total(connection: Connection, table: Table, scope: str, position: int) -> int | None:
    """Answer how long a list is at a position, None where only counting can tell."""
    found = connection.execute(
        select(TOTALS.c.total, TOTALS.c.changed).where(
            TOTALS.c.list == table.name, TOTALS.c.scope == scope
        )
    ).one_or_none()
    if found is None:
        return 0
    return int(found.total) if found.changed <= position else None
