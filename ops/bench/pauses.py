"""How long does Python's collector stop a process that serves, frozen as in the product and not?

The collector puts a full collection off until much is new, so in a short run it may not come at
all. One is provoked at the end of each measurement: it is the longest that can be met with.
"""

from __future__ import annotations

import gc
from itertools import cycle, islice
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from domain.state import State, evolve
from ops.bench import data
from ops.bench.check import Lane, Ours, ask, wrong_answers
from ops.bench.report import Options, Report, absolute, at_most, compared
from ops.collection import FREEZE_FACTS, collection_off
from projections.access_graph import AccessGraph

if TYPE_CHECKING:
    from collections.abc import Iterator

    from domain.events import Event
    from ops.bench.check import Asked

SCALE: Final = 10
_BATCH: Final = 20
_CHECKS: Final = 500
_QUESTIONS_MAX: Final = 200_000
_EVENTS: Final = 20_000


class _Pauses(NamedTuple):
    """The longest pause that the collector chose by itself, with the provoked one, and its CPU."""

    chosen_ms: float
    longest_ms: float
    longest_cpu_ms: float


class _Watch:
    """Notes how long collections take, from the first call to the last."""

    def __init__(self) -> None:
        self.longest_ms = 0.0
        self.longest_cpu_ms = 0.0
        self._begin = 0.0
        self._cpu = 0.0

    def note(self, phase: str, _: dict[str, Any]) -> None:
        """Take the time; the collector calls it at each begin and end."""
        if phase == "start":
            self._begin, self._cpu = perf_counter(), thread_time()
        else:
            self.longest_ms = max(self.longest_ms, (perf_counter() - self._begin) * 1e3)
            self.longest_cpu_ms = max(self.longest_cpu_ms, (thread_time() - self._cpu) * 1e3)


class _Served:
    """A graph that answers questions while bindings come and go, as in a serving process."""

    def __init__(self, options: Options) -> None:
        world = data.make_world(options.scale, options.seed, rich=options.rich)
        # The world itself is let go: a server does not hold it.
        events = list(islice(data.churn(world), _EVENTS))
        self._events: Iterator[Event] = cycle(events)
        self._asked: Iterator[Asked] = cycle(ask(world, _QUESTIONS_MAX, _CHECKS))
        self._graph = AccessGraph(
            evolve(State(), data.facts(world.events())), str.encode, data.alias_index
        )
        self._kept: list[State] = []
        self.wrong_answers = 0

    def serve(self, seconds: float, *, is_frozen: bool) -> _Pauses:
        """Answer and publish by turns for so long; freeze as often as the product, or never."""
        watch = _Watch()
        facts_since = 0
        gc.callbacks.append(watch.note)
        try:
            until = perf_counter() + seconds
            while perf_counter() < until:
                self.wrong_answers += wrong_answers([Lane(Ours(self._graph), [next(self._asked)])])
                self._publish()
                facts_since += _BATCH
                if facts_since >= FREEZE_FACTS:
                    facts_since = 0
                    # History keeps a root about as often.
                    self._kept.append(self._graph.state)
                    if is_frozen:
                        gc.freeze()
            chosen_ms = watch.longest_ms
            gc.collect()
        finally:
            gc.callbacks.remove(watch.note)
        return _Pauses(chosen_ms, watch.longest_ms, watch.longest_cpu_ms)

    def _publish(self) -> None:
        """Publish a batch of bindings, each with its end: no answer is another afterwards."""
        state = self._graph.state
        facts = list(data.facts(islice(self._events, _BATCH), state.position))
        self._graph.publish(evolve(state, facts), facts)


def run(options: Options) -> Report:
    """Serve frozen and unfrozen by turns, on the same state."""
    with collection_off():
        served = _Served(options)
    frozen: list[_Pauses] = []
    unfrozen: list[_Pauses] = []
    for _ in range(options.rounds):
        gc.collect()
        gc.freeze()
        frozen.append(served.serve(options.seconds, is_frozen=True))
        gc.unfreeze()
        gc.collect()
        unfrozen.append(served.serve(options.seconds, is_frozen=False))
    longest = [pauses.longest_ms for pauses in frozen]
    return Report(
        figures=[
            absolute("longest pause", "ms", longest, at_most(10, scale=SCALE)),
            compared(
                "longest pause, beside unfrozen",
                "ms",
                longest,
                [pauses.longest_ms for pauses in unfrozen],
            ),
            absolute(
                "longest pause, the processor's time",
                "ms",
                [pauses.longest_cpu_ms for pauses in frozen],
            ),
            absolute(
                "longest that was not provoked", "ms", [pauses.chosen_ms for pauses in frozen]
            ),
            absolute(
                "longest that was not provoked, unfrozen",
                "ms",
                [pauses.chosen_ms for pauses in unfrozen],
            ),
        ],
        wrong_answers=served.wrong_answers,
        notes=(f"{_BATCH} events after every {_CHECKS} checks, and at the end a full collection.",),
    )
