"""How is the audit trail handed over to what security tools read? (audit-export 1).

An export is written page by page while it is sent, so it takes the same memory however long it
is. The caller is judged anew for every page; an export that ends early is cut off, so that nobody
takes it for a whole one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import structs

from api import export_questions
from api.call import OWNER, POSITION_HEADER, Call, Headers, needs
from api.iam import principals
from api.journal import read_trail
from api.problems import refusal
from api.request_errors import MalformedError, RequestError
from domain import commands
from domain.errors import DomainError
from domain.ids import TenantId, UserId
from domain.permissions import Permission
from domain.sealed import Erased, Sealed
from projections import export_journal, exporting, journal, journal_parts
from projections.export_cloudevents import CLOUDEVENTS
from projections.export_csv import CSV
from projections.export_ndjson import NDJSON
from projections.export_ocsf import OCSF
from projections.exporting import CLOSED, GONE, Format, Part, Telling
from projections.views import UnreachableError

if TYPE_CHECKING:
    from litestar.types import Receive, Send

    from api.export_questions import Asked
    from api.service import Service
    from domain.state import State

EXPORT: Final = Permission("AUDITLOG", "EXPORT")
VIEW_USERS: Final = Permission("USER", "VIEW")

FORMATS: Final = {one.name: one for one in (NDJSON, CSV, OCSF, CLOUDEVENTS)}
FORMATS_OF_JOURNAL: Final = {one.name: one for one in export_journal.FORMATS}
ANSWERED: Final = tuple(dict.fromkeys(one.media_type.partition(";")[0] for one in FORMATS.values()))
NAMES_KEPT: Final = 10_000

_log = logging.getLogger("muniment.exports")


class _Source(NamedTuple):
    """A stream up to the position `until`: its name, its form, and the part behind a position."""

    name: str
    until: int
    form: Format[Any]
    part: Callable[[int], Awaitable[Part]]


# What is told


def telling(
    service: Service, state: State, *, personal: bool, tenant: TenantId | None = None
) -> Telling:
    """Answer what an export tells besides its lines; without `personal` no person is named.

    With it, in a tenant's export, those are who have access to the tenant.
    """

    def shown(subject: str, field: str, sealed: Sealed) -> object:
        value = service.vault.open(sealed, subject=subject, field=field)
        if isinstance(value, Erased):
            return GONE
        return value if personal else CLOSED

    @lru_cache(NAMES_KEPT)
    def person(id_: UserId) -> str | None:
        user = state.users.get(id_) if personal else None
        if user is None or (tenant is not None and tenant not in state.access.get(id_, ())):
            return None
        return service.people.open(user).display_name or None

    return Telling(
        public_url=service.settings.public_url,
        version=service.settings.version,
        state=state,
        shown=shown,
        person=person,
        proves=tenant is None,
    )


def _telling(call: Call, asked: Asked) -> Telling:
    tenant: TenantId | None = call.parameters.get("tenant")
    return telling(call.service, call.state, personal=asked.personal, tenant=tenant)


# Routes


@get(
    "/{tenant:str}/audit/export",
    opt={**needs(EXPORT), "answers": ANSWERED},
    operation_id="exportAudit",
    summary="Stream the events of a tenant for security tools, oldest first",
    tags=["audit"],
)
async def export(tenant: FromPath[str], call: NamedDependency[Call]) -> Response[Any]:
    """Hand over what is behind `after`, up to `until`, that all filters let through.

    That is events or, with `stream=journal`, what the journal holds, by its own positions.
    X-Muniment-Position tells the `until` in force: the next run asks for what is `after` it,
    whether or not anything matched. `personal=include` needs USER:VIEW as well.
    """
    return await _export(call, tenant)


@get(
    "/audit/export",
    opt={**OWNER, "answers": ANSWERED},
    operation_id="exportWholeAudit",
    summary="Stream all events for security tools, oldest first",
    tags=["audit"],
)
async def export_everywhere(call: NamedDependency[Call]) -> Response[Any]:
    """Hand over what is behind `after`, up to `until`, of the whole installation."""
    return await _export(call, "all")


async def _export(call: Call, name: str) -> Response[Any]:
    asked = export_questions.asked(call)
    _require_still(call, personal=asked.personal)
    source = await (_of_log if asked.stream == "log" else _of_journal)(call, asked)
    told = {"stream": asked.stream, "after": asked.after, "until": source.until}
    await read_trail(call, "audit_export", **told)
    form = source.form
    file = f"{source.name}-{name}-{asked.after + 1}-{source.until}.{form.extension}"
    headers = (
        (b"content-type", form.media_type.encode()),
        (b"content-disposition", f'attachment; filename="{file}"'.encode()),
        (POSITION_HEADER.lower().encode(), b"%d" % source.until),
    )
    return _Export(call, _pieces(call, asked, source), headers)


async def _of_log(call: Call, asked: Asked) -> _Source:
    service, form = call.service, FORMATS[asked.form]
    until = asked.last(call.state.position)
    await service.reach_views(until)
    wanted, told = asked.wanted(until), _telling(call, asked)

    async def part(after: int) -> Part:
        return await service.views.ask(
            exporting.part, service.records, structs.replace(wanted, after=after), form, told
        )

    return _Source("audit", until, form, part)


async def _of_journal(call: Call, asked: Asked) -> _Source:
    if call.past:
        raise MalformedError("position.invalid", "the journal is read by its own positions")
    kept, form = call.service.journal, FORMATS_OF_JOURNAL[asked.form]
    # One sees what one has done, as in every list.
    await kept.settle()
    until = asked.last(await kept.ask(journal.head))
    wanted, told = asked.wanted(until), _telling(call, asked)

    async def part(after: int) -> Part:
        return await kept.ask(journal_parts.part, structs.replace(wanted, after=after), form, told)

    return _Source("journal", until, form, part)


def _require_still(call: Call, *, personal: bool) -> None:
    """Refuse who may not export, now: the right may have ended since the answer began."""
    call.require_still()
    state, context = call.service.state, principals.context(call)
    if "tenant" not in call.parameters:
        commands.require_owner(state, context)
        return
    commands.require_permission(state, context, call.tenant, EXPORT)
    if personal:
        commands.require_permission(state, context, call.tenant, VIEW_USERS)


async def _pieces(call: Call, asked: Asked, source: _Source) -> AsyncIterator[bytes]:
    """Yield the export in whole lines, each page read and written off the event loop.

    Each page is a query of its own, so that a slow receiver holds no transaction open.
    """
    yield source.form.header
    after: int | None = asked.after
    while after is not None:
        _require_still(call, personal=asked.personal)
        async with call.service.exports.turn:
            part = await source.part(after)
        yield part.lines
        after = part.after


class _Export(Response[Any]):
    """An answer that is made while it is sent, for as long as somebody takes it."""

    def __init__(self, call: Call, pieces: AsyncIterator[bytes], headers: Headers) -> None:
        self.content = pieces
        self.status_code = 200
        self._call = call
        self._prepared = headers

    def to_asgi_response(self, *_: Any, **_options: Any) -> Any:  # noqa: ANN401 - the library's own signature is longer than what is used of it
        """Answer the application that sends this, which it is itself."""
        return self

    async def __call__(self, _: object, receive: Receive, send: Send) -> None:
        """Send what there is; where it may not go on, the answer is left without its end."""
        call = self._call
        with call.service.exports.passing(call.caller.principal):
            await send({"type": "http.response.start", "status": 200, "headers": [*self._prepared]})
            gone = asyncio.create_task(_until_gone(receive))
            try:
                async for piece in self.content:
                    if gone.done():
                        return
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            except (DomainError, RequestError, UnreachableError) as fault:
                self._note(fault)
                return
            finally:
                gone.cancel()
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _note(self, fault: Exception) -> None:
        code = "store.unreachable" if isinstance(fault, UnreachableError) else refusal(fault).code
        _log.warning(
            "an export was cut off", extra={"request_id": self._call.request_id, "code": code}
        )


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


ROUTES: Final[list[Any]] = [export, export_everywhere]
