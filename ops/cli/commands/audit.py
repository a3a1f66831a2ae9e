"""How is the audit trail fetched from a server, whole or not at all?"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlencode

import click

from ops.cli import client
from ops.cli.client import Server
from ops.cli.files import new_file, require_new

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


# The filters of the search (http-api 5), each the option of a parameter of the route.
FILTERS: Final = {
    "after": "Only what follows this position.",
    "until": "Up to this position, or not after this instant.",
    "before": "Only before this position.",
    "since": "Not before this instant.",
    "until-time": "Not after this instant.",
    "type": "Only these types, such as token.* or journal.sign_in.",
    "actor": "Only what this principal did.",
    "token": "Only with the API token of this id.",
    "target": "Only what concerns the object of this id.",
    "subject": "The same as --target.",
    "address": "Only from this IP address.",
    "correlation": "Only of this request.",
    "command": "Only of this command.",
    "outcome": "Only what was ALLOWED or DENIED.",
    "q": "Only what has all these words.",
}

Command = TypeVar("Command", bound=Callable[..., None])


def _filtered(command: Command) -> Command:
    """Give a command the options of all filters."""
    for name, said in reversed(FILTERS.items()):
        command = click.option(f"--{name}", help=said)(command)
    return command


@click.group(cls=client.Group)
def command() -> None:
    """Read the audit trail of a server."""


@command.command("export")
@client.connected
@click.option("--everything", is_flag=True, help="The whole installation; for instance owners.")
@click.option("--stream", type=click.Choice(STREAMS), default="log", show_default=True)
@click.option("--format", "form", type=click.Choice(FORMATS), default="ndjson", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="A new file; else standard output.")
@_filtered
@click.option("--personal", type=click.Choice(("omit", "include")))
def export(
    server: Server,
    everything: bool,  # noqa: FBT001 - a flag of the command line
    form: str,
    out: Path | None,
    **asked: str | None,
) -> None:
    """Write what all filters let through, oldest first: of the log, or of the journal."""
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
    click.echo(f"position {until}", err=True)


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
