"""How fast does a process know who may do what from events that it holds in memory?

The access graph is what has been compiled of the state, and keeps no facts of its own: so the
way from events to a graph is the fold of the state, and then the graph. The goal, made for a
graph that was folded by itself, is asked of both together.
"""

from __future__ import annotations

from time import perf_counter, process_time
from typing import TYPE_CHECKING, Final, NamedTuple

from domain.state import State, evolve
from ops.bench import data
from ops.bench.check import Lane, Ours, ask, wrong_answers
from ops.bench.report import Options, Report, absolute, at_least, at_most
from ops.collection import collection_off
from projections.access_graph import AccessGraph

if TYPE_CHECKING:
    from domain.events import Fact

SCALE: Final = 10
# So many events are those of performance 5 at scale 10.
_EVENTS: Final = 580_000
_QUESTIONS_MAX: Final = 10_000


class _Caught(NamedTuple):
    """Seconds to the state, from there to the graph, and the processor's for both."""

    state_seconds: float
    graph_seconds: float
    cpu_seconds: float


def run(options: Options) -> Report:
    """Fold the whole installation anew in each round, the collector off as at a start."""
    rounds: list[_Caught] = []
    wrong = 0
    with collection_off():
        world = data.make_world(options.scale, options.seed, rich=options.rich)
        asked = ask(world, _QUESTIONS_MAX)
        facts = list(data.facts(world.events()))
        for _ in range(options.rounds):
            caught, graph = _catch_up(facts)
            wrong += wrong_answers([Lane(Ours(graph), asked)])
            rounds.append(caught)
            # Only then is there memory for the next.
            del graph
    seconds = [caught.state_seconds + caught.graph_seconds for caught in rounds]
    return Report(
        figures=[
            absolute(
                "state and graph from events",
                "events/s",
                [len(facts) / one for one in seconds],
                at_least(300_000, scale=SCALE),
            ),
            absolute(
                f"{_EVENTS:,} events to a graph, at that rate",
                "s",
                [one / len(facts) * _EVENTS for one in seconds],
                at_most(2, scale=SCALE),
            ),
            absolute(
                "events a second of the processor's time",
                "events/s",
                [len(facts) / one.cpu_seconds for one in rounds],
            ),
            absolute("graph from a ready state", "s", [one.graph_seconds for one in rounds]),
        ],
        wrong_answers=wrong,
        notes=(f"{len(facts):,} events in memory, folded by the product's one fold.",),
    )


def _catch_up(facts: list[Fact]) -> tuple[_Caught, AccessGraph]:
    begin, cpu = perf_counter(), process_time()
    state = evolve(State(), facts)
    folded = perf_counter()
    graph = AccessGraph(state, str.encode, data.alias_index)
    ready, cpu = perf_counter(), process_time() - cpu
    return _Caught(folded - begin, ready - folded, cpu), graph
