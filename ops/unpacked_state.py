"""Which state do the packed tables stand for?"""

from __future__ import annotations

from array import array
from datetime import datetime
from itertools import accumulate, chain, islice, repeat
from typing import TYPE_CHECKING, Any, Final, TypedDict, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from domain.ids import BindingId, GroupId, PrincipalId, RoleId, SubjectId, TenantId, TokenId
from domain.principals import Access, Binding, Membership
from domain.roles import Role
from domain.service_accounts import ServiceAccount
from domain.state import DeferredMap, InnerMap, PersistentMap, State
from domain.tokens import Token
from ops.packed_aliases import unpack_aliases
from ops.packed_state import (
    NUMBER,
    OTHERS,
    POSITION,
    ROWS,
    AccessColumns,
    Bindings,
    Index,
    Memberships,
    PackedState,
    ServiceAccounts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_HINTS: Final[dict[str, Any]] = get_type_hints(State)


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
        _row_type(ROWS[name]) if name in ROWS else _plain_type(_HINTS[name])
    )
    for name in OTHERS
}


def unpack(body: PackedState) -> State:
    values: dict[str, Any] = {}
    for name, raw in body.others.items():
        decoded = _DECODERS[name].decode(raw)
        rows = ROWS.get(name)
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
    index: Index,
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

    def __init__(self, columns: Memberships, texts: list[Any]) -> None:
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


def _unpack_bindings(columns: Bindings, texts: list[Any]) -> _BindingTables:
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
    columns: ServiceAccounts, texts: list[Any]
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
                enabled_position=since,
            ),
        )
        for id_, name, description, enabled, created, changed, since in zip(
            _texts(texts, columns.id),
            columns.name,
            columns.description,
            columns.enabled,
            columns.created,
            array(POSITION, columns.changed),
            array(POSITION, columns.enabled_position),
            strict=True,
        )
    )


def _unpack_access(
    columns: AccessColumns, texts: list[Any]
) -> PersistentMap[SubjectId, InnerMap[TenantId, Access]]:
    """Answer who has access; at once, because every check asks."""
    nowhere: PersistentMap[TenantId, Access] = PersistentMap()
    access = map(Access, columns.granted, array(POSITION, columns.position))
    granted = zip(_texts(texts, columns.tenant), access, strict=True)
    # Most have access to one tenant, and to set it is the quickest way to a map of one.
    inner = (
        nowhere.set(*next(granted)) if count == 1 else PersistentMap(islice(granted, count))
        for count in array(NUMBER, columns.count)
    )
    return PersistentMap(zip(_texts(texts, columns.principal), inner, strict=True))
