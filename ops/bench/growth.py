"""How much longer does a check take when there are a hundred times as many accounts?

Both installations are in one process and take turns. What is drawn at the larger scale is as
varied as its principals, so the processor's caches help it least: that is what is measured.
"""

from __future__ import annotations

from typing import Final

from domain.state import State, evolve
from ops.bench import data
from ops.bench.check import Lane, Ours, ask, measure, wrong_answers
from ops.bench.report import Options, Report, absolute, at_most, compared
from ops.collection import collection_off
from projections.access_graph import AccessGraph

TIMES: Final = 100


def run(options: Options) -> Report:
    """Measure p50, p99 and rate at the scale and at 100 times the scale, in turn."""
    with collection_off():
        lanes = [
            _lane(options, options.scale * TIMES),
            _lane(options, options.scale),
        ]
        wrong = wrong_answers(lanes)
    rounds = [measure(lanes, options.seconds) for _ in range(options.rounds)]
    large = [speeds[0] for speeds in rounds]
    small = [speeds[1] for speeds in rounds]
    name = f"{TIMES} times the accounts"
    return Report(
        figures=[
            compared(
                f"p50 warm, {name}",
                "µs",
                [one.p50_us for one in large],
                [one.p50_us for one in small],
                at_most(2, scale=1),
            ),
            compared(
                f"p99 warm, {name}",
                "µs",
                [one.p99_us for one in large],
                [one.p99_us for one in small],
            ),
            absolute(f"rate, {name}", "checks/s", [one.checks_a_second for one in large]),
        ],
        wrong_answers=wrong,
        notes=(f"Baseline: ourselves with {options.scale * data.ACCOUNTS_AT_ONE:,.0f} accounts.",),
    )


def _lane(options: Options, scale: float) -> Lane:
    """Answer a graph and its questions, as many at both scales.

    The world that they were made from is let go.
    """
    world = data.make_world(scale, options.seed, rich=options.rich)
    asked = ask(world, round(data.QUESTIONS_MAX * min(1, options.scale)))
    state = evolve(State(), data.facts(world.events()))
    return Lane(Ours(AccessGraph(state, str.encode, data.alias_index)), asked)
