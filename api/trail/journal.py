"""How is the journal searched and followed: who asked what, was let in, and was refused?

By its own numbers, newest first or oldest first, with the filters of the trail's search. Whoever
goes on from `nextBefore` or `nextAfter` misses nothing and sees no entry twice; a count that grew
in between is told again, since it stands where it was written last.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import UNSET, Struct, UnsetType

from api.access.walks import page_limit
from api.call import OWNER, Call, needs
from api.journal import read_trail
from api.request_errors import MalformedError
from api.trail import items, questions
from domain.permissions import Permission
from projections import journal, journal_parts
from projections.exporting import Wanted
from projections.journal import MINUTE, Kind, Outcome
from projections.journal_parts import Noted, actor_type, summary

if TYPE_CHECKING:
    from projections.sentences import NameOf

_OTHERS: Final = ("after", "before", "order", "limit")

# Shapes


class ActorForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """Who acted, as far as it is known, with which token, by which way and from where."""

    type: str | UnsetType
    id: str | UnsetType
    name: str | UnsetType
    token_id: str | UnsetType
    via: str | UnsetType
    address: str | UnsetType
    user_agent: str | UnsetType


class AskedForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """What was asked for or tried: of which subject, what action, on what."""

    subject_type: str | UnsetType
    subject_id: str | UnsetType
    subject_asked: str | UnsetType
    action: str | UnsetType
    resource_type: str | UnsetType
    resource_id: str | UnsetType
    namespace: str | UnsetType


class JournalEntry(Struct, frozen=True, kw_only=True, rename="camel"):
    """One thing that happened, or with `count` how often one did in the minute up to `ends`.

    `position` and `clock` are the facts and the instant by which it was decided.
    """

    number: int
    kind: Kind
    at: datetime
    outcome: Outcome
    code: str | UnsetType
    summary: str
    tenant: str | UnsetType
    actor: ActorForm
    request_id: str | UnsetType
    operation: str | UnsetType
    asked: AskedForm
    position: int | UnsetType
    clock: datetime | UnsetType
    count: int | UnsetType
    ends: datetime | UnsetType
    network: str | UnsetType
    detail: dict[str, Any] | UnsetType


class JournalPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """Entries in their order; newest first there is `nextBefore` until there are no more.

    Oldest first there is always `nextAfter`, from which to ask on, at once or later.
    """

    items: list[JournalEntry]
    next_before: int | UnsetType = UNSET
    next_after: int | UnsetType = UNSET


# Routes


@get(
    "/{tenant:str}/audit/journal",
    opt=needs(Permission("AUDITLOG", "LIST")),
    operation_id="listJournal",
    summary="Search a tenant's journal of decisions, sign-ins and refusals, or follow it",
    tags=["audit"],
)
async def list_journal(tenant: FromPath[str], call: NamedDependency[Call]) -> Response[JournalPage]:
    """List newest first, or oldest first with `order=asc` or `after`, by the journal's numbers."""
    del tenant
    return await _list(call)


@get(
    "/audit/journal",
    opt=OWNER,
    operation_id="listWholeJournal",
    summary="Search the whole journal, or follow it",
    tags=["audit"],
)
async def list_whole_journal(call: NamedDependency[Call]) -> Response[JournalPage]:
    """List newest first, or oldest first with `order=asc` or `after`, by the journal's numbers."""
    return await _list(call)


async def _list(call: Call) -> Response[JournalPage]:
    sought = questions.sought(call, *_OTHERS)
    after, before, newest_first = questions.span(call)
    if call.past:
        raise MalformedError("position.invalid", "the journal is read by its own numbers")
    limit, kept = page_limit(call), call.service.journal
    # One sees what one has done, as in every list.
    await kept.settle()
    until = await kept.ask(journal.head)
    if before is not None:
        until = min(until, before - 1)
    wanted = Wanted(scope=questions.scope(call), after=after or 0, until=until, sought=sought)
    found = await kept.ask(_page, wanted, limit, newest_first)
    name_of = await items.names_of(call, {one.entry.principal for one in found})
    await read_trail(call, "audit_read", results=len(found))
    page = JournalPage(
        items=[_form(call, one, name_of) for one in found],
        next_before=found[-1].sequence if newest_first and len(found) == limit else UNSET,
        next_after=UNSET if newest_first else _through(found, limit, max(after or 0, until)),
    )
    return call.answer(page)


def _page(connection: Any, wanted: Wanted, limit: int, newest: bool) -> list[Noted]:  # noqa: ANN401, FBT001 - called by position in another thread
    return journal_parts.noted(connection, wanted, limit, newest=newest)


def _through(found: list[Noted], limit: int, until: int) -> int:
    """Answer how far a page oldest first has looked."""
    return found[-1].sequence if len(found) == limit else until


# Answers


def _form(call: Call, noted: Noted, name_of: NameOf) -> JournalEntry:
    entry, count = noted.entry, noted.counted
    kind_of_actor = actor_type(entry, call.service.state)
    return JournalEntry(
        number=noted.sequence,
        kind=entry.kind,
        at=entry.at,
        outcome=entry.outcome,
        code=_present(entry.code),
        summary=summary(noted),
        tenant=_present(entry.tenant),
        actor=ActorForm(
            type=_present(kind_of_actor),
            id=_present(entry.principal),
            name=_present(None if entry.principal is None else name_of(entry.principal)),
            token_id=_present(entry.token),
            via=_present(entry.via),
            address=_present(entry.address),
            user_agent=_present(entry.agent),
        ),
        request_id=_present(entry.request_id),
        operation=_present(entry.operation),
        asked=AskedForm(
            subject_type=_present(entry.subject_type),
            subject_id=_present(entry.subject),
            subject_asked=_present(entry.subject_asked),
            action=_present(entry.action),
            resource_type=_present(entry.resource_type),
            resource_id=_present(entry.resource_id),
            namespace=_present(entry.namespace),
        ),
        position=entry.position if count is None else UNSET,
        clock=UNSET if entry.clock is None else entry.clock,
        count=UNSET if count is None else count.number,
        ends=UNSET if count is None else entry.at + MINUTE,
        network=_present(count.network or None) if count is not None else UNSET,
        detail=UNSET if entry.detail is None else msgspec.json.decode(entry.detail),
    )


def _present(text: str | None) -> str | UnsetType:
    return UNSET if text is None else text


ROUTES: Final[list[Any]] = [list_journal, list_whole_journal]
