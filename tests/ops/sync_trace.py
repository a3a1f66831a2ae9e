"""Was every acknowledgement in this system call trace sent after its bytes were synced?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable

# A line of `strace -f -y`, whole, or the two halves of one that another process interrupted.
CALL = re.compile(r"^(?P<process>\d+) +(?P<call>\w+)\((?P<rest>.*)$")
RESUMED = re.compile(r"^(?P<process>\d+) +<\.\.\. (?P<call>\w+) resumed>(?P<rest>.*)$")
SUCCEEDED = re.compile(r"\) += 0( |$)")
WRITES = {"pwrite64", "write", "writev"}
ANSWERS = {"write", "writev", "sendto", "sendmsg"}
SYNCS = {"fdatasync", "fsync"}


class Verdict(Struct):
    """How many of each were seen; `early` are acknowledgements of bytes not known to be synced."""

    writes: int = 0
    syncs: int = 0
    acknowledgements: int = 0
    early: int = 0


def judge(lines: Iterable[str], log_path: str, answer: str) -> Verdict:
    """Judge the trace of a serial client's appends (`reliability.md` D1).

    `log_path` is part of the path of every file whose syncs make an append durable, `answer` part
    of what an acknowledgement sends. An acknowledgement is early unless a sync ended since the
    one before it and everything its own process wrote to the log was synced after the writing.
    """
    verdict = Verdict()
    unsynced: set[str] = set()
    synced_since = False
    # What each sync under way will have made durable: what was written before it began.
    covered: dict[str, set[str]] = {}
    for line in lines:
        found = CALL.match(line) or RESUMED.match(line)
        if found is None:
            continue
        process, call, rest = found["process"], found["call"], found["rest"]
        if call in SYNCS:
            if log_path in rest:
                covered[process] = set(unsynced)
            if process in covered and SUCCEEDED.search(rest):
                unsynced -= covered.pop(process)
                synced_since = True
                verdict.syncs += 1
        elif call in WRITES and log_path in rest.split(",")[0]:
            unsynced.add(process)
            verdict.writes += 1
        elif call in ANSWERS and answer in rest:
            verdict.acknowledgements += 1
            verdict.early += process in unsynced or not synced_since
            synced_since = False
    return verdict
