"""Do the snippets for pipelines stop a step that may not run, whatever goes wrong?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from ops.cli.main import DENIED, NOT_SIGNED_IN, UNREACHABLE
from tests.e2e.node import Node
from tests.e2e.test_simulate import Place
from tests.tidy import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

USAGE: Final = 2
GITHUB: Final = ROOT / "ops/deploy/ci/github/action.yml"
GITLAB: Final = ROOT / "ops/deploy/ci/gitlab.yml"
QUESTION: Final = {
    "SUBJECT": "sa:ci-bot",
    "ACTION": "VIEW",
    "RESOURCE": "FLOW",
    "NAMESPACE": "prod.billing",
}


def github() -> dict[str, Any]:
    """The one step of the action."""
    (step,) = yaml.safe_load(GITHUB.read_text())["runs"]["steps"]
    found: dict[str, Any] = step
    return found


def script(snippet: str) -> str:
    """The shell lines of a snippet, as its runner runs them: each has to succeed."""
    if snippet == "github":
        return str(github()["run"])
    (line,) = yaml.safe_load(GITLAB.read_text())[".muniment-check"]["before_script"]
    return str(line)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Yield an installation in which ci-bot may view flows in prod."""
    node = Node(tmp_path_factory.mktemp("snippets") / "data")
    node.init()
    node.start()
    place = Place(node)
    yield place
    place.close()
    node.stop()


def guarded(
    snippet: str, place: Place, marker: Path, **given: str
) -> subprocess.CompletedProcess[str]:
    """Run a snippet and then a step that leaves a mark, as a pipeline does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MUNIMENT_")}
    environment = {
        **kept,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MUNIMENT_SERVER": place.node.url,
        "MUNIMENT_API_TOKEN": place.token,
        "MARKER": str(marker),
        **QUESTION,
        **given,
    }
    lines = f'{script(snippet)}\ntouch "$MARKER"\n'
    return subprocess.run(
        ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", lines),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("snippet", ["github", "gitlab"])
@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, 0),
        ({"RESOURCE": "FLOW/nightly"}, 0),
        ({"ACTION": "DELETE"}, DENIED),
        ({"NAMESPACE": ""}, DENIED),
        ({"NAMESPACE": "production"}, DENIED),
        ({"SUBJECT": "sa:nobody"}, DENIED),
        ({"SUBJECT": "--help"}, USAGE),
        ({"NAMESPACE": "prod; true"}, 8),
        ({"MUNIMENT_API_TOKEN": "muns_wrong"}, NOT_SIGNED_IN),
        ({"MUNIMENT_API_TOKEN": ""}, USAGE),
        ({"MUNIMENT_SERVER": "http://127.0.0.1:9"}, UNREACHABLE),
    ],
)
def test_a_step_runs_only_when_it_may(
    place: Place, tmp_path: Path, snippet: str, given: dict[str, str], code: int
) -> None:
    """Issue 6.5: nothing but a yes lets the next step run; no input is read as a shell word."""
    marker = tmp_path / "ran"

    done = guarded(snippet, place, marker, **given)

    assert (done.returncode, marker.exists()) == (code, code == 0), done.stderr
    assert place.token not in done.stdout + done.stderr


def test_inputs_reach_the_script_as_variables_only() -> None:
    """A workflow's expression inside a script would let whoever writes an input write commands."""
    step = github()
    inputs = yaml.safe_load(GITHUB.read_text())["inputs"]

    assert "${{" not in step["run"]
    assert len(step["env"]) == len(inputs)
    assert {f"${{{{ inputs.{name} }}}}" for name in inputs} == {*step["env"].values()}
