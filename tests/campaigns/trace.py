"""Which writes, syncs and answers did a real server make, and in which order?

Read from a trace of its system calls with their data (reliability D1 and D2).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Final

from msgspec import Struct

CALLS: Final = "pwrite64,write,writev,sendto,sendmsg,fdatasync,fsync,ftruncate,unlink,unlinkat"
# More than any page of a database or any answer.
DATA_BYTES: Final = 1_048_576
DIRECTORY: Final = ""

_SYNCS: Final = frozenset({b"fdatasync", b"fsync"})
_ANSWERS: Final = frozenset({b"write", b"writev", b"sendto", b"sendmsg"})
_REMOVALS: Final = frozenset({b"unlink", b"unlinkat"})
_SUCCEEDED: Final = re.compile(rb"\) += 0\b")
_POSITION: Final = re.compile(rb"\r\nx-muniment-position: (\d+)\r\n", re.IGNORECASE)


class Kind(Enum):
    """What a step does."""

    WRITE = "write"
    TRUNCATE = "truncate"
    REMOVE = "remove"
    SYNC = "sync"
    ANSWER = "answer"


class Step(Struct, frozen=True):
    """One step of the server; which members count depends on its kind.

    `file` is a name in the data directory, `DIRECTORY` for that itself. A sync stands where it
    ended, and covers the steps before number `since`, where it began. `number` is where a write
    begins or where a file ends after it was cut, or the position that an answer tells.
    """

    kind: Kind
    file: str = DIRECTORY
    number: int = 0
    data: bytes = b""
    since: int = 0


def strace_refusal() -> str:
    """Why system calls cannot be traced here, empty when they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    probe = subprocess.run(("strace", "-o", "/dev/null", "true"), check=False, capture_output=True)
    return "strace may not trace processes here" if probe.returncode else ""


def tracer(trace: Path, *options: str, data_bytes: int = DATA_BYTES) -> tuple[str, ...]:
    """The command line that stands before a server's, so that `trace` tells its steps."""
    calls = f"trace={CALLS}"
    shown = ("-y", "-xx", "-s", str(data_bytes), "-e", calls)
    return ("strace", "-f", "--seccomp-bpf", *shown, *options, "-o", str(trace))


def steps(lines: Iterable[bytes], directory: Path) -> Iterator[Step]:
    """Yield the steps of a server whose data directory is `directory`, in order.

    Raises ValueError for a write to one of its files whose place is not told.
    """
    inside = _hexed(str(directory.resolve()).encode())
    # Where the sync that a thread is in began, and in which file.
    begun: dict[bytes, tuple[str, int]] = {}
    number = 0
    for line in lines:
        thread, _, rest = line.partition(b" ")
        rest = rest.lstrip()
        resumed = rest.startswith(b"<... ")
        call = rest[5:].partition(b" ")[0] if resumed else rest.partition(b"(")[0]
        step = None
        if call in _SYNCS:
            file = None if resumed else _file(rest, inside)
            if file is not None:
                begun[thread] = file, number
            # One that failed covers nothing.
            if thread in begun and _SUCCEEDED.search(rest):
                file, since = begun.pop(thread)
                step = Step(Kind.SYNC, file, since=since)
        elif not resumed:
            step = _step(call, rest, inside)
        if step is not None:
            number += 1
            yield step


def _step(call: bytes, rest: bytes, inside: bytes) -> Step | None:
    """The step of a call that is done, as far as it counts, when it begins."""
    if call in _REMOVALS:
        path = rest.split(b'"')[1]
        return Step(Kind.REMOVE, _name(path, inside)) if path.startswith(inside) else None
    if call == b"":
        return None
    file = _file(rest, inside)
    if file is None:
        return _answer(rest) if call in _ANSWERS else None
    if call == b"ftruncate":
        return Step(Kind.TRUNCATE, file, number=int(re.split(rb"[,)<]", rest)[-2]))
    if call != b"pwrite64":
        raise ValueError(f"{call.decode()} to {file}")
    _, data, place = rest.split(b'"')
    return Step(Kind.WRITE, file, number=int(re.split(rb"[, )<]+", place)[2]), data=_plain(data))


def _answer(rest: bytes) -> Step | None:
    """The acknowledgement that is sent, None for anything else that is written."""
    parts = rest.split(b'"', 2)
    text = _plain(parts[1]) if len(parts) > 1 and parts[1].startswith(b"\\x") else b""
    told = _POSITION.search(text)
    if told is None or not text.startswith(b"HTTP/1.1 2"):
        return None
    return Step(Kind.ANSWER, number=int(told[1]))


def _file(rest: bytes, inside: bytes) -> str | None:
    """The name of the file that the call's descriptor stands for, None for one elsewhere."""
    path = rest.partition(b"<")[2].partition(b">")[0]
    return _name(path, inside) if path.startswith(inside) else None


def _name(path: bytes, inside: bytes) -> str:
    return _plain(path.removeprefix(inside)).decode().removeprefix("/")


def _hexed(text: bytes) -> bytes:
    return b"".join(b"\\x%02x" % byte for byte in text)


def _plain(hexed: bytes) -> bytes:
    return bytes.fromhex(hexed.replace(b"\\x", b"").decode())
