"""What may a subject do in a tenant, place by place, and what gives it each right?

What is in force is the domain's to say, and so is what a narrowed token leaves of it. Only the
state that is given is read, so all of it may run in any thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import UNSET

from domain import explaining
from domain.access import leaves_tenant
from domain.escalation import met_pairs, met_places
from domain.permissions import granted

if TYPE_CHECKING:
    from msgspec import UnsetType

    from domain.access import Narrowing
    from domain.escalation import Meet
    from domain.explaining import Held
    from domain.ids import RoleId, SubjectId, TenantId
    from domain.scopes import Scope
    from domain.state import State

Pairs = tuple[tuple[str, str], ...]


class Place(NamedTuple):
    """What a question must name for a right to hold; an empty member need not be named.

    Places are in order as they are.
    """

    namespace: str = ""
    type: str = ""
    id: str = ""


class Source(NamedTuple):
    """A binding that gives something at a place, and the (type, action) pairs that it gives."""

    held: Held
    pairs: Pairs


class Holding(NamedTuple):
    """Everything that is held at one place."""

    place: Place
    sources: tuple[Source, ...]


def holdings(
    state: State,
    tenant: TenantId,
    subject: SubjectId,
    now: float,
    narrowing: Narrowing | UnsetType = UNSET,
) -> list[Holding]:
    """Answer what a subject may do at `now` (Unix seconds), as far as a narrowing leaves it.

    By place; the sources of each by binding, then by the group it comes through.
    """
    if not leaves_tenant(narrowing, tenant):
        return []
    pairs: dict[RoleId, Pairs] = {}
    found: dict[Place, list[Source]] = {}
    for held in sorted(explaining.effective(state, tenant, subject, now), key=_rank):
        role = held.binding.role
        if role not in pairs:
            given = granted(state.roles[role].permissions)
            pairs[role] = tuple(dict.fromkeys(met_pairs(given, narrowing)))
        if pairs[role]:
            for place in dict.fromkeys(map(_place, met_places(held.binding.scope, narrowing))):
                found.setdefault(place, []).append(Source(held, pairs[role]))
    return [Holding(place, tuple(sources)) for place, sources in sorted(found.items())]


def _rank(held: Held) -> tuple[str, str]:
    return held.binding.id, "" if held.via is None else held.via.group


def _place(meet: Meet) -> Place:
    place = _named(Place(), meet.scope)
    return place if meet.within is None else _named(place, meet.within)


def _named(place: Place, scope: Scope) -> Place:
    if scope.resource is not UNSET:
        return place._replace(type=scope.resource.type, id=scope.resource.id)
    return place._replace(namespace=scope.namespace or "")
