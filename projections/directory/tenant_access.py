"""Which principals have access to which tenants, now or at any position?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct
from sqlalchemy import Column, Connection, Index

from domain.ids import PrincipalId, TenantId, UserId
from projections.directory import temporal
from projections.directory.temporal import View
from projections.views import TEXT, Instant, Key, Values, versioned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domain.state import Facts


class AccessRow(Struct, frozen=True, kw_only=True):
    """A principal's access to a tenant, `created` when it was given."""

    tenant: TenantId
    principal: PrincipalId
    type: Literal["STANDARD", "SERVICE_ACCOUNT"]
    created: datetime


_TABLE: Final = temporal.temporal_table(
    "tenant_access",
    ("tenant", "principal"),
    Column("type", TEXT, nullable=False),
    Column("created", Instant, nullable=False),
    Index(versioned("tenant_access_held"), "principal", "valid_from"),
)


def _read(facts: Facts, key: Key) -> Values | None:
    tenant, principal = TenantId(key[0]), UserId(key[1])
    tenants = facts.access.get(principal)
    access = None if tenants is None else tenants.get(tenant)
    if access is None:
        return None
    is_program = principal in facts.service_accounts
    return {"type": "SERVICE_ACCOUNT" if is_program else "STANDARD", "created": access.granted}


VIEW: Final = View(table=_TABLE, key=("tenant", "principal"), read=_read, row=AccessRow, scope=None)


def users_of_tenant(
    connection: Connection, position: int, tenant: TenantId
) -> tuple[AccessRow, ...]:
    """Answer the access of all people to a tenant, by id; their names are not for SQL."""
    users = temporal.selection(VIEW, position).where(
        _TABLE.c.tenant == tenant, _TABLE.c.type == "STANDARD"
    )
    return temporal.rows(connection, VIEW, users.order_by(_TABLE.c.principal))


def of_principals(
    connection: Connection, position: int, principals: Iterable[PrincipalId]
) -> tuple[AccessRow, ...]:
    """Answer to which tenants these principals have access, by tenant."""
    found = temporal.among(connection, VIEW, position, "principal", principals)
    return tuple(sorted(found, key=lambda row: (row.tenant, row.principal)))
