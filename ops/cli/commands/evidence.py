"""How is evidence fetched that can be checked offline? (cli 5.5)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ops.cli import client
from ops.cli.client import Server
from ops.cli.files import new_file, require_new

if TYPE_CHECKING:
    from http.client import HTTPResponse

KINDS: Final = {"sa": "service_account", "service_account": "service_account", "user": "user"}
_CHUNK_BYTES: Final = 65_536


def _written(command: Callable[..., None]) -> Callable[..., None]:
    out = click.option("--out", type=click.Path(path_type=Path), required=True, help="A new file.")
    return out(client.connected(command))


@click.group(cls=client.Group)
def command() -> None:
    """Fetch a file that proves offline who could do what: events, proofs, answers, a verifier.

    Check it by `muniment verify --evidence FILE --key KEY`, or by its own verify.py.
    """


@command.command("decision")
@_written
@click.argument("words", nargs=-1, required=True, metavar="NUMBER | SUBJECT ACTION TYPE[/ID] [NS]")
def decision(
    server: Server,
    out: Path,
    words: tuple[str, ...],
) -> None:
    """Prove a decision: one of the journal by its number, or any question as `check` asks it."""
    if len(words) == 1 and words[0].isdecimal():
        if server.moment():
            raise click.UsageError("a decision of the journal has its own moment")
        _fetch(server, "decision", out, number=words[0])
        return
    if not 3 <= len(words) <= 4:  # noqa: PLR2004 - the namespace may be left out
        raise click.UsageError("give NUMBER, or SUBJECT ACTION TYPE[/ID] [NAMESPACE]")
    subject, action, resource, *namespace = words
    type_, _, id_ = resource.partition("/")
    asked = {"resourceType": type_, "action": action, "resourceId": id_ or None}
    asked["namespace"] = namespace[0] if namespace else None
    _fetch(server, "decision", out, **_subject(subject), **asked)


@command.command("principal")
@_written
@click.argument("subject", metavar="sa:NAME|user:ID")
def principal(
    server: Server,
    out: Path,
    subject: str,
) -> None:
    """Prove what a user or service account may do, and every time at which that changed."""
    _fetch(server, "principal", out, **_subject(subject))


@command.command("interval")
@_written
@click.option("--from", "begin", required=True, help="A position or an instant.")
@click.option("--to", "end", help="A position or an instant; else now.")
def interval(server: Server, out: Path, begin: str, end: str | None) -> None:
    """Prove who could do what at two moments, and all that came between."""
    _fetch(server, "interval", out, **{"from": begin, "to": end})


def _subject(text: str) -> dict[str, str | None]:
    kind, _, id_ = text.partition(":")
    if kind not in KINDS or not id_:
        raise click.UsageError(f"{text} must be sa:NAME or user:ID")
    return {"type": KINDS[kind], "id": id_}


def _fetch(server: Server, kind: str, out: Path, **asked: str | None) -> None:
    require_new(out)
    asked_as_of = {**asked, **server.moment()}
    path = client.target(server.path(f"access/evidence/{kind}"), asked_as_of)
    with server.answer("GET", path, whole="the evidence is not whole", streamed=True) as answer:
        with new_file(out) as file:
            _copy(answer, file.write)
        position = answer.headers["X-Muniment-Position"]
    click.echo(f"position {position}", err=True)


def _copy(answer: HTTPResponse, write: Callable[[bytes], object]) -> None:
    from http.client import IncompleteRead

    while chunk := answer.read(_CHUNK_BYTES):
        write(chunk)
    if answer.length:
        raise IncompleteRead(b"")
