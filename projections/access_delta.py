"""Which rights did events give and take, principal by principal?

The judge of every check compiles both states, and what one allows and the other does not is the
answer. So it is exact, through groups, roles and tenants, and cannot differ from what checks said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from msgspec import Struct

from domain import access, groups, principals, service_accounts, users
from domain.ids import GroupId
from domain.principals import BindingCreated, BindingDeleted
from domain.roles import RoleDeleted, RolePermissionsSet
from domain.scopes import WHOLE_TENANT_KEY, ancestors
from domain.state import State
from domain.tenants import TenantDeleted

if TYPE_CHECKING:
    from domain.access import Masks
    from domain.events import Event
    from domain.ids import PrincipalId, SubjectId, TenantId
    from domain.principals import BindingCreated, BindingDeleted
from domain.scopes import ScopeKey

# Who may hold something else in a tenant after an event.
_Touched = tuple["TenantId", "PrincipalId"]
# What is called at every step of the work.
Pace = Callable[[], None]


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

    A right that another one of before already covered was not gained. Of a right that was lost,
    with all that lies below it, `remaining` are the ones that are still held. So deltas add up:
    whoever takes away what is lost and all that it covers, and adds what remains and what is
    gained, knows everything that is held.
    """

    gained: tuple[Right, ...] = ()
    lost: tuple[Right, ...] = ()
    remaining: tuple[Right, ...] = ()
    owners_gained: tuple[PrincipalId, ...] = ()
    owners_lost: tuple[PrincipalId, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nobody's rights are any other."""
        return not (self.gained or self.lost or self.owners_gained or self.owners_lost)


def unhurried() -> None:
    """Let work go on for as long as it takes."""


def delta(
    before: State, after: State, events: Iterable[Event], now: float, pace: Pace = unhurried
) -> Delta:
    """Answer what lies between two states at one instant, `now` (Unix seconds).

    `events` are all those between them. A span that begins or ends by the clock alone is no event
    and shows in neither. `pace` is called for every principal, and may raise to end the work.
    """
    touched = {one for event in events for one in touched_by(before, after, event)}
    return between((before, now), (after, now), touched, pace)


def between(
    before: tuple[State, float],
    after: tuple[State, float],
    touched: Iterable[_Touched],
    pace: Pace = unhurried,
) -> Delta:
    """Answer what the touched principals gained and lost, each state by a clock of its own."""
    gained: list[Right] = []
    lost: list[Right] = []
    remaining: list[Right] = []
    for tenant, found in _by_tenant(touched).items():
        compared = _Tenant(before, after, tenant)
        for principal in found:
            pace()
            compared.compare(principal, gained, lost, remaining)
    owned, owning = set(before[0].owners), set(after[0].owners)
    return Delta(
        gained=tuple(sorted(gained, key=_rank)),
        lost=tuple(sorted(lost, key=_rank)),
        remaining=tuple(sorted(remaining, key=_rank)),
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

    def __init__(
        self, before: tuple[State, float], after: tuple[State, float], tenant: TenantId
    ) -> None:
        self._before, self._after = before, after
        self._tenant = tenant
        # Bits are given once and never again, so they mean the same in both states.
        known = max(before[0], after[0], key=lambda state: len(_pairs(state, tenant)))
        self._bits = [
            (1 << bit, access.need(known, tenant, *pair), pair)
            for pair, bit in _pairs(known, tenant).items()
        ]

    def compare(
        self,
        principal: PrincipalId,
        gained: list[Right],
        lost: list[Right],
        remaining: list[Right],
    ) -> None:
        """Add what the principal gained and lost, and what remains of that."""
        held = self._masks(*self._before, principal)
        holds = self._masks(*self._after, principal)
        if held == holds:
            return
        gained += self._beyond(principal, holds, held)
        ended = [*self._beyond(principal, held, holds)]
        if ended:
            lost += ended
            remaining += self._below(principal, holds, ended)

    def _masks(self, state: State, now: float, principal: PrincipalId) -> Masks:
        compiled = access.compile_subject(state, self._tenant, principal, now)
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

    def _below(
        self, principal: PrincipalId, masks: Masks, ended: Iterable[Right]
    ) -> Iterator[Right]:
        """Yield the rights of `masks` that the ended ones cover."""
        bits = {pair: bit for bit, _, pair in self._bits}
        covering: dict[ScopeKey, int] = {}
        for right in ended:
            bit = bits[right.type, right.action]
            covering[right.place] = covering.get(right.place, 0) | bit
        for place, mask in masks.items():
            covered = _covering(covering, place)
            for bit, needed, (type_, action) in self._bits:
                if mask & bit and covered & needed:
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


def touched_by(before: State, after: State, event: Event) -> Iterable[_Touched]:
    """Answer the principals, by tenant, whose rights an event between two states may change."""
    touched = _TOUCHED.get(type(event))
    return () if touched is None else touched(before, after, event)


def _named(_before: State, _after: State, event: Any) -> Iterator[_Touched]:  # noqa: ANN401 - one of a few kinds
    yield event.tenant, event.principal


def _everywhere(before: State, after: State, event: Any) -> Iterator[_Touched]:  # noqa: ANN401 - one of a few kinds
    for tenant in {**before.access.get(event.id, {}), **after.access.get(event.id, {})}:
        yield tenant, event.id


def _of_tenant(before: State, _after: State, event: TenantDeleted) -> Iterator[_Touched]:
    for principal, held in before.access.items():
        if event.tenant in held:
            yield event.tenant, cast("PrincipalId", principal)


def _of_group(before: State, after: State, event: groups.GroupDeleted) -> Iterator[_Touched]:
    return _of_subject(before, after, event.tenant, event.id)


def _bound(before: State, after: State, event: BindingCreated) -> Iterator[_Touched]:
    return _of_subject(before, after, event.tenant, event.subject)


def _unbound(before: State, after: State, event: BindingDeleted) -> Iterator[_Touched]:
    # What was made and ended in between gave nobody anything.
    binding = before.bindings.get(event.id)
    return (
        iter(()) if binding is None else _of_subject(before, after, event.tenant, binding.subject)
    )


def _of_role(
    before: State, after: State, event: RolePermissionsSet | RoleDeleted
) -> Iterator[_Touched]:
    subjects = {
        binding.subject
        for state in (before, after)
        for binding in state.bindings_to.get(event.id, {}).values()
    }
    for subject in subjects:
        yield from _of_subject(before, after, event.tenant, subject)


def _of_subject(
    before: State, after: State, tenant: TenantId, subject: SubjectId
) -> Iterator[_Touched]:
    return ((tenant, principal) for principal in holders(before, after, subject))


def holders(before: State, after: State, subject: SubjectId) -> Iterator[PrincipalId]:
    """Yield who holds or held what a subject is given: a group's members, or the principal."""
    if subject not in before.groups and subject not in after.groups:
        yield cast("PrincipalId", subject)
        return
    for state in (before, after):
        yield from state.members.get(GroupId(subject), ())


_TOUCHED: Final[dict[type[Any], Callable[[State, State, Any], Iterator[_Touched]]]] = {
    principals.MemberAdded: _named,
    principals.MemberRemoved: _named,
    principals.TenantAccessGranted: _named,
    principals.TenantAccessEnded: _named,
    groups.MembershipChanged: _named,
    groups.GroupDeleted: _of_group,
    BindingCreated: _bound,
    BindingDeleted: _unbound,
    RolePermissionsSet: _of_role,
    RoleDeleted: _of_role,
    TenantDeleted: _of_tenant,
    users.UserEnabled: _everywhere,
    users.UserDisabled: _everywhere,
    users.UserDeleted: _everywhere,
    service_accounts.ServiceAccountEnabled: _everywhere,
    service_accounts.ServiceAccountDisabled: _everywhere,
    service_accounts.ServiceAccountDeleted: _everywhere,
}
TOUCHING: Final = frozenset(kind.topic for kind in _TOUCHED)
