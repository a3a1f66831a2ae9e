"""Is anything of the trail lost where the server is killed while it hands the trail over?"""

from __future__ import annotations

import http.client
import http.server
import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from projections import export_lines
from projections.verifier import ProofError
from tests.campaigns import access
from tests.campaigns.client import Client, bearer
from tests.e2e.node import PROGRAM, Node
from tests.e2e.test_audit_delivery import export_command, without_gap

MANY: Final = 8_000
A_REQUEST: Final = 500
# Long names make long lines: more than what the system keeps between server and reader.
FILLER: Final = "n" * 120
PART_BYTES: Final = 100_000
WAIT_SECONDS: Final = 60
TRIES: Final = 5


# Exports


def fill(node: Node, token: str, many: int) -> int:
    """Make a trail of so many events and more; answer its last position."""
    with Client(node.url, bearer(token)) as client:
        role = client.made("POST", "/api/v1/main/roles", {"name": "many", "permissions": {}})["id"]
        for begin in range(0, many, A_REQUEST):
            group = client.made("POST", "/api/v1/main/groups", {"name": f"Many {begin}"})["id"]
            bound = {"type": "GROUP", "externalId": group, "roleId": role}
            places = [{**bound, "namespaceId": f"{FILLER}{one}"} for one in range(A_REQUEST)]
            answer = client.ask("POST", "/api/v1/main/bindings/bulk", places)
            assert answer.ok, answer.text
    return answer.position


@pytest.fixture(scope="module")
def long_trail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, str, int]]:
    """A server with a long trail, the token of an owner, and the last position."""
    node = Node(tmp_path_factory.mktemp("export") / "data")
    node.init()
    node.start()
    token = access.owner_token(node.url)
    yield node, token, fill(node, token, MANY)
    node.stop()


class Export:
    """An export that is read as slowly as wanted."""

    def __init__(self, node: Node, token: str, query: str) -> None:
        where = urlsplit(node.url)
        self._connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        headers = {"Authorization": bearer(token)}
        self._connection.request("GET", f"/api/v1/audit/export?{query}", headers=headers)
        self._response = self._connection.getresponse()
        assert self._response.status == 200

    def some(self) -> bytes:
        """The next part."""
        return self._response.read(PART_BYTES)

    def rest(self) -> tuple[bytes, bool]:
        """What else comes, and whether it came to its end."""
        came = b""
        try:
            while part := self._response.read(PART_BYTES):
                came += part
        except (OSError, http.client.HTTPException) as cut:
            return came + getattr(cut, "partial", b""), False
        finally:
            self._connection.close()
        return came, True


def whole_lines(text: bytes) -> bytes:
    """What came of an export, without a last line that did not come whole."""
    return text[: text.rfind(b"\n") + 1]


def last_position(lines: bytes) -> int:
    """The position of the last line."""
    found: int = json.loads(lines.splitlines()[-1])["position"]
    return found


def test_an_export_that_a_kill_cuts_is_seen_to_be_cut_and_goes_on_behind_what_came(
    long_trail: tuple[Node, str, int],
) -> None:
    """Audit-export 1: nobody takes it for a whole one; `after` what came lacks and repeats nothing.

    Control: asked for from one position too late or too early it is not the same.
    """
    node, token, head = long_trail
    whole, is_whole = Export(node, token, f"until={head}").rest()
    assert is_whole

    cut = Export(node, token, f"until={head}")
    came = cut.some()
    node.kill()
    rest, is_whole = cut.rest()
    node.start()

    assert not is_whole
    had = whole_lines(came + rest)
    last = last_position(had)
    assert last < head
    following = {
        after: Export(node, token, f"after={after}&until={head}").rest()[0]
        for after in (last - 1, last, last + 1)
    }
    assert had + following[last] == whole
    assert had + following[last - 1] != whole
    assert had + following[last + 1] != whole


def test_a_command_that_a_kill_cuts_leaves_no_file(
    long_trail: tuple[Node, str, int], tmp_path: Path
) -> None:
    """Cli 6: a file is there whole or not at all; the same command makes it afterwards."""
    node, token, head = long_trail
    out = tmp_path / "trail"
    options = ("--everything", "--format", "ocsf", "--until", str(head), "--out", str(out))
    codes = []
    for _ in range(TRIES):
        command, environment = export_command(node, token, *options)
        running = subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        while running.poll() is None and not any(
            path.stat().st_size for path in tmp_path.iterdir()
        ):
            time.sleep(0.001)
        running.send_signal(signal.SIGSTOP)
        node.kill()
        running.send_signal(signal.SIGCONT)
        _, said = running.communicate(timeout=WAIT_SECONDS)
        codes.append(running.returncode)
        node.start()
        if running.returncode:
            break
        # It was faster than the kill.
        out.unlink()

    assert codes[-1] == 9, said
    assert b"the export is not whole" in said
    assert [*tmp_path.iterdir()] == []

    command, environment = export_command(node, token, *options)
    subprocess.run(command, env=environment, check=True, capture_output=True)
    expected, _ = Export(node, token, f"format=ocsf&until={head}").rest()
    assert out.read_bytes() == expected


# Deliveries


class Dying(http.server.ThreadingHTTPServer):
    """A receiver that gets stuck at one batch: that one it never takes."""

    def __init__(self, stuck_at: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.stuck_at = stuck_at
        self.stuck = threading.Event()
        self.let_go = threading.Event()
        self.got: list[int] = []
        self.came = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}/in"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.came += 1
        if server.came == server.stuck_at:
            server.stuck.set()
            server.let_go.wait(WAIT_SECONDS)
            self.close_connection = True
            return
        server.got += [int(event["id"]) for event in events]
        self.send_response(204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def dying() -> Iterator[Dying]:
    """Yield a receiver that gets stuck at its second batch."""
    found = Dying(stuck_at=2)
    yield found
    found.let_go.set()
    found.shutdown()
    found.server_close()


def prepared(tmp_path: Path, program: str) -> Node:
    """A node with a directory for files, and with loopback allowed."""
    settings = {
        "MUNIMENT_SINK_DIR": str(tmp_path / "sinks"),
        "MUNIMENT_SINK_NETWORKS": "127.0.0.0/8",
    }
    return Node(tmp_path / "data", program=program, settings=settings)


def installation(tmp_path: Path, program: str) -> Node:
    """A new installation, served by a build."""
    (tmp_path / "sinks").mkdir(mode=0o700)
    node = prepared(tmp_path, program)
    node.init()
    node.start()
    return node


def deliver_all(node: Node, token: str) -> int:
    """Wait until every sink has everything; answer the last position."""
    end = time.monotonic() + WAIT_SECONDS
    with Client(node.url, bearer(token)) as client:
        while True:
            answer = client.ask("GET", "/api/v1/audit/sinks")
            reached = {one["delivery"]["position"] for one in answer.body["items"]}
            if reached == {answer.position}:
                return answer.position
            assert time.monotonic() < end, answer.body
            time.sleep(0.1)


def make_sink(node: Node, token: str, **members: object) -> None:
    """Make a sink that is to have everything from the beginning."""
    with Client(node.url, bearer(token)) as client:
        client.made("POST", "/api/v1/audit/sinks", {"name": "all", "after": 0, **members})


def test_a_kill_in_the_middle_of_deliveries_leaves_no_gap_and_no_half_line(
    tmp_path: Path, dying: Dying
) -> None:
    """Audit-export 2.1: killed before a batch was answered, and in the middle of a line.

    The webhook gets again what it never took; the line that was cut is whole, in its order, once.
    Control: before the restart that file does not pass.
    """
    node = installation(tmp_path, "tests.campaigns.mutants.torn")
    token = access.owner_token(node.url)
    make_sink(node, token, kind="file")
    fill(node, token, A_REQUEST)
    make_sink(node, token, kind="webhook", url=dying.url)
    torn = wait_for_torn_file(tmp_path / "sinks")
    assert dying.stuck.wait(WAIT_SECONDS)
    node.kill()
    dying.let_go.set()
    assert positions(torn.read_bytes()) == []

    again = prepared(tmp_path, PROGRAM)
    again.start()
    try:
        head = deliver_all(again, token)
    finally:
        again.stop()

    assert head > A_REQUEST
    assert without_gap(dying.got, head)
    assert positions(torn.read_bytes()) == [*range(1, head + 1)]


def test_a_build_to_which_sent_is_delivered_is_noticed(tmp_path: Path, dying: Dying) -> None:
    """Control of audit-export 2.1: what was sent and never taken is missing."""
    node = installation(tmp_path, "tests.campaigns.mutants.hasty")
    token = access.owner_token(node.url)
    fill(node, token, A_REQUEST)
    make_sink(node, token, kind="webhook", url=dying.url)
    try:
        assert dying.stuck.wait(WAIT_SECONDS)
        head = deliver_all(node, token)
        node.kill()
        dying.let_go.set()
    finally:
        node.stop()

    assert head > A_REQUEST
    assert dying.got
    assert not without_gap(dying.got, head)


def wait_for_torn_file(sinks: Path) -> Path:
    """The file of a sink that ends in the middle of a line, as soon as there is one."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        for path in sinks.glob("*/*.ndjson"):
            if not path.read_bytes().endswith(b"\n"):
                return path
        assert time.monotonic() < end, "no line was torn"
        time.sleep(0.01)


def positions(content: bytes) -> list[int]:
    """The positions of the lines; none where one of them is not whole."""
    try:
        return [export_lines.read(line)[0].position for line in content.splitlines()]
    except ProofError:
        return []
