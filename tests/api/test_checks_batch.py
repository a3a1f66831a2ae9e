"""Does a batch answer as its questions one by one, at one moment, each failing alone?"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from domain.ids import TenantId
from tests.answers import problem
from tests.api.checking import ALLOWED, DENIED, Desk, Json, question
from tests.service import served

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ACTIONS = ("UPDATE", "DELETE", "VIEW")
MISPLACED = b'{"type": "FLOW", "id": "nightly", "properties": {"namespace": "a..b"}}'


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Yield an installation that all tests of this module ask, and none changes for another."""
    with served(tmp_path_factory.mktemp("checks")) as http:
        yield Desk(http)


def answers(desk: Desk, body: Json) -> list[object]:
    """Answer the items: True, False, or the status and message of an error."""
    response = desk.ask_all(body)
    assert 200 == response.status_code, response.content
    found = response.json()
    assert ["evaluations"] == list(found)
    assert str(desk.http.state.position) == response.headers["x-muniment-position"]
    return [_told(item) for item in found["evaluations"]]


def _told(item: Json) -> object:
    if "context" not in item:
        assert ["decision"] == list(item)
        return item["decision"]
    assert item["decision"] is False
    error = item["context"]["error"]
    assert {"error"} == set(item["context"])
    assert {"status", "message"} == set(error)
    return error["status"], error["message"]


def test_a_batch_is_exactly_this(desk: Desk) -> None:
    """The bytes of a batch are fixed, without a decision beside the items (authzen 4)."""
    body = {"evaluations": [question(desk.bot), question(desk.bot, "DELETE")]}

    response = desk.ask_all(body)

    assert b'{"evaluations":[{"decision":true},{"decision":false}]}' == response.content
    assert "application/json" == response.headers["content-type"]


def test_a_batch_equals_its_questions_one_by_one(desk: Desk) -> None:
    """200 random questions: the same decision in one request as in many (B1, authzen 10)."""
    chance = random.Random(7)  # noqa: S311 - nothing is to be secret, all repeatable
    desk.http.allow(desk.bot, {"*": ["VIEW"]})
    items = [
        question(
            chance.choice((desk.bot, "ci-bot", "nobody")),
            chance.choice(ACTIONS),
            chance.choice(("prod", "prod.a", "production")),
            resource=(chance.choice(("FLOW", "APP")), chance.choice(("*", "x"))),
            tenant=chance.choice(("main", "unheard")),
        )
        for _ in range(200)
    ]

    together = answers(desk, {"evaluations": items})

    alone = []
    for item in items:
        response = desk.ask(item)
        alone.append(response.json()["decision"] if response.status_code == 200 else "403")
    assert {True, False, "403"} == set(alone)
    assert alone == [one if isinstance(one, bool) else str(one[0]) for one in _pairs(together)]


def _pairs(found: Sequence[object]) -> list[bool | tuple[int, str]]:
    return [one for one in found if isinstance(one, bool | tuple)]


def test_defaults_are_taken_and_replaced_whole(desk: Desk) -> None:
    """An item's object stands in the place of the default; nothing is merged (authzen 4)."""
    body = question(desk.bot)
    bare = {"type": "FLOW", "id": "x"}
    body["evaluations"] = [
        {},
        {"action": {"name": "DELETE"}},
        {"resource": bare},
        {"subject": {"type": "service_account", "id": "nobody"}},
        {"resource": bare | {"properties": {"namespace": "prod"}}},
        {"unheard": 1},
    ]

    assert [True, False, False, False, True, True] == answers(desk, body)


def test_an_items_context_replaces_the_default(desk: Desk) -> None:
    """A token named for all does not count where an item has a context of its own (authzen 6)."""
    body = question(desk.bot, context={"token": "unheard"})
    body["evaluations"] = [{}, {"context": {}}, {"context": {"token": "unheard"}}]

    assert [False, True, False] == answers(desk, body)


@pytest.mark.parametrize("evaluations", [{}, {"evaluations": []}])
def test_without_items_it_is_a_single_evaluation(desk: Desk, evaluations: Json) -> None:
    """The answer is then a decision alone (authzen 4)."""
    allowed = desk.ask_all(question(desk.bot) | evaluations)
    denied = desk.ask_all(question(desk.bot, "DELETE") | evaluations)

    assert [ALLOWED, DENIED] == [allowed.content, denied.content]
    problem(
        desk.ask_all({"subject": question(desk.bot)["subject"]} | evaluations), 400, "body.invalid"
    )


@pytest.mark.parametrize(
    ("semantic", "expected"),
    [
        ("execute_all", ["allow", 400, "deny", 403, "allow"]),
        ("deny_on_first_deny", ["allow", 400]),
        ("permit_on_first_permit", ["allow"]),
    ],
)
def test_each_semantic_stops_where_it_says(
    desk: Desk, semantic: str, expected: list[object]
) -> None:
    """An item that fails is a deny, also the one that stops (authzen 4)."""
    body: Json = {
        "options": {"evaluations_semantic": semantic, "unheard": 1},
        "evaluations": _mixed(desk),
    }

    assert expected == _short(answers(desk, body))


@pytest.mark.parametrize("options", [{}, {"options": {}}, {"options": {"unheard": None}}])
def test_all_are_executed_by_default(desk: Desk, options: Json) -> None:
    """Without a semantic there are as many answers as items, in their order (authzen 4)."""
    body = {"evaluations": _mixed(desk)} | options

    assert ["allow", 400, "deny", 403, "allow"] == _short(answers(desk, body))


def test_permits_stop_after_denies_and_errors(desk: Desk) -> None:
    """permit_on_first_permit goes on past denies and failed items (authzen 4)."""
    items = _mixed(desk)
    body = {
        "options": {"evaluations_semantic": "permit_on_first_permit"},
        "evaluations": [items[2], items[1], items[3], items[0], items[2]],
    }

    assert ["deny", 400, 403, "allow"] == _short(answers(desk, body))


def test_denies_stop_at_a_plain_deny(desk: Desk) -> None:
    """deny_on_first_deny ends the array with the deny (authzen 4)."""
    items = _mixed(desk)
    body = {
        "options": {"evaluations_semantic": "deny_on_first_deny"},
        "evaluations": [items[0], items[2], items[0]],
    }

    assert ["allow", "deny"] == _short(answers(desk, body))


def _mixed(desk: Desk) -> list[Json]:
    allow, deny = question(desk.bot), question(desk.bot, "DELETE")
    return [allow, {"subject": 7}, deny, question(desk.bot, tenant="unheard"), allow]


def _short(found: list[object]) -> list[object]:
    words = {True: "allow", False: "deny"}
    return [words[one] if isinstance(one, bool) else one[0] for one in _pairs(found)]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"resource": None}, "the item is malformed"),
        ({"resource": {"type": "FLOW"}}, "the item is malformed"),
        ({"action": {"name": 7}}, "the item is malformed"),
        (None, "the item is malformed"),
        (7, "the item is malformed"),
        ([], "the item is malformed"),
        ({"context": {"at_least": 1}}, "at_least, as_of and log hold for the whole request"),
        (
            {"context": {"as_of": {"position": 1}}},
            "at_least, as_of and log hold for the whole request",
        ),
        ({"context": {"token": 7}}, "the item is malformed"),
    ],
)
def test_a_malformed_item_fails_alone(desk: Desk, item: object, message: str) -> None:
    """It is a deny with status 400 and a message; its neighbours are answered (authzen 4)."""
    body = question(desk.bot) | {"evaluations": [{}, item, {}]}

    assert [True, (400, message), True] == answers(desk, body)


def test_null_in_an_items_context_is_passed_over(desk: Desk) -> None:
    """Null inside a context is legal and means nothing (authzen 2)."""
    nothing = {"at_least": None, "as_of": None, "token": None}
    body = question(desk.bot) | {"evaluations": [{"context": nothing}]}

    assert [True] == answers(desk, body)


def test_an_incomplete_item_names_what_is_missing(desk: Desk) -> None:
    """The message says which of the three is required (authzen 4)."""
    full = question(desk.bot)
    items = [{name: full[name] for name in full if name != left} for left in full]

    assert [(400, f"{name} is required") for name in full] == answers(desk, {"evaluations": items})


def test_an_item_that_may_not_be_asked_is_refused_alone(desk: Desk) -> None:
    """403 in its place, the caller's own question is answered (security 2.10)."""
    body = {"evaluations": [question(desk.bot), question("nobody"), question(desk.bot)]}

    response = desk.ask_all(body, desk.by_bot)

    found = [_told(item) for item in response.json()["evaluations"]]
    assert [True, (403, "asking about others needs ACCESS:CHECK there"), True] == found


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "body.missing"),
        (b"{", "body.malformed"),
        (b"[]", "body.invalid"),
        (b'{"evaluations": {}}', "body.invalid"),
        (b'{"evaluations": null}', "body.invalid"),
        (b'{"options": null, "evaluations": [{}]}', "body.invalid"),
        (b'{"options": {"evaluations_semantic": "first"}}', "body.invalid"),
        (b'{"options": {"evaluations_semantic": null}}', "body.invalid"),
        (b'{"subject": {"type": "user"}, "evaluations": [{}]}', "body.invalid"),
        (b'{"context": [], "evaluations": [{}]}', "body.invalid"),
        (b'{"resource": %b, "evaluations": [{}]}' % MISPLACED, "body.invalid"),
        (b'{"action": {"name": "\\u0001"}, "evaluations": [{}]}', "body.control_character"),
        (
            b'{"subject": {"type": "user", "id": "\\u0001"}, "evaluations": [{}]}',
            "body.control_character",
        ),
        (b'{"evaluations": [' + b",".join([b"{}"] * 1001) + b"]}", "batch.too_large"),
    ],
)
def test_a_fault_of_the_whole_batch_is_400(desk: Desk, body: bytes, code: str) -> None:
    """What is no batch at all is refused as a whole (authzen 4)."""
    status, said = desk.raw(body, desk.header(desk.by_bot), path="/access/v1/evaluations")

    assert (400, True) == (status, f'"code":"{code}"'.encode() in said)


def test_a_batch_holds_a_thousand(desk: Desk) -> None:
    """1,000 items are answered (authzen 4)."""
    body = question(desk.bot) | {"evaluations": [{}] * 1_000}

    assert [True] * 1_000 == answers(desk, body)
    assert TenantId("main") in desk.http.state.tenants
