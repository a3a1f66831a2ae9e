"""Which roles has a tenant, and what do they permit, now or at any position?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from sqlalchemy import BigInteger, Boolean, Column, Connection, Index, Integer

from domain import permissions
from domain.ids import RoleId, TenantId
from projections.directory import temporal
from projections.directory.temporal import Search, Shown, View
from projections.filters import any_of
from projections.views import TEXT, Document, Instant, Key, Values, versioned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement

    from domain.state import Facts
    from projections.directory.temporal import Columns
    from projections.filters import Node
    from projections.pages import Page


class RoleRow(Struct, frozen=True, kw_only=True):
    """A role; `permissions` are in the contract's form, exactly as they were sent."""

    id: RoleId
    tenant: TenantId
    name: str
    description: str
    permissions: dict[str, list[str]]
    permission_count: int
    is_default: bool
    is_managed: bool
    created: datetime
    changed: int
    updated: datetime


_TABLE: Final = temporal.temporal_table(
    "roles",
    ("id",),
    Column("tenant", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("description", TEXT, nullable=False),
    Column("permissions", Document, nullable=False),
    Column("permission_count", Integer, nullable=False),
    Column("is_default", Boolean, nullable=False),
    Column("is_managed", Boolean, nullable=False),
    Column("created", Instant, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Index(versioned("roles_named"), "tenant", "name", "id", "valid_from"),
)


def _read(facts: Facts, key: Key) -> Values | None:
    role = facts.roles.get(RoleId(key[0]))
    if role is None:
        return None
    return {
        "tenant": role.tenant,
        "name": role.name,
        "description": role.description,
        "permissions": permissions.to_lists(role.permissions),
        "permission_count": permissions.count(role.permissions),
        "is_default": facts.default_roles.get(role.tenant) == role.id,
        "is_managed": role.is_managed,
        "created": role.created,
        "changed": role.changed,
    }


VIEW: Final = View(table=_TABLE, key=("id",), read=_read, row=RoleRow, scope="tenant")


def _columns(_position: int) -> Columns:
    return {
        "q": any_of(_TABLE.c.name, _TABLE.c.description, _TABLE.c.id),
        "id": any_of(_TABLE.c.id),
        "name": any_of(_TABLE.c.name),
        "description": any_of(_TABLE.c.description),
        "isDefault": any_of(_TABLE.c.is_default),
        "isManaged": any_of(_TABLE.c.is_managed),
        "created": any_of(_TABLE.c.created),
        "updated": any_of(_TABLE.c.updated),
    }


_ORDER: Final[dict[str, ColumnElement[Any]]] = {
    "id": _TABLE.c.id,
    "name": _TABLE.c.name,
    "description": _TABLE.c.description,
    "isDefault": _TABLE.c.is_default,
    "isManaged": _TABLE.c.is_managed,
    "permissionCount": _TABLE.c.permission_count,
    "created": _TABLE.c.created,
    "updated": _TABLE.c.updated,
}
SORTABLE: Final = frozenset(_ORDER)

_SEARCH: Final = Search(view=VIEW, columns=_columns, order=_ORDER, default=(_TABLE.c.name,))


def search(
    connection: Connection, position: int, tenant: TenantId, node: Node | None, page: Page
) -> Shown[RoleRow]:
    """Answer a page of a tenant's roles; by name, unless sorted otherwise."""
    within = (_TABLE.c.tenant == tenant,)
    return temporal.search(connection, _SEARCH, position, within, node, page, counted=tenant)


def by_ids(
    connection: Connection, position: int, tenant: TenantId, ids: Iterable[RoleId]
) -> tuple[RoleRow, ...]:
    """Answer the tenant's roles of these ids, in no order; unknown ids are left out."""
    return temporal.among(connection, VIEW, position, "id", ids, _TABLE.c.tenant == tenant)
