"""Which groups has a tenant, now or at any position?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from sqlalchemy import BigInteger, Column, Connection, Index

from domain.ids import GroupId, TenantId
from projections.directory import temporal
from projections.directory.temporal import Search, Shown, View
from projections.filters import any_of
from projections.views import TEXT, Instant, Key, Values, versioned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement

    from domain.state import Facts
    from projections.directory.temporal import Columns
    from projections.filters import Node
    from projections.pages import Page


class GroupRow(Struct, frozen=True, kw_only=True):
    """A group, without its members."""

    id: GroupId
    tenant: TenantId
    name: str
    description: str
    created: datetime
    changed: int
    updated: datetime


_TABLE: Final = temporal.temporal_table(
    "groups",
    ("id",),
    Column("tenant", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("description", TEXT, nullable=False),
    Column("created", Instant, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Index(versioned("groups_named"), "tenant", "name", "id", "valid_from"),
)


def _read(facts: Facts, key: Key) -> Values | None:
    group = facts.groups.get(GroupId(key[0]))
    if group is None:
        return None
    return {
        "tenant": group.tenant,
        "name": group.name,
        "description": group.description,
        "created": group.created,
        "changed": group.changed,
    }


VIEW: Final = View(table=_TABLE, key=("id",), read=_read, row=GroupRow, scope="tenant")


def _columns(_position: int) -> Columns:
    return {
        "q": any_of(_TABLE.c.name, _TABLE.c.description, _TABLE.c.id),
        "id": any_of(_TABLE.c.id),
        "name": any_of(_TABLE.c.name),
        "description": any_of(_TABLE.c.description),
        "created": any_of(_TABLE.c.created),
        "updated": any_of(_TABLE.c.updated),
    }


_ORDER: Final[dict[str, ColumnElement[Any]]] = {
    "id": _TABLE.c.id,
    "name": _TABLE.c.name,
    "description": _TABLE.c.description,
    "created": _TABLE.c.created,
    "updated": _TABLE.c.updated,
}
SORTABLE: Final = frozenset(_ORDER)

_SEARCH: Final = Search(view=VIEW, columns=_columns, order=_ORDER, default=(_TABLE.c.name,))


def search(
    connection: Connection, position: int, tenant: TenantId, node: Node | None, page: Page
) -> Shown[GroupRow]:
    """Answer a page of a tenant's groups; by name, unless sorted otherwise."""
    within = (_TABLE.c.tenant == tenant,)
    return temporal.search(connection, _SEARCH, position, within, node, page, counted=tenant)


def by_ids(
    connection: Connection, position: int, tenant: TenantId, ids: Iterable[GroupId]
) -> tuple[GroupRow, ...]:
    """Answer the tenant's groups of these ids, in no order; unknown ids are left out."""
    return temporal.among(connection, VIEW, position, "id", ids, _TABLE.c.tenant == tenant)
