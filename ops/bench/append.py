"""How many events a second become durable, alone and in batches, beside the bare driver?"""

from __future__ import annotations

import gc
from itertools import cycle, islice
from statistics import quantiles
from time import perf_counter
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from domain.events import Record
from ops.bench import data, stores
from ops.bench.crowd import crowd
from ops.bench.report import Figure, Options, Report, at_least, compared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ops.bench.stores import Raw, Store
    from ops.event_log import PostgresLog, SQLiteLog

BATCHES: Final = (1, 20, 200)
CALLERS: Final = 32
_EVENTS: Final = 2_000
_APPENDS_MIN: Final = 2


class Rate(Struct, frozen=True):
    """Events a second, and the slowest hundredth of the appends in milliseconds."""

    events_a_second: float
    p99_ms: float


class _Lane:
    """One engine with records without end, at the next positions of its table."""

    def __init__(self, append: Callable[[list[Record]], None], records: Sequence[Record]) -> None:
        self._append = append
        self._records: Iterator[Record] = cycle(records)
        self._position = 0

    def append(self, size: int) -> float:
        """Append so many; answer the seconds of that alone, without the making of records."""
        first = self._position + 1
        self._position += size
        batch = [
            Record(position, record.topic, record.state)
            for position, record in enumerate(islice(self._records, size), first)
        ]
        begin = perf_counter()
        self._append(batch)
        return perf_counter() - begin


def run(options: Options) -> Report:
    """Measure one, 20 and 200 events an append on every store, in turn with the bare driver."""
    world = data.make_world(0.01, options.seed)
    records = list(data.records(data.history(world, _EVENTS)))
    figures: list[Figure] = []
    with stores.stores(options.database_url) as (found, missing):
        for name, store in found.items():
            figures += _measure(name, store, options, records)
    figures.append(_group_commit(options))
    return Report(figures=figures, not_run=missing)


def _group_commit(options: Options) -> Figure:
    """Compare the durable commands of many callers with those of a single one, in turn."""
    many: list[float] = []
    single: list[float] = []
    with crowd(0.01, options.seed) as gathered:
        number = gathered.number_for(CALLERS, options.seconds / 2)
        alone = gathered.number_for(1, options.seconds / 2)
        for _ in range(options.rounds):
            many.append(gathered.measure(CALLERS, number).commands_a_second)
            single.append(gathered.measure(1, alone).commands_a_second)
    name = f"SQLite, {CALLERS} callers, beside one"
    return compared(name, "events/s", many, single, at_least(3))


def _measure(name: str, store: Store, options: Options, records: Sequence[Record]) -> list[Figure]:
    log, raw = store.log(), store.raw()
    try:
        return _figures(name, (log, raw), options, records)
    finally:
        log.close()


def _figures(
    name: str,
    engines: tuple[SQLiteLog | PostgresLog, Raw],
    options: Options,
    records: Sequence[Record],
) -> list[Figure]:
    log, raw = engines

    def append(batch: list[Record]) -> None:
        log.append(batch[0].position, batch)

    lanes = (_Lane(append, records), _Lane(raw.append, records))
    figures: list[Figure] = []
    for size in BATCHES:
        _alternate(lanes, size, options.seconds / 6)
        rounds = [_alternate(lanes, size, options.seconds) for _ in range(options.rounds)]
        label = "1 event" if size == 1 else f"{size} events"
        figures.append(
            compared(
                f"{name}, {label} an append",
                "events/s",
                [ours.events_a_second for ours, _ in rounds],
                [bare.events_a_second for _, bare in rounds],
                at_least(0.70) if size == 1 else None,
            )
        )
        p99 = ([ours.p99_ms for ours, _ in rounds], [bare.p99_ms for _, bare in rounds])
        figures.append(compared(f"{name}, {label} an append, p99", "ms", *p99))
    return figures


def _alternate(lanes: tuple[_Lane, _Lane], size: int, seconds: float) -> tuple[Rate, Rate]:
    """Append by turns for so long: what the disk does meanwhile meets both alike."""
    gc.collect()
    until = perf_counter() + seconds
    taken: tuple[list[float], list[float]] = ([], [])
    while perf_counter() < until or len(taken[0]) < _APPENDS_MIN:
        for lane, samples in zip(lanes, taken, strict=True):
            samples.append(lane.append(size))
    ours, bare = (_rate(samples, size) for samples in taken)
    return ours, bare


def _rate(samples: list[float], size: int) -> Rate:
    p99 = quantiles(samples, n=100, method="inclusive")[98]
    return Rate(len(samples) * size / sum(samples), p99 * 1e3)
