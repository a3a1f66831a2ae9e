"""Who is in which group, at which level, from when until when, now or at any position?

People's names are sealed, so the rows hold ids; whoever shows them joins the names.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import UNSET, Struct
from sqlalchemy import BigInteger, Column, Connection, Index, or_, select

from domain.ids import GroupId, PrincipalId, TenantId, UserId
from domain.principals import Level
from projections import entries
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


class MembershipRow(Struct, frozen=True, kw_only=True):
    """A membership; `ordinal` is the position of joining, by which members are listed."""

    group_id: GroupId
    principal: PrincipalId
    tenant: TenantId
    type: Literal["STANDARD", "SERVICE_ACCOUNT"]
    level: Level
    not_before: datetime | None
    expires_at: datetime | None
    ordinal: int
    changed: int
    updated: datetime


_TABLE: Final = temporal.temporal_table(
    "memberships",
    ("group_id", "principal"),
    Column("tenant", TEXT, nullable=False),
    Column("type", TEXT, nullable=False),
    Column("level", TEXT, nullable=False),
    Column("not_before", Instant),
    Column("expires_at", Instant),
    Column("ordinal", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Index(versioned("memberships_joined"), "group_id", "ordinal", "principal", "valid_from"),
    Index(versioned("memberships_held"), "principal", "valid_from"),
)


def _read(facts: Facts, key: Key) -> Values | None:
    group, principal = GroupId(key[0]), UserId(key[1])
    members = facts.members.get(group)
    held = None if members is None else members.get(principal)
    if held is None:
        return None
    is_program = principal in facts.service_accounts
    return {
        "tenant": held.tenant,
        "type": "SERVICE_ACCOUNT" if is_program else "STANDARD",
        "level": held.level,
        "not_before": None if held.not_before is UNSET else held.not_before,
        "expires_at": None if held.expires_at is UNSET else held.expires_at,
        "ordinal": held.ordinal,
        "changed": held.changed,
    }


VIEW: Final = View(
    table=_TABLE, key=("group_id", "principal"), read=_read, row=MembershipRow, scope=None
)

# The event of joining has the position that is the membership's ordinal.
_CREATED: Final = entries.instant_of(_TABLE.c.ordinal)


def _columns(_position: int) -> Columns:
    return {
        "id": any_of(_TABLE.c.principal),
        "type": any_of(_TABLE.c.type),
        "created": any_of(_CREATED),
        "updated": any_of(_TABLE.c.updated),
    }


_ORDER: Final[dict[str, ColumnElement[Any]]] = {
    "id": _TABLE.c.principal,
    "type": _TABLE.c.type,
    "created": _TABLE.c.ordinal,
    "updated": _TABLE.c.updated,
}
SORTABLE: Final = frozenset(_ORDER)

_SEARCH: Final = Search(view=VIEW, columns=_columns, order=_ORDER, default=(_TABLE.c.ordinal,))


def of_group(
    connection: Connection,
    position: int,
    tenant: TenantId,
    group: GroupId,
    now: datetime,
    node: Node | None,
    page: Page,
) -> Shown[MembershipRow]:
    """Answer a page of a group's members in the order of joining.

    A membership that is over at `now` is left out (kestra-iam 8). Filters on names are not for
    SQL, because people's are sealed: those are judged on `everyone_of_group`.
    """
    within = _members(tenant, group, now)
    return temporal.search(connection, _SEARCH, position, within, node, page)


def everyone_of_group(
    connection: Connection, position: int, tenant: TenantId, group: GroupId, now: datetime
) -> tuple[MembershipRow, ...]:
    """Answer all members of a group in the order of joining, at most 100,000."""
    statement = temporal.selection(VIEW, position).where(*_members(tenant, group, now))
    return temporal.rows(connection, VIEW, statement.order_by(_TABLE.c.ordinal))


def joined_of_group(
    connection: Connection, position: int, tenant: TenantId, group: GroupId, now: datetime
) -> dict[str, datetime]:
    """Answer since when each member of a group has been in it, by the members' ids."""
    held = temporal.alive(_TABLE, position)
    statement = select(_TABLE.c.principal, _CREATED).where(held, *_members(tenant, group, now))
    return {row[0]: row[1] for row in connection.execute(statement)}


def of_principals(
    connection: Connection,
    position: int,
    tenant: TenantId,
    principals: Iterable[PrincipalId],
    now: datetime,
) -> tuple[MembershipRow, ...]:
    """Answer the memberships of these principals in one tenant, in the order of joining."""
    within = (_TABLE.c.tenant == tenant, _lasts(now))
    found = temporal.among(connection, VIEW, position, "principal", principals, *within)
    return tuple(sorted(found, key=lambda row: row.ordinal))


def _members(tenant: TenantId, group: GroupId, now: datetime) -> tuple[ColumnElement[bool], ...]:
    return _TABLE.c.tenant == tenant, _TABLE.c.group_id == group, _lasts(now)


def _lasts(now: datetime) -> ColumnElement[bool]:
    return or_(_TABLE.c.expires_at.is_(None), _TABLE.c.expires_at > now)
