"""What do all events up to a position amount to?

`State` is a value: persistent maps of frozen Structs. A draft that is dropped is the rollback, a
draft that is never appended is a what-if, an old state is the past.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, ValuesView
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeGuard, TypeVar, get_args, overload

import msgspec
from immutables import Map, MapMutation
from msgspec import UNSET, Struct, structs

from domain import (
    erasures,
    groups,
    principals,
    roles,
    service_accounts,
    sinks,
    tenants,
    tokens,
    users,
)
from domain.aliases import Alias, AliasKey
from domain.groups import Group
from domain.ids import (
    BindingId,
    CommandId,
    GroupId,
    PrincipalId,
    RoleId,
    SinkId,
    SubjectId,
    TenantId,
    TokenId,
    UserId,
)
from domain.permissions import Permissions, granted
from domain.principals import Access, Binding, Membership
from domain.roles import Role
from domain.service_accounts import ServiceAccount
from domain.sinks import Sink
from domain.tenants import Tenant
from domain.tokens import Token
from domain.users import User

if TYPE_CHECKING:
    from domain.events import Fact

# The names under which others may have these maps: nobody else imports `immutables`.
PersistentMap = Map
PersistentMapMutation = MapMutation

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")
K_contra = TypeVar("K_contra", contravariant=True)
V_co = TypeVar("V_co", covariant=True)

# A key is promised for 24 hours; twice that is kept, by the log's own time (http-api 4).
_RECORDED_FOR: Final = timedelta(hours=48)

# Quicker to set a first value in than to make a map of it: a replay does so half a million times.
_NOTHING: Final[Map[Any, Any]] = Map()

# What State() holds before the first event.
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)


class DeferredMap(Mapping[K, V]):
    """A persistent map that is put together when something is first asked of it.

    A state from a snapshot has hundreds of thousands of inner maps, and most are asked for late
    or never. Two threads that ask first both put it together, alike: so there is no lock.
    """

    __slots__ = ("_entries", "_held")

    def __init__(
        self, entries: Callable[[Sequence[int]], Iterable[tuple[K, V]]], rows: Sequence[int]
    ) -> None:
        """Hold the rows by number; `entries` answers what they amount to, always the same."""
        self._entries = entries
        self._held: Map[K, V] | Sequence[int] = rows

    def _map(self) -> Map[K, V]:
        held = self._held
        if not isinstance(held, Map):
            held = self._held = Map(self._entries(held))
        return held

    def __getitem__(self, key: K, /) -> V:
        return self._map()[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._map())

    def __len__(self) -> int:
        return len(self._map())

    def values(self) -> ValuesView[V]:
        """Answer the values, each without a call of ours."""
        return ValuesView(self._map())

    def set(self, key: K, value: V) -> Map[K, V]:
        """Answer a map that has the value too."""
        return self._map().set(key, value)

    def delete(self, key: K) -> Map[K, V]:
        """Answer a map that lacks the key."""
        return self._map().delete(key)


InnerMap = Map[K, V] | DeferredMap[K, V]


class Recorded(Struct, frozen=True, gc=False):
    """What a command with an idempotency key left: its last position and what was asked."""

    position: int
    fingerprint: str
    at: datetime


class Lookup(Protocol[K_contra, V_co]):
    """What rules may ask of a map, also of one that is being written: no iteration."""

    def __contains__(self, key: object, /) -> bool: ...
    def __getitem__(self, key: K_contra, /) -> V_co: ...
    @overload
    def get(self, key: K_contra, /) -> V_co | None: ...
    @overload
    def get(self, key: K_contra, default: T, /) -> V_co | T: ...


class Facts(Protocol):
    """What rules read: a state, or the draft of the next one."""

    @property
    def position(self) -> int: ...
    @property
    def tenant_count(self) -> int: ...
    @property
    def tenants(self) -> Lookup[TenantId, Tenant]: ...
    @property
    def users(self) -> Lookup[SubjectId, User]: ...
    @property
    def emails(self) -> Lookup[bytes, UserId]: ...
    @property
    def former_users(self) -> Lookup[SubjectId, int]: ...
    @property
    def erased_users(self) -> Lookup[SubjectId, int]: ...
    @property
    def service_accounts(self) -> Lookup[SubjectId, ServiceAccount]: ...
    @property
    def access(self) -> Lookup[SubjectId, Mapping[TenantId, Access]]: ...
    @property
    def owners(self) -> Mapping[PrincipalId, int]: ...
    @property
    def sinks(self) -> Mapping[SinkId, Sink]: ...
    @property
    def touched(self) -> Lookup[str, int]: ...
    @property
    def groups(self) -> Lookup[SubjectId, Group]: ...
    @property
    def group_names(self) -> Lookup[tuple[TenantId, str], GroupId]: ...
    @property
    def members(self) -> Lookup[GroupId, Mapping[PrincipalId, Membership]]: ...
    @property
    def memberships(self) -> Lookup[SubjectId, Mapping[GroupId, Membership]]: ...
    @property
    def roles(self) -> Lookup[RoleId, Role]: ...
    @property
    def default_roles(self) -> Lookup[TenantId, RoleId]: ...
    @property
    def vocabulary(self) -> Lookup[TenantId, Mapping[tuple[str, str], int]]: ...
    @property
    def bindings(self) -> Lookup[BindingId, Binding]: ...
    @property
    def bindings_of(self) -> Lookup[SubjectId, Mapping[BindingId, Binding]]: ...
    @property
    def bindings_to(self) -> Lookup[RoleId, Mapping[BindingId, Binding]]: ...
    @property
    def tokens(self) -> Lookup[str, Token]: ...
    @property
    def tokens_of(self) -> Lookup[PrincipalId, Mapping[TokenId, None]]: ...
    @property
    def aliases(self) -> Lookup[tuple[TenantId, str], Mapping[bytes, PrincipalId]]: ...
    @property
    def aliases_of(self) -> Lookup[SubjectId, Mapping[AliasKey, Alias]]: ...
    @property
    def digests(self) -> Lookup[bytes, TokenId]: ...
    @property
    def recorded(self) -> Lookup[CommandId, Recorded]: ...


class State(Struct, frozen=True, kw_only=True):
    """The fold of the log up to `position`; `at` is the instant of that event.

    `former_users` were deleted and `erased_users` erased, each at its position.
    """

    position: int = 0
    at: datetime = _BEGINNING
    log_id: str = ""
    tenant_count: int = 0
    recorded_first: int = 0
    recorded_next: int = 0
    owners: Map[PrincipalId, int] = Map()
    sinks: Map[SinkId, Sink] = Map()
    tenants: Map[TenantId, Tenant] = Map()
    users: Map[SubjectId, User] = Map()
    emails: Map[bytes, UserId] = Map()
    former_users: Map[SubjectId, int] = Map()
    erased_users: Map[SubjectId, int] = Map()
    service_accounts: Map[SubjectId, ServiceAccount] = Map()
    access: Map[SubjectId, InnerMap[TenantId, Access]] = Map()
    touched: Map[str, int] = Map()
    groups: Map[SubjectId, Group] = Map()
    group_names: Map[tuple[TenantId, str], GroupId] = Map()
    members: Map[GroupId, InnerMap[PrincipalId, Membership]] = Map()
    memberships: Map[SubjectId, InnerMap[GroupId, Membership]] = Map()
    roles: Map[RoleId, Role] = Map()
    default_roles: Map[TenantId, RoleId] = Map()
    vocabulary: Map[TenantId, Map[tuple[str, str], int]] = Map()
    bindings: Map[BindingId, Binding] = Map()
    bindings_of: Map[SubjectId, InnerMap[BindingId, Binding]] = Map()
    bindings_to: Map[RoleId, InnerMap[BindingId, Binding]] = Map()
    tokens: Map[str, Token] = Map()
    tokens_of: Map[PrincipalId, InnerMap[TokenId, None]] = Map()
    digests: Map[bytes, TokenId] = Map()
    aliases: Map[tuple[TenantId, str], InnerMap[bytes, PrincipalId]] = Map()
    aliases_of: Map[SubjectId, InnerMap[AliasKey, Alias]] = Map()
    recorded: Map[CommandId, Recorded] = Map()
    recorded_order: Map[int, CommandId] = Map()


SCALARS: Final = (
    "position",
    "at",
    "log_id",
    "tenant_count",
    "recorded_first",
    "recorded_next",
    "owners",
    "sinks",
)
TABLES: Final = tuple(name for name in State.__struct_fields__ if name not in SCALARS)


class Draft:
    """A state that is being written: opened once, changed by `apply`, then finished or dropped.

    Its maps cannot be iterated, only the inner ones; `actor_id` is the actor of the event that is
    being applied.
    """

    position: int
    at: datetime
    log_id: str
    tenant_count: int
    recorded_first: int
    recorded_next: int
    owners: Map[PrincipalId, int]
    sinks: Map[SinkId, Sink]
    tenants: MapMutation[TenantId, Tenant]
    users: MapMutation[SubjectId, User]
    emails: MapMutation[bytes, UserId]
    former_users: MapMutation[SubjectId, int]
    erased_users: MapMutation[SubjectId, int]
    service_accounts: MapMutation[SubjectId, ServiceAccount]
    access: MapMutation[SubjectId, InnerMap[TenantId, Access]]
    touched: MapMutation[str, int]
    groups: MapMutation[SubjectId, Group]
    group_names: MapMutation[tuple[TenantId, str], GroupId]
    members: MapMutation[GroupId, InnerMap[PrincipalId, Membership]]
    memberships: MapMutation[SubjectId, InnerMap[GroupId, Membership]]
    roles: MapMutation[RoleId, Role]
    default_roles: MapMutation[TenantId, RoleId]
    vocabulary: MapMutation[TenantId, Map[tuple[str, str], int]]
    bindings: MapMutation[BindingId, Binding]
    bindings_of: MapMutation[SubjectId, InnerMap[BindingId, Binding]]
    bindings_to: MapMutation[RoleId, InnerMap[BindingId, Binding]]
    tokens: MapMutation[str, Token]
    tokens_of: MapMutation[PrincipalId, InnerMap[TokenId, None]]
    digests: MapMutation[bytes, TokenId]
    aliases: MapMutation[tuple[TenantId, str], InnerMap[bytes, PrincipalId]]
    aliases_of: MapMutation[SubjectId, InnerMap[AliasKey, Alias]]
    recorded: MapMutation[CommandId, Recorded]
    recorded_order: MapMutation[int, CommandId]

    def __init__(self, state: State) -> None:
        """Open every map of the state for writing."""
        self.actor_id = ""
        for name in SCALARS:
            setattr(self, name, getattr(state, name))
        for name in TABLES:
            setattr(self, name, getattr(state, name).mutate())

    def finish(self) -> State:
        """Answer the written state; the draft is not to be used afterwards."""
        scalars = {name: getattr(self, name) for name in SCALARS}
        return State(**scalars, **{name: getattr(self, name).finish() for name in TABLES})

    def link(self, table: MapMutation[K, InnerMap[T, V]], outer: K, inner: T, value: V) -> None:
        """Set the value under both keys."""
        held: InnerMap[T, V] = table.get(outer, _NOTHING)
        table[outer] = held.set(inner, value)

    def unlink(self, table: MapMutation[K, InnerMap[T, V]], outer: K, inner: T) -> None:
        """Take the value under both keys away, and the inner map with its last."""
        held = table.get(outer)
        if held is None:
            return
        try:
            rest = held.delete(inner)
        except KeyError:
            return
        if len(rest):
            table[outer] = rest
        else:
            del table[outer]

    def mask(self, tenant: TenantId, permissions: Permissions) -> int:
        """Answer the bits of what these permissions grant, giving new pairs a bit each."""
        known = self.vocabulary.get(tenant)
        bits = (Map[tuple[str, str], int]() if known is None else known).mutate()
        mask = 0
        for pair in granted(permissions):
            bit = bits.get(pair)
            if bit is None:
                bit = bits[pair] = len(bits)
            mask |= 1 << bit
        self.vocabulary[tenant] = bits.finish()
        return mask

    def remember_role(
        self,
        tenant: TenantId,
        id_: RoleId,
        name: str,
        permissions: Permissions,
        description: str = "",
        *,
        is_managed: bool = False,
    ) -> None:
        """Add a role; it is here because roles and tenants both make some."""
        self.roles[id_] = Role(
            id=id_,
            tenant=tenant,
            name=name,
            description=description,
            permissions=permissions,
            is_managed=is_managed,
            mask=self.mask(tenant, permissions),
            created=self.at,
            changed=self.position,
            created_position=self.position,
            permissions_position=self.position,
        )

    def replace_role(self, id_: RoleId, **values: str | int | Permissions) -> None:
        """Set new values of a role, if it is still there."""
        role = self.roles.get(id_)
        if role is not None:
            self.roles[id_] = structs.replace(role, changed=self.position, **values)


_NOUNS = (erasures, groups, principals, roles, service_accounts, sinks, tenants, tokens, users)

_APPLY: Final[dict[type, Callable[[Draft, Any], None]]] = {
    event: noun.apply for noun in _NOUNS for event in get_args(noun.Event) or (noun.Event,)
}


def apply(draft: Draft, fact: Fact) -> None:
    """Fold one event into the draft: the only fold; it never refuses a known event."""
    envelope = fact.envelope
    draft.position = fact.position
    draft.at = envelope.at
    draft.actor_id = envelope.actor.id
    event = envelope.event
    _APPLY[type(event)](draft, event)
    if envelope.fingerprint is not UNSET:
        _record(draft, envelope.command_id, envelope.fingerprint)


def _record(draft: Draft, command_id: CommandId, fingerprint: str) -> None:
    """Remember a command with an idempotency key, and forget those of two days ago."""
    if command_id not in draft.recorded:
        draft.recorded_order[draft.recorded_next] = command_id
        draft.recorded_next += 1
    draft.recorded[command_id] = Recorded(draft.position, fingerprint, draft.at)
    while True:
        oldest = draft.recorded_order[draft.recorded_first]
        if draft.at - draft.recorded[oldest].at <= _RECORDED_FOR:
            return
        del draft.recorded_order[draft.recorded_first]
        del draft.recorded[oldest]
        draft.recorded_first += 1


def evolve(state: State, facts: Iterable[Fact]) -> State:
    """Answer the state after the facts, which follow the state's position without a gap."""
    draft = Draft(state)
    for fact in facts:
        apply(draft, fact)
    return draft.finish()


def digest(state: State) -> str:
    """Answer SHA-256 (hex) over the whole state in one canonical order.

    Equal on every node, after replay and from a snapshot; the order of hash tables, which
    differs between processes, does not show.
    """
    total = hashlib.sha256()
    for name in State.__struct_fields__:
        total.update(name.encode() + b"\n")
        total.update(_canonical(getattr(state, name)) + b"\n")
    return total.hexdigest()


def _canonical(value: object) -> bytes:
    if _is_map(value):
        rows = sorted((msgspec.json.encode(key), inner) for key, inner in value.items())
        return b"{" + b",".join(key + b":" + _canonical(inner) for key, inner in rows) + b"}"
    return msgspec.json.encode(value)


def _is_map(value: object) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Map | DeferredMap)
