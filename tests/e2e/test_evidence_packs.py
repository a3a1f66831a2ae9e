"""Does `muniment evidence` hand out files that anyone can check, and only to those who may?"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import httpx
import pytest

from ops.cli.main import INTEGRITY, INVALID
from tests.e2e.node import muniment
from tests.e2e.test_simulate import FORBIDDEN, NOT_FOUND, USAGE, Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.node import Node


@pytest.fixture
def place(node: Node) -> Iterator[Place]:
    """Yield an installation with a bot that may view flows below `prod` through its group."""
    place = Place(node)
    yield place
    place.close()


def fetch(place: Place, *arguments: str, token: str | None = None) -> tuple[int, str]:
    """Run `muniment evidence`; answer its exit code and what it said."""
    settings = {"MUNIMENT_SERVER": place.node.url, "MUNIMENT_API_TOKEN": token or place.token}
    done = muniment("evidence", *arguments, settings=settings)
    return done.returncode, done.stdout + done.stderr


def test_packs_are_fetched_and_verified_offline(place: Place, tmp_path: Path) -> None:
    """Issue 5: of a decision, a principal and an interval, by two verifiers, also by nobody's."""
    listed = httpx.get(
        f"{place.node.url}/api/v1/audit/keys", headers={"Authorization": f"Bearer {place.token}"}
    ).json()
    key = listed["keys"][0]["verifierKey"]
    asked = {
        "decision": ("sa:ci-bot", "VIEW", "FLOW/nightly", "prod.billing"),
        "principal": ("sa:ci-bot",),
        "interval": ("--from", "1"),
    }
    for kind, words in asked.items():
        pack = tmp_path / f"{kind}.zip"
        code, said = fetch(place, kind, *words, "--out", str(pack))
        assert (0, True) == (code, said.startswith("position ")), said
        assert pack.stat().st_mode & 0o077 == 0

        local = muniment("verify", "--evidence", str(pack), "--key", key)
        with zipfile.ZipFile(pack) as archive:
            archive.extractall(tmp_path / kind)
        own = subprocess.run(
            (sys.executable, "-I", tmp_path / kind / "verify.py", pack, "--key", key),
            capture_output=True,
            text=True,
            check=False,
        )

        assert (local.returncode, own.returncode) == (0, 0), local.stderr + own.stderr
        assert kind in local.stdout
        assert own.stdout.endswith("by the keys that you gave\n")
        flipped = bytearray(pack.read_bytes())
        flipped[len(flipped) // 3] ^= 1
        broken = tmp_path / "broken.zip"
        broken.write_bytes(flipped)
        refused = muniment("verify", "--evidence", str(broken), "--key", key)
        assert (INTEGRITY, True) == (refused.returncode, "evidence.refused" in refused.stderr)


def test_wrong_usage_and_refusals_have_their_codes(place: Place, tmp_path: Path) -> None:
    """Cli 4: usage 2, not permitted 5, not found 6, bad input 8; nothing is left behind."""
    out = ("--out", str(tmp_path / "pack.zip"))
    (tmp_path / "there.zip").write_bytes(b"mine")

    assert fetch(place, "decision", "sa:ci-bot", "VIEW", *out)[0] == USAGE
    assert fetch(place, "decision", "7", "--position", "3", *out)[0] == USAGE
    assert fetch(place, "principal", "group:Bots", *out)[0] == USAGE
    assert fetch(place, "principal", "sa:ci-bot")[0] == USAGE
    assert fetch(place, "principal", "sa:nobody", *out)[0] == NOT_FOUND
    assert fetch(place, "decision", "999999", *out)[0] == NOT_FOUND
    assert fetch(place, "interval", "--from", "999999", *out)[0] == INVALID
    assert fetch(place, "interval", "--from", "1", *out, token=place.low_token())[0] == FORBIDDEN
    there = fetch(place, "interval", "--from", "1", "--out", str(tmp_path / "there.zip"))
    assert (INVALID, True) == (there[0], "is there already" in there[1])
    both = muniment("verify", "--evidence", str(tmp_path / "there.zip"), "--since", __file__)
    assert both.returncode == USAGE
    left = [path.name for path in tmp_path.iterdir() if path.name.endswith("zip")]
    assert left == ["there.zip"]
    assert (tmp_path / "there.zip").read_bytes() == b"mine"
