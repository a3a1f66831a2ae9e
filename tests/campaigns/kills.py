"""Does a server that is killed at any moment keep exactly what it acknowledged? (D3)."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Final

from msgspec import Struct, field

from tests.campaigns.access import owner_token
from tests.campaigns.journal import Journal, Load, Tally, make_groups, tally
from tests.e2e.node import PROGRAM, Node, muniment

SHORT: Final = 10
LONG: Final = 1_000
RUN_SECONDS: Final = (0.0, 0.4)
READY_SECONDS: Final = 5.0
ACK_EARLY: Final = "tests.campaigns.mutants.ack_early"
HALF_BATCH: Final = "tests.campaigns.mutants.half_batch"


class Verdict(Struct):
    """What was found after `cycles` kills."""

    cycles: int = 0
    slowest_start_seconds: float = 0.0
    tally: Tally = field(default_factory=Tally)


def run(directory: Path, *, cycles: int, seed: int, program: str = PROGRAM) -> Verdict:
    """Kill a server under several writers `cycles` times; judge what is there after the kills.

    A broken build is judged after each kill, and by the right one, which starts on what the other
    left; it ends with the first fault.
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
            token = owner_token(built.url)
            groups = make_groups(built.url, token)
        load = Load(built.url, token, groups, journal, label=f"c{cycle}")
        try:
            load.start()
            time.sleep(chance.uniform(*RUN_SECONDS))
        finally:
            built.kill()
            load.join()
        verdict.cycles += 1
        if built is not judge or cycle == cycles - 1:
            verdict.slowest_start_seconds = max(verdict.slowest_start_seconds, _started(judge))
            try:
                verdict.tally = tally(judge.url, token, groups, journal)
            finally:
                judge.stop()
        if verdict.tally.faults:
            break
    verified = muniment("verify", data_dir=directory / "data")
    assert verified.returncode == 0, verified.stderr
    return verdict


def _started(node: Node) -> float:
    """Start a node; answer how long it took until it listened."""
    began = time.monotonic()
    node.start()
    return time.monotonic() - began
