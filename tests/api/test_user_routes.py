"""Does every route of users keep what all routes promise?"""

from __future__ import annotations

from typing import Any, Final

import pytest
from msgspec import UNSET

from domain.ids import UserId
from tests.answers import problem
from tests.service import NOBODY, Served

ADA: Final = {"email": "ada@example.com"}
OTHER: Final = "another good long password"

ROUTES: Final = [
    ("POST", "users", ADA),
    ("GET", "users", UNSET),
    ("GET", "users/{id}", UNSET),
    ("PUT", "users/{id}", ADA),
    ("PATCH", "users/{id}", {"firstName": "Ada"}),
    ("DELETE", "users/{id}", UNSET),
    ("PATCH", "users/{id}/password", {"password": OTHER}),
    ("PATCH", "users/{id}/instanceowner", {"instanceOwner": False}),
    ("PATCH", "users/{id}/superadmin", {"superAdmin": False}),
    ("PATCH", "users/{id}/restricted", {"restricted": True}),
    ("POST", "users/{id}/disable", UNSET),
    ("POST", "users/{id}/enable", UNSET),
    ("DELETE", "users/{id}/refresh-token", UNSET),
    ("DELETE", "users/{id}/auths/BASIC_AUTH", UNSET),
]


def made(http: Served, **members: object) -> dict[str, Any]:
    """Create a user by its route; answer the answer."""
    response = http.post("users", {**ADA, **members})
    assert 201 == response.status_code, response.text
    user: dict[str, Any] = response.json()
    return user


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
def test_every_route_is_an_instance_owners(
    http: Served, method: str, path: str, body: object
) -> None:
    """Kestra-iam 6.6: owner; judged before the body and before there is such a user."""
    admin = http.user("admin@example.com")
    http.allow(admin, {"*": ["*"]})
    by = http.bearer(admin)
    target = http.user("target@example.com")
    account = http.account()

    for id_ in (target, "never"):
        asked = path.format(id=id_)
        problem(http.request(method, asked, b"{", by=NOBODY), 401, "auth.required")
        problem(http.request(method, asked, b"{", by=by), 403, "privilege.required")
    if "{id}" in path:
        for unknown in ("never", account):
            response = http.request(method, path.format(id=unknown), body)
            assert 404 == response.status_code
            assert response.json()["code"] in {"user.unknown", "principal.unknown"}
    assert http.request(method, path.format(id=target), body).is_success


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [route for route in ROUTES if "{id}" in route[1] and route[0] != "GET"],
)
def test_if_match_and_keys_hold_for_every_change(
    http: Served, method: str, path: str, body: object
) -> None:
    """Http-api 3 and 4: a stale tag is 412 with the present one; a repeat answers as before."""
    target = http.user("target@example.com")
    tag = http.get(f"users/{target}").headers["etag"]
    http.patch(f"users/{target}", {"lastName": "Changed"})
    asked = path.format(id=target)

    stale = http.request(method, asked, body, headers={"If-Match": tag})
    problem(stale, 412, "etag.mismatch")
    fresh = {"If-Match": stale.headers["etag"], "Idempotency-Key": "once"}
    head = http.log.head()
    first = http.request(method, asked, body, headers=fresh)
    assert first.is_success, first.text
    recorded = http.log.head() > head
    again = http.request(method, asked, body, headers={"Idempotency-Key": "once"})
    assert (first.status_code, first.content) == (again.status_code, again.content)
    if recorded:
        # What changed nothing leaves no record; its repeat is decided anew.
        assert "true" == again.headers["idempotency-replayed"]


def test_a_repeat_about_a_user_deleted_since_answers_as_before(http: Served) -> None:
    """Http-api 4: rebuilt as of the recorded position."""
    for number, (method, rest, body) in enumerate(
        (
            ("PUT", "", {**ADA, "firstName": "Ada"}),
            ("PATCH", "", {"firstName": "Ada"}),
            ("PATCH", "/password", {"password": OTHER}),
        )
    ):
        id_ = made(http)["id"]
        key = {"Idempotency-Key": f"once-{number}"}
        first = http.request(method, f"users/{id_}{rest}", body, headers=key)
        http.delete(f"users/{id_}")

        again = http.request(method, f"users/{id_}{rest}", body, headers=key)

        assert (200, first.json()["id"]) == (again.status_code, again.json()["id"])
        assert "true" == again.headers["idempotency-replayed"]


def test_a_user_has_a_version_and_keeps_it_while_others_change(http: Served) -> None:
    """Http-api 3: the position of the last event that changed it, memberships and access too."""
    id_ = UserId(made(http, tenants=["main"])["id"])
    tag = http.get(f"users/{id_}").headers["etag"]
    http.account()

    unchanged = http.get(f"users/{id_}", headers={"If-None-Match": tag})
    assert (304, tag) == (unchanged.status_code, unchanged.headers["etag"])
    http.put(f"main/users/{id_}/groups", {"groupIds": [http.group()]})
    assert tag != http.get(f"users/{id_}").headers["etag"]
