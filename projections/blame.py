"""Since when, and by whose act, may a principal do that there?

Of the whole log only what concerns the principal is read: its own events, and those of its groups,
roles and tenant. They are folded and judged by the same functions as everything else, and wherever
the answer changes, the event that changed it is named, or the clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from domain import access, groups, principals, roles, service_accounts, tenants, users
from domain.state import State, evolve
from projections import trail
from projections.access_delta import Pace, unhurried
from projections.audit import EVERYWHERE
from projections.trail import Sought

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from domain.access import Question
    from domain.events import Fact
    from domain.ids import PrincipalId, TenantId
    from projections.entries import Entry

PAGE_ENTRIES: Final = 1_000

# What an object's events have to do with what a principal may do.
_OF_PRINCIPAL: Final = (
    users.UserCreated.topic,
    users.UserDisabled.topic,
    users.UserEnabled.topic,
    users.UserDeleted.topic,
    service_accounts.ServiceAccountCreated.topic,
    service_accounts.ServiceAccountDisabled.topic,
    service_accounts.ServiceAccountEnabled.topic,
    service_accounts.ServiceAccountDeleted.topic,
    principals.TenantAccessGranted.topic,
    principals.TenantAccessEnded.topic,
    principals.MemberAdded.topic,
    principals.MemberRemoved.topic,
    groups.MembershipChanged.topic,
    principals.BindingCreated.topic,
    principals.BindingDeleted.topic,
)
_OF_GROUP: Final = (
    groups.GroupCreated.topic,
    groups.GroupDeleted.topic,
    principals.BindingCreated.topic,
    principals.BindingDeleted.topic,
)
_OF_ROLE: Final = (
    roles.RoleCreated.topic,
    roles.RolePermissionsSet.topic,
    roles.RoleDeleted.topic,
    tenants.ManagedRoleCreated.topic,
)
_OF_TENANT: Final = (tenants.TenantCreated.topic, tenants.TenantDeleted.topic)
ACCESS_GRANTED: Final = principals.TenantAccessGranted.topic
# What all rights in a tenant rest on, beside whether accounts of the installation are enabled.
OF_TENANT: Final = tuple(
    topic
    for topic in (*_OF_TENANT, *_OF_PRINCIPAL, *_OF_GROUP, *_OF_ROLE)
    if not topic.startswith(("user.", "service_account."))
)


class TooMuchError(Exception):
    """More events concern the principal than may be looked at for one question."""


class Edge(NamedTuple):
    """Where an answer changed: by the event at `position`, or with the facts up to it by the clock.

    A change by the clock is the begin or the end of a binding's or a membership's time.
    """

    at: datetime
    position: int
    by_clock: bool


class Interval(NamedTuple):
    """A time in which it was allowed; without an end it still is."""

    begin: Edge
    end: Edge | None


# Which events


def concerning(
    connection: Connection, tenant: TenantId, principal: PrincipalId, until: int, limit: int
) -> list[int]:
    """Answer the positions, in order, of all events that a principal's rights in a tenant rest on.

    At most `limit` events are looked at; TooMuchError beyond.
    """
    found: set[int] = set()
    looked = 0
    waiting: list[tuple[str, tuple[str, ...]]] = [(tenant, _OF_TENANT), (principal, _OF_PRINCIPAL)]
    known: set[str] = {tenant, principal}
    while waiting:
        target, topics = waiting.pop()
        sought = Sought(target=target, topics=topics)
        for entry in _entries(connection, sought, until):
            looked += 1
            if looked > limit:
                raise TooMuchError
            if entry.tenant not in {None, tenant} and topics is not _OF_PRINCIPAL:
                continue
            found.add(entry.position)
            for id_, further in ((entry.group_id, _OF_GROUP), (entry.role_id, _OF_ROLE)):
                if id_ is not None and id_ not in known:
                    known.add(id_)
                    waiting.append((id_, further))
    return sorted(found)


def _entries(connection: Connection, sought: Sought, until: int) -> Iterator[Entry]:
    after = 0
    while True:
        part = trail.part(connection, EVERYWHERE, sought, after, until, PAGE_ENTRIES)
        yield from part.entries
        if part.is_last:
            return
        after = part.through


# When


def intervals(
    facts: Iterable[Fact],
    subject: PrincipalId,
    question: Question,
    until: float,
    pace: Pace = unhurried,
) -> list[Interval]:
    """Answer when the subject was allowed, up to `until` (Unix seconds), oldest first.

    `facts` are those that concern the subject, in order; of a command all together count, since no
    check sees half of one. `pace` is called for each, and may raise to end the work.
    """
    found: list[Interval] = []
    begun: Edge | None = None
    for edge, allowed in _edges(facts, subject, question, until):
        pace()
        if allowed and begun is None:
            begun = edge
        elif not allowed and begun is not None:
            found.append(Interval(begun, edge))
            begun = None
    return found if begun is None else [*found, Interval(begun, None)]


def _edges(
    facts: Iterable[Fact], subject: PrincipalId, question: Question, until: float
) -> Iterator[tuple[Edge, bool]]:
    """Yield the answer after each command and at each boundary of time, in order."""
    state, now = State(), 0.0
    for _, grouped in groupby(facts, key=_command):
        command = [*grouped]
        at = command[-1].envelope.at.timestamp()
        yield from _by_clock(state, subject, question, now, at)
        before, state, now = state, evolve(state, command), at
        allowed = access.allows(state, subject, question, now)
        position = _deciding(before, command, subject, question, now, allowed=allowed)
        yield Edge(command[-1].envelope.at, position, by_clock=False), allowed
    yield from _by_clock(state, subject, question, now, until)


def _command(fact: Fact) -> str:
    return fact.envelope.command_id


def _by_clock(
    state: State, subject: PrincipalId, question: Question, now: float, until: float
) -> Iterator[tuple[Edge, bool]]:
    while True:
        compiled = access.compile_subject(state, question.tenant, subject, now)
        if compiled is None or compiled.valid_until > until:
            return
        now = compiled.valid_until
        edge = Edge(datetime.fromtimestamp(now, UTC), state.position, by_clock=True)
        yield edge, access.allows(state, subject, question, now)


def _deciding(
    state: State,
    command: Sequence[Fact],
    subject: PrincipalId,
    question: Question,
    now: float,
    *,
    allowed: bool,
) -> int:
    """Answer the position of the event of a command since which the answer is what it is."""
    deciding = command[-1].position
    for number in range(len(command) - 1, 0, -1):
        earlier = evolve(state, command[:number])
        if access.allows(earlier, subject, question, now) != allowed:
            break
        deciding = command[number - 1].position
    return deciding
