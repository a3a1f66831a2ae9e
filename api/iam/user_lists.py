"""Which users may stand in a list, and by what are they found there?

Most of that is sealed, so it is looked for in memory and not in the views.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from msgspec import UNSET, Struct, UnsetType

from api import listing
from api.call import Call
from api.iam import principals
from api.iam.principals import Name
from api.listing import Asked
from domain.ids import TenantId
from projections.directory.users import UserRow
from projections.filters import Row

ORDERS: Final = frozenset(
    {"id", "name", "username", "email", "enabled", "instanceOwner", "created", "updated"}
)


class Candidate(Struct, frozen=True, kw_only=True):
    """A user who may be in a list; in a tenant's, `created` is since when there is access."""

    row: UserRow
    name: Name
    groups: tuple[str, ...]
    locked: bool
    created: datetime


async def candidates(
    call: Call,
    asked: Asked,
    rows: Iterable[UserRow],
    tenant: TenantId | UnsetType = UNSET,
    since: Mapping[str, datetime] | None = None,
) -> list[Candidate]:
    """Answer these users with their names, and their groups in the tenant or everywhere."""
    rows, state, at = tuple(rows), call.state, listing.moment(call)
    names = await principals.names(call, state, (row.id for row in rows))
    locked: frozenset[bytes] = frozenset()
    if asked.names("locked"):
        locked = await call.service.failures.locked()
    return [
        Candidate(
            row=row,
            name=names[row.id],
            groups=tuple(one.group for one in principals.held(state, tenant, row.id, at)),
            locked=state.users[row.id].email_index in locked,
            created=(since or {}).get(row.id, row.created),
        )
        for row in rows
    ]


def value(one: Candidate) -> Row:
    """Answer what a candidate is filtered and sorted by."""
    return principals.value_of(
        {
            "q": (one.name.username, one.name.display_name, one.row.id),
            "id": one.row.id,
            "username": one.name.username,
            "email": one.name.username,
            "name": one.name.display_name,
            "type": one.name.type,
            "enabled": one.row.enabled,
            "locked": one.locked,
            "instanceOwner": one.row.instance_owner,
            "groupList": one.groups,
            # A list has nobody who does not belong in it, whatever is asked.
            "existingOnly": (True, False),
            "created": one.created,
            "updated": one.row.updated,
        }
    )
