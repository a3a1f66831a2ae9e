"""What does an authenticated evaluation cost over HTTP, beside a server that does nothing?"""

from __future__ import annotations

from contextlib import ExitStack
from shutil import which
from typing import TYPE_CHECKING, Any

import msgspec

from ops.bench import data, servers, stores
from ops.bench.report import Figure, Options, Report, absolute, at_least, compared

if TYPE_CHECKING:
    from ops.bench.data import Question, World
    from ops.bench.load import Loaded, Prepared
    from ops.bench.servers import Cost

NOTE = "Requests for each second of the server's processor time; 1 is as good as the bare server."
CONTEXT = {"context": {"time": "2026-06-01T00:00:00Z"}}
_PATH = "/access/v1/evaluation"


def run(options: Options) -> Report:
    """Measure single evaluations, each by a token of its own about that token's owner."""
    if options.client == "wrk" and which("wrk") is None:
        return Report(figures=[], not_run=("http: wrk is not installed",))
    world = data.make_world(options.scale, options.seed)
    ours: list[Cost] = []
    bare: list[Cost] = []
    scheduled: list[Loaded] = []
    with ExitStack() as stack:
        requests = stack.enter_context(stores.private_directory()) / "requests"
        idle = requests.with_name("idle")
        prepared = evaluations(world)
        servers.write(requests, prepared)
        # The same requests; only the answer that is right differs.
        servers.write(
            idle, [msgspec.structs.replace(one, contains=b"decision") for one in prepared]
        )
        baseline = stack.enter_context(servers.bare())
        server = stack.enter_context(servers.muniment(world))
        for _ in range(options.rounds):
            ours.append(servers.measure(server, requests, options.seconds, options.client))
            bare.append(servers.measure(baseline, idle, options.seconds, options.client))
            half = ours[-1].requests_a_second / 2
            scheduled.append(servers.latencies(server, requests, options.seconds, half))
    return Report(
        figures=[
            *figures("evaluation", ours, bare, 0.65),
            absolute("evaluation, p50 at half the rate", "ms", [one.p50_ms for one in scheduled]),
            absolute("evaluation, p99 at half the rate", "ms", [one.p99_ms for one in scheduled]),
        ],
        wrong_answers=sum(cost.wrong_answers for cost in (*ours, *bare))
        + sum(loaded.wrong_answers for loaded in scheduled),
        notes=(NOTE,),
    )


def figures(name: str, ours: list[Cost], bare: list[Cost], goal: float) -> list[Figure]:
    """Answer the figures of one kind of request; only the processor's time is compared."""
    return [
        compared(
            f"{name}, requests a CPU second",
            "/s",
            [1e6 / cost.cpu_us for cost in ours],
            [1e6 / cost.cpu_us for cost in bare],
            at_least(goal),
        ),
        absolute(f"{name}, CPU", "µs", [cost.cpu_us for cost in ours]),
        absolute(f"{name}, rate", "/s", [cost.requests_a_second for cost in ours]),
    ]


def evaluations(world: World) -> list[Prepared]:
    """Answer one request for each token, with its right answer, in AuthZEN's whole shape."""
    texts: dict[str, str] = {token.issued.owner: token.text for token in world.tokens}
    asked: dict[str, Prepared] = {}
    number = 4 * len(texts)
    for question, answer in data.questions(world, data.Oracle(world), number):
        text = texts.get(question.subject)
        if text is not None and question.subject not in asked:
            decision = b'{"decision":true}' if answer else b'{"decision":false}'
            asked[question.subject] = servers.request(
                "POST", _PATH, text, _body(question), contains=decision
            )
    return list(asked.values())


def item(question: Question, subject_type: str = "service_account") -> dict[str, Any]:
    """Answer the question in the words of AuthZEN, as an item of a batch holds it."""
    return {
        "subject": {"type": subject_type, "id": question.subject},
        "action": {"name": question.action},
        "resource": {
            "type": question.type,
            "id": "nightly-load",
            "properties": {"namespace": question.namespace},
        },
    }


def _body(question: Question) -> bytes:
    return msgspec.json.encode({**item(question), **CONTEXT})
