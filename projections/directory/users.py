"""Which people have an identity here, now or at any position?

The rows hold no personal data, so nothing has to be erased from them: names and e-mails are
joined by whoever may open them.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from msgspec import UNSET, Struct
from sqlalchemy import BigInteger, Boolean, Column, Connection

from domain.ids import UserId
from projections.directory import temporal
from projections.directory.temporal import View
from projections.views import Instant, Key, Values

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domain.state import Facts


class UserRow(Struct, frozen=True, kw_only=True):
    """A person, without anything personal."""

    id: UserId
    enabled: bool
    restricted: bool
    instance_owner: bool
    has_password: bool
    created: datetime
    changed: int
    updated: datetime


_TABLE: Final = temporal.temporal_table(
    "users",
    ("id",),
    Column("enabled", Boolean, nullable=False),
    Column("restricted", Boolean, nullable=False),
    Column("instance_owner", Boolean, nullable=False),
    Column("has_password", Boolean, nullable=False),
    Column("created", Instant, nullable=False),
    Column("changed", BigInteger, nullable=False),
)


def _read(facts: Facts, key: Key) -> Values | None:
    id_ = UserId(key[0])
    user = facts.users.get(id_)
    if user is None:
        return None
    return {
        "enabled": user.enabled,
        "restricted": user.restricted,
        "instance_owner": id_ in facts.owners,
        "has_password": user.password is not UNSET,
        "created": user.created,
        "changed": user.changed,
    }


VIEW: Final = View(table=_TABLE, key=("id",), read=_read, row=UserRow, scope=None)


def everyone(connection: Connection, position: int) -> tuple[UserRow, ...]:
    """Answer all users, by id."""
    statement = temporal.selection(VIEW, position).order_by(_TABLE.c.id)
    return temporal.rows(connection, VIEW, statement)


def by_ids(connection: Connection, position: int, ids: Iterable[UserId]) -> tuple[UserRow, ...]:
    """Answer the users of these ids, in no order; unknown ids are left out."""
    return temporal.among(connection, VIEW, position, "id", ids)
