"""Does every module import only what it may, and would each contract notice if not?"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest
from msgspec import Struct

from tests.tidy import PACKAGES, ROOT


class Plant(Struct, frozen=True):
    """A line that, added to a module, breaks the contract of that id."""

    contract: str
    path: str
    line: str

    def __str__(self) -> str:
        return f"{self.contract}: {self.path}: {self.line.strip()}"


PLANTS: Final = (
    Plant("layers", "domain/errors.py", "import projections"),
    Plant("layers", "projections/__init__.py", "import api"),
    Plant("layers", "api/__init__.py", "import ops"),
    Plant("domain-layers", "domain/ids.py", "import domain.state"),
    Plant("domain-layers", "domain/tokens.py", "import domain.groups"),
    Plant("domain-layers", "domain/stray.py", "import domain.ids"),
    Plant("pure-domain", "domain/access.py", "import os"),
    Plant("pure-domain", "domain/access.py", "from time import time"),
    Plant("persistent-maps", "domain/access.py", "from immutables import Map"),
    Plant("event-log", "ops/__init__.py", "import eventsourcing.sqlite"),
    Plant("sql", "api/__init__.py", "import sqlalchemy"),
    Plant("passwords", "ops/__init__.py", "import argon2"),
    Plant("vault", "ops/__init__.py", "from cryptography.hazmat.primitives import hashes"),
    Plant("vault", "projections/views.py", "import cryptography"),
    Plant("verifier", "projections/verifier.py", "import msgspec"),
    Plant("verifier", "projections/verifier.py", "import domain.events"),
    Plant("command-line", "ops/cli/main.py", "def late() -> None:\n    import litestar"),
)


def contracts() -> dict[str, str]:
    """The name of each contract by its id."""
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = configuration["tool"]["importlinter"]["contracts"]
    return {contract["id"]: contract["name"] for contract in listed}


def lint(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Check the tree at that root, which goes before the one that runs this test."""
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("lint-imports")),
            "--no-cache",
            "--no-logo",
            *arguments,
        ],
        cwd=root,
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def copied_tree(tmp_path: Path) -> Path:
    """A copy of the packages and their configuration, free to be broken."""
    ignored = shutil.ignore_patterns("__pycache__")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_is_kept() -> None:
    """The tree imports only what style 4 allows."""
    result = lint(ROOT)

    assert result.returncode == 0, result.stdout + result.stderr
    assert f"Contracts: {len(contracts())} kept, 0 broken" in result.stdout


def test_every_contract_has_its_plant() -> None:
    """No contract is trusted that was never seen to break."""
    assert {plant.contract for plant in PLANTS} == set(contracts())


@pytest.mark.parametrize("plant", PLANTS, ids=str)
def test_a_planted_import_breaks_its_contract(plant: Plant, copied_tree: Path) -> None:
    """One import that may not be is enough for its contract to be broken."""
    with (copied_tree / plant.path).open("a", encoding="utf-8") as module:
        module.write(f"\n\n{plant.line}\n")

    result = lint(copied_tree, "--contract", plant.contract)

    assert result.returncode != 0
    assert f"{contracts()[plant.contract]} BROKEN" in result.stdout, result.stdout + result.stderr
