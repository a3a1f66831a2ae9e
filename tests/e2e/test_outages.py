"""Is anything lost or hung when the server or its database is restarted?"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaigns import outages, restarts
from tests.campaigns.report import say

SEED = 20261123


@pytest.fixture
def server() -> Iterator[outages.Server]:
    """A database server that only this test uses."""
    # Not below pytest's directories, which its own user may not enter.
    directory = Path(tempfile.mkdtemp(prefix="muniment-outages-"))
    with outages.database_server(directory) as found:
        yield found


def test_a_database_that_goes_away_costs_time_only(server: outages.Server, tmp_path: Path) -> None:
    """Reliability E1: restarts and crashes of the database under load: nothing lost, back soon."""
    verdict = outages.run(server, tmp_path, outages=outages.SHORT, seed=SEED)

    say("E1, without promotion", verdict, n=len(outages.SHORT), seed=SEED)
    assert verdict.outages == len(outages.SHORT)
    assert verdict.tally.acknowledged >= len(outages.SHORT)
    assert verdict.is_kept


def test_a_database_that_does_not_sync_is_noticed(server: outages.Server, tmp_path: Path) -> None:
    """Control of reliability E1: with `sync_normal` a crash loses what was acknowledged."""
    verdict = outages.run(
        server,
        tmp_path,
        outages=[outages.STOP] * 2,
        seed=SEED,
        program=outages.SYNC_NORMAL,
    )

    say("E1, sync_normal", verdict, n=verdict.outages, seed=SEED)
    assert verdict.tally.lost > 0


def test_a_restart_is_seen_by_nobody_who_tries_twice(tmp_path: Path) -> None:
    """Reliability E3: SIGTERM under load: what is under way is finished, nothing lost or half."""
    verdict = restarts.run(tmp_path, restarts=restarts.SHORT, seed=SEED)

    say("E3", verdict, n=restarts.SHORT, seed=SEED)
    assert verdict.restarts == restarts.SHORT
    assert verdict.faults == 0
    assert verdict.tally.acknowledged >= restarts.SHORT
    assert verdict.retried > 0
    assert verdict.slowest_end_seconds <= restarts.END_SECONDS


def test_a_build_that_drops_what_is_under_way_is_noticed(tmp_path: Path) -> None:
    """Control of reliability E3: `drop_on_term` leaves a request without its answer."""
    program = restarts.DROP_ON_TERM
    verdict = restarts.run(tmp_path, restarts=restarts.SHORT, seed=SEED, program=program)

    say("E3, drop_on_term", verdict, n=verdict.restarts, seed=SEED)
    assert verdict.unfinished > 0
