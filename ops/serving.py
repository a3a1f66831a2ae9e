"""How is the application served, so that slow, greedy and malformed clients cost little?

uvicorn with the settings of security 8, and what it leaves out: limits on the header while it is
read, on waiting clients and on connections (security 6.2, 6.3). The body's clock is in
`api/front.py`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, cast

import uvicorn
from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from api.front import Proxies
from api.problems import Refusal, compose

if TYPE_CHECKING:
    from litestar.types import ASGIApp

_TICKS_A_SECOND: Final = 10  # uvicorn's main loop
_ANSWER_HEADERS: Final = (
    (b"connection", b"close"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


class Limits(Struct, frozen=True, kw_only=True):
    """How long and how much a client may take; the defaults are those of security 6.2 and 6.3."""

    header_seconds: float = 10.0
    idle_seconds: int = 30
    answer_seconds: float = 60.0
    connections: int = 4_000
    connections_a_peer: int = 200
    target_bytes: int = 8_192
    headers: int = 100
    header_bytes: int = 32_768
    unready_seconds: float = 0.5
    drain_seconds: int = 8


class Server(uvicorn.Server):
    """One listening socket and its application.

    `on_bound(url)` is called when the address is taken and nothing has been answered yet,
    `on_listening(url)` when connections are accepted, `on_draining()` when the process
    was told to stop and still accepts them: readiness has to say no from then on, so that a
    balancer looks away before the socket closes. `new_id` makes the request ids of what is
    refused before there is a request, and `on_crowded()` is called for each connection that is
    one too many.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        on_listening: Callable[[str], None],
        on_draining: Callable[[], None],
        new_id: Callable[[], str],
        on_crowded: Callable[[], None] | None = None,
        on_bound: Callable[[str], None] | None = None,
        proxies: Proxies | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        config = _Config(app, self.limits, proxies or Proxies(), new_id)
        if on_crowded is not None:
            config.on_crowded = on_crowded
        super().__init__(config)
        self._host = host
        self._port = port
        self._url = ""
        self._on_bound = on_bound
        self._on_listening = on_listening
        self._on_draining = on_draining

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until SIGTERM or SIGINT; OSError when the address cannot be bound."""
        with _bind(self._host, self._port) as bound:
            host = f"[{self._host}]" if ":" in self._host else self._host
            self._url = f"http://{host}:{bound.getsockname()[1]}"
            if self._on_bound is not None:
                self._on_bound(self._url)
            super().run(sockets or [bound])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then accept connections, then say so."""
        await super().startup(sockets)
        if self.started:
            self._on_listening(self._url)

    async def on_tick(self, counter: int) -> bool:
        """Once a second, end the connections whose time is over."""
        if counter % _TICKS_A_SECOND == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                cast("Protocol", connection).sweep(now)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Not ready first, then no new connections, then the running requests to their end."""
        self._on_draining()
        await asyncio.sleep(self.limits.unready_seconds)
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; uvicorn would end the process by the same signal again, which is no clean exit."""
        super().handle_exit(sig, frame)
        self._captured_signals.clear()


def serve(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    on_draining: Callable[[], None],
    new_id: Callable[[], str],
    on_crowded: Callable[[], None] | None = None,
    on_bound: Callable[[str], None] | None = None,
    on_listening: Callable[[str], None] | None = None,
    proxies: Proxies | None = None,
    limits: Limits | None = None,
) -> None:
    """Serve in the foreground until told to stop (design 7); port 0 is any free one.

    See `Server` for the callbacks. Raises OSError when the address cannot be bound, SystemExit
    when the application does not start.
    """
    # What strangers send is no warning of ours; one line for each would be theirs to write.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    Server(
        app,
        host=host,
        port=port,
        on_bound=on_bound,
        on_listening=on_listening or announce,
        on_draining=on_draining,
        new_id=new_id,
        on_crowded=on_crowded,
        proxies=proxies,
        limits=limits,
    ).run()


def announce(url: str) -> None:
    """Print `listening on http://HOST:PORT` as one line on standard output (design 7)."""
    sys.stdout.write(f"listening on {url}\n")
    sys.stdout.flush()


class _Config(uvicorn.Config):
    def __init__(
        self, app: ASGIApp, limits: Limits, proxies: Proxies, new_id: Callable[[], str]
    ) -> None:
        super().__init__(
            cast("Any", app),
            loop="uvloop",
            http=Protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            # One above our own, which answers as every refusal does; a last resort.
            limit_concurrency=limits.connections + 1,
            timeout_keep_alive=limits.idle_seconds,
            timeout_graceful_shutdown=limits.drain_seconds,
        )
        self.limits = limits
        self.proxies = proxies
        self.new_id = new_id
        self.connections_by_peer: Counter[str] = Counter()
        self.on_crowded: Callable[[], None] = lambda: None


class _RefusedError(Exception):
    """Stops the parser from inside one of its callbacks."""


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol with limits while the header is read, and a clock for those who wait."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._guard = cast("_Config", config)
        self._limits = self._guard.limits
        self._peer = ""
        self._refusal = Refusal(status=400, code="request.malformed", detail="this is not HTTP")
        self._reads_header = False
        self._header_count = 0
        self._header_bytes = 0
        # Bytes since the parser last found anything: what it holds of one endless field.
        self._unparsed_bytes = 0
        self._header_since: float | None = None
        self._answer_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it where there are too many."""
        super().connection_made(cast("asyncio.Transport", transport))
        self._header_since = self.loop.time()
        self._peer = self.client[0] if self.client else ""
        by_peer = self._guard.connections_by_peer
        by_peer[self._peer] += 1
        if len(self.connections) > self._limits.connections:
            self._turn_away(503)
        elif (
            by_peer[self._peer] > self._limits.connections_a_peer
            and self._peer not in self._guard.proxies
        ):
            self._turn_away(429)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        by_peer = self._guard.connections_by_peer
        by_peer[self._peer] -= 1
        if not by_peer[self._peer]:
            del by_peer[self._peer]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, unless it is part of something endless."""
        if self._header_since is None and (self.cycle is None or self.cycle.response_complete):
            self._header_since = self.loop.time()
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._unparsed_bytes > self._limits.header_bytes and not self.transport.is_closing():
            self._refuse(self._too_large())

    def on_message_begin(self) -> None:
        """A request begins, perhaps behind another one in the same packet."""
        super().on_message_begin()
        self._unparsed_bytes = 0
        self._reads_header = True
        self._header_count = 0
        self._header_bytes = 0
        if self._header_since is None:
            self._header_since = self.loop.time()

    def on_url(self, url: bytes) -> None:
        """Collect the target, up to its limit."""
        super().on_url(url)
        self._unparsed_bytes = 0
        if len(self.url) > self._limits.target_bytes:
            self._stop(414, "target.too_long", f"at most {self._limits.target_bytes} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header, up to the limits; trailers are counted and left out.

        uvicorn would add a trailer to the headers, long after they were judged.
        """
        self._unparsed_bytes = 0
        self._header_count += 1
        self._header_bytes += len(name) + len(value)
        if (
            self._header_count > self._limits.headers
            or self._header_bytes > self._limits.header_bytes
        ):
            self._refusal = self._too_large()
            raise _RefusedError
        if self._reads_header:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the application, for targets that are a path."""
        if not self.url.startswith(b"/") or b"#" in self.url:
            # A fragment would be cut off here, and perhaps be read by a proxy before.
            self._stop(400, "route.malformed_path", "the request target must be a path")
        super().on_headers_complete()
        self._unparsed_bytes = 0
        self._reads_header = False
        self._header_since = None

    def on_body(self, body: bytes) -> None:
        """Pass a piece of the body on."""
        self._unparsed_bytes = 0
        super().on_body(body)

    def pause_writing(self) -> None:
        """The client does not take what it is sent; its time begins."""
        super().pause_writing()
        self._answer_since = self._answer_since or self.loop.time()

    def resume_writing(self) -> None:
        """The client has taken nearly all."""
        super().resume_writing()
        self._answer_since = None

    def sweep(self, now: float) -> None:
        """End the connection when its header or the taking of its answer has lasted too long."""
        if not self.transport.get_write_buffer_size():
            self._answer_since = None
        elif self._answer_since is None:
            self._answer_since = now
        elif now - self._answer_since > self._limits.answer_seconds:
            self.transport.abort()
            return
        if self._header_since is None:
            return
        if self.flow.read_paused:
            # It is we who do not read: earlier requests of this connection are being answered.
            self._header_since = now
        elif now - self._header_since > self._limits.header_seconds:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be parsed as every other error; `msg` is uvicorn's and not told."""
        del msg
        self._refuse(self._refusal)

    def _unsupported_upgrade_warning(self) -> None:
        # Served as if no upgrade had been asked for; what follows is not known to be HTTP.
        self.cycle.keep_alive = False

    def _turn_away(self, status: int) -> None:
        # It takes no place from now on, or the requests of the others would be over the limit.
        self.connections.discard(self)
        self._guard.on_crowded()
        self._refuse(
            Refusal(
                status=status,
                code="connection.too_many",
                detail="close some or come back later",
                headers=((b"retry-after", b"1"),),
            )
        )

    def _stop(self, status: int, code: str, detail: str) -> None:
        self._refusal = Refusal(status=status, code=code, detail=detail)
        raise _RefusedError

    def _too_large(self) -> Refusal:
        limits = f"{self._limits.headers} headers of {self._limits.header_bytes} bytes together"
        return Refusal(status=431, code="header.too_large", detail=f"at most {limits} are read")

    def _refuse(self, refusal: Refusal) -> None:
        cycle = self.cycle
        if self.pipeline:
            # Answers must come in the order of requests, and this one's turn will not come.
            self.transport.close()
            return
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body:
                # The request before is whole: it is answered, and nothing after it.
                cycle.keep_alive = False
                self.flow.pause_reading()
                return
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.close()
                return
        request_id = self._guard.new_id()
        status, headers, body = compose(refusal, path="/", request_id=request_id)
        headers += [*_ANSWER_HEADERS, (b"x-request-id", request_id.encode())]
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[status] + head + b"\r\n" + body)
        self.transport.close()


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, number)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        # The system does not say which address it was.
        raise OSError(error.errno, error.strerror, f"{host}:{port}") from error
    return bound
