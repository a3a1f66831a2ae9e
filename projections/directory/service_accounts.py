"""Which service accounts has a tenant, or the installation, now or at any position?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from sqlalchemy import BigInteger, Boolean, Column, Connection, Index, select

from domain.ids import ServiceAccountId, TenantId
from projections.directory import memberships, temporal
from projections.directory.temporal import INSTALLATION, Search, Shown, View
from projections.filters import any_of, comparison_of
from projections.views import TEXT, Instant, Key, Values, versioned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement

    from domain.state import Facts
    from projections.directory.temporal import Columns
    from projections.filters import Dialect, Leaf, Node
    from projections.pages import Page


class ServiceAccountRow(Struct, frozen=True, kw_only=True):
    """A service account as one list shows it; `tenant` is "" in the installation's."""

    tenant: TenantId
    id: ServiceAccountId
    name: str
    description: str
    enabled: bool
    instance_owner: bool
    created: datetime
    changed: int
    updated: datetime


_TABLE: Final = temporal.temporal_table(
    "service_accounts",
    ("tenant", "id"),
    Column("name", TEXT, nullable=False),
    Column("description", TEXT, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("instance_owner", Boolean, nullable=False),
    Column("created", Instant, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Index(versioned("service_accounts_named"), "tenant", "name", "id", "valid_from"),
)


def _read(facts: Facts, key: Key) -> Values | None:
    tenant, id_ = TenantId(key[0]), ServiceAccountId(key[1])
    account = facts.service_accounts.get(id_)
    if account is None or (tenant != INSTALLATION and tenant not in facts.access.get(id_, ())):
        return None
    return {
        "name": account.name,
        "description": account.description,
        "enabled": account.enabled,
        "instance_owner": id_ in facts.owners,
        "created": account.created,
        "changed": account.changed,
    }


VIEW: Final = View(
    table=_TABLE, key=("tenant", "id"), read=_read, row=ServiceAccountRow, scope="tenant"
)


def keys(facts: Facts, id_: str) -> Iterable[Key]:
    """Answer the rows of an account: the installation's, and one for each of its tenants."""
    yield INSTALLATION, id_
    for tenant in facts.access.get(ServiceAccountId(id_), ()):
        yield tenant, id_


def _columns(position: int) -> Columns:
    held = memberships.VIEW.table

    def is_in_group(leaf: Leaf, dialect: Dialect) -> ColumnElement[bool]:
        groups = select(held.c.principal).where(
            temporal.alive(held, position),
            (_TABLE.c.tenant == INSTALLATION) | (held.c.tenant == _TABLE.c.tenant),
            held.c.principal == _TABLE.c.id,
            comparison_of(leaf, held.c.group_id, dialect),
        )
        return groups.exists()

    return {
        "q": any_of(_TABLE.c.name, _TABLE.c.description, _TABLE.c.id),
        "id": any_of(_TABLE.c.id),
        "name": any_of(_TABLE.c.name),
        "description": any_of(_TABLE.c.description),
        "enabled": any_of(_TABLE.c.enabled),
        "instanceOwner": any_of(_TABLE.c.instance_owner),
        "created": any_of(_TABLE.c.created),
        "updated": any_of(_TABLE.c.updated),
        "groupList": is_in_group,
    }


_ORDER: Final[dict[str, ColumnElement[Any]]] = {
    "id": _TABLE.c.id,
    "name": _TABLE.c.name,
    "description": _TABLE.c.description,
    "enabled": _TABLE.c.enabled,
    "instanceOwner": _TABLE.c.instance_owner,
    "created": _TABLE.c.created,
    "updated": _TABLE.c.updated,
}
SORTABLE: Final = frozenset(_ORDER)

_SEARCH: Final = Search(view=VIEW, columns=_columns, order=_ORDER, default=(_TABLE.c.name,))


def of_tenant(
    connection: Connection, position: int, tenant: TenantId, node: Node | None, page: Page
) -> Shown[ServiceAccountRow]:
    """Answer a page of the accounts with access to a tenant; by name, unless sorted otherwise."""
    return _page(connection, position, tenant, node, page)


def of_installation(
    connection: Connection, position: int, node: Node | None, page: Page
) -> Shown[ServiceAccountRow]:
    """Answer a page of all accounts; by name, unless sorted otherwise."""
    return _page(connection, position, INSTALLATION, node, page)


def _page(
    connection: Connection, position: int, scope: str, node: Node | None, page: Page
) -> Shown[ServiceAccountRow]:
    within = (_TABLE.c.tenant == scope,)
    return temporal.search(connection, _SEARCH, position, within, node, page, counted=scope)


def by_ids(
    connection: Connection, position: int, ids: Iterable[ServiceAccountId]
) -> tuple[ServiceAccountRow, ...]:
    """Answer the installation's rows of these ids, in no order; unknown ids are left out."""
    installation = _TABLE.c.tenant == INSTALLATION
    return temporal.among(connection, VIEW, position, "id", ids, installation)
