"""What was added, taken away and changed in a tenant between two moments, and whose rights?

Two states are compared object by object, and what differs tells whose rights can: those are
compiled by the judge of every check, each by the clock of its own moment. So nothing in between
has to be read, however long it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast

from msgspec import UNSET, Struct, structs

from domain import access
from domain.scopes import ancestors
from projections import audit_shapes as shapes
from projections.access_delta import Delta, Pace, Right, between, holders, unhurried
from projections.audit_shapes import Shape

if TYPE_CHECKING:
    from domain.ids import PrincipalId, RoleId, SubjectId, TenantId
    from domain.principals import Binding, Membership
    from domain.state import State

Kind = Literal["user", "service_account", "group", "role", "binding", "membership", "tenant_access"]


class Moment(NamedTuple):
    """A state, and the clock that it is judged by (Unix seconds)."""

    state: State
    now: float


class Difference(Struct, frozen=True, kw_only=True):
    """An object at both moments, by the shapes of the audit trail; None where it is not there."""

    kind: Kind
    id: str
    before: Shape | None
    after: Shape | None


class Narrowed(Struct, frozen=True, kw_only=True):
    """What the comparison is about: all of a tenant, or of it a principal or a namespace.

    Of a principal: itself, its memberships and access, and the bindings of it and of its groups.
    Of a namespace: the bindings there, below and above.
    """

    tenant: TenantId
    principal: PrincipalId | None = None
    namespace: str | None = None


class Comparison(Struct, frozen=True, kw_only=True):
    """What differs, by kind and id, and the rights that were gained and lost."""

    differences: tuple[Difference, ...]
    access: Delta


def compare(
    before: Moment, after: Moment, narrowed: Narrowed, pace: Pace = unhurried
) -> Comparison:
    """Compare two moments, the earlier one first; `pace` may raise to end the work."""
    states = before.state, after.state
    differences = tuple(_differences(*states, narrowed))
    touched = {*_touched(before.state, after.state, narrowed.tenant)}
    if narrowed.principal is not None:
        touched &= {narrowed.principal}
    found = between(before, after, [(narrowed.tenant, one) for one in touched], pace)
    found = _of_tenant(found, states, narrowed)
    if narrowed.namespace is not None:
        found = _within(found, narrowed.namespace)
    return Comparison(differences=differences, access=found)


# Objects

# An object's kind, its key in the state, and its id as it is told.
_Key = tuple[Kind, Any]


def _differences(before: State, after: State, narrowed: Narrowed) -> Iterator[Difference]:
    for kind, key in sorted(
        {*_changed(before, after, narrowed.tenant)}, key=lambda one: (one[0], str(one[1]))
    ):
        if not _is_about(before, after, kind, key, narrowed):
            continue
        was, is_ = (_shape(state, narrowed.tenant, kind, key) for state in (before, after))
        if was != is_:
            yield Difference(kind=kind, id=_told(key), before=was, after=is_)


def _told(key: str | tuple[str, str]) -> str:
    return key if isinstance(key, str) else "/".join(key)


def _changed(before: State, after: State, tenant: TenantId) -> Iterator[_Key]:
    """Yield what stands otherwise in the two states; what is the same value is not looked into."""
    for kind, table in _OF_TENANT.items():
        for key in _unlike(table(before), table(after)):
            found = table(before).get(key) or table(after)[key]
            if found.tenant == tenant:
                yield kind, key
    for role in _one_default_alone(before, after, tenant):
        yield "role", role
    yield from _changed_members(before, after, tenant)
    for kind, principal in _changed_principals(before, after):
        if any(tenant in state.access.get(principal, ()) for state in (before, after)):
            yield kind, principal


def _one_default_alone(before: State, after: State, tenant: TenantId) -> Iterable[RoleId]:
    """Answer which roles are the default at one of the moments and not at the other."""
    defaults = {state.default_roles.get(tenant) for state in (before, after)}
    return [role for role in defaults if role is not None] if len(defaults) > 1 else ()


def _changed_members(before: State, after: State, tenant: TenantId) -> Iterator[_Key]:
    nobody: Mapping[PrincipalId, Membership] = {}
    for group in _unlike(before.members, after.members):
        found = before.groups.get(group) or after.groups[group]
        if found.tenant == tenant:
            was, is_ = before.members.get(group, nobody), after.members.get(group, nobody)
            for one in _unlike(was, is_):
                yield "membership", (group, one)


def _changed_principals(before: State, after: State) -> Iterator[tuple[Kind, PrincipalId]]:
    """Yield who is another, has other access, or became or is no longer an instance owner."""
    for principal in _unlike(before.access, after.access):
        yield "tenant_access", cast("PrincipalId", principal)
    for principal in (*_unlike(before.users, after.users), *_unlike(before.owners, after.owners)):
        if principal in before.users or principal in after.users:
            yield "user", principal
    accounts = _unlike(before.service_accounts, after.service_accounts)
    for principal in (*accounts, *_unlike(before.owners, after.owners)):
        if principal in before.service_accounts or principal in after.service_accounts:
            yield "service_account", principal


def _unlike(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> Iterator[Any]:
    if before is after:
        return
    for key, value in before.items():
        other = after.get(key)
        if other is not value and other != value:
            yield key
    for key in after:
        if key not in before:
            yield key


_Table = Callable[["State"], Mapping[Any, Any]]
_OF_TENANT: Final[dict[Kind, _Table]] = {
    "group": lambda state: state.groups,
    "role": lambda state: state.roles,
    "binding": lambda state: state.bindings,
}


def _shape(state: State, tenant: TenantId, kind: Kind, key: Any) -> Shape | None:  # noqa: ANN401 - by the kind
    if kind == "membership":
        return shapes.membership(state, *key)
    if kind == "tenant_access":
        return shapes.tenant_access(state, tenant, key)
    if kind in _PRINCIPALS and tenant not in state.access.get(key, ()):
        # What becomes of somebody elsewhere is not the tenant's to know.
        return None
    return _SHAPES[kind](state, key)


_PRINCIPALS: Final = frozenset({"user", "service_account"})
_SHAPES: Final[dict[Kind, Callable[[Any, str], Shape | None]]] = {
    "user": shapes.user,
    "service_account": shapes.service_account,
    "group": shapes.group,
    "role": shapes.role,
    "binding": shapes.binding,
}


# What it is about


def _is_about(before: State, after: State, kind: Kind, key: Any, narrowed: Narrowed) -> bool:  # noqa: ANN401 - by the kind
    binding = before.bindings.get(key) or after.bindings.get(key) if kind == "binding" else None
    if narrowed.namespace is not None and (
        binding is None or not _meets(binding, narrowed.namespace)
    ):
        return False
    if narrowed.principal is None:
        return True
    if binding is not None:
        return narrowed.principal in holders(before, after, binding.subject)
    return narrowed.principal in (key if isinstance(key, tuple) else (key,))


def _meets(binding: Binding, namespace: str) -> bool:
    scope = binding.scope
    return scope.resource is UNSET and _touches(scope.namespace or "", namespace)


def _touches(place: str, namespace: str) -> bool:
    """Tell whether a place lies at a namespace, below it or above it."""
    return not place or place in ancestors(namespace) or namespace in ancestors(place)


def _of_tenant(found: Delta, states: tuple[State, State], narrowed: Narrowed) -> Delta:
    """Leave out instance owners who have and had no access: a tenant is not to know of them."""

    def kept(owners: tuple[PrincipalId, ...]) -> tuple[PrincipalId, ...]:
        return tuple(
            one
            for one in owners
            if narrowed.principal in {None, one}
            and any(narrowed.tenant in state.access.get(one, ()) for state in states)
        )

    return structs.replace(
        found, owners_gained=kept(found.owners_gained), owners_lost=kept(found.owners_lost)
    )


def _within(found: Delta, namespace: str) -> Delta:
    def kept(rights: tuple[Right, ...]) -> tuple[Right, ...]:
        return tuple(
            right
            for right in rights
            if isinstance(right.place, str) and _touches(right.place, namespace)
        )

    return structs.replace(
        found,
        gained=kept(found.gained),
        lost=kept(found.lost),
        remaining=kept(found.remaining),
    )


# Whose rights may differ


def _touched(before: State, after: State, tenant: TenantId) -> Iterator[PrincipalId]:
    subjects = {
        subject
        for kind, key in _changed(before, after, tenant)
        for subject in _subjects(before, after, kind, key)
    }
    for subject in subjects.union(_timed(before, tenant), _timed(after, tenant)):
        yield from holders(before, after, subject)
    if access.is_open(before, tenant) is not access.is_open(after, tenant):
        for state in (before, after):
            having = (one for one, held in state.access.items() if tenant in held)
            yield from (cast("PrincipalId", one) for one in having)


def _subjects(before: State, after: State, kind: Kind, key: Any) -> Iterator[SubjectId]:  # noqa: ANN401 - by the kind
    """Yield who is given something by an object that differs.

    A group's members and bindings come and go with it, and differ themselves.
    """
    if kind == "membership":
        yield key[1]
    elif kind == "binding":
        yield (before.bindings.get(key) or after.bindings[key]).subject
    elif kind == "role":
        for state in (before, after):
            yield from (one.subject for one in state.bindings_to.get(key, {}).values())
    elif kind != "group":
        yield key


def _timed(state: State, tenant: TenantId) -> Iterator[SubjectId]:
    """Yield whose rights begin or end by the clock, which differs between two moments."""
    for binding in state.bindings.values():
        if binding.tenant == tenant and _is_limited(binding):
            yield binding.subject
    for members in state.members.values():
        for membership in members.values():
            if membership.tenant == tenant and _is_limited(membership):
                yield membership.principal


def _is_limited(held: Binding | Membership) -> bool:
    return held.not_before is not UNSET or held.expires_at is not UNSET
