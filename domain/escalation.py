"""May the caller give such a right to anyone? Nobody gives what they lack (security 2.2).

Every road by which a right can be given comes here: bindings, memberships, role edits, default
roles, tokens, passwords set by others, enabling. It is judged on the exact head of the log, so a
right that was revoked a moment ago no longer counts.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import UNSET, UnsetType

from domain.access import (
    Narrowing,
    Rights,
    bindings_of,
    caller_token,
    covers,
    is_open,
    is_over,
    is_unbounded_owner,
    leaves,
    leaves_tenant,
    memberships_of,
    places,
    rights,
)
from domain.errors import ForbiddenError, Requirement
from domain.permissions import ANY, MANAGE_MEMBERS, granted
from domain.scopes import WHOLE_TENANT, WHOLE_TENANT_KEY, Scope, ancestors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from domain.commands import Context
    from domain.ids import PrincipalId, RoleId, SubjectId, TenantId
    from domain.state import Facts

_MISSING_NAMED_MAX: Final = 20

# MANAGE_MEMBERS in the words of generation 1 (kestra-iam 5.3).
_MANAGE_MEMBERS_LEGACY: Final = tuple(
    ("GROUP_MEMBERSHIP", action) for action in ("CREATE", "UPDATE", "DELETE")
)


def require_may_give(held: Rights, given: Iterable[tuple[str, str, Scope]], code: str) -> None:
    """Refuse with ForbiddenError `code` what the caller does not hold, naming what is missing."""
    missing = {
        (type_, action, scope.key): scope
        for type_, action, scope in given
        if not held.holds(type_, action, scope)
    }
    if not missing:
        return
    named = sorted(missing, key=str)[:_MISSING_NAMED_MAX]
    required = tuple(
        Requirement(
            type_,
            action,
            key if isinstance(key, str) else "",
            None if isinstance(key, str) else key,
        )
        for type_, action, key in named
    )
    listed = ", ".join(f"{type_}:{action}" for type_, action, _ in named)
    raise ForbiddenError(
        code, f"this would give {listed}, which you do not hold there", required=required
    )


def require_may_give_role(held: Rights, role: RoleId, scope: Scope, code: str) -> None:
    """Refuse a role's permissions at a scope where the caller lacks one of them."""
    permissions = held.facts.roles[role].permissions
    require_may_give(held, ((*pair, scope) for pair in granted(permissions)), code)


def require_may_give_bindings(held: Rights, subject: SubjectId, at: datetime, code: str) -> None:
    """Refuse what the subject's own bindings give, now or later, and the caller lacks."""
    require_may_give(held, _given(held.facts, held.tenant, subject, at), code)


def require_may_give_ownership(held: Rights, code: str) -> None:
    """Refuse to make an owner of a group, who manages its members in every way, by less."""
    if not all(held.holds(*pair, WHOLE_TENANT) for pair in _MANAGE_MEMBERS_LEGACY):
        require_may_give(held, ((*MANAGE_MEMBERS, WHOLE_TENANT),), code)


def _given(
    facts: Facts, tenant: TenantId, subject: SubjectId, at: datetime
) -> Iterator[tuple[str, str, Scope]]:
    for binding in bindings_of(facts, subject):
        if binding.tenant == tenant and not is_over(binding.expires_at, at):
            for pair in granted(facts.roles[binding.role].permissions):
                yield (*pair, binding.scope)


def require_may_give_all(
    facts: Facts,
    context: Context,
    principal: PrincipalId,
    narrowing: Narrowing | UnsetType,
    code: str,
) -> None:
    """Refuse to hand out a principal's own rights, as far as `narrowing` leaves them.

    This is the road of tokens, of passwords set by others, and of enabling: whoever gets the
    credential acts with the rights of its owner. To oneself one gives nothing new; that a
    narrowed token makes no wider one is `require_as_narrow`'s to see to.
    """
    if is_unbounded_owner(facts, context) or principal == context.caller:
        return
    owner_left = narrowing is UNSET or narrowing.instance_owner
    if principal in facts.owners and owner_left:
        raise ForbiddenError(code, f"{principal} is an instance owner and you are not")
    for tenant in facts.access.get(principal, ()):
        if not leaves_tenant(narrowing, tenant) or not is_open(facts, tenant):
            continue
        held = rights(facts, context, tenant)
        given = [*_given(facts, tenant, principal, context.at)]
        for membership in memberships_of(facts, principal):
            if membership.tenant == tenant and not is_over(membership.expires_at, context.at):
                given.extend(_given(facts, tenant, membership.group, context.at))
                if membership.level == "OWNER" and leaves(narrowing, tenant, MANAGE_MEMBERS):
                    require_may_give_ownership(held, code)
        require_may_give(held, _left(given, narrowing), code)


def _left(
    given: Iterable[tuple[str, str, Scope]], narrowing: Narrowing | UnsetType
) -> Iterator[tuple[str, str, Scope]]:
    """Yield what a narrowing leaves of the rights given, each with the scope of which it is left.

    Of a meet that is narrower than any scope, the scope that it lies in.
    """
    for type_, action, scope in given:
        for pair in met_pairs(((type_, action),), narrowing):
            for meet in met_places(scope, narrowing):
                yield (*pair, meet.scope)


class Meet(NamedTuple):
    """Where a right is left: at `scope`, and where `within` is given only where both are named."""

    scope: Scope
    within: Scope | None = None


def met_pairs(
    given: Iterable[tuple[str, str]], narrowing: Narrowing | UnsetType
) -> Iterator[tuple[str, str]]:
    """Yield what a narrowing, if there is one, leaves of (type, action) pairs: their meets."""
    if narrowing is UNSET or narrowing.permissions is UNSET:
        yield from given
        return
    listed = [*granted(narrowing.permissions)]
    for type_, action in given:
        for listed_type, listed_action in listed:
            met_type = _meet(type_, listed_type)
            met_action = _meet(action, listed_action)
            if met_type is not None and met_action is not None:
                yield met_type, met_action


def _meet(one: str, other: str) -> str | None:
    if one in (ANY, other):
        return other
    return one if other == ANY else None


def met_places(scope: Scope, narrowing: Narrowing | UnsetType) -> Iterator[Meet]:
    """Yield where a narrowing, if there is one, leaves what is given at a scope."""
    if narrowing is UNSET or (narrowing.namespaces is UNSET and narrowing.resources is UNSET):
        yield Meet(scope)
        return
    namespaces = (Scope(namespace=namespace) for namespace in narrowing.namespaces or ())
    resources = (Scope(resource=resource) for resource in narrowing.resources or ())
    for left in chain(namespaces, resources):
        if _lies_in(left, scope):
            yield Meet(left)
        elif _lies_in(scope, left):
            yield Meet(scope)
        elif (scope.resource is UNSET) is not (left.resource is UNSET):
            # A resource may lie anywhere: the right is left where a question names both.
            yield Meet(scope, left)


def _lies_in(inner: Scope, outer: Scope) -> bool:
    """Tell whether all that a grant at `inner` covers, one at `outer` covers too."""
    namespaces, resource = places(inner)
    return outer.key in (WHOLE_TENANT_KEY, resource, *namespaces)


def require_as_narrow(
    facts: Facts,
    context: Context,
    narrowing: Narrowing | UnsetType,
    allowed_addresses: tuple[str, ...],
) -> None:
    """Let a narrowed token make only tokens at least as narrow as itself (kestra-iam 8).

    Raises ForbiddenError `token.escalation`.
    """
    token = caller_token(facts, context)
    if token is None:
        return
    own, asked = set(token.allowed_addresses), set(allowed_addresses)
    from_fewer = not own or (asked and asked <= own)
    if not from_fewer or not _within(narrowing, token.narrowing):
        raise ForbiddenError(
            "token.escalation", "a narrowed token can only make tokens as narrow as itself"
        )


def _within(inner: Narrowing | UnsetType, outer: Narrowing | UnsetType) -> bool:
    """Tell whether all that the inner narrowing leaves, the outer leaves too (kestra-iam 8)."""
    if outer is UNSET:
        return True
    if inner is UNSET or (inner.instance_owner and not outer.instance_owner):
        return False
    return (
        (outer.tenants is UNSET or lies_in_tenants(inner, outer.tenants))
        and _places_within(inner, outer)
        and (
            outer.permissions is UNSET
            or (
                inner.permissions is not UNSET
                and all(
                    any(covers(wide, pair) for wide in granted(outer.permissions))
                    for pair in granted(inner.permissions)
                )
            )
        )
    )


def lies_in_tenants(narrowing: Narrowing | UnsetType, tenants: tuple[TenantId, ...]) -> bool:
    """Tell whether a narrowing, if there is one, leaves nothing outside these tenants."""
    return (
        narrowing is not UNSET
        and narrowing.tenants is not UNSET
        and set(narrowing.tenants) <= set(tenants)
    )


def _places_within(inner: Narrowing, outer: Narrowing) -> bool:
    if outer.namespaces is UNSET and outer.resources is UNSET:
        return True
    if inner.namespaces is UNSET and inner.resources is UNSET:
        return False
    roots, things = set(outer.namespaces or ()), set(outer.resources or ())
    below = (roots.intersection(ancestors(namespace)) for namespace in inner.namespaces or ())
    return all(below) and things.issuperset(inner.resources or ())
