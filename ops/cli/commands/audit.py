"""How is the audit trail fetched from a server, whole or not at all?"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit

import click

from ops.cli.main import INVALID, UNREACHABLE

if TYPE_CHECKING:
    from http.client import HTTPResponse

FORMATS: Final = ("ndjson", "csv", "ocsf", "cloudevents")

_CHUNK_BYTES: Final = 65_536
_ANSWER_BYTES_MAX: Final = 65_536
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_PRIVATE_FILE: Final = 0o600
_SHOWN_EVERY_SECONDS: Final = 0.2
_OK: Final = 200
_STATUSES: Final = {401: 4, 403: 5, 404: 6, 429: UNREACHABLE, 503: UNREACHABLE}
# Where the position stands in a line of each format.
_POSITIONS: Final = {
    "ndjson": re.compile(rb'\{"position":([0-9]+),'),
    "csv": re.compile(rb"([0-9]+),"),
    "ocsf": re.compile(rb'.*"sequence":([0-9]+)'),
    "cloudevents": re.compile(rb'\{"specversion":"1.0","id":"([0-9]+)"'),
}


class Failure(click.ClickException):
    """An end with a message on standard error and an exit code of cli 4."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        setattr(self, "exit_code", status)  # noqa: B010 - click declares it on the class only


@click.group()
def command() -> None:
    """Read the audit trail of a server."""


@command.command("export")
@click.option("--server", envvar="MUNIMENT_SERVER", default="http://127.0.0.1:8080")
@click.option("--api-token-file", envvar="MUNIMENT_API_TOKEN_FILE", type=click.File())
@click.option("--api-token", envvar="MUNIMENT_API_TOKEN", help="- reads it from standard input.")
@click.option("--tenant", envvar="MUNIMENT_TENANT", default="main", show_default=True)
@click.option("--everything", is_flag=True, help="The whole installation; for instance owners.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="ndjson", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="A new file; else standard output.")
@click.option("--after", help="Only what follows this position.")
@click.option("--until", help="Up to this position.")
@click.option("--since", help="Not before this instant.")
@click.option("--until-time", help="Not after this instant.")
@click.option("--type", "types", help="Only these event types, such as token.*.")
@click.option("--actor", help="Only what this principal did.")
@click.option("--subject", help="Only what concerns the object of this id.")
@click.option("--personal", type=click.Choice(("omit", "include")))
def export(
    server: str,
    api_token_file: IO[str] | None,
    api_token: str | None,
    tenant: str,
    everything: bool,  # noqa: FBT001 - a flag of the command line
    form: str,
    out: Path | None,
    types: str | None,
    **filters: str | None,
) -> None:
    """Write the events that all filters let through, oldest first."""
    token = _token(api_token_file, api_token)
    if out is not None and out.exists():
        raise Failure(f"{out} is there already", INVALID)
    asked = {"format": form, "type": types, **filters}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    path = "/api/v1/audit/export" if everything else f"/api/v1/{tenant}/audit/export"
    with _answer(server, f"{path}?{query}", token) as answer:
        until = answer.headers["X-Muniment-Position"]
        with nullcontext(sys.stdout.buffer) if out is None else _new_file(out) as file:
            _copy(answer, file, _Progress(_POSITIONS[form], int(until)))
    click.echo(f"position {until}", err=True)


def _token(file: IO[str] | None, text: str | None) -> str:
    if text is None and file is not None:
        return file.read().strip()
    if text == "-":
        return sys.stdin.readline().strip()
    if not text:
        raise click.UsageError("an --api-token-file or --api-token is needed")
    return text


@contextmanager
def _answer(server: str, target: str, token: str) -> Iterator[HTTPResponse]:
    """Yield the server's answer of an export; what is none ends with its code."""
    from http.client import HTTPConnection, HTTPException, HTTPSConnection

    url = urlsplit(server)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise click.UsageError("--server must be an address")
    if url.scheme == "http" and url.hostname not in _LOOPBACK:
        raise click.UsageError("credentials are not sent over plain HTTP")
    kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
    connection = kind(url.hostname, url.port, timeout=60)
    try:
        connection.request("GET", target, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        if answer.status != _OK:
            raise _refusal(answer)
        yield answer
    except (OSError, HTTPException) as fault:
        raise Failure(f"the export is not whole: {type(fault).__name__}", UNREACHABLE) from None
    finally:
        connection.close()


def _refusal(answer: HTTPResponse) -> Failure:
    import json

    try:
        said = json.loads(answer.read(_ANSWER_BYTES_MAX))["message"]
    except (ValueError, KeyError, TypeError):
        said = "the server did not answer as Muniment does"
    # Nothing that a server says may steer a terminal.
    shown = "".join(character for character in str(said) if character.isprintable())
    return Failure(f"{shown} ({answer.status})", _STATUSES.get(answer.status, INVALID))


@contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that has its name only when it is whole and synced; else nothing is left."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        with os.fdopen(os.open(unfinished, flags, _PRIVATE_FILE), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _copy(answer: HTTPResponse, file: IO[bytes], progress: _Progress) -> None:
    while chunk := answer.read(_CHUNK_BYTES):
        file.write(chunk)
        progress.show(chunk)
    progress.end()


class _Progress:
    """A line on a terminal that says how far it is; nothing where there is none."""

    def __init__(self, pattern: re.Pattern[bytes], until: int) -> None:
        self._pattern = pattern
        self._until = until
        self._is_shown = sys.stderr.isatty()
        self._begun = time.monotonic()
        self._shown = 0.0
        self._position = 0
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
        share = self._position / self._until if self._until else 1.0
        rate = self._lines / max(time.monotonic() - self._begun, 0.001)
        bar = ("#" * int(share * 30)).ljust(30, ".")
        click.echo(
            f"\r[{bar}] {self._position}/{self._until}, {rate:,.0f} events/s ", err=True, nl=False
        )
