"""Who was given which role where, now or at any position?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import UNSET, Struct
from sqlalchemy import BigInteger, Column, Connection, Index, case, literal, or_, select

from domain.ids import BindingId, RoleId, SubjectId, TenantId
from projections.directory import groups, roles, service_accounts, temporal
from projections.directory.temporal import Search, Shown, View
from projections.filters import any_of, comparison_of
from projections.views import TEXT, Instant, Key, Values, versioned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement

    from domain.state import Facts
    from projections.directory.temporal import Columns
    from projections.filters import Dialect, Leaf, Node
    from projections.pages import Page


class BindingRow(Struct, frozen=True, kw_only=True):
    """A binding; `type` is the contract's, which calls every principal a user."""

    id: BindingId
    tenant: TenantId
    type: Literal["USER", "GROUP"]
    subject: SubjectId
    role: RoleId
    namespace: str | None
    resource_type: str | None
    resource_id: str | None
    not_before: datetime | None
    expires_at: datetime | None
    created: datetime
    changed: int
    updated: datetime


_TABLE: Final = temporal.temporal_table(
    "bindings",
    ("id",),
    Column("tenant", TEXT, nullable=False),
    Column("type", TEXT, nullable=False),
    Column("subject", TEXT, nullable=False),
    Column("role", TEXT, nullable=False),
    Column("namespace", TEXT),
    Column("resource_type", TEXT),
    Column("resource_id", TEXT),
    Column("not_before", Instant),
    Column("expires_at", Instant),
    Column("created", Instant, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Index(versioned("bindings_made"), "tenant", "changed", "id"),
    Index(versioned("bindings_held"), "subject", "valid_from"),
    Index(versioned("bindings_to"), "role", "valid_from"),
)


def _read(facts: Facts, key: Key) -> Values | None:
    binding = facts.bindings.get(BindingId(key[0]))
    if binding is None:
        return None
    resource = binding.scope.resource
    return {
        "tenant": binding.tenant,
        "type": "GROUP" if binding.subject_type == "GROUP" else "USER",
        "subject": binding.subject,
        "role": binding.role,
        "namespace": None if binding.scope.namespace is UNSET else binding.scope.namespace,
        "resource_type": None if resource is UNSET else resource.type,
        "resource_id": None if resource is UNSET else resource.id,
        "not_before": None if binding.not_before is UNSET else binding.not_before,
        "expires_at": None if binding.expires_at is UNSET else binding.expires_at,
        "created": binding.created,
        "changed": binding.changed,
    }


VIEW: Final = View(table=_TABLE, key=("id",), read=_read, row=BindingRow, scope="tenant")


def _state(now: datetime) -> ColumnElement[str]:
    """Answer the expression for how a binding's span lies to `now`."""
    instant = literal(now, Instant)
    return case(
        (_TABLE.c.expires_at <= instant, "EXPIRED"),
        (_TABLE.c.not_before > instant, "PENDING"),
        else_="ACTIVE",
    )


def _columns(position: int, tenant: TenantId, now: datetime) -> Columns:
    own = any_of(
        _TABLE.c.id,
        _TABLE.c.subject,
        _TABLE.c.role,
        _TABLE.c.namespace,
        _TABLE.c.resource_type,
        _TABLE.c.resource_id,
    )

    def anywhere(leaf: Leaf, dialect: Dialect) -> ColumnElement[bool]:
        """Look in the binding, and in the names of what it binds: found once, not row by row."""
        named = [
            bound.in_(
                select(table.c.id).where(
                    table.c.tenant == tenant,
                    temporal.alive(table, position),
                    comparison_of(leaf, table.c.name, dialect),
                )
            )
            for bound, table in (
                (_TABLE.c.role, roles.VIEW.table),
                (_TABLE.c.subject, groups.VIEW.table),
                (_TABLE.c.subject, service_accounts.VIEW.table),
            )
        ]
        return or_(own(leaf, dialect), *named)

    return {
        "q": anywhere,
        "id": any_of(_TABLE.c.id),
        "type": any_of(_TABLE.c.type),
        "externalId": any_of(_TABLE.c.subject),
        "roleId": any_of(_TABLE.c.role),
        "namespace": any_of(_TABLE.c.namespace),
        "resourceType": any_of(_TABLE.c.resource_type),
        "resourceId": any_of(_TABLE.c.resource_id),
        "state": any_of(_state(now)),
        "expiredAt": any_of(_TABLE.c.expires_at),
        "created": any_of(_TABLE.c.created),
        "updated": any_of(_TABLE.c.updated),
    }


_ORDER: Final[dict[str, ColumnElement[Any]]] = {
    "id": _TABLE.c.id,
    "type": _TABLE.c.type,
    "externalId": _TABLE.c.subject,
    "roleId": _TABLE.c.role,
    "namespace": _TABLE.c.namespace,
    "resourceType": _TABLE.c.resource_type,
    "resourceId": _TABLE.c.resource_id,
    "expiredAt": _TABLE.c.expires_at,
    "created": _TABLE.c.changed,
    "updated": _TABLE.c.changed,
}
SORTABLE: Final = frozenset({*_ORDER, "state"})


def search(
    connection: Connection,
    position: int,
    tenant: TenantId,
    now: datetime,
    node: Node | None,
    page: Page,
) -> Shown[BindingRow]:
    """Answer a page of a tenant's bindings; newest first, unless sorted otherwise.

    The state PENDING, ACTIVE or EXPIRED is judged at `now`; expired ones stay in the list.
    """
    asked = Search(
        view=VIEW,
        columns=lambda position: _columns(position, tenant, now),
        order={**_ORDER, "state": _state(now)},
        default=(_TABLE.c.changed.desc(),),
    )
    within = (_TABLE.c.tenant == tenant,)
    return temporal.search(connection, asked, position, within, node, page, counted=tenant)


def of_subjects(
    connection: Connection, position: int, tenant: TenantId, subjects: Iterable[SubjectId]
) -> tuple[BindingRow, ...]:
    """Answer the bindings of these principals and groups in a tenant, oldest first."""
    within = _TABLE.c.tenant == tenant
    found = temporal.among(connection, VIEW, position, "subject", subjects, within)
    return tuple(sorted(found, key=lambda row: row.changed))
