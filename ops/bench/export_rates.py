"""How fast is the trail exported over HTTP, and what does an export add to the server's memory?"""

from __future__ import annotations

import http.client
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from domain.principals import InstanceOwnerGranted
from ops.bench import data, servers
from ops.bench.report import Figure, Options, Report, absolute, at_least, at_most

if TYPE_CHECKING:
    from ops.bench.servers import Server

FORMATS: Final = ("ndjson", "csv", "ocsf", "cloudevents")

_CHUNK_BYTES: Final = 262_144
_MIB: Final = 1_048_576
_KIB: Final = 1_024
_TICK_SECONDS: Final = 0.01


class _Exported(NamedTuple):
    """How many lines came in which time, and the server's peak memory in between, in MiB."""

    lines: int
    seconds: float
    cpu_seconds: float
    added_mib: float


def run(options: Options) -> Report:
    """Export the whole log in each format, and read it as fast as it comes."""
    world = data.make_world(options.scale, options.seed, rich=options.rich)
    token = world.tokens[0]
    owner = InstanceOwnerGranted(principal=token.issued.owner)
    figures: list[Figure] = []
    wrong = 0
    with servers.muniment(world, (owner,)) as server:
        # The first one also pays for what every process pays once.
        first = _export(server, token.text, "ndjson")
        head = first.lines
        figures.append(
            absolute("first export, memory added", "MiB", [first.added_mib], at_most(64))
        )
        for name in FORMATS:
            rounds = [_export(server, token.text, name) for _ in range(options.rounds)]
            lines = head + (name == "csv")
            wrong += sum(one.lines != lines for one in rounds)
            figures += [
                absolute(
                    f"{name}, whole log",
                    "events/s",
                    [one.lines / one.seconds for one in rounds],
                    at_least(30_000),
                ),
                absolute(
                    f"{name}, of the server's processor time",
                    "events/s",
                    [one.lines / one.cpu_seconds for one in rounds],
                ),
                absolute(
                    f"{name}, memory added", "MiB", [one.added_mib for one in rounds], at_most(64)
                ),
            ]
    return Report(
        figures=figures,
        wrong_answers=wrong,
        notes=(f"{head:,} events; memory is the peak of the resident set beyond that before.",),
    )


def _export(server: Server, token: str, name: str) -> _Exported:
    url = urlsplit(server.url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=600)
    before, cpu = _reset_peak(server.process), server.cpu_seconds()
    begun = perf_counter()
    connection.request(
        "GET",
        f"/api/v1/audit/export?format={name}",
        headers={"Authorization": f"Bearer {token}"},
    )
    answer = connection.getresponse()
    lines = 0
    while chunk := answer.read(_CHUNK_BYTES):
        lines += chunk.count(b"\n")
    seconds = perf_counter() - begun
    connection.close()
    added = (_memory_kib(server.process, "VmHWM") - before) * _KIB / _MIB
    cpu_seconds = max(server.cpu_seconds() - cpu, _TICK_SECONDS)
    return _Exported(lines, seconds, cpu_seconds, added)


def _reset_peak(process: int) -> int:
    """Let the peak be counted from now on; answer the resident set, in KiB."""
    Path(f"/proc/{process}/clear_refs").write_text("5", encoding="ascii")
    return _memory_kib(process, "VmRSS")


def _memory_kib(process: int, name: str) -> int:
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(status.partition(f"{name}:")[2].split()[0])
