"""Does a server that is killed at any moment keep exactly what it acknowledged? (D3)."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, field

from tests.campaigns.access import ACCOUNTS, owner_token
from tests.campaigns.client import Client, LostError, bearer
from tests.e2e.node import PROGRAM, Node, muniment

SHORT: Final = 5
LONG: Final = 1_000
WRITERS: Final = 4
FIRST_ANSWER_SECONDS: Final = 20.0
RUN_SECONDS: Final = (0.0, 0.4)
GROUPS: Final = ("kept", "whole")
PAGE: Final = 1_000
ACK_EARLY: Final = "tests.campaigns.mutants.ack_early"
HALF_BATCH: Final = "tests.campaigns.mutants.half_batch"


class Journal(Struct):
    """What clients know of their commands, by the names that they gave (reliability 1)."""

    done: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)


class Verdict(Struct):
    """What was found after `cycles` kills."""

    cycles: int = 0
    acknowledged: int = 0
    unknown: int = 0
    unknown_but_stored: int = 0
    lost: int = 0
    twice: int = 0
    halves: int = 0
    slowest_start_seconds: float = 0.0

    @property
    def faults(self) -> int:
        """How many promises were broken."""
        return self.lost + self.twice + self.halves


def run(directory: Path, *, cycles: int, seed: int, program: str = PROGRAM) -> Verdict:
    """Kill a server under several writers `cycles` times; judge what is there after each kill.

    A broken build is judged by the right one, which starts on what the other left.
    """
    chance = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    judge = Node(directory / "data")
    judge.init()
    built = judge if program == PROGRAM else Node(directory / "data", program=program)
    groups: list[str] = []
    token = ""
    journal = Journal()
    verdict = Verdict()
    for cycle in range(cycles):
        verdict.slowest_start_seconds = max(verdict.slowest_start_seconds, _started(built))
        if not groups:
            token, groups = _prepare(built)
        _write_until_killed(built, bearer(token), groups, journal, cycle, chance)
        verdict.cycles += 1
        if built is not judge or cycle == cycles - 1:
            verdict.slowest_start_seconds = max(verdict.slowest_start_seconds, _started(judge))
            _judge(judge, token, groups, journal, verdict)
            judge.stop()
        if verdict.faults:
            break
    verified = muniment("verify", data_dir=directory / "data")
    assert verified.returncode == 0, verified.stderr
    return verdict


def _started(node: Node) -> float:
    """Start a node; answer how long it took until it listened."""
    began = time.monotonic()
    node.start()
    return time.monotonic() - began


def _prepare(node: Node) -> tuple[str, list[str]]:
    """Make the token by which writers cost no password hash, and two groups."""
    token = owner_token(node.url)
    with Client(node.url, bearer(token)) as owner:
        groups = [
            owner.made("POST", "/api/v1/main/groups", {"name": name})["id"] for name in GROUPS
        ]
    return token, groups


def _write_until_killed(
    node: Node,
    authorization: str,
    groups: list[str],
    journal: Journal,
    cycle: int,
    chance: random.Random,
) -> None:
    answered = threading.Event()

    def write(writer: int) -> None:
        number = 0
        with Client(node.url, authorization) as client:
            while True:
                name = f"c{cycle}-w{writer}-n{number}"
                number += 1
                # Several events, so that a half of a command could be seen.
                account = {"name": name, "groups": [{"id": group} for group in groups]}
                try:
                    answer = client.ask("POST", ACCOUNTS, account)
                except LostError:
                    journal.unknown.add(name)
                    return
                (journal.done if answer.ok else journal.refused).add(name)
                answered.set()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    # Not before there is something to lose, however slow the machine is.
    assert answered.wait(FIRST_ANSWER_SECONDS), "nothing was answered: " + "".join(node.output)
    time.sleep(chance.uniform(*RUN_SECONDS))
    node.kill()
    for writer in writers:
        writer.join()


def _judge(node: Node, token: str, groups: list[str], journal: Journal, verdict: Verdict) -> None:
    """Compare the journal with every account that there is: present once, with both groups."""
    with Client(node.url, bearer(token)) as client:
        known = journal.done | journal.refused | journal.unknown
        rows = [row for row in _all_accounts(client) if row["username"] in known]
    stored = Counter(row["username"] for row in rows)
    whole = {row["username"] for row in rows if {g["id"] for g in row["groups"]} == set(groups)}
    verdict.acknowledged = len(journal.done)
    verdict.unknown = len(journal.unknown)
    verdict.unknown_but_stored = len(journal.unknown & stored.keys())
    verdict.lost = len(journal.done - stored.keys())
    verdict.twice = sum(times > 1 for times in stored.values())
    verdict.halves = len(stored.keys() - whole) + len(journal.refused & stored.keys())


def _all_accounts(client: Client) -> list[Any]:
    rows: list[Any] = []
    page = 1
    while True:
        found = client.made("GET", f"{ACCOUNTS}?size={PAGE}&page={page}")["results"]
        rows += found
        if len(found) < PAGE:
            return rows
        page += 1
