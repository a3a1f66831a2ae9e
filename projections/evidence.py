"""Which events does an answer about access rest on, and what is that answer, told for evidence?

The answers are the product's own: the fold of the domain and its judge. What checks them offline
(`evidence_verifier`) has a fold of its own, so a fault of either is a difference.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from domain import access, explaining
from domain.permissions import granted
from domain.state import State, evolve
from projections import blame, trail
from projections.audit import EVERYWHERE
from projections.blame import PAGE_ENTRIES, TooMuchError
from projections.trail import EVERYTHING, Sought

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection

    from domain.access import Question
    from domain.events import Fact
    from domain.explaining import Held
    from domain.ids import PrincipalId, TenantId
    from domain.scopes import Scope
    from projections.access_delta import Pace
    from projections.audit import Scope as TrailScope
    from projections.entries import Entry

Json = dict[str, Any]

# What an account of the installation is, without a tenant: it exists, and it is enabled.
OF_ACCOUNT: Final = frozenset(
    f"{noun}.{verb}.v1"
    for noun in ("user", "service_account")
    for verb in ("created", "enabled", "disabled", "deleted")
)


# Which events


def of_principal(
    connection: Connection, tenant: TenantId, principal: PrincipalId, until: int, limit: int
) -> list[int]:
    """Answer the positions of what a principal's rights in a tenant rest on; TooMuchError."""
    return blame.concerning(connection, tenant, principal, until, limit)


def of_tenant(
    connection: Connection, tenant: TenantId, after: int, until: int, limit: int
) -> list[int]:
    """Answer the positions of what all rights in a tenant rest on, and of all its events since.

    Raises TooMuchError where that is more than `limit` events.
    """
    found: set[int] = set()
    principals: set[str] = set()
    bearing = _entries(connection, tenant, Sought(topics=blame.OF_TENANT), 0, after)
    for entry in chain(bearing, _entries(connection, tenant, EVERYTHING, after, until)):
        _add(found, entry.position, limit)
        if entry.topic == blame.ACCESS_GRANTED:
            principals.add(entry.object_id)
    for principal in sorted(principals):
        sought = Sought(target=principal, topics=tuple(sorted(OF_ACCOUNT)))
        for entry in _entries(connection, EVERYWHERE, sought, 0, until):
            _add(found, entry.position, limit)
    return sorted(found)


def _add(found: set[int], position: int, limit: int) -> None:
    found.add(position)
    if len(found) > limit:
        raise TooMuchError


def _entries(
    connection: Connection, scope: TrailScope, sought: Sought, after: int, until: int
) -> Iterator[Entry]:
    is_last = False
    while not is_last:
        part = trail.part(connection, scope, sought, after, until, PAGE_ENTRIES)
        yield from part.entries
        after, is_last = part.through, part.is_last


# The answers


def rights(
    state: State,
    tenant: TenantId,
    subject: PrincipalId,
    now: float,
    question: Question | None = None,
) -> list[Json]:
    """Answer the grants in force at `now` (Unix seconds), by binding and then by group.

    With a question those of them that allow it, each by itself: none where it is denied.
    """
    if question is None:
        held: Iterable[Held] = explaining.effective(state, tenant, subject, now)
    elif access.allows(state, subject, question, now):
        paths = explaining.explain(state, subject, question, now).paths
        held = tuple(path.held for path in paths)
    else:
        held = ()
    grants = sorted((_grant(state, one) for one in held), key=_rank)
    return [one for one in grants if one["permissions"]]


def _rank(grant: Json) -> tuple[str, str]:
    return grant["binding"], grant["group"]


def _grant(state: State, held: Held) -> Json:
    binding, via = held
    return {
        "binding": binding.id,
        "group": "" if via is None else via.group,
        "role": binding.role,
        "place": _place(binding.scope),
        "permissions": sorted(map(list, set(granted(state.roles[binding.role].permissions)))),
    }


def _place(scope: Scope) -> list[str]:
    if scope.resource is not UNSET:
        return ["", scope.resource.type, scope.resource.id]
    return [scope.namespace or "", "", ""]


def history(
    facts: Sequence[Fact],
    tenant: TenantId,
    subject: PrincipalId,
    until: float,
    question: Question | None,
    pace: Pace,
) -> list[Json]:
    """Answer each time up to `until` (Unix seconds) at which what is in force changed, and how.

    With a question, what of it allows that. The events of a command count together; `pace` is
    called at each, and may raise to end the work.
    """
    found: list[Json] = []
    before: set[tuple[str, ...]] = set()
    for state, at, by_clock in _moments(facts, tenant, subject, until):
        pace()
        after = _flat(rights(state, tenant, subject, at), question)
        if after != before:
            found.append(
                {
                    "at": datetime.fromtimestamp(at, UTC).isoformat(),
                    "position": state.position,
                    "byClock": by_clock,
                    "gained": sorted(map(list, after - before)),
                    "lost": sorted(map(list, before - after)),
                }
            )
        before = after
    return found


def _moments(
    facts: Iterable[Fact], tenant: TenantId, subject: PrincipalId, until: float
) -> Iterator[tuple[State, float, bool]]:
    """Yield state and instant after each command and, with True, at each boundary of time."""
    state, now = State(), 0.0
    for _, grouped in groupby(facts, key=lambda fact: fact.envelope.command_id):
        command = [*grouped]
        at = command[-1].envelope.at.timestamp()
        yield from _by_clock(state, tenant, subject, now, at)
        state, now = evolve(state, command), at
        yield state, now, False
    yield from _by_clock(state, tenant, subject, now, until)


def _by_clock(
    state: State, tenant: TenantId, subject: PrincipalId, now: float, until: float
) -> Iterator[tuple[State, float, bool]]:
    compiled = access.compile_subject(state, tenant, subject, now)
    while compiled is not None and compiled.valid_until <= until:
        now = compiled.valid_until
        yield state, now, True
        compiled = access.compile_subject(state, tenant, subject, now)


def _flat(grants: Iterable[Json], question: Question | None) -> set[tuple[str, ...]]:
    """Answer every (place, pair), or those of them that cover what is asked."""
    return {
        (*grant["place"], *pair)
        for grant in grants
        for pair in grant["permissions"]
        if question is None or _covers(grant["place"], pair, question)
    }


def _covers(place: list[str], pair: list[str], question: Question) -> bool:
    there = {"", *question.namespaces}
    is_there = place[0] in there if not place[1] else tuple(place[1:]) == question.resource
    listed = (pair[0], pair[1])
    return is_there and access.covers(listed, (question.type, question.action))
