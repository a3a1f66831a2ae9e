"""How does a client command speak to a server, and with which exit code does it fail? (cli 2, 4).

It imports no server code, and http.client only when something is asked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click

from ops.cli.main import CONFLICT, INVALID, UNREACHABLE

if TYPE_CHECKING:
    from http.client import HTTPResponse

Command = Callable[..., None]

_ANSWER_BYTES_MAX: Final = 65_536
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_OK: Final = frozenset({200, 201, 204})
_STATUSES: Final = {
    401: 4,
    403: 5,
    404: 6,
    409: CONFLICT,
    412: CONFLICT,
    429: UNREACHABLE,
    503: UNREACHABLE,
}


class Failure(click.ClickException):
    """An end with a message on standard error and an exit code of cli 4."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        setattr(self, "exit_code", status)  # noqa: B010 - click declares it on the class only


class Server:
    """A server, as somebody with a token."""

    def __init__(self, url: str, token: str) -> None:
        self._url = urlsplit(url)
        self._token = token
        if self._url.scheme not in {"http", "https"} or not self._url.hostname:
            raise click.UsageError("--server must be an address")
        if self._url.scheme == "http" and self._url.hostname not in _LOOPBACK:
            raise click.UsageError("credentials are not sent over plain HTTP")

    @contextmanager
    def answer(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        whole: str = "there is no answer",
    ) -> Iterator[HTTPResponse]:
        """Yield the server's answer; a refusal, and an answer that breaks off, end with a code.

        `whole` is what is said of the latter.
        """
        from http.client import HTTPConnection, HTTPException, HTTPSConnection

        kind = HTTPSConnection if self._url.scheme == "https" else HTTPConnection
        connection = kind(str(self._url.hostname), self._url.port, timeout=60)
        sent = {"Authorization": f"Bearer {self._token}", **(headers or {})}
        if body is not None:
            sent["Content-Type"] = "application/json"
        try:
            connection.request(method, target, body=body, headers=sent)
            answer = connection.getresponse()
            if answer.status not in _OK:
                raise _refusal(answer)
            yield answer
        except (OSError, HTTPException) as fault:
            place = self._url.netloc
            raise Failure(f"{whole}: {type(fault).__name__} ({place})", UNREACHABLE) from None
        finally:
            connection.close()


def options(command: Command) -> Command:
    """Give a command the options that every client command has; it is passed `server`, `tenant`."""

    @click.option("--server", envvar="MUNIMENT_SERVER", default="http://127.0.0.1:8080")
    @click.option("--api-token-file", envvar="MUNIMENT_API_TOKEN_FILE", type=click.File())
    @click.option(
        "--api-token", envvar="MUNIMENT_API_TOKEN", help="- reads it from standard input."
    )
    @click.option("--tenant", envvar="MUNIMENT_TENANT", default="main", show_default=True)
    @wraps(command)
    def connected(
        server: str,
        api_token_file: IO[str] | None,
        api_token: str | None,
        **given: Any,  # noqa: ANN401 - the command's own options
    ) -> None:
        command(server=Server(server, _token(api_token_file, api_token)), **given)

    return connected


def require_new(path: Path) -> None:
    """Refuse to write over a file that is there."""
    if path.exists():
        raise Failure(f"{path} is there already", INVALID)


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that has its name only when it is whole and synced, and is gone if it is not."""
    import os
    import tempfile

    begin = f".{path.name}."
    descriptor, name = tempfile.mkstemp(prefix=begin, suffix=".unfinished", dir=path.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        # Where it is whole it has another name by now.
        unfinished.unlink(missing_ok=True)


def _token(file: IO[str] | None, text: str | None) -> str:
    if text is None and file is not None:
        return file.read().strip()
    if text == "-":
        return sys.stdin.readline().strip()
    if not text:
        raise click.UsageError("an --api-token-file or --api-token is needed")
    return text


def _refusal(answer: HTTPResponse) -> Failure:
    import json

    try:
        said = json.loads(answer.read(_ANSWER_BYTES_MAX))["message"]
    except (ValueError, KeyError, TypeError):
        said = "the server did not answer as Muniment does"
    return Failure(f"{shown(said)} ({answer.status})", _STATUSES.get(answer.status, INVALID))


def shown(text: object) -> str:
    """Answer a text as it may be written to a terminal, which nothing that is told may steer."""
    return "".join(character for character in str(text) if character.isprintable())
