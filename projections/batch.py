"""Which rows do the events of one transaction come to?

Changes are gathered in memory and written by a few statements. A row that comes and goes within
one batch is written once, with both positions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import islice
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Connection, Insert, Table, Update, and_, bindparam, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from projections.views import (
    FOREVER,
    PAST_TOTALS,
    SCHEMA,
    TOTALS,
    Document,
    Instant,
    Key,
    Values,
    versioned,
)

_KEY: Final = "key_"
# SQLite binds at most 32,766 values in a statement.
_VALUES_MAX: Final = 10_000

# The list that only grows, and how much it grows until its length is kept again.
GROWING: Final = versioned("entries")
GROWING_STEP: Final = 512

# The name of a list's table, and a scope.
_List = tuple[str, str]


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
        self._totals: dict[_List, dict[int, int]] = {}

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
        changes = self._totals.setdefault((table.name, scope), {})
        changes[position] = changes.get(position, 0) + change

    def write(self, connection: Connection) -> None:
        """Write everything; closing comes first, because a key has one live row at most."""
        for table, closed in self._closed.items():
            connection.execute(_closing(table, closed[0]), closed)
        for table, rows in self._inserted.items():
            _insert(connection, table, rows)
        if self._totals:
            self._write_totals(connection)

    def _write_totals(self, connection: Connection) -> None:
        latest: list[Values] = []
        past: list[Values] = []
        known = _totals(connection, {scope for _, scope in self._totals})
        for (name, scope), changes in self._totals.items():
            total, place = known.get((name, scope), 0), {"list": name, "scope": scope}
            for position, change in changes.items():
                before, total = total, total + change
                if name != GROWING or before // GROWING_STEP != total // GROWING_STEP:
                    past.append({**place, "position": position, "total": total})
            latest.append({**place, "total": total, "changed": max(changes)})
        connection.execute(_setting(connection), latest)
        if past:
            _insert(connection, PAST_TOTALS, past)


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


# Lists


def _totals(connection: Connection, scopes: set[str]) -> dict[_List, int]:
    """Answer the length of every list of these scopes, as it was kept last."""
    found: dict[_List, int] = {}
    wanted = iter(sorted(scopes))
    while some := [*islice(wanted, _VALUES_MAX)]:
        query = select(TOTALS.c.list, TOTALS.c.scope, TOTALS.c.total)
        for row in connection.execute(query.where(TOTALS.c.scope.in_(some))):
            found[row.list, row.scope] = row.total
    return found


def _setting(connection: Connection) -> Insert:
    kind = sqlite if connection.dialect.name == "sqlite" else postgresql
    new = kind.insert(TOTALS)
    setting: Insert = new.on_conflict_do_update(
        index_elements=[TOTALS.c.list, TOTALS.c.scope],
        set_={"total": new.excluded.total, "changed": new.excluded.changed},
    )
    return setting


def total(connection: Connection, table: Table, scope: str, position: int) -> int:
    """Answer how long a list is, or was at a position."""
    column = TOTALS.c
    kept = (column.list == table.name, column.scope == scope)
    found = connection.execute(select(column.total, column.changed).where(*kept)).one_or_none()
    if found is None:
        return 0
    if found.changed <= position:
        return int(found.total)
    column = PAST_TOTALS.c
    earlier = (column.list == table.name, column.scope == scope, column.position <= position)
    last = connection.execute(
        select(column.total, column.position)
        .where(*earlier)
        .order_by(column.position.desc())
        .limit(1)
    ).one_or_none()
    since, before = (0, 0) if last is None else (int(last.position), int(last.total))
    if table.name != GROWING:
        return before
    own = (table.c.tenant == scope, table.c.position > since, table.c.position <= position)
    return before + connection.execute(select(func.count()).where(*own)).scalar_one()
