"""Does every client command do its work against a real server, in every form? (cli 8.1)."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import httpx
import pytest

from ops.cli.main import (
    DENIED,
    INVALID,
    NOT_FOUND,
)
from ops.cli.main import muniment as tree
from tests.e2e.desk import USAGE, Desk, leaves, words
from tests.tidy import ROOT

if TYPE_CHECKING:
    from pathlib import Path

# Commands whose tests are files of their own.
ELSEWHERE: Final = {
    "apply": "tests/e2e/test_access_files.py",
    "audit export": "tests/ops/test_audit_command.py",
    "dump": "tests/e2e/test_access_files.py",
    "erase": "tests/e2e/test_erasures.py",
    "evidence decision": "tests/e2e/test_evidence_packs.py",
    "evidence interval": "tests/e2e/test_evidence_packs.py",
    "evidence principal": "tests/e2e/test_evidence_packs.py",
    "kestra import": "tests/e2e/test_kestra_import.py",
    "simulate": "tests/e2e/test_simulate.py",
}
# One flow in the order of a newcomer: each line a command, `|` what its JSON must contain.
FLOW: Final = """
status | "edition": "EE"
whoami | "instanceOwner": true
group create Bots --description Programs | "name": "Bots"
group list | "name": "Bots"
group get Bots | "description": "Programs"
group update Bots --description Robots | "description": "Robots"
service-account create ci-bot --description CI --group Bots | "name": "ci-bot"
sa list --group Bots | "name": "Bots"
sa get ci-bot | "description": "CI"
sa update ci-bot --description Pipeline | "description": "Pipeline"
sa disable ci-bot -y | "enabled": false
sa enable ci-bot | "enabled": true
sas create helper | "name": "helper"
group add Bots sa:helper --expires-at 2099-01-01T00:00:00Z
group members Bots | "username": "helper"
group set-owner Bots sa:helper
group set-member Bots sa:helper
group remove Bots sa:helper -y
role create deployer --permission FLOW:VIEW,LIST,UPDATE --permission SECRET=VIEW | "SECRET"
role list --q deploy | "name": "deployer"
role get deployer | "UPDATE"
role update deployer --add FLOW:EXECUTE --remove SECRET:VIEW | "EXECUTE"
role duplicate deployer spare | "name": "spare"
role set-default spare | "isDefault": true
binding create group:Bots deployer --namespace prod | "namespace": "prod"
binding create sa:ci-bot spare --resource record/r-17 --expires-at 2099-01-01 | "id": "r-17"
binding list --subject group:Bots --role deployer --namespace prod | "name": "Bots"
check sa:ci-bot UPDATE FLOW prod.billing --explain | "decision": true
explain sa:ci-bot DELETE FLOW prod.billing | "decision": false
api GET /api/v1/main/roles/search?size=1 | "total"
api POST /api/v1/main/groups -d {"name":"Raw"} | "name": "Raw"
who-can UPDATE FLOW prod.billing | "service_account"
what-can sa:ci-bot | "record"
blame sa:ci-bot UPDATE FLOW prod.billing | "intervals"
tenant create beta --name Beta | "name": "Beta"
tenant list | "beta"
tenant get beta | "name": "Beta"
tenant update beta --name Gamma | "name": "Gamma"
user create grace@example.com --first-name Grace --tenant-access main | "grace@example.com"
user list --q grace | "grace@example.com"
user get grace@example.com | "firstName": "Grace"
user update grace@example.com --last-name Hopper | "Hopper"
user disable grace@example.com -y
user enable grace@example.com
tenant-access list --q grace | "grace@example.com"
tenant-access get user:grace@example.com | "userId"
tenant-access remove user:grace@example.com -y
tenant-access grant user:grace@example.com
owner give user:grace@example.com -y
owner list | "grace@example.com"
owner take user:grace@example.com -y
user delete grace@example.com -y
tenant delete beta --confirm beta
audit list --type group.* --since 24h --limit 3 | "sentence"
audit list --everything --q Hopper
audit get 12 --everything | "topic"
journal list --limit 2 | "summary"
history sa:ci-bot --limit 2 | "topic"
history role:deployer | "role.created.v1"
diff --from 1 --subject sa:ci-bot --namespace prod | "differences"
token create sa:ci-bot github --only FLOW:VIEW --only-namespace prod --extended | "muns_
token list sa:ci-bot | "name": "github"
token revoke sa:ci-bot --all -y
namespace list | "prod"
sink create siem --url http://127.0.0.1:9/hook --type token.* | "secret"
sink list | "siem"
sink pause siem | "paused": true
sink get siem | "paused": true
sink replay siem --from 3 | "position": 3
sink resume siem | "paused": false
sink delete siem -y
role delete spare -y
group delete Raw -y
sa delete helper -y
config show | "source"
config list
completion bash
version | .
"""


def test_every_command_works_in_both_forms(desk: Desk) -> None:
    """Cli 8.1, 8.4 and 3: JSON is the API's object, a table has lines; both end with 0.

    Every writing is rehearsed first: nothing is written then, and exactly what was announced after.
    """
    while desk.appended():
        pass
    for line in FLOW.strip().splitlines():
        expected = line.partition("| ")[2]
        announced = desk.announced(line)
        done = desk.run(*words(line), "--output=json")
        assert done.returncode == 0, (line, done.stderr)
        assert expected in done.stdout, (line, done.stdout)
        assert "position" not in done.stderr, line
        assert "Warning" not in done.stderr, line
        assert desk.appended() == announced, line
    tables = [
        *("sa list", "group list", "role list", "binding list", "whoami", "status", "tenant list"),
        *("user list", "who-can UPDATE FLOW prod", "what-can sa:ci-bot", "owner list"),
        *("audit list --limit 3", "journal list --limit 3", "history sa:ci-bot"),
        *("blame sa:ci-bot UPDATE FLOW prod", "explain sa:ci-bot VIEW FLOW"),
    ]
    for line in (
        *tables,
        "token list sa:ci-bot",
        "config show",
        "group members Bots",
        "namespace list",
    ):
        done = desk.run(*line.split())
        assert done.returncode == 0, (line, done.stderr)
        head, *rows = done.stdout.splitlines()
        assert head == head.upper() or line.startswith("explain"), line
        assert len(rows) > 0 or line.startswith("token"), line


def test_no_command_is_without_a_test() -> None:
    """Cli 8.1: a command without a test fails the run; what another test uses stands there."""
    shown = {" ".join(words(line)[:2]).replace("sas ", "sa ") for line in FLOW.strip().splitlines()}
    shown |= {words(line)[0] for line in FLOW.strip().splitlines()}
    shown = {line.replace("sa ", "service-account ") for line in shown}
    own = {"binding get", "binding delete", "token get", "token rotate", "token enable"}
    own |= {"token disable", "config add", "config use", "config remove"}
    own |= {"user set-password", "audit checkpoint", "audit proof"}
    names = {name for name, _ in leaves(tree)}

    for name, path in ELSEWHERE.items():
        assert name.split()[-1] in (ROOT / path).read_text(), name
    assert names <= shown | own | {*ELSEWHERE}
    assert own | {*ELSEWHERE} <= names


def test_bindings_and_tokens_are_shown_and_ended(desk: Desk) -> None:
    """Cli 5.2 and 5.3: by id; a rotated token has another secret, and a revoked one is no more."""
    desk.json("sa", "create", "rotator")
    desk.json("role", "create", "seer", "--permission", "FLOW:VIEW")
    binding = desk.json("binding", "create", "sa:rotator", "seer")["id"]
    assert desk.json("binding", "get", binding)["role"]["name"] == "seer"
    assert desk.run("binding", "delete", binding, "--yes").returncode == 0
    assert desk.run("binding", "get", binding).returncode == NOT_FOUND

    first = desk.run("token", "create", "sa:rotator", "one")
    assert first.stdout.startswith("muns_")
    assert "90d" in first.stderr
    (token,) = desk.json("token", "list", "sa:rotator")
    assert desk.json("token", "get", "sa:rotator", token["id"])["name"] == "one"
    assert desk.json("token", "disable", "sa:rotator", token["id"])["enabled"] is False
    assert desk.json("token", "enable", "sa:rotator", token["id"])["enabled"] is True
    second = desk.run("token", "rotate", "sa:rotator", token["id"], "--grace", "30m")
    assert second.stdout.startswith("muns_")
    assert second.stdout != first.stdout
    ids = [one["id"] for one in desk.json("token", "list", "sa:rotator")]
    assert desk.run("token", "revoke", "sa:rotator", *ids, "-y").returncode == 0
    assert desk.json("token", "list", "sa:rotator") == []


def test_namespaces_are_drawn_below_what_covers_them(desk: Desk) -> None:
    """Cli 5.2: those that bindings name, with how many do; what lies between has no number."""
    desk.json("sa", "create", "settler")
    desk.json("role", "create", "dweller", "--permission", "FLOW:VIEW")
    for path in ("land", "land.hill.house", "land.vale"):
        desk.json("binding", "create", "sa:settler", "dweller", "--namespace", path)
    drawn = desk.run("namespace", "list", "--tree").stdout
    assert "land  1\n  hill\n    house  1\n  vale  1\n" in drawn
    assert desk.run("namespace", "list", "--tree", "-o", "json").returncode == USAGE


def test_a_sink_that_is_not_there_is_said_so(desk: Desk) -> None:
    """Cli 4 and 2.2: sinks are named too."""
    assert desk.run("sink", "get", "none").returncode == NOT_FOUND
    assert desk.run("sink", "delete", "none", "-y").returncode == NOT_FOUND


def test_a_secret_may_go_to_a_new_file_only(desk: Desk, tmp_path: Path) -> None:
    """Cli 3: `--out` has mode 0600, is refused before a token is made, and prints no secret."""
    desk.json("sa", "create", "filer")
    out = tmp_path / "token"
    done = desk.run("token", "create", "sa:filer", "kept", "--out", str(out))
    assert done.returncode == 0, done.stderr
    secret = out.read_text().strip()
    assert secret.startswith("muns_")
    assert out.stat().st_mode & 0o777 == 0o600
    assert secret not in done.stdout + done.stderr

    again = desk.run("token", "create", "sa:filer", "lost", "--out", str(out))
    assert again.returncode == USAGE
    assert [one["name"] for one in desk.json("token", "list", "sa:filer")] == ["kept"]


def test_the_past_is_read_and_never_written(desk: Desk) -> None:
    """Cli 2: `--position` finds names of then; with a writing or `--at` it is wrong usage."""
    made = desk.run("sa", "create", "bygone")
    position = made.stderr.removeprefix("position ").strip()
    assert desk.run("sa", "delete", "bygone", "-y").returncode == 0
    assert desk.run("sa", "get", "bygone").returncode == NOT_FOUND
    then = desk.run("sa", "get", "bygone", "--position", position, "--field", "name")
    assert then.stdout == "bygone\n", then.stderr
    assert desk.run("sa", "list", "--at", "1h", "--position", position).returncode == USAGE
    for line in ("sa create x", "journal list", "diff --from 1", "simulate --remove role:x"):
        assert desk.run(*line.split(), "--position", position).returncode == USAGE, line


@pytest.mark.parametrize(
    ("line", "topics"),
    [
        ("sa create dry-{n}", ["service_account.created.v1", "tenant_access.granted.v1"]),
        ("group create Dry{n}", ["group.created.v1"]),
        ("role create dry{n} --permission FLOW:VIEW", ["role.created.v1"]),
    ],
)
def test_a_dry_run_announces_what_the_real_call_appends(
    desk: Desk, line: str, topics: list[str]
) -> None:
    """Cli 8.4: the same events in the same order; before that, nothing is written."""
    arguments = line.replace("{n}", "1").split()
    before = desk.json("status")["position"]
    would_be = desk.json(*arguments, "--dry-run")
    assert desk.json("status")["position"] == before
    assert [event["topic"] for event in would_be["events"]] == topics

    desk.json(*arguments, "--reason", "for the test")
    trail = desk.json("api", "GET", f"/api/v1/events?after={before}")["items"]
    assert [item["topic"] for item in trail] == topics
    assert {item["reason"] for item in trail} == {"for the test"}


def test_deleting_what_is_in_use_names_what_ends_with_it(desk: Desk) -> None:
    """Cli 6: first only if unused; then the dependents are listed."""
    desk.json("sa", "create", "user-of-it")
    desk.json("role", "create", "used", "--permission", "FLOW:VIEW")
    binding = desk.json("binding", "create", "sa:user-of-it", "used")["id"]
    assert desk.run("role", "delete", "used").returncode == USAGE
    done = desk.run("role", "delete", "used", "-y")
    assert done.returncode == 0, done.stderr
    assert binding in done.stderr
    assert (
        httpx.get(
            f"{desk.node.url}/api/v1/main/bindings/{binding}",
            headers={"Authorization": f"Bearer {desk.token}"},
        ).status_code
        == 404
    )


def test_a_password_comes_from_standard_input(desk: Desk) -> None:
    """Cli 2: never from the command line of a command that sets one; off a terminal by a flag."""
    email = "lin@example.com"
    desk.json("user", "create", email)
    assert desk.run("user", "set-password", email).returncode == USAGE
    server = {"MUNIMENT_SERVER": desk.node.url, "MUNIMENT_API_TOKEN": desk.token}
    words = ("user", "set-password", email, "--new-password-stdin")
    done = subprocess.run(
        (sys.executable, "-m", "ops.cli.main", *words),
        input="a quite long pass phrase\n",
        env={**os.environ, **server},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    signed_in = {"MUNIMENT_SERVER": desk.node.url, "MUNIMENT_USER": email}
    signed_in["MUNIMENT_PASSWORD"] = "a quite long pass phrase"
    who = desk.run("whoami", "--field", "profile.username", settings=signed_in)
    assert who.stdout == f"{email}\n", who.stderr


def test_a_tenant_is_deleted_only_by_its_name(desk: Desk) -> None:
    """Cli 6, level 2: `-y` is not enough, and another name does nothing."""
    desk.json("tenant", "create", "delta")
    assert desk.run("tenant", "delete", "delta", "-y").returncode == USAGE
    assert desk.run("tenant", "delete", "delta", "--confirm", "alpha").returncode == USAGE
    assert desk.json("tenant", "get", "delta")["id"] == "delta"
    assert desk.run("tenant", "delete", "delta", "--confirm", "delta").returncode == 0


def test_a_difference_is_told_by_the_exit_code(desk: Desk) -> None:
    """Cli 4: 3 when anything differs, by --exit-code; nothing differs from now to now."""
    before = str(desk.json("status")["position"])
    assert desk.run("diff", "--from", before, "--exit-code").returncode == 0
    desk.json("group", "create", "Later")
    told = desk.run("diff", "--from", before, "--exit-code")
    assert (told.returncode, "new: group Later" in told.stdout) == (DENIED, True), told
    assert desk.run("diff", "--from", before).returncode == 0


def test_lists_of_events_end_where_they_are_told(desk: Desk) -> None:
    """Cli 5: `--limit` counts entries, newest first; without reaching it, the list is whole."""
    for number in range(4):
        desk.json("group", "create", f"Listed{number}")
    few = desk.json("audit", "list", "--limit", "3", "--type", "group.created.v1")
    many = desk.json("audit", "list", "--limit", "999", "--type", "group.created.v1")

    positions = [item["position"] for item in many]
    assert len(positions) >= 4
    assert positions == sorted(positions, reverse=True)
    assert [item["position"] for item in few] == positions[:3]


def test_a_checkpoint_and_a_proof_are_kept_as_files(desk: Desk, tmp_path: Path) -> None:
    """Cli 5.5: byte for byte as the server gives them, and never over another file."""
    for asked in (("checkpoint",), ("proof", "1")):
        # The log may be sealed anew between two readings: what stood before and after is compared.
        for attempt in range(20):
            file = tmp_path / f"{asked[0]}-{attempt}"
            before = desk.run("audit", *asked).stdout
            done = desk.run("audit", *asked, "--out", str(file))
            assert done.returncode == 0, done.stderr
            if before == desk.run("audit", *asked).stdout:
                break
        assert file.read_text() == before
        assert "\u2014 " in before, "it is signed"
        assert desk.run("audit", *asked, "--out", str(file)).returncode == INVALID
