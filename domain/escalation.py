"""May the caller give such a right to anyone? Nobody gives what they lack (security 2.2).

Every road by which a right can be given comes here: bindings, memberships, role edits, default
roles, tokens, passwords set by others, enabling. It is judged on the exact head of the log, so a
right that was revoked a moment ago no longer counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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
    memberships_of,
    places,
    rights,
)
from domain.errors import ForbiddenError, Requirement
from domain.permissions import ANY, granted
from domain.scopes import WHOLE_TENANT_KEY, Scope, ancestors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from domain.commands import Context
    from domain.ids import PrincipalId, RoleId, SubjectId, TenantId
    from domain.state import Facts
    from domain.tokens import Token

_MISSING_NAMED_MAX: Final = 20


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
        left = narrowing is UNSET or tenant in (narrowing.tenants or (tenant,))
        if not left or not is_open(facts, tenant):
            continue
        held = rights(facts, context, tenant)
        given = [*_given(facts, tenant, principal, context.at)]
        for membership in memberships_of(facts, principal):
            if membership.tenant == tenant and not is_over(membership.expires_at, context.at):
                given.extend(_given(facts, tenant, membership.group, context.at))
        require_may_give(held, _left(given, narrowing), code)


def _left(
    given: Iterable[tuple[str, str, Scope]], narrowing: Narrowing | UnsetType
) -> Iterator[tuple[str, str, Scope]]:
    """Yield what a narrowing leaves of the rights given: the meets of both."""
    if narrowing is UNSET:
        yield from given
        return
    pairs = [(ANY, ANY)]
    if narrowing.permissions is not UNSET:
        pairs = [*granted(narrowing.permissions)]
    for type_, action, scope in given:
        for listed_type, listed_action in pairs:
            met_type = _meet(type_, listed_type)
            met_action = _meet(action, listed_action)
            if met_type is not None and met_action is not None:
                for place in _left_places(scope, narrowing):
                    yield met_type, met_action, place


def _meet(one: str, other: str) -> str | None:
    if one in (ANY, other):
        return other
    return one if other == ANY else None


def _left_places(scope: Scope, narrowing: Narrowing) -> Iterator[Scope]:
    if narrowing.namespaces is UNSET and narrowing.resources is UNSET:
        yield scope
        return
    for namespace in narrowing.namespaces or ():
        inner = Scope(namespace=namespace)
        if _lies_in(inner, scope):
            yield inner
        elif _lies_in(scope, inner) or scope.resource is not UNSET:
            # A resource may lie anywhere: the right is left where a question names both.
            yield scope
    for resource in narrowing.resources or ():
        inner = Scope(resource=resource)
        if _lies_in(inner, scope):
            yield inner
        elif scope.namespace is not UNSET:
            yield scope


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
    if token is not None and not _within(token, narrowing, allowed_addresses):
        raise ForbiddenError(
            "token.escalation", "a narrowed token can only make tokens as narrow as itself"
        )


def _within(
    token: Token, narrowing: Narrowing | UnsetType, allowed_addresses: tuple[str, ...]
) -> bool:
    if token.allowed_addresses and not (
        allowed_addresses and set(allowed_addresses) <= set(token.allowed_addresses)
    ):
        return False
    own = token.narrowing
    if own is UNSET:
        return True
    if narrowing is UNSET or (narrowing.instance_owner and not own.instance_owner):
        return False
    return (
        _subset(narrowing.tenants, own.tenants)
        and _places_within(narrowing, own)
        and (
            own.permissions is UNSET
            or (
                narrowing.permissions is not UNSET
                and all(
                    any(covers(wide, pair) for wide in granted(own.permissions))
                    for pair in granted(narrowing.permissions)
                )
            )
        )
    )


def _subset(
    inner: tuple[TenantId, ...] | UnsetType, outer: tuple[TenantId, ...] | UnsetType
) -> bool:
    return outer is UNSET or (inner is not UNSET and set(inner) <= set(outer))


def _places_within(inner: Narrowing, outer: Narrowing) -> bool:
    if outer.namespaces is UNSET and outer.resources is UNSET:
        return True
    if inner.namespaces is UNSET and inner.resources is UNSET:
        return False
    roots = () if outer.namespaces is UNSET else outer.namespaces
    things = () if outer.resources is UNSET else outer.resources
    inner_namespaces = () if inner.namespaces is UNSET else inner.namespaces
    inner_resources = () if inner.resources is UNSET else inner.resources
    return all(
        not set(roots).isdisjoint(ancestors(namespace)) for namespace in inner_namespaces
    ) and all(resource in things for resource in inner_resources)
