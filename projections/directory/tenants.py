"""Which tenants are there, now or at any position?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from sqlalchemy import BigInteger, Column, Connection, Index

from domain.ids import TenantId
from projections.directory import temporal
from projections.directory.temporal import INSTALLATION, Search, Shown, View
from projections.filters import any_of
from projections.views import TEXT, Instant, Key, Values, versioned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement

    from domain.state import Facts
    from projections.directory.temporal import Columns
    from projections.filters import Node
    from projections.pages import Page


class TenantRow(Struct, frozen=True, kw_only=True):
    """A tenant that has not been deleted."""

    id: TenantId
    name: str
    created: datetime
    changed: int
    updated: datetime


_TABLE: Final = temporal.temporal_table(
    "tenants",
    ("id",),
    Column("name", TEXT, nullable=False),
    Column("created", Instant, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Index(versioned("tenants_named"), "name", "id", "valid_from"),
)


def _read(facts: Facts, key: Key) -> Values | None:
    tenant = facts.tenants.get(TenantId(key[0]))
    if tenant is None or tenant.deleted:
        return None
    return {"name": tenant.name, "created": tenant.created, "changed": tenant.changed}


VIEW: Final = View(table=_TABLE, key=("id",), read=_read, row=TenantRow, scope=INSTALLATION)


def _columns(_position: int) -> Columns:
    return {
        "q": any_of(_TABLE.c.name, _TABLE.c.id),
        "id": any_of(_TABLE.c.id),
        "name": any_of(_TABLE.c.name),
        "created": any_of(_TABLE.c.created),
        "updated": any_of(_TABLE.c.updated),
    }


_ORDER: Final[dict[str, ColumnElement[Any]]] = {
    "id": _TABLE.c.id,
    "name": _TABLE.c.name,
    "created": _TABLE.c.created,
    "updated": _TABLE.c.updated,
}
SORTABLE: Final = frozenset(_ORDER)

_SEARCH: Final = Search(view=VIEW, columns=_columns, order=_ORDER, default=(_TABLE.c.name,))


def search(
    connection: Connection, position: int, node: Node | None, page: Page
) -> Shown[TenantRow]:
    """Answer a page of all tenants; by name, unless sorted otherwise."""
    return temporal.search(connection, _SEARCH, position, (), node, page, counted=INSTALLATION)


def by_ids(connection: Connection, position: int, ids: Iterable[TenantId]) -> tuple[TenantRow, ...]:
    """Answer the tenants of these ids, in no order; unknown and deleted ones are left out."""
    return temporal.among(connection, VIEW, position, "id", ids)
