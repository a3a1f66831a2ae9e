"""By which facts and which clock is a question judged, and when is it not answered at all?"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from msgspec import structs

from api.checks import EVALUATION, EVALUATIONS
from api.searches import ACTIONS, RESOURCES, SUBJECTS
from api.service import Health
from domain.bindings import DeleteBinding
from domain.ids import MAIN
from domain.service_accounts import DisableServiceAccount
from domain.tokens import RevokeAllTokens
from ops.setup import system_context
from tests import service as harness
from tests.answers import problem
from tests.api.checking import ALLOWED, DENIED, HOT, Desk, Json, question
from tests.fixed_inputs import START
from tests.service import NOBODY, Served, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from domain.commands import Command

PATHS = (EVALUATION, EVALUATIONS)


@pytest.fixture
def desk(http: Served) -> Desk:
    """Return an installation with a bot that may update flows below `prod`."""
    return Desk(http)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Yield an installation that several tests ask, and none changes."""
    with served(tmp_path_factory.mktemp("checks")) as http:
        yield Desk(http)


def told(response: httpx.Response) -> tuple[bytes, int]:
    """Answer the decision, and the position at which it was taken."""
    assert 200 == response.status_code, response.content
    return response.content, int(response.headers["x-muniment-position"])


# The past


def unbound(desk: Desk) -> int:
    """Take the bot's right away an hour later; answer the position before that."""
    before = desk.http.state.position
    desk.http.inputs.advance(3_600)
    desk.http.give(DeleteBinding(tenant=MAIN, id=desk.binding))
    desk.http.inputs.advance(3_600)
    return before


def as_of(desk: Desk, **moment: int | str) -> Json:
    """Answer the question about the bot, as of a moment."""
    return question(desk.bot, context={"as_of": moment})


@pytest.mark.parametrize("path", PATHS)
def test_the_past_is_asked_by_position_by_instant_or_by_both(desk: Desk, path: str) -> None:
    """Facts and clock are those of the moment; the position is told (authzen 6)."""
    position = unbound(desk)
    ended = position + 1

    def ask(**moment: int | str) -> tuple[bytes, int]:
        return told(desk.http.post(path, as_of(desk, **moment), by=desk.http.root))

    assert (ALLOWED, position) == ask(position=position)
    assert (DENIED, ended) == ask(position=ended)
    assert (ALLOWED, position) == ask(at="2026-01-01T00:59:59Z")
    assert (DENIED, ended) == ask(at="2026-01-01T02:00:00+01:00")
    assert (ALLOWED, position) == ask(position=position, at="2026-01-01T02:00:00Z")
    assert (DENIED, 0) == ask(position=0)
    assert (DENIED, ended) == told(desk.ask(question(desk.bot)))


def test_a_position_alone_brings_its_own_clock(desk: Desk) -> None:
    """With both, facts and clock are fixed apart: so a journaled decision is repeated (6)."""
    http = desk.http
    token = http.token(desk.bot, max_age_seconds=60)
    del token
    id_ = max(http.state.tokens.values(), key=lambda one: one.changed).id
    position = http.state.position
    http.inputs.advance(3_600)
    soon = (START + timedelta(seconds=59)).isoformat()
    late = (START + timedelta(seconds=60)).isoformat()

    def ask(**moment: int | str) -> bytes:
        context = {"as_of": moment, "token": id_}
        return told(desk.ask(question(desk.bot, context=context)))[0]

    assert ALLOWED == ask(position=position)
    assert [ALLOWED, DENIED] == [ask(position=position, at=at) for at in (soon, late)]
    assert DENIED == told(desk.ask(question(desk.bot, context={"token": id_})))[0]


def test_names_are_those_of_the_moment(desk: Desk) -> None:
    """A subject is resolved as of the moment that is asked about (authzen 3)."""
    before = unbound(desk)
    desk.http.account("ci-bot")
    body = question("ci-bot", context={"as_of": {"position": before}})

    assert ALLOWED == told(desk.ask(body))[0]
    assert DENIED == told(desk.ask(question("ci-bot")))[0]


def test_a_batch_about_the_past_is_answered_at_one_moment(desk: Desk) -> None:
    """The top-level context holds for every item (authzen 4)."""
    position = unbound(desk)
    body = as_of(desk, position=position) | {
        "evaluations": [
            {},
            {"subject": {"type": "service_account", "id": "ci-bot"}},
            {"context": {}},
        ]
    }

    content, shown = told(desk.ask_all(body))

    assert b'{"evaluations":[' + b",".join([ALLOWED] * 3) + b"]}" == content
    assert position == shown


def test_the_past_is_judged_by_the_callers_right_now(desk: Desk) -> None:
    """Who may not ask any more is refused, though it could then; who may now is answered (2.10)."""
    http = desk.http
    asker = http.account("asker")
    early = http.state.position
    right = http.allow(asker, {"ACCESS": ["CHECK"]})
    by = http.bearer(asker)
    granted = http.state.position

    assert told(desk.ask(as_of(desk, position=early), by)) == (ALLOWED, early)
    http.give(DeleteBinding(tenant=MAIN, id=right))
    problem(desk.ask(as_of(desk, position=granted), by), 403, "permission.denied")


@pytest.mark.parametrize(
    ("context", "code"),
    [
        ({"as_of": {"position": 10_000}}, "position.future"),
        ({"as_of": {"at": "2026-01-01T00:00:01Z"}}, "position.future"),
        ({"as_of": {"position": 1, "at": "2026-01-01T00:00:01Z"}}, "position.future"),
        ({"as_of": {}}, "context.invalid"),
        ({"as_of": {"position": None, "at": None}}, "context.invalid"),
        ({"as_of": {"at": "2025-01-01T00:00:00"}}, "context.invalid"),
        ({"as_of": {"at": "yesterday"}}, "body.invalid"),
        ({"as_of": {"position": -1}}, "body.invalid"),
        ({"as_of": {"position": "1"}}, "body.invalid"),
        ({"as_of": 1}, "body.invalid"),
        ({"at_least": -1}, "body.invalid"),
        ({"at_least": "1"}, "body.invalid"),
        ({"at_least": 1.5}, "body.invalid"),
        ({"at_least": True}, "body.invalid"),
        ({"token": 1}, "body.invalid"),
        (None, "body.invalid"),
        ([], "body.invalid"),
    ],
)
@pytest.mark.parametrize("path", HOT)
def test_a_moment_that_cannot_be_is_400(shared: Desk, path: str, context: Json, code: str) -> None:
    """The future, no moment at all, and wrong types (authzen 6)."""
    body = question(shared.bot, context=context)

    response = shared.http.post(path, body, by=shared.by_bot)

    assert (400, code) == (response.status_code, response.json()["code"])


# Waiting


def while_waiting(desk: Desk, body: Json, command: Command, path: str) -> httpx.Response:
    """Ask as the bot for what is not there yet, and give the command while the question waits."""
    service = desk.http.service
    service.settings = structs.replace(service.settings, at_least_bound_seconds=30.0)

    async def both() -> httpx.Response:
        asked = asyncio.create_task(desk.http.send("POST", path, body, by=desk.by_bot))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not asked.done()
        await service.execute(command, system_context(desk.http.inputs))
        return await asked

    return desk.http.run(both())


def next_position(desk: Desk, **context: object) -> Json:
    """Answer the question about the bot at the position that comes next."""
    at_least = desk.http.state.position + 1
    return question(desk.bot, context={"at_least": at_least, **context})


@pytest.mark.parametrize("path", PATHS)
def test_a_check_waits_for_the_position_that_it_asks_for(desk: Desk, path: str) -> None:
    """It never shows less than `at_least` (reliability B3)."""
    body = next_position(desk)
    ended = DeleteBinding(tenant=MAIN, id=desk.binding)

    assert (DENIED, body["context"]["at_least"]) == told(while_waiting(desk, body, ended, path))


def test_at_least_is_awaited_before_the_past_is_looked_up(desk: Desk) -> None:
    """A position that is still to come can be named beside it (authzen 6)."""
    next_one = desk.http.state.position + 1
    body = next_position(desk, as_of={"position": next_one})
    ended = DeleteBinding(tenant=MAIN, id=desk.binding)

    assert (DENIED, next_one) == told(while_waiting(desk, body, ended, EVALUATION))


def revoke_tokens(desk: Desk) -> Command:
    """The end of all the bot's tokens."""
    return RevokeAllTokens(owner=desk.bot)


def disable(desk: Desk) -> Command:
    """The end of the bot."""
    return DisableServiceAccount(id=desk.bot)


@pytest.mark.parametrize(
    ("end", "code"), [(revoke_tokens, "token.revoked"), (disable, "principal.disabled")]
)
def test_a_caller_that_ends_while_it_waits_is_not_answered(
    desk: Desk, end: Callable[[Desk], Command], code: str
) -> None:
    """The credential is judged again by what the wait brought (security 4.4)."""
    problem(while_waiting(desk, next_position(desk), end(desk), EVALUATION), 401, code)


def test_a_position_that_is_reached_is_not_waited_for(desk: Desk) -> None:
    """At the head, behind it, zero and null: answered at once (authzen 6)."""
    for at_least in (desk.http.state.position, 1, 0, None):
        assert desk.says(question(desk.bot, context={"at_least": at_least}))


@pytest.mark.parametrize("path", HOT)
def test_a_position_out_of_reach_is_503(desk: Desk, path: str) -> None:
    """Never an older answer (reliability B3)."""
    response = desk.http.post(path, next_position(desk), by=desk.by_bot)

    problem(response, 503, "position.not_reached")
    assert response.headers["retry-after"]


@pytest.mark.parametrize("path", HOT)
@pytest.mark.parametrize("reason", ["halted", "stale"])
def test_a_node_that_does_not_know_answers_503(desk: Desk, path: str, reason: str) -> None:
    """Halted or stale: no decision, whoever asks (security 2.1, reliability B5, B7)."""
    desk.http.health = Health(reason=reason, head_position=1, staleness_seconds=9.0)

    response = desk.http.post(path, question(desk.bot), by=desk.by_bot)

    problem(response, 503, f"not_ready.{reason}")
    assert b"decision" not in response.content


def test_a_node_that_drains_still_answers(desk: Desk) -> None:
    """Its probe says no, but a check that reaches it is answered (reliability E3)."""
    desk.http.health = Health(reason="draining", head_position=1, staleness_seconds=0.0)

    assert desk.says(question(desk.bot))


def test_a_node_that_halts_while_a_check_waits_answers_503(desk: Desk) -> None:
    """What the wait brought may be the reason not to answer (reliability B7)."""
    ready = desk.http.health
    asked: list[Health] = []

    def halts() -> Health:
        asked.append(ready)
        return ready if len(asked) == 1 else structs.replace(ready, reason="halted")

    desk.http.service.health = halts
    ended = DeleteBinding(tenant=MAIN, id=desk.binding)

    response = while_waiting(desk, next_position(desk), ended, EVALUATION)

    problem(response, 503, "not_ready.halted")


# Faults


class PartError(Exception):
    """What nobody foresaw."""


def fail(*_: object, **__: object) -> Any:  # noqa: ANN401 - it answers nothing
    """Raise."""
    raise PartError


ALWAYS_ASKED = ("inputs.timestamp", "health", "state_at", "position_of")


@pytest.mark.parametrize("part", ["graph.check", "graph.resolve", *ALWAYS_ASKED])
@pytest.mark.parametrize("path", PATHS)
def test_no_fault_of_a_part_ends_in_an_allow(
    shared: Desk, path: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault in the graph, clock, health or past: no decision at all (security 2.1)."""
    owner: object = shared.http.service
    *way, name = part.split(".")
    for step in way:
        owner = getattr(owner, step)
    context: Json = {"as_of": {"position": 1}} if part in {"state_at", "position_of"} else {}
    body = question(shared.bot, context=context) | {"evaluations": [{}]}
    shared.raw(body, shared.header(shared.by_bot), path=path)
    monkeypatch.setattr(owner, name, fail)

    with pytest.raises(PartError):
        shared.raw(body, shared.header(shared.by_bot), path=path)


@pytest.mark.parametrize(
    ("path", "part"),
    [
        *((SUBJECTS, part) for part in ("graph.check", *ALWAYS_ASKED)),
        *((RESOURCES, part) for part in ("graph.resolve", *ALWAYS_ASKED)),
        *((ACTIONS, part) for part in ("graph.resolve", *ALWAYS_ASKED)),
    ],
)
def test_no_fault_of_a_part_ends_in_results(
    shared: Desk, path: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault in the graph, clock, health or past: nothing is found at all (security 2.1)."""
    owner: object = shared.http.service
    *way, name = part.split(".")
    for step in way:
        owner = getattr(owner, step)
    context: Json = {"as_of": {"position": 1}} if part in {"state_at", "position_of"} else {}
    body = question(shared.bot, context=context)
    header = shared.header(shared.by_bot)
    shared.raw(body, header, path=path)
    monkeypatch.setattr(owner, name, fail)

    with pytest.raises(PartError):
        shared.raw(body, header, path=path)


def test_a_fault_that_ends_in_an_allow_is_caught(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positive control: an except that returns true gives a decision (security 2.1)."""
    check = desk.http.service.graph.check

    def lenient(*asked: Any) -> bool:  # noqa: ANN401 - passed on
        try:
            fail()
        except PartError:
            return True
        return check(*asked)

    monkeypatch.setattr(desk.http.service.graph, "check", lenient)

    assert (200, ALLOWED) == desk.raw(question(desk.bot, "DELETE"), desk.header(desk.by_bot))


def test_halted_views_stop_no_check(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations 2: only the probe says no, so that no more lists are sent here."""
    # A probe's refusal has a body of its own.
    monkeypatch.setattr(harness, "keep_contract", lambda _: None)
    desk.http.health = Health(reason="", head_position=1, staleness_seconds=0.0, views_halted=True)

    assert desk.says(question(desk.bot))
    probed = desk.http.get("/readyz", by=NOBODY)
    assert (503, "halted") == (probed.status_code, probed.json()["reason"])
