"""What does it cost to keep a record of every decision, and how long does who must have it wait?"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from itertools import cycle, islice
from time import perf_counter
from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from api.journal import Decisions
from api.judging import Asker, Judge
from api.questions import decode_evaluation, typed_subject
from domain.ids import ServiceAccountId
from ops.bench import http_checks, servers, stores
from ops.bench.data import make_world
from ops.bench.report import Figure, Options, Report, absolute, at_least, at_most, compared
from ops.inputs import SystemInputs
from ops.journal import StoredJournal
from ops.settings import Settings
from ops.stores import open_stores
from ops.wiring import Installation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from api.service import Service
    from ops.bench.data import World
    from ops.bench.load import Loaded, Prepared
    from ops.bench.servers import Cost, Server

CALLERS: Final = 64
_NOTE: Final = (
    "`every decision kept` and `denials kept` are beside the same server that notes nothing;"
    " 64 callers ask without a pause, then by half the rate that they reach."
)
_BATCH: Final = 20_000
_BATCHES: Final = 5


def run(options: Options) -> Report:
    """Measure the modes over HTTP, and the writing of entries in the process."""
    world = make_world(options.scale, options.seed)
    prepared = http_checks.evaluations(world)
    costs: dict[str, list[Cost]] = {"": [], "all": [], "denials": []}
    waits: list[tuple[Loaded, Loaded]] = []
    with ExitStack() as stack:
        requests = stack.enter_context(stores.private_directory()) / "requests"
        servers.write(requests, prepared)
        modes: dict[str, Server] = {}
        places = {
            mode: stack.enter_context(servers.installation(world))
            for mode in ("", "all", "denials", "required")
        }
        for mode, place in places.items():
            settings = {"MUNIMENT_JOURNAL": mode} if mode else {}
            program = "ops.cli.main" if mode else "ops.bench.unjournaled"
            modes[mode] = stack.enter_context(servers.serving(place, settings, program))
        for _ in range(options.rounds):
            for mode, taken in costs.items():
                taken.append(servers.measure(modes[mode], requests, options.seconds))
            waits.append(_waits(modes["required"], requests, options.seconds))
        written = [_written_a_second(world, prepared) for _ in range(options.rounds)]
    return Report(
        figures=[
            *_rates("every decision kept", costs["all"], costs[""], 0.85),
            *_rates("denials kept", costs["denials"], costs[""], None),
            absolute("entries written in the process", "/s", written, at_least(50_000)),
            *_waiting(waits),
        ],
        wrong_answers=sum(cost.wrong_answers for taken in costs.values() for cost in taken)
        + sum(loaded.wrong_answers for pair in waits for loaded in pair),
        notes=(_NOTE,),
    )


def _rates(name: str, ours: list[Cost], bare: list[Cost], goal: float | None) -> list[Figure]:
    return [
        compared(
            f"{name}, requests a CPU second",
            "/s",
            [1e6 / cost.cpu_us for cost in ours],
            [1e6 / cost.cpu_us for cost in bare],
            None if goal is None else at_least(goal),
        ),
        compared(
            f"{name}, rate",
            "/s",
            [cost.requests_a_second for cost in ours],
            [cost.requests_a_second for cost in bare],
        ),
    ]


def _waits(server: Server, requests: Path, seconds: float) -> tuple[Loaded, Loaded]:
    """Answer what callers wait for their record, at the full rate and at half of it."""
    full = servers.latencies(server, requests, seconds, 0, CALLERS)
    half = full.requests / full.seconds / 2
    return full, servers.latencies(server, requests, seconds, half, CALLERS)


def _waiting(waits: list[tuple[Loaded, Loaded]]) -> list[Figure]:
    full, half = zip(*waits, strict=True)
    name = "no answer before its record"
    return [
        absolute(f"{name}, p50 of 64 callers", "ms", [one.p50_ms for one in full]),
        absolute(f"{name}, p99 of 64 callers", "ms", [one.p99_ms for one in full], at_most(20)),
        absolute(f"{name}, p99 at half the rate", "ms", [one.p99_ms for one in half]),
        absolute(f"{name}, rate", "/s", [one.requests / one.seconds for one in full]),
    ]


def _written_a_second(world: World, prepared: list[Prepared]) -> float:
    """Answer how many entries a second the journal makes and writes, from queue to sync."""
    inputs = SystemInputs()
    with (
        servers.installation(world) as place,
        open_stores(Settings(data_dir=place), inputs) as opened,
    ):
        service = Installation(Settings(data_dir=place), opened, inputs).service
        kept = StoredJournal(opened.journal, inputs, lambda _: b"", mode="all")
        answers = asyncio.run(_answers(service, prepared))
        taken = 0.0
        for _ in range(_BATCHES):
            for answer in islice(answers, _BATCH):
                kept.decided(answer)
            begun = perf_counter()
            kept.flush(everything=True)
            taken += perf_counter() - begun
        return kept.tally().written / taken


async def _answers(service: Service, prepared: list[Prepared]) -> Iterator[Decisions]:
    """Answer decisions without end, each by a token of its own about that token's owner."""
    judge = Judge(service)
    moment = await judge.moment(UNSET)
    tokens = {token.owner: token for token in service.state.tokens.values()}
    found: list[Decisions] = []
    for one in prepared:
        words = decode_evaluation(one.request.partition(b"\r\n\r\n")[2])
        token = tokens[ServiceAccountId(typed_subject(words)[1])]
        asker = Asker(token.owner, token, "192.0.2.1", "req-1")
        asked = judge.read(asker, words, moment)
        found.append(Decisions(asker, moment, ((asked, words, judge.decide(asked, moment)),)))
    return cycle(found)
