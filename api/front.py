"""Is this request one that the applications behind may look at, and who sent it?

The outermost ASGI application: host, path and query rules before any routing, the request's id
and address for those behind, the body's clock, and the headers of every answer (security 5 and
6.3). CORS is off: no header of it is ever read or written (5.6). How many headers there may be,
and how long, `ops/serving.py` judges while it reads them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import unquote_plus

from msgspec import Struct

from api.decoding import BodyError
from api.problems import (
    compose,
    refusal,
    report,
)
from api.query import judge_path, read_query
from api.request_errors import MalformedError
from domain import token_text

if TYPE_CHECKING:
    from litestar.types import (
        ASGIApp,
        HTTPReceiveMessage,
        HTTPScope,
        Message,
        Receive,
        Scope,
        Send,
        WebSocketReceiveMessage,
    )

Network = IPv4Network | IPv6Network

TARGET_BYTES_MAX: Final = 8_192
REQUEST_ID_CHARACTERS_MAX: Final = 128

# Probes come to the loopback address under these names, whatever the public one is.
_REMEMBERED_MAX: Final = 64
_LOOKED_AT: Final = frozenset(
    {b"host", b"x-request-id", b"x-forwarded-for", b"content-length", b"transfer-encoding"}
)
_LOOPBACK: Final = frozenset({b"localhost", b"127.0.0.1", b"[::1]"})

_PLAIN: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_CONSOLE_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_CONSOLE: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", _CONSOLE_POLICY),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_TRANSPORT: Final = ((b"strict-transport-security", b"max-age=31536000"),)
_MAY_BE_BROUGHT: Final = frozenset(
    {b"server", b"x-request-id"} | {name for name, _ in (*_CONSOLE, *_TRANSPORT)}
)


class BodyClock(Struct, frozen=True, kw_only=True):
    """How long a body may take: `seconds` in all, and a rate after the first `grace_seconds`.

    A route that streams sets `scope["state"]["streams"]`: its clock begins anew each time that
    as much has come as the rate asks for in the grace. So a long body may come to its end, and
    one that drips, or stops, is cut after `seconds`.
    """

    seconds: float = 30.0
    grace_seconds: float = 5.0
    bytes_a_second: float = 1024.0
    sweep_seconds: float = 1.0


class Proxies:
    """The proxies whose forwarded addresses count; none by default (security 5.5)."""

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._networks = tuple(networks)

    def __contains__(self, address: str) -> bool:
        """Whether an address is a declared proxy's; text that is no address is nobody's."""
        return bool(self._networks) and self._trusts(address)

    def client(self, peer: str, forwarded: list[bytes]) -> str:
        """Answer the last hop that is no declared proxy, from X-Forwarded-For and the peer.

        What stands left of it is what anybody can write. A hop that is no address ends the walk
        at the proxy that passed it on.
        """
        found = peer
        hops = b",".join(forwarded).decode("latin-1").split(",") if forwarded else []
        while hops and found in self:
            hop = _without_port(hops.pop().strip())
            if hop is None:
                break
            found = hop
        return found

    def _trusts(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self._networks)


class Front:
    """The ASGI application that stands before all others.

    `hosts` are the names served besides loopback, without a port; `public_https` adds HSTS.
    `new_id` makes a request id. `on_leak(token, address, request_id)` is told of each token that
    stood in a request target. Behind it `scope["state"]` has `request_id` (as logged and put into
    events), `address` (of the client) and `query` (`api.query.Query`).
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Iterable[str],
        public_https: bool,
        new_id: Callable[[], str],
        on_leak: Callable[[str, str, str], None],
        proxies: Proxies | None = None,
        clock: BodyClock | None = None,
    ) -> None:
        self._app = app
        self._hosts = _LOOPBACK.union(host.lower().encode() for host in hosts)
        self._serves = lru_cache(_REMEMBERED_MAX)(self._is_served)
        transport = _TRANSPORT if public_https else ()
        self._plain = _PLAIN + transport
        self._console = _CONSOLE + transport
        self._new_id = new_id
        self._on_leak = on_leak
        self._proxies = proxies or Proxies()
        self._clock = _Sweeper(clock or BodyClock())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge one request and pass it on; the lifespan is passed on as it is."""
        kind: str = scope["type"]
        if kind != "http":
            # No web sockets are served: the server offers none, and none is passed on.
            if kind != "websocket":
                await self._app(scope, receive, send)
            return
        http = cast("HTTPScope", scope)
        exchange = _Exchange(send, receive, self._clock)
        try:
            self._judge(http, exchange)
            await self._app(
                scope, exchange.receive if exchange.has_body else receive, exchange.send
            )
        except Exception as error:
            # Whatever went wrong becomes a refusal; nothing goes on as if it had gone well.
            if exchange.started:
                raise
            await self._refuse(http, exchange, error)

    def _judge(self, scope: HTTPScope, exchange: _Exchange) -> None:
        raw_path, raw_query = scope["raw_path"], scope["query_string"]
        state, peer = scope["state"], scope["client"]
        held = [header for header in scope["headers"] if header[0] in _LOOKED_AT]
        found = dict(held)
        console = raw_path.startswith(b"/ui/") or raw_path == b"/ui"
        exchange.headers = self._console if console else self._plain
        exchange.has_body = b"content-length" in found or b"transfer-encoding" in found
        # The id and the address first, so that whatever is refused below is told under them.
        sent = found.get(b"x-request-id", b"")
        exchange.state = state
        state["request_id"] = request_id = _shown(sent) if sent else self._new_id()
        exchange.request_id = sent or request_id.encode()
        state["address"] = peer[0] if peer else ""
        if b"x-forwarded-for" in found:
            forwarded = [value for name, value in held if name == b"x-forwarded-for"]
            state["address"] = self._proxies.client(state["address"], forwarded)
        if len(raw_path) + len(raw_query) > TARGET_BYTES_MAX:
            raise BodyError(414, "target.too_long", f"at most {TARGET_BYTES_MAX} bytes are read")
        if len(held) != len(found):
            _refuse_repeated([name for name, _ in held])
        if not self._serves(found.get(b"host", b"")):
            raise MalformedError("host.unknown", "there must be one Host, and it must be ours")
        judge_path(raw_path)
        state["query"] = read_query(raw_query)

    def _is_served(self, host: bytes) -> bool:
        name = host.lower()
        if name in self._hosts:
            return True
        name, _, port = name.rpartition(b":")
        return name in self._hosts and port.isdigit()

    async def _refuse(self, scope: HTTPScope, exchange: _Exchange, error: Exception) -> None:
        state = scope["state"]
        request_id: str = state["request_id"]
        said = refusal(error)
        if said.code == "internal":
            report(error, request_id)
        if said.code == "token.misplaced":
            target = scope["raw_path"] + b" " + scope["query_string"]
            for token in token_text.find(unquote_plus(target.decode("latin-1"))):
                self._on_leak(token, state["address"], request_id)
        path = scope["raw_path"].decode("latin-1")
        status, headers, body = compose(said, path=path, request_id=request_id)
        await exchange.send({"type": "http.response.start", "status": status, "headers": headers})
        await exchange.send({"type": "http.response.body", "body": body, "more_body": False})


class _Exchange:
    """One request and its answer: what is added to the answer, and the body's clock."""

    __slots__ = (
        "_clock",
        "_handed_seconds",
        "_receive",
        "_received_bytes",
        "_send",
        "_started_seconds",
        "_task",
        "has_body",
        "headers",
        "late",
        "request_id",
        "started",
        "state",
    )

    def __init__(self, send: Send, receive: Receive, clock: _Sweeper) -> None:
        self._send = send
        self._receive = receive
        self._clock = clock
        self._started_seconds = 0.0
        self._handed_seconds = 0.0
        self._received_bytes = 0
        self._task: asyncio.Task[object] | None = None
        self.has_body = False
        self.late = False
        self.started = False
        self.request_id = b""
        self.headers: tuple[tuple[bytes, bytes], ...] = ()
        self.state: Mapping[str, object] = {}

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a message on; the answer's start gets the headers that it does not bring itself."""
        if message["type"] == "http.response.start":
            self.started = True
            brought = message["headers"]
            names = {name for name, _ in brought}
            added = [(b"x-request-id", self.request_id), *self.headers]
            if not names.isdisjoint(_MAY_BE_BROUGHT):
                brought = [header for header in brought if header[0] != b"server"]
                added = [header for header in added if header[0] not in names]
            if self.late:
                added.append((b"connection", b"close"))
            message["headers"] = [*brought, *added]
        return self._send(message)

    async def receive(self) -> HTTPReceiveMessage | WebSocketReceiveMessage:
        """Answer the next piece of the body, or raise BodyError 408 when it comes too slowly."""
        if not self.has_body:
            # All of it is here; what is waited for now is that the caller goes away.
            return await self._receive()
        if self._handed_seconds and self._started_seconds:
            # What the route did with the last piece took none of the caller's time.
            self._started_seconds += self._clock.now() - self._handed_seconds
        self._task = asyncio.current_task()
        self._clock.begin(self)
        try:
            message = await self._receive()
        except asyncio.CancelledError:
            if self._task is None or not self.late:
                raise
            self._task.uncancel()
            raise BodyError(408, "body.too_slow", "the body did not come in time") from None
        finally:
            self._clock.end(self)
        if message["type"] == "http.request":
            self._received_bytes += len(message["body"])
            self.has_body = message["more_body"]
            if "streams" in self.state:
                self._stream_on()
        return message

    def _stream_on(self) -> None:
        self._handed_seconds = self._clock.now()
        if self._received_bytes >= self._clock.piece_bytes:
            self._started_seconds = 0.0
            self._received_bytes = 0

    def end_if_late(self, now_seconds: float, clock: BodyClock) -> None:
        """Wake the request that waits for its body, once its time is over.

        Its time begins with the first sweep that finds it waiting.
        """
        self._started_seconds = self._started_seconds or now_seconds
        allowed = clock.grace_seconds + self._received_bytes / clock.bytes_a_second
        if "streams" in self.state:
            allowed = clock.seconds
        waited = now_seconds - self._started_seconds
        if waited > min(clock.seconds, allowed) and self._task is not None and not self.late:
            self.late = True
            self._task.cancel()


class _Sweeper:
    """Looks after all bodies that are waited for, so that no request needs a timer of its own."""

    def __init__(self, clock: BodyClock) -> None:
        self._clock = clock
        self._waiting: set[_Exchange] = set()
        self._runs = False
        self.piece_bytes = clock.grace_seconds * clock.bytes_a_second

    def now(self) -> float:
        """Answer the time by which the bodies are judged."""
        return asyncio.get_running_loop().time()

    def begin(self, exchange: _Exchange) -> None:
        """A piece of a body is waited for."""
        self._waiting.add(exchange)
        if not self._runs:
            self._runs = True
            loop = asyncio.get_running_loop()
            loop.call_later(self._clock.sweep_seconds, self._sweep, loop)

    def end(self, exchange: _Exchange) -> None:
        """The piece has come, or is waited for no more."""
        self._waiting.discard(exchange)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now_seconds = loop.time()
        for exchange in self._waiting:
            exchange.end_if_late(now_seconds, self._clock)
        self._runs = bool(self._waiting)
        if self._runs:
            loop.call_later(self._clock.sweep_seconds, self._sweep, loop)


def _refuse_repeated(names: list[bytes]) -> None:
    # X-Forwarded-For is a list; the lengths are the server library's to refuse.
    if names.count(b"host") > 1:
        raise MalformedError("host.unknown", "there must be one Host, and it must be ours")
    if names.count(b"x-request-id") > 1:
        raise MalformedError("header.repeated", "X-Request-ID is given twice")


def _shown(request_id: bytes) -> str:
    # The caller is given back what it sent; what is kept is short and printable.
    text = request_id[:REQUEST_ID_CHARACTERS_MAX].decode("latin-1")
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]


def _without_port(hop: str) -> str | None:
    bare = hop[1:].partition("]")[0] if hop.startswith("[") else hop
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        return str(ip_address(bare))
    except ValueError:
        return None
