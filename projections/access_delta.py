"""Which rights did events give and take, principal by principal?

The judge of every check compiles both states, and what one allows and the other does not is the
answer. So it is exact, through groups, roles and tenants, and cannot differ from what checks said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, assert_never, cast

from msgspec import Struct

from domain import (
    access,
    aliases,
    groups,
    principals,
    roles,
    service_accounts,
    sinks,
    tenants,
    tokens,
    users,
)
from domain.ids import GroupId
from domain.scopes import WHOLE_TENANT_KEY, ancestors

if TYPE_CHECKING:
    from domain.access import Masks
    from domain.events import Event
    from domain.ids import PrincipalId, RoleId, SubjectId, TenantId
    from domain.scopes import ScopeKey
    from domain.state import State

# Who may hold something else in a tenant after an event.
_Touched = tuple["TenantId", "PrincipalId"]


class Right(NamedTuple):
    """That a principal may do something at a place in a tenant, with all that lies below it.

    `place` is "" for the whole tenant, a namespace, or a resource's (type, id).
    """

    tenant: TenantId
    principal: PrincipalId
    place: ScopeKey
    type: str
    action: str


class Delta(Struct, frozen=True, kw_only=True):
    """The rights that were gained and lost, in order; and who became, and was, instance owner.

    A right that another one of before already covered was not gained.
    """

    gained: tuple[Right, ...] = ()
    lost: tuple[Right, ...] = ()
    owners_gained: tuple[PrincipalId, ...] = ()
    owners_lost: tuple[PrincipalId, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nobody's rights are any other."""
        return not (self.gained or self.lost or self.owners_gained or self.owners_lost)


def delta(before: State, after: State, events: Iterable[Event], now: float) -> Delta:
    """Answer what lies between two states at one instant, `now` (Unix seconds).

    `events` are all those between them. A span that begins or ends by the clock alone is no event
    and shows in neither.
    """
    touched = {one for event in events for one in touched_by(before, after, event)}
    gained: list[Right] = []
    lost: list[Right] = []
    for tenant, found in _by_tenant(touched).items():
        compared = _Tenant(before, after, tenant, now)
        for principal in found:
            compared.compare(principal, gained, lost)
    owned, owning = set(before.owners), set(after.owners)
    return Delta(
        gained=tuple(sorted(gained, key=_rank)),
        lost=tuple(sorted(lost, key=_rank)),
        owners_gained=tuple(sorted(owning - owned)),
        owners_lost=tuple(sorted(owned - owning)),
    )


def _by_tenant(touched: Iterable[_Touched]) -> dict[TenantId, list[PrincipalId]]:
    found: dict[TenantId, list[PrincipalId]] = {}
    for tenant, principal in touched:
        found.setdefault(tenant, []).append(principal)
    return found


def _rank(right: Right) -> tuple[str, str, tuple[str, ...], str, str]:
    place = right.place if isinstance(right.place, tuple) else (right.place,)
    return right.tenant, right.principal, place, right.type, right.action


# Comparing


class _Tenant:
    """What two states allow in one tenant."""

    def __init__(self, before: State, after: State, tenant: TenantId, now: float) -> None:
        self._before, self._after = before, after
        self._tenant, self._now = tenant, now
        # Bits are given once and never again, so they mean the same in both states.
        vocabulary = after if len(_pairs(after, tenant)) >= len(_pairs(before, tenant)) else before
        self._bits = [
            (1 << bit, access.need(vocabulary, tenant, *pair), pair)
            for pair, bit in _pairs(vocabulary, tenant).items()
        ]

    def compare(self, principal: PrincipalId, gained: list[Right], lost: list[Right]) -> None:
        """Add what the principal gained and lost."""
        held = self._masks(self._before, principal)
        holds = self._masks(self._after, principal)
        if held != holds:
            gained += self._beyond(principal, holds, held)
            lost += self._beyond(principal, held, holds)

    def _masks(self, state: State, principal: PrincipalId) -> Masks:
        compiled = access.compile_subject(state, self._tenant, principal, self._now)
        return {} if compiled is None else compiled.masks

    def _beyond(self, principal: PrincipalId, masks: Masks, others: Masks) -> Iterator[Right]:
        """Yield the rights of `masks` that the others do not cover."""
        for place, mask in masks.items():
            if others.get(place, 0) == mask:
                continue
            covered = _covering(others, place)
            for bit, needed, (type_, action) in self._bits:
                if mask & bit and not covered & needed:
                    yield Right(self._tenant, principal, place, type_, action)


def _pairs(state: State, tenant: TenantId) -> dict[tuple[str, str], int]:
    return dict(state.vocabulary.get(tenant, {}))


def _covering(masks: Masks, place: ScopeKey) -> int:
    """Answer all bits that hold at a place: its own, those of all above it, the whole tenant's."""
    mask = masks.get(WHOLE_TENANT_KEY, 0)
    above = (place,) if isinstance(place, tuple) or not place else ancestors(place)
    for one in above:
        mask |= masks.get(one, 0)
    return mask


# Who is touched


def touched_by(before: State, after: State, event: Event) -> Iterator[_Touched]:  # noqa: C901, PLR0912 - one branch an effect
    """Yield the principals, by tenant, whose rights an event between two states may change."""
    match event:
        case (
            principals.MemberAdded()
            | principals.MemberRemoved()
            | groups.MembershipChanged()
            | principals.TenantAccessGranted()
            | principals.TenantAccessEnded()
        ):
            yield event.tenant, event.principal
        case groups.GroupDeleted():
            yield from _of_subject(before, after, event.tenant, event.id)
        case principals.BindingCreated():
            yield from _of_subject(before, after, event.tenant, event.subject)
        case principals.BindingDeleted():
            bound = before.bindings.get(event.id) or after.bindings.get(event.id)
            if bound is not None:
                yield from _of_subject(before, after, bound.tenant, bound.subject)
        case roles.RolePermissionsSet() | roles.RoleDeleted():
            yield from _of_role(before, after, event.tenant, event.id)
        case tenants.TenantDeleted():
            for principal, access_ in before.access.items():
                if event.tenant in access_:
                    yield event.tenant, cast("PrincipalId", principal)
        case (
            users.UserEnabled()
            | users.UserDisabled()
            | users.UserDeleted()
            | service_accounts.ServiceAccountEnabled()
            | service_accounts.ServiceAccountDisabled()
            | service_accounts.ServiceAccountDeleted()
        ):
            for tenant in {**before.access.get(event.id, {}), **after.access.get(event.id, {})}:
                yield tenant, event.id
        case (
            aliases.AliasSet()
            | aliases.AliasRemoved()
            | groups.GroupCreated()
            | groups.GroupRenamed()
            | groups.GroupDescribed()
            | principals.TokenRevoked()
            | principals.InstanceOwnerGranted()
            | principals.InstanceOwnerRevoked()
            | roles.RoleCreated()
            | roles.RoleRenamed()
            | roles.RoleDescribed()
            | roles.RoleMadeDefault()
            | roles.DefaultRoleEnded()
            | service_accounts.ServiceAccountCreated()
            | service_accounts.ServiceAccountRenamed()
            | service_accounts.ServiceAccountDescribed()
            | sinks.SinkCreated()
            | sinks.SinkPaused()
            | sinks.SinkResumed()
            | sinks.SinkReplayed()
            | sinks.SinkDeleted()
            | tenants.LogOpened()
            | tenants.TenantCreated()
            | tenants.TenantRenamed()
            | tenants.ManagedRoleCreated()
            | tokens.TokenIssued()
            | tokens.TokenRotated()
            | tokens.TokenDisabled()
            | tokens.TokenEnabled()
            | tokens.TokenExtended()
            | users.UserCreated()
            | users.UserEmailChanged()
            | users.UserRenamed()
            | users.PasswordSet()
            | users.PasswordRehashed()
            | users.PasswordRemoved()
            | users.UserRestricted()
            | users.UserUnrestricted()
            | users.SessionsEnded()
        ):
            pass
        case _:
            assert_never(event)


def _of_subject(
    before: State, after: State, tenant: TenantId, subject: SubjectId
) -> Iterator[_Touched]:
    """Yield a principal, or everyone who is or was a group's member."""
    if subject not in before.groups and subject not in after.groups:
        yield tenant, cast("PrincipalId", subject)
        return
    for state in (before, after):
        for member in state.members.get(GroupId(subject), ()):
            yield tenant, member


def _of_role(before: State, after: State, tenant: TenantId, role: RoleId) -> Iterator[_Touched]:
    subjects = {
        binding.subject
        for state in (before, after)
        for binding in state.bindings_to.get(role, {}).values()
    }
    for subject in subjects:
        yield from _of_subject(before, after, tenant, subject)
