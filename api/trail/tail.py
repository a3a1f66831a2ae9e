"""How is the trail followed live, as a stream of server-sent events?

Each entry carries its position as its id, so whoever reconnects with the last id it saw gets the
next one: nothing is missed and nothing comes twice. In between a `through` tells, also as an id,
how far was looked without finding anything. The caller is judged anew before each part and every
few seconds; a stream that ends tells why in an `end`, where it still can be told.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from api import listing
from api.authentication import header
from api.call import OWNER, POSITION_HEADER, Call, needs, position_parameter
from api.iam import principals
from api.journal import read_trail
from api.problems import refusal
from api.request_errors import AuthenticationError, MalformedError, RequestError
from api.service import DRAINING
from api.trail import items, questions
from api.trail.events import LIST
from domain import commands
from domain.errors import DomainError
from projections import trail

if TYPE_CHECKING:
    from litestar.types import Receive, Send

    from api.trail.items import TrailEntry
    from projections.trail import Sought

MEDIA_TYPE: Final = "text/event-stream"
LAST_EVENT_ID: Final = b"last-event-id"
SECONDS_MAX: Final = 86_400
PART_ENTRIES: Final = 100
_STREAMED: Final = {"answers": (MEDIA_TYPE,), "tails": True}
_OTHERS: Final = ("after", "seconds")
_POSITION: Final = re.compile(r"[0-9]{1,18}\Z")
_SECONDS: Final = re.compile(r"[0-9]{1,5}\Z")

# How soon a client should come back whose connection broke.
_GREETING: Final = b"retry: 1000\n\n"


class End(Struct, frozen=True):
    """Why a stream has ended."""

    code: str


class _EndedError(Exception):
    """The stream ends, for a reason that is no refusal."""


@get(
    "/{tenant:str}/events/tail",
    opt={**needs(LIST), **_STREAMED},
    operation_id="tailEvents",
    summary="Follow the events of a tenant live, as server-sent events",
    tags=["trail"],
)
async def tail_events(
    tenant: FromPath[str], request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> Response[Any]:
    """Stream `entry`, `through` and `end` events from `Last-Event-ID` or `after` on, else from now.

    The id of an `entry` is its position, and its data are as in the list.
    """
    del tenant
    return await _stream(call, request)


@get(
    "/events/tail",
    opt={**OWNER, **_STREAMED},
    operation_id="tailAllEvents",
    summary="Follow all events live, as server-sent events",
    tags=["trail"],
)
async def tail_all_events(
    request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> Response[Any]:
    """Stream `entry`, `through` and `end` events from `Last-Event-ID` or `after` on, else from now.

    The id of an `entry` is its position, and its data are as in the list.
    """
    return await _stream(call, request)


async def _stream(call: Call, request: Request[Any, Any, Any]) -> Response[Any]:
    sought = questions.sought(call, *_OTHERS)
    if call.past:
        raise MalformedError("position.invalid", "a tail shows what comes, not the past")
    last = header(request.scope, LAST_EVENT_ID).decode("latin-1")
    if last and not _POSITION.match(last):
        raise MalformedError("position.invalid", "Last-Event-ID must be a position")
    after = position_parameter(call.query, "after")
    begin = int(last) if last else call.state.position if after is None else after
    seconds = _seconds(call.parameter("seconds"))
    await read_trail(call, "audit_read", after=begin)
    return Tail(call, sought, begin, seconds)


def _seconds(text: str | None) -> int:
    if text is None:
        return SECONDS_MAX
    number = int(text) if _SECONDS.match(text) else SECONDS_MAX + 1
    if number > SECONDS_MAX:
        raise MalformedError("filters.invalid", f"seconds: must be from 0 to {SECONDS_MAX}")
    return number


class Tail(Response[Any]):
    """An answer that goes on until its time is over, its caller may not see it, or goes away."""

    def __init__(self, call: Call, sought: Sought, after: int, seconds: int) -> None:
        """`after` is the position behind which the stream begins."""
        self.status_code = 200
        self._call = call
        self._sought = sought
        self._after = after
        self._pace = call.service.tails.pace
        self._ends_at = asyncio.get_running_loop().time() + seconds

    def to_asgi_response(self, *_: Any, **_options: Any) -> Any:  # noqa: ANN401 - the library's own signature is longer than what is used of it
        """Answer the application that sends this, which it is itself."""
        return self

    async def __call__(self, _: object, receive: Receive, send: Send) -> None:
        """Send what there is, then what comes."""
        call = self._call
        with call.service.tails.place(call.caller.principal):
            headers = [
                (b"content-type", MEDIA_TYPE.encode()),
                (b"x-accel-buffering", b"no"),
                (POSITION_HEADER.lower().encode(), b"%d" % call.state.position),
            ]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            gone = asyncio.create_task(_gone(receive))
            try:
                code = await self._send_parts(gone, send)
            finally:
                gone.cancel()
        if code is not None:
            end = _event(b"end", msgspec.json.encode(End(code)))
            body = _body(end, more=False)
            with suppress(TimeoutError):
                await asyncio.wait_for(_awaited(send(body)), self._pace.farewell_seconds)

    async def _send_parts(self, gone: asyncio.Task[None], send: Send) -> str | None:
        """Send part after part; answer why it ended, None where the client went away."""
        try:
            async with aclosing(self._parts(gone)) as parts:
                async for part in parts:
                    await asyncio.wait_for(
                        _awaited(send(_body(part, more=True))), self._pace.drained_seconds
                    )
        except TimeoutError:
            # What was not taken was not sent in part: the server waits before it writes.
            return "tail.too_slow"
        except _EndedError as end:
            return str(end)
        except (DomainError, RequestError) as error:
            return refusal(error).code
        return None

    async def _parts(self, gone: asyncio.Task[None]) -> AsyncGenerator[bytes, None]:
        """Yield what is to be sent, until the client has gone; raises why it ends before."""
        service, loop = self._call.service, asyncio.get_running_loop()
        told, tells_at = -1, 0.0
        yield _GREETING
        while not gone.done():
            news = service.tails.news()
            judge(self._call)
            part, is_last = await self._next()
            if part:
                yield part
                tells_at = loop.time() + self._pace.told_seconds
            if not is_last:
                continue
            if loop.time() >= tells_at or told < 0:
                await self._judge_session()
                told, tells_at = self._after, loop.time() + self._pace.told_seconds
                yield _event(b"through", msgspec.json.encode({"through": told}), told)
            left = self._ends_at - loop.time()
            if left <= 0:
                raise _EndedError("tail.over")
            await asyncio.wait(
                {news, gone},
                timeout=min(left, self._pace.judged_seconds),
                return_when=asyncio.FIRST_COMPLETED,
            )

    async def _next(self) -> tuple[bytes, bool]:
        """Answer the next entries as events, and whether there are no more now."""
        call = self._call
        head = call.service.state.position
        if self._after >= head:
            return b"", True
        await call.service.reach_views(head)
        scope = questions.scope(call)
        part = await listing.ask(
            call, trail.part, scope, self._sought, self._after, head, PART_ENTRIES
        )
        found = await items.items(call, part.entries)
        self._after = part.through
        return b"".join(map(_entry, found)), part.is_last

    async def _judge_session(self) -> None:
        cookie = self._call.caller.cookie
        if cookie is not None and await self._call.service.sessions.find(cookie) is None:
            raise AuthenticationError("auth.invalid", "this session has ended", presented=True)


def judge(call: Call) -> None:
    """Refuse to go on where the process stops, or where the caller may not see the trail any more.

    Raises what the route's gate would.
    """
    if call.service.health().reason == DRAINING:
        raise _EndedError(DRAINING)
    call.require_still()
    state, context = call.service.state, principals.context(call)
    if "tenant" in call.parameters:
        commands.require_permission(state, context, call.tenant, LIST)
    else:
        commands.require_owner(state, context)


async def _gone(receive: Receive) -> None:
    """Return when the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _awaited(sending: Awaitable[None]) -> None:
    await sending


def _body(body: bytes, *, more: bool) -> Any:  # noqa: ANN401 - a message of ASGI
    return {"type": "http.response.body", "body": body, "more_body": more}


def _entry(item: TrailEntry) -> bytes:
    return _event(b"entry", msgspec.json.encode(item), item.position)


def _event(name: bytes, data: bytes, position: int | None = None) -> bytes:
    """Answer a server-sent event; JSON has no line break that could begin another field."""
    id_ = b"" if position is None else b"id: %d\n" % position
    return b"%bevent: %b\ndata: %b\n\n" % (id_, name, data)


ROUTES: Final[list[Any]] = [tail_events, tail_all_events]
