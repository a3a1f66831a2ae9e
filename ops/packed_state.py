"""In which tables is a state written down, so that reading it again takes a moment?

The large tables stand by column, and a text in them by its number: so each text is stored,
decoded, hashed and kept in memory once. What is an index of something else is built anew.
"""

from __future__ import annotations

from datetime import datetime
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    TypedDict,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, structs

from domain.ids import BindingId, GroupId, PrincipalId, RoleId, SubjectId, TenantId, TokenId
from domain.principals import Binding, Membership
from domain.roles import Role
from domain.scopes import Scope
from domain.service_accounts import ServiceAccount
from domain.state import PersistentMap, PersistentMapMutation, State
from domain.tokens import Token
from domain.users import User

if TYPE_CHECKING:
    from collections.abc import Iterable

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

Texts = dict[str, int]


class _Memberships(Struct, array_like=True, kw_only=True):
    """The memberships by column, those of one principal together; texts by their number."""

    tenant: list[int]
    group: list[int]
    principal: list[int]
    level: list[int]
    not_before: list[datetime | None]
    expires_at: list[datetime | None]
    ordinal: list[int]
    changed: list[int]


class _Bindings(Struct, array_like=True, kw_only=True):
    """The bindings by column; texts and scopes by their number."""

    scopes: list[Scope]
    id: list[int]
    tenant: list[int]
    subject_type: list[int]
    subject: list[int]
    role: list[int]
    scope: list[int]
    not_before: list[datetime | None]
    expires_at: list[datetime | None]
    created: list[datetime]
    changed: list[int]


class _ServiceAccounts(Struct, array_like=True, kw_only=True):
    """The service accounts by column; ids by their number."""

    id: list[int]
    name: list[str]
    description: list[str]
    enabled: list[bool]
    created: list[datetime]
    changed: list[int]


class _Access(Struct, array_like=True, kw_only=True):
    """Who has access to which tenant, by column; ids by their number."""

    principal: list[int]
    tenant: list[int]
    granted: list[datetime]


class _Touched(Struct, array_like=True, kw_only=True):
    """Which object was touched where, by column; ids by their number."""

    id: list[int]
    position: list[int]


class PackedState(Struct, array_like=True, kw_only=True):
    """The texts of the large tables, these tables, and every other member of the state."""

    texts: list[str]
    memberships: _Memberships
    bindings: _Bindings
    service_accounts: _ServiceAccounts
    access: _Access
    touched: _Touched
    others: dict[str, Raw]


# Built anew from `memberships`, `bindings` and `tokens`.
INDEXES: Final = frozenset({"members", "bindings_of", "bindings_to", "tokens_of"})
LARGE: Final = frozenset({"memberships", "bindings", "service_accounts", "access", "touched"})
OTHERS: Final = tuple(
    name for name in State.__struct_fields__ if name not in INDEXES and name not in LARGE
)
_HINTS: Final[dict[str, Any]] = get_type_hints(State)


# Packing


def pack(state: State) -> PackedState:
    texts: Texts = {}
    memberships = [one for held in state.memberships.values() for one in held.values()]
    access = [
        (principal, tenant, granted)
        for principal, tenants in state.access.items()
        for tenant, granted in tenants.items()
    ]
    accounts = list(state.service_accounts.values())
    return PackedState(
        memberships=_pack_memberships(memberships, texts),
        bindings=_pack_bindings(list(state.bindings.values()), texts),
        service_accounts=_ServiceAccounts(
            id=_numbers((one.id for one in accounts), texts),
            name=[one.name for one in accounts],
            description=[one.description for one in accounts],
            enabled=[one.enabled for one in accounts],
            created=[one.created for one in accounts],
            changed=[one.changed for one in accounts],
        ),
        access=_Access(
            principal=_numbers((principal for principal, _, _ in access), texts),
            tenant=_numbers((tenant for _, tenant, _ in access), texts),
            granted=[granted for _, _, granted in access],
        ),
        touched=_Touched(
            id=_numbers(state.touched.keys(), texts), position=list(state.touched.values())
        ),
        others={
            name: Raw(msgspec.msgpack.encode(_plain_value(name, getattr(state, name))))
            for name in OTHERS
        },
        # Last, when every text has its number.
        texts=list(texts),
    )


def _numbers(values: Iterable[str], texts: Texts) -> list[int]:
    return [texts.setdefault(value, len(texts)) for value in values]


def _instants(values: Iterable[datetime | UnsetType]) -> list[datetime | None]:
    return [None if value is UNSET else value for value in values]


def _pack_memberships(rows: list[Membership], texts: Texts) -> _Memberships:
    return _Memberships(
        tenant=_numbers((row.tenant for row in rows), texts),
        group=_numbers((row.group for row in rows), texts),
        principal=_numbers((row.principal for row in rows), texts),
        level=_numbers((row.level for row in rows), texts),
        not_before=_instants(row.not_before for row in rows),
        expires_at=_instants(row.expires_at for row in rows),
        ordinal=[row.ordinal for row in rows],
        changed=[row.changed for row in rows],
    )


def _pack_bindings(rows: list[Binding], texts: Texts) -> _Bindings:
    scopes: dict[Scope, int] = {}
    return _Bindings(
        scope=[scopes.setdefault(row.scope, len(scopes)) for row in rows],
        scopes=list(scopes),
        id=_numbers((row.id for row in rows), texts),
        tenant=_numbers((row.tenant for row in rows), texts),
        subject_type=_numbers((row.subject_type for row in rows), texts),
        subject=_numbers((row.subject for row in rows), texts),
        role=_numbers((row.role for row in rows), texts),
        not_before=_instants(row.not_before for row in rows),
        expires_at=_instants(row.expires_at for row in rows),
        created=[row.created for row in rows],
        changed=[row.changed for row in rows],
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
    memberships, members = _unpack_memberships(body.memberships, texts)
    tokens: PersistentMap[str, Token] = values["tokens"]
    tokens_of: dict[PrincipalId, dict[TokenId, None]] = {}
    for token in tokens.values():
        tokens_of.setdefault(token.owner, {})[token.id] = None
    return State(
        **values,
        **_unpack_bindings(body.bindings, texts),
        service_accounts=_unpack_service_accounts(body.service_accounts, texts),
        access=_unpack_access(body.access, texts),
        touched=PersistentMap(
            zip(map(texts.__getitem__, body.touched.id), body.touched.position, strict=True)
        ),
        memberships=memberships,
        members=members,
        tokens_of=_persistent(tokens_of),
    )


def _persistent(value: Any) -> Any:  # noqa: ANN401 - any member of the state
    if isinstance(value, dict):
        return PersistentMap({key: _persistent(inner) for key, inner in value.items()})
    return value


def _objects(struct: type[Struct], rows: list[tuple[Any, ...]]) -> PersistentMap[str, Any]:
    """Answer the Structs of these rows by their ids."""
    names = struct.__struct_fields__
    found: dict[str, Any] = {}
    for row in rows:
        values: dict[str, Any] = {
            name: UNSET if value is None else value for name, value in zip(names, row, strict=True)
        }
        if struct is Role:
            values["mask"] = int.from_bytes(values["mask"])
        found[values["id"]] = struct(**values)
    return PersistentMap(found)


# The numbers in the columns stand for texts of which only the column knows the kind, hence Any.
# These loops are most of a start: no call and no look-up more than they need.


def _unpack_memberships(
    columns: _Memberships, texts: list[Any]
) -> tuple[
    PersistentMap[SubjectId, PersistentMap[GroupId, Membership]],
    PersistentMap[GroupId, PersistentMap[PrincipalId, Membership]],
]:
    """Answer the memberships by principal, and by group."""
    memberships: dict[SubjectId, PersistentMap[GroupId, Membership]] = {}
    members: dict[GroupId, PersistentMapMutation[PrincipalId, Membership]] = {}
    nobody: PersistentMap[PrincipalId, Membership] = PersistentMap()
    held: dict[GroupId, Membership] = {}
    holder = None
    for tenant, in_group, of_principal, level, not_before, expires_at, ordinal, changed in zip(
        columns.tenant,
        columns.group,
        columns.principal,
        columns.level,
        columns.not_before,
        columns.expires_at,
        columns.ordinal,
        columns.changed,
        strict=True,
    ):
        group, principal = texts[in_group], texts[of_principal]
        one = Membership(
            tenant=texts[tenant],
            group=group,
            principal=principal,
            level=texts[level],
            not_before=UNSET if not_before is None else not_before,
            expires_at=UNSET if expires_at is None else expires_at,
            ordinal=ordinal,
            changed=changed,
        )
        if principal is not holder:
            if holder is not None:
                memberships[holder] = PersistentMap(held)
            holder = principal
            held = {}
        held[group] = one
        inside = members.get(group)
        if inside is None:
            inside = members[group] = nobody.mutate()
        inside[principal] = one
    if holder is not None:
        memberships[holder] = PersistentMap(held)
    return PersistentMap(memberships), _finished(members)


class _BindingTables(TypedDict):
    bindings: PersistentMap[BindingId, Binding]
    bindings_of: PersistentMap[SubjectId, PersistentMap[BindingId, Binding]]
    bindings_to: PersistentMap[RoleId, PersistentMap[BindingId, Binding]]


def _unpack_bindings(columns: _Bindings, texts: list[Any]) -> _BindingTables:
    """Answer the bindings by id, by subject, and by role."""
    scopes = columns.scopes
    nothing: PersistentMap[BindingId, Binding] = PersistentMap()
    bindings: dict[BindingId, Binding] = {}
    of_subject: dict[SubjectId, PersistentMapMutation[BindingId, Binding]] = {}
    to_role: dict[RoleId, PersistentMapMutation[BindingId, Binding]] = {}
    for row in zip(
        columns.id,
        columns.tenant,
        columns.subject_type,
        columns.subject,
        columns.role,
        columns.scope,
        columns.not_before,
        columns.expires_at,
        columns.created,
        columns.changed,
        strict=True,
    ):
        id_, subject, role = texts[row[0]], texts[row[3]], texts[row[4]]
        one = Binding(
            id=id_,
            tenant=texts[row[1]],
            subject_type=texts[row[2]],
            subject=subject,
            role=role,
            scope=scopes[row[5]],
            not_before=UNSET if row[6] is None else row[6],
            expires_at=UNSET if row[7] is None else row[7],
            created=row[8],
            changed=row[9],
        )
        bindings[id_] = one
        for index, key in ((of_subject, subject), (to_role, role)):
            held = index.get(key)
            if held is None:
                held = index[key] = nothing.mutate()
            held[id_] = one
    return {
        "bindings": PersistentMap(bindings),
        "bindings_of": _finished(of_subject),
        "bindings_to": _finished(to_role),
    }


def _unpack_service_accounts(
    columns: _ServiceAccounts, texts: list[Any]
) -> PersistentMap[SubjectId, ServiceAccount]:
    return PersistentMap(
        {
            id_: ServiceAccount(
                id=id_,
                name=name,
                description=description,
                enabled=enabled,
                created=created,
                changed=changed,
            )
            for id_, name, description, enabled, created, changed in zip(
                map(texts.__getitem__, columns.id),
                columns.name,
                columns.description,
                columns.enabled,
                columns.created,
                columns.changed,
                strict=True,
            )
        }
    )


def _unpack_access(
    columns: _Access, texts: list[Any]
) -> PersistentMap[SubjectId, PersistentMap[TenantId, datetime]]:
    nowhere: PersistentMap[TenantId, datetime] = PersistentMap()
    access: dict[SubjectId, PersistentMap[TenantId, datetime]] = {}
    for number, tenant, granted in zip(
        columns.principal, columns.tenant, columns.granted, strict=True
    ):
        principal = texts[number]
        access[principal] = access.get(principal, nowhere).set(texts[tenant], granted)
    return PersistentMap(access)


def _finished(
    mutations: dict[K, PersistentMapMutation[T, V]],
) -> PersistentMap[K, PersistentMap[T, V]]:
    return PersistentMap({key: mutation.finish() for key, mutation in mutations.items()})
