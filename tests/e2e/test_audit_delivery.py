"""Does every event reach a sink and an exporter, also when the server is killed in between?"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from ops.cli.commands import audit
from projections import export_lines
from tests.e2e.node import Node
from tests.ops.test_sink_targets import Receiver

WAIT_SECONDS = 60
KILLS = 3


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Yield a receiver on this machine."""
    found = Receiver()
    yield found
    found.shutdown()
    found.server_close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """An installation with a directory for files, and with loopback allowed."""
    (tmp_path / "sinks").mkdir(mode=0o700)
    served = Node(
        tmp_path / "data",
        settings={
            "MUNIMENT_SINK_DIR": str(tmp_path / "sinks"),
            "MUNIMENT_SINK_NETWORKS": "127.0.0.0/8",
        },
    )
    served.init()
    served.start()
    yield served
    served.stop()


def token_of(node: Node) -> str:
    """Return an instance owner's token."""
    with node.owner() as owner:
        body = {"name": "export"}
        text: str = owner.post("/api/v1/me/api-tokens", json=body).json()["fullToken"]
        return text


def write(node: Node, token: str, numbers: Iterator[int], stop: threading.Event) -> None:
    """Make groups until told to stop, whatever becomes of each."""
    while not stop.is_set():
        with suppress(httpx.HTTPError), node.client(token) as client:
            while not stop.is_set():
                client.post("/api/v1/main/groups", json={"name": f"group {next(numbers)}"})
        time.sleep(0.02)


def without_gap(positions: list[int], head: int) -> bool:
    """Tell whether the positions are 1 to head in order, apart from repeats of what came."""
    last = 0
    for position in positions:
        if position > last + 1:
            return False
        last = max(last, position)
    return last == head


def test_kills_lose_nothing_of_what_is_delivered(
    node: Node, receiver: Receiver, tmp_path: Path
) -> None:
    """Audit-export 2.1: `kill -9` under writes, and neither sink has a gap; repeats may be."""
    token = token_of(node)
    with node.client(token) as client:
        for kind in ({"kind": "webhook", "url": receiver.url}, {"kind": "file"}):
            made = client.post("/api/v1/audit/sinks", json={"name": "all", "after": 0, **kind})
            assert made.status_code == 201, made.text
    stop = threading.Event()
    writer = threading.Thread(target=write, args=(node, token, itertools.count(1), stop))
    writer.start()
    for _ in range(KILLS):
        time.sleep(0.8)
        node.kill()
        node.start()
    stop.set()
    writer.join(WAIT_SECONDS)
    # Both were held by a process that did not let go, for as long as a lease lasts.
    end = time.monotonic() + WAIT_SECONDS
    while True:
        with node.client(token) as client:
            answer = client.get("/api/v1/audit/sinks")
            head = int(answer.headers["x-muniment-position"])
            found = [one["delivery"] for one in answer.json()["items"]]
        if all(one["position"] == head for one in found):
            break
        assert time.monotonic() < end, found
        time.sleep(0.2)

    batches = (msgspec.json.decode(body) for _, _, body in receiver.got)
    by_webhook = [int(event["id"]) for batch in batches for event in batch]
    (directory,) = (tmp_path / "sinks").iterdir()
    lines = [
        line for path in sorted(directory.iterdir()) for line in path.read_bytes().splitlines()
    ]
    by_file = [export_lines.read(line)[0].position for line in lines]
    assert head > 100
    assert without_gap(by_webhook, head)
    assert without_gap(by_file, head)
    assert not without_gap([1, 2, 4], 4), "control: a gap is noticed"


# The command


def export_command(node: Node, token: str, *options: str) -> tuple[list[str], dict[str, str]]:
    """`muniment audit export` at a server, and its environment."""
    command = [sys.executable, "-m", "ops.cli.main", "audit", "export", "--server", node.url]
    return [*command, *options], {**os.environ, "MUNIMENT_API_TOKEN": token}


def muniment_audit(node: Node, token: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `muniment audit export`."""
    command, environment = export_command(node, token, *options)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("form", audit.FORMATS)
def test_the_command_writes_what_the_route_answers(node: Node, tmp_path: Path, form: str) -> None:
    """Cli 6: each format, to a new private file; the position is told for the next run."""
    token = token_of(node)
    file = tmp_path / "trail"
    options = ("--everything", "--format", form, "--until", "8")

    done = muniment_audit(node, token, *options, "--out", str(file))
    again = muniment_audit(node, token, *options, "--out", str(file))
    shown = muniment_audit(node, token, *options)

    with node.client(token) as client:
        query: dict[str, Any] = {"format": form, "until": 8}
        expected = client.get("/api/v1/audit/export", params=query).content
    assert (done.returncode, done.stderr) == (0, "position 8\n")
    assert file.read_bytes() == expected
    assert file.stat().st_mode & 0o777 == 0o600
    assert again.returncode == 8
    assert shown.stdout.encode() == expected.replace(b"\r\n", b"\n")


def test_the_command_writes_the_journal_by_the_filters_of_the_log(
    node: Node, tmp_path: Path
) -> None:
    """Cli 6: `--stream journal`, of one kind, up to a place of the journal's own."""
    token = token_of(node)
    file = tmp_path / "journal"
    options = ("--everything", "--stream", "journal", "--type")

    refused = muniment_audit(node, token, *options, "SIGN_IN")
    muniment_audit(node, token)
    done = muniment_audit(node, token, *options, "journal.audit_export", "--out", str(file))

    assert (refused.returncode, done.returncode) == (8, 0)
    found = [msgspec.json.decode(line) for line in file.read_bytes().splitlines()]
    assert [(one["topic"], one["operation"]) for one in found] == [
        ("journal.audit_export", "exportAudit")
    ]
    assert done.stderr.startswith("position ")


def test_the_command_tells_refusals_by_its_exit_code(node: Node, tmp_path: Path) -> None:
    """Cli 4: not signed in, malformed, plain HTTP elsewhere, nobody there; no file is left."""
    token = token_of(node)
    out = ("--out", str(tmp_path / "trail"))

    assert muniment_audit(node, "muns_nobody", *out).returncode == 4
    refused = muniment_audit(node, token, "--type", "TOKEN", *out)
    assert (refused.returncode, "Invalid query filters" in refused.stderr) == (8, True)
    assert muniment_audit(node, token, "--server", "http://muniment.example", *out).returncode == 2
    assert muniment_audit(node, token, "--server", "http://127.0.0.1:1", *out).returncode == 9
    assert not (tmp_path / "trail").exists()
