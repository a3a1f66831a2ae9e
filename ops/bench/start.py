"""How long does a start take, by replay of the whole log and from a snapshot at its head?"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec

from domain.state import State, digest, evolve
from ops import snapshots
from ops.bench import data, stores
from ops.bench.report import Options, Report, absolute, at_most
from ops.bench.starting import Started
from ops.collection import collection_off

if TYPE_CHECKING:
    from pathlib import Path

    from ops.bench.stores import SQLiteStore


def run(options: Options) -> Report:
    """Start fresh processes over 100,000 events a unit of scale, so 1,000,000 at scale 10."""
    events = max(100, round(data.EVENTS_AT_TEN / 10 * options.scale))
    replayed: list[Started] = []
    restored: list[Started] = []
    with stores.sqlite_store() as store:
        snapshot = store.path.with_name("snapshot")
        # What is measured runs in other processes: here a collector would only lengthen the wait.
        with collection_off():
            right = _prepare(store, snapshot, options, events)
        size = snapshot.stat().st_size
        for _ in range(options.rounds):
            replayed.append(_start(store.path, None))
            restored.append(_start(store.path, snapshot))
    wrong = sum(one.digest != right for one in (*replayed, *restored))
    return Report(
        figures=[
            absolute(
                f"{events:,} events on disk to ready",
                "s",
                [one.seconds for one in replayed],
                at_most(10, scale=10),
            ),
            absolute(
                "snapshot to ready", "s", [one.seconds for one in restored], at_most(1.5, scale=10)
            ),
            absolute(
                "of that, the access graph",
                "s",
                [one.graph_seconds for one in restored],
                at_most(0.5, scale=10),
            ),
            absolute("size of the snapshot", "MB", [size / 1e6]),
        ],
        wrong_answers=wrong,
    )


def _prepare(store: SQLiteStore, snapshot: Path, options: Options, events: int) -> str:
    """Write the log and the snapshot at its head, and answer the digest of the state there."""
    world = data.make_world(options.scale, options.seed)
    state = evolve(State(), data.facts(data.history(world, events)))
    log = store.log()
    try:
        stores.fill(log, data.records(data.history(world, events)))
        (last,) = log.read(events - 1, 1)
    finally:
        log.close()
    snapshots.save(snapshot, state, snapshots.leaf_hash(last))
    return digest(state)


def _start(log: Path, snapshot: Path | None) -> Started:
    finished = subprocess.run(  # noqa: S603 - this very program, on files that the run made
        [sys.executable, "-m", "ops.bench.starting", str(log), str(snapshot or "")],
        check=True,
        capture_output=True,
    )
    return msgspec.json.decode(finished.stdout, type=Started)
