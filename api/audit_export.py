"""How is the audit trail handed over to what security tools read? (audit-export 1).

An export is written page by page while it is sent, so it takes the same memory however long it
is. The caller is judged anew for every page; an export that ends early is cut off, so that nobody
takes it for a whole one.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.call import OWNER, POSITION_HEADER, Call, Headers, needs, position_parameter
from api.iam import principals
from api.journal import read_trail
from api.problems import refusal
from api.request_errors import MalformedError, RequestError
from domain import commands
from domain.errors import DomainError
from domain.ids import TenantId, UserId
from domain.permissions import Permission
from domain.sealed import Erased, Sealed
from projections import exporting
from projections.audit import EVERYWHERE, Scope
from projections.export_cloudevents import CLOUDEVENTS
from projections.export_csv import CSV
from projections.export_ndjson import NDJSON
from projections.export_ocsf import OCSF
from projections.exporting import CLOSED, GONE, Format, Telling, Wanted
from projections.filters import And, Comparison, Leaf, Node, Or
from projections.views import UnreachableError

if TYPE_CHECKING:
    from litestar.types import Receive, Send

    from api.service import Service
    from domain.state import State

EXPORT: Final = Permission("AUDITLOG", "EXPORT")
VIEW_USERS: Final = Permission("USER", "VIEW")

FORMATS: Final[dict[str, Format]] = {one.name: one for one in (NDJSON, CSV, OCSF, CLOUDEVENTS)}
ANSWERED: Final = tuple(dict.fromkeys(one.media_type.partition(";")[0] for one in FORMATS.values()))
STREAMS: Final = ("log",)
PERSONAL: Final = ("omit", "include")
WORD_CHARACTERS_MAX: Final = 256
NAMES_KEPT: Final = 10_000

_PARAMETERS: Final = frozenset(
    {"format", "stream", "after", "until", "type", "actor", "subject", "since", "until_time"}
    | {"personal", "at_least", "position", "at"}
)
_TYPE: Final = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*(?:\.\*)?\Z")
# The ids by which an event can be about a subject.
_SUBJECTS: Final = ("id", "userId", "groupId", "roleId", "tokenId")

_log = logging.getLogger("muniment.exports")


# What is asked for


def _chosen(text: str | None, name: str, choices: Collection[str], default: str) -> str:
    chosen = default if text is None else text
    if chosen not in choices:
        raise MalformedError("query.invalid", f"{name} must be one of {', '.join(choices)}")
    return chosen


def _wanted(call: Call, scope: Scope) -> Wanted:
    head = call.state.position
    until = position_parameter(call.query, "until")
    if until is not None and until > head:
        raise MalformedError("position.future", "until has not been reached")
    return Wanted(
        scope=scope,
        after=position_parameter(call.query, "after") or 0,
        until=head if until is None else until,
        where=_filter(call),
    )


def _filter(call: Call) -> Node | None:
    subject = _word(call.parameter("subject"), "subject")
    nodes: list[Node] = [
        *_types(call.parameter("type") or ""),
        *(
            Leaf(field="userId", comparison=Comparison.EQUALS, values=(actor,))
            for actor in _word(call.parameter("actor"), "actor")
        ),
        *_instants(call.parameter("since"), "since", Comparison.GREATER_THAN_OR_EQUAL_TO),
        *_instants(call.parameter("until_time"), "until_time", Comparison.LESS_THAN_OR_EQUAL_TO),
    ]
    if subject:
        equal = [
            Leaf(field="details", key=key, comparison=Comparison.EQUALS, values=subject)
            for key in _SUBJECTS
        ]
        nodes.append(Or(tuple(equal)))
    return And(tuple(nodes)) if nodes else None


def _types(text: str) -> list[Node]:
    """Read `type`: topics, or beginnings of them that end with `.*`, joined by commas."""
    if not text:
        return []
    parts = text.split(",")
    if len(text) > WORD_CHARACTERS_MAX or not all(map(_TYPE.match, parts)):
        raise MalformedError("filters.invalid", "type must be event types such as token.*")
    exact = tuple(part for part in parts if not part.endswith("*"))
    begun = tuple(part.removesuffix("*") for part in parts if part.endswith("*"))
    leaves = [
        Leaf(field="event", comparison=comparison, values=values)
        for comparison, values in ((Comparison.EQUALS, exact), (Comparison.STARTS_WITH, begun))
        if values
    ]
    return [Or(tuple(leaves))]


def _word(text: str | None, name: str) -> tuple[str, ...]:
    if text is None:
        return ()
    if not 0 < len(text) <= WORD_CHARACTERS_MAX:
        raise MalformedError("filters.invalid", f"{name} must be an id")
    return (text,)


def _instants(text: str | None, name: str, comparison: Comparison) -> list[Node]:
    if text is None:
        return []
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise MalformedError("filters.invalid", f"{name} must be an instant") from None
    aware = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant
    return [Leaf(field="date", comparison=comparison, values=(aware,))]


# What is told


def telling(service: Service, state: State, *, personal: bool) -> Telling:
    """Answer what an export tells besides its events; without `personal` no person is named."""

    def shown(subject: str, field: str, sealed: Sealed) -> object:
        value = service.vault.open(sealed, subject=subject, field=field)
        if isinstance(value, Erased):
            return GONE
        return value if personal else CLOSED

    @lru_cache(NAMES_KEPT)
    def person(id_: UserId) -> str | None:
        user = state.users.get(id_) if personal else None
        return None if user is None else service.people.open(user).display_name or None

    return Telling(
        public_url=service.settings.public_url,
        version=service.settings.version,
        state=state,
        shown=shown,
        person=person,
    )


# Routes


@get(
    "/{tenant:str}/audit/export",
    opt={**needs(EXPORT), "answers": ANSWERED},
    operation_id="exportAudit",
    summary="Stream the events of a tenant for security tools, oldest first",
    tags=["audit"],
)
async def export(tenant: FromPath[str], call: NamedDependency[Call]) -> Response[Any]:
    """Hand over the events behind `after`, up to `until`, that all filters let through.

    X-Muniment-Position tells the `until` in force: the next run asks for what is `after` it,
    whether or not anything matched. `personal=include` needs USER:VIEW as well.
    """
    return await _export(call, TenantId(tenant), tenant)


@get(
    "/audit/export",
    opt={**OWNER, "answers": ANSWERED},
    operation_id="exportWholeAudit",
    summary="Stream all events for security tools, oldest first",
    tags=["audit"],
)
async def export_everywhere(call: NamedDependency[Call]) -> Response[Any]:
    """Hand over the events behind `after`, up to `until`, of the whole installation."""
    return await _export(call, EVERYWHERE, "all")


async def _export(call: Call, scope: Scope, name: str) -> Response[Any]:
    unknown = {parameter for parameter, _ in call.query} - _PARAMETERS
    if unknown:
        # A filter that is not known would let through what its sender meant to keep back.
        raise MalformedError("query.invalid", "a parameter is not known here")
    _chosen(call.parameter("stream"), "stream", STREAMS, "log")
    form = FORMATS[_chosen(call.parameter("format"), "format", FORMATS, "ndjson")]
    personal = _chosen(call.parameter("personal"), "personal", PERSONAL, "omit") == "include"
    wanted = _wanted(call, scope)
    _require_still(call, personal=personal)
    await call.service.reach_views(wanted.until)
    await read_trail(call, "audit_export", after=wanted.after, until=wanted.until)
    file = f"audit-{name}-{wanted.after + 1}-{wanted.until}.{form.extension}"
    headers = (
        (b"content-type", form.media_type.encode()),
        (b"content-disposition", f'attachment; filename="{file}"'.encode()),
        (POSITION_HEADER.lower().encode(), b"%d" % wanted.until),
    )
    return _Export(call, _pieces(call, wanted, form, personal=personal), headers)


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


async def _pieces(
    call: Call, wanted: Wanted, form: Format, *, personal: bool
) -> AsyncIterator[bytes]:
    """Yield the export in whole lines, each page read and written off the event loop.

    Each page is a query of its own, so that a slow receiver holds no transaction open.
    """
    service = call.service
    told = telling(service, call.state, personal=personal)
    yield form.header
    while True:
        _require_still(call, personal=personal)
        async with service.exports.turn:
            part = await service.views.ask(exporting.part, service.records, wanted, form, told)
        yield part.lines
        if part.after is None:
            return
        wanted = Wanted(
            scope=wanted.scope, after=part.after, until=wanted.until, where=wanted.where
        )


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
