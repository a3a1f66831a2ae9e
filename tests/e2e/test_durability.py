"""Is what a real server acknowledged on disk, whatever happens next?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from domain.sealed import Secret
from ops.demo import seed
from ops.settings import read_settings
from tests.campaigns import durability, kills
from tests.campaigns.report import say
from tests.e2e.node import PROGRAM, muniment

SEED = 20261123
HASH_ORDER = "tests.campaigns.mutants.hash_order"
WALL_CLOCK = "tests.campaigns.mutants.wall_clock"

# Where and how the same log is folded (reliability B8).
SURROUNDINGS = (
    {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C"},
    {"PYTHONHASHSEED": "1", "TZ": "Pacific/Kiritimati", "LC_ALL": "C.UTF-8"},
    {"PYTHONHASHSEED": "4242", "TZ": "America/St_Johns", "LC_ALL": "tr_TR.UTF-8"},
    {"PYTHONHASHSEED": "random", "TZ": "Asia/Kathmandu", "PYTHONOPTIMIZE": "1"},
)


@pytest.fixture
def traced_directory(tmp_path: Path) -> Path:
    """A directory whose server can be traced."""
    if refusal := durability.strace_refusal():
        pytest.skip(refusal)
    return tmp_path


def test_every_acknowledgement_follows_its_sync(traced_directory: Path) -> None:
    """Reliability D1: write to the log, then its sync, then the answer; for every command."""
    verdict = durability.run(traced_directory, writes=durability.SHORT, seed=SEED)

    say("D1", verdict, n=durability.SHORT, seed=SEED)
    assert (verdict.acknowledgements, verdict.early) == (durability.SHORT, 0)
    assert min(verdict.writes, verdict.syncs) >= durability.SHORT


def test_a_build_that_does_not_sync_is_noticed(traced_directory: Path) -> None:
    """Control of reliability D1: with synchronous=OFF the same trace shows early answers."""
    verdict = durability.run(traced_directory, writes=50, seed=SEED, program=durability.SYNC_OFF)

    say("D1, synchronous=OFF", verdict, n=50, seed=SEED)
    assert verdict.acknowledgements == 50
    assert verdict.writes >= 50
    assert verdict.early > 45


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Reliability D3: killed under several writers: nothing lost, nothing twice, nothing half."""
    verdict = kills.run(tmp_path, cycles=kills.SHORT, seed=SEED)

    say("D3", verdict, n=kills.SHORT, seed=SEED)
    assert (verdict.lost, verdict.twice, verdict.halves) == (0, 0, 0)
    assert verdict.acknowledged >= kills.SHORT
    assert verdict.unknown > 0


def test_a_build_that_answers_before_it_appends_is_noticed(tmp_path: Path) -> None:
    """Control of reliability D3: `ack_early` loses what it acknowledged."""
    verdict = kills.run(tmp_path, cycles=kills.SHORT, seed=SEED, program=kills.ACK_EARLY)

    say("D3, ack_early", verdict, n=verdict.cycles, seed=SEED)
    assert verdict.lost > 0


def test_a_build_that_appends_in_halves_is_noticed(tmp_path: Path) -> None:
    """Control of reliability D3: `half_batch` leaves a part of a command behind."""
    verdict = kills.run(tmp_path, cycles=kills.SHORT, seed=SEED, program=kills.HALF_BATCH)

    say("D3, half_batch", verdict, n=verdict.cycles, seed=SEED)
    assert verdict.halves > 0


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of an installation with a year of events of nearly every kind."""
    directory = tmp_path_factory.mktemp("year") / "data"
    settings = read_settings({}, data_dir=directory)
    seed(settings, datetime(2026, 11, 23, tzinfo=UTC), Secret("demo"), Secret("no hash"))
    return directory


def digests(store: Path, program: str = PROGRAM, places: int = len(SURROUNDINGS)) -> set[str]:
    """What `muniment digest` prints of one log in the first of these surroundings."""

    def printed(surroundings: dict[str, str]) -> str:
        done = muniment("digest", data_dir=store, settings=surroundings, program=program)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with ThreadPoolExecutor(2) as pool:
        return set(pool.map(printed, SURROUNDINGS[:places]))


def test_replay_is_the_same_everywhere(year: Path) -> None:
    """Reliability B8: one digest under every hash seed, time zone and locale."""
    found = digests(year)

    say("B8", found, n=len(SURROUNDINGS))
    assert len(found) == 1


@pytest.mark.parametrize("program", [HASH_ORDER, WALL_CLOCK])
def test_a_fold_that_depends_on_its_surroundings_is_noticed(year: Path, program: str) -> None:
    """Control of reliability B8: a set or the clock in the fold gives several digests."""
    assert len(digests(year, program, places=2)) == 2
