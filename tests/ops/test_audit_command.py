"""Does the command that fetches the trail keep only what is whole, and say how far it is?"""

from __future__ import annotations

import os
import pty
import re
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import pytest

from api.trail.questions import FILTERS
from ops.cli import trail
from ops.cli.commands import audit

LINES: Final = 40
TRAIL: Final = [b'{"position":%d,"topic":"x"}\n' % number for number in range(1, LINES + 1)]
HEAD: Final = b"HTTP/1.1 200 OK\r\nX-Muniment-Position: %d\r\n" % LINES
SHOWN: Final = re.compile(r"\r\[([#.]{30})\] (\d+)/(\d+), [\d,]+ lines/s, [\d,]+ s left ")

Send = Callable[[bytes], object]


def chunked(send: Send, *, whole: bool = True, after: int = 0) -> None:
    """Answer with an end of its own, or without it."""
    send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    for line in TRAIL[after : None if whole else 7]:
        send(b"%x\r\n%s\r\n" % (len(line), line))
    if whole:
        send(b"0\r\n\r\n")


def measured(send: Send, *, whole: bool = True) -> None:
    """Answer with a length, or with less than that."""
    body = b"".join(TRAIL)
    send(HEAD + b"Content-Length: %d\r\n\r\n" % len(body))
    send(body if whole else body[:-9])


def endless(send: Send, *, whole: bool = True) -> None:
    """Answer with nothing that says where it ends, as a proxy may make of a cut answer."""
    del whole
    send(HEAD + b"\r\n" + b"".join(TRAIL[:7]))


class Stub(socketserver.ThreadingTCPServer):
    """A server on loopback that answers as it is told, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: Callable[[Send], None] = chunked
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:  # noqa: ANN401 - the options of a process
        """Run `muniment audit export` against it."""
        command = [sys.executable, "-m", "ops.cli.main", "audit", "export", *arguments]
        environment = {
            **os.environ,
            "MUNIMENT_API_TOKEN": "a-token",
            "MUNIMENT_SERVER": f"http://127.0.0.1:{self.server_address[1]}",
        }
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.run(command, env=environment, check=False, **streams)


class _Handler(socketserver.StreamRequestHandler):
    server: Stub

    def handle(self) -> None:
        self.server.asked.append(self.rfile.readline().split()[1].decode())
        while self.rfile.readline().strip():
            pass
        self.server.answer(self.wfile.write)


@pytest.fixture
def stub() -> Iterator[Stub]:
    """Yield a server that answers a whole trail."""
    made = Stub()
    yield made
    made.shutdown()
    made.server_close()


# What is asked


def test_there_is_an_option_for_every_filter(stub: Stub) -> None:
    """Issue 4.5: exactly the filtered view; each option goes to the route under its own name."""
    assert {*FILTERS, "after", "before", "subject"} | {"until-time"} == {*trail.FILTERS}
    given = {name: f"of {name}" for name in trail.FILTERS}
    given["after"] = "7"
    options = [word for name, value in given.items() for word in (f"--{name}", value)]

    stub.run(*options, "--stream", "journal", "--format", "csv", "--tenant", "beta")
    stub.run("--everything")

    url = urlsplit(stub.asked[0])
    assert url.path == "/api/v1/beta/audit/export"
    expected = {name.replace("-", "_"): value for name, value in given.items()}
    assert dict(parse_qsl(url.query)) == {"stream": "journal", "format": "csv", **expected}
    assert stub.asked[1] == "/api/v1/audit/export?format=ndjson&stream=log"


# What is kept


@pytest.mark.parametrize("answer", [chunked, measured])
def test_a_whole_answer_is_a_new_file_of_its_own(
    stub: Stub, tmp_path: Path, answer: Callable[[Send], None]
) -> None:
    """Cli 6: the file is there when all of it is, readable to its owner alone, nothing beside."""
    stub.answer = answer
    file = tmp_path / "trail"

    done = stub.run("--out", str(file))

    assert (done.returncode, done.stderr) == (0, b"position %d\n" % LINES)
    assert file.read_bytes() == b"".join(TRAIL)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [*tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("answer", [chunked, measured, endless])
def test_an_answer_that_is_not_whole_leaves_no_file(
    stub: Stub, tmp_path: Path, answer: Callable[..., None]
) -> None:
    """Nobody takes for the trail what was cut off, not under any name; exit code 9."""
    stub.answer = lambda send: answer(send, whole=False)

    done = stub.run("--out", str(tmp_path / "trail"))

    assert (done.returncode, done.stderr) == (
        9,
        b"Error: the export is not whole: IncompleteRead (127.0.0.1:%d)\n" % stub.server_address[1],
    )
    assert [*tmp_path.iterdir()] == []


def test_a_file_that_is_there_is_left_alone(stub: Stub, tmp_path: Path) -> None:
    """An earlier export is evidence: it is not written over, and nothing is asked for."""
    file = tmp_path / "trail"
    file.write_text("kept")

    assert stub.run("--out", str(file)).returncode == 8
    assert (file.read_text(), stub.asked) == ("kept", [])


# How far it is


def test_a_terminal_is_shown_how_far_it_is_to_the_end(stub: Stub, tmp_path: Path) -> None:
    """Issue 4.5: a progress bar in the command line, drawn over itself until it is full."""
    file = tmp_path / "trail"

    for after in (0, 20):
        stub.answer = partial(chunked, after=after)
        leader, follower = pty.openpty()
        file.unlink(missing_ok=True)
        done = stub.run("--out", str(file), "--after", str(after), stderr=follower)
        os.close(follower)
        written = _read(leader).decode()

        shown = SHOWN.findall(written)
        places = [int(place) for _, place, _ in shown]
        assert done.returncode == 0
        assert len(shown) >= 2
        assert places == sorted(places)
        share = (places[0] - after) / (LINES - after)
        assert 0 < share
        assert shown[0][0].count("#") == int(share * 30)
        assert {until for _, _, until in shown} == {str(LINES)}
        assert (shown[-1][0], places[-1]) == ("#" * 30, LINES)
        assert SHOWN.sub("", written).split() == ["position", str(LINES)]


def _read(leader: int) -> bytes:
    """Answer all that was written to a terminal whose other end is closed."""
    found = b""
    while True:
        try:
            found += os.read(leader, 65_536)
        except OSError:
            os.close(leader)
            return found


@pytest.mark.parametrize("form", audit.FORMATS)
def test_the_place_is_found_in_a_line_of_each_format(form: str) -> None:
    """What is drawn is a position, in the log's lines as in the journal's."""
    lines = {
        "ndjson": b'{"position":17,"topic":"journal.sign_in"}',
        "csv": b"17,2026-01-01T00:00:00Z,main",
        "ocsf": b'{"class_uid":3002,"metadata":{"log_name":"journal","sequence":17},"time":5}',
        "cloudevents": b'{"specversion":"1.0","id":"17","source":"https://x/api/v1#journal"}',
    }

    found = audit._POSITIONS[form].match(lines[form])  # noqa: SLF001 - drawn only on a terminal

    assert found is not None
    assert found[1] == b"17"


def test_without_a_terminal_no_bar_is_written(stub: Stub) -> None:
    """Standard error in a file or a pipe holds the position and nothing else."""
    done = stub.run()

    assert done.stdout == b"".join(TRAIL)
    assert done.stderr == b"position %d\n" % LINES
