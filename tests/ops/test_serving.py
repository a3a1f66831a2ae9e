"""Do slow, greedy and malformed clients cost little, and does the process stop cleanly?"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from litestar.types import Receive, Scope, Send

from api.front import Proxies
from ops.serving import Limits, Server

ROOT = Path(__file__).parents[2]
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = b"x" * 8_000_000
# As long as a slow machine may take for anything: no test waits for it to pass.
PATIENCE_SECONDS = 60.0
SLOW_SECONDS = 0.3
SLOWER_SECONDS = 5.0


async def _application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the headers as they were when the body had been read."""
    kind: str = scope["type"]
    if kind == "lifespan":
        while True:
            message: Any = await receive()
            complete: Any = {"type": f"{message['type']}.complete"}
            await send(complete)
            if message["type"] == "lifespan.shutdown":
                return
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    if scope["path"].startswith("/slow"):
        await asyncio.sleep(SLOW_SECONDS if scope["path"] == "/slow" else SLOWER_SECONDS)
    content = LARGE if scope["path"] == "/large" else _echo(scope, body)
    length = str(len(content)).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
    )
    await send({"type": "http.response.body", "body": content, "more_body": False})


def _echo(scope: Scope, body: bytes) -> bytes:
    headers = [[name.decode(), value.decode()] for name, value in scope["headers"]]
    return json.dumps({"headers": headers, "body": body.decode()}).encode()


@contextlib.contextmanager
def serving(
    limits: Limits | None = None,
    proxies: Proxies | None = None,
    on_crowded: Callable[[], None] | None = None,
) -> Iterator[int]:
    """Serve in a thread and give the port."""
    with server_and_port(limits, proxies, on_crowded) as (_, port_number):
        yield port_number


@contextlib.contextmanager
def server_and_port(
    limits: Limits | None = None,
    proxies: Proxies | None = None,
    on_crowded: Callable[[], None] | None = None,
) -> Iterator[tuple[Server, int]]:
    """Serve in a thread and give the server and its port."""
    ports: list[int] = []
    listening = threading.Event()

    def on_listening(url: str) -> None:
        ports.append(int(url.rpartition(":")[2]))
        listening.set()

    server = Server(
        _application,
        host="127.0.0.1",
        port=0,
        on_listening=on_listening,
        on_draining=lambda: None,
        new_id=lambda: "made-up",
        on_crowded=on_crowded,
        limits=limits or Limits(unready_seconds=0),
        proxies=proxies,
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert listening.wait(PATIENCE_SECONDS)
        yield server, ports[0]
    finally:
        server.should_exit = True
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Give the port of a server with the limits as they are shipped."""
    with serving() as number:
        yield number


def talk(port: int, *pieces: bytes, seconds: float = PATIENCE_SECONDS) -> bytes:
    """Send pieces and answer all that comes until the server closes.

    Raises TimeoutError when the server is silent for longer than that.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.01)
        return drain(connection)


def drain(connection: socket.socket) -> bytes:
    """Read until the server closes or cuts; TimeoutError when it is silent for too long."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(1_000_000):
            received += piece
    return received


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds; a test that waits in vain fails."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def told(answer: bytes) -> tuple[int, str]:
    """Answer status and code of a refusal that is the last thing on its connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\nconnection: close" in head
    assert b"\r\ncontent-type: application/problem+json" in head
    assert b"\r\nx-request-id: made-up" in head
    assert b"\r\nx-content-type-options: nosniff" in head
    assert b"server:" not in head.lower()
    problem = json.loads(body)
    return int(head.split()[1]), problem["code"]


CLOSING = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def test_an_ordinary_request_is_answered(port: int) -> None:
    """Control: what keeps the limits is served, and the server is not named (security 5.1)."""
    answer = talk(port, CLOSING)

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"server:" not in answer.lower()


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "request.malformed"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "request.malformed"),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400, "request.malformed"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400, "request.malformed"),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400, "request.malformed"),
        (b"GET / HTTP/1.1\r\nHost: x\x00\r\n\r\n", 400, "request.malformed"),
        (b"GET http://evil/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "route.malformed_path"),
        (b"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n", 400, "route.malformed_path"),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 400, "route.malformed_path"),
        (b"CONNECT evil:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "route.malformed_path"),
        (b"GET /" + b"a" * 8_192 + b" HTTP/1.1\r\n", 414, "target.too_long"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 101 + b"\r\n", 431, "header.too_large"),
        (b"GET / HTTP/1.1\r\na: " + b"b" * 33_000 + b"\r\n\r\n", 431, "header.too_large"),
        (b"GET / HTTP/1.1\r\n" + (b"a: " + b"b" * 900 + b"\r\n") * 40, 431, "header.too_large"),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
            400,
            "request.malformed",
        ),
        (
            (
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            ),
            400,
            "request.malformed",
        ),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            400,
            "request.malformed",
        ),
    ],
)
def test_what_is_no_request_or_too_large_is_refused(
    port: int, request_bytes: bytes, status: int, code: str
) -> None:
    """Security 6.2, 6.6: malformed and oversized requests end with a code and the connection."""
    assert told(talk(port, request_bytes)) == (status, code)


@pytest.fixture(scope="module")
def patient_port() -> Iterator[int]:
    """Give the port of a server that ends no connection because of time."""
    with serving(Limits(header_seconds=3_600, unready_seconds=0, drain_seconds=1)) as number:
        yield number


CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("begin", "endless"),
    [(b"GET / HTTP/1.1\r\na: ", b"b"), (b"", b"\r\n"), (CHUNKED + b"5;", b"e")],
)
def test_nothing_endless_is_collected(patient_port: int, begin: bytes, endless: bytes) -> None:
    """Security 6.2: headers, blank lines and chunk extensions without end are refused early."""
    # By a server that no sweep helps: that the connection ends is the refusal.
    answer = talk(patient_port, begin, *[endless * 10_000] * 20)

    # A client that goes on sending may find the connection reset before it has read the answer.
    assert answer == b"" or told(answer) == (431, "header.too_large")


def test_trailers_never_become_headers(port: int) -> None:
    """What comes after the body is not added to the headers that were judged before it."""
    answer = talk(
        port,
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"3\r\nabc\r\n0\r\nAuthorization: Bearer x\r\nHost: evil\r\n\r\n",
    )

    echo = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert echo["body"] == "abc"
    assert [name for name, _ in echo["headers"]] == ["host", "connection", "transfer-encoding"]


def test_a_malformed_request_does_not_take_the_one_before_with_it(port: int) -> None:
    """Pipelined nonsense: the whole request before it is answered, then the connection ends."""
    answer = talk(port, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + b"nonsense\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_nonsense_behind_a_queue_ends_the_connection(port: int) -> None:
    """No refusal is written between the answers of the requests that came before it."""
    slow = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"

    answer = talk(port, slow * 2 + b"nonsense\r\n\r\n")

    assert b"HTTP/1.1 400" not in answer


def test_pipelined_requests_are_answered_in_order(port: int) -> None:
    """Control of the test before: two whole requests in one packet get two answers."""
    answer = talk(port, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + CLOSING)

    assert answer.count(b"HTTP/1.1 200 OK") == 2


def test_an_upgrade_is_served_as_if_not_asked_for(port: int) -> None:
    """Security 8: h2c and web sockets are not spoken, and the connection ends."""
    for protocol in (b"h2c", b"websocket"):
        answer = talk(
            port,
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: "
            + protocol
            + b"\r\n\r\n",
        )
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"connection: close" in answer


QUICK = Limits(header_seconds=2, answer_seconds=3, unready_seconds=0, drain_seconds=1)


@pytest.fixture(scope="module")
def quick_port() -> Iterator[int]:
    """Give the port of a server that loses patience soon."""
    with serving(QUICK) as number:
        yield number


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (b"GET / HT",),
        (b"GET / HTTP/1.1\r\nHost: x\r\n",),
        (REQUEST, b"\r\n"),
        (REQUEST, b"GET / HT"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", b"POST"),
    ],
)
def test_a_header_that_does_not_come_ends_the_connection(
    quick_port: int, pieces: tuple[bytes, ...]
) -> None:
    """Security 6.3: silence and half a header are closed by a sweep, first request or later."""
    # Ends before the 30 s that an idle connection may last, and not by the client's patience.
    talk(quick_port, *pieces, seconds=20)


def test_without_the_sweep_half_a_header_stays_for_ever(patient_port: int) -> None:
    """Control of security 6.3: a server whose patience is long does keep the connection."""
    with pytest.raises(TimeoutError):
        talk(patient_port, b"GET / HT", seconds=4)


def test_a_running_request_is_not_swept(quick_port: int) -> None:
    """Security 6.3: the header's clock stops with the header, and idling has its own, longer."""
    with socket.create_connection(("127.0.0.1", quick_port), PATIENCE_SECONDS) as connection:
        connection.sendall(REQUEST)
        assert connection.recv(1000)
        time.sleep(4)
        connection.sendall(CLOSING)
        assert drain(connection).startswith(b"HTTP/1.1 200 OK")


def test_an_answer_that_is_not_taken_is_cut() -> None:
    """Security 6.3: who does not read has the connection taken away, not the memory."""
    with server_and_port(QUICK) as (server, number), socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(("127.0.0.1", number))
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        # Peeking takes nothing; the answer has begun, so there is a connection to be cut.
        assert connection.recv(1, socket.MSG_PEEK)
        eventually(lambda: not server.server_state.connections)
        taken = drain(connection)

    assert 0 < len(taken) < len(LARGE)


def test_an_answer_that_is_taken_is_whole(quick_port: int) -> None:
    """Control of the test before: who reads gets all of it."""
    answer = talk(quick_port, b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert answer.endswith(LARGE)


def test_too_many_connections_are_refused_and_the_place_comes_back() -> None:
    """Security 6.3: a cap for the process and one for each peer, 503 and 429 with Retry-After.

    Each one is told of to whoever counts them (operations 1).
    """
    crowded: list[int] = []
    for limits, status in (
        (Limits(connections=2, unready_seconds=0), 503),
        (Limits(connections_a_peer=2, unready_seconds=0), 429),
    ):
        with serving(limits, on_crowded=partial(crowded.append, status)) as number:
            # The third is taken after the first two, which came before it.
            held = [
                socket.create_connection(("127.0.0.1", number), PATIENCE_SECONDS) for _ in range(2)
            ]
            answer = talk(number)
            assert told(answer) == (status, "connection.too_many")
            assert b"\r\nretry-after: 1" in answer
            held[0].sendall(CLOSING)
            assert drain(held[0]).startswith(b"HTTP/1.1 200 OK")
            for connection in held:
                connection.close()
            eventually(lambda: talk(number, CLOSING).startswith(b"HTTP/1.1 200 OK"))
    assert crowded[:1] == [503]
    assert crowded[-1:] == [429]


def test_a_declared_proxy_may_have_many_connections() -> None:
    """Security 6.3: all clients of a trusted proxy come from one address."""
    limits = Limits(connections_a_peer=1, unready_seconds=0)
    with (
        serving(limits, Proxies([ip_network("127.0.0.0/8")])) as number,
        socket.create_connection(("127.0.0.1", number)),
    ):
        assert talk(number, CLOSING).startswith(b"HTTP/1.1 200 OK")


PROGRAM = """
import sys
from ops.serving import Limits, serve
from tests.ops.test_serving import _application
serve(
    _application, host="127.0.0.1", port=0, new_id=lambda: "made-up",
    on_draining=lambda: print("draining", flush=True), limits=Limits(unready_seconds=3),
)
print("ended", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_says_where_it_listens_and_drains(number: signal.Signals) -> None:
    """Design 7: one line when it listens; told to stop it is not ready first, answers, exits 0."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:")
        port_number = int(line.rpartition(":")[2])
        place = ("127.0.0.1", port_number)
        with socket.create_connection(place, PATIENCE_SECONDS) as connection:
            # Lasts longer than the socket stays open, so it is the draining that waits for it.
            connection.sendall(b"GET /slower HTTP/1.1\r\nHost: x\r\n\r\n")
            started = time.monotonic()
            process.send_signal(number)
            assert process.stdout.readline() == "draining\n"
            assert talk(port_number, CLOSING).startswith(b"HTTP/1.1 200 OK")
            assert drain(connection).startswith(b"HTTP/1.1 200 OK")
        assert process.stdout.readline() == "ended\n"
        assert process.wait(PATIENCE_SECONDS) == 0
        assert time.monotonic() - started < 10


def test_the_address_is_told_before_anything_is_answered() -> None:
    """Authzen 8: what is answered may name it, and a free port is known only when it is taken."""
    told: list[tuple[str, str, bool]] = []

    def note(when: str, url: str) -> None:
        told.append((when, url, server.started))

    def stop(url: str) -> None:
        note("listening", url)
        server.should_exit = True

    server = Server(
        _application,
        host="127.0.0.1",
        port=0,
        on_bound=lambda url: note("bound", url),
        on_listening=stop,
        on_draining=lambda: None,
        new_id=str,
        limits=Limits(unready_seconds=0),
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    thread.join(PATIENCE_SECONDS)

    (_, url, _), _ = told
    assert [("bound", url, False), ("listening", url, True)] == told
    assert url.startswith("http://127.0.0.1:")
    assert not url.endswith(":0")


def test_a_port_that_is_taken_is_said_at_once() -> None:
    """An address that cannot be bound is an error of the operating system's, not a silent exit."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = Server(
            _application,
            host="127.0.0.1",
            port=taken.getsockname()[1],
            on_listening=lambda _: None,
            on_draining=lambda: None,
            new_id=str,
        )
        with pytest.raises(OSError, match="in use"):
            server.run()
