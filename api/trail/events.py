"""How is the whole trail searched and followed over HTTP, in our own shape? (http-api 5).

A walk shows the trail as it was when it began, newest first or oldest first, page by page. A feed,
which begins with `after`, tells with each page how far it has looked: whoever asks on from there
misses nothing and sees nothing twice, with filters or without.
"""

from __future__ import annotations

import re
from typing import Any, Final

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import UNSET, Struct, UnsetType, structs

from api import listing
from api.access import walks
from api.call import OWNER, Call, needs
from api.cursors import Cursor
from api.journal import read_trail
from api.trail import items, questions
from api.trail.changes import ENTRIES_MAX, with_access
from api.trail.items import RelatedEntry, TrailEntry
from domain.errors import FieldFault, InvalidError, NotFoundError
from domain.permissions import Permission
from projections import audit, trail
from projections.trail import Part, Sought

LIST: Final = Permission("AUDITLOG", "LIST")
_LISTED: Final = {**needs(LIST), "walks": True}
_LISTED_BY_OWNER: Final = {**OWNER, "walks": True}
_VIEWED: Final = needs(Permission("AUDITLOG", "VIEW"))

RELATED_MAX: Final = 20
_OTHERS: Final = ("after", "before", "order", "limit", "cursor", "access")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,17}\Z")

# Shapes


class EventPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """Entries, and the position up to which, or going backwards down to which, it was looked.

    `sealedThrough` is the last position that a signed checkpoint covers by now. A feed has
    `nextAfter`, from which to ask on, at once or later; a walk has `nextCursor` until its last
    page.
    """

    items: list[TrailEntry]
    through: int
    sealed_through: int
    next_cursor: str | UnsetType = UNSET
    next_after: int | UnsetType = UNSET


class Related(Struct, frozen=True, kw_only=True):
    """The last entries of the same command and request and about the same object, newest first."""

    command: list[RelatedEntry]
    request: list[RelatedEntry]
    target: list[RelatedEntry]


class WholeEntry(TrailEntry, frozen=True, kw_only=True, rename="camel"):
    """An entry and those that belong to it."""

    related: Related


# Lists


@get(
    "/{tenant:str}/events",
    opt=_LISTED,
    operation_id="listEvents",
    summary="Search the events of a tenant, or follow them by position",
    tags=["trail"],
)
async def list_events(tenant: FromPath[str], call: NamedDependency[Call]) -> Response[EventPage]:
    """List events newest first, or oldest first with `order=asc`; with `after`, follow them."""
    del tenant
    return await _list(call)


@get(
    "/events",
    opt=_LISTED_BY_OWNER,
    operation_id="listAllEvents",
    summary="Search all events, or follow them by position",
    tags=["trail"],
)
async def list_all_events(call: NamedDependency[Call]) -> Response[EventPage]:
    """List events newest first, or oldest first with `order=asc`; with `after`, follow them."""
    return await _list(call)


async def _list(call: Call) -> Response[EventPage]:
    sought = questions.sought(call, *_OTHERS)
    after, before, newest_first = questions.span(call)
    at = await walks.stand(call)
    if call.flag("access") and at.limit > ENTRIES_MAX:
        fault = FieldFault("limit", f"must be at most {ENTRIES_MAX} with access", "page.invalid")
        raise InvalidError("page.invalid", f"limit {fault.detail}", fields=(fault,))
    until = at.position if before is None else min(at.position, before - 1)
    part = await _part(call, sought, at, (after or 0, until), backwards=newest_first)
    found = await items.items(call, part.entries)
    if call.flag("access"):
        found = await with_access(call, found)
    await read_trail(call, "audit_read", results=len(found))
    sealed = call.service.evidence.sealed_through
    page = EventPage(items=found, through=part.through, sealed_through=sealed)
    if after is not None and not newest_first:
        return call.answer(structs.replace(page, next_after=part.through), position=at.position)
    if part.is_last:
        return call.answer(page, position=at.position)
    token, link = walks.going_on(call, structs.replace(at, last=str(part.through)))
    page = structs.replace(page, next_cursor=token)
    return call.answer(page, position=at.position, link=link)


async def _part(
    call: Call, sought: Sought, at: Cursor, span: tuple[int, int], *, backwards: bool
) -> Part:
    """Answer the page of a walk that comes behind where it stands."""
    after, until = span
    scope = questions.scope(call)
    # The moment of the walk may be one that other processes wrote.
    await call.service.reach_views(at.position)
    if backwards:
        until = min(until, int(at.last) - 1) if at.last else until
        return await listing.ask(call, trail.part_before, scope, sought, after, until, at.limit)
    after = int(at.last) if at.last else after
    return await listing.ask(call, trail.part, scope, sought, after, until, at.limit)


# One


@get(
    "/{tenant:str}/events/{number:str}",
    opt=_VIEWED,
    operation_id="getEvent",
    summary="Show one event and what belongs to it",
    tags=["trail"],
)
async def get_event(
    tenant: FromPath[str], number: FromPath[str], call: NamedDependency[Call]
) -> Response[WholeEntry]:
    """Show the event at a position, with the last of its command, its request and its object."""
    del tenant
    return await _show(call, number)


@get(
    "/events/{number:str}",
    opt=OWNER,
    operation_id="getAnyEvent",
    summary="Show any event and what belongs to it",
    tags=["trail"],
)
async def get_any_event(number: FromPath[str], call: NamedDependency[Call]) -> Response[WholeEntry]:
    """Show the event at a position, with the last of its command, its request and its object."""
    return await _show(call, number)


async def _show(call: Call, number: str) -> Response[WholeEntry]:
    scope, head = questions.scope(call), call.state.position
    wanted = int(number) if _NUMBER.match(number) else 0
    entry = await listing.ask(call, audit.entry, head, scope, wanted)
    if entry is None:
        raise NotFoundError("auditlog.unknown", f"no event at position {number}")
    (shown,) = await items.items(call, (entry,))
    if call.flag("access"):
        (shown,) = await with_access(call, (shown,))
    found = await listing.ask(call, trail.related, head, scope, entry, RELATED_MAX)
    related = Related(**{name: await items.related(call, others) for name, others in found.items()})
    await read_trail(call, "audit_read", position=entry.position)
    return call.answer(WholeEntry(**structs.asdict(shown), related=related))


ROUTES: Final[list[Any]] = [list_events, list_all_events, get_event, get_any_event]
