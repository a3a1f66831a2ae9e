"""How is the audit trail read, and fetched from a server whole or not at all?"""

from __future__ import annotations

import re
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import urlencode

import click

from ops.cli import client, lists, options, output
from ops.cli.client import Server
from ops.cli.files import new_file, require_new
from ops.cli.trail import COLUMNS, filtered, searched

if TYPE_CHECKING:
    from http.client import HTTPResponse

FORMATS: Final = ("ndjson", "csv", "ocsf", "cloudevents")
STREAMS: Final = ("log", "journal")

_CHUNK_BYTES: Final = 65_536
_SHOWN_EVERY_SECONDS: Final = 0.2
# Where the position stands in a line of each format.
_POSITIONS: Final = {
    "ndjson": re.compile(rb'\{"position":([0-9]+),'),
    "csv": re.compile(rb"([0-9]+),"),
    "ocsf": re.compile(rb'.*"sequence":([0-9]+)'),
    "cloudevents": re.compile(rb'\{"specversion":"1.0","id":"([0-9]+)"'),
}


@click.group(cls=client.Group)
def command() -> None:
    """Read the audit trail of a server."""


@command.command("export")
@client.connected
@click.option("--everything", is_flag=True, help="The whole installation; for instance owners.")
@click.option("--stream", type=click.Choice(STREAMS), default="log", show_default=True)
@click.option("--format", "form", type=click.Choice(FORMATS), default="ndjson", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="A new file; else standard output.")
@filtered
@click.option("--personal", type=click.Choice(("omit", "include")))
def export(
    server: Server,
    everything: bool,  # noqa: FBT001 - a flag of the command line
    form: str,
    out: Path | None,
    **asked: str | None,
) -> None:
    """Write what all filters let through, oldest first: of the log, or of the journal."""
    server.require_now("and an export ends by --until or --until-time")
    if out is not None:
        require_new(out)
    given = {"format": form, **asked}
    query = urlencode({name: value for name, value in given.items() if value is not None})
    path = "/api/v1/audit/export" if everything else server.path("audit/export")
    with server.answer(
        "GET", f"{path}?{query}", whole="the export is not whole", streamed=True
    ) as answer:
        until = answer.headers["X-Muniment-Position"]
        progress = _Progress(_POSITIONS[form], int(asked["after"] or 0), int(until))
        with nullcontext(sys.stdout.buffer) if out is None else new_file(out) as file:
            _copy(answer, file, progress)
    if not options.given().get("quiet"):
        click.echo(f"position {until}", err=True)


@command.command("list")
@client.connected
@click.option("--everything", is_flag=True, help="The whole installation; for instance owners.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@filtered
def list_(
    server: Server,
    limit: int,
    everything: bool,  # noqa: FBT001 - a flag of the command line
    **asked: str | None,
) -> None:
    """List events, newest first; all filters must let them through."""
    path = "/api/v1/events" if everything else server.path("events")
    output.write_list(lists.walk(server, path, limit, searched(asked)), COLUMNS)


@command.command("get")
@client.connected
@click.option("--everything", is_flag=True, help="Of the whole installation.")
@click.argument("number", metavar="POSITION", type=click.IntRange(min=1))
def get(server: Server, number: int, *, everything: bool) -> None:
    """Show one event, with what it changed."""
    place = f"events/{number}"
    path = f"/api/v1/{place}" if everything else server.path(place)
    output.write_one(server.read(path).value, COLUMNS)


@command.command("checkpoint")
@client.connected
@click.option("--out", type=click.Path(path_type=Path), help="A new file; else standard output.")
def checkpoint(server: Server, out: Path | None) -> None:
    """Fetch the newest signed checkpoint, to be kept outside."""
    _fetch(server, "/api/v1/audit/checkpoint", out)


@command.command("proof")
@client.connected
@click.argument("number", metavar="POSITION", type=click.IntRange(min=1))
@click.option("--out", type=click.Path(path_type=Path), help="A new file; else standard output.")
def proof(server: Server, number: int, out: Path | None) -> None:
    """Fetch the proof that an event is in the log, for `muniment verify --proof`."""
    _fetch(server, f"/api/v1/audit/events/{number}/proof", out)


def _fetch(server: Server, path: str, out: Path | None) -> None:
    if out is not None:
        require_new(out)
    with (
        server.answer("GET", path) as answer,
        nullcontext(sys.stdout.buffer) if out is None else new_file(out) as file,
    ):
        file.write(answer.read())


def _copy(answer: HTTPResponse, file: IO[bytes], progress: _Progress) -> None:
    from http.client import IncompleteRead

    while chunk := answer.read1(_CHUNK_BYTES):
        file.write(chunk)
        progress.show(chunk)
    # Of an answer that tells neither its length nor its end nobody knows whether it is whole.
    if not answer.chunked and answer.length != 0:
        raise IncompleteRead(b"")
    progress.end()


class _Progress:
    """A line on a terminal that says how far it is; nothing where there is none."""

    def __init__(self, pattern: re.Pattern[bytes], after: int, until: int) -> None:
        self._pattern = pattern
        self._after = after
        self._until = until
        self._is_shown = sys.stderr.isatty()
        self._begun = time.monotonic()
        self._shown = 0.0
        self._position = after
        self._lines = 0

    def show(self, chunk: bytes) -> None:
        """Look at what came, and now and then say how far that is."""
        if not self._is_shown:
            return
        # The last line that begins in what came.
        begin = chunk.rfind(b"\n", 0, chunk.rfind(b"\n")) + 1
        found = self._pattern.match(chunk, begin)
        self._position = int(found[1]) if found else self._position
        self._lines += chunk.count(b"\n")
        now = time.monotonic()
        if now - self._shown >= _SHOWN_EVERY_SECONDS:
            self._shown = now
            self._write()

    def end(self) -> None:
        """Say that it is whole."""
        if self._is_shown:
            self._position = self._until
            self._write()
            click.echo(err=True)

    def _write(self) -> None:
        wanted = self._until - self._after
        share = (self._position - self._after) / wanted if wanted > 0 else 1.0
        seconds = max(time.monotonic() - self._begun, 0.001)
        left = seconds * (1 - share) / max(share, 0.001)
        bar = ("#" * int(share * 30)).ljust(30, ".")
        said = f"{self._position}/{self._until}, {self._lines / seconds:,.0f} lines/s"
        click.echo(f"\r[{bar}] {said}, {left:,.0f} s left ", err=True, nl=False)
