"""How long does a command take to start, and what does the client add to an export?"""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from domain.principals import InstanceOwnerGranted
from ops.bench import data, servers
from ops.bench.report import Figure, Options, Report, absolute, at_most, compared

if TYPE_CHECKING:
    from ops.bench.servers import Server

_CHUNK_BYTES: Final = 65_536
_MILLISECONDS: Final = 1_000
_NOTHING: Final = (sys.executable, "-c", "pass")
_CLIENT: Final = (sys.executable, "-m", "ops.cli.main")
# A start is what a command needs before it asks the server, and after.
_STARTS: Final = {
    "muniment --help": (("--help",), at_most(250)),
    "muniment sa list --help": (("sa", "list", "--help"), at_most(150)),
    "muniment config show": (("config", "show"), at_most(150)),
    "muniment whoami, with its answer": (("whoami",), at_most(150)),
}


def run(options: Options) -> Report:
    """Start commands beside an interpreter that does nothing; export the log beside a bare read."""
    world = data.make_world(options.scale, options.seed, rich=options.rich)
    token = world.tokens[0]
    owner = InstanceOwnerGranted(principal=token.issued.owner)
    with (
        servers.muniment(world, (owner,)) as server,
        tempfile.TemporaryDirectory() as directory,
    ):
        settings = {
            "MUNIMENT_SERVER": server.url,
            "MUNIMENT_API_TOKEN": token.text,
            "XDG_CONFIG_HOME": directory,
        }
        figures = [_start(options.rounds, settings, name) for name in _STARTS]
        out = Path(directory) / "export"
        exported = [_exported(server, token.text, settings, out) for _ in range(options.rounds)]
    ours, bare, lines = zip(*exported, strict=True)
    figures.append(
        compared("audit export of the whole log", "s", ours, bare, at_most(1.3, scale=10))
    )
    return Report(
        figures=figures,
        wrong_answers=sum(mine != theirs for mine, theirs in lines),
        notes=(
            "A start is what it takes beyond `python -c pass` of the same round.",
            f"{lines[0][0]:,} events; the baseline reads the same route and keeps nothing.",
        ),
    )


def _start(rounds: int, settings: dict[str, str], name: str) -> Figure:
    arguments, goal = _STARTS[name]
    more = [
        (_seconds((*_CLIENT, *arguments), settings) - _seconds(_NOTHING, settings)) * _MILLISECONDS
        for _ in range(rounds)
    ]
    return absolute(f"{name}, beyond an empty start", "ms", more, goal)


def _seconds(command: tuple[str, ...], settings: dict[str, str]) -> float:
    begun = perf_counter()
    subprocess.run(  # noqa: S603 - this interpreter with words of this file
        command, env={**os.environ, **settings}, stdout=subprocess.DEVNULL, check=True
    )
    return perf_counter() - begun


def _exported(
    server: Server, token: str, settings: dict[str, str], out: Path
) -> tuple[float, float, tuple[int, int]]:
    """Answer the seconds of the client and of a bare read, and how many lines each has got."""
    arguments = ("audit", "export", "--everything", "--quiet", "--out", str(out))
    ours = _seconds((*_CLIENT, *arguments), settings)
    with out.open("rb") as file:
        kept = sum(1 for _ in file)
    out.unlink()
    url = urlsplit(server.url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=600)
    begun = perf_counter()
    headers = {"Authorization": f"Bearer {token}"}
    connection.request("GET", "/api/v1/audit/export?format=ndjson", headers=headers)
    answer = connection.getresponse()
    lines = 0
    while chunk := answer.read(_CHUNK_BYTES):
        lines += chunk.count(b"\n")
    seconds = perf_counter() - begun
    connection.close()
    return ours, seconds, (kept, lines)
