"""Which API tokens had whom for an owner, now or at any position? Never a digest."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, Struct, to_builtins
from sqlalchemy import BigInteger, Boolean, Column, Connection, Index

from domain.ids import PrincipalId, TokenId
from projections.directory import temporal
from projections.directory.temporal import View
from projections.views import TEXT, Document, Instant, Key, Values, versioned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domain.state import Facts


class TokenRow(Struct, frozen=True, kw_only=True):
    """A token's public part; `narrowing` is as in the event, None for a token as wide as its owner.

    Ages are in seconds.
    """

    id: TokenId
    owner: PrincipalId
    name: str
    description: str
    prefix: str
    created_by: str
    enabled: bool
    extended: bool
    max_age_seconds: int | None
    expires_at: datetime | None
    narrowing: dict[str, Any] | None
    allowed_addresses: list[str]
    rotated_from: TokenId | None
    rotated_to: TokenId | None
    grace_until: datetime | None
    created: datetime
    changed: int
    updated: datetime


_TABLE: Final = temporal.temporal_table(
    "tokens",
    ("id",),
    Column("owner", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("description", TEXT, nullable=False),
    Column("prefix", TEXT, nullable=False),
    Column("created_by", TEXT, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("extended", Boolean, nullable=False),
    Column("max_age_seconds", BigInteger),
    Column("expires_at", Instant),
    Column("narrowing", Document),
    Column("allowed_addresses", Document, nullable=False),
    Column("rotated_from", TEXT),
    Column("rotated_to", TEXT),
    Column("grace_until", Instant),
    Column("created", Instant, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Index(versioned("tokens_owned"), "owner", "valid_from"),
)


def _read(facts: Facts, key: Key) -> Values | None:
    token = facts.tokens.get(key[0])
    if token is None:
        return None
    return {
        "owner": token.owner,
        "name": token.name,
        "description": token.description,
        "prefix": token.prefix,
        "created_by": token.created_by,
        "enabled": token.enabled,
        "extended": token.extended,
        "max_age_seconds": None if token.max_age_seconds is UNSET else token.max_age_seconds,
        "expires_at": None if token.expires_at is UNSET else token.expires_at,
        "narrowing": None if token.narrowing is UNSET else to_builtins(token.narrowing),
        "allowed_addresses": list(token.allowed_addresses),
        "rotated_from": None if token.rotated_from is UNSET else token.rotated_from,
        "rotated_to": None if token.rotated_to is UNSET else token.rotated_to,
        "grace_until": None if token.grace_until is UNSET else token.grace_until,
        "created": token.created,
        "changed": token.changed,
    }


VIEW: Final = View(table=_TABLE, key=("id",), read=_read, row=TokenRow, scope=None)


def of_owners(
    connection: Connection, position: int, owners: Iterable[PrincipalId]
) -> tuple[TokenRow, ...]:
    """Answer the tokens of these principals, newest first, expired ones too."""
    found = temporal.among(connection, VIEW, position, "owner", owners)
    by_id = sorted(found, key=lambda row: row.id)
    return tuple(sorted(by_id, key=lambda row: row.created, reverse=True))
