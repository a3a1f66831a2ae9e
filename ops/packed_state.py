"""In which tables is a state written down, so that reading it again takes a moment?

The large tables stand by column, and a text in them by its number: so each text is stored,
decoded, hashed and kept in memory once. What is an index of something else is built anew. Inner
maps, which are most of a state, are put together when they are first asked for anything.
"""

from __future__ import annotations

from array import array
from datetime import datetime
from itertools import accumulate, chain, islice, repeat
from typing import TYPE_CHECKING, Any, Final, TypedDict, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, structs

from domain.aliases import Alias
from domain.ids import BindingId, GroupId, PrincipalId, RoleId, SubjectId, TenantId, TokenId
from domain.principals import Binding, Membership
from domain.roles import Role
from domain.scopes import Scope
from domain.service_accounts import ServiceAccount
from domain.state import DeferredMap, InnerMap, PersistentMap, State
from domain.tokens import Token
from domain.users import User
from ops.packed_aliases import pack_aliases, unpack_aliases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Texts = dict[str, int]

# Columns of whole numbers are the bytes of arrays, which are read at once and not one by one:
# numbers of texts, scopes and rows in the first type, positions and ordinals in the second.
NUMBER: Final = "I"
POSITION: Final = "Q"


class _Index(Struct, array_like=True, kw_only=True):
    """Which rows belong to each key, by its number; no `row` where they stand in this order."""

    key: bytes
    count: bytes
    row: bytes


class _Memberships(Struct, array_like=True, kw_only=True):
    """The memberships by column; texts by their number."""

    tenant: bytes
    group: bytes
    principal: bytes
    level: bytes
    not_before: list[datetime | None]
    expires_at: list[datetime | None]
    ordinal: bytes
    changed: bytes
    of_principal: _Index
    of_group: _Index


class _Bindings(Struct, array_like=True, kw_only=True):
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
    of_subject: _Index
    to_role: _Index


class _ServiceAccounts(Struct, array_like=True, kw_only=True):
    """The service accounts by column; ids by their number."""

    id: bytes
    name: list[str]
    description: list[str]
    enabled: list[bool]
    created: list[datetime]
    changed: bytes


class _Access(Struct, array_like=True, kw_only=True):
    """Who has access to how many and which tenants, by column; ids by their number."""

    principal: bytes
    count: bytes
    tenant: bytes
    granted: list[datetime]


class _Touched(Struct, array_like=True, kw_only=True):
    """Which object was touched where, by column; ids by their number."""

    id: bytes
    position: bytes


class PackedState(Struct, array_like=True, kw_only=True):
    """The texts of the large tables, these tables, and every other member of the state."""

    texts: list[str]
    memberships: _Memberships
    bindings: _Bindings
    service_accounts: _ServiceAccounts
    access: _Access
    touched: _Touched
    aliases: list[Alias]
    others: dict[str, Raw]


# Built anew from `memberships`, `bindings`, `tokens` and `aliases_of`.
INDEXES: Final = frozenset({"members", "bindings_of", "bindings_to", "tokens_of", "aliases"})
LARGE: Final = frozenset("memberships bindings service_accounts access touched aliases_of".split())
OTHERS: Final = tuple(
    name for name in State.__struct_fields__ if name not in INDEXES and name not in LARGE
)
_HINTS: Final[dict[str, Any]] = get_type_hints(State)


# Packing


def pack(state: State) -> PackedState:
    texts: Texts = {}
    accounts = list(state.service_accounts.values())
    access = list(state.access.values())
    return PackedState(
        memberships=_pack_memberships(state, texts),
        bindings=_pack_bindings(state, texts),
        service_accounts=_ServiceAccounts(
            id=_numbers((one.id for one in accounts), texts),
            name=[one.name for one in accounts],
            description=[one.description for one in accounts],
            enabled=[one.enabled for one in accounts],
            created=[one.created for one in accounts],
            changed=_positions(one.changed for one in accounts),
        ),
        access=_Access(
            principal=_numbers(state.access.keys(), texts),
            count=array(NUMBER, map(len, access)).tobytes(),
            tenant=_numbers(chain.from_iterable(access), texts),
            granted=[granted for tenants in access for granted in tenants.values()],
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


def _index(keys: Iterable[str], texts: Texts) -> _Index:
    """Answer the rows of each key, given the key of each row."""
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    order = list(chain.from_iterable(rows.values()))
    in_this_order = order == list(range(len(order)))
    return _Index(
        key=_numbers(rows, texts),
        count=array(NUMBER, map(len, rows.values())).tobytes(),
        row=b"" if in_this_order else array(NUMBER, order).tobytes(),
    )


def _pack_memberships(state: State, texts: Texts) -> _Memberships:
    rows = [one for held in state.memberships.values() for one in held.values()]
    return _Memberships(
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


def _pack_bindings(state: State, texts: Texts) -> _Bindings:
    rows = sorted(state.bindings.values(), key=lambda row: row.subject)
    scopes: dict[Scope, int] = {}
    return _Bindings(
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
_ROWS: Final[dict[str, type[Struct]]] = {"users": User, "tokens": Token, "roles": Role}


def _plain_value(name: str, value: Any) -> Any:  # noqa: ANN401 - any member of the state
    if name in _ROWS:
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


# Unpacking


def _plain_type(hint: Any) -> Any:  # noqa: ANN401 - any annotation
    """Answer what msgpack makes of a member: dicts for maps."""
    if get_origin(hint) is PersistentMap:
        key, inner = get_args(hint)
        return dict.__class_getitem__((key, _plain_type(inner)))
    return hint


def _row_type(struct: type[Struct]) -> Any:  # noqa: ANN401 - a type that is made here
    """Answer the type of what `_row` makes of one."""
    columns: list[Any] = []
    for field in structs.fields(struct):
        if (struct, field.name) == (Role, "mask"):
            columns.append(bytes)
        elif UnsetType in get_args(field.type):
            columns.append(field.type | None)
        else:
            columns.append(field.type)
    return list.__class_getitem__(tuple.__class_getitem__(tuple(columns)))


_DECODERS: Final[dict[str, msgspec.msgpack.Decoder[Any]]] = {
    name: msgspec.msgpack.Decoder(
        _row_type(_ROWS[name]) if name in _ROWS else _plain_type(_HINTS[name])
    )
    for name in OTHERS
}


def unpack(body: PackedState) -> State:
    values: dict[str, Any] = {}
    for name, raw in body.others.items():
        decoded = _DECODERS[name].decode(raw)
        rows = _ROWS.get(name)
        values[name] = _persistent(decoded) if rows is None else _objects(rows, decoded)
    texts = body.texts
    tokens: PersistentMap[str, Token] = values["tokens"]
    none: PersistentMap[TokenId, None] = PersistentMap()
    tokens_of: dict[PrincipalId, PersistentMap[TokenId, None]] = {}
    for token in tokens.values():
        tokens_of[token.owner] = tokens_of.get(token.owner, none).set(token.id, None)
    memberships = MembershipRows(body.memberships, texts)
    return State(
        **values,
        **_unpack_bindings(body.bindings, texts),
        **unpack_aliases(body.aliases),
        service_accounts=_unpack_service_accounts(body.service_accounts, texts),
        access=_unpack_access(body.access, texts),
        touched=PersistentMap(
            zip(_texts(texts, body.touched.id), array(POSITION, body.touched.position), strict=True)
        ),
        memberships=_inner_maps(body.memberships.of_principal, texts, memberships.by_group),
        members=_inner_maps(body.memberships.of_group, texts, memberships.by_principal),
        tokens_of=PersistentMap(tokens_of),
    )


def _persistent(value: Any) -> Any:  # noqa: ANN401 - any member of the state
    if isinstance(value, dict):
        return PersistentMap({key: _persistent(inner) for key, inner in value.items()})
    return value


def _objects(struct: type[Struct], rows: list[tuple[Any, ...]]) -> PersistentMap[str, Any]:
    """Answer the Structs of these rows by their ids."""
    names = struct.__struct_fields__
    optional = [one.name for one in structs.fields(struct) if UnsetType in get_args(one.type)]
    found: dict[str, Any] = {}
    for row in rows:
        values: dict[str, Any] = dict(zip(names, row, strict=True))
        for name in optional:
            if values[name] is None:
                values[name] = UNSET
        if struct is Role:
            values["mask"] = int.from_bytes(values["mask"])
        found[values["id"]] = struct(**values)
    return PersistentMap(found)


# The numbers in the columns stand for texts of which only the column knows the kind, hence Any.
# These loops are most of a start: no call and no look-up more than they need.


def _texts(texts: list[Any], numbers: bytes) -> Iterable[Any]:
    return map(texts.__getitem__, array(NUMBER, numbers))


def _inner_maps(
    index: _Index,
    texts: list[Any],
    entries: Callable[[Sequence[int]], Iterable[tuple[Any, Any]]],
) -> PersistentMap[Any, InnerMap[Any, Any]]:
    """Answer for each key the map of its rows, which `entries` makes when it is asked for."""
    ends = list(accumulate(array(NUMBER, index.count)))
    ranges = map(range, chain((0,), ends), ends)
    order = array(NUMBER, index.row)
    rows: Iterable[Sequence[int]] = (
        (order[each.start : each.stop] for each in ranges) if order else ranges
    )
    deferred = map(DeferredMap, repeat(entries), rows)
    return PersistentMap(zip(_texts(texts, index.key), deferred, strict=True))


class MembershipRows:
    """The memberships, of which each is made when it is first asked for, and then kept."""

    def __init__(self, columns: _Memberships, texts: list[Any]) -> None:
        self._texts = texts
        self._columns = (
            array(NUMBER, columns.tenant),
            array(NUMBER, columns.group),
            array(NUMBER, columns.principal),
            array(NUMBER, columns.level),
            columns.not_before,
            columns.expires_at,
            array(POSITION, columns.ordinal),
            array(POSITION, columns.changed),
        )
        self._made: list[Membership | None] = [None] * len(columns.not_before)

    def by_group(self, rows: Sequence[int]) -> list[tuple[GroupId, Membership]]:
        return [(one.group, one) for one in map(self._row, rows)]

    def by_principal(self, rows: Sequence[int]) -> list[tuple[PrincipalId, Membership]]:
        return [(one.principal, one) for one in map(self._row, rows)]

    def _row(self, row: int) -> Membership:
        """Answer the one object that principal and group share, unless two threads ask at once.

        Then there are two, alike.
        """
        made = self._made[row]
        if made is None:
            texts = self._texts
            tenant, group, principal, level, not_before, expires_at, ordinal, changed = (
                self._columns
            )
            made = self._made[row] = Membership(
                tenant=texts[tenant[row]],
                group=texts[group[row]],
                principal=texts[principal[row]],
                level=texts[level[row]],
                not_before=_unset(not_before[row]),
                expires_at=_unset(expires_at[row]),
                ordinal=ordinal[row],
                changed=changed[row],
            )
        return made


def _unset(instant: datetime | None) -> datetime | UnsetType:
    return UNSET if instant is None else instant


class _BindingTables(TypedDict):
    bindings: PersistentMap[BindingId, Binding]
    bindings_of: PersistentMap[SubjectId, InnerMap[BindingId, Binding]]
    bindings_to: PersistentMap[RoleId, InnerMap[BindingId, Binding]]


def _unpack_bindings(columns: _Bindings, texts: list[Any]) -> _BindingTables:
    """Answer the bindings by id, by subject, and by role."""
    rows = [
        Binding(
            id=id_,
            tenant=tenant,
            subject_type=subject_type,
            subject=subject,
            role=role,
            scope=scope,
            not_before=UNSET if begin is None else begin,
            expires_at=UNSET if end is None else end,
            created=created,
            changed=changed,
        )
        for id_, tenant, subject_type, subject, role, scope, begin, end, created, changed in zip(
            _texts(texts, columns.id),
            _texts(texts, columns.tenant),
            _texts(texts, columns.subject_type),
            _texts(texts, columns.subject),
            _texts(texts, columns.role),
            map(columns.scopes.__getitem__, array(NUMBER, columns.scope)),
            columns.not_before,
            columns.expires_at,
            columns.created,
            array(POSITION, columns.changed),
            strict=True,
        )
    ]

    def by_id(numbers: Sequence[int]) -> list[tuple[BindingId, Binding]]:
        return [(one.id, one) for one in map(rows.__getitem__, numbers)]

    return {
        "bindings": PersistentMap(zip(_texts(texts, columns.id), rows, strict=True)),
        "bindings_of": _inner_maps(columns.of_subject, texts, by_id),
        "bindings_to": _inner_maps(columns.to_role, texts, by_id),
    }


def _unpack_service_accounts(
    columns: _ServiceAccounts, texts: list[Any]
) -> PersistentMap[SubjectId, ServiceAccount]:
    return PersistentMap(
        (
            id_,
            ServiceAccount(
                id=id_,
                name=name,
                description=description,
                enabled=enabled,
                created=created,
                changed=changed,
            ),
        )
        for id_, name, description, enabled, created, changed in zip(
            _texts(texts, columns.id),
            columns.name,
            columns.description,
            columns.enabled,
            columns.created,
            array(POSITION, columns.changed),
            strict=True,
        )
    )


def _unpack_access(
    columns: _Access, texts: list[Any]
) -> PersistentMap[SubjectId, InnerMap[TenantId, datetime]]:
    """Answer who has access; at once, because every check asks."""
    nowhere: PersistentMap[TenantId, datetime] = PersistentMap()
    granted = zip(_texts(texts, columns.tenant), columns.granted, strict=True)
    # Most have access to one tenant, and to set it is the quickest way to a map of one.
    inner = (
        nowhere.set(*next(granted)) if count == 1 else PersistentMap(islice(granted, count))
        for count in array(NUMBER, columns.count)
    )
    return PersistentMap(zip(_texts(texts, columns.principal), inner, strict=True))
