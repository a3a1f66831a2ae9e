"""What does the command line send, to whom, how often, and what does it import to do so?"""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

import click
import pytest

from ops.cli import client, lists
from ops.cli.failures import Failure
from ops.cli.main import INVALID, UNREACHABLE
from ops.cli.options import Chosen
from ops.cli.permissions import read_permissions
from ops.cli.times import duration, instant

if TYPE_CHECKING:
    from collections.abc import Iterator


TOKEN: Final = "muns_planted-token"
HEAVY: Final = ("litestar", "sqlalchemy", "eventsourcing", "httpx", "rich", "yaml", "http.client")


class Stub(http.server.ThreadingHTTPServer):
    """A server on loopback that gives the answers it was told, the last one for ever."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, dict[str, str], bytes]] = [(200, {}, b"{}")]
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def server_of(self, **given: object) -> client.Server:
        """Answer a client of it, with these options."""
        usual: dict[str, object] = {"server": self.url, "tenant": "main", "timeout": 10.0}
        chosen = {**usual, "api_token": TOKEN, **given}
        return client.Server({name: Chosen(value, "flag") for name, value in chosen.items()})


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Stub

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.asked.append((self.command, self.path, dict(self.headers), body))
        answers = self.server.answers
        status, headers, content = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - names of the standard library

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - its signature
        """Say nothing."""


@pytest.fixture
def stub() -> Iterator[Stub]:
    """Yield a server that answers `{}`."""
    made = Stub()
    yield made
    made.shutdown()
    made.server_close()


def test_a_redirect_carries_no_credentials(stub: Stub) -> None:
    """Cli 8.7: it is followed nowhere, so nobody else is told the token."""
    other = Stub()
    stub.answers = [(307, {"Location": f"{other.url}/api/v1/me"}, b"")]

    with pytest.raises(Failure) as refused:
        stub.server_of().read("/api/v1/me")

    assert refused.value.exit_code == INVALID
    assert other.asked == []
    other.shutdown()
    other.server_close()


def test_a_writing_is_sent_again_with_the_same_key(stub: Stub) -> None:
    """Cli 6: after a 503 with Retry-After, at most three times, so that it is done once."""
    busy = (503, {"Retry-After": "0"}, b"{}")
    stub.answers = [busy, busy, (200, {"X-Muniment-Position": "7"}, b'{"id":"x"}')]

    answer = stub.server_of(reason="because").write("POST", "/api/v1/main/groups", {"name": "n"})

    keys = {headers["Idempotency-Key"] for _, _, headers, _ in stub.asked}
    assert (len(stub.asked), len(keys)) == (3, 1)
    assert answer == ({"id": "x"}, 7)
    assert stub.asked[0][2]["X-Muniment-Reason"] == "because"
    assert stub.asked[0][3] == b'{"name": "n"}'

    stub.asked.clear()
    stub.answers = [busy]
    with pytest.raises(Failure) as refused:
        stub.server_of().write("POST", "/api/v1/main/groups", {})
    assert (len(stub.asked), refused.value.exit_code) == (3, UNREACHABLE)


def test_a_dry_run_stays_one_where_the_path_has_a_query(stub: Stub) -> None:
    """Cli 6: it is a parameter of its own, so that a raw request is never given by mistake."""
    stub.server_of(dry_run=True).write("POST", "/api/v1/main/roles?expandLegacy=true", {})

    ((_, path, _, _),) = stub.asked
    assert parse_qs(urlsplit(path).query) == {"expandLegacy": ["true"], "dryRun": ["true"]}


@pytest.mark.parametrize("moment", [{"at": "2026-01-01"}, {"position": 3}])
def test_the_past_is_changed_by_nothing(stub: Stub, moment: dict[str, object]) -> None:
    """Cli 2: a moment that could only be passed over is wrong usage, and nothing is sent."""
    with pytest.raises(click.UsageError, match="past"):
        stub.server_of(**moment).write("POST", "/api/v1/main/groups", {})
    assert stub.asked == []


def test_a_reason_is_one_line(stub: Stub) -> None:
    """Cli 2: no text of it becomes another header."""
    with pytest.raises(click.UsageError, match="--reason"):
        stub.server_of(reason="a\r\nX-Other: b").write("POST", "/api/v1/main/groups", {})
    assert stub.asked == []


def test_what_has_no_key_is_sent_once(stub: Stub) -> None:
    """Cli 6: a question by POST is not repeated, since nobody knows what it did."""
    stub.answers = [(503, {"Retry-After": "0"}, b"{}")]
    with pytest.raises(Failure):
        stub.server_of().ask("/access/v1/evaluation", {})
    assert len(stub.asked) == 1


def test_debug_shows_what_is_sent_without_secrets(
    stub: Stub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cli 8.6 and 8.13: neither header nor member; with the mask taken away, both are caught."""
    body = {"name": "seen", "password": "planted-password"}
    given = {"debug": True, "header": ("X-Key=planted-header",)}

    stub.server_of(**given).write("POST", "/api/v1/users", body)
    told = capsys.readouterr().err
    assert "POST /api/v1/users" in told
    assert "seen" in told
    assert "planted" not in told

    monkeypatch.setattr(client, "_SECRET", frozenset[str]())
    monkeypatch.setattr(client, "_SHOWN", frozenset({"authorization", "x-key"}))
    stub.server_of(**given).write("POST", "/api/v1/users", body)
    leaked = capsys.readouterr().err
    assert all(word in leaked for word in (TOKEN, "planted-header", "planted-password"))


@pytest.mark.parametrize(
    ("url", "insecure", "is_refused"),
    [
        ("http://access.example.com", False, True),
        ("http://access.example.com", True, False),
        ("http://localhost:8080", False, False),
        ("https://access.example.com", False, False),
        ("ftp://access.example.com", False, True),
    ],
)
def test_plain_http_is_for_loopback(
    stub: Stub, url: str, *, insecure: bool, is_refused: bool
) -> None:
    """Cli 2: credentials go over plain HTTP to nobody else, unless --insecure-http."""
    given = {"server": url, **({"insecure_http": True} if insecure else {})}
    if is_refused:
        with pytest.raises(click.UsageError):
            stub.server_of(**given)
    else:
        stub.server_of(**given)


def test_all_pages_of_a_list_show_one_moment(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cli 5: an instant is asked for once, then the position that it was found to be."""
    pages = [[{"id": str(number)} for number in range(size)] for size in (1000, 5)]
    stub.answers = [
        (200, {"X-Muniment-Position": "42"}, json.dumps({"results": rows}).encode())
        for rows in pages
    ]

    server = stub.server_of(at="2026-01-01T00:00:00Z")
    lists.write(server, "/api/v1/things", ("id",), limit=100, everything=True)

    first, second = (parse_qs(urlsplit(path).query) for _, path, _, _ in stub.asked)
    assert first == {"at": ["2026-01-01T00:00:00Z"], "page": ["1"], "size": ["1000"]}
    assert second == {"position": ["42"], "page": ["2"], "size": ["1000"]}
    assert len(capsys.readouterr().out.splitlines()) == 1 + 1000 + 5


def imported_by(*arguments: str) -> set[str]:
    """The heavy modules that a command has imported when it ends."""
    program = (
        "import sys, json, atexit\n"
        f"atexit.register(lambda: print(json.dumps([n for n in {HEAVY!r} if n in sys.modules])))\n"
        "from ops.cli.main import main\n"
        f"main({list(arguments)!r})\n"
    )
    done = subprocess.run(
        (sys.executable, "-c", program), capture_output=True, text=True, check=True
    )
    return {*json.loads(done.stdout.splitlines()[-1])}


def test_help_imports_nothing_heavy() -> None:
    """Cli 8.8 and 1: neither server code nor an HTTP client; control: YAML, when used."""
    assert imported_by("--help") == set()
    assert imported_by("sa", "--help") == set()
    assert imported_by("config", "show", "-o", "yaml") == {"yaml"}


def test_instants_and_durations_are_read_as_people_write_them() -> None:
    """Cli 2.2: a day is meant to its end in UTC; `never` is no duration at all."""
    assert instant("2026-03-31", "--at") == "2026-03-31T23:59:59.999999Z"
    assert instant("2026-03-31T12:00:00+02:00", "--at") == "2026-03-31T10:00:00Z"
    assert instant("24h", "--at") < instant("1h", "--at")
    assert [duration(text, "--for") for text in ("30m", "12h", "90d", "P1DT2H", "never")] == [
        *("PT30M", "PT12H", "P90D", "P1DT2H"),
        None,
    ]
    for text in ("", "P", "PT", "90", "1y", "-1d"):
        with pytest.raises(click.UsageError, match="--for"):
            duration(text, "--for")
    with pytest.raises(click.UsageError, match="--at"):
        instant("yesterday", "--at")


def test_permissions_are_read_with_either_divider() -> None:
    """Cli 2.2: the first `=` divides where a type contains `:`."""
    found = read_permissions(("FLOW:VIEW,LIST", "FLOW:LIST,UPDATE", "a:b=read"), "--permission")
    assert found == {"FLOW": ["VIEW", "LIST", "UPDATE"], "a:b": ["read"]}
    for text in ("FLOW", ":VIEW", "FLOW:", "FLOW:VIEW,"):
        with pytest.raises(click.UsageError):
            read_permissions((text,), "--permission")
