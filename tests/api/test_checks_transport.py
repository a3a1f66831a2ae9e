"""Which requests are no questions, and what are they told?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from api.searches import ACTIONS, RESOURCES, SUBJECTS
from tests.answers import problem
from tests.api.checking import HOT, Desk, Json, question
from tests.service import served

if TYPE_CHECKING:
    from collections.abc import Iterator

# What each search looks for, and so does not read.
SEARCHED = {SUBJECTS: "subject.id", RESOURCES: "resource.id", ACTIONS: "action"}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Yield an installation that all tests of this module ask, and none changes."""
    with served(tmp_path_factory.mktemp("checks")) as http:
        yield Desk(http)


@pytest.mark.parametrize("path", HOT)
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_are_405(desk: Desk, path: str, method: str) -> None:
    """With Allow, whoever asks (authzen 7)."""
    response = desk.http.request(method, path, by={})

    problem(response, 405, "method.not_allowed")
    assert "POST" == response.headers["allow"]


def test_other_paths_are_passed_on(desk: Desk) -> None:
    """Only the endpoints of the check API are answered here."""
    assert 200 == desk.http.get("/livez").status_code
    for path in (*(f"{path}/more" for path in HOT), "/access/v1/search", "/access/v1/search/user"):
        assert 404 == desk.http.post(path, {}).status_code


@pytest.mark.parametrize("path", HOT)
@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content-Type": "text/plain"}, 400, "body.media_type"),
        ({}, 400, "body.media_type"),
        ({"Content-Type": "application/json; charset=latin-1"}, 400, "body.charset"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 400, "body.encoded"),
        ({"Content-Type": "application/json; charset=UTF-8; x=y"}, 200, ""),
    ],
)
def test_a_media_type_that_is_not_json_is_400(
    desk: Desk, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    """Absent or another type: 400, not 415; parameters are allowed (authzen 7)."""
    content = (
        b'{"subject":{"type":"service_account","id":"ci-bot"},"action":{"name":"UPDATE"},'
        b'"resource":{"type":"FLOW","id":"*","properties":{"namespace":"prod"}}}'
    )

    response = desk.http.post(path, content=content, headers=headers)

    assert (status, code) == (response.status_code, response.json().get("code", ""))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "body.missing"),
        (b"{", "body.malformed"),
        (b"null", "body.invalid"),
        (b"[]", "body.invalid"),
        (b'"text"', "body.invalid"),
        (b'{"a": "\xff"}', "body.not_utf8"),
        (b'{"a": "\x01"}', "body.control_character"),
        (b'{"a": "\\u0000"}', "body.control_character"),
        (b"[" * 40 + b"]" * 40, "body.too_complex"),
    ],
)
@pytest.mark.parametrize("path", HOT)
def test_what_is_no_json_object_is_400(desk: Desk, path: str, content: bytes, code: str) -> None:
    """Empty, malformed, unsafe, or no object (authzen 7)."""
    response = desk.http.post(
        path, content=content, headers={"Content-Type": "application/json"}, by=desk.by_bot
    )

    problem(response, 400, code)


@pytest.mark.parametrize("path", HOT)
def test_two_objects_are_no_question(desk: Desk, path: str) -> None:
    """Nothing may follow the one object (authzen 7)."""
    content = json.dumps(question(desk.bot)).encode() + b" {}"

    response = desk.http.post(path, content=content, headers={"Content-Type": "application/json"})

    problem(response, 400, "body.malformed")


@pytest.mark.parametrize("path", HOT)
def test_a_body_over_a_mebibyte_is_413(desk: Desk, path: str) -> None:
    """Whatever it says (authzen 7)."""
    body = question(desk.bot) | {"padding": "x" * 1_048_576}

    problem(desk.http.post(path, body), 413, "body.too_large")


def changed(body: Json, path: str, value: object) -> Json:
    """Answer the body with another value at a dotted path; `...` takes the member away."""
    name, _, rest = path.partition(".")
    if rest:
        return body | {name: changed(body[name], rest, value)}
    if value is ...:
        return {key: member for key, member in body.items() if key != name}
    return body | {name: value}


LONG = "x" * 257
# Which values each member may not have; `...` takes it away.
NO_WORD: tuple[object, ...] = (..., None, 7, LONG)
NO_OBJECT: tuple[object, ...] = (..., None, [], 7)
UNFIT: dict[str, tuple[object, ...]] = {
    "subject": NO_OBJECT,
    "action": NO_OBJECT,
    "resource": NO_OBJECT,
    "subject.type": (*NO_WORD, "user\n"),
    "subject.id": (*NO_WORD, *(f"ci{character}bot" for character in "\t\n\r\b\x1f\x7f\x80\x9f")),
    "action.name": (*NO_WORD, {}, "UP\tDATE"),
    "resource.type": (*NO_WORD, "FL\x85OW"),
    "resource.id": (*NO_WORD, "x\x0b"),
    "resource.properties": (None, [], "x"),
    "resource.properties.namespace": (
        *(7, "", ".a", "a.", "a..b", "a b", "a/b", "prod\n"),
        "x" * 151,
    ),
    "resource.properties.tenant": (7, [], LONG),
}
MALFORMED = [(path, value) for path, values in UNFIT.items() for value in values]


@pytest.mark.parametrize(("path", "value"), MALFORMED)
def test_a_malformed_member_is_400(desk: Desk, path: str, value: object) -> None:
    """Missing, null, of the wrong type, too long, with control characters (authzen 2, 7)."""
    body = changed(question(desk.bot), path, value)

    response = desk.ask(body, desk.by_bot)

    assert 400 == response.status_code, response.content
    assert response.json()["code"] in {"body.invalid", "body.control_character"}
    assert 400 == desk.ask_all(body, desk.by_bot).status_code


@pytest.mark.parametrize("path", SEARCHED)
@pytest.mark.parametrize(("member", "value"), MALFORMED)
def test_a_search_refuses_what_it_needs_and_ignores_what_it_looks_for(
    desk: Desk, path: str, member: str, value: object
) -> None:
    """A missing or malformed input is 400; what is searched may be anything (authzen 5)."""
    response = desk.http.post(path, changed(question(desk.bot), member, value))

    # No control character comes in raw, wherever it stands.
    if member.startswith(SEARCHED[path]) and "\x7f" not in str(value):
        assert 200 == response.status_code, response.content
    else:
        assert 400 == response.status_code, response.content
        assert response.json()["code"] in {"body.invalid", "body.control_character"}


NO_PAGE: tuple[object, ...] = (None, [], 7, "next")
NO_LIMIT: tuple[object, ...] = (None, -1, 1.5, "1", True, [])
NO_TEXT: tuple[object, ...] = (None, 7, {}, [])


@pytest.mark.parametrize(
    "page",
    [
        *NO_PAGE,
        *({"limit": limit} for limit in NO_LIMIT),
        *({"token": token} for token in NO_TEXT),
    ],
)
@pytest.mark.parametrize("path", SEARCHED)
def test_a_malformed_page_is_400(desk: Desk, path: str, page: object) -> None:
    """Null, another type, a limit below zero (authzen 5)."""
    response = desk.http.post(path, question(desk.bot) | {"page": page})

    assert (400, "body.invalid") == (response.status_code, response.json()["code"])


@pytest.mark.parametrize("id_", ["ci\u200bbot", "Zoë", "名前", "a\u00a0b", "\U0001f600", "x" * 256])
def test_what_is_merely_unusual_is_a_question(desk: Desk, id_: str) -> None:
    """Escaped or as UTF-8: the same answer (authzen 7)."""
    body = question(id_)

    assert not desk.says(body)
    escaped = json.dumps(body).encode()
    assert escaped.isascii()
    status, said = desk.raw(escaped, desk.header(desk.http.root))
    assert (200, b'{"decision":false}') == (status, said)


def test_an_empty_tenant_is_not_main(desk: Desk) -> None:
    """An empty name names no tenant: nothing is answered from `main` (security 2.3)."""
    body = question(desk.bot, tenant="")

    assert not desk.says(body, desk.by_bot)
    problem(desk.ask(body), 403, "permission.denied")


@pytest.mark.parametrize("path", HOT)
def test_answers_are_not_stored_and_carry_the_request_id(desk: Desk, path: str) -> None:
    """`no-store`, and the id as it was sent, on answers and refusals (authzen 7)."""
    for body, status in ((question(desk.bot), 200), ({}, 400)):
        response = desk.http.post(path, body, headers={"X-Request-ID": "my-request-7"})
        assert status == response.status_code
        assert "no-store" == response.headers["cache-control"]
        assert "my-request-7" == response.headers["x-request-id"]
        assert desk.http.post(path, body).headers["x-request-id"]
