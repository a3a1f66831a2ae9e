"""Is every acknowledgement of a real server sent after its events were synced? (D1)."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from tests.campaigns.client import Client, basic
from tests.e2e.node import OWNER_EMAIL, OWNER_PASSWORD, PROGRAM, Node
from tests.ops.sync_trace import ANSWERS, CALL, RESUMED, SUCCEEDED, SYNCS, WRITES

if TYPE_CHECKING:
    from collections.abc import Iterable

SHORT: Final = 220
LONG: Final = 10_000
CALLS: Final = "trace=pwrite64,write,writev,sendto,sendmsg,fdatasync,fsync"
LOG_WRITTEN_AHEAD: Final = "log.db-wal"
ANSWER: Final = "x-muniment-position"
SYNC_OFF: Final = "tests.campaigns.mutants.sync_off"


class Verdict(Struct):
    """What a trace shows; `early` are acknowledgements of bytes not known to be synced."""

    requests: int = 0
    writes: int = 0
    syncs: int = 0
    acknowledgements: int = 0
    early: int = 0


def strace_refusal() -> str:
    """Why system calls cannot be traced here, empty when they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    probe = subprocess.run(("strace", "-o", "/dev/null", "true"), check=False, capture_output=True)
    return "strace may not trace processes here" if probe.returncode else ""


def judge(lines: Iterable[str]) -> Verdict:
    """Judge the trace of a server with one client that waits for each answer.

    An acknowledgement is early unless, since the one before it, something was written to the
    log's write-ahead file, and everything written to it was covered by a sync that began after
    the writing and ended well. The writer and the event loop are threads of their own.
    """
    verdict = Verdict()
    unsynced = 0
    written = 0
    covering: dict[str, int] = {}
    for line in lines:
        found = CALL.match(line) or RESUMED.match(line)
        if found is None:
            continue
        thread, call, rest = found["process"], found["call"], found["rest"]
        if call in SYNCS:
            if LOG_WRITTEN_AHEAD in rest:
                covering[thread] = unsynced
            if thread in covering and SUCCEEDED.search(rest):
                unsynced -= covering.pop(thread)
                verdict.syncs += 1
        elif call in WRITES and LOG_WRITTEN_AHEAD in rest.split(",")[0]:
            unsynced += 1
            written += 1
            verdict.writes += 1
        elif call in ANSWERS and ANSWER in rest.lower():
            verdict.acknowledgements += 1
            verdict.early += unsynced > 0 or written == 0
            # The next acknowledgement needs bytes and a sync of its own.
            unsynced = written = 0
            covering.clear()
    return verdict


def run(directory: Path, *, writes: int, seed: int, program: str = PROGRAM) -> Verdict:
    """Trace a real server while one client writes, and judge the trace."""
    chance = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    trace = directory / "trace"
    tracer = ("strace", "-f", "--seccomp-bpf", "-y", "-s", "600", "-e", CALLS, "-o", str(trace))
    node = Node(directory / "data", tracer, program=program)
    node.init()
    node.start()
    try:
        with Client(node.url, basic(OWNER_EMAIL, OWNER_PASSWORD)) as owner:
            for number in range(writes):
                text = "d" * chance.randrange(1, 1_500)
                account = {"name": f"bot-{number}", "description": text}
                owner.made("POST", "/api/v1/main/service-accounts", account)
    finally:
        node.stop()
    with trace.open(encoding="utf-8") as lines:
        verdict = judge(lines)
    verdict.requests = writes
    return verdict
