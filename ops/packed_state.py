"""In which tables is a state written down, so that reading it again takes a moment?

The large tables stand by column, and a text in them by its number: so each text is stored,
decoded, hashed and kept in memory once. What is an index of something else is built anew. Inner
maps, which are most of a state, are put together when they are first asked for anything.
"""

from __future__ import annotations

from array import array
from datetime import datetime
from itertools import chain
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
)

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, structs

from domain.aliases import Alias
from domain.roles import Role
from domain.scopes import Scope
from domain.state import PersistentMap, State
from domain.tokens import Token
from domain.users import User
from ops.packed_aliases import pack_aliases

if TYPE_CHECKING:
    from collections.abc import Iterable

Texts = dict[str, int]

# Columns of whole numbers are the bytes of arrays, which are read at once and not one by one:
# numbers of texts, scopes and rows in the first type, positions and ordinals in the second.
NUMBER: Final = "I"
POSITION: Final = "Q"


class Index(Struct, array_like=True, kw_only=True):
    """Which rows belong to each key, by its number; no `row` where they stand in this order."""

    key: bytes
    count: bytes
    row: bytes


class Memberships(Struct, array_like=True, kw_only=True):
    """The memberships by column; texts by their number."""

    tenant: bytes
    group: bytes
    principal: bytes
    level: bytes
    not_before: list[datetime | None]
    expires_at: list[datetime | None]
    ordinal: bytes
    changed: bytes
    of_principal: Index
    of_group: Index


class Bindings(Struct, array_like=True, kw_only=True):
    """The bindings by column; texts and scopes by their number."""

    scopes: list[Scope]
    id: bytes
    tenant: bytes
    subject_type: bytes
    subject: bytes
    role: bytes
    scope: bytes
    not_before: list[datetime | None]
    expires_at: list[datetime | None]
    created: list[datetime]
    changed: bytes
    of_subject: Index
    to_role: Index


class ServiceAccounts(Struct, array_like=True, kw_only=True):
    """The service accounts by column; ids by their number."""

    id: bytes
    name: list[str]
    description: list[str]
    enabled: list[bool]
    created: list[datetime]
    changed: bytes
    enabled_position: bytes


class AccessColumns(Struct, array_like=True, kw_only=True):
    """Who has access to how many and which tenants, by column; ids by their number."""

    principal: bytes
    count: bytes
    tenant: bytes
    granted: list[datetime]
    position: bytes


class _Touched(Struct, array_like=True, kw_only=True):
    """Which object was touched where, by column; ids by their number."""

    id: bytes
    position: bytes


class PackedState(Struct, array_like=True, kw_only=True):
    """The texts of the large tables, these tables, and every other member of the state."""

    texts: list[str]
    memberships: Memberships
    bindings: Bindings
    service_accounts: ServiceAccounts
    access: AccessColumns
    touched: _Touched
    aliases: list[Alias]
    others: dict[str, Raw]


# Built anew from `memberships`, `bindings`, `tokens` and `aliases_of`.
INDEXES: Final = frozenset({"members", "bindings_of", "bindings_to", "tokens_of", "aliases"})
LARGE: Final = frozenset("memberships bindings service_accounts access touched aliases_of".split())
OTHERS: Final = tuple(
    name for name in State.__struct_fields__ if name not in INDEXES and name not in LARGE
)


# Packing


def pack(state: State) -> PackedState:
    texts: Texts = {}
    accounts = list(state.service_accounts.values())
    access = list(state.access.values())
    return PackedState(
        memberships=_pack_memberships(state, texts),
        bindings=_pack_bindings(state, texts),
        service_accounts=ServiceAccounts(
            id=_numbers((one.id for one in accounts), texts),
            name=[one.name for one in accounts],
            description=[one.description for one in accounts],
            enabled=[one.enabled for one in accounts],
            created=[one.created for one in accounts],
            changed=_positions(one.changed for one in accounts),
            enabled_position=_positions(one.enabled_position for one in accounts),
        ),
        access=AccessColumns(
            principal=_numbers(state.access.keys(), texts),
            count=array(NUMBER, map(len, access)).tobytes(),
            tenant=_numbers(chain.from_iterable(access), texts),
            granted=[one.granted for tenants in access for one in tenants.values()],
            position=_positions(one.position for tenants in access for one in tenants.values()),
        ),
        touched=_Touched(
            id=_numbers(state.touched.keys(), texts), position=_positions(state.touched.values())
        ),
        aliases=pack_aliases(state),
        others={
            name: Raw(msgspec.msgpack.encode(_plain_value(name, getattr(state, name))))
            for name in OTHERS
        },
        # Last, when every text has its number.
        texts=list(texts),
    )


def _numbers(values: Iterable[str], texts: Texts) -> bytes:
    return array(NUMBER, [texts.setdefault(value, len(texts)) for value in values]).tobytes()


def _positions(values: Iterable[int]) -> bytes:
    return array(POSITION, values).tobytes()


def _instants(values: Iterable[datetime | UnsetType]) -> list[datetime | None]:
    return [None if value is UNSET else value for value in values]


def _index(keys: Iterable[str], texts: Texts) -> Index:
    """Answer the rows of each key, given the key of each row."""
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    order = list(chain.from_iterable(rows.values()))
    in_this_order = order == list(range(len(order)))
    return Index(
        key=_numbers(rows, texts),
        count=array(NUMBER, map(len, rows.values())).tobytes(),
        row=b"" if in_this_order else array(NUMBER, order).tobytes(),
    )


def _pack_memberships(state: State, texts: Texts) -> Memberships:
    rows = [one for held in state.memberships.values() for one in held.values()]
    return Memberships(
        tenant=_numbers((row.tenant for row in rows), texts),
        group=_numbers((row.group for row in rows), texts),
        principal=_numbers((row.principal for row in rows), texts),
        level=_numbers((row.level for row in rows), texts),
        not_before=_instants(row.not_before for row in rows),
        expires_at=_instants(row.expires_at for row in rows),
        ordinal=_positions(row.ordinal for row in rows),
        changed=_positions(row.changed for row in rows),
        of_principal=_index((row.principal for row in rows), texts),
        of_group=_index((row.group for row in rows), texts),
    )


def _pack_bindings(state: State, texts: Texts) -> Bindings:
    rows = sorted(state.bindings.values(), key=lambda row: row.subject)
    scopes: dict[Scope, int] = {}
    return Bindings(
        scope=array(NUMBER, [scopes.setdefault(row.scope, len(scopes)) for row in rows]).tobytes(),
        scopes=list(scopes),
        id=_numbers((row.id for row in rows), texts),
        tenant=_numbers((row.tenant for row in rows), texts),
        subject_type=_numbers((row.subject_type for row in rows), texts),
        subject=_numbers((row.subject for row in rows), texts),
        role=_numbers((row.role for row in rows), texts),
        not_before=_instants(row.not_before for row in rows),
        expires_at=_instants(row.expires_at for row in rows),
        created=[row.created for row in rows],
        changed=_positions(row.changed for row in rows),
        of_subject=_index((row.subject for row in rows), texts),
        to_role=_index((row.role for row in rows), texts),
    )


# Structs with members that may be absent, and masks beyond 64 bits, which msgpack ends at.
ROWS: Final[dict[str, type[Struct]]] = {"users": User, "tokens": Token, "roles": Role}


def _plain_value(name: str, value: Any) -> Any:  # noqa: ANN401 - any member of the state
    if name in ROWS:
        return [_row(one) for one in value.values()]
    return _plain(value)


def _plain(value: Any) -> Any:  # noqa: ANN401 - any member of the state
    if isinstance(value, PersistentMap):
        return {key: _plain(inner) for key, inner in value.items()}
    return value


def _row(value: Struct) -> tuple[object, ...]:
    """Answer the values in the order of the fields: None for absent, a mask as bytes."""
    if isinstance(value, Role):
        mask = value.mask.to_bytes((value.mask.bit_length() + 7) // 8)
        values = structs.asdict(value) | {"mask": mask}
        return tuple(values.values())
    return tuple(None if one is UNSET else one for one in structs.astuple(value))
