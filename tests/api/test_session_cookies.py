"""Is a request by cookie that of a living session, and of the user's own page?"""

from __future__ import annotations

import pytest
from msgspec import UNSET

from domain.ids import UserId
from tests.answers import problem
from tests.service import NOBODY, PASSWORD, PUBLIC_URL, ROOT_EMAIL, Headers, Served

ADA = "ada@example.com"


def _cookie(http: Served, email: str, password: str = PASSWORD) -> str:
    response = http.post("/login", {"username": email, "password": password}, by=NOBODY)
    assert 200 == response.status_code
    return response.headers.get_list("set-cookie")[0].partition(";")[0]


def _session(http: Served, email: str = ADA) -> tuple[Headers, str]:
    """Sign in; answer the header of the cookie and the CSRF token."""
    response = http.post("/login", {"username": email, "password": PASSWORD}, by=NOBODY)
    cookie, csrf = (cookie.partition(";")[0] for cookie in response.headers.get_list("set-cookie"))
    return {"Cookie": f"{cookie}; {csrf}"}, csrf.partition("=")[2]


def test_a_session_ends_with_the_password_the_user_and_by_command(http: Served) -> None:
    """Security 3.6: ended by the next request after each of these; another user's stays."""
    id_ = http.user(ADA)
    other = {"Cookie": _cookie(http, ROOT_EMAIL)}

    ends: list[tuple[str, str, object]] = [
        ("PATCH", f"users/{id_}/password", {"password": PASSWORD}),
        ("DELETE", f"users/{id_}/refresh-token", UNSET),
        ("POST", f"users/{id_}/disable", UNSET),
    ]
    for method, path, body in ends:
        session = {"Cookie": _cookie(http, ADA)}
        assert 200 == http.get("me", by=session).status_code
        assert http.request(method, path, body).status_code < 300
        problem(http.get("me", by=session), 401, "auth.invalid")

    http.post(f"users/{id_}/enable")
    problem(http.get("me", by=session), 401, "auth.invalid")
    session = {"Cookie": _cookie(http, ADA)}
    http.delete(f"users/{id_}")
    problem(http.get("me", by=session), 401, "auth.invalid")
    assert 200 == http.get("me", by=other).status_code


def test_a_new_privilege_needs_a_new_session(http: Served) -> None:
    """Security 3.6: new id at a change of privilege, so that a planted cookie gains nothing."""
    id_ = http.user(ADA)
    session = {"Cookie": _cookie(http, ADA)}

    http.patch(f"users/{id_}/instanceowner", {"instanceOwner": True})

    problem(http.get("me", by=session), 401, "auth.invalid")
    again = {"Cookie": _cookie(http, ADA)}
    assert http.get("me", by=again).json()["instanceOwner"] is True


def test_a_session_idles_out_and_an_unknown_one_is_invalid(http: Served) -> None:
    """Security 3.6: idle 30 minutes."""
    session = {"Cookie": _cookie(http, ROOT_EMAIL)}
    http.inputs.advance(30 * 60)

    problem(http.get("me", by=session), 401, "auth.invalid")
    problem(http.get("me", by={"Cookie": "JWT=unknown"}), 401, "auth.invalid")
    problem(http.get("me", by={"Cookie": "JWT="}), 401, "auth.required")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({}, 200),
        ({"Origin": PUBLIC_URL}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 403),
        ({"Origin": PUBLIC_URL, "X-CSRF-TOKEN": "wrong"}, 403),
        ({"Origin": PUBLIC_URL, "X-CSRF-TOKEN": "right"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "X-CSRF-TOKEN": "right"}, 200),
        ({"Origin": "https://evil.example", "X-CSRF-TOKEN": "right"}, 403),
        ({"Origin": "null", "X-CSRF-TOKEN": "right"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "X-CSRF-TOKEN": "right"}, 403),
        ({"Sec-Fetch-Site": "same-site", "X-CSRF-TOKEN": "right"}, 403),
    ],
)
def test_a_change_by_cookie_from_a_browser_needs_the_token_and_the_own_site(
    http: Served, sent: Headers, status: int
) -> None:
    """Security 5.2: a request of another site changes nothing; Terraform's `jwt` needs no token."""
    http.user(ADA)
    session, csrf = _session(http)
    headers = {name: csrf if value == "right" else value for name, value in sent.items()}

    response = http.patch("me", {"firstName": "Ada"}, by=session, headers=headers)

    assert status == response.status_code
    if status == 403:
        problem(response, 403, "csrf")
        assert 200 == http.get("me", by=session, headers=headers).status_code


def test_another_sessions_csrf_token_does_not_fit(http: Served) -> None:
    """Security 5.2: the token belongs to the session."""
    http.user(ADA)
    _, foreign = _session(http, ROOT_EMAIL)
    session, _ = _session(http)

    sent = {"Origin": PUBLIC_URL, "X-CSRF-TOKEN": foreign}

    problem(http.patch("me", {"firstName": "Ada"}, by=session, headers=sent), 403, "csrf")


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_by_cookie_only_json_is_read(http: Served, kind: str) -> None:
    """Security 5.2: a cross-site form or blob can send text or a body without a type."""
    http.user(ADA)
    session, _ = _session(http)
    headers = {"Content-Type": kind} if kind else {}

    response = http.patch("me", by=session, headers=headers, content=b'{"firstName":"Eve"}')

    problem(response, 415, "body.media_type")
    token = http.bearer(http.user("cal@example.com"))
    read = http.patch("me", by=token, content=b'{"firstName":"Eve"}')
    assert 200 == read.status_code


def test_unknown_principals_sessions_count_for_nobody(http: Served) -> None:
    """Security 3.6: a session of a user that does not exist opens nothing."""
    cookie, _ = http.run(http.sessions.begin(UserId("nobody"), 1))

    by = {"Cookie": f"JWT={cookie.reveal()}"}

    problem(http.get("me", by=by), 401, "auth.invalid")
