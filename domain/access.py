"""May this principal do that there, and may the caller give such a right to others?

Rights are additive: a binding gives the permissions of a role at a scope, to a principal or to a
group's members, and nothing takes away. So everything that a principal may do in a tenant is a
dict from scope to a mask with one bit for each (type, action) pair that some role of the tenant
names; one AND decides (performance 2). `compile_subject` and `evaluate` are the only judge:
checks, gates, explanations and questions about the past all come here.
"""

from __future__ import annotations

import ipaddress
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from msgspec import UNSET, Struct, UnsetType

from domain import names, permissions
from domain.errors import Faults, NotFoundError
from domain.ids import TenantId
from domain.limits import ADDRESSES_A_TOKEN_MAX, PLACES_A_TOKEN_MAX
from domain.permissions import ADMINISTRATION, ANY, Permission, Permissions, granted
from domain.scopes import WHOLE_TENANT, WHOLE_TENANT_KEY, Resource, Scope, ScopeKey, ancestors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domain.commands import Context
    from domain.ids import SubjectId
    from domain.principals import Binding, Membership
    from domain.state import Facts
    from domain.tokens import Token

Masks = dict[ScopeKey, int]


class Compiled(NamedTuple):
    """What a subject may do in a tenant, good until `valid_until` (Unix seconds)."""

    masks: Masks
    valid_until: float


class Question(NamedTuple):
    """What is asked of a subject: (type, action) at a place in a tenant.

    `namespaces` are the namespace asked about and all above it; `resource` is (type, id).
    """

    tenant: TenantId
    type: str
    action: str
    namespaces: tuple[str, ...]
    resource: tuple[str, str] | None


class Narrowing(Struct, frozen=True, kw_only=True):
    """What a token may do at most; an absent member narrows nothing (kestra-iam 8).

    `namespaces` and `resources` are places: with either given, only what lies in one of them is
    left. The privilege of an instance owner works only where `instance_owner` is true.
    """

    permissions: Permissions | UnsetType = UNSET
    tenants: tuple[TenantId, ...] | UnsetType = UNSET
    namespaces: tuple[str, ...] | UnsetType = UNSET
    resources: tuple[Resource, ...] | UnsetType = UNSET
    instance_owner: bool = False


# Time


def is_over(expires_at: datetime | UnsetType, at: datetime) -> bool:
    """Tell whether the end has come; the end itself is not included."""
    return expires_at is not UNSET and at >= expires_at


def is_active(
    not_before: datetime | UnsetType, expires_at: datetime | UnsetType, now: float
) -> bool:
    """Tell whether `now` (Unix seconds) lies within a span."""
    return _span(not_before, expires_at, now)[1]


def require_span(
    not_before: datetime | UnsetType, expires_at: datetime | UnsetType, at: datetime, code: str
) -> tuple[datetime | UnsetType, datetime | UnsetType]:
    """Answer a span as `judge_span` does, or refuse it with InvalidError `code`."""
    faults = Faults()
    span = judge_span(not_before, expires_at, at, faults)
    faults.refuse(code)
    return span


def judge_span(
    not_before: datetime | UnsetType,
    expires_at: datetime | UnsetType,
    at: datetime,
    faults: Faults,
    path: str = "",
) -> tuple[datetime | UnsetType, datetime | UnsetType]:
    """Answer begin and end in UTC, noting a span that has ended or ends before it begins.

    Also noted: an instant that says no time zone, or that UTC has no year for.
    """
    begins = _in_utc(not_before, faults, f"{path}notBefore")
    ends = _in_utc(expires_at, faults, f"{path}expiresAt")
    if is_over(ends, at):
        faults.add(f"{path}expiresAt", "must be in the future", "past")
    if begins is not UNSET and is_over(ends, begins):
        faults.add(f"{path}expiresAt", "must be after notBefore", "order")
    return begins, ends


def _in_utc(instant: datetime | UnsetType, faults: Faults, path: str) -> datetime | UnsetType:
    if instant is UNSET:
        return UNSET
    if instant.utcoffset() is None:
        # Compared with an instant it would raise, and the writer may not stumble.
        faults.add(path, "must say its time zone", "time_zone")
        return UNSET
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        # Once recorded, no reader could write it down again.
        faults.add(path, "must lie in the years 1 to 9999 of UTC", "range")
        return UNSET


# What is asked of a token


def judge_addresses(addresses: tuple[str, ...], faults: Faults) -> None:
    """Note a list that is too long, and everything in it that is no address or network."""
    if len(addresses) > ADDRESSES_A_TOKEN_MAX:
        faults.add("allowedAddresses", f"must be at most {ADDRESSES_A_TOKEN_MAX}", "too_many")
        return
    for index, address in enumerate(addresses):
        try:
            # A zone behind a % names an interface and may hold anything: it is no address here.
            ipaddress.ip_network(address.replace("%", " "))
        except ValueError:
            faults.add(f"allowedAddresses[{index}]", "must be an address or network", "invalid")


def judge_narrowing(facts: Facts, context: Context, narrowing: Narrowing, faults: Faults) -> None:
    """Note malformed words, lists that are too long, and tenants that the caller does not see."""
    if narrowing.permissions is not UNSET:
        permissions.judge(narrowing.permissions, faults, "scope.permissions")
    for namespace in narrowing.namespaces or ():
        faults.check("scope.namespaces", names.namespace, namespace)
    for resource in narrowing.resources or ():
        faults.check("scope.resources.type", names.identifier, resource.type)
        faults.check("scope.resources.id", names.resource_id, resource.id)
    for tenant in narrowing.tenants or ():
        if not sees_tenant(facts, context, tenant):
            faults.add("scope.tenants", "names an unknown tenant", "tenant.unknown")
    lists = (narrowing.tenants, narrowing.namespaces, narrowing.resources)
    if any(len(listed or ()) > PLACES_A_TOKEN_MAX for listed in lists):
        faults.add("scope", f"must list at most {PLACES_A_TOKEN_MAX} of a kind", "too_many")


# What a subject holds


def bindings_of(facts: Facts, subject: SubjectId) -> Iterable[Binding]:
    """Answer the bindings of a principal or group itself, in every tenant."""
    held = facts.bindings_of.get(subject)
    return () if held is None else held.values()


def memberships_of(facts: Facts, principal: SubjectId) -> Iterable[Membership]:
    """Answer the memberships of a principal in every tenant, also those whose time is over."""
    held = facts.memberships.get(principal)
    return () if held is None else held.values()


# Judging


def compile_subject(
    facts: Facts, tenant: TenantId, subject: SubjectId, now: float
) -> Compiled | None:
    """Answer what a principal or group may do in the tenant at `now` (Unix seconds).

    None for a tenant that is unknown or deleted, and for a subject that is unknown, disabled, or
    has no access to the tenant.
    """
    if not _acts_in(facts, tenant, subject):
        # Few questions are about groups: it is asked last whether this is one.
        group = facts.groups.get(subject)
        if group is None or group.tenant != tenant or not is_open(facts, tenant):
            return None
    masks: Masks = {}
    valid_until = _collect(facts, tenant, subject, now, masks, math.inf)
    for membership in memberships_of(facts, subject):
        if membership.tenant != tenant:
            continue
        if membership.not_before is not UNSET or membership.expires_at is not UNSET:
            boundary, active = _span(membership.not_before, membership.expires_at, now)
            valid_until = min(valid_until, boundary)
            if not active:
                continue
        valid_until = _collect(facts, tenant, membership.group, now, masks, valid_until)
    return Compiled(masks, valid_until)


def _acts_in(facts: Facts, tenant: TenantId, subject: SubjectId) -> bool:
    principal = facts.users.get(subject) or facts.service_accounts.get(subject)
    return (
        principal is not None
        and principal.enabled
        and tenant in facts.access.get(subject, ())
        and is_open(facts, tenant)
    )


def is_open(facts: Facts, tenant: TenantId) -> bool:
    """Tell whether there is such a tenant, and has not been deleted."""
    known = facts.tenants.get(tenant)
    return known is not None and not known.deleted


def _collect(
    facts: Facts,
    tenant: TenantId,
    subject: SubjectId,
    now: float,
    masks: Masks,
    valid_until: float,
) -> float:
    held = facts.bindings_of.get(subject)
    if held is None:
        return valid_until
    roles = facts.roles
    for binding in held.values():
        if binding.tenant != tenant:
            continue
        if binding.not_before is not UNSET or binding.expires_at is not UNSET:
            boundary, active = _span(binding.not_before, binding.expires_at, now)
            valid_until = min(valid_until, boundary)
            if not active:
                continue
        scope = binding.scope
        key: ScopeKey | UnsetType = scope.namespace
        if key is UNSET or scope.resource is not UNSET:
            # Few are of anything but a namespace, whose text is the key without a call.
            key = scope.key
        masks[key] = masks.get(key, 0) | roles[binding.role].mask
    return valid_until


def _span(
    not_before: datetime | UnsetType, expires_at: datetime | UnsetType, now: float
) -> tuple[float, bool]:
    """Answer the next boundary after `now`, and whether `now` lies within."""
    if not_before is not UNSET:
        begins = not_before.timestamp()
        if now < begins:
            return begins, False
    if expires_at is not UNSET:
        ends = expires_at.timestamp()
        return (ends, True) if now < ends else (math.inf, False)
    return math.inf, True


def need(facts: Facts, tenant: TenantId, type_: str, action: str) -> int:
    """Answer the bits of which any one allows (type, action): the pair's own and the wildcards'.

    A pair that no role names has only wildcard bits: asking registers nothing.
    """
    bits = facts.vocabulary.get(tenant)
    if bits is None:
        return 0
    mask = 0
    for pair in {(type_, action), (type_, ANY), (ANY, action), (ANY, ANY)}:
        bit = bits.get(pair)
        if bit is not None:
            mask |= 1 << bit
    return mask


def evaluate(
    masks: Masks, needed: int, namespaces: Iterable[str], resource: tuple[str, str] | None
) -> bool:
    """Tell whether a mask at one of the scopes that cover the question has a needed bit.

    `namespaces` are the namespace asked about and all above it; `resource` is (type, id).
    """
    for namespace in namespaces:
        mask = masks.get(namespace)
        if mask is not None and mask & needed:
            return True
    if resource is not None:
        mask = masks.get(resource)
        if mask is not None and mask & needed:
            return True
    mask = masks.get(WHOLE_TENANT_KEY)
    return mask is not None and mask & needed != 0


def allows(facts: Facts, subject: SubjectId, question: Question, now: float) -> bool:
    """Judge one question by itself: compile the subject, then evaluate."""
    compiled = compile_subject(facts, question.tenant, subject, now)
    if compiled is None:
        return False
    needed = need(facts, question.tenant, question.type, question.action)
    return evaluate(compiled.masks, needed, question.namespaces, question.resource)


def narrowing_allows(
    narrowing: Narrowing,
    tenant: TenantId,
    pair: tuple[str, str],
    namespaces: Iterable[str],
    resource: tuple[str, str] | None,
) -> bool:
    """Tell whether a narrowed token leaves this (type, action) at this place."""
    if not leaves_tenant(narrowing, tenant):
        return False
    if narrowing.permissions is not UNSET and not any(
        covers(listed, pair) for listed in granted(narrowing.permissions)
    ):
        return False
    if narrowing.namespaces is UNSET and narrowing.resources is UNSET:
        return True
    if narrowing.namespaces is not UNSET and not set(narrowing.namespaces).isdisjoint(namespaces):
        return True
    return (
        narrowing.resources is not UNSET
        and resource is not None
        and Resource(*resource) in narrowing.resources
    )


def leaves_tenant(narrowing: Narrowing | UnsetType, tenant: TenantId) -> bool:
    """Tell whether a narrowing, if there is one, leaves anything in the tenant."""
    return narrowing is UNSET or narrowing.tenants is UNSET or tenant in narrowing.tenants


def leaves(narrowing: Narrowing | UnsetType, tenant: TenantId, pair: tuple[str, str]) -> bool:
    """Tell whether a narrowing, if there is one, leaves this right in the whole tenant."""
    return narrowing is UNSET or narrowing_allows(narrowing, tenant, pair, (), None)


def covers(wide: tuple[str, str], narrow: tuple[str, str]) -> bool:
    """Tell whether one (type, action) pair, by its wildcards, stands for the other too."""
    return wide[0] in (ANY, narrow[0]) and wide[1] in (ANY, narrow[1])


def places(scope: Scope) -> tuple[tuple[str, ...], tuple[str, str] | None]:
    """Answer the namespaces and the resource that a question at this scope names."""
    if scope.resource is not UNSET:
        return (), (scope.resource.type, scope.resource.id)
    return (() if scope.namespace is UNSET else ancestors(scope.namespace)), None


# The caller


def caller_token(facts: Facts, context: Context) -> Token | None:
    """Answer the token that the caller acts with; None for a password or session."""
    token_id = context.actor.token_id
    return None if token_id is UNSET else facts.tokens.get(token_id)


def caller_narrowing(facts: Facts, context: Context) -> Narrowing | UnsetType:
    """Answer what the caller's token leaves at most; UNSET where nothing is narrowed."""
    token = caller_token(facts, context)
    return UNSET if token is None else token.narrowing


class Rights(NamedTuple):
    """What the caller of a command holds in one tenant, through the credential that it used."""

    facts: Facts
    tenant: TenantId
    everything: bool
    masks: Masks
    narrowing: Narrowing | UnsetType

    def holds(self, type_: str, action: str, scope: Scope) -> bool:
        """Tell whether the caller holds the permission at all of this scope.

        For this question an instance owner counts as holding everything (kestra-iam 5.6),
        within what its token leaves.
        """
        namespaces, resource = places(scope)
        if self.narrowing is not UNSET and not narrowing_allows(
            self.narrowing, self.tenant, (type_, action), namespaces, resource
        ):
            return False
        if self.everything:
            return True
        needed = need(self.facts, self.tenant, type_, action)
        return evaluate(self.masks, needed, namespaces, resource)

    def passes(self, permission: Permission) -> bool:
        """Tell whether the caller may use a route that this permission guards, tenant-wide.

        An instance owner passes the gates of administration only.
        """
        if self.everything and permission.type not in ADMINISTRATION:
            return self._replace(everything=False).passes(permission)
        return self.holds(permission.type, permission.action, WHOLE_TENANT)


def rights(facts: Facts, context: Context, tenant: TenantId) -> Rights:
    """Answer the caller's rights in the tenant, as of the facts and the context's instant."""
    if context.actor.type == "system":
        return Rights(facts, tenant, True, {}, UNSET)  # noqa: FBT003 - a tuple's field
    narrowing = caller_narrowing(facts, context)
    compiled = compile_subject(facts, tenant, context.caller, context.at.timestamp())
    masks = compiled.masks if compiled else {}
    return Rights(facts, tenant, is_instance_owner(facts, context), masks, narrowing)


def is_instance_owner(facts: Facts, context: Context) -> bool:
    """Tell whether the caller has the privilege, and its token, if any, leaves it."""
    if context.actor.type == "system":
        return True
    caller = context.caller
    principal = facts.users.get(caller) or facts.service_accounts.get(caller)
    if principal is None or not principal.enabled or caller not in facts.owners:
        return False
    narrowing = caller_narrowing(facts, context)
    return narrowing is UNSET or narrowing.instance_owner


def is_unbounded_owner(facts: Facts, context: Context) -> bool:
    """Tell whether the caller is an instance owner whose token narrows nothing else.

    Only such a caller holds what an instance owner holds, and so may give the privilege.
    """
    if not is_instance_owner(facts, context):
        return False
    narrowing = caller_narrowing(facts, context)
    if narrowing is UNSET:
        return True
    members = (narrowing.permissions, narrowing.tenants, narrowing.namespaces, narrowing.resources)
    return all(member is UNSET for member in members)


def sees_tenant(facts: Facts, context: Context, tenant: TenantId, *, past: bool = False) -> bool:
    """Tell whether there is such a tenant and the caller has access to it.

    Its past is there for ever: when it has been deleted, for instance owners.
    """
    known = facts.tenants.get(tenant)
    if known is None or (known.deleted and not past):
        return False
    if not leaves_tenant(caller_narrowing(facts, context), tenant):
        return False
    has_access = not known.deleted and tenant in facts.access.get(context.caller, ())
    return has_access or is_instance_owner(facts, context)


def works_in(token: Token, tenant: TenantId) -> bool:
    """Tell whether the token's narrowing leaves anything in the tenant."""
    return leaves_tenant(token.narrowing, tenant)


def require_tenant(facts: Facts, context: Context, tenant: TenantId, *, past: bool = False) -> None:
    """Raise NotFoundError `tenant.unknown` for a tenant that the caller has no access to."""
    if not sees_tenant(facts, context, tenant, past=past):
        raise NotFoundError("tenant.unknown", f"no tenant {tenant}")


def is_narrowed(facts: Facts, context: Context) -> bool:
    """Tell whether the caller acts with a token that holds less than its owner."""
    return caller_narrowing(facts, context) is not UNSET
