"""How much longer does a check take while 32 people sign in?

Passwords are judged at the product's real cost, in threads beside the event loop that answers the
checks; the question is what of it a check feels. Everybody signs in as somebody else, once at a
time, so nobody waits for a turn and no failure is counted.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import msgspec

from domain.ids import MAIN
from domain.sealed import Secret
from domain.state import State
from ops.bench import data, servers, stores
from ops.bench.http_checks import evaluations
from ops.bench.load import CONNECTIONS
from ops.bench.report import Options, Report, absolute, at_most, compared
from ops.inputs import SystemInputs
from ops.passwords import PasswordHasher
from ops.settings import Settings
from ops.setup import NewUser, sealed_user, system_context
from ops.stores import open_stores
from ops.wiring import replay
from ops.writer import Outcome, Writer, settle

if TYPE_CHECKING:
    from pathlib import Path

    from ops.bench.load import Loaded, Prepared
    from ops.bench.servers import Server

# One for each connection, and as many again, so that none comes again before it has its answer.
_PEOPLE: Final = 2 * CONNECTIONS
_PASSWORD: Final = Secret("correct horse battery staple")
# Checks leave the processor, which the judging of passwords takes too, mostly free.
_SHARE: Final = 0.1
# The sign-ins begin before the first check and end after the last.
_MARGIN_SECONDS: Final = 0.5


def run(options: Options) -> Report:
    """Measure checks by the same schedule, at rest and during the sign-ins, in turn."""
    world = data.make_world(options.scale, options.seed)
    idle: list[Loaded] = []
    busy: list[Loaded] = []
    sign_ins: list[Loaded] = []
    with ExitStack() as stack:
        directory = stack.enter_context(stores.private_directory())
        checks, people = directory / "checks", directory / "people"
        servers.write(checks, evaluations(world))
        place = stack.enter_context(servers.installation(world))
        servers.write(people, _sign_up(place))
        server = stack.enter_context(servers.serving(place))
        full = servers.measure(server, checks, options.seconds)
        rate = full.requests_a_second * _SHARE
        for _ in range(options.rounds):
            idle.append(servers.latencies(server, checks, options.seconds, rate))
            with ThreadPoolExecutor(1) as beside:
                signing_in = beside.submit(_sign_in, server, people, options.seconds)
                time.sleep(_MARGIN_SECONDS)
                busy.append(servers.latencies(server, checks, options.seconds, rate))
                sign_ins.append(signing_in.result())
    return Report(
        figures=[
            compared(
                f"check p99 while {CONNECTIONS} sign in, beside idle",
                "ms",
                [one.p99_ms for one in busy],
                [one.p99_ms for one in idle],
                at_most(2),
            ),
            compared(
                "check p50, beside idle",
                "ms",
                [one.p50_ms for one in busy],
                [one.p50_ms for one in idle],
            ),
            absolute("sign-ins", "/s", [one.requests / one.seconds for one in sign_ins]),
            absolute("a sign-in, p50", "ms", [one.p50_ms for one in sign_ins]),
        ],
        wrong_answers=full.wrong_answers
        + sum(one.wrong_answers for one in (*idle, *busy, *sign_ins)),
        notes=(f"{rate:,.0f} checks/s by schedule: {_SHARE:.0%} of what the server can.",),
    )


def _sign_in(server: Server, people: Path, seconds: float) -> Loaded:
    return servers.latencies(server, people, seconds + 2 * _MARGIN_SECONDS, 0)


def _sign_up(place: Path) -> list[Prepared]:
    """Make the people, all with one hash of one password, and answer their requests."""
    inputs = SystemInputs()
    hasher = PasswordHasher(inputs)
    hashed = asyncio.run(hasher.hash(_PASSWORD))
    hasher.close()
    emails = [f"person-{number}@bench.example" for number in range(_PEOPLE)]
    waiting: list[Future[Outcome]] = []
    with open_stores(Settings(data_dir=place), inputs) as opened:
        state = replay(opened.log, State(), lambda _: None)
        writer = Writer(opened.log, inputs, settle, state=state)
        for email in emails:
            context = system_context(inputs)
            person = NewUser(email=email, password_hash=hashed)
            command = sealed_user(opened.vault, inputs, context, person, tenants=(MAIN,))
            waiting.append(Future())
            writer.submit(command, context, waiting[-1])
        writer.start()
        writer.stop()
    for future in waiting:
        future.result()
    return [
        servers.request(
            "POST",
            "/login",
            "",
            msgspec.json.encode({"username": email, "password": _PASSWORD.reveal()}),
            contains=b"JWT=",
        )
        for email in emails
    ]
