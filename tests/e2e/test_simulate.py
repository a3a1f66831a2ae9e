"""Does `muniment simulate` tell a pipeline who would gain, by an exit code that fails closed?"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ops.cli.commands.simulate import is_gain
from ops.cli.main import DENIED, INVALID, UNREACHABLE
from tests.campaigns.access import owner_token
from tests.e2e.node import Node, muniment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USAGE = 2
NOT_SIGNED_IN = 4
FORBIDDEN = 5
NOT_FOUND = 6


class Place:
    """A served installation with a bot that may view flows through its group."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.token = owner_token(node.url)
        self._owner = httpx.Client(
            base_url=f"{node.url}/api/v1/main", headers={"Authorization": f"Bearer {self.token}"}
        )
        self.bot = self.made("service-accounts", {"name": "ci-bot"})
        self.group = self.made("groups", {"name": "Bots", "membersId": [self.bot]})
        self.role = self.made("roles", {"name": "viewer", "permissions": {"FLOW": ["VIEW"]}})
        given = {"type": "GROUP", "externalId": self.group, "roleId": self.role}
        self.binding = self.made("bindings", {**given, "namespaceId": "prod"})

    def close(self) -> None:
        """Let go of the connection."""
        self._owner.close()

    def made(self, path: str, body: dict[str, Any]) -> str:
        """Make something and answer its id."""
        answer = self._owner.post(path, json=body)
        assert answer.status_code == 200, answer.text
        found: str = answer.json()["id"]
        return found

    def delete(self, path: str) -> None:
        """Take something away."""
        assert self._owner.delete(path).status_code in {200, 204}

    def low_token(self) -> str:
        """Make a token of an account that may do nothing."""
        account = self.made("service-accounts", {"name": "low"})
        answer = self._owner.post(f"service-accounts/{account}/api-tokens", json={"name": "t"})
        found: str = answer.json()["fullToken"]
        return found

    def run(self, *arguments: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `muniment simulate` as somebody, by default the instance owner."""
        settings = {
            "MUNIMENT_SERVER": self.node.url,
            "MUNIMENT_API_TOKEN": token or self.token,
        }
        return muniment("simulate", *arguments, settings=settings)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Yield one installation for all tests."""
    node = Node(tmp_path_factory.mktemp("simulate") / "data")
    node.init()
    node.start()
    place = Place(node)
    yield place
    place.close()
    node.stop()


def written(directory: Path, changes: object) -> str:
    """Write changes into a file."""
    file = directory / "changes.json"
    file.write_text(json.dumps(changes), encoding="utf-8")
    return str(file)


def granting(place: Place) -> list[dict[str, Any]]:
    """Answer changes by which the bot gains something."""
    role = {"name": "deployer", "permissions": {"FLOW": ["UPDATE"]}}
    given = {"type": "GROUP", "externalId": place.group, "roleId": "{new}"}
    return [
        {"method": "POST", "path": "/api/v1/main/roles", "body": role, "as": "new"},
        {"method": "POST", "path": "/api/v1/main/bindings", "body": given},
    ]


def test_a_gain_fails_a_pipeline(place: Place, tmp_path: Path) -> None:
    """Issue 5: an exit code for CI when anyone gains; without the flag it is only told."""
    file = written(tmp_path, granting(place))

    told = place.run("-f", file)
    failed = place.run("-f", file, "--fail-on-gain")

    assert told.returncode == 0
    assert told.stdout == "service_account ci-bot gains FLOW:UPDATE in main, everywhere\n"
    assert "nothing is written" in told.stderr
    assert (failed.returncode, failed.stdout) == (DENIED, told.stdout)


@pytest.mark.parametrize(
    "named", ["role:viewer", "group:Bots", "service-account:ci-bot", "binding:{binding}"]
)
def test_a_removal_is_no_gain(place: Place, named: str) -> None:
    """Who loses what is printed, and the pipeline goes on."""
    done = place.run("--remove", named.format(binding=place.binding), "--fail-on-gain")

    assert done.returncode == 0
    assert "service_account ci-bot loses FLOW:VIEW in main, prod\n" in done.stdout


def test_what_remains_of_a_loss_is_told(place: Place) -> None:
    """From every action everywhere to what the group gives in prod: that is kept."""
    role = place.made("roles", {"name": "all", "permissions": {"FLOW": ["*"]}})
    given = {"type": "USER", "externalId": place.bot, "roleId": role}
    place.made("bindings", given)

    done = place.run("--remove", "role:all")
    place.delete(f"roles/{role}")

    assert "service_account ci-bot loses FLOW:* in main, everywhere\n" in done.stdout
    assert "service_account ci-bot keeps FLOW:VIEW in main, prod\n" in done.stdout


def test_what_is_told_is_there_for_machines(place: Place, tmp_path: Path) -> None:
    """The answer of the API as it is; `{"changes": […]}` is read as well as a list."""
    file = written(tmp_path, {"changes": granting(place)})

    done = place.run("-f", file, "-o", "json")

    found = json.loads(done.stdout)
    assert found["access"]["gains"] == 1
    assert [one["events"][0]["topic"] for one in found["changes"]] == [
        "role.created.v1",
        "binding.created.v1",
    ]


def test_nothing_to_gain_or_lose_is_said(place: Place, tmp_path: Path) -> None:
    """A group without rights."""
    group = {"method": "POST", "path": "/api/v1/main/groups", "body": {"name": "New"}}

    done = place.run("-f", written(tmp_path, [group]))

    assert done.stdout == "nobody gains or loses anything\n"


def test_what_is_hidden_counts_as_a_gain() -> None:
    """Unknown means no: where the caller may not see all rights, the pipeline does not go on."""
    seen = {"gains": 0, "ownersGained": [], "hidden": False}

    assert not is_gain(seen)
    assert is_gain({**seen, "hidden": True})
    assert is_gain({**seen, "gains": 1})
    assert is_gain({**seen, "ownersGained": [{}]})


def test_refusals_have_their_exit_codes(place: Place, tmp_path: Path) -> None:
    """Cli 4: every one means that nothing may be relied on."""
    file = written(tmp_path, granting(place))
    gone = {"MUNIMENT_SERVER": "http://127.0.0.1:9", "MUNIMENT_API_TOKEN": place.token}

    assert place.run("-f", file, token="muns_x").returncode == NOT_SIGNED_IN
    assert place.run("-f", file, token=place.low_token()).returncode == FORBIDDEN
    assert place.run("--remove", "role:nothing").returncode == NOT_FOUND
    assert place.run("-f", written(tmp_path, [{}])).returncode == INVALID
    unreachable = muniment("simulate", "-f", file, settings=gone)
    assert unreachable.returncode == UNREACHABLE
    assert "127.0.0.1:9" in unreachable.stderr
    for wrong in ((), ("--remove", "role"), ("--remove", "tenant:main"), ("-f", "/nowhere")):
        assert place.run(*wrong).returncode == USAGE
    (tmp_path / "changes.json").write_text("no JSON", encoding="utf-8")
    assert place.run("-f", str(tmp_path / "changes.json")).returncode == USAGE
