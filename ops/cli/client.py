"""How does a client command speak to a server? (cli 2, 3, 4 and 6).

It imports no server code, and http.client only when something is asked.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode, urlsplit

import click

from ops.cli import options
from ops.cli.credentials import authorization
from ops.cli.failures import Failure, shown
from ops.cli.main import CONFLICT, FORBIDDEN, INVALID, NOT_FOUND, NOT_SIGNED_IN, UNREACHABLE
from ops.cli.options import Chosen, attach, chosen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from http.client import HTTPConnection, HTTPResponse

    Function = Callable[..., None]

_PROBLEM_BYTES_MAX: Final = 1_048_576
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_OK: Final = frozenset({200, 201, 204})
_STATUSES: Final = {
    401: NOT_SIGNED_IN,
    403: FORBIDDEN,
    404: NOT_FOUND,
    409: CONFLICT,
    412: CONFLICT,
    429: UNREACHABLE,
    503: UNREACHABLE,
}
_ATTEMPTS: Final = 3
_BUSY: Final = 503
# What is long in coming may come in pieces with pauses between.
_STREAM_SECONDS_MIN: Final = 60.0
_LOST_SECONDS: Final = 0.2
_SECRET: Final = frozenset(
    {"authorization", "cookie", "fulltoken", "password", "oldpassword", "newpassword"}
    | {"secret", "token", "set-cookie", "x-csrf-token"}
)
_SHOWN: Final = frozenset({"content-type", "accept", "idempotency-key", "x-muniment-reason"})


class Command(click.Command):
    """A command that takes the global options."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - those of click
        super().__init__(*arguments, **named)
        attach(self)
        self.epilog = self.epilog or "Options of every command: `muniment --help`."


class Group(click.Group):
    """A noun: its commands take the global options, and it takes them too."""

    command_class = Command

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - those of click
        super().__init__(*arguments, **named)
        attach(self)


class Answer(NamedTuple):
    """What the server answered: JSON, or None for an empty body, and its position."""

    value: Any
    position: int


class Server:
    """A server, as somebody who is signed in."""

    def __init__(self, given: Mapping[str, Chosen]) -> None:
        self._given = given
        self._url = urlsplit(str(self._value("server")))
        if self._url.scheme not in {"http", "https"} or not self._url.hostname:
            raise click.UsageError("--server must be an address such as https://access.example.com")
        if (
            self._url.scheme == "http"
            and self._url.hostname not in _LOOPBACK
            and not self._value("insecure_http")
        ):
            raise click.UsageError(
                "credentials are not sent over plain HTTP: use https, or --insecure-http"
            )
        self.tenant = str(self._value("tenant"))
        self._authorization = authorization(given)

    def _value(self, name: str) -> Any:  # noqa: ANN401 - of the option's type
        found = self._given.get(name)
        return None if found is None else found.value

    def path(self, rest: str) -> str:
        """Answer the path of something in the chosen tenant; whoever writes `rest` quotes it."""
        return f"/api/v1/{quoted(self.tenant)}/{rest}"

    def moment(self) -> dict[str, Any]:
        """Answer which moment a reading is to show (cli 2.2). UsageError for two at once."""
        from ops.cli.times import instant

        at, position = self._value("at"), self._value("position")
        if at is not None and position is not None:
            raise click.UsageError("--at and --position are two moments: give one of them")
        asked = {
            "at": None if at is None else instant(str(at), "--at"),
            "position": position,
            "at_least": self._value("at_least"),
        }
        return {name: value for name, value in asked.items() if value is not None}

    def require_now(self, why: str) -> None:
        """Refuse a moment where it would be passed over, and something else shown or done."""
        if self._value("at") is not None or self._value("position") is not None:
            raise click.UsageError(f"--at and --position show the past, {why}")

    @property
    def dry_run(self) -> bool:
        """Tell whether nothing is to be written."""
        return bool(self._value("dry_run"))

    @property
    def reason(self) -> str | None:
        """Answer why something is written, as far as it was said."""
        found: str | None = self._value("reason")
        return found

    def read(self, path: str, **query: Any) -> Answer:  # noqa: ANN401 - parameters of the route
        """Answer what a reading gives, as of the chosen moment."""
        return self.read_target(target(path, {**query, **self.moment()}))

    def read_target(self, target: str) -> Answer:
        """Answer what a reading gives that names its moment itself."""
        with self.answer("GET", target) as answer:
            return read_body(answer)

    def read_version(self, path: str) -> tuple[Any, dict[str, str]]:
        """Answer what is there now, and the header that lets only that be changed (If-Match)."""
        with self.answer("GET", path) as answer:
            tag = answer.headers["ETag"]
            return read_body(answer).value, {"If-Match": tag}

    def ask(self, path: str, body: object) -> Answer:
        """Answer what a reading by POST gives."""
        with self.answer("POST", path, json.dumps(body).encode()) as answer:
            return read_body(answer)

    def write(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        **query: Any,  # noqa: ANN401 - parameters of the route
    ) -> Answer:
        """Give a command with its reason, once even if it is sent again (cli 6).

        In a dry run the answer is what the command would do, and nothing is written.
        """
        self.require_now("which nothing can change")
        import secrets

        key = self._value("idempotency_key") or secrets.token_urlsafe(24)
        sent = {"Idempotency-Key": key, **self._why(), **(headers or {})}
        if self.dry_run:
            query["dryRun"] = "true"
        content = None if body is None else json.dumps(body).encode()
        with self.answer(method, target(path, query), content, sent) as answer:
            return read_body(answer)

    def rehearse(self, method: str, path: str) -> Any:  # noqa: ANN401 - the events and the access
        """Answer what a command would do; nothing is written."""
        with self.answer(method, f"{path}?dryRun=true", None, self._why()) as answer:
            return read_body(answer).value

    def _why(self) -> dict[str, str]:
        if not self.reason:
            return {}
        if not self.reason.isprintable():
            raise click.UsageError("--reason must be one line of printable characters")
        return {"X-Muniment-Reason": self.reason}

    @contextmanager
    def answer(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        whole: str = "there is no answer",
        streamed: bool = False,
    ) -> Iterator[HTTPResponse]:
        """Yield the server's answer; a refusal, and an answer that breaks off, end with a code.

        `whole` is what is said of the latter.
        """
        from http.client import HTTPException

        sent = {**self._headers(), **(headers or {})}
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        connection: HTTPConnection | None = None
        try:
            connection, answer = self._asked(method, target, body, sent, streamed=streamed)
            if answer.status not in _OK:
                raise _refusal(answer)
            yield answer
        except (OSError, HTTPException) as fault:
            place = self._url.netloc.rpartition("@")[2]
            raise Failure(
                f"{whole}: {type(fault).__name__} ({place})", UNREACHABLE, code="server.unreachable"
            ) from None
        finally:
            if connection is not None:
                connection.close()

    def _headers(self) -> dict[str, str]:
        sent = {}
        for header in self._value("header") or ():
            name, equals, value = header.partition("=")
            if not equals or not name or not f"{name}{value}".isprintable():
                raise click.UsageError("--header must be NAME=VALUE")
            sent[name] = value
        return {**sent, "Authorization": self._authorization}

    def _asked(
        self,
        method: str,
        target: str,
        body: bytes | None,
        sent: Mapping[str, str],
        *,
        streamed: bool,
    ) -> tuple[HTTPConnection, HTTPResponse]:
        """Ask, and again after a lost connection or a 503, within the time there is.

        What is sent changes nothing, or has a key by which it is done once.
        """
        from http.client import HTTPException

        seconds = float(self._value("timeout"))
        end = time.monotonic() + seconds
        is_repeatable = method == "GET" or "Idempotency-Key" in sent
        for attempt in range(1, _ATTEMPTS + 1):
            is_last = not is_repeatable or attempt == _ATTEMPTS
            with contextlib.ExitStack() as stack:
                connection = self._connection(seconds, streamed=streamed)
                stack.callback(connection.close)
                try:
                    self._log(f"> {method} {target}", sent, body)
                    encoded = {name: value.encode() for name, value in sent.items()}
                    connection.request(method, target, body=body, headers=encoded)
                    answer = connection.getresponse()
                    self._log(f"< {answer.status}", dict(answer.headers), None)
                    pause = _pause(answer)
                    if answer.status != _BUSY or is_last or time.monotonic() + pause > end:
                        stack.pop_all()
                        return connection, answer
                except (OSError, HTTPException):
                    pause = _LOST_SECONDS * attempt
                    if is_last or time.monotonic() + pause > end:
                        raise
            time.sleep(pause)
        raise AssertionError("the last attempt answers or raises")

    def _connection(self, seconds: float, *, streamed: bool) -> HTTPConnection:
        from http.client import HTTPConnection, HTTPSConnection

        seconds = max(seconds, _STREAM_SECONDS_MIN) if streamed else seconds
        host, port = str(self._url.hostname), self._url.port
        if self._url.scheme == "http":
            return HTTPConnection(host, port, timeout=seconds)
        import ssl

        context = ssl.create_default_context(cafile=self._value("ca_file"))
        return HTTPSConnection(host, port, timeout=seconds, context=context)

    def _log(self, line: str, headers: Mapping[str, str], body: bytes | None) -> None:
        """Write what is sent and what comes, with `--debug`, and no secret of either."""
        if not self._value("debug"):
            return
        click.echo(shown(line), err=True)
        for name, value in headers.items():
            is_known = name.lower() in _SHOWN or line.startswith("<")
            is_told = is_known and name.lower() not in _SECRET
            click.echo(shown(f"  {name}: {value if is_told else '…'}"), err=True)
        if body is not None:
            with contextlib.suppress(ValueError):
                click.echo(f"  {shown(json.dumps(_without_secrets(json.loads(body))))}", err=True)


def connected(command: Function) -> Function:
    """Pass a command `server`, the server that the global options name."""

    @wraps(command)
    def with_server(**given: Any) -> None:  # noqa: ANN401 - the command's own options
        command(server=Server(chosen()), **given)

    return with_server


def done(answer: Answer) -> None:
    """Say on standard error at which position something was written (cli 3)."""
    given = options.given()
    is_usual = options.form() in {"table", "csv", "name"} and not given.get("quiet")
    if is_usual or given.get("verbose"):
        click.echo(f"position {answer.position}", err=True)


def is_asked() -> bool:
    """Tell whether somebody may be asked: on a terminal, and without --no-input."""
    return sys.stdin.isatty() and not options.given().get("no_input")


def require_yes(question: str) -> None:
    """Go on only after a yes, by `-y` or on a terminal (cli 6, level 1)."""
    if options.given().get("yes"):
        return
    if not is_asked():
        raise click.UsageError(f"{question} Give --yes, since nobody can be asked")
    click.confirm(question, abort=True, err=True)


def require_name(name: str, confirm: str | None) -> None:
    """Go on only after the name was typed once more (cli 6, level 2)."""
    if confirm is None:
        if not is_asked():
            raise click.UsageError(f"give --confirm {name}, since nobody can be asked")
        confirm = click.prompt(f"This cannot be undone. Type {name}", err=True)
    if confirm != name:
        raise click.UsageError(f"--confirm must be {name}; nothing is done")


def target(path: str, query: Mapping[str, Any]) -> str:
    """Answer a path with those parameters that have a value."""
    asked = {name: value for name, value in query.items() if value is not None}
    # A raw request may have a query already.
    divider = "&" if "?" in path else "?"
    return f"{path}{divider}{urlencode(asked, doseq=True)}" if asked else path


def _pause(answer: HTTPResponse) -> float:
    """Answer how many seconds a busy server wants to be left alone, a date taken for one second."""
    wanted = answer.headers.get("Retry-After", "")
    return float(wanted) if wanted.isascii() and wanted.isdigit() else 1.0


def quoted(segment: str) -> str:
    """Answer a text as one segment of a path."""
    from urllib.parse import quote

    return quote(segment, safe="")


def read_body(answer: HTTPResponse) -> Answer:
    """Answer the JSON of an answer, with its position."""
    content = answer.read()
    position = int(answer.headers.get("X-Muniment-Position", "0"))
    try:
        return Answer(json.loads(content) if content else None, position)
    except ValueError:
        raise Failure("the server did not answer as Muniment does", INVALID) from None


def _without_secrets(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return {
            key: "…" if key.lower() in _SECRET else _without_secrets(one)
            for key, one in value.items()
        }
    return [_without_secrets(one) for one in value] if isinstance(value, list) else value


def _refusal(answer: HTTPResponse) -> Failure:
    status = _STATUSES.get(answer.status, INVALID)
    try:
        problem = json.loads(answer.read(_PROBLEM_BYTES_MAX))
        said = [str(problem["message"]), str(answer.status)]
        said += [str(problem[name]) for name in ("code", "requestId") if name in problem]
    except (ValueError, KeyError, TypeError):
        message = f"the server did not answer as Muniment does ({answer.status})"
        return Failure(message, status, code="server.unknown")
    return Failure(f"{said[0]} ({', '.join(said[1:])})", status, problem=problem)
