"""Does a failing, full or altered disk ever pass for a good one?"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from domain.sealed import Secret
from ops.demo import seed
from ops.settings import read_settings
from tests.campaigns import disk, tamper, trace
from tests.campaigns.journal import WRITERS
from tests.campaigns.report import say

SEED = 20261123


@pytest.fixture
def traced_directory(tmp_path: Path) -> Path:
    """A directory whose server can be traced, and so be made to fail."""
    if refusal := trace.strace_refusal():
        pytest.skip(refusal)
    return tmp_path


def test_a_failed_sync_is_fatal(traced_directory: Path) -> None:
    """Reliability D4: after it nothing is acknowledged; not ready, exit 10, right after a start."""
    verdict = disk.fail_syncs(traced_directory)

    say("D4", verdict)
    assert verdict.is_kept


def test_a_build_that_passes_over_a_failed_sync_is_noticed(traced_directory: Path) -> None:
    """Control of reliability D4: `swallow` goes on to acknowledge."""
    verdict = disk.fail_syncs(traced_directory, program=disk.SWALLOW)

    say("D4, swallow", verdict)
    assert verdict.injected > 0
    assert verdict.acknowledged_after > WRITERS
    assert verdict.unready_seconds > disk.UNREADY_SECONDS
    assert verdict.exit_code != 10


@pytest.fixture
def small_directory(tmp_path: Path) -> Path:
    """A directory over which a small file system can be mounted."""
    if refusal := disk.small_disk_refusal():
        pytest.skip(refusal)
    return tmp_path


def test_a_disk_filled_by_commands_fails_closed(small_directory: Path) -> None:
    """Reliability D5: 503 `store.full`, checks go on, nothing half, and it writes again."""
    verdict = disk.fill_by_commands(small_directory)

    say("D5, filled by commands", verdict)
    assert verdict.is_kept


def test_a_disk_filled_by_another_file_fails_closed(small_directory: Path) -> None:
    """Reliability D5: the same, with room left for nothing, a part or all of a command."""
    verdict = disk.fill_by_another(small_directory)

    say("D5, filled by another file", verdict, n=len(disk.PAGES_LEFT))
    assert verdict.is_kept


def test_a_build_that_fills_the_disk_in_halves_is_noticed(small_directory: Path) -> None:
    """Control of reliability D5: `half_batch` leaves a part of a command on a full disk."""
    verdict = disk.fill_by_another(small_directory, program=disk.HALF_BATCH)

    say("D5, half_batch", verdict, n=len(disk.PAGES_LEFT))
    assert verdict.tally.halves > 0


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A signed store with a year of events of nearly every kind, and its last checkpoint."""
    directory = tmp_path_factory.mktemp("year") / "data"
    settings = read_settings({}, data_dir=directory)
    seed(settings, datetime(2026, 11, 23, tzinfo=UTC), Secret("demo"), Secret("no hash"))
    return directory, tamper.sign(directory)


def test_every_change_of_the_log_is_found(year: tuple[Path, Path], tmp_path: Path) -> None:
    """Reliability D6: byte flipped, row removed, two swapped, topic changed, tail cut: all."""
    verdict = tamper.run(*year, tmp_path, changes=tamper.SHORT, seed=SEED)

    say("D6", verdict, n=tamper.SHORT, seed=SEED)
    assert verdict.missed == []
    assert verdict.found == tamper.SHORT
    assert verdict.named > tamper.SHORT / 2


def test_a_verifier_that_compares_no_root_is_noticed(
    year: tuple[Path, Path], tmp_path: Path
) -> None:
    """Control of reliability D6: `rootless` reads and folds everything, and finds too little."""
    verdict = tamper.run(
        *year, tmp_path, changes=tamper.CONTROLS, seed=SEED, program=tamper.ROOTLESS
    )

    say("D6, rootless", verdict, n=tamper.CONTROLS, seed=SEED)
    assert verdict.missed


def test_an_untouched_copy_passes(year: tuple[Path, Path], tmp_path: Path) -> None:
    """Control of reliability D6: copied row by row in the same way, nothing is found."""
    store, kept = year
    tamper.change(store, tmp_path / "copy", lambda rows, _chance: len(rows), random.Random(SEED))  # noqa: S311 - nothing is to be secret, all repeatable

    said = tamper.printed("verify", store, "--since", str(kept))
    assert said[0] == 0
    assert tamper.printed("verify", tmp_path / "copy", "--since", str(kept)) == said
