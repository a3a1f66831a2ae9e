"""Does a real server tell of every event live, once, whatever happens to it and to its readers?"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from tests.campaigns import access
from tests.campaigns.client import Client, LostError, bearer
from tests.e2e.node import Node
from tests.e2e.test_bulk_lines import peak_kib

PATH: Final = "/api/v1/main/events"
WRITERS: Final = 3
KILLS: Final = 3
TOLD_BEFORE_KILL: Final = 150
DRAIN_SECONDS_MAX: Final = 10
MANY: Final = 8_000
# Longer than the server waits for a reader.
NOT_READ_SECONDS: Final = 18
GROWTH_KIB_MAX: Final = 8 * 1_024


class Tail:
    """One connection that follows the trail; `last` is the last id that it was told."""

    def __init__(
        self, url: str, token: str, last: int, query: str = "", *, window_bytes: int | None = None
    ) -> None:
        where = urlsplit(url)
        assert where.hostname
        self.last = last
        self._connection = http.client.HTTPConnection(where.hostname, where.port, timeout=30)
        if window_bytes is not None:
            held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window_bytes)
            held.settimeout(30)
            held.connect((where.hostname, where.port))
            self._connection.sock = held
        headers = {"Authorization": bearer(token), "Last-Event-ID": str(last)}
        self._connection.request("GET", f"{PATH}/tail?{query}", headers=headers)
        self._response = self._connection.getresponse()
        assert self._response.status == 200, self._response.read()

    def told(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the name and the data of each event, until the connection ends or breaks."""
        name, id_ = "", ""
        while line := self._line():
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "id":
                id_ = value
            elif field == "data":
                data = json.loads(value)
                # As a browser does: an event that did not come whole was not told.
                if self._line() != b"\n":
                    return
                self.last = int(id_) if id_ else self.last
                yield name, data
                name, id_ = "", ""

    def _line(self) -> bytes:
        try:
            return self._response.readline()
        except (OSError, http.client.HTTPException):
            return b""

    def close(self) -> None:
        """Go away."""
        self._connection.close()


class Writing:
    """Writers that go on, through crashes, until they are told to stop."""

    def __init__(self, url: str, token: str) -> None:
        self._stopping = threading.Event()
        self.written = 0
        self._threads = [
            threading.Thread(target=self._write, args=(url, token, number))
            for number in range(WRITERS)
        ]
        for thread in self._threads:
            thread.start()

    def _write(self, url: str, token: str, number: int) -> None:
        made = 0
        while not self._stopping.is_set():
            try:
                with Client(url, bearer(token)) as client:
                    while not self._stopping.is_set():
                        made += 1
                        name = f"Group {number} {made}"
                        client.ask("POST", "/api/v1/main/groups", {"name": name})
                        self.written += 1
            except (LostError, OSError):
                time.sleep(0.05)

    def stop(self) -> None:
        """Write no more."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()


def feed(url: str, token: str) -> list[int]:
    """Answer the positions of the whole feed, page by page."""
    found: list[int] = []
    after = 0
    with Client(url, bearer(token)) as client:
        while True:
            body = client.ask("GET", f"{PATH}?after={after}&limit=500").body
            found += [item["position"] for item in body["items"]]
            if not body["items"]:
                return found
            after = body["nextAfter"]


def followed(node: Node, token: str, kills: int, slip: int = 0) -> tuple[list[int], int]:
    """Follow the trail while it is written and the server killed; what was told, what written.

    The reader comes back with the last id it saw, or by `slip` another one.
    """
    port = urlsplit(node.url).port or 0
    writing = Writing(node.url, token)
    seen: list[int] = []
    last = 0
    for kill in range(kills + 1):
        tail = Tail(node.url, token, last)
        begun = len(seen)
        for name, data in tail.told():
            if name == "entry":
                seen.append(data["position"])
            if len(seen) - begun >= TOLD_BEFORE_KILL:
                break
        if kill < kills:
            node.kill()
            # What had arrived before the kill may still be read, and counts.
            seen += [data["position"] for name, data in tail.told() if name == "entry"]
        tail.close()
        last = tail.last + slip
        if kill < kills:
            node.start(port)
    writing.stop()
    tail = Tail(node.url, token, last, "seconds=1")
    seen += [data["position"] for name, data in tail.told() if name == "entry"]
    tail.close()
    return seen, writing.written


def test_tail_survives_kills_of_the_server_without_gap_or_repeat(node: Node) -> None:
    """Killed in the middle of its work and started again: the reader sees each event once."""
    token = access.owner_token(node.url)

    seen, written = followed(node, token, KILLS)

    assert feed(node.url, token) == seen
    assert written > TOLD_BEFORE_KILL * KILLS, "control: something was written all the time"


@pytest.mark.parametrize("slip", [-1, 1])
def test_reader_that_comes_back_with_another_id_is_noticed(node: Node, slip: int) -> None:
    """Control: by one position too early it sees one twice, by one too late it misses one."""
    token = access.owner_token(node.url)

    seen, _ = followed(node, token, 1, slip)

    there = set(feed(node.url, token))
    assert (len(seen) > len(set(seen))) is (slip < 0)
    assert (there > set(seen)) is (slip > 0)


def test_server_that_stops_ends_its_tails_with_a_word(node: Node) -> None:
    """The reader is told to come back elsewhere, and the stop is not held up."""
    token = access.owner_token(node.url)
    tail = Tail(node.url, token, 0)
    told = tail.told()
    while next(told)[0] != "through":
        pass
    before = time.monotonic()

    node.terminate()
    rest = [*told]
    code = node.wait()

    assert ("end", {"code": "draining"}) == rest[-1]
    assert code == 0
    assert time.monotonic() - before < DRAIN_SECONDS_MAX
    tail.close()


@pytest.fixture(scope="module")
def long_trail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, str]]:
    """A server with a long trail, and the token of one who may see it."""
    node = Node(tmp_path_factory.mktemp("tail") / "data")
    node.init()
    node.start()
    token = access.owner_token(node.url)
    with Client(node.url, bearer(token)) as client:
        role = client.made("POST", "/api/v1/main/roles", {"name": "many", "permissions": {}})["id"]
        for begin in range(0, MANY, 500):
            group = client.made("POST", "/api/v1/main/groups", {"name": f"Many {begin}"})["id"]
            bound = {"type": "GROUP", "externalId": group, "roleId": role}
            places = [{**bound, "namespaceId": f"n{number}"} for number in range(500)]
            client.made("POST", "/api/v1/main/bindings/bulk", places)
    yield node, token
    node.stop()


def test_thousands_of_entries_come_in_order(long_trail: tuple[Node, str]) -> None:
    """A long trail is told from its beginning, whole."""
    node, token = long_trail
    expected = feed(node.url, token)
    seen: list[int] = []

    tail = Tail(node.url, token, 0)
    for name, data in tail.told():
        if name == "entry":
            seen.append(data["position"])
        if seen and seen[-1] == expected[-1]:
            break

    assert expected == seen
    assert len(seen) > MANY
    tail.close()


def test_reader_that_does_not_read_is_cut_and_costs_no_memory(long_trail: tuple[Node, str]) -> None:
    """What it has not taken is not held for it; when it reads on, the last word is why."""
    node, token = long_trail
    expected = feed(node.url, token)
    before = peak_kib(node)
    tail = Tail(node.url, token, 0, window_bytes=4_096)

    time.sleep(NOT_READ_SECONDS)
    told = [*tail.told()]

    seen = [data["position"] for name, data in told if name == "entry"]
    assert ("end", {"code": "tail.too_slow"}) == told[-1]
    assert expected[: len(seen)] == seen
    assert len(seen) < len(expected), "control: there was more to read"
    assert peak_kib(node) - before < GROWTH_KIB_MAX
    tail.close()

    # It lost nothing: the last id leads on.
    again = Tail(node.url, token, tail.last, "seconds=0")
    seen += [data["position"] for name, data in again.told() if name == "entry"]
    assert expected == seen
    again.close()
