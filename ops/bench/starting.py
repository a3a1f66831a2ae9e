"""How long does a fresh process take from the log on disk to a state and graph that answer?

A program of its own, because memory that an earlier run has left behind changes the answer:
`python -m ops.bench.starting LOG SNAPSHOT`, with an empty SNAPSHOT for a replay of the whole log.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter

import msgspec
from msgspec import Struct

from domain.ids import TenantId
from domain.state import State, digest
from ops import snapshots
from ops.collection import collection_off
from ops.event_log import SQLiteLog
from ops.wiring import replay
from projections.access_graph import AccessGraph


class Started(Struct, frozen=True, kw_only=True):
    """Seconds to the state and to the graph, and what was reached."""

    state_seconds: float
    graph_seconds: float
    position: int
    digest: str

    @property
    def seconds(self) -> float:
        """Seconds until everything answers."""
        return self.state_seconds + self.graph_seconds


def start(log_path: Path, snapshot_path: Path | None) -> Started:
    """Read what there is, as a serving process does before it listens."""
    log = SQLiteLog(log_path)
    begin = perf_counter()
    with collection_off():
        known = None if snapshot_path is None else snapshots.load(snapshot_path, log)
        state = replay(log, known or State(), _say_nothing)
        reached = perf_counter()
        graph = AccessGraph(state, str.encode, _index_nothing)
    ready = perf_counter()
    log.close()
    return Started(
        state_seconds=reached - begin,
        graph_seconds=ready - reached,
        position=graph.state.position,
        digest=digest(state),
    )


def _index_nothing(_: TenantId, __: str, ___: str) -> bytes:
    """Nobody asks by an alias here."""
    return b""


def _say_nothing(position: int) -> None:
    """Take note of nothing: progress is not what is measured."""


def main() -> None:
    """Print one JSON object."""
    log_path, snapshot_path = sys.argv[1:]
    started = start(Path(log_path), Path(snapshot_path) if snapshot_path else None)
    sys.stdout.buffer.write(msgspec.json.encode(started))


if __name__ == "__main__":
    main()
