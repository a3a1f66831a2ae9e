"""Are thousands of questions answered as one by one, at one moment, each failing alone?"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from msgspec import UNSET, UnsetType

from api.judging import Lasting, Moment
from domain.access import Narrowing
from domain.bindings import DeleteBinding
from domain.ids import MAIN
from domain.permissions import from_lists
from domain.principals import BindingDeleted, TenantAccessEnded, TokenRevoked
from domain.users import SessionsEnded, UserDeleted, UserDisabled
from tests import service as harness
from tests.answers import problem
from tests.api.access.streaming import publish_at
from tests.api.checking import PROD, Desk, Json, question
from tests.service import Headers, Served, basic, served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from domain.events import Event

PATH = "main/access/check-bulk"
ALLOW, DENY = {"decision": True}, {"decision": False}


@pytest.fixture
def desk(http: Served) -> Desk:
    """Return an installation with a bot that may update flows below `prod`."""
    return Desk(http)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Yield an installation that several tests ask, and none changes for another."""
    with served(tmp_path_factory.mktemp("bulk")) as http:
        yield Desk(http)


def ask(
    desk: Desk, body: object, by: Headers | UnsetType = UNSET, query: str = "", path: str = PATH
) -> httpx.Response:
    """Ask in one body, as the instance owner unless told."""
    return desk.http.post(path + query, body, by=desk.http.root if by is UNSET else by)


def told(response: httpx.Response) -> list[object]:
    """Answer the items: True, False, or status and message of an error."""
    assert 200 == response.status_code, response.content
    body = response.json()
    assert ["items"] == list(body)
    return [_told(item) for item in body["items"]]


def _told(item: Json) -> object:
    if "context" not in item:
        assert ["decision"] == list(item)
        return item["decision"]
    assert item["decision"] is False
    assert {"error"} == set(item["context"])
    error = item["context"]["error"]
    return error["status"], error["message"]


# Answers


def test_an_answer_is_exactly_this(shared: Desk) -> None:
    """A decision a question, in their order, and the position at which all were decided."""
    response = ask(shared, {"items": [question(shared.bot), question(shared.bot, "DELETE"), {}]})

    missing = (
        b'{"decision":false,"context":{"error":{"status":400,"message":"subject is required"}}}'
    )
    assert b'{"items":[{"decision":true},{"decision":false},' + missing + b"]}" == response.content
    assert "application/json" == response.headers["content-type"]
    assert str(shared.http.state.position) == response.headers["x-muniment-position"]
    assert b'{"items":[]}' == ask(shared, {"items": []}).content


def test_many_questions_are_answered_as_one_by_one(desk: Desk) -> None:
    """300 random questions: the same decision in one request as in evaluations (B1)."""
    chance = random.Random(11)  # noqa: S311 - nothing is to be secret, all repeatable
    desk.http.allow(desk.bot, {"*": ["VIEW"]})
    desk.http.account("other")
    items = [
        question(
            chance.choice((desk.bot, "ci-bot", "nobody", "other")),
            chance.choice(("UPDATE", "DELETE", "VIEW")),
            chance.choice(("prod", "prod.a", "production", UNSET)),
            resource=(chance.choice(("FLOW", "APP")), chance.choice(("*", "x"))),
            tenant=chance.choice(("main", UNSET)),
        )
        for _ in range(300)
    ]

    together = told(ask(desk, {"items": items}))

    assert [desk.says(item) for item in items] == together
    assert {True, False} == set(together)


def test_defaults_are_taken_and_replaced_whole(shared: Desk) -> None:
    """An item's object stands in the place of the default; nothing is merged (authzen 4)."""
    body = question(shared.bot, context={"token": "unheard"})
    nothing: Json = {"context": {}}
    body["items"] = [
        {},
        nothing,
        {"action": {"name": "DELETE"}, **nothing},
        {"resource": {"type": "FLOW", "id": "x"}, **nothing},
        {"subject": {"type": "service_account", "id": "nobody"}, **nothing},
        {"unheard": 1, **nothing},
    ]

    assert [False, True, False, False, False, True] == told(ask(shared, body))


def test_a_token_narrows_the_decision(shared: Desk) -> None:
    """`token` and `address` of a context are read as in evaluations (authzen 6)."""
    http = shared.http
    narrow = Narrowing(namespaces=("prod.a",))
    token = http.token_id(http.token(shared.bot, narrowing=narrow))
    placed = http.token_id(http.token(shared.bot, allowed_addresses=("10.0.0.0/8",)))
    items = [
        question(shared.bot, "UPDATE", "prod.a", context={"token": token}),
        question(shared.bot, "UPDATE", "prod.b", context={"token": token}),
        question(shared.bot, context={"token": placed, "address": "10.1.1.1"}),
        question(shared.bot, context={"token": placed, "address": "11.1.1.1"}),
        question(shared.bot, context={"token": placed}),
    ]

    assert [True, False, True, False, False] == told(ask(shared, {"items": items}))


@pytest.mark.parametrize(
    ("item", "status", "message"),
    [
        ({"resource": None}, 400, "the item is malformed"),
        ({"action": {"name": 7}}, 400, "the item is malformed"),
        (None, 400, "the item is malformed"),
        ([], 400, "the item is malformed"),
        (
            {"subject": {"type": "user", "id": "\u0001"}},
            400,
            "types, ids and names hold no control",
        ),
        ({"context": {"at_least": 1}}, 400, "at_least, as_of and log hold for the whole request"),
        ({"context": {"explain": True}}, 400, "explanations are given one by one"),
    ],
)
def test_a_malformed_item_fails_alone(
    shared: Desk, item: object, status: int, message: str
) -> None:
    """It is a deny with its status; its neighbours are answered."""
    body = question(shared.bot) | {"items": [{}, item, {}]}

    first, failed, last = told(ask(shared, body))

    assert (True, True) == (first, last)
    assert isinstance(failed, tuple)
    assert status == failed[0]
    assert failed[1].startswith(message)


def test_all_are_about_the_tenant_of_the_path(desk: Desk) -> None:
    """One that names no tenant is about it; one that names another fails alone, 403 alike."""
    http = desk.http
    beta = http.tenant("beta")
    other = http.account("other", beta)
    http.allow(other, {"FLOW": ["UPDATE"]}, tenant=beta)
    refused = (403, "asking about others needs ACCESS:CHECK there")
    asked = [
        question("other"),
        *(question("other", tenant=tenant) for tenant in ("beta", "main", "unheard")),
    ]

    found = told(ask(desk, {"items": asked}, path="beta/access/check-bulk"))
    own = [question(other, tenant="main"), question(other)]
    by_itself = told(ask(desk, {"items": own}, http.bearer(other), path="beta/access/check-bulk"))

    assert [True, True, refused, refused] == found
    assert [refused, True] == by_itself


# Who may ask


def test_each_question_needs_check_where_it_is_asked(desk: Desk) -> None:
    """About others ACCESS:CHECK at the place that is named, about oneself nothing (authzen 3)."""
    http = desk.http
    http.account("other")
    items = [question(desk.bot), question("other"), question("other", namespace="dev")]
    refused = (403, "asking about others needs ACCESS:CHECK there")

    assert [True, refused, refused] == told(ask(desk, {"items": items}, desk.by_bot))
    http.allow(desk.bot, {"ACCESS": ["CHECK"]}, place=PROD)
    assert [True, False, refused] == told(ask(desk, {"items": items}, desk.by_bot))
    narrowed = http.bearer(desk.bot, Narrowing(permissions=from_lists({"FLOW": ["*"]})))
    assert [True, refused, refused] == told(ask(desk, {"items": items}, narrowed))


# What is no request at all


@pytest.mark.parametrize(
    ("body", "status", "code", "paths"),
    [
        (b"", 400, "body.missing", ()),
        (b"{", 400, "body.malformed", ()),
        (b'{"items": [{}}', 400, "body.malformed", ()),
        (b"[]", 422, "body.invalid", ()),
        (b"{}", 422, "body.invalid", ("items",)),
        (b'{"items": null}', 422, "body.invalid", ("items",)),
        (b'{"items": [], "evaluations": []}', 422, "body.invalid", ("evaluations",)),
        (b'{"items": [], "options": {}}', 422, "body.invalid", ("options",)),
        (b'{"items": [], "subject": {"type": "x"}}', 422, "body.invalid", ("subject.id",)),
        (b'{"items": [], "context": {"at_least": 1}}', 400, "context.invalid", ()),
        (b'{"items": [], "context": {"as_of": {"position": 1}}}', 400, "context.invalid", ()),
        (b'{"items": [], "action": {"name": "\\u0001"}}', 400, "body.control_character", ()),
        (b'{"items": [' + b"{}," * 10_000 + b"{}]}", 422, "batch.too_large", ("items",)),
        (b'{"items": [' + b"[]," * 199_998 + b"{}]}", 400, "body.too_complex", ()),
        (b'{"items": [' + b"[" * 40 + b"]" * 40 + b"]}", 400, "body.too_complex", ()),
        (b'{"items": ["' + b"x" * (4 * 2**20) + b'"]}', 413, "body.too_large", ()),
    ],
    ids=range(16),
)
def test_a_fault_of_the_whole_request_is_refused(
    shared: Desk, body: bytes, status: int, code: str, paths: tuple[str, ...]
) -> None:
    """Our own routes refuse unknown members, and the guard stands before all (http-api 1)."""
    headers = {"Content-Type": "application/json"}
    response = shared.http.post(PATH, content=body, headers=headers)

    problem(response, status, code, *paths)


@pytest.mark.parametrize("kind", ["text/plain", "application/jsonp", ""])
def test_another_type_is_refused(shared: Desk, kind: str) -> None:
    """JSON or lines (http-api 1)."""
    headers = {"Content-Type": kind} if kind else {}

    problem(shared.http.post(PATH, content=b"{}", headers=headers), 415, "body.media_type")


def test_ten_thousand_questions_fit(shared: Desk) -> None:
    """The limit itself is answered, in a body larger than other routes read."""
    body = {"items": [question(shared.bot)] * 10_000}

    assert len(msgspec.json.encode(body)) > 2**20
    assert [True] * 10_000 == told(ask(shared, body))


def test_a_session_is_read_by_the_strictest_rule(desk: Desk) -> None:
    """What came with a cookie is JSON of at most 1 MiB (security 5.2)."""
    http = desk.http
    http.user("ada@example.com")
    cookie, session = http.run(
        http.sessions.begin(http.state.emails[http.vault.email_index("ada@example.com")], 99)
    )
    headers = {"Cookie": f"JWT={cookie.reveal()}", "X-CSRF-TOKEN": session.csrf_token}

    def send(content: bytes, kind: str) -> httpx.Response:
        sent = {**headers, "Content-Type": kind}
        return http.post(PATH, content=content, headers=sent, by={})

    assert b'{"items":[]}' == send(b'{"items":[]}', "application/json").content
    problem(send(b"{}", "application/x-ndjson"), 415, "body.media_type")
    problem(send(b" " * (2**20 + 1), "application/json"), 413, "body.too_large")


# One moment


def test_the_past_is_asked_in_the_query(desk: Desk) -> None:
    """By position and by instant, with the clock of that moment (http-api 6)."""
    http = desk.http
    body = {"items": [question(desk.bot)]}
    before = http.state.position
    http.inputs.advance(3_600)
    http.give(DeleteBinding(tenant=MAIN, id=desk.binding))
    http.inputs.advance(3_600)

    def shown(query: str) -> tuple[list[object], str]:
        response = ask(desk, body, query=query)
        return told(response), response.headers["x-muniment-position"]

    assert ([True], str(before)) == shown(f"?position={before}")
    assert ([True], str(before)) == shown("?at=2026-01-01T00:30:00Z")
    assert ([False], str(before + 1)) == shown("?at=2026-01-01T01:30:00Z")
    assert ([False], str(http.state.position)) == shown(f"?at_least={before}")
    problem(ask(desk, body, query="?position=99999"), 400, "position.future")


def interleaved(desk: Desk, by: Headers, event: Event) -> httpx.Response:
    """Ask 5,000 times the same, and publish an event in the middle of it."""
    publish_at(desk.http, 5, event)
    return ask(desk, {"items": [question(desk.bot)] * 5_000}, by)


def test_a_request_is_answered_at_one_moment(desk: Desk) -> None:
    """What is published in between changes no answer (authzen 4, rule 7)."""
    before = desk.http.state.position

    response = interleaved(desk, desk.http.root, BindingDeleted(tenant=MAIN, id=desk.binding))

    assert [True] * 5_000 == told(response)
    assert str(before) == response.headers["x-muniment-position"]
    assert not desk.says(question(desk.bot))


def test_answers_of_the_live_graph_throughout_are_caught(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positive control: with the live graph in every slice the answers are of two moments."""
    graph = desk.http.service.graph
    moment = Lasting.moment

    def live(self: Lasting) -> Moment:
        found = moment(self)
        return Moment(found.state, found.now, found.asked, graph.resolve, graph.check)

    monkeypatch.setattr(Lasting, "moment", live)
    response = interleaved(desk, desk.http.root, BindingDeleted(tenant=MAIN, id=desk.binding))

    assert {True, False} == set(told(response))


def test_a_caller_that_ends_in_between_is_not_answered(desk: Desk) -> None:
    """Its credential is judged for every slice; the answers so far are not given."""
    http = desk.http
    text = desk.by_bot["Authorization"].removeprefix("Bearer ")
    revoked = TokenRevoked(id=http.token_id(text))
    problem(interleaved(desk, desk.by_bot, revoked), 401, "token.revoked")


def test_a_caller_that_loses_the_tenant_in_between_is_not_answered(desk: Desk) -> None:
    """Access to the tenant is judged for every slice, as for every request."""
    ended = TenantAccessEnded(tenant=MAIN, principal=desk.bot)

    problem(interleaved(desk, desk.by_bot, ended), 404, "tenant.unknown")


def test_a_password_is_good_until_it_is_replaced(desk: Desk) -> None:
    """A user who signs in with each request is judged by what would end its sessions."""
    http = desk.http
    user = http.user("ada@example.com")
    by, body = basic("ada@example.com"), {"items": [question(user, type_="user")] * 1_000}
    assert [False] * 1_000 == told(ask(desk, body, by))

    publish_at(http, 3, SessionsEnded(id=user))
    problem(ask(desk, body, by), 401, "auth.invalid")


@pytest.mark.parametrize("event", [UserDisabled, UserDeleted])
def test_a_user_that_ends_in_between_is_not_answered(desk: Desk, event: Any) -> None:  # noqa: ANN401 - a class of events
    """Disabled or deleted."""
    http = desk.http
    user = http.user("ada@example.com")
    publish_at(http, 3, event(id=user))
    body = {"items": [question(user, type_="user")] * 1_000}

    problem(ask(desk, body, basic("ada@example.com")), 401, "principal.disabled")


def test_others_are_answered_in_between(desk: Desk) -> None:
    """Ten thousand questions do not hold up one (6.4)."""
    http = desk.http
    body = {"items": [question(desk.bot)] * 10_000}
    done: list[str] = []

    async def noting(name: str, method: str, path: str, sent: object) -> None:
        await http.send(method, path, sent)
        done.append(name)

    async def both() -> None:
        bulk = asyncio.create_task(noting("bulk", "POST", PATH, body))
        await asyncio.sleep(0)
        await noting("one", "POST", "/access/v1/evaluation", question(desk.bot))
        await bulk

    http.run(both())

    assert ["one", "bulk"] == done


def test_no_fault_of_a_part_ends_in_an_answer(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Security 2.1: what nobody foresaw is 500, and no decision is given."""
    monkeypatch.setattr(harness, "keep_contract", lambda _: None)
    body = {"items": [question(desk.bot)]}

    def fail(*_: object) -> bool:
        raise ZeroDivisionError

    for part in ("check", "resolve"):
        with monkeypatch.context() as broken:
            broken.setattr(desk.http.service.graph, part, fail)
            response = ask(desk, body)
        assert 500 == response.status_code
        assert b"decision" not in response.content
    assert "ZeroDivisionError" in caplog.text
