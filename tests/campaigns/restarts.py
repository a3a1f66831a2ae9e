"""Does a client notice that a server is restarted, by anything but the wait? (E3)."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, field

from tests.campaigns.access import ACCOUNTS, owner_token
from tests.campaigns.client import Answer, Client, LostError, bearer
from tests.campaigns.journal import WRITERS, Journal, Tally, give, make_groups, tally
from tests.e2e.node import PROGRAM, Node

SHORT: Final = 5
LONG: Final = 100
RUN_SECONDS: Final = (0.05, 0.3)
END_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.02
PATIENCE_SECONDS: Final = 30.0
DROP_ON_TERM: Final = "tests.campaigns.mutants.drop_on_term"


class Verdict(Struct):
    """What `restarts` by SIGTERM did to clients; `retried` commands were sent a second time."""

    restarts: int = 0
    retried: int = 0
    failed_after_retry: int = 0
    unfinished: int = 0
    unclean: int = 0
    slowest_end_seconds: float = 0.0
    tally: Tally = field(default_factory=Tally)

    @property
    def faults(self) -> int:
        """How many promises were broken."""
        return self.tally.faults + self.failed_after_retry + self.unfinished + self.unclean


class _Clients:
    """Writers that repeat a command once, with its key, when the server listens again."""

    def __init__(self, url: str, token: str, groups: Sequence[str], verdict: Verdict) -> None:
        self._url = url
        self._token = token
        self._groups = groups
        self._verdict = verdict
        self._stopping = threading.Event()
        self.journal = Journal()
        self._threads = [
            threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _write(self, writer: int) -> None:
        number = 0
        with Client(self._url, bearer(self._token)) as client:
            while not self._stopping.is_set():
                number += 1
                name = f"w{writer}-n{number}"
                answer = self._give(client, name)
                if answer is None or answer.status >= 500:
                    self._verdict.retried += 1
                    until_ready(self._url)
                    answer = self._give(client, name)
                    self._verdict.failed_after_retry += answer is None or not answer.ok
                self.journal.note(name, answer)

    def _give(self, client: Client, name: str) -> Answer | None:
        try:
            return give(client, name, self._groups, key=name)
        except LostError:
            return None

    def until_progress(self) -> None:
        """Wait until the writers have been acknowledged something more."""
        before = len(self.journal.done)
        end = time.monotonic() + PATIENCE_SECONDS
        while len(self.journal.done) < before + WRITERS:
            assert time.monotonic() < end, "nothing is acknowledged any more"
            time.sleep(POLL_SECONDS)


def until_ready(url: str) -> None:
    """Wait until a server says that it is ready."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        assert time.monotonic() < end, "not ready again"
        try:
            with Client(url) as probe:
                if probe.ask("GET", "/readyz").ok:
                    return
        except LostError:
            pass
        time.sleep(POLL_SECONDS)


class _Begun:
    """A command whose server has begun to read it and waits for its second half."""

    def __init__(self, url: str, token: str, name: str) -> None:
        where = urlsplit(url)
        assert where.hostname is not None
        assert where.port is not None
        self._address = (where.hostname, where.port)
        body = msgspec.json.encode({"name": name})
        self._rest = body[5:]
        self._connection = socket.create_connection(self._address, timeout=PATIENCE_SECONDS)
        head = (
            f"POST {ACCOUNTS} HTTP/1.1",
            f"Host: {where.netloc}",
            f"Authorization: {bearer(token)}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Expect: 100-continue",
        )
        self._connection.sendall("\r\n".join((*head, "", "")).encode())
        # Sent only when the body is asked for: so from here on it is under way.
        told = self._connection.recv(1_024)
        assert told.startswith(b"HTTP/1.1 100"), told
        self._connection.sendall(body[:5])

    def finish(self) -> bool:
        """Send the rest once nobody new is let in; whether it is acknowledged all the same."""
        end = time.monotonic() + PATIENCE_SECONDS
        while _listens(self._address):
            assert time.monotonic() < end, "still listening"
            time.sleep(POLL_SECONDS)
        with self._connection as connection:
            try:
                connection.sendall(self._rest)
                return connection.recv(1_024).startswith(b"HTTP/1.1 200")
            except OSError:
                return False


def _listens(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address).close()
    except OSError:
        return False
    return True


def run(directory: Path, *, restarts: int, seed: int, program: str = PROGRAM) -> Verdict:
    """Restart a server under several writers `restarts` times, or until the first fault."""
    chance = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    verdict = Verdict()
    node = Node(directory / "data", program=program)
    node.init()
    node.start()
    token = owner_token(node.url)
    groups = make_groups(node.url, token)
    port = urlsplit(node.url).port or 0
    clients = _Clients(node.url, token, groups, verdict)
    try:
        for number in range(restarts):
            clients.until_progress()
            time.sleep(chance.uniform(*RUN_SECONDS))
            begun = _Begun(node.url, token, f"begun-{number}")
            asked = time.monotonic()
            node.terminate()
            verdict.unfinished += not begun.finish()
            verdict.unclean += node.wait() != 0
            seconds = time.monotonic() - asked
            verdict.slowest_end_seconds = max(verdict.slowest_end_seconds, seconds)
            verdict.restarts += 1
            node.start(port)
            if verdict.faults:
                break
        clients.until_progress()
    finally:
        clients.stop()
    verdict.tally = tally(node.url, token, groups, clients.journal)
    node.stop()
    return verdict
