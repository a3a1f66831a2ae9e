"""What does an ordinary route cost over HTTP, with a token and without SQL?"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from domain.ids import MAIN, BindingId, RoleId
from domain.permissions import ANY, TypeActions
from domain.principals import BindingCreated
from domain.roles import RoleCreated
from ops.bench import data, servers, stores
from ops.bench.http_checks import NOTE, figures
from ops.bench.report import Figure, Options, Report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from domain.events import Event
    from ops.bench.data import World
    from ops.bench.load import Prepared
    from ops.bench.servers import Cost

_ADMINISTRATOR = RoleId("benchmark-administrator")


def run(options: Options) -> Report:
    """Measure one object by its id, of each kind that the contract has, by many tokens."""
    world = data.make_world(options.scale, options.seed)
    found: list[Figure] = []
    wrong = 0
    with ExitStack() as stack:
        directory = stack.enter_context(stores.private_directory())
        baseline = stack.enter_context(servers.bare())
        server = stack.enter_context(servers.muniment(world, _administrators(world)))
        for name, prepared in _reads(world).items():
            requests, idle = directory / "requests", directory / "idle"
            servers.write(requests, prepared)
            servers.write(idle, servers.for_bare(prepared))
            ours: list[Cost] = []
            bare: list[Cost] = []
            for _ in range(options.rounds):
                ours.append(servers.measure(server, requests, options.seconds))
                bare.append(servers.measure(baseline, idle, options.seconds))
            found += figures(name, ours, bare, 0.20)
            wrong += sum(cost.wrong_answers for cost in (*ours, *bare))
    return Report(
        figures=found,
        wrong_answers=wrong,
        notes=(NOTE,),
    )


def _administrators(world: World) -> Iterator[Event]:
    """Yield a role that may do everything, and a binding to it for every token's owner."""
    yield RoleCreated(
        tenant=MAIN,
        id=_ADMINISTRATOR,
        name="benchmark administrator",
        permissions=(TypeActions(ANY, (ANY,)),),
    )
    for number, token in enumerate(world.tokens):
        yield BindingCreated(
            tenant=MAIN,
            id=BindingId(f"benchmark-binding-{number}"),
            subject_type="PRINCIPAL",
            subject=token.issued.owner,
            role=_ADMINISTRATOR,
        )


def _reads(world: World) -> dict[str, list[Prepared]]:
    """Answer the requests of each route, one for each token."""
    ids: dict[str, list[str]] = {
        "roles": [role.id for role in world.roles],
        "groups": [group.id for group in world.groups],
        "bindings": [binding.id for binding in world.bindings],
        "service-accounts": [account.id for account in world.accounts],
    }
    return {
        f"GET {kind}/{{id}}": [
            servers.request(
                "GET",
                f"/api/v1/{MAIN}/{kind}/{known[number % len(known)]}",
                token.text,
                contains=known[number % len(known)].encode(),
            )
            for number, token in enumerate(world.tokens)
        ]
        for kind, known in ids.items()
    }
