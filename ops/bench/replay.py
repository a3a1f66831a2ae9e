"""How quickly is the whole log read, decoded and folded, beside bare SQL that only reads?"""

from __future__ import annotations

import gc
from contextlib import ExitStack, closing
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Final

from domain.events import decode
from ops.bench import data, stores
from ops.bench.report import Figure, Options, Report, absolute, at_most, compared
from ops.cli.local.progress import progress
from ops.collection import collection_off
from ops.event_log import PostgresLog
from ops.replays import PAGE_RECORDS, replay
from ops.stores import read_ahead, read_all

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from domain.events import Record
    from ops.bench.stores import Store
    from ops.event_log import SQLiteLog

_BATCH_RECORDS: Final = 5_000


def run(options: Options) -> Report:
    """Read 100,000 events a unit of scale, so 1,000,000 at scale 10, from every store in turn."""
    events = max(100, round(data.EVENTS_AT_TEN / 10 * options.scale))
    figures: list[Figure] = []
    wrong = 0
    with stores.stores(options.database_url) as (found, missing), ExitStack() as stack:
        logs = {name: stack.enter_context(closing(store.log())) for name, store in found.items()}
        with collection_off():
            world = data.make_world(options.scale, options.seed)
            _fill(logs.values(), data.records(data.history(world, events)))
        for name, store in found.items():
            store.copy()
            more, faults = _measure(name, (store, logs[name]), options, events)
            figures += more
            wrong += faults
    return Report(figures=figures, wrong_answers=wrong, not_run=missing)


def _fill(logs: Collection[SQLiteLog | PostgresLog], records: Iterator[Record]) -> None:
    """Append all the records to every log; made once, for that takes longer than to read them."""
    while batch := list(islice(records, _BATCH_RECORDS)):
        for log in logs:
            log.append(batch[0].position, batch)


def _measure(
    name: str, place: tuple[Store, SQLiteLog | PostgresLog], options: Options, events: int
) -> tuple[list[Figure], int]:
    store, log = place
    raw = store.raw()
    ours: list[float] = []
    bare: list[float] = []
    wrong = 0
    replayed: list[float] = []
    measured: tuple[tuple[list[float], Callable[[], int]], ...] = (
        (ours, lambda: _count(log, store.page_records)),
        (bare, raw.count),
        (replayed, lambda: _replayed(log, events)),
    )
    for _ in range(options.rounds):
        for samples, count in measured:
            seconds, counted = _timed(count)
            samples.append(seconds)
            wrong += counted != events
    rates = [events / seconds for seconds in ours]
    figures = [
        compared(
            f"{name}, events read and decoded",
            "events/s",
            rates,
            [events / seconds for seconds in bare],
        ),
        absolute(f"{name}, {events:,} events", "s", ours, at_most(6, scale=10)),
        absolute(
            f"{name}, {events:,} events replayed to their state, with progress",
            "s",
            replayed,
            at_most(10, scale=10),
        ),
    ]
    return figures, wrong


def _timed(count: Callable[[], int]) -> tuple[float, int]:
    gc.collect()
    gc.disable()
    try:
        begin = perf_counter()
        counted = count()
        return perf_counter() - begin, counted
    finally:
        gc.enable()


def _replayed(log: SQLiteLog | PostgresLog, events: int) -> int:
    """Replay as the command does, saying how far it is; answer the position of the state."""
    read = read_ahead if isinstance(log, PostgresLog) else read_all
    with progress("replay", events, form="none") as advance:
        return replay(read(log, page_records=PAGE_RECORDS), None, advance).position


def _count(log: SQLiteLog | PostgresLog, page_records: int) -> int:
    """Answer how many events there are, each decoded and at the place where it belongs."""
    position = 0
    while True:
        page = [decode(record) for record in log.read(position, page_records)]
        if not page:
            return position
        for fact in page:
            position += 1
            if fact.position != position:
                return -1
