"""Does access become what files say, once, and is it said by files again? (cli 5.6, 8.9, 8.10)."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from ops.cli.main import CONFLICT, DENIED, INVALID, NOT_FOUND
from tests.e2e.desk import USAGE, Desk

OWNER: Final = "ada@example.com"
FILE: Final = f"""
tenant: main
roles:
  - {{name: deployer, permissions: {{FLOW: [VIEW, LIST, UPDATE]}}}}
service_accounts:
  - {{name: ci-bot, description: GitHub Actions}}
groups:
  - {{name: Bots, members: ["sa:ci-bot"], owners: ["user:{OWNER}"]}}
bindings:
  - {{subject: "group:Bots", role: deployer, namespace: prod}}
"""


@pytest.fixture
def place(desk: Desk) -> Desk:
    """A desk of a user, whose tenant has nothing that an earlier test made."""
    desk.token = desk.run("token", "create", f"user:{OWNER}", "desk").stdout.strip()
    empty(desk)
    return desk


def empty(desk: Desk) -> None:
    """Remove all that files can name."""
    taken = "roles: []\nservice_accounts: []\ngroups: []\nbindings: []\n"
    file = desk.home / "nothing.yaml"
    file.write_text(taken, encoding="utf-8")
    prune = ("--prune", "--confirm", "main", "--reason", "the next test")
    done = desk.run("apply", "-f", str(file), *prune)
    assert done.returncode == 0, done.stderr


def written(directory: Path, text: str, name: str = "access.yaml") -> str:
    """Write a file and answer its path."""
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(text, encoding="utf-8")
    return str(directory / name)


def dumped(desk: Desk) -> dict[str, Any]:
    """Answer what `dump` says."""
    done = desk.run("dump")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    return found


def test_access_becomes_what_a_file_says_once(place: Desk, tmp_path: Path) -> None:
    """Cli 8.10 and issue 6: the plan with its gains, one request id, then nothing to do."""
    file = written(tmp_path, FILE)
    while place.appended():
        pass
    plan = place.run("apply", "-f", file, "--dry-run", "--exit-code")
    assert plan.returncode == DENIED, plan.stderr
    assert plan.stdout.splitlines()[:5] == [
        "new role deployer",
        "new service account ci-bot",
        "new group Bots",
        "add sa:ci-bot to Bots",
        f"add user:{OWNER} to Bots",
    ]
    assert "service_account ci-bot gains FLOW:UPDATE in main, prod" in plan.stdout
    assert place.appended() == []
    assert place.run("apply", "-f", file).returncode == USAGE, "nobody was asked"
    assert place.appended() == []

    done = place.run("apply", "-f", file, "--yes")
    assert done.returncode == 0, done.stderr
    correlation = done.stderr.split()[-1]
    together = place.json("audit", "list", "--correlation", correlation)
    assert len(together) == len(place.appended())
    assert place.run("check", "sa:ci-bot", "UPDATE", "FLOW", "prod").returncode == 0
    place.appended()

    again = place.run("apply", "-f", file, "--yes")
    assert (again.returncode, again.stdout) == (0, "nothing to do\n")
    assert place.run("apply", "-f", file, "--dry-run", "--exit-code").returncode == 0
    assert place.appended() == []


def test_drift_is_shown_and_only_pruning_removes(place: Desk, tmp_path: Path) -> None:
    """Cli 5.6: without --prune nothing is removed; with it a reason and the tenant's name."""
    file = written(tmp_path, FILE)
    assert place.run("apply", "-f", file, "-y").returncode == 0
    place.json("sa", "create", "stray")
    place.json("group", "add", "Bots", "sa:stray")
    place.json("binding", "create", "sa:stray", "deployer")
    place.json("role", "update", "deployer", "--add", "FLOW:DELETE")

    kept = place.run("apply", "-f", file, "--dry-run", "--exit-code")
    assert (kept.returncode, kept.stdout.splitlines()[0]) == (DENIED, "change role deployer")
    assert place.run("apply", "-f", file, "-y").returncode == 0
    assert place.json("sa", "get", "stray")["name"] == "stray"

    prune = ("apply", "-f", file, "--prune")
    assert place.run(*prune, "-y").returncode == USAGE
    assert place.run(*prune, "--confirm", "main").returncode == USAGE, "a reason is missing"
    assert place.run(*prune, "--confirm", "other", "--reason", "drift").returncode == USAGE
    done = place.run(*prune, "--confirm", "main", "--reason", "drift")
    assert done.returncode == 0, done.stderr
    assert place.run("sa", "get", "stray").returncode == NOT_FOUND
    assert dumped(place) == yaml.safe_load(FILE)
    managed = place.json("role", "list", "--all")
    assert any(role["isManaged"] for role in managed)


def test_a_plan_that_would_be_refused_does_nothing(place: Desk, tmp_path: Path) -> None:
    """Cli 5.6: it is tried out as a whole first, and the refusal names the change."""
    bad = FILE + '  - {subject: "group:Bots", role: deployer, namespace: "not a path!"}\n'
    refused = place.run("apply", "-f", written(tmp_path, bad), "-y")
    assert refused.returncode == INVALID
    assert "changes[6]" in refused.stderr
    assert dumped(place)["groups"] == []


def test_a_stop_half_way_is_finished_by_running_again(place: Desk, tmp_path: Path) -> None:
    """Cli 5.6 and 8.9: it says how far it came; what is done is not done again.

    Over a hundred changes are not tried out first, so the last one is refused after the others.
    """
    many = "".join(f"  - {{name: part-{number}}}\n" for number in range(101))
    text = f"service_accounts:\n{many}"
    bad = f'{text}groups: [{{name: "{"x" * 101}"}}]\n'
    stopped = place.run("apply", "-f", written(tmp_path, bad, "bad.yaml"), "-y")
    assert stopped.returncode == INVALID, stopped.stderr
    assert "101 of 102 changes are done; run it again to finish" in stopped.stderr
    assert "who gains and loses is not told" in stopped.stdout

    good = written(tmp_path, f"{text}groups: [{{name: Parts}}]\n", "good.yaml")
    done = place.run("apply", "-f", good, "-y")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "new group Parts"


def test_a_directory_is_the_union_of_its_files(place: Desk, tmp_path: Path) -> None:
    """Cli 5.6: the same object twice names both places; names go across files."""
    folder = tmp_path / "access"
    written(folder, "roles:\n  - {name: seer, permissions: {FLOW: [VIEW]}}\n", "a.yaml")
    written(
        folder, 'service_accounts: [{name: eye}]\nbindings: [{subject: "sa:eye", role: seer}]\n'
    )
    assert place.run("apply", "-f", str(folder), "-y").returncode == 0
    assert dumped(place)["bindings"] == [{"subject": "sa:eye", "role": "seer"}]

    written(folder, "roles:\n  - {name: seer, permissions: {FLOW: [LIST]}}\n", "z.yaml")
    twice = place.run("apply", "-f", str(folder), "-y")
    assert twice.returncode == INVALID
    assert "a.yaml:2" in twice.stderr
    assert "z.yaml:2" in twice.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("people: []", "unknown key people"),
        ("roles: [{name: a, permissions: {FLOW: [VIEW]}, colour: red}]", "unknown key colour"),
        ("roles: [{name: a}]", "permissions is missing"),
        ("roles: {name: a}", "roles is a list"),
        ("roles: [{name: a, permissions: [FLOW]}]", "permissions is {TYPE: [ACTION]}"),
        ("roles: []\nroles: []", "stands twice"),
        ("roles: [", "this is no YAML"),
        ('bindings: [{subject: "sa:none", role: none}]', "there is no"),
        ('groups: [{name: G, members: ["user:none@example.com"]}]', "there is no user"),
        ('groups: [{name: G, members: ["group:G"]}]', "must be sa:NAME or user:NAME"),
        ("tenant: elsewhere", "of tenant elsewhere"),
    ],
)
def test_what_a_file_may_not_say_is_told_with_its_place(
    desk: Desk, tmp_path: Path, text: str, said: str
) -> None:
    """Cli 5.6 and bad input: the line is named, and nothing is written."""
    while desk.appended():
        pass
    done = desk.run("apply", "-f", written(tmp_path, text), "-y")
    assert done.returncode in {INVALID, NOT_FOUND, USAGE}
    assert said in done.stderr
    assert desk.appended() == []


def test_random_access_comes_back_as_it_was_applied(place: Desk, tmp_path: Path) -> None:
    """Cli 8.10: apply, then dump, gives the same file; then there is nothing to do."""
    for seed in range(4):
        document = random_access(random.Random(seed))  # noqa: S311 - it is repeatable, and no secret
        file = written(tmp_path, yaml.safe_dump(document), f"{seed}.yaml")
        prune = ("--prune", "--confirm", "main", "--reason", "next")
        done = place.run("apply", "-f", file, *prune, "--yes")
        assert done.returncode == 0, (seed, done.stderr)
        found = dumped(place)
        assert found == document, seed
        again = written(tmp_path, place.run("dump").stdout, f"{seed}-again.yaml")
        assert place.run("apply", "-f", again, "--prune", "-y").stdout == "nothing to do\n"
        as_json = written(tmp_path, place.run("dump", "-o", "json").stdout, f"{seed}.json")
        assert place.run("apply", "-f", as_json, "--dry-run", "--exit-code").returncode == 0


def subset(source: random.Random, values: list[Any]) -> list[Any]:
    """Answer some of the values, in their order."""
    return [value for value in values if source.random() < 0.6]


def random_access(source: random.Random) -> dict[str, Any]:
    """Answer access in the order in which `dump` says it."""
    roles = [random_role(source, number) for number in range(source.randint(1, 4))]
    accounts = [{"name": f"bot-{number}"} for number in range(source.randint(1, 4))]
    subjects = [f"sa:{account['name']}" for account in accounts]
    groups = [random_group(source, number, subjects) for number in range(source.randint(1, 3))]
    bindings = []
    for subject in [*subjects, *(f"group:{group['name']}" for group in groups)]:
        for role in subset(source, roles):
            scope = source.choice(({}, {"namespace": "prod.a"}, {"resource": "record/r-1"}))
            until = source.choice(({}, {"expires_at": "2099-01-01T00:00:00Z"}))
            bindings.append({"subject": subject, "role": role["name"], **scope, **until})
    found = {"tenant": "main", "roles": roles, "service_accounts": accounts, "groups": groups}
    return {**found, "bindings": sorted(bindings, key=repr)}


def random_role(source: random.Random, number: int) -> dict[str, Any]:
    """Answer a role with some permissions, and perhaps a description."""
    types = {"FLOW": ["VIEW", "LIST", "UPDATE"], "SECRET": ["VIEW"], "record": ["read", "write"]}
    wanted = {type_: subset(source, known) or known[:1] for type_, known in types.items()}
    permissions = dict(subset(source, [*wanted.items()]) or [("FLOW", ["VIEW"])])
    description = source.choice(({}, {"description": f"on: \u00e9 {number}"}))
    return {"name": f"role-{number}", **description, "permissions": permissions}


def random_group(source: random.Random, number: int, subjects: list[str]) -> dict[str, Any]:
    """Answer a group with members, some of them for a time, and owners."""
    chosen = subset(source, subjects)
    owners = subset(source, chosen)
    members: list[Any] = [one for one in chosen if one not in owners]
    if members and source.random() < 0.5:
        members[0] = {"subject": members[0], "expires_at": "2099-01-01T00:00:00Z"}
    group = {"name": f"Group-{number}", "members": sorted(members, key=repr)}
    return {**group, "owners": owners} if owners else group


def test_what_changed_meanwhile_is_not_overwritten(place: Desk) -> None:
    """Cli 5.6: the position of a plan is an If-Match that a later change makes stale."""
    role = place.json("role", "create", "moving", "--permission", "FLOW:VIEW")
    position = place.json("status")["position"]
    place.json("role", "update", "moving", "--add", "FLOW:LIST")
    body = '{"name": "moving", "permissions": {"SECRET": ["VIEW"]}}'
    stale = place.run(
        *("api", "PUT", f"/api/v1/main/roles/{role['id']}", "-d", body),
        *("--header", f'If-Match="{position}"'),
    )
    assert stale.returncode == CONFLICT, stale.stderr
