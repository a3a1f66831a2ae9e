"""Is what a real server acknowledged on disk, whatever happens next?"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.campaigns import durability, kills
from tests.campaigns.report import say

SEED = 20261123
START_SECONDS_MAX = 5.0


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
