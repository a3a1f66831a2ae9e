"""Does a real server answer lines both ways at once, however many, in little memory?"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from tests.campaigns import access
from tests.campaigns.access import World
from tests.campaigns.client import Client, bearer
from tests.e2e.node import Node

PATH: Final = "/api/v1/main/access/check-bulk"
LINES: Final = 50_000
GROWTH_KIB_MAX: Final = 4 * 1_024
NOT_READ_BYTES_MAX: Final = 64 * 2**20


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A server that the tests of this module share."""
    node = Node(tmp_path_factory.mktemp("lines") / "data")
    node.init()
    node.start()
    yield node
    node.stop()


@pytest.fixture(scope="module")
def world(served: Node) -> World:
    """A bot that may update flows in `prod`, through a group."""
    return access.build(served.url)


class Wire:
    """One connection on which a body of lines is sent in chunks, while its answer is read."""

    def __init__(self, url: str, token: str) -> None:
        where = urlsplit(url)
        self._socket = socket.create_connection((where.hostname, where.port), timeout=60)
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self._socket.sendall(head.encode())

    def send(self, body: bytes) -> None:
        """Send a piece; an empty one is the last."""
        self._socket.sendall(b"%x\r\n%b\r\n" % (len(body), body))

    def answer(self) -> http.client.HTTPResponse:
        """Answer the response, as soon as it has begun."""
        response = http.client.HTTPResponse(self._socket)
        response.begin()
        return response

    def stall(self) -> int:
        """Send without reading until the server takes no more; answer how much it took."""
        self._socket.settimeout(2)
        piece, taken = b"8\r\n{}\n{}\n{}\r\n" * 4_096, 0
        while taken < NOT_READ_BYTES_MAX:
            try:
                taken += self._socket.send(piece)
            except TimeoutError:
                break
        return taken

    def close(self) -> None:
        """Go away."""
        self._socket.close()


def line(world: World, number: int) -> bytes:
    """Answer a question, every third about what the bot may not do, of 400 bytes."""
    asked: dict[str, Any] = access.question(world.bot)
    asked["action"] = {"name": "DELETE" if number % 3 == 0 else "UPDATE"}
    asked["subject"]["properties"] = {"note": "x" * 200}
    return json.dumps(asked).encode() + b"\n"


def peak_kib(node: Node) -> int:
    """Answer the most memory that the process has had."""
    for told in Path(f"/proc/{node.pid}/status").read_text(encoding="utf-8").splitlines():
        name, _, value = told.partition(":")
        if name == "VmHWM":
            return int(value.split()[0])
    raise AssertionError(node.pid)


def exchange(node: Node, world: World, count: int) -> tuple[http.client.HTTPResponse, list[bytes]]:
    """Send so many lines and read their answers at the same time."""
    wire = Wire(node.url, world.owner_token)

    def feed() -> None:
        for begin in range(0, count, 100):
            wire.send(b"".join(line(world, number) for number in range(begin, begin + 100)))
        wire.send(b"")

    feeding = threading.Thread(target=feed)
    feeding.start()
    response = wire.answer()
    answers = response.read().splitlines()
    feeding.join()
    wire.close()
    return response, answers


def test_fifty_thousand_lines_are_answered_in_little_memory(node: Node) -> None:
    """20 MB of questions: as many answers, in order, at one position, and no growth to speak of."""
    world = access.build(node.url)
    exchange(node, world, 2_000)
    before = peak_kib(node)

    response, answers = exchange(node, world, LINES)

    denied, allowed = b'{"decision":false}', b'{"decision":true}'
    assert 200 == response.status
    assert response.headers["X-Muniment-Position"]
    assert [allowed if number % 3 else denied for number in range(LINES)] == answers
    after = peak_kib(node)
    assert after - before < GROWTH_KIB_MAX

    # Control: the measure sees a body that is held whole, be it a fifth of that.
    items = b",".join(line(world, number).rstrip() for number in range(9_000))
    with Client(node.url, bearer(world.owner_token)) as client:
        assert client.ask("POST", PATH, b'{"items":[' + items + b"]}").ok
    assert peak_kib(node) - after > GROWTH_KIB_MAX


def test_a_line_is_answered_before_the_next_is_sent(served: Node, world: World) -> None:
    """Whoever needs an answer to go on gets it."""
    wire = Wire(served.url, world.owner_token)
    wire.send(line(world, 1))
    response = wire.answer()
    assert b'{"decision":true}\n' == response.readline()

    for number in range(2, 20):
        wire.send(line(world, number))
        expected = b'{"decision":%b}\n' % (b"true" if number % 3 else b"false")
        assert expected == response.readline()
    wire.send(b"")
    assert b"" == response.read()
    wire.close()


def test_a_client_that_does_not_read_is_not_read_from(served: Node, world: World) -> None:
    """Back-pressure reaches the socket: what is not answered is not taken."""
    wire = Wire(served.url, world.owner_token)

    assert wire.stall() < NOT_READ_BYTES_MAX
    wire.close()


def test_a_client_that_vanishes_leaves_nothing_behind(served: Node, world: World) -> None:
    """In the middle of a line, and in the middle of the answers; the next one is served."""
    for piece in (line(world, 1) + b'{"sub', line(world, 1) * 5_000):
        wire = Wire(served.url, world.owner_token)
        wire.send(piece)
        wire.close()

    _, answers = exchange(served, world, 100)

    assert 100 == len(answers)
    assert "Traceback" not in "".join(served.output)
