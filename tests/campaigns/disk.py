"""Does a server refuse rightly when its disk fails or is full? (D4 and D5)."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct, field

from tests.campaigns.access import EVALUATION, World, build, owner_token, question
from tests.campaigns.client import Client, LostError, bearer
from tests.campaigns.journal import WRITERS, Journal, Load, Tally, give, make_groups, tally
from tests.campaigns.trace import Kind, steps, tracer
from tests.e2e.node import PROGRAM, Node, muniment

SWALLOW: Final = "tests.campaigns.mutants.swallow"
HALF_BATCH: Final = "tests.campaigns.mutants.half_batch"
FIRST_FAILED_SYNC: Final = 30
INJECTED: Final = b"(INJECTED)"
UNREADY_SECONDS: Final = 1.0
BROKEN_STATUS: Final = 10

FULL: Final = "503 store.full"
SPACE_SECONDS: Final = 5.0
POLL_SECONDS: Final = 0.02
DISK_BYTES: Final = 5 << 20
BALLAST_BYTES: Final = 1 << 20
PAGE_BYTES: Final = 4096
# So much room is left for one command each: too little for any of it, for some, for all.
PAGES_LEFT: Final = range(24)
DESCRIPTION_CHARACTERS: Final = 2_000
COMMANDS_MAX: Final = 2_000

# A file system of its own over the data directory, which the server starts with a copy of.
_ON_SMALL_DISK: Final = (
    'mount -t tmpfs -o size="$0",mode=0700 none "$1" && cp -a "$2"/. "$1" && shift 2 && exec "$@"'
)


class FailedSync(Struct):
    """What came after the first failed sync; seconds until the server was not ready."""

    injected: int = 0
    acknowledged_before: int = 0
    acknowledged_after: int = 0
    unready_seconds: float = 0.0
    exit_code: int = 0
    tally: Tally = field(default_factory=Tally)

    @property
    def is_kept(self) -> bool:
        """Whether the promise of D4 was kept, and the fault was one at all.

        What was synced just before may be told just after, once to each writer.
        """
        return (
            min(self.injected, self.acknowledged_before, self.tally.acknowledged) > 0
            and self.acknowledged_after <= WRITERS
            and self.tally.faults == 0
            and self.unready_seconds <= UNREADY_SECONDS
            and self.exit_code == BROKEN_STATUS
        )


def fail_syncs(directory: Path, *, program: str = PROGRAM) -> FailedSync:
    """Let every sync of a thread fail from the 30th on, under several writers; then start again.

    Injecting counts for each thread, and it is the writer that syncs so often.
    """
    trace = directory / "trace"
    failing = f"inject=fdatasync,fsync:error=EIO:when={FIRST_FAILED_SYNC}+"
    node = Node(directory / "data", tracer(trace, "-e", failing, data_bytes=512), program=program)
    node.init()
    node.start()
    token = owner_token(node.url)
    groups = make_groups(node.url, token)
    journal = Journal()
    load = Load(node.url, token, groups, journal, label="d4")
    load.start()
    verdict = FailedSync()
    _until(lambda: INJECTED in trace.read_bytes())
    failed = time.monotonic()
    while _is_ready(node) and time.monotonic() - failed < 2 * UNREADY_SECONDS:
        time.sleep(POLL_SECONDS)
    verdict.unready_seconds = time.monotonic() - failed
    # Only the broken build still has to be told to end.
    if program != PROGRAM:
        load.stop()
        node.terminate()
    verdict.exit_code = node.wait()
    load.join()
    lines = trace.read_bytes().splitlines()
    first = next(number for number, line in enumerate(lines) if INJECTED in line)
    verdict.injected = sum(INJECTED in line for line in lines)
    verdict.acknowledged_before = _answers(lines[:first], node)
    verdict.acknowledged_after = _answers(lines[first:], node)
    again = Node(directory / "data")
    again.start()
    verdict.tally = tally(again.url, token, groups, journal)
    with Client(again.url, bearer(token)) as owner:
        assert give(owner, "after-the-fault", groups).ok
    assert again.stop() == 0
    return verdict


def _answers(lines: list[bytes], node: Node) -> int:
    return sum(step.kind is Kind.ANSWER for step in steps(lines, node.data_dir))


def _is_ready(node: Node) -> bool:
    try:
        with Client(node.url) as probe:
            return probe.ask("GET", "/readyz").ok
    except LostError:
        return False


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(POLL_SECONDS)


# Full


class FullDisk(Struct):
    """How a server behaved on a full disk; seconds until it wrote again."""

    stored: int = 0
    refused: int = 0
    codes: list[str] = field(default_factory=list)
    checks: int = 0
    checks_failed: int = 0
    space_seconds: float = 0.0
    verified: bool = False
    tally: Tally = field(default_factory=Tally)

    @property
    def is_kept(self) -> bool:
        """Whether the promise of D5 was kept, and the disk was full at all."""
        return (
            min(self.stored, self.refused, self.checks) > 0
            and set(self.codes) == {FULL}
            and self.checks_failed == self.tally.faults == 0
            and self.space_seconds <= SPACE_SECONDS
            and self.verified
        )


def small_disk_refusal() -> str:
    """Why no small file system can be had here, empty when it can."""
    if shutil.which("unshare") is None:
        return "unshare is not installed"
    probe = subprocess.run(
        ("unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"), check=False, capture_output=True
    )
    return "no file system may be mounted in a namespace here" if probe.returncode else ""


class _SmallDisk:
    """A served installation on a small file system, seen from outside its namespace."""

    def __init__(self, node: Node, place: Path, world: World, groups: list[str]) -> None:
        self.node = node
        self.world = world
        self.groups = groups
        self.journal = Journal()
        self.place = place
        self._filler = place / "filler"

    def fill(self, *, pages_left: int) -> None:
        """Let another file take all the space but some pages."""
        while True:
            self.free()
            found = os.statvfs(self.place)
            size = found.f_bavail * found.f_frsize - pages_left * PAGE_BYTES
            try:
                self.take(size)
            except OSError as error:
                # The server has taken some of it since: measure anew.
                if error.errno != errno.ENOSPC:
                    raise
            else:
                return

    def take(self, size: int) -> None:
        """Let another file take so many bytes."""
        with self._filler.open("wb") as file:
            if size > 0:
                os.posix_fallocate(file.fileno(), 0, size)

    def free(self) -> None:
        """Take the other file away."""
        self._filler.unlink(missing_ok=True)


@contextmanager
def _on_small_disk(directory: Path, program: str) -> Iterator[_SmallDisk]:
    staged, data = directory / "staged", directory / "data"
    Node(staged).init()
    data.mkdir(mode=0o700)
    prefix = ("unshare", "-rm", "sh", "-c", _ON_SMALL_DISK, str(DISK_BYTES), str(data), str(staged))
    node = Node(data, prefix, program=program)
    node.start()
    try:
        world = build(node.url)
        place = Path(f"/proc/{node.pid}/root{data}")
        yield _SmallDisk(node, place, world, make_groups(node.url, world.owner_token))
    finally:
        node.stop()


def fill_by_commands(directory: Path) -> FullDisk:
    """Write until the disk is full; then ask, write on in vain, and take the ballast away."""
    verdict = FullDisk()
    with (
        _on_small_disk(directory, PROGRAM) as disk,
        Client(disk.node.url, bearer(disk.world.owner_token)) as owner,
    ):
        disk.take(BALLAST_BYTES)
        text = "d" * DESCRIPTION_CHARACTERS
        for number in range(COMMANDS_MAX):
            body = {"name": f"Full {number}", "description": text}
            answer = owner.ask("POST", "/api/v1/main/groups", body)
            if not answer.ok:
                break
            verdict.stored += 1
        verdict.codes.append(f"{answer.status} {answer.code}")
        for number in range(5):
            _give(disk, owner, f"full-{number}", verdict)
            _check(disk, verdict)
        _space(disk, owner, verdict)
        _judge(disk, directory, verdict)
    return verdict


def fill_by_another(directory: Path, *, program: str = PROGRAM) -> FullDisk:
    """Give one command each with so many pages left; then give the space back."""
    verdict = FullDisk()
    with (
        _on_small_disk(directory, program) as disk,
        Client(disk.node.url, bearer(disk.world.owner_token)) as owner,
    ):
        for pages in PAGES_LEFT:
            disk.fill(pages_left=pages)
            _give(disk, owner, f"left-{pages}", verdict)
            _check(disk, verdict)
        _space(disk, owner, verdict)
        _judge(disk, directory, verdict)
    return verdict


def _give(disk: _SmallDisk, owner: Client, name: str, verdict: FullDisk) -> None:
    answer = give(owner, name, disk.groups)
    disk.journal.note(name, answer)
    if answer.ok:
        verdict.stored += 1
    else:
        verdict.refused += 1
        verdict.codes.append(f"{answer.status} {answer.code}")


def _check(disk: _SmallDisk, verdict: FullDisk) -> None:
    with Client(disk.node.url, bearer(disk.world.bot_token)) as bot:
        answer = bot.ask("POST", EVALUATION, question(disk.world.bot))
    verdict.checks += 1
    verdict.checks_failed += not (answer.ok and answer.body["decision"] is True)


def _space(disk: _SmallDisk, owner: Client, verdict: FullDisk) -> None:
    """Give the space back, and see how long it takes until something is written."""
    disk.free()
    began = time.monotonic()
    number = 0
    while True:
        number += 1
        name = f"space-{number}"
        answer = give(owner, name, disk.groups)
        disk.journal.note(name, answer)
        if answer.ok:
            break
        assert time.monotonic() < began + 4 * SPACE_SECONDS, answer.code
        time.sleep(POLL_SECONDS)
    verdict.space_seconds = time.monotonic() - began


def _judge(disk: _SmallDisk, directory: Path, verdict: FullDisk) -> None:
    """Compare the journal with the lists, whose views stood on the same disk; verify a copy."""
    verdict.tally = tally(disk.node.url, disk.world.owner_token, disk.groups, disk.journal)
    copy = directory / "copy"
    copy.mkdir(mode=0o700)
    for path in disk.place.iterdir():
        if path.name != "filler":
            shutil.copy2(path, copy)
    verdict.verified = muniment("verify", data_dir=copy).returncode == 0
