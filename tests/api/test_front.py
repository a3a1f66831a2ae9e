"""Does nothing get past the front that two readers could read differently?"""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from typing import Any, cast

import msgspec
import pytest
from litestar.types import ASGIApp, Receive, Scope, Send

from api.front import BodyClock, Front, Proxies
from domain.errors import NotFoundError
from domain.token_text import TokenKind, make

TOKEN = make(TokenKind.USER, bytes(32))
HOST = (b"host", b"iam.example")
FAST = BodyClock(seconds=0.2, grace_seconds=0.05, bytes_a_second=1000, sweep_seconds=0.01)


class Exchanged:
    """One request sent through a front, and what came of it."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.leaks: list[tuple[str, str, str]] = []
        self.reached: dict[str, Any] | None = None

    @property
    def status(self) -> int:
        return cast("int", self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        pairs = [(name.decode(), value.decode()) for name, value in self.messages[0]["headers"]]
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    @property
    def body(self) -> dict[str, Any]:
        return cast("dict[str, Any]", msgspec.json.decode(self.messages[1]["body"]))


async def _answer(scope: Scope, _receive: Receive, send: Send) -> None:
    headers = [(b"content-length", b"0"), *scope["state"].get("brought", [])]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _read(scope: Scope, receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] != "http.request" or not message["more_body"]:
            break
    await _answer(scope, receive, send)


async def exchange(
    app: ASGIApp = _answer,
    *,
    path: bytes = b"/api/v1/main/groups",
    query: bytes = b"",
    headers: list[tuple[bytes, bytes]] | None = None,
    peer: str = "192.0.2.1",
    pieces: list[tuple[float, bytes, bool]] | None = None,
    brought: list[tuple[bytes, bytes]] | None = None,
    public_https: bool = False,
    proxies: Proxies | None = None,
    clock: BodyClock | None = None,
) -> Exchanged:
    """Send a request through a front; `pieces` of the body are (wait, bytes, more)."""
    seen = Exchanged()
    rest = list(pieces or [])

    async def behind(scope: Scope, receive: Receive, send: Send) -> None:
        seen.reached = dict(scope["state"])
        await app(scope, receive, send)

    async def receive() -> Any:  # noqa: ANN401 - the union of ASGI
        if not rest:
            await asyncio.sleep(30)
        seconds, body, more = rest.pop(0)
        await asyncio.sleep(seconds)
        return {"type": "http.request", "body": body, "more_body": more}

    async def send(message: Any) -> None:  # noqa: ANN401 - the union of ASGI
        seen.messages.append(message)

    front = Front(
        behind,
        hosts=["iam.example"],
        public_https=public_https,
        new_id=lambda: "made-up",
        on_leak=lambda *leak: seen.leaks.append(leak),
        proxies=proxies,
        clock=clock,
    )
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "raw_path": path,
        "query_string": query,
        "headers": [HOST] if headers is None else headers,
        "client": (peer, 4711),
        "state": {"brought": brought or []},
    }
    await front(cast("Scope", scope), receive, send)
    return seen


def ask(app: ASGIApp = _answer, **parts: Any) -> Exchanged:  # noqa: ANN401 - the parts of exchange
    """Send one request in a loop of its own."""
    return asyncio.run(exchange(app, **parts))


PLAIN = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


def test_every_answer_has_the_security_headers() -> None:
    """Security 5.1: answers and refusals alike, and HSTS only when public over https."""
    for answer in (ask(), ask(headers=[])):
        assert answer.headers.items() >= PLAIN.items()
        assert "strict-transport-security" not in answer.headers
        assert not [name for name in answer.headers if name.startswith("access-control-")]

    secure = ask(public_https=True)

    assert secure.headers["strict-transport-security"] == "max-age=31536000"


def test_the_server_is_not_named() -> None:
    """Security 5.1: a Server header of an application behind is taken away."""
    assert "server" not in ask(brought=[(b"server", b"x")]).headers


def test_the_console_has_headers_of_its_own() -> None:
    """Security 5.1: pages may load their own parts, and static ones may be cached."""
    page = ask(path=b"/ui/main")
    static = ask(path=b"/ui/static/app.css", brought=[(b"cache-control", b"public")])

    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert static.headers["cache-control"] == "public"
    assert ask(path=b"/uix").headers["content-security-policy"] == PLAIN["content-security-policy"]


@pytest.mark.parametrize(
    "host",
    [b"iam.example", b"IAM.example:8443", b"localhost", b"127.0.0.1:80", b"[::1]", b"[::1]:8080"],
)
def test_our_own_names_are_served(host: bytes) -> None:
    """Security 5.4: the public host and loopback are served, on any port."""
    assert ask(headers=[(b"host", host)]).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"host", b"")],
        [HOST, HOST],
        [(b"host", b"evil.example")],
        [(b"host", b"iam.example.evil.example")],
        [(b"host", b"iam.example:x")],
        [(b"host", b"iam.example:")],
        [(b"host", b"iam.example, evil.example")],
        [(b"host", b"[::1")],
        [(b"host", b"evil.example"), (b"x-forwarded-host", b"iam.example")],
    ],
)
def test_no_other_host_gets_past(headers: list[tuple[bytes, bytes]]) -> None:
    """Security 5.4: exactly one Host of the list, else 400 before routing."""
    answer = ask(headers=headers)

    assert (answer.status, answer.body["code"]) == (400, "host.unknown")
    assert answer.reached is None


@pytest.mark.parametrize(
    ("parts", "status", "code"),
    [
        ({"path": b"/a/../b"}, 400, "route.malformed_path"),
        ({"query": b"a=1&a=2"}, 400, "query.repeated"),
        ({"query": b"q=" + b"a" * 8192}, 414, "target.too_long"),
        (
            {"headers": [HOST, (b"x-request-id", b"a"), (b"x-request-id", b"b")]},
            400,
            "header.repeated",
        ),
    ],
)
def test_a_malformed_request_gets_no_further(parts: dict[str, Any], status: int, code: str) -> None:
    """Security 5.7 and 6.2: one reading of path and query, and a limit, before routing."""
    answer = ask(**parts)

    assert (answer.status, answer.body["code"]) == (status, code)
    assert answer.reached is None


def test_a_request_id_is_echoed_as_sent() -> None:
    """http-api 6: what the caller sent comes back, and is handed down."""
    answer = ask(headers=[HOST, (b"x-request-id", b"req-1")])

    assert answer.headers["x-request-id"] == "req-1"
    assert answer.reached is not None
    assert answer.reached["request_id"] == "req-1"


def test_a_request_without_an_id_gets_one() -> None:
    """http-api 6: where none was sent one is made up, in refusals too."""
    assert ask().headers["x-request-id"] == "made-up"
    refused = ask(headers=[(b"x-request-id", b"")])
    assert refused.headers["x-request-id"] == "made-up"
    assert refused.body["requestId"] == "made-up"


def test_a_hostile_request_id_is_kept_short_and_printable() -> None:
    """Security 4.6: the echo is as sent, but what is kept has 128 characters and no controls."""
    sent = b"a\tb\x1b[2J\xe2\x80\xa8" + b"x" * 500
    seen = ask(headers=[HOST, (b"x-request-id", sent)])

    assert (b"x-request-id", sent) in seen.messages[0]["headers"]
    assert seen.reached is not None
    assert seen.reached["request_id"].isprintable()
    assert seen.reached["request_id"].isascii()
    assert seen.reached["request_id"].startswith("a\\tb\\x1b[2J")
    assert len(seen.reached["request_id"]) < 200


@pytest.mark.parametrize(
    ("path", "query"), [(b"/x", b"token=" + TOKEN.encode()), (b"/" + TOKEN.encode(), b"")]
)
def test_a_token_in_the_target_is_refused_and_told(path: bytes, query: bytes) -> None:
    """Security 4.3: the request is refused, the leak is reported, the token is not repeated."""
    answer = ask(path=path, query=query)

    assert (answer.status, answer.body["code"]) == (400, "token.misplaced")
    assert answer.leaks == [(TOKEN, "192.0.2.1", "made-up")]
    assert TOKEN[5:] not in str(answer.messages)


NETWORKS = [ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("198.51.100.7", ["203.0.113.9"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1", "203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9:5000"], "203.0.113.9"),
        ("10.0.0.1", ["[2001:db9::1]:5000"], "2001:db9::1"),
        ("2001:db8::5", ["2001:db9::1"], "2001:db9::1"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("", ["203.0.113.9"], ""),
    ],
)
def test_forwarded_addresses_count_only_from_declared_proxies(
    peer: str, forwarded: list[str], address: str
) -> None:
    """Security 5.5: the last untrusted hop is the client, and nobody else can choose it."""
    headers = [HOST, *((b"x-forwarded-for", hop.encode()) for hop in forwarded)]

    seen = ask(headers=headers, peer=peer, proxies=Proxies(NETWORKS))

    assert seen.reached is not None
    assert seen.reached["address"] == address


def test_nobody_is_a_proxy_unless_declared() -> None:
    """Security 5.5: without a setting the peer is the client, loopback not excepted."""
    seen = ask(headers=[HOST, (b"x-forwarded-for", b"203.0.113.9")], peer="127.0.0.1")

    assert seen.reached is not None
    assert seen.reached["address"] == "127.0.0.1"
    assert "10.0.0.1" not in Proxies()


LENGTH = (b"content-length", b"1000")


def test_a_body_in_time_is_read() -> None:
    """A body that comes in pieces, each in time, reaches the application."""
    pieces = [(0.0, b"a" * 500, True), (0.02, b"a" * 500, False)]

    assert ask(_read, headers=[HOST, LENGTH], pieces=pieces, clock=FAST).status == 200


@pytest.mark.parametrize(
    "pieces",
    [
        [(20.0, b"a", False)],
        [(0.0, b"a", True), (20.0, b"a", False)],
        [(0.02, b"aa", True)] * 100,
        [(0.02, b"a" * 900, True)] * 100,
    ],
)
@pytest.mark.parametrize("header", [LENGTH, (b"transfer-encoding", b"chunked")])
def test_a_body_that_drips_is_cut(
    header: tuple[bytes, bytes], pieces: list[tuple[float, bytes, bool]]
) -> None:
    """Security 6.3: silent, slower than the rate, or beyond the whole time: 408 and the end."""
    answer = ask(_read, headers=[HOST, header], pieces=pieces, clock=FAST)

    assert (answer.status, answer.body["code"]) == (408, "body.too_slow")
    assert answer.headers["connection"] == "close"


async def _stream(scope: Scope, receive: Receive, send: Send) -> None:
    scope["state"]["streams"] = True
    await _read(scope, receive, send)


PIECE = b"a" * int(FAST.grace_seconds * FAST.bytes_a_second)


def test_a_long_stream_comes_to_its_end() -> None:
    """On a route that streams the clock begins anew with every few bytes; elsewhere it does not."""
    pieces = [(0.02, PIECE, True)] * 30 + [(0.02, b"a", False)]

    assert ask(_stream, headers=[HOST, LENGTH], pieces=pieces, clock=FAST).status == 200
    assert ask(_read, headers=[HOST, LENGTH], pieces=pieces, clock=FAST).status == 408


@pytest.mark.parametrize(
    "pieces",
    [
        [(20.0, b"a", False)],
        [(0.0, PIECE, True), (20.0, b"a", False)],
        [(0.0, b"a", True), (20.0, b"a", False)],
        [(0.02, b"a", True)] * 100,
        [(0.02, PIECE, True)] * 3 + [(0.02, b"aaa", True)] * 100,
    ],
    ids=range(5),
)
def test_a_stream_that_stops_or_drips_is_cut(pieces: list[tuple[float, bytes, bool]]) -> None:
    """Security 6.3: silent from the beginning, after a piece, or nearly so: 408 and the end."""
    answer = ask(_stream, headers=[HOST, LENGTH], pieces=pieces, clock=FAST)

    assert (answer.status, answer.body["code"]) == (408, "body.too_slow")


def test_the_time_that_a_route_takes_is_not_the_callers() -> None:
    """Answers that wait to be read hold up the body, and nobody is cut for that."""

    async def busy(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["streams"] = True
        for _ in range(3):
            await receive()
            await asyncio.sleep(0.15)
        await _read(scope, receive, send)

    pieces = [(0.03, b"a", True)] * 4 + [(0.03, b"a", False)]

    assert ask(busy, headers=[HOST, LENGTH], pieces=pieces, clock=FAST).status == 200


def test_a_slow_body_is_patiently_read_without_the_clock() -> None:
    """Control of security 6.3: with a lenient clock the same drip is read to its end."""
    pieces = [(0.02, b"a", True)] * 10 + [(0.02, b"a", False)]

    strict = ask(_read, headers=[HOST, LENGTH], pieces=pieces, clock=FAST)
    lenient = ask(_read, headers=[HOST, LENGTH], pieces=pieces, clock=BodyClock())

    assert (strict.status, lenient.status) == (408, 200)


def test_waiting_for_the_caller_to_leave_has_no_clock() -> None:
    """A stream that listens for the caller's leaving is not cut as a slow body."""

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()
        await _answer(scope, receive, send)

    pieces = [(0.0, b"a", False), (0.4, b"", False)]

    assert ask(stream, headers=[HOST, LENGTH], pieces=pieces, clock=FAST).status == 200


def test_a_cancelled_request_stays_cancelled() -> None:
    """A shutdown that cancels a request waiting for its body is not taken for a slow body."""

    async def cancelled() -> Exchanged:
        waiting = asyncio.create_task(exchange(_read, headers=[HOST, LENGTH]))
        await asyncio.sleep(0.01)
        waiting.cancel()
        return await waiting

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())


def test_what_goes_wrong_behind_is_a_problem(caplog: pytest.LogCaptureFixture) -> None:
    """Security 7.8: 500 with a code and the request id; the trace is in the log only."""

    async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
        msg = "SELECT 1"
        raise RuntimeError(msg)

    async def refusing(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise NotFoundError("group.unknown", "no group g")

    answer = ask(broken)

    assert (answer.status, answer.body["code"]) == (500, "internal")
    assert "SELECT" not in str(answer.messages)
    assert answer.headers.items() >= PLAIN.items()
    assert "SELECT 1" in caplog.text
    assert ask(refusing).status == 404


def test_what_breaks_after_the_start_is_left_to_the_server() -> None:
    """An answer that has begun cannot become another; the server cuts the connection."""

    async def half(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        msg = "half way"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="half way"):
        ask(half)


def test_only_http_and_the_lifespan_pass() -> None:
    """Security 8: web sockets are not served; start and stop reach the applications."""
    reached: list[str] = []

    async def behind(scope: Scope, _receive: Receive, _send: Send) -> None:
        reached.append(scope["type"])

    async def nothing(*_: object) -> Any:  # noqa: ANN401 - never called
        raise AssertionError

    front = Front(behind, hosts=[], public_https=False, new_id=str, on_leak=lambda *_: None)
    for kind in ("lifespan", "websocket"):
        asyncio.run(front(cast("Scope", {"type": kind}), nothing, nothing))

    assert reached == ["lifespan"]
