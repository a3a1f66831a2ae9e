"""Does signing in open a session for users only, and signing out end it? (kestra-iam 3)."""

from __future__ import annotations

from hashlib import sha256
from http.cookies import SimpleCookie
from typing import Final

import httpx
import pytest
from sqlalchemy import text

from domain.users import DisableUser
from tests.answers import problem
from tests.service import NOBODY, PASSWORD, PUBLIC_URL, Headers, Served

ADA: Final = "ada@example.com"
FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
PATHS: Final = ("/login", "/api/v1/login")
TYPED: Final = b"username=ada%40example.com&password=correct+horse+battery+staple"


def sign_in(http: Served, path: str = "/login", **more: object) -> httpx.Response:
    """Sign Ada in with JSON."""
    return http.post(path, {"username": ADA, "password": PASSWORD, **more}, by=NOBODY)


def cookies(response: httpx.Response) -> SimpleCookie:
    """Answer the cookies that an answer sets."""
    jar = SimpleCookie()
    for header in response.headers.get_list("set-cookie"):
        jar.load(header)
    return jar


def session(response: httpx.Response) -> Headers:
    """Answer the header with the session that an answer opened."""
    return {"Cookie": f"JWT={cookies(response)['JWT'].value}"}


@pytest.mark.parametrize("path", PATHS)
def test_signing_in_answers_an_empty_object_and_two_cookies(http: Served, path: str) -> None:
    """Kestra-iam 3: JWT is HttpOnly, Secure and Lax, for the API only; a page reads csrfToken."""
    id_ = http.user(ADA)
    head = http.log.head()

    response = sign_in(http, path, rememberMe=True)

    assert (200, b"{}") == (response.status_code, response.content)
    assert response.headers["content-type"] == "application/json"
    jwt, csrf = cookies(response)["JWT"], cookies(response)["csrfToken"]
    assert (True, True, "lax", "/api/v1") == (
        jwt["httponly"],
        jwt["secure"],
        jwt["samesite"],
        jwt["path"],
    )
    assert ("", True, "lax", "/") == (
        csrf["httponly"],
        csrf["secure"],
        csrf["samesite"],
        csrf["path"],
    )
    assert id_ == http.get("me", by=session(response)).json()["id"]
    assert head == http.log.head(), "a session is no fact of the log"


@pytest.mark.parametrize("path", PATHS)
def test_a_form_signs_in_too(http: Served, path: str) -> None:
    """Kestra-iam 3: form or JSON."""
    id_ = http.user(ADA)

    response = http.post(path, content=TYPED, headers=FORM, by=NOBODY)

    assert 200 == response.status_code
    assert id_ == http.get("me", by=session(response)).json()["id"]


def test_the_cookie_is_stored_as_its_digest_only(http: Served) -> None:
    """Security 3.6: what the store holds opens no session."""
    http.user(ADA)

    cookie = cookies(sign_in(http))["JWT"].value

    with http.sign_ins.connect() as connection:
        (stored,) = connection.execute(text("SELECT digest FROM sessions")).scalars()
    assert sha256(cookie.encode()).digest() == stored


def test_every_sign_in_has_a_new_id_and_ends_the_session_it_came_with(http: Served) -> None:
    """Security 3.6: a session that was planted before is not the one signed in to."""
    http.user(ADA)
    first, other = session(sign_in(http)), session(sign_in(http))

    again = http.post("/login", {"username": ADA, "password": PASSWORD}, by=first)

    assert session(again) not in (first, other)
    problem(http.get("me", by=first), 401, "auth.invalid")
    assert 200 == http.get("me", by=other).status_code
    assert 200 == http.get("me", by=session(again)).status_code


def test_nobody_else_signs_in(http: Served) -> None:
    """Security 3.8 and 3.3: a service account, the unknown, the disabled: one answer, no cookie."""
    http.user(ADA)
    token = http.token(http.account("ci-bot"))
    http.give(DisableUser(id=http.user("off@example.com")))
    http.user("none@example.com", password=None)

    answers = [
        http.post("/login", {"username": username, "password": password}, by=NOBODY)
        for username, password in (
            (ADA, "not the right one at all"),
            ("nobody@example.com", PASSWORD),
            ("off@example.com", PASSWORD),
            ("none@example.com", PASSWORD),
            ("ci-bot", token),
            ("", ""),
        )
    ]

    for answer in answers:
        body = problem(answer, 401, "auth.invalid")
        assert body["message"] == answers[0].json()["message"]
        assert "set-cookie" not in answer.headers


def test_failed_sign_ins_lock_for_both_roads(http: Served) -> None:
    """Security 3.4: sign-ins and Basic credentials share one count."""
    http.user(ADA)
    for path in PATHS * 5:
        wrong = http.post(path, {"username": ADA.upper(), "password": "wrong"}, by=NOBODY)
        problem(wrong, 401, "auth.invalid")

    problem(sign_in(http), 401, "auth.invalid")
    http.inputs.advance(30 * 60)
    assert 200 == sign_in(http).status_code


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"", {}, 400, "body.missing"),
        (b"{", {"Content-Type": "application/json"}, 400, "body.malformed"),
        (b"{}", {"Content-Type": "application/json"}, 422, "body.invalid"),
        (b"[]", {"Content-Type": "application/json"}, 422, "body.invalid"),
        (b'{"username":"a","password":null}', FORM, 400, "body.malformed"),
        (b"username", FORM, 400, "body.malformed"),
        (b"username=%ff&password=x", FORM, 400, "body.malformed"),
        (b"username=\xff&password=x", FORM, 400, "body.malformed"),
        (b"&".join([b"a=b"] * 11), FORM, 400, "body.malformed"),
        (b"username=a", FORM, 422, "body.invalid"),
        (b"username=" + b"a" * 300 + b"&password=x", FORM, 422, "body.invalid"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "body.media_type"),
        (b"{}", {}, 415, "body.media_type"),
    ],
)
def test_what_cannot_be_read_is_refused(
    http: Served, content: bytes, headers: Headers, status: int, code: str
) -> None:
    """Http-api 1 and 2: 400, 415 or 422, never 500, and no word of what was typed."""
    response = http.post("/login", content=content, headers=headers, by=NOBODY)

    assert (status, code) == (response.status_code, response.json()["code"])
    assert "aaa" not in response.text


@pytest.mark.parametrize(
    "sent",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": PUBLIC_URL},
    ],
)
def test_no_other_site_signs_a_browser_in(http: Served, sent: Headers) -> None:
    """Security 5.2: else a page could make its visitor act as somebody of its choice."""
    http.user(ADA)

    response = http.post("/login", content=TYPED, headers={**FORM, **sent}, by=NOBODY)

    problem(response, 403, "csrf")
    assert "set-cookie" not in response.headers
    own = {**FORM, "Origin": PUBLIC_URL, "Sec-Fetch-Site": "same-origin"}
    assert 200 == http.post("/login", content=TYPED, headers=own, by=NOBODY).status_code


# Sign out


def test_signing_out_ends_this_session_and_clears_both_cookies(http: Served) -> None:
    """Kestra-iam 3: POST /api/v1/logout, 200 {}; other sessions stay."""
    http.user(ADA)
    ended, kept = session(sign_in(http)), session(sign_in(http))

    response = http.post("logout", by=ended)

    assert (200, b"{}") == (response.status_code, response.content)
    for name in ("JWT", "csrfToken"):
        cleared = cookies(response)[name]
        assert ("", "0") == (cleared.value, cleared["max-age"])
    assert "/api/v1" == cookies(response)["JWT"]["path"]
    problem(http.get("me", by=ended), 401, "auth.invalid")
    assert 200 == http.get("me", by=kept).status_code


def test_signing_out_without_a_session_clears_the_cookies_too(http: Served) -> None:
    """Kestra-iam 3: one whose session is over can get rid of its cookie."""
    for by in (NOBODY, {"Cookie": "JWT=over"}):
        response = http.post("logout", by=by)
        assert (200, b"{}") == (response.status_code, response.content)
        assert "0" == cookies(response)["JWT"]["max-age"]


def test_another_site_does_not_sign_out(http: Served) -> None:
    """Security 5.2: signing out is a change by cookie; it needs the session's token."""
    http.user(ADA)
    response = sign_in(http)
    by, csrf = session(response), cookies(response)["csrfToken"].value

    problem(http.post("logout", by=by, headers={"Origin": PUBLIC_URL}), 403, "csrf")
    foreign = {"Origin": "https://evil.example", "X-CSRF-TOKEN": csrf}
    problem(http.post("logout", by=by, headers=foreign), 403, "csrf")
    assert 200 == http.get("me", by=by).status_code
    own = {"Origin": PUBLIC_URL, "X-CSRF-TOKEN": csrf}
    assert 200 == http.post("logout", by=by, headers=own).status_code
    problem(http.get("me", by=by), 401, "auth.invalid")


@pytest.mark.parametrize("path", [*PATHS, "/api/v1/logout"])
def test_other_methods_are_refused(http: Served, path: str) -> None:
    """Http-api 2: 405 with Allow."""
    response = http.get(path, by=NOBODY)

    problem(response, 405, "method.not_allowed")
    assert {"POST", "OPTIONS"} == set(response.headers["allow"].split(", "))
