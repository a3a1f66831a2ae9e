"""Does a first start recover from whatever an earlier one has left, wherever the repository is?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "ops" / "environment.sh"
PROJECT = """
[build-system]
requires = []
build-backend = "building"
backend-path = ["."]
"""
# Makes the one wheel that is asked for, so that the test needs nothing from elsewhere.
BUILDING = """
from pathlib import Path
from zipfile import ZipFile


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name = "small-1-py3-none-any.whl"
    with ZipFile(Path(wheel_directory) / name, "w") as wheel:
        about = "small-1.dist-info"
        wheel.writestr("small.pth", str(Path.cwd()))
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\\nName: small\\nVersion: 1\\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\n")
        wheel.writestr(f"{about}/entry_points.txt", "[console_scripts]\\nsmall = small:main\\n")
        wheel.writestr(f"{about}/RECORD", "")
    return name
"""
PROGRAM = """
import sys


def main():
    print(sys.prefix, __file__)
"""
# What `ops/start` does, with a program that only says where it runs.
START = """
source "$1/ops/environment.sh"
prepare requirements.txt
exec "$environment/bin/small"
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A project that needs no other package, in a directory whose name has a space."""
    directory = tmp_path / "a project"
    (directory / "ops").mkdir(parents=True)
    (directory / "ops" / "environment.sh").write_bytes(SOURCE.read_bytes())
    (directory / "ops" / "requirements.txt").touch()
    (directory / "pyproject.toml").write_text(PROJECT)
    (directory / "building.py").write_text(BUILDING)
    (directory / "small.py").write_text(PROGRAM)
    return directory


def start(repository: Path) -> tuple[str, str]:
    """Start it; answer what it printed, and what was said of its installation."""
    done = subprocess.run(
        ("bash", "-euo", "pipefail", "-c", START, "bash", str(repository)),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def at(repository: Path) -> str:
    """What a program says that runs there and nowhere else."""
    return f"{repository / '.venv'} {repository / 'small.py'}"


def test_an_interrupted_or_moved_environment_is_made_again(repository: Path) -> None:
    """A start after an interrupted one, a second one, and one after a move: all of them run."""
    # Where the making of an environment is interrupted, its Python is there and pip is not.
    interrupted = (sys.executable, "-m", "venv", "--without-pip", str(repository / ".venv"))
    subprocess.run(interrupted, check=True)

    first, _ = start(repository)
    second, said = start(repository)
    moved, _ = start(repository.rename(repository.with_name("elsewhere")))

    assert first == second == at(repository)
    assert said == ""
    assert moved == at(repository.with_name("elsewhere"))


def test_installed_packages_have_all_that_they_need() -> None:
    """The lock is installed as it is, so it has to be whole: nothing that a package needs lacks."""
    checked = subprocess.run(
        [sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stdout
