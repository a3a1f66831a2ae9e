"""Is what a real server acknowledged on disk, whatever happens next?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from domain.sealed import Secret
from ops.demo import seed
from ops.settings import read_settings
from tests.campaigns import durability, kills, power, trace
from tests.campaigns.durability import Recording
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


@pytest.fixture(scope="module")
def traced_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose servers can be traced."""
    if refusal := trace.strace_refusal():
        pytest.skip(refusal)
    return tmp_path_factory.mktemp("traced")


@pytest.fixture(scope="module")
def life(traced_directory: Path) -> Recording:
    """What a server did while a client wrote."""
    directory = traced_directory / "right"
    directory.mkdir()
    return durability.record(directory, writes=durability.SHORT, seed=SEED)


@pytest.fixture(scope="module")
def unsynced_life(traced_directory: Path) -> Recording:
    """The same of a build that leaves syncing to the system."""
    directory = traced_directory / "broken"
    directory.mkdir()
    program = durability.SYNC_NORMAL
    return durability.record(directory, writes=durability.SHORT, seed=SEED, program=program)


def test_every_acknowledgement_follows_its_sync(life: Recording) -> None:
    """Reliability D1: write to the log, then its sync, then the answer; for every command."""
    verdict = durability.judge(life.steps)

    say("D1", verdict, n=durability.SHORT, seed=SEED)
    assert verdict.early == 0
    assert verdict.acknowledgements >= durability.SHORT
    assert min(verdict.writes, verdict.syncs) >= durability.SHORT


def test_a_build_that_leaves_syncing_to_the_system_is_noticed(unsynced_life: Recording) -> None:
    """Control of reliability D1: with `sync_normal` the same trace shows early answers."""
    verdict = durability.judge(unsynced_life.steps)

    say("D1, sync_normal", verdict, n=durability.SHORT, seed=SEED)
    assert verdict.acknowledgements >= durability.SHORT
    assert verdict.writes >= durability.SHORT
    assert verdict.early > durability.SHORT * 0.9


def test_what_is_acknowledged_survives_a_loss_of_power(life: Recording, tmp_path: Path) -> None:
    """Reliability D2: cut off at any moment the log verifies, serves, and lacks nothing told."""
    verdict = power.run(life, tmp_path, images=power.SHORT, seed=SEED)

    say("D2", verdict, n=power.SHORT, seed=SEED)
    assert verdict.faults == 0
    assert (verdict.images, verdict.served) == (power.SHORT, power.SHORT // power.SERVED_EACH)
    assert verdict.dropped > power.SHORT


def test_power_cuts_find_what_is_not_synced(unsynced_life: Recording, tmp_path: Path) -> None:
    """Control of reliability D2: with `sync_normal` a cut loses what was acknowledged."""
    verdict = power.run(unsynced_life, tmp_path, images=power.SHORT, seed=SEED)

    say("D2, sync_normal", verdict, n=verdict.images, seed=SEED)
    assert verdict.lost > 0


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Reliability D3: killed under several writers: nothing lost, nothing twice, nothing half."""
    verdict = kills.run(tmp_path, cycles=kills.SHORT, seed=SEED)

    say("D3", verdict, n=kills.SHORT, seed=SEED)
    assert verdict.tally.faults == 0
    assert verdict.cycles == kills.SHORT
    assert verdict.tally.acknowledged >= kills.SHORT
    assert verdict.tally.unknown > 0


def test_a_build_that_answers_before_it_appends_is_noticed(tmp_path: Path) -> None:
    """Control of reliability D3: `ack_early` loses what it acknowledged."""
    verdict = kills.run(tmp_path, cycles=kills.SHORT, seed=SEED, program=kills.ACK_EARLY)

    say("D3, ack_early", verdict, n=verdict.cycles, seed=SEED)
    assert verdict.tally.lost > 0


def test_a_build_that_appends_in_halves_is_noticed(tmp_path: Path) -> None:
    """Control of reliability D3: `half_batch` leaves a part of a command behind."""
    verdict = kills.run(tmp_path, cycles=kills.SHORT, seed=SEED, program=kills.HALF_BATCH)

    say("D3, half_batch", verdict, n=verdict.cycles, seed=SEED)
    assert verdict.tally.halves > 0


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
