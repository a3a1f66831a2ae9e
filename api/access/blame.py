"""Since when may this principal do that there, until when could it, and by whose act?"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import UNSET, Struct, UnsetType

from api import listing
from api.access.walks import word
from api.access.who_can import question_of
from api.call import ACCESS, Call
from api.iam import principals
from api.journal import listed
from api.judging import Judge
from api.pacing import paced
from api.request_errors import MalformedError
from api.trail import items
from api.trail.items import Actor
from domain.events import decode
from domain.ids import TenantId, UserId
from domain.permissions import Permission
from projections import audit, blame

if TYPE_CHECKING:
    from domain.access import Question
    from domain.ids import PrincipalId
    from projections.blame import Edge, Interval
    from projections.entries import Entry

EVENTS_MAX: Final = 20_000
_VIEW: Final = Permission("AUDITLOG", "VIEW")


class EdgeForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """Where the answer changed: at an event, or by the clock with the facts up to a position.

    Who did it, by which token and request and why, for those who may see the event in the trail.
    """

    at: datetime
    position: int
    by_clock: bool
    topic: str | UnsetType = UNSET
    sentence: str | UnsetType = UNSET
    actor: Actor | UnsetType = UNSET
    correlation_id: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class IntervalForm(Struct, frozen=True):
    """A time in which checks said yes; without `end` they still do."""

    begin: EdgeForm
    end: EdgeForm | UnsetType = UNSET


class BlameForm(Struct, frozen=True):
    """All such times, oldest first, and what a check says now."""

    subject: str
    decision: bool
    intervals: tuple[IntervalForm, ...]


@get(
    "/{tenant:str}/access/blame",
    opt=ACCESS,
    operation_id="blameAccess",
    summary="Tell when a principal could do something, and which events made it so",
    tags=["access"],
)
async def blame_access(tenant: FromPath[str], call: NamedDependency[Call]) -> Response[BlameForm]:
    """Tell of a user or service account, by id or name; by its id also of one that is no more.

    About others than oneself this needs ACCESS:CHECK and ACCESS:EXPLAIN at the place. Times are
    judged up to now, or up to the position or instant that is asked for.
    """
    home = TenantId(tenant)
    type_, text = word(call.parameter("type"), "type"), word(call.parameter("id"), "id")
    question = question_of(call, home)
    subject = subject_of(call, home, type_, text)
    if subject != call.caller.principal:
        _require_may_ask(call, question)
    until, now = call.state.position, call.clock.timestamp()
    try:
        positions = await listing.ask(call, blame.concerning, home, subject, until, EVENTS_MAX)
    except blame.TooMuchError:
        raise MalformedError(
            "blame.too_much",
            f"more than {EVENTS_MAX} events concern this principal; ask about an earlier position",
        ) from None

    pace = paced(call.service, "blame.too_much", "ask about an earlier position")

    def found() -> list[Interval]:
        facts = map(decode, call.service.records.at(positions))
        return blame.intervals(facts, subject, question, now, pace)

    async with call.service.exports.turn:
        intervals = await asyncio.to_thread(found)
    edges = [edge for interval in intervals for edge in interval if edge is not None]
    told = await _told(call, edges)
    forms = tuple(
        IntervalForm(begin=told[begin], end=UNSET if end is None else told[end])
        for begin, end in intervals
    )
    await listed(
        call,
        len(forms),
        # What names nobody may be a person's e-mail, which belongs in no journal.
        subject=subject if intervals or _is_known(call, subject) else None,
        resource_type=question.type,
        action=question.action,
        resource_id=question.resource[1] if question.resource else None,
        namespace=next(iter(question.namespaces), None),
    )
    decision = bool(intervals) and intervals[-1].end is None
    return call.answer(BlameForm(subject=subject, decision=decision, intervals=forms))


def subject_of(call: Call, tenant: TenantId, type_: str, text: str) -> PrincipalId:
    """Answer the principal that the words name then, else the one that had this id."""
    moment = Judge(call.service).lasting(call.state, call.clock.timestamp()).moment()
    found = moment.resolve(tenant, type_, text)
    if found in call.state.groups or type_ == "group":
        raise MalformedError("query.invalid", "type must be user or service_account")
    return UserId(found or text)


def _is_known(call: Call, subject: PrincipalId) -> bool:
    state = call.state
    return subject in state.users or subject in state.service_accounts


def _require_may_ask(call: Call, question: Question) -> None:
    judge, asked = Judge(call.service), call.service.inputs.now().timestamp()
    namespace = next(iter(question.namespaces), None)
    place = question.tenant, namespace, question.resource
    judge.require_may_ask(call.asker, "CHECK", *place, asked)
    judge.require_may_ask(call.asker, "EXPLAIN", *place, asked)


async def _told(call: Call, edges: list[Edge]) -> dict[Edge, EdgeForm]:
    """Answer each edge as the caller may see it."""
    seen: dict[int, Entry] = {}
    if principals.may(call, _VIEW):
        head = call.service.state.position
        for position in {edge.position for edge in edges if not edge.by_clock}:
            entry = await listing.ask(call, audit.entry, head, call.tenant, position)
            if entry is not None:
                seen[position] = entry
    shown = {one.position: one for one in await items.items(call, seen.values())}
    return {edge: _form(edge, shown.get(edge.position)) for edge in edges}


def _form(edge: Edge, shown: items.TrailEntry | None) -> EdgeForm:
    at, position, by_clock = edge
    if shown is None or by_clock:
        return EdgeForm(at=at, position=position, by_clock=by_clock)
    return EdgeForm(
        at=at,
        position=position,
        by_clock=False,
        topic=shown.topic,
        sentence=shown.sentence,
        actor=shown.actor,
        correlation_id=shown.correlation_id,
        reason=shown.reason,
    )


ROUTES: Final[list[Any]] = [blame_access]
