"""Is every acknowledged write there exactly once, whatever the network does? (A1 and A3)."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct, field

from tests.campaigns.client import Answer, Client, LostError, bearer
from tests.campaigns.journal import GROUPS, Journal, Tally, give, tally
from tests.campaigns.link import HttpWeather
from tests.proxy import Fault

SHORT: Final = 2_000
LONG: Final = 100_000
WRITERS: Final = 8
SHARE: Final = 0.05
ATTEMPTS_MAX: Final = 40
PAUSE_SECONDS: Final = 0.05
FEED: Final = "/api/v1/events"
PAGE: Final = 1_000


class Verdict(Struct):
    """What `writes` commands left; `gaps` are positions that the audit feed lacks or repeats."""

    writes: int = 0
    faults: int = 0
    attempts: int = 0
    replayed: int = 0
    shared_positions: int = 0
    gaps: int = 0
    tally: Tally = field(default_factory=Tally)

    @property
    def broken(self) -> int:
        """How many promises were broken."""
        return self.tally.faults + self.gaps + self.shared_positions


class _Writing:
    """Writers whose requests go through bad weather to one node after another."""

    def __init__(self, urls: Sequence[str], token: str, groups: Sequence[str], keyed: bool) -> None:  # noqa: FBT001 - a campaign's own part
        self.urls = urls
        self.token = token
        self.groups = groups
        self.keyed = keyed
        self.journal = Journal()
        self.positions: list[int] = []
        self.attempts = 0
        self.replayed = 0
        self._lock = threading.Lock()

    def write(self, names: Sequence[str]) -> None:
        """Give the command of each name until it is known what became of it."""
        with ExitStack() as stack:
            clients = [stack.enter_context(Client(url, bearer(self.token))) for url in self.urls]
            for number, name in enumerate(names):
                # One in ten names a group that does not exist: nothing of it may be stored.
                groups = self.groups if int(name[-1]) else [*self.groups, "nowhere"]
                answer = self._answer(clients, number, name, groups)
                with self._lock:
                    self.journal.note(name, answer)
                    if answer is not None and answer.ok:
                        self.positions.append(answer.position)

    def _answer(
        self, clients: Sequence[Client], number: int, name: str, groups: Sequence[str]
    ) -> Answer | None:
        for attempt in range(ATTEMPTS_MAX):
            with self._lock:
                self.attempts += 1
            try:
                # Another node at each attempt: the record is in the log and not in a process.
                client = clients[(number + attempt) % len(clients)]
                answer = give(client, name, groups, key=name if self.keyed else "")
            except LostError:
                if not self.keyed:
                    return None
                continue
            if answer.status != 503 or not self.keyed:
                with self._lock:
                    self.replayed += "idempotency-replayed" in answer.headers
                return answer
            time.sleep(PAUSE_SECONDS)
        return None


def run(
    urls: Sequence[str],
    token: str,
    *,
    writes: int,
    seed: int,
    keyed: bool = True,
    share: float = SHARE,
    kinds: Sequence[Fault] = tuple(Fault),
    judge: str = "",
    writers: int = WRITERS,
) -> Verdict:
    """Write through links of which `share` of the requests meets a fault, and compare.

    With a key a command is sent again until it is answered; without one it is sent once. The
    node at `judge`, else the first, tells what there is.
    """
    chance = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    judge = judge or urls[0]
    groups = _make_groups([judge, *urls], token, seed)
    with ExitStack() as stack:
        links = [
            stack.enter_context(
                HttpWeather(_address(url), chance, mark=b"POST ", share=share, kinds=kinds)
            )
            for url in urls
        ]
        ways = [f"http://127.0.0.1:{link.port}" for link in links]
        writing = _Writing(ways, token, groups, keyed)
        names = [f"d{seed}-{number}" for number in range(writes)]
        pool = stack.enter_context(ThreadPoolExecutor(writers))
        shares = [names[writer::writers] for writer in range(writers)]
        list(pool.map(writing.write, shares))
        verdict = Verdict(writes=writes, faults=sum(link.faults for link in links))
    # What is late has arrived when its link has ended.
    verdict.attempts = writing.attempts
    verdict.replayed = writing.replayed
    verdict.shared_positions = len(writing.positions) - len(set(writing.positions))
    _judge(judge, token, writing, verdict)
    return verdict


def _make_groups(urls: Sequence[str], token: str, seed: int) -> list[str]:
    """Make the groups that every account becomes a member of, and let every node know."""
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(url, bearer(token))) for url in urls]
        made = [
            clients[0].ask("POST", "/api/v1/main/groups", {"name": f"{name} {seed}"})
            for name in GROUPS
        ]
        for client in clients:
            assert client.ask("GET", f"/api/v1/me?at_least={made[-1].position}").ok
    return [answer.body["id"] for answer in made]


def _address(url: str) -> tuple[str, int]:
    where = urlsplit(url)
    assert where.hostname is not None
    assert where.port is not None
    return where.hostname, where.port


def _judge(url: str, token: str, writing: _Writing, verdict: Verdict) -> None:
    with Client(url, bearer(token)) as client:
        last = max(writing.positions)
        # Not reached is not asserted: a position that was told and is not there counts below.
        client.ask("GET", f"/api/v1/me?at_least={last}")
        positions = feed(client)
    verdict.gaps = len(set(range(1, max(positions) + 1)) ^ set(positions)) + (
        len(positions) - len(set(positions))
    )
    verdict.gaps += len(set(writing.positions) - set(positions))
    verdict.tally = tally(url, token, writing.groups, writing.journal)


def feed(client: Client) -> list[int]:
    """The position of every event that the feed tells of, asked on until it has nothing more."""
    positions: list[int] = []
    after = 0
    while True:
        page = client.made("GET", f"{FEED}?after={after}&limit={PAGE}")
        positions += [int(item["position"]) for item in page["items"]]
        if not page["items"]:
            return positions
        after = page["nextAfter"]
