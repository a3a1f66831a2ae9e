"""Does access come over from another installation, whole but for secrets? (issue 6, item 4)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from ops.cli.main import NOT_SIGNED_IN
from tests.e2e.desk import Desk
from tests.e2e.node import OWNER_EMAIL, Node
from tests.e2e.test_access_files import written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ACCESS = """
roles:
  - {name: deployer, permissions: {FLOW: [VIEW, LIST, UPDATE]}}
service_accounts:
  - {name: ci-bot, description: GitHub Actions}
  - {name: carrier}
groups:
  - {name: Bots, members: ["sa:ci-bot", "user:grace@example.com"], owners: ["sa:carrier"]}
bindings:
  - {subject: "group:Bots", role: deployer, namespace: prod}
  - {subject: "user:grace@example.com", role: deployer, resource: record/r-1}
"""


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Desk]:
    """A second installation, with nothing in it but its owner."""
    node = Node(tmp_path / "target")
    node.init()
    node.start()
    yield Desk(node, tmp_path)
    node.stop()


def test_access_comes_over_and_tokens_are_listed(desk: Desk, target: Desk, tmp_path: Path) -> None:
    """Users come without passwords, everything once, and the report says what is to be done."""
    names = ("--first-name", "Grace", "--last-name", "Hopper")
    desk.json("user", "create", "grace@example.com", *names, "--tenant-access", "main")
    assert desk.run("apply", "-f", written(tmp_path, ACCESS), "-y").returncode == 0
    secret = desk.run("token", "create", "sa:ci-bot", "github").stdout.strip()
    token = tmp_path / "token"
    token.write_text(desk.token, encoding="utf-8")
    report = tmp_path / "report.json"
    line = ("kestra", "import", "--from", desk.node.url, "--from-token-file", str(token))

    while target.appended():
        pass
    tried = target.run(*line, "--dry-run")
    assert tried.returncode == 0, tried.stderr
    assert "new user grace@example.com" in tried.stdout
    assert "user grace@example.com gains FLOW:VIEW in main, prod" in tried.stdout
    assert target.appended() == []

    done = target.run(*line, "--report", str(report), "-y")
    assert done.returncode == 0, done.stderr
    assert "issue again: token github of sa:ci-bot" in done.stderr
    told = json.loads(report.read_text(encoding="utf-8"))
    assert {"owner": "sa:ci-bot", "name": "github"} in [
        {key: one[key] for key in ("owner", "name")} for one in told["tokens"]
    ]
    assert secret not in report.read_text(encoding="utf-8") + done.stdout + done.stderr
    assert target.json("user", "get", "grace@example.com")["firstName"] == "Grace"
    assert "BASIC_AUTH" not in json.dumps(target.json("user", "get", "grace@example.com"))

    theirs, ours = (yaml.safe_load(one.run("dump").stdout) for one in (desk, target))
    for kind, objects in yaml.safe_load(ACCESS).items():
        assert [one for one in ours[kind] if one in theirs[kind]] == [
            one for one in theirs[kind] if one in ours[kind]
        ]
        assert all(any(one.items() <= other.items() for other in ours[kind]) for one in objects)
    target.appended()
    again = target.run(*line, "-y")
    assert (again.returncode, again.stdout) == (0, "nothing to do\n"), again
    assert target.appended() == []


def test_a_stopped_import_goes_on(desk: Desk, target: Desk, tmp_path: Path) -> None:
    """What is there already is not made again, and a user who is known only gets access."""
    token = tmp_path / "token"
    token.write_text(desk.token, encoding="utf-8")
    line = ("kestra", "import", "--from", desk.node.url, "--from-token-file", str(token))
    desk.json("sa", "create", "first")
    desk.json("sa", "create", "second")
    target.json("sa", "create", "first")
    desk.json("user", "create", "known@example.com", "--tenant-access", "main")
    target.json("user", "create", "known@example.com")
    done = target.run(*line, "-y")
    assert done.returncode == 0, done.stderr
    assert "new service account second" in done.stdout
    assert "new service account first" not in done.stdout
    assert f"new user {OWNER_EMAIL}" not in done.stdout
    assert "give user known@example.com access" in done.stdout
    access = target.json("tenant-access", "get", "user:known@example.com")
    assert access["username"] == "known@example.com"


def test_a_source_that_refuses_is_told(desk: Desk, target: Desk, tmp_path: Path) -> None:
    """Nothing is made of half an answer."""
    token = tmp_path / "token"
    token.write_text("muns_none", encoding="utf-8")
    while target.appended():
        pass
    line = ("kestra", "import", "--from", desk.node.url, "--from-token-file", str(token), "-y")
    assert target.run(*line).returncode == NOT_SIGNED_IN
    assert target.appended() == []
