"""Does every client command do its work against a real server, in every form? (cli 8.1)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import click
import httpx
import pytest

from ops.cli.main import (
    CLIENT,
    CONFLICT,
    DENIED,
    FORBIDDEN,
    INVALID,
    NOT_FOUND,
    NOT_SIGNED_IN,
    UNREACHABLE,
)
from ops.cli.main import muniment as tree
from ops.cli.options import GLOBALS
from tests.campaigns.access import owner_token
from tests.e2e.node import OWNER_EMAIL, OWNER_PASSWORD, Node, muniment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USAGE: Final = 2
# Commands whose tests are files of their own.
ELSEWHERE: Final = {
    "audit export": "tests/ops/test_audit_command.py",
    "erase": "tests/e2e/test_erasing.py",
    "evidence decision": "tests/e2e/test_evidence.py",
    "evidence interval": "tests/e2e/test_evidence.py",
    "evidence principal": "tests/e2e/test_evidence.py",
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
role delete spare -y
group delete Raw -y
sa delete helper -y
config show | "source"
config list
completion bash
"""

# The words by which a line is known as a writing.
WRITING: Final = frozenset(
    {"create", "update", "disable", "enable", "add", "remove", "set-owner", "set-member", "delete"}
    | {"duplicate", "set-default", "give", "take", "grant", "revoke", "POST"}
)


class Desk:
    """A served installation, and the command line of its owner."""

    def __init__(self, node: Node, home: Path) -> None:
        self.node = node
        self.home = home
        self.token = owner_token(node.url)
        self.seen = 0

    def run(
        self, *arguments: str, settings: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as the owner, unless settings say otherwise."""
        usual = {
            "MUNIMENT_SERVER": self.node.url,
            "MUNIMENT_API_TOKEN": self.token,
            "XDG_CONFIG_HOME": str(self.home),
        }
        return muniment(*arguments, settings=usual if settings is None else settings)

    def json(self, *arguments: str) -> Any:  # noqa: ANN401 - any JSON
        """Answer what a command prints that has to succeed."""
        done = self.run(*arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    def announced(self, line: str) -> list[str]:
        """Answer the events that a line says it would append; none for one that only reads."""
        if not ({*words(line)[:2]} & WRITING):
            return []
        would_be = self.json(*words(line), "--dry-run")
        assert self.appended() == [], line
        return [event["topic"] for event in would_be["events"]]

    def appended(self) -> list[str]:
        """Answer the events that came since this was last asked, oldest first."""
        items = self.get(f"/api/v1/events?after={self.seen}&limit=100")["items"]
        self.seen = max([self.seen, *(item["position"] for item in items)])
        return [item["topic"] for item in items]

    def get(self, path: str) -> Any:  # noqa: ANN401 - any JSON
        """Answer what a route of the server gives its owner."""
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = httpx.get(f"{self.node.url}{path}", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Yield one installation for all tests, each of which makes its own objects."""
    node = Node(tmp_path_factory.mktemp("cli") / "data")
    node.init()
    node.start()
    yield Desk(node, tmp_path_factory.mktemp("home"))
    node.stop()


def leaves(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    """Answer every client command with its words."""
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    ctx = click.Context(command)
    for name in command.list_commands(ctx):
        below = command.get_command(ctx, name)
        if below is not None and (path or name in CLIENT):
            yield from leaves(below, (*path, name))


def words(line: str) -> list[str]:
    """The words of a line of the flow."""
    return line.partition("|")[0].split()


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
    for line in (*tables, "token list sa:ci-bot", "config show", "group members Bots"):
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
    assert desk.run("sa", "create", "x", "--position", position).returncode == USAGE


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


def test_each_exit_code_is_reached(desk: Desk) -> None:
    """Cli 8.3 and 4: every code but 0 means that it is not allowed or not done."""
    desk.json("sa", "create", "nobody")
    low = desk.run("token", "create", "sa:nobody", "t").stdout.strip()
    server = {"MUNIMENT_SERVER": desk.node.url}
    as_low = {**server, "MUNIMENT_API_TOKEN": low}
    cases: list[tuple[int, list[str], dict[str, str] | None]] = [
        (USAGE, ["sa", "lsit"], None),
        (USAGE, ["sa", "list", "--no-such"], None),
        (USAGE, ["sa", "delete", "nobody"], None),
        (DENIED, ["check", "sa:nobody", "UPDATE", "FLOW", "prod"], None),
        (NOT_SIGNED_IN, ["whoami"], {**server, "MUNIMENT_API_TOKEN": "muns_wrong"}),
        (FORBIDDEN, ["sa", "list"], as_low),
        (NOT_FOUND, ["sa", "get", "missing"], None),
        (CONFLICT, ["group", "create", "taken"], None),
        (INVALID, ["group", "create", "x" * 101], None),
        (UNREACHABLE, ["whoami"], {**as_low, "MUNIMENT_SERVER": "http://127.0.0.1:9"}),
    ]
    desk.json("group", "create", "Taken")
    for code, arguments, settings in cases:
        done = desk.run(*arguments, settings=settings)
        assert done.returncode == code, (arguments, done.stderr)
        assert done.stdout == "" or code == DENIED
        as_data = desk.run("-o", "json", *arguments, settings=settings)
        assert as_data.returncode == code
        if code != DENIED:
            error = json.loads(as_data.stderr.splitlines()[-1])["error"]
            assert {"code", "title", "detail", "message", "_embedded"} <= error.keys(), arguments


def test_unreachable_names_the_address_and_ambiguous_the_ids(desk: Desk) -> None:
    """Cli 2.2 and 4: what was asked, and what to say instead."""
    far = desk.run(
        "whoami",
        settings={"MUNIMENT_SERVER": "http://127.0.0.1:9", "MUNIMENT_API_TOKEN": "t"},
    )
    assert "127.0.0.1:9" in far.stderr
    ids = {desk.json("sa", "create", "twin")["id"] for _ in range(2)}
    twins = desk.run("sa", "get", "twin", "-o", "json")
    assert twins.returncode == INVALID
    error = json.loads(twins.stderr)["error"]
    assert error["code"] == "name.ambiguous"
    assert all(id_ in error["message"] for id_ in ids)
    assert "did you mean twin?" in desk.run("sa", "get", "twim").stderr


def test_options_stand_before_and_after_and_the_innermost_wins(desk: Desk) -> None:
    """Cli 8.5: in both spellings, at every level."""
    id_ = desk.json("sa", "create", "level")["id"]
    for arguments in (
        ("--output", "name", "sa", "list", "--q=level"),
        ("--output=json", "sa", "--output", "name", "list", "--q", "level"),
        ("sa", "--output=csv", "list", "--q", "level", "-o", "name"),
    ):
        done = desk.run(*arguments)
        assert done.stdout.split() == [id_], (arguments, done.stderr)


def test_a_value_comes_from_flag_environment_profile_or_default(desk: Desk, tmp_path: Path) -> None:
    """Cli 8.5 and 2.1: in that order, and `config show` names the source and no secret."""
    file = tmp_path / "secret"
    file.write_text(desk.token)
    home = {"XDG_CONFIG_HOME": str(tmp_path)}

    def tenant(*arguments: str, **settings: str) -> tuple[str, str]:
        done = desk.run("config", "show", "-o", "json", *arguments, settings={**home, **settings})
        assert done.returncode == 0, done.stderr
        (row,) = (one for one in json.loads(done.stdout) if one["name"] == "tenant")
        return row["value"], row["source"]

    assert tenant() == ("main", "default")
    add = ("config", "add", "p", "--server", desk.node.url, "--tenant", "alpha", "--default")
    done = desk.run(*add, "--api-token-file", str(file), settings=home)
    assert done.returncode == 0, done.stderr
    assert tenant() == ("alpha", "profile p")
    assert tenant(MUNIMENT_TENANT="beta") == ("beta", "MUNIMENT_TENANT")
    assert tenant("--tenant", "gamma", MUNIMENT_TENANT="beta") == ("gamma", "flag")

    assert desk.run("whoami", settings=home).returncode == 0
    shown = desk.run("config", "show", settings={**home, "MUNIMENT_API_TOKEN": desk.token})
    assert desk.token not in shown.stdout + shown.stderr
    config = tmp_path / "muniment" / "config.toml"
    assert config.stat().st_mode & 0o777 == 0o600
    assert desk.run("config", "use", "p", settings=home).returncode == 0
    assert desk.run("config", "use", "q", settings=home).returncode == NOT_FOUND
    config.chmod(0o644)
    refused = desk.run("whoami", settings=home)
    assert (refused.returncode, "chmod 600" in refused.stderr) == (USAGE, True)
    config.chmod(0o600)
    assert desk.run("config", "remove", "p", settings=home).returncode == 0
    assert tenant() == ("main", "default")


def test_no_command_has_an_option_of_a_global_name() -> None:
    """Cli 2: so a global option means the same everywhere."""
    names = {flag for each in GLOBALS.values() for flag in each.flags}
    for name, command in leaves(tree):
        given = [flag for option in command.params for flag in option.opts if flag in names]
        assert len(given) == len({*given}), name
        words = [option.name for option in command.params]
        assert len(words) == len({*words}), name


def test_users_sign_in_by_password_and_never_beside_a_token(desk: Desk) -> None:
    """Cli 2: inline with a note, from input, or from the environment; two ways are wrong usage."""
    server = {"MUNIMENT_SERVER": desk.node.url}
    inline = desk.run("whoami", "--user", f"{OWNER_EMAIL}:{OWNER_PASSWORD}", settings=server)
    assert inline.returncode == 0, inline.stderr
    assert "note:" in inline.stderr
    assert OWNER_PASSWORD not in inline.stderr
    kept = {**server, "MUNIMENT_USER": OWNER_EMAIL, "MUNIMENT_PASSWORD": OWNER_PASSWORD}
    assert desk.run("whoami", settings=kept).returncode == 0
    both = desk.run("whoami", "--user", OWNER_EMAIL, "--api-token", "t", settings=server)
    assert both.returncode == USAGE
    hides = desk.run("whoami", "--user", f"{OWNER_EMAIL}:{OWNER_PASSWORD}")
    assert hides.returncode == 0
    assert desk.run("whoami", "--user", OWNER_EMAIL, settings=server).returncode == USAGE


def test_no_secret_is_in_debug_or_an_error(desk: Desk) -> None:
    """Cli 8.6: what is sent is shown without Authorization and without secret members."""
    body = '{"username": "a", "password": "planted"}'
    done = desk.run("api", "POST", "/api/v1/login", "-d", body, "--debug")
    assert "POST /api/v1/login" in done.stderr
    assert "planted" not in done.stderr
    assert desk.token not in done.stderr
    wrong = desk.run("whoami", "--debug", "--api-token", "muns_planted-token")
    assert wrong.returncode == NOT_SIGNED_IN
    assert "planted-token" not in wrong.stderr


def test_credentials_are_not_sent_over_plain_http(desk: Desk) -> None:
    """Cli 8.7: to anything but loopback; nothing is looked up before that."""
    done = desk.run("whoami", "--server", "http://access.example.com")
    assert done.returncode == USAGE
    assert "plain HTTP" in done.stderr


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
    """Cli 5: `--limit` counts entries, newest first; what is asked for beyond a page goes on."""
    many = desk.json("audit", "list", "--everything", "--limit", "30")
    few = desk.json("audit", "list", "--everything", "--limit", "3")
    assert (len(many), len(few)) == (30, 3)
    positions = [item["position"] for item in few]
    assert positions == sorted(positions, reverse=True)


def test_a_checkpoint_and_a_proof_are_kept_as_files(desk: Desk, tmp_path: Path) -> None:
    """Cli 5.5: byte for byte as the server gives them, and never over another file."""
    for words in (("checkpoint",), ("proof", "1")):
        file = tmp_path / words[0]
        done = desk.run("audit", *words, "--out", str(file))
        assert done.returncode == 0, done.stderr
        assert file.read_text() == desk.run("audit", *words).stdout or words[0] == "checkpoint"
        assert "\u2014 " in file.read_text(), "it is signed"
        assert desk.run("audit", *words, "--out", str(file)).returncode == INVALID
