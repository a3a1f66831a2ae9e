"""How is the audit trail searched, compared and exported over HTTP? (kestra-iam 6.8)."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.response import Stream
from msgspec import UNSET, Struct, UnsetType

from api import listing
from api.call import ACCESS, OWNER, POSITION_HEADER, Call, needs
from api.iam import audit_items, fields, principals
from api.iam.audit_items import Difference, HistoryEntry, Item
from api.iam.fields import Text
from api.journal import read_trail
from api.list_fields import EVENTS
from api.paging import Results, read_filters
from api.query import Query
from api.request_errors import MalformedError
from domain.errors import ForbiddenError, NotFoundError, Requirement
from domain.ids import TenantId
from domain.permissions import ANY, Permission
from projections import audit, journal_trail
from projections.audit import EVERYWHERE, Scope
from projections.entries import Entry
from projections.filters import Node
from projections.journal_trail import Rank, Until
from projections.pages import Page

LIST: Final = needs(Permission("AUDITLOG", "LIST"))
READ_LIST: Final = {**LIST, "reads": True}
EXPORT: Final = needs(Permission("AUDITLOG", "EXPORT"))

FOUND_MAX: Final = 10

_ID: Final = re.compile(r"e([1-9][0-9]{0,17})\Z")
_VIEW: Final = Permission("AUDITLOG", "VIEW")

# The types that entries are about, and the permissions of which any one lets them be seen.
_VIEWS: Final[dict[str, tuple[Permission, ...]]] = {
    "SERVICE_ACCOUNT": (Permission("SERVICE_ACCOUNT", "VIEW"),),
    "USER": (Permission("USER", "VIEW"),),
    "TENANT_ACCESS": (Permission("USER", "VIEW"), Permission("TENANT_ACCESS", "VIEW")),
    "GROUP": (Permission("GROUP", "VIEW"),),
    "ROLE": (Permission("ROLE", "VIEW"),),
    "BINDING": (Permission("BINDING", "VIEW"),),
}

# Who may see the trail sees also what has no VIEW of its own, such as the tenant itself.
_EVERYTHING: Final = frozenset({ANY})

# The export's own parameters beside `filters`, and the filters that they mean.
_PARAMETERS: Final = {
    "q": "filters[q][EQUALS]",
    "namespace": "filters[namespace][EQUALS]",
    "flowId": "filters[flowId][EQUALS]",
    "executionId": "filters[executionId][EQUALS]",
    "userId": "filters[userId][EQUALS]",
    "id": "filters[id][EQUALS]",
    "resources": "filters[resources][IN]",
    "type": "filters[type][IN]",
    "startDate": "filters[startDate][GREATER_THAN_OR_EQUAL_TO]",
    "endDate": "filters[endDate][LESS_THAN_OR_EQUAL_TO]",
}

# Requests


class FindRequest(Struct, frozen=True, kw_only=True):
    resource: Text = UNSET
    type: Text = UNSET
    detail: dict[str, str | None] | UnsetType | None = UNSET


class TrailResults(Results[Item], frozen=True, kw_only=True, rename="camel"):
    """A page of the trail, and the last position that a signed checkpoint covers by now."""

    sealed_through: int


class Finding(Struct, frozen=True, kw_only=True, rename="camel"):
    """The newest match by itself, as some clients want it, and the ten newest in a list."""

    audit_log: audit_items.AuditLog | UnsetType = UNSET
    user: audit_items.Actor | UnsetType = UNSET
    results: tuple[Item, ...]
    total: int


def _flat(call: Call) -> Query:
    """Answer the export's own parameters in the form of filters; "" counts as absent."""
    found = [
        (_PARAMETERS[name], value) for name, value in call.query if value and name in _PARAMETERS
    ]
    for name, value in _details(call.parameter("details") or ""):
        found.append((f"filters[details][EQUALS][{name}]", value))
    return tuple(found)


def _details(text: str) -> list[tuple[str, str]]:
    """Read `details`: a JSON object, as kestrapy spells a map, or `name:value,…`."""
    if not text:
        return []
    if text.startswith("{"):
        try:
            return [*msgspec.json.decode(text, type=dict[str, str]).items()]
        except msgspec.MsgspecError:
            raise MalformedError("query.invalid", "details must map names to texts") from None
    pairs = [part.partition(":") for part in text.split(",")]
    if not all(name and colon for name, colon, _ in pairs):
        raise MalformedError("query.invalid", "details must be name:value, joined by commas")
    return [(name, value) for name, _, value in pairs]


# Search


@get(
    "/{tenant:str}/auditlogs/search",
    opt=LIST,
    operation_id="searchAuditLogs",
    summary="List the events of a tenant, newest first",
)
async def search(tenant: FromPath[str], call: NamedDependency[Call]) -> Response[TrailResults]:
    return await _search(call, TenantId(tenant))


@get(
    "/auditlogs/search",
    opt=OWNER,
    operation_id="searchAllAuditLogs",
    summary="List all events, newest first",
)
async def search_everywhere(call: NamedDependency[Call]) -> Response[TrailResults]:
    return await _search(call, EVERYWHERE)


async def _search(call: Call, scope: Scope) -> Response[TrailResults]:
    asked = listing.asked(call, EVENTS, audit.SORTABLE)
    page, trail, position = asked.page, call.service.journal, call.state.position
    what = (scope, asked.where, page.sort, page.skipped + page.size)
    # One sees what one has done, as in every list.
    await trail.settle()
    ranked, events = await listing.ask(call, audit.ranks, position, *what)
    noted, others = await trail.ask(journal_trail.ranks, _until(call, asked), *what)
    both = [*(Rank(row[1:], row[0], 0) for row in ranked), *noted]
    ranks = journal_trail.page(both, page.sort, page.skipped, page.size)
    items = await _both(call, ranks)
    await read_trail(call, "audit_read", results=len(items))
    total, sealed = events + others, call.service.evidence.sealed_through
    shown = TrailResults(results=items, total=total, sealed_through=sealed)
    return call.answer(shown, link=listing.link(call, page, total))


def _until(call: Call, asked: listing.Asked) -> Until:
    """Answer how far the journal is shown, so that it does not change while it is paged through.

    Behind a position of the past it may not grow any more; at the head readings are shown to who
    asks for kinds of acts.
    """
    position = call.state.position
    if call.past:
        return Until(position - 1, position - 1)
    filtered_by = listing.Asked(Page(), asked.where).names
    wants_readings = any(map(filtered_by, ("type", "action", "event")))
    return Until(position, position if wants_readings else position - 1)


async def _both(call: Call, ranks: list[Rank]) -> tuple[Item, ...]:
    """Answer events and entries of the journal in this order."""
    positions = [rank.position for rank in ranks if not rank.sequence]
    sequences = [rank.sequence for rank in ranks if rank.sequence]
    events = await listing.ask(call, audit.entries, positions)
    noted = await call.service.journal.ask(journal_trail.entries, sequences)
    actors = await audit_items.actors(call, events.values(), noted.values())
    # An entry whose time was over meanwhile is gone.
    return tuple(
        audit_items.journal_item(noted[rank.sequence], actors)
        if rank.sequence
        else audit_items.item(events[rank.position], actors)
        for rank in ranks
        if not rank.sequence or rank.sequence in noted
    )


async def _items(call: Call, entries: tuple[Entry, ...]) -> tuple[Item, ...]:
    actors = await audit_items.actors(call, entries)
    return tuple(audit_items.item(entry, actors) for entry in entries)


@post(
    "/{tenant:str}/auditlogs/find",
    status_code=200,
    opt=READ_LIST,
    operation_id="findAuditLog",
    summary="Find the newest events about an object",
)
async def find(
    tenant: FromPath[str], data: JSONBody[FindRequest], call: NamedDependency[Call]
) -> Response[Finding]:
    details = fields.given(data.detail) or {}
    wanted = [
        *([listing.equals("resources", data.resource)] if data.resource else []),
        *([listing.equals("type", data.type)] if data.type else []),
        *(listing.member(name, value) for name, value in details.items() if value is not None),
    ]
    found = await listing.ask(
        call,
        audit.search,
        call.state.position,
        TenantId(tenant),
        listing.both(None, *wanted),
        Page(size=FOUND_MAX),
    )
    items = await _items(call, found.entries)
    await read_trail(call, "audit_read", results=len(items))
    if not items:
        return call.answer(Finding(results=(), total=0))
    newest = items[0]
    return call.answer(
        Finding(audit_log=newest.audit_log, user=newest.user, results=items, total=found.total)
    )


# Export


@get(
    "/{tenant:str}/auditlogs/export",
    opt=EXPORT,
    operation_id="exportAuditLogs",
    summary="Stream the events of a tenant as CSV, oldest first",
)
async def export(tenant: FromPath[str], call: NamedDependency[Call]) -> Stream:
    return await _export(call, TenantId(tenant), tenant)


@get(
    "/auditlogs/export",
    opt=OWNER,
    operation_id="exportAllAuditLogs",
    summary="Stream all events as CSV, oldest first",
)
async def export_everywhere(call: NamedDependency[Call]) -> Stream:
    return await _export(call, EVERYWHERE, "all")


async def _export(call: Call, scope: Scope, name: str) -> Stream:
    where = _export_filter(call)
    position = call.state.position
    await call.service.reach_views(position)
    await read_trail(call, "audit_export", until=position)
    entries = audit.stream(call.service.views, position, scope, where)
    return Stream(
        audit_items.csv_lines(call, entries),
        media_type="text/csv; charset=utf-8",
        headers={
            POSITION_HEADER: str(position),
            "Content-Disposition": f'attachment; filename="auditlogs-{name}-{position}.csv"',
        },
    )


def _export_filter(call: Call) -> Node | None:
    query = (*call.query, *_flat(call))
    return read_filters(query, EVENTS, call.service.inputs.now())


# One object


@get(
    "/{tenant:str}/auditlogs/{id:str}/diff",
    opt=ACCESS,
    operation_id="diffAuditLog",
    summary="Show an object before and after an event",
)
async def diff(
    tenant: FromPath[str], id: FromPath[str], call: NamedDependency[Call]
) -> Response[Difference]:
    return await _diff(call, TenantId(tenant), _visible(call), id)


@get(
    "/auditlogs/{id:str}/diff",
    opt=OWNER,
    operation_id="diffAnyAuditLog",
    summary="Show an object before and after any event",
)
async def diff_everywhere(id: FromPath[str], call: NamedDependency[Call]) -> Response[Difference]:
    return await _diff(call, EVERYWHERE, _EVERYTHING, id)


async def _diff(
    call: Call, scope: Scope, visible: frozenset[str], id_: str
) -> Response[Difference]:
    entry = await _entry(call, scope, visible, id_)
    before = entry.before
    previous = call.parameter("previousId")
    if previous:
        earlier = await _entry(call, scope, visible, previous)
        if _object(earlier) != _object(entry):
            raise _unknown(previous)
        before = earlier.after
    await read_trail(call, "audit_read", position=entry.position)
    body = Difference(before=audit.as_text(before), after=audit.as_text(entry.after))
    return call.entity(body, entry.position)


async def _entry(call: Call, scope: Scope, visible: frozenset[str], id_: str) -> Entry:
    """Answer the entry of this id, if there is one and it is about a visible type."""
    found = _ID.match(id_)
    if found is None:
        raise _unknown(id_)
    entry = await listing.ask(call, audit.entry, call.state.position, scope, int(found[1]))
    if entry is None or not _shows(visible, entry):
        raise _unknown(id_)
    return entry


def _shows(visible: frozenset[str], entry: Entry) -> bool:
    return not visible.isdisjoint({ANY, entry.resource})


def _object(entry: Entry) -> tuple[str | None, ...]:
    """Answer what an entry is about: memberships, tokens and aliases are objects of their own."""
    return entry.resource, entry.object_id, entry.user_id, entry.token_id, entry.alias_type


def _unknown(id_: str) -> NotFoundError:
    return NotFoundError("auditlog.unknown", f"no event {id_}")


@get(
    "/{tenant:str}/auditlogs/history/{detail_id:str}",
    opt=ACCESS,
    operation_id="getAuditLogHistory",
    summary="The events about one object, newest first",
)
async def history(
    tenant: FromPath[str], detail_id: FromPath[str], call: NamedDependency[Call]
) -> Response[tuple[HistoryEntry, ...]]:
    visible = _visible(call)
    found = await listing.ask(call, audit.history, call.state.position, TenantId(tenant), detail_id)
    seen = tuple(entry for entry in found if _shows(visible, entry))
    actors = await audit_items.actors(call, seen)
    await read_trail(call, "audit_read", results=len(seen))
    return call.answer(
        tuple(
            HistoryEntry(
                id=audit_items.entry_id(entry),
                date=entry.at,
                username=actors[entry.actor_id].username,
            )
            for entry in seen
        )
    )


def _visible(call: Call) -> frozenset[str]:
    """Answer the types of the objects whose entries the caller may see.

    Refuses who may see none at all; to others what they may not see does not exist. Which
    permission is needed shows only when the entry is known, and an id is not to be probed.
    """
    rights = principals.rights(call)
    if rights.passes(_VIEW):
        return _EVERYTHING
    visible = frozenset(
        resource for resource, views in _VIEWS.items() if any(map(rights.passes, views))
    )
    if not visible:
        raise ForbiddenError(
            "permission.denied",
            f"this needs AUDITLOG:VIEW, or VIEW of the object's type, in tenant {call.tenant}",
            required=(Requirement(_VIEW.type, _VIEW.action),),
        )
    return visible


ROUTES: Final[list[Any]] = [
    search,
    search_everywhere,
    find,
    export,
    export_everywhere,
    diff,
    diff_everywhere,
    history,
]
