"""How does a list remember every earlier version of its rows, and show any of them?

A row holds from `valid_from` until before `valid_to`, so that one query answers for now and for
any position: `valid_from <= position < valid_to`. What a row says is a function of the fold's
state right after an event; the tables know no other history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar, cast

from msgspec import Struct
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Index,
    Select,
    Table,
    and_,
    func,
    select,
)

from domain.state import Facts
from projections import batch, filters
from projections.views import METADATA, TEXT, Instant, Key, Values, versioned

if TYPE_CHECKING:
    from domain.state import Draft
    from projections.batch import Batch
    from projections.filters import Dialect, Node
    from projections.pages import Page

R = TypeVar("R", bound=Struct)

# SQLite binds at most 32,766 values in a statement.
_VALUES_MAX: Final = 10_000

# Where a list of the whole installation is kept beside those of the tenants.
INSTALLATION: Final = ""

Columns = Mapping[str, filters.Column]
Order = Mapping[str, ColumnElement[Any]]


class View(Struct, Generic[R], frozen=True, kw_only=True):
    """A table of rows, and what makes them: `read` answers None where there is no such row.

    Rows come out as `row`, whose fields are named like columns. `scope` is the column by whose
    values the rows are counted, "" for all of them together, None for not at all.
    """

    table: Table
    key: tuple[str, ...]
    read: Callable[[Facts, Key], Values | None]
    row: type[R]
    scope: str | None


class Touched(NamedTuple):
    """A row that an event may change, and what it said before."""

    view: View[Any]
    key: Key
    before: Values | None


class Shown(Struct, Generic[R], frozen=True, kw_only=True):
    """One page of a list, and how long the whole list is."""

    rows: tuple[R, ...]
    total: int


def temporal_table(name: str, key: Iterable[str], *columns: Column[Any] | Index) -> Table:
    """Answer a table of rows that hold for a span of positions, one at a time for each key.

    `updated` is the instant of the event that made the row what it is.
    """
    return Table(
        versioned(name),
        METADATA,
        *(Column(column, TEXT, primary_key=True) for column in key),
        Column("valid_from", BigInteger, primary_key=True),
        Column("valid_to", BigInteger, nullable=False),
        Column("updated", Instant, nullable=False),
        *columns,
    )


# Writing


def record(changes: Batch, draft: Draft, touched: Touched) -> None:
    """Note what the event that has just been applied made of a row."""
    view, key, before = touched
    after = view.read(draft, key)
    if after == before:
        return
    position = draft.position
    keys = dict(zip(view.key, key, strict=True))
    if before is not None:
        changes.close(view.table, keys, key, position)
    if after is not None:
        changes.open(view.table, key, position, {**after, **keys, "updated": draft.at})
    if view.scope is not None and (before is None or after is None):
        held = {**(after or before or {}), **keys}
        change = (after is not None) - (before is not None)
        changes.count(view.table, held.get(view.scope, INSTALLATION), change, position)


# Asking


def alive(table: Table, position: int) -> ColumnElement[bool]:
    """Answer the condition for the rows that held right after the event at a position."""
    return and_(table.c.valid_from <= position, table.c.valid_to > position)


def dialect_of(connection: Connection) -> Dialect:
    """Answer which of the two databases this is."""
    return cast("Dialect", connection.dialect.name)


def rows(connection: Connection, view: View[R], statement: Select[Any]) -> tuple[R, ...]:
    """Answer the rows that a statement of `selection` finds."""
    fields = view.row.__struct_fields__
    found = connection.execute(statement)
    return tuple(view.row(**dict(zip(fields, values, strict=True))) for values in found)


def selection(view: View[Any], position: int) -> Select[Any]:
    """Answer the statement for all rows of a view that held at a position."""
    fields: tuple[str, ...] = view.row.__struct_fields__
    columns: list[ColumnElement[Any]] = [view.table.c[field] for field in fields]
    return select(*columns).where(alive(view.table, position))


def among(
    connection: Connection,
    view: View[R],
    position: int,
    column: str,
    values: Iterable[str],
    *within: ColumnElement[bool],
) -> tuple[R, ...]:
    """Answer the rows that held at a position and have one of these values, in no order."""
    wanted = sorted(set(values))
    found: list[R] = []
    for first in range(0, len(wanted), _VALUES_MAX):
        some = view.table.c[column].in_(wanted[first : first + _VALUES_MAX])
        found += rows(connection, view, selection(view, position).where(some, *within))
    return tuple(found)


class Search(Struct, Generic[R], frozen=True, kw_only=True):
    """What a list lets be asked: its fields for filters and for sorting, and its own order.

    What a field is compared with may depend on the position: the groups that one was in.
    """

    view: View[R]
    columns: Callable[[int], Columns]
    order: Order
    default: tuple[ColumnElement[Any], ...]


def search(
    connection: Connection,
    asked: Search[R],
    position: int,
    within: Iterable[ColumnElement[bool]],
    node: Node | None,
    page: Page,
    *,
    counted: str | None = None,
) -> Shown[R]:
    """Answer a page of the rows that held at a position, lie `within`, and pass a filter.

    `counted` is the scope whose length is known where nothing is filtered. KeyError for a field
    that the list does not have, since the parser was given another table of fields.
    """
    table = asked.view.table
    lies = [alive(table, position), *within]
    if node is not None:
        lies.append(filters.condition(node, asked.columns(position), dialect_of(connection)))
    order = [_by(asked.order[key.field], descending=key.descending) for key in page.sort]
    statement = (
        selection(asked.view, position)
        .where(*lies)
        .order_by(*(order or asked.default), table.c[asked.view.key[-1]])
        .limit(page.size)
        .offset(page.skipped)
    )
    found = rows(connection, asked.view, statement)
    if node is None and counted is not None:
        return Shown(rows=found, total=batch.total(connection, table, counted, position))
    counting = select(func.count()).select_from(table).where(*lies)
    return Shown(rows=found, total=connection.execute(counting).scalar_one())


def _by(column: ColumnElement[Any], *, descending: bool) -> ColumnElement[Any]:
    """Answer the order by a column; what is absent comes first, on both databases."""
    absent_too = isinstance(column, Column) and column.nullable
    if descending:
        return column.desc().nulls_last() if absent_too else column.desc()
    return column.asc().nulls_first() if absent_too else column.asc()
