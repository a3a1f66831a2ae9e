"""Which servers does a benchmark over HTTP measure, and what do they cost a request?

Each server is a process of its own on loopback, pinned to the first processor; the load comes
from another process on the second. What is compared is the processor time of the server, its
children included, because the machine is shared with the load.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct, structs

from ops.bench import data, stores
from ops.bench.load import CONNECTIONS, Loaded, Prepared
from ops.event_log import SQLiteLog
from ops.inputs import SystemInputs
from ops.settings import Settings
from ops.setup import NewUser, set_up
from ops.stores import LOG_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from domain.events import Event
    from ops.bench.data import World

_DEFAULTS: Final[Mapping[str, str]] = {}
_LISTENING: Final = "listening on "
_STOP_SECONDS: Final = 15
_BARE: Final = ("-m", "ops.bench.bare")
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
_WARM_UP_SECONDS: Final = 0.5
_IDLE_SECONDS: Final = 0.5
_IDLE_SHARE: Final = 0.05
_IDLE_BOUND_SECONDS: Final = 300


class Server(Struct, frozen=True):
    """A running server."""

    process: int
    url: str

    def cpu_seconds(self) -> float:
        """Answer the processor time so far, of the process and of its ended children."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return sum(int(field) for field in fields[11:15]) / _TICKS_A_SECOND


class Cost(Struct, frozen=True, kw_only=True):
    """What a server did under as much load as it took."""

    cpu_us: float
    requests_a_second: float
    wrong_answers: int


@contextmanager
def started(arguments: Iterable[str], settings: Mapping[str, str] = _DEFAULTS) -> Iterator[Server]:
    """Yield a server that prints where it listens; it is told to stop at the end.

    `settings` are variables of its environment, beside which no other of ours is in it.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MUNIMENT_")
    }
    environment.update(settings)
    process = subprocess.Popen(  # noqa: S603 - this very program, with arguments of its own
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    reader: threading.Thread | None = None
    try:
        _pin(process.pid, 0)
        url = ""
        for line in process.stdout or ():
            if line.startswith(_LISTENING):
                url = line.removeprefix(_LISTENING).strip()
                break
        if not url:
            raise RuntimeError("a server ended before it listened")
        # What it logs is taken from it: a pipe that nobody reads fills, and whoever writes waits.
        reader = threading.Thread(target=deque, args=(process.stdout, 0), daemon=True)
        reader.start()
        yield Server(process.pid, url)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            if reader is not None:
                reader.join(_STOP_SECONDS)
            process.stdout.close()


@contextmanager
def bare() -> Iterator[Server]:
    """Yield the server that does nothing."""
    with started(_BARE) as server:
        yield server


@contextmanager
def installation(world: World, more: Iterable[Event] = ()) -> Iterator[Path]:
    """Yield the data directory of an installation that holds the world and more events."""
    with stores.private_directory() as directory:
        place = directory / "data"
        place.mkdir(mode=0o700)
        set_up(Settings(data_dir=place), SystemInputs(), NewUser(email="owner@bench.example"))
        log = SQLiteLog(place / LOG_FILE)
        try:
            issued = (token.issued for token in world.tokens)
            for events in (world.additions(), issued, more):
                stores.fill(log, data.records(events, log.head()))
        finally:
            log.close()
        yield place


@contextmanager
def muniment(world: World, more: Iterable[Event] = ()) -> Iterator[Server]:
    """Yield `muniment serve`, at rest, on an installation that holds the world and more events."""
    with installation(world, more) as place, serving(place) as server:
        yield server


@contextmanager
def serving(
    place: Path, settings: Mapping[str, str] = _DEFAULTS, program: str = "ops.cli.main"
) -> Iterator[Server]:
    """Yield `muniment serve`, at rest, on a data directory; `program` is what is run."""
    serve = ("-m", program, "serve", "--data-dir", str(place), "--port", "0")
    with started(serve, settings) as server:
        _wait_until_idle(server)
        yield server


def _wait_until_idle(server: Server) -> None:
    """Let the views catch up first: what they cost is no request's."""
    for _ in range(round(_IDLE_BOUND_SECONDS / _IDLE_SECONDS)):
        before = server.cpu_seconds()
        time.sleep(_IDLE_SECONDS)
        if server.cpu_seconds() - before <= _IDLE_SECONDS * _IDLE_SHARE:
            return
    raise RuntimeError("the server does not come to rest")


def _pin(process: int, number: int) -> None:
    """Keep server and load on different processors where there are two."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) > 1:
        os.sched_setaffinity(process, {processors[number]})


def measure(server: Server, requests: Path, seconds: float, client: str = "own") -> Cost:
    """Load the server for so long, after a warm-up."""
    drive = _wrk if client == "wrk" else _as_fast_as_it_goes
    drive(server, requests, min(_WARM_UP_SECONDS, seconds))
    before = server.cpu_seconds()
    loaded = drive(server, requests, seconds)
    # The system counts whole ticks: of a very short run there may be none yet.
    spent = max(server.cpu_seconds() - before, 1 / _TICKS_A_SECOND)
    return Cost(
        cpu_us=spent / loaded.requests * 1e6,
        requests_a_second=loaded.requests / loaded.seconds,
        wrong_answers=loaded.wrong_answers,
    )


def latencies(
    server: Server,
    requests: Path,
    seconds: float,
    rate: float,
    connections: int = CONNECTIONS,
) -> Loaded:
    """Load the server by a schedule of so many requests a second: what a caller waits."""
    return _own(server, requests, seconds, rate, connections)


def _as_fast_as_it_goes(server: Server, requests: Path, seconds: float) -> Loaded:
    return _own(server, requests, seconds, 0)


def _own(
    server: Server,
    requests: Path,
    seconds: float,
    rate: float,
    connections: int = CONNECTIONS,
) -> Loaded:
    given = (server.url, str(requests), str(seconds), str(rate), str(connections))
    arguments = ("-m", "ops.bench.load", *given)
    process = subprocess.Popen(  # noqa: S603 - this very program, with arguments of its own
        [sys.executable, *arguments], stdout=subprocess.PIPE
    )
    _pin(process.pid, 1)
    written, _ = process.communicate()
    if process.returncode:
        raise RuntimeError("the load ended with an error")
    return msgspec.json.decode(written, type=Loaded)


def _wrk(server: Server, requests: Path, seconds: float) -> Loaded:
    """As `_own`, by wrk, which checks no answer and tells no percentile that we would print."""
    script = requests.with_suffix(".lua")
    prepared = msgspec.msgpack.decode(requests.read_bytes(), type=list[Prepared])
    texts = ",\n".join(
        '"' + "".join(f"\\{byte:03}" for byte in one.request) + '"' for one in prepared
    )
    script.write_text(
        f"local texts = {{{texts}}}\nlocal turn = 0\n"
        "function request() turn = turn % #texts + 1; return texts[turn] end\n"
    )
    written = subprocess.run(  # noqa: S603 - the caller asked for it
        [
            str(which("wrk")),
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{max(1, round(seconds))}s",
            "-s",
            str(script),
            server.url,
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    (counted,) = re.findall(r"(\d+) requests in", written)
    (rate,) = re.findall(r"Requests/sec:\s*([\d.]+)", written)
    return Loaded(
        requests=int(counted),
        seconds=int(counted) / float(rate),
        wrong_answers=len(re.findall(r"Non-2xx", written)),
        p50_ms=0,
        p99_ms=0,
    )


def write(path: Path, requests: list[Prepared]) -> None:
    """Write the prepared requests for the load's process."""
    path.write_bytes(msgspec.msgpack.encode(requests))


def for_bare(requests: list[Prepared]) -> list[Prepared]:
    """Answer the same requests, with what the bare server always answers."""
    return [structs.replace(one, contains=b"decision") for one in requests]


def request(
    method: str, path: str, token: str, body: bytes = b"", *, status: int = 200, contains: bytes
) -> Prepared:
    """Answer a request as a client library would send it; without a token where that is empty."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "host: localhost",
        "user-agent: muniment-bench/1",
        "accept: application/json",
    ]
    if token:
        lines.append(f"authorization: Bearer {token}")
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    head = "\r\n".join([*lines, "", ""]).encode()
    return Prepared(head + body, str(status).encode(), contains)
