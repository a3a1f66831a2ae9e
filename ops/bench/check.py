"""How long does a check take in the process, warm and cold, beside the bare mask loop?

Questions are decoded afresh before each measurement, as in a server: their strings have no hash
yet and are nobody's own. Every answer of both engines is compared with the oracle's.
"""

from __future__ import annotations

import gc
from itertools import count, islice
from time import perf_counter, perf_counter_ns
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import msgspec
from msgspec import Struct

from domain.ids import MAIN, TenantId, UserId
from domain.state import State, evolve
from ops.bench import data
from ops.bench.mask_loop import MaskLoop
from ops.bench.mask_loop import check as check_masks
from ops.bench.report import Figure, Goal, Options, Report, absolute, at_least, at_most, compared
from projections.access_graph import AccessGraph

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ops.bench.data import Question, World

SCALE: Final = 10
_CHUNK: Final = 10_000
_QUESTIONS_MIN: Final = 1_000
_COLD_MAX: Final = 20_000
NOW: Final = data.NOW.timestamp()

# Subject, type, action, namespace, resource, tenant: as the domain types what it decodes.
Row = tuple[UserId, str, str, str, tuple[str, str] | None, TenantId | None]
_DECODER: Final = msgspec.json.Decoder(list[Row])


class Asked(Struct, frozen=True):
    """Questions as they come over the wire, and their right answers."""

    body: bytes
    answers: list[bool]

    def rows(self) -> list[Row]:
        """Decode them afresh."""
        return _DECODER.decode(self.body)


class Engine(Protocol):
    """What answers checks."""

    def answers(self, rows: list[Row]) -> list[bool]:
        """Answer them one after the other, as fast as it goes."""
        ...

    def times(self, rows: list[Row]) -> list[int]:
        """Answer the nanoseconds of each."""
        ...


class Lane(NamedTuple):
    """An engine, and the questions that it is asked."""

    engine: Engine
    asked: list[Asked]


class Speed(Struct, frozen=True):
    """Microseconds a check at the median and the 99th percentile, and checks a second."""

    p50_us: float
    p99_us: float
    checks_a_second: float


def run(options: Options) -> Report:
    """Measure p50, p99 and rate, in turn with the baseline on the same questions."""
    world = data.make_world(options.scale, options.seed, rich=options.rich)
    asked = ask(world)
    gc.disable()
    state = evolve(State(), data.facts(world.events()))
    engines: list[Engine] = [Ours(AccessGraph(state, str.encode, data.alias_index))]
    if not options.rich:
        engines.append(Masks(MaskLoop(world)))
    gc.collect()
    gc.freeze()
    gc.enable()
    lanes = [Lane(engine, asked) for engine in engines]
    wrong = wrong_answers(lanes)
    rounds = [measure(lanes, options.seconds) for _ in range(options.rounds)]
    cold = [_cold(state, asked) for _ in range(options.rounds)]
    figures = _figures(rounds)
    figures.append(absolute("p50 cold", "µs", cold, at_most(25, scale=SCALE)))
    notes = () if len(engines) > 1 else ("The mask loop knows no rich questions: no baseline.",)
    return Report(figures=figures, wrong_answers=wrong, notes=notes)


def ask(world: World, questions_max: int = data.QUESTIONS_MAX, chunk: int = _CHUNK) -> list[Asked]:
    """Answer questions for a world, as many as its scale asks for, in chunks."""
    number = min(questions_max, max(_QUESTIONS_MIN, round(data.QUESTIONS_MAX * world.scale)))
    return asked_from(data.questions(world, data.Oracle(world), number), chunk)


def asked_from(drawn: Sequence[tuple[Question, bool]], chunk: int = _CHUNK) -> list[Asked]:
    """Answer these questions in chunks, as they come over the wire."""
    chunks: list[Asked] = []
    for start in range(0, len(drawn), chunk):
        part = drawn[start : start + chunk]
        rows = [
            (*question[:5], None if question.tenant == MAIN else question.tenant)
            for question, _ in part
        ]
        chunks.append(Asked(msgspec.json.encode(rows), [answer for _, answer in part]))
    return chunks


class Ours:
    """The access graph; a question without a tenant means `main` (authzen 3)."""

    def __init__(self, graph: AccessGraph) -> None:
        self._check = graph.check

    def answers(self, rows: list[Row]) -> list[bool]:
        """Answer them one after the other, as fast as it goes."""
        check, now = self._check, NOW
        return [
            check(tenant or MAIN, subject, type_, action, namespace, resource, now)
            for subject, type_, action, namespace, resource, tenant in rows
        ]

    def times(self, rows: list[Row]) -> list[int]:
        """Answer the nanoseconds of each."""
        check, now, clock = self._check, NOW, perf_counter_ns
        taken: list[int] = []
        for subject, type_, action, namespace, resource, tenant in rows:
            begin = clock()
            check(tenant or MAIN, subject, type_, action, namespace, resource, now)
            taken.append(clock() - begin)
        return taken


class Masks:
    """The bare mask loop."""

    def __init__(self, loop: MaskLoop) -> None:
        self._loop = loop

    def answers(self, rows: list[Row]) -> list[bool]:
        """Answer them one after the other, as fast as it goes."""
        loop = self._loop
        return [
            check_masks(loop, subject, type_, action, namespace)
            for subject, type_, action, namespace, _, _ in rows
        ]

    def times(self, rows: list[Row]) -> list[int]:
        """Answer the nanoseconds of each."""
        loop, clock = self._loop, perf_counter_ns
        taken: list[int] = []
        for subject, type_, action, namespace, _, _ in rows:
            begin = clock()
            check_masks(loop, subject, type_, action, namespace)
            taken.append(clock() - begin)
        return taken


def wrong_answers(lanes: Iterable[Lane]) -> int:
    """Ask every engine each of its questions once, and count what the oracle answers otherwise.

    What is compiled at first use is compiled afterwards: this is the warm-up too.
    """
    return sum(
        mine != right
        for engine, asked in lanes
        for part in asked
        for mine, right in zip(engine.answers(part.rows()), part.answers, strict=True)
    )


def measure(lanes: Sequence[Lane], seconds: float) -> list[Speed]:
    """Let the engines take turns, chunk by chunk, for so long; answer each one's speed."""
    until = perf_counter() + seconds * len(lanes)
    taken: list[list[int]] = [[] for _ in lanes]
    total = [0.0 for _ in lanes]
    answered = [0 for _ in lanes]
    for turn in count():
        if turn and perf_counter() > until:
            break
        for index, (engine, asked) in enumerate(lanes):
            part = asked[turn % len(asked)]
            answered[index] += len(part.answers)
            rows = part.rows()
            begin = perf_counter()
            engine.answers(rows)
            total[index] += perf_counter() - begin
            taken[index] += engine.times(part.rows())
    speeds: list[Speed] = []
    for samples, number, spent in zip(taken, answered, total, strict=True):
        samples.sort()
        p50, p99 = samples[len(samples) // 2], samples[len(samples) * 99 // 100]
        speeds.append(Speed(p50 / 1e3, p99 / 1e3, number / spent))
    return speeds


def _cold(state: State, asked: list[Asked]) -> float:
    """Answer the median microseconds of checks that have to compile their principal first."""
    firsts = {row[0]: row for part in asked for row in part.rows()}
    rows = list(islice(firsts.values(), _COLD_MAX))
    taken = Ours(AccessGraph(state, str.encode, data.alias_index)).times(rows)
    return sorted(taken)[len(taken) // 2] / 1e3


def _figures(rounds: list[list[Speed]]) -> list[Figure]:
    ours = [speeds[0] for speeds in rounds]
    p50 = [speed.p50_us for speed in ours]
    p99 = [speed.p99_us for speed in ours]
    rate = [speed.checks_a_second for speed in ours]
    figures: list[Figure] = []
    if len(rounds[0]) > 1:
        bare = [speeds[1] for speeds in rounds]
        figures += [
            compared(
                "p50 warm", "µs", p50, [one.p50_us for one in bare], at_most(1.6, scale=SCALE)
            ),
            compared("p99 warm", "µs", p99, [one.p99_us for one in bare]),
            compared("rate", "checks/s", rate, [one.checks_a_second for one in bare]),
        ]
    ceilings: tuple[tuple[str, str, list[float], Goal], ...] = (
        ("p50 warm", "µs", p50, at_most(2.5, scale=SCALE)),
        ("p99 warm", "µs", p99, at_most(10, scale=SCALE)),
        ("rate", "checks/s", rate, at_least(250_000, scale=SCALE)),
    )
    figures += [absolute(*ceiling) for ceiling in ceilings]
    return figures
