"""How long does it take from the text of a token to its live principal?"""

from __future__ import annotations

import gc
from statistics import fmean
from time import perf_counter, perf_counter_ns
from typing import Final

import msgspec

from api.authentication import judge_token
from api.request_errors import AuthenticationError
from api.service import Service
from ops.bench import data, servers
from ops.bench.report import Options, Report, absolute, at_most
from ops.inputs import SystemInputs
from ops.settings import Settings
from ops.stores import open_stores
from ops.wiring import Installation

_DECODER: Final = msgspec.json.Decoder(list[str])


def run(options: Options) -> Report:
    """Judge 10,000 different tokens, their texts decoded afresh, in the order of chance."""
    world = data.make_world(options.scale, options.seed)
    body = msgspec.json.encode([token.text for token in world.tokens])
    owners: list[str] = [token.issued.owner for token in world.tokens]
    inputs = SystemInputs()
    p50: list[float] = []
    p99: list[float] = []
    mean: list[float] = []
    with (
        servers.installation(world) as place,
        open_stores(Settings(data_dir=place), inputs) as opened,
    ):
        service = Installation(Settings(data_dir=place), opened, inputs).service
        judged = [judge_token(service, text).owner for text in _DECODER.decode(body)]
        wrong = sum(mine != right for mine, right in zip(judged, owners, strict=True))
        wrong += not _refuses(service, world.tokens[0].text)
        for _ in range(options.rounds):
            taken = sorted(_times(service, body, options.seconds))
            p50.append(taken[len(taken) // 2] / 1e3)
            p99.append(taken[len(taken) * 99 // 100] / 1e3)
            mean.append(fmean(taken) / 1e3)
    return Report(
        figures=[
            absolute("token to principal, p50", "µs", p50, at_most(5)),
            absolute("token to principal, mean", "µs", mean),
            absolute("token to principal, p99", "µs", p99),
        ],
        wrong_answers=wrong,
    )


def _times(service: Service, body: bytes, seconds: float) -> list[int]:
    """Answer the nanoseconds of each judgement, for so long."""
    gc.collect()
    taken: list[int] = []
    clock = perf_counter_ns
    until = perf_counter() + seconds
    while not taken or perf_counter() < until:
        for text in _DECODER.decode(body):
            begin = clock()
            judge_token(service, text)
            taken.append(clock() - begin)
    return taken


def _refuses(service: Service, text: str) -> bool:
    """Tell whether a token that differs in one character is refused."""
    try:
        judge_token(service, text[:-1] + ("0" if text[-1] != "0" else "1"))
    except AuthenticationError:
        return True
    return False
