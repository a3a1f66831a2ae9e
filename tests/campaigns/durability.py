"""Is every acknowledgement of a real server sent after its events were synced? (D1)."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.campaigns.access import ACCOUNTS, owner_token
from tests.campaigns.client import Client, bearer
from tests.campaigns.trace import Kind, Step, steps, tracer
from tests.e2e.node import PROGRAM, Node

SHORT: Final = 1_000
LONG: Final = 10_000
LOG_WRITTEN_AHEAD: Final = "log.db-wal"
USERS: Final = "/api/v1/users"
# One of so many commands makes a user, whose key is kept in the vault, beside the log.
USER_EACH: Final = 20
DESCRIPTION_CHARACTERS_MAX: Final = 600
SYNC_NORMAL: Final = "tests.campaigns.mutants.sync_normal"


class Recording(Struct, frozen=True):
    """A server's life: its data directory as it was before and is now, what it did, what it made.

    `made` are path and name of each object, in the order in which they were acknowledged, which
    are the last acknowledgements of `steps`.
    """

    before: Path
    after: Path
    steps: Sequence[Step]
    made: Sequence[tuple[str, str]]
    token: str


class Verdict(Struct):
    """What a trace shows; `early` are acknowledgements of bytes not known to be synced."""

    writes: int = 0
    syncs: int = 0
    acknowledgements: int = 0
    early: int = 0


def record(directory: Path, *, writes: int, seed: int, program: str = PROGRAM) -> Recording:
    """Trace a real server while one client writes."""
    chance = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    trace = directory / "trace"
    before, after = directory / "before", directory / "data"
    node = Node(after, tracer(trace), program=program)
    node.init()
    shutil.copytree(after, before)
    node.start()
    made: list[tuple[str, str]] = []
    try:
        token = owner_token(node.url)
        with Client(node.url, bearer(token)) as owner:
            made += [_write(owner, number, chance) for number in range(writes)]
    finally:
        node.stop()
    with trace.open("rb") as lines:
        found = list(steps(lines, after))
    # It is hundreds of times as large as what it tells.
    trace.unlink()
    return Recording(before, after, found, made, token)


def _write(owner: Client, number: int, chance: random.Random) -> tuple[str, str]:
    """Make an object of random length; its path and what it is called."""
    if number % USER_EACH == 0:
        email = f"person-{number}@example.com"
        return f"{USERS}/{owner.made('POST', USERS, {'email': email})['id']}", email
    name = f"bot-{number}"
    text = "d" * chance.randrange(1, DESCRIPTION_CHARACTERS_MAX)
    made = owner.made("POST", ACCOUNTS, {"name": name, "description": text})
    return f"{ACCOUNTS}/{made['id']}", name


def judge(found: Sequence[Step]) -> Verdict:
    """Judge the steps of a server with one client that waits for each answer.

    An acknowledgement is early unless, since the one before it, something was written to the
    log's write-ahead file, and all of it was covered by a sync that began after the writing and
    ended well before the answer was sent.
    """
    verdict = Verdict()
    written = answered = synced = -1
    for number, step in enumerate(found):
        if step.kind is Kind.ANSWER:
            verdict.acknowledgements += 1
            verdict.early += not answered < written < synced
            answered = number
        elif step.file == LOG_WRITTEN_AHEAD and step.kind is Kind.WRITE:
            verdict.writes += 1
            written = number
        elif step.file == LOG_WRITTEN_AHEAD and step.kind is Kind.SYNC:
            verdict.syncs += 1
            synced = max(synced, step.since)
    return verdict
