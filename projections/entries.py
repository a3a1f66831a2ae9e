"""What does the audit trail keep of an event?"""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from msgspec import Struct
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Index,
    Integer,
    ScalarSelect,
    Table,
    select,
)

from domain.events import ActorType
from domain.ids import CommandId, TenantId
from projections.views import METADATA, TEXT, Instant, versioned

# What has happened, in the contract's words (kestra-iam 6.8): those that events come to. Sign-ins
# and readings are in the journal.
Kind = Literal["CREATE", "UPDATE", "DELETE"]


class Entry(Struct, frozen=True, kw_only=True):
    """One event with its circumstances, and what it did to the object it is about.

    `before` and `after` are JSON objects in the contract's form, without secrets: a sealed value
    is `{"sealed": true}`; None where the object did not exist. Ids that the event does not
    concern are None.
    """

    position: int
    at: datetime
    tenant: TenantId | None
    topic: str
    type: Kind
    resource: str
    object_id: str
    object_name: str | None
    namespace: str | None
    user_id: str | None
    group_id: str | None
    role_id: str | None
    token_id: str | None
    token_name: str | None
    alias_type: str | None
    actor_type: ActorType
    actor_id: str
    actor_name: str | None
    actor_token_id: str | None
    actor_via: str | None
    actor_address: str | None
    actor_user_agent: str | None
    actor_impersonator: str | None
    command_id: CommandId
    correlation_id: str
    reason: str | None
    before: str | None
    after: str | None


# `search` has one value a line; no value has a line break that could be searched for.
TABLE: Final = Table(
    versioned("entries"),
    METADATA,
    Column(
        "position",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("at", Instant, nullable=False),
    Column("tenant", TEXT),
    Column("topic", TEXT, nullable=False),
    Column("type", TEXT, nullable=False),
    Column("resource", TEXT, nullable=False),
    Column("object_id", TEXT, nullable=False),
    Column("object_name", TEXT),
    Column("namespace", TEXT),
    Column("user_id", TEXT),
    Column("group_id", TEXT),
    Column("role_id", TEXT),
    Column("token_id", TEXT),
    Column("token_name", TEXT),
    Column("alias_type", TEXT),
    Column("actor_type", TEXT, nullable=False),
    Column("actor_id", TEXT, nullable=False),
    Column("actor_name", TEXT),
    Column("actor_token_id", TEXT),
    Column("actor_via", TEXT),
    Column("actor_address", TEXT),
    Column("actor_user_agent", TEXT),
    Column("actor_impersonator", TEXT),
    Column("command_id", TEXT, nullable=False),
    Column("correlation_id", TEXT, nullable=False),
    Column("reason", TEXT),
    Column("before", TEXT),
    Column("after", TEXT),
    Column("search", TEXT, nullable=False),
    # The tenant stands in each, lest SQLite take the first one for every question of a tenant.
    Index(versioned("entries_of_tenant"), "tenant", "position"),
    Index(versioned("entries_of_object"), "object_id", "tenant", "position"),
    Index(versioned("entries_by_actor"), "actor_id", "tenant", "position"),
)


def instant_of(position: ColumnElement[int]) -> ScalarSelect[datetime]:
    """Answer the expression for the instant of the event at a position."""
    return select(TABLE.c.at).where(TABLE.c.position == position).scalar_subquery()
