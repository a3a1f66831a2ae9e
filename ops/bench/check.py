"""How long does a check take in the process, warm and cold, beside the bare mask loop?

Questions are decoded afresh before each measurement, as in a server: their strings have no hash
yet and are nobody's own. Every answer of both engines is compared with the oracle's.
"""

from __future__ import annotations

import gc
from time import perf_counter, perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from domain.ids import MAIN, TenantId, UserId
from domain.state import State, evolve
from ops.bench import data
from ops.bench.mask_loop import MaskLoop
from ops.bench.mask_loop import check as check_masks
from ops.bench.report import Figure, Options, Report, absolute, at_least, at_most, compared
from projections.access_graph import AccessGraph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ops.bench.data import World

SCALE: Final = 10
_CHUNK: Final = 10_000
_COLD_MAX: Final = 20_000

Row = tuple[str, str, str, str, tuple[str, str] | None, str | None]
_DECODER: Final = msgspec.json.Decoder(list[Row])
_NOW: Final = data.NOW.timestamp()


class Asked(Struct, frozen=True):
    """Questions as they come over the wire, in chunks, with their right answers."""

    chunks: list[bytes]
    answers: list[list[bool]]


class Speed(Struct, frozen=True):
    """Nanoseconds a check at the median and the 99th percentile, and checks a second."""

    p50_ns: float
    p99_ns: float
    checks_a_second: float


Ask = "Callable[[list[Row]], list[bool]]"


def run(options: Options) -> Report:
    """Measure p50, p99 and rate, each in turn with the baseline on the same questions."""
    world = data.make_world(options.scale, options.seed, rich=options.rich)
    asked = _asked(world)
    gc.disable()
    graph = AccessGraph(evolve(State(), data.facts(world.events())), str.encode)
    loop = None if options.rich else MaskLoop(world)
    gc.collect()
    gc.freeze()
    gc.enable()
    engines = [_Ours(graph), *([] if loop is None else [_Masks(loop)])]
    wrong = sum(_warm(engine, asked) for engine in engines)
    speeds: list[list[Speed]] = [[] for _ in engines]
    for _ in range(options.rounds):
        for engine, samples in zip(engines, speeds, strict=True):
            samples.append(_measure(engine, asked, options.seconds))
    figures = _figures(speeds)
    figures.append(_cold(graph, asked, options))
    return Report(figures=figures, wrong_answers=wrong)


class _Ours:
    """The access graph; a question without a tenant means `main` (authzen 3)."""

    def __init__(self, graph: AccessGraph) -> None:
        self._check = graph.check

    def answers(self, rows: list[Row]) -> list[bool]:
        """Answer questions one after the other, as fast as they go."""
        check, now = self._check, _NOW
        return [
            check(
                MAIN if tenant is None else TenantId(tenant),
                UserId(subject),
                type_,
                action,
                namespace,
                resource,
                now,
            )
            for subject, type_, action, namespace, resource, tenant in rows
        ]

    def times(self, rows: list[Row]) -> list[int]:
        """Answer the nanoseconds of each."""
        check, now, clock = self._check, _NOW, perf_counter_ns
        taken: list[int] = []
        for subject, type_, action, namespace, resource, tenant in rows:
            begin = clock()
            check(
                MAIN if tenant is None else TenantId(tenant),
                UserId(subject),
                type_,
                action,
                namespace,
                resource,
                now,
            )
            taken.append(clock() - begin)
        return taken


class _Masks:
    """The bare mask loop."""

    def __init__(self, loop: MaskLoop) -> None:
        self._loop = loop

    def answers(self, rows: list[Row]) -> list[bool]:
        """Answer questions one after the other, as fast as they go."""
        loop = self._loop
        return [check_masks(loop, *row[:4]) for row in rows]
