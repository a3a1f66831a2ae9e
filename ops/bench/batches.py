"""What does a check cost over HTTP when 100 of them come in one request?"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import msgspec

from domain.ids import MAIN, BindingId, RoleId
from domain.permissions import TypeActions
from domain.principals import BindingCreated
from domain.roles import RoleCreated
from ops.bench import data, servers, stores
from ops.bench.http_checks import CONTEXT, evaluations, item
from ops.bench.report import Options, Report, absolute, at_least, at_most, compared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from domain.events import Event
    from ops.bench.data import World
    from ops.bench.load import Prepared
    from ops.bench.servers import Cost

ITEMS: Final = 100
_BATCHES_MAX: Final = 500
_PATH: Final = "/access/v1/evaluations"
_CHECKER: Final = RoleId("benchmark-checker")


def run(options: Options) -> Report:
    """Measure batches about all kinds of subjects, in turn with single checks."""
    world = data.make_world(options.scale, options.seed)
    batches: list[Cost] = []
    singles: list[Cost] = []
    with ExitStack() as stack:
        directory = stack.enter_context(stores.private_directory())
        requests, ones = directory / "batches", directory / "ones"
        servers.write(requests, _batches(world))
        servers.write(ones, evaluations(world))
        server = stack.enter_context(servers.muniment(world, _checkers(world)))
        for _ in range(options.rounds):
            batches.append(servers.measure(server, requests, options.seconds))
            singles.append(servers.measure(server, ones, options.seconds))
    rates = [ITEMS * 1e6 / cost.cpu_us for cost in batches]
    return Report(
        figures=[
            absolute("checks a CPU second, in batches", "/s", rates, at_least(200_000)),
            absolute(
                "CPU a check, in batches",
                "µs",
                [cost.cpu_us / ITEMS for cost in batches],
                at_most(5),
            ),
            compared(
                "checks a CPU second, beside single ones",
                "/s",
                rates,
                [1e6 / cost.cpu_us for cost in singles],
            ),
            absolute("checks, rate", "/s", [ITEMS * cost.requests_a_second for cost in batches]),
        ],
        wrong_answers=sum(cost.wrong_answers for cost in (*batches, *singles)),
        notes=("Asked about others: the caller's right to ask is judged for each item too.",),
    )


def _checkers(world: World) -> Iterator[Event]:
    """Yield a role that may ask about others, and a binding to it for every token's owner."""
    yield RoleCreated(
        tenant=MAIN,
        id=_CHECKER,
        name="benchmark checker",
        permissions=(TypeActions("ACCESS", ("CHECK",)),),
    )
    for number, token in enumerate(world.tokens[:_BATCHES_MAX]):
        yield BindingCreated(
            tenant=MAIN,
            id=BindingId(f"benchmark-binding-{number}"),
            subject_type="PRINCIPAL",
            subject=token.issued.owner,
            role=_CHECKER,
        )


def _batches(world: World) -> list[Prepared]:
    """Answer one request a token, with the whole of its right answer."""
    tokens = world.tokens[:_BATCHES_MAX]
    users = {user.id for user in world.users}
    drawn = data.questions(world, data.Oracle(world), ITEMS * len(tokens))
    prepared: list[Prepared] = []
    for number, token in enumerate(tokens):
        part = drawn[number * ITEMS : (number + 1) * ITEMS]
        items = [
            item(question, "user" if question.subject in users else "service_account")
            for question, _ in part
        ]
        answers = [{"decision": answer} for _, answer in part]
        prepared.append(
            servers.request(
                "POST",
                _PATH,
                token.text,
                msgspec.json.encode({**CONTEXT, "evaluations": items}),
                contains=msgspec.json.encode({"evaluations": answers}),
            )
        )
    return prepared
