"""Does every node have the log's state at every position? (reliability B2 and B6)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from domain.events import decode
from domain.state import Draft, State, apply, digest
from ops.event_log import PostgresLog
from ops.snapshots import Snapshots
from ops.stores import SNAPSHOTS, read_all
from tests.campaigns.access import ACCOUNTS
from tests.campaigns.client import Client, bearer
from tests.campaigns.witness import MARK
from tests.e2e.node import Node

SHORT: Final = 10_000
LONG: Final = 1_000_000
WRITERS: Final = 16
MEMBERS: Final = 99
SETTLED_SECONDS: Final = 20.0
PAUSE_SECONDS: Final = 0.05
WITNESS: Final = "tests.campaigns.witness"
SKIP_ONE: Final = "tests.campaigns.mutants.skip_one"

Samples = dict[int, str]


class Verdict(Struct):
    """How the digests that nodes told compare with those of the log, folded anew."""

    events: int = 0
    seconds: float = 0.0
    live: int = 0
    snapshots: int = 0
    different: int = 0


def write(urls: Sequence[str], token: str, *, events: int) -> None:
    """Let 16 writers make groups of many members and single accounts, until there is enough."""
    with Client(urls[0], bearer(token)) as owner:
        members = [
            owner.made("POST", ACCOUNTS, {"name": f"member-{number}"})["id"]
            for number in range(MEMBERS)
        ]
        position = owner.ask("GET", "/api/v1/me").position

    def work(number: int) -> None:
        done = 0
        url = urls[number % len(urls)]
        with Client(url, bearer(token)) as client:
            assert client.ask("GET", f"/api/v1/me?at_least={position}").ok
            while done < events // WRITERS:
                name = f"Many {number} {done}"
                body: dict[str, Any] = {"name": name, "membersId": members}
                _write(client, "/api/v1/main/groups", body)
                _write(client, ACCOUNTS, {"name": f"single-{number}-{done}"})
                done += MEMBERS + 3

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(work, range(WRITERS)))


def _write(client: Client, path: str, body: dict[str, Any]) -> None:
    """Give a command until it is taken: so many writers may be told to come back later."""
    while not (answer := client.ask("POST", path, body)).ok:
        assert answer.status == 503, answer.text
        time.sleep(PAUSE_SECONDS)


def settled(nodes: Sequence[Node], token: str) -> int:
    """Wait until every node shows the same position, and answer it."""
    end = time.monotonic() + SETTLED_SECONDS
    while True:
        positions = set()
        for node in nodes:
            with Client(node.url, bearer(token)) as client:
                positions.add(client.ask("GET", "/api/v1/me").position)
        if len(positions) == 1:
            return positions.pop()
        assert time.monotonic() < end, positions
        time.sleep(0.1)


def told(node: Node) -> Samples:
    """What a witness has said: digests by position."""
    lines = [line.removeprefix(MARK).split() for line in node.output if line.startswith(MARK)]
    return {int(position): found for position, found in lines}


def judge(url: str, witnesses: Sequence[Samples], homes: Sequence[Path]) -> Verdict:
    """Compare what nodes told, and the snapshots they left, with the log in one cold replay."""
    verdict = Verdict()
    wanted = {position for samples in witnesses for position in samples}
    log = PostgresLog(url)
    try:
        expected = _replayed(log, wanted)
        for home in homes:
            state = Snapshots(home / SNAPSHOTS, log).last()
            assert state is not None, f"{home.name} left no snapshot that fits"
            verdict.snapshots += 1
            verdict.different += digest(state) != _replayed(log, {state.position})[state.position]
    finally:
        log.close()
    for samples in witnesses:
        verdict.live += len(samples)
        verdict.different += sum(found != expected[at] for at, found in samples.items())
    return verdict


def _replayed(log: PostgresLog, wanted: set[int]) -> Samples:
    """Fold the log from its beginning; its digests at these positions."""
    found: Samples = {}
    draft = Draft(State())
    for record in read_all(log):
        apply(draft, decode(record))
        if record.position in wanted:
            state = draft.finish()
            found[record.position] = digest(state)
            draft = Draft(state)
    return found
