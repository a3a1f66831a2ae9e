"""Are service accounts managed over HTTP as kestra-iam 6.1 and 8 say?"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import pytest
from msgspec import UNSET

from domain.ids import MAIN, ServiceAccountId
from domain.service_accounts import ServiceAccountRenamed
from tests.answers import problem
from tests.service import Served, bearer

BOT: Final = {"name": "ci-bot", "description": "CI pipeline"}
LABEL: Final = {"name": "not a label"}

# The routes about one account; `{t}` stands for a tenant's routes and `` for the installation's.
TENANT: Final = [
    ("GET", "main/service-accounts/{id}", UNSET),
    ("PUT", "main/service-accounts/{id}", BOT),
    ("DELETE", "main/service-accounts/{id}", UNSET),
    ("POST", "main/service-accounts/{id}/disable", UNSET),
    ("POST", "main/service-accounts/{id}/enable", UNSET),
]
INSTANCE: Final = [
    ("GET", "service-accounts/{id}", UNSET),
    ("PATCH", "service-accounts/{id}", BOT),
    ("DELETE", "service-accounts/{id}", UNSET),
    ("PATCH", "service-accounts/{id}/superadmin", {"superAdmin": True}),
    ("PATCH", "service-accounts/{id}/instanceowner", {"superAdmin": True}),
    ("POST", "service-accounts/{id}/disable", UNSET),
    ("POST", "service-accounts/{id}/enable", UNSET),
]
CHANGES: Final = [route for route in (*TENANT, *INSTANCE) if route[0] != "GET"]


def made(http: Served, path: str = "main/service-accounts", **members: object) -> dict[str, Any]:
    """Create an account by a route; answer the answer."""
    response = http.post(path, {**BOT, **members})
    assert 200 == response.status_code, response.text
    account: dict[str, Any] = response.json()
    return account


# Create


def test_a_created_account_reads_back_in_both_forms(http: Served) -> None:
    """Kestra-iam 6.1: one account, two shapes; the privilege in both spellings."""
    group = http.group()
    both = {"instanceOwner": True, "superAdmin": True, "enabled": True}

    answer = http.post(
        "main/service-accounts", {**BOT, "superAdmin": True, "groups": [{"id": group}]}
    )

    here = answer.json()
    created = {"id": here["id"], "created": "2026-01-01T00:00:00Z", **BOT, **both}
    assert {**created, "groups": [{"id": group}]} == here
    shown = http.get(f"main/service-accounts/{here['id']}")
    assert (here, answer.headers["etag"]) == (shown.json(), shown.headers["etag"])
    everywhere = http.get(f"service-accounts/{here['id']}").json()
    assert {**created, "tenants": [{"id": "main", "name": "main"}]} == everywhere


def test_an_account_of_the_installation_has_the_tenants_given(http: Served) -> None:
    """Kestra-iam 6.1: tenants by id in, by id and name out; none is none."""
    beta = http.tenant()

    assert [] == made(http, "service-accounts", tenants=None)["tenants"]
    tenants = made(http, "service-accounts", tenants=[MAIN, beta])["tenants"]
    assert [{"id": "beta", "name": "Beta"}, {"id": "main", "name": "main"}] == tenants
    unknown = http.post("service-accounts", {**BOT, "tenants": ["nowhere"]})
    problem(unknown, 404, "tenant.unknown")


def test_terraform_sends_every_key_with_nothing_in_it(http: Served) -> None:
    """Kestra-iam 2.5 and 6.1: null groups, an empty description, false for anybody."""
    maker = http.user()
    http.allow(maker, {"SERVICE_ACCOUNT": ["CREATE"]})
    body = {"name": "ci-bot", "description": "", "superAdmin": False, "groups": None}

    account = http.post("main/service-accounts", body, by=http.bearer(maker)).json()

    assert ("", [], False) == (account["description"], account["groups"], account["superAdmin"])
    given = http.post("main/service-accounts", {**body, "superAdmin": True}, by=http.bearer(maker))
    problem(given, 403, "privilege.denied")


@pytest.mark.parametrize(
    ("body", "code", "paths"),
    [
        ({}, "body.invalid", ["name"]),
        ({"name": 1}, "body.invalid", ["name"]),
        (LABEL, "service_account.invalid", ["name"]),
        ({**LABEL, "description": "x" * 2_001}, "service_account.invalid", ["name", "description"]),
        (
            {**BOT, "instanceOwner": True, "superAdmin": False},
            "privilege.ambiguous",
            ["instanceOwner"],
        ),
    ],
)
@pytest.mark.parametrize("path", ["main/service-accounts", "service-accounts"])
def test_a_member_that_does_not_fit_is_named(
    http: Served, path: str, body: dict[str, Any], code: str, paths: list[str]
) -> None:
    """Kestra-iam, rule 8: 422, each fault with its path."""
    problem(http.post(path, body), 422, code, *paths)


def test_a_group_of_another_tenant_is_as_unknown_as_one_that_never_was(http: Served) -> None:
    """Security 2.3: a foreign id in the body is unknown, on creating and on replacing."""
    foreign = http.group("Crew", tenant=http.tenant())
    id_ = http.account()

    for group in (foreign, "never"):
        body = {**BOT, "groups": [{"id": group}]}
        problem(http.post("main/service-accounts", body), 404, "group.unknown")
        problem(http.put(f"main/service-accounts/{id_}", body), 404, "group.unknown")


# Change


def test_a_replaced_account_keeps_what_was_not_sent(http: Served) -> None:
    """Kestra-iam 2.5: PUT resets the description, null empties groups, absent ones stay."""
    group = http.group()
    id_ = made(http, groups=[{"id": group}], superAdmin=True)["id"]
    path = f"main/service-accounts/{id_}"

    kept = http.put(path, {"name": "renamed"}).json()
    assert ("renamed", "") == (kept["name"], kept["description"])
    assert ([{"id": group}], True) == (kept["groups"], kept["superAdmin"])
    position = http.state.position
    assert kept == http.put(path, {"name": "renamed", "superAdmin": None}).json()
    assert position == http.state.position
    changed = http.put(path, {"name": "renamed", "groups": None, "instanceOwner": False}).json()
    assert ([], False) == (changed["groups"], changed["superAdmin"])


def test_replaced_groups_are_those_of_the_tenant_only(http: Served) -> None:
    """Kestra-iam 6.1: memberships elsewhere are neither shown nor touched."""
    beta = http.tenant()
    id_ = http.account("shared", MAIN, beta)
    crew, bots = http.group("Crew", tenant=beta), http.group()
    http.put(f"beta/service-accounts/{id_}", {"name": "shared", "groups": [{"id": crew}]})

    here = http.put(f"main/service-accounts/{id_}", {"name": "shared", "groups": [{"id": bots}]})

    assert [{"id": bots}] == here.json()["groups"]
    assert [{"id": crew}] == http.get(f"beta/service-accounts/{id_}").json()["groups"]


def test_a_membership_whose_time_is_over_is_not_shown(http: Served) -> None:
    """Kestra-iam 8: it leaves the answer at its end, by the clock and not by the next event."""
    id_, group = http.account(), http.group()
    end = http.inputs.now() + timedelta(hours=1)
    http.put(f"main/groups/{group}/members/{id_}", {"expiresAt": end.isoformat()})
    then = http.state.position

    assert [{"id": group}] == http.get(f"main/service-accounts/{id_}").json()["groups"]
    http.inputs.advance(3600)
    assert [] == http.get(f"main/service-accounts/{id_}").json()["groups"]
    past = http.get(f"main/service-accounts/{id_}?position={then}").json()
    assert [{"id": group}] == past["groups"]


def test_a_patched_account_keeps_a_description_that_was_not_sent(http: Served) -> None:
    """Kestra-iam 6.1: `name` is required even here; null clears a description."""
    id_ = made(http)["id"]
    path = f"service-accounts/{id_}"

    assert "CI pipeline" == http.patch(path, {"name": "renamed"}).json()["description"]
    assert [ServiceAccountRenamed(id=ServiceAccountId(id_), name="renamed")] == http.events()[-1:]
    cleared = http.patch(path, {"name": "renamed", "description": None}).json()
    assert "" == cleared["description"]
    problem(http.patch(path, {"description": "x"}), 422, "body.invalid", "name")


@pytest.mark.parametrize("route", ["instanceowner", "superadmin"])
@pytest.mark.parametrize("member", ["instanceOwner", "superAdmin"])
def test_the_privilege_is_given_and_taken_by_name_only(
    http: Served, route: str, member: str
) -> None:
    """Kestra-iam 6.1: either key on either route, 200 with {}; without a key nothing is taken."""
    id_ = http.account()
    path = f"service-accounts/{id_}/{route}"

    for value in (True, True, False):
        response = http.patch(path, {member: value})
        assert (200, b"{}") == (response.status_code, response.content)
        assert value is http.get(f"service-accounts/{id_}").json()["superAdmin"]
    http.patch(path, {member: True})
    for nothing in ({}, {member: None}):
        problem(http.patch(path, nothing), 422, "body.invalid", "instanceOwner")
    assert id_ in http.state.owners


# End


def test_a_disabled_account_is_refused_and_loses_nothing(http: Served) -> None:
    """Kestra-iam 8: all its tokens are refused from the next request on, by either route."""
    id_ = http.account()
    by = bearer(http.token(id_))

    for base in ("main/service-accounts", "service-accounts"):
        assert http.post(f"{base}/{id_}/disable").json()["enabled"] is False
        problem(http.get("me", by=by), 401, "principal.disabled")
        assert http.post(f"{base}/{id_}/enable").json()["enabled"] is True
        assert 200 == http.get("me", by=by).status_code


@pytest.mark.parametrize(
    ("base", "status", "body"),
    [("main/service-accounts", 200, b"{}"), ("service-accounts", 204, b"")],
)
def test_a_deleted_account_is_gone_with_all_it_had(
    http: Served, base: str, status: int, body: bytes
) -> None:
    """Kestra-iam 5.6: its tokens, memberships and bindings end; its past stays."""
    id_, group = http.account(), http.group()
    by = bearer(http.token(id_))
    binding = http.allow(id_, {"FLOW": ["VIEW"]})
    http.put(f"main/groups/{group}/members/{id_}")
    then = http.state.position

    response = http.delete(f"{base}/{id_}")

    assert (status, body) == (response.status_code, response.content)
    problem(http.get("me", by=by), 401, "token.revoked")
    problem(http.get(f"main/bindings/{binding}"), 404, "binding.unknown")
    assert 0 == http.get(f"main/groups/{group}/members").json()["total"]
    problem(http.delete(f"{base}/{id_}"), 404, "service_account.unknown")
    assert 200 == http.get(f"{base}/{id_}?position={then}").status_code


# What every route keeps


@pytest.mark.parametrize(("method", "path", "body"), [*TENANT, *INSTANCE])
def test_what_is_no_account_here_is_unknown(
    http: Served, method: str, path: str, body: object
) -> None:
    """Security 2.3: a user, nobody, and by a tenant's route one without access, all alike."""
    foreign = http.account("foreign", http.tenant())
    others = ["never", http.user(), *([foreign] if path.startswith("main/") else [])]

    for id_ in others:
        response = http.request(method, path.format(id=id_), body)
        assert 404 == response.status_code, response.text
        assert response.json()["code"] in {"service_account.unknown", "principal.unknown"}


def test_an_account_that_acts_elsewhere_is_the_instance_owners(http: Served) -> None:
    """Kestra-iam 5.6: a tenant touches its memberships here, and nothing else of it."""
    shared = http.account("shared", MAIN, http.tenant())
    admin = http.user()
    http.allow(admin, {"*": ["*"]})
    by = http.bearer(admin)
    group = http.group()

    for method, path, body in TENANT[1:]:
        response = http.request(method, path.format(id=shared), body, by=by)
        problem(response, 409, "service_account.shared")
    joined = {"name": "shared", "groups": [{"id": group}]}
    assert 200 == http.put(f"main/service-accounts/{shared}", joined, by=by).status_code
    assert 200 == http.post(f"main/service-accounts/{shared}/disable").status_code


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_if_match_and_keys_hold_for_every_change(
    http: Served, method: str, path: str, body: object
) -> None:
    """Http-api 3 and 4: a stale tag is 412; a repeat answers as before, deleted since or not."""
    id_ = http.account()
    if path.endswith("/enable"):
        http.post(f"service-accounts/{id_}/disable")
    tag = http.get(f"service-accounts/{id_}").headers["etag"]
    http.patch(f"service-accounts/{id_}", {"name": "changed"})
    asked, key = path.format(id=id_), {"Idempotency-Key": "once"}

    stale = http.request(method, asked, body, headers={"If-Match": tag})
    problem(stale, 412, "etag.mismatch")
    fresh = {"If-Match": stale.headers["etag"], **key}
    first = http.request(method, asked, body, headers=fresh)
    assert first.is_success, first.text
    if method != "DELETE":
        http.delete(f"service-accounts/{id_}")
    again = http.request(method, asked, body, headers=key)

    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert first.headers["x-muniment-position"] == again.headers["x-muniment-position"]
    assert "true" == again.headers["idempotency-replayed"]


@pytest.mark.parametrize("path", ["main/service-accounts", "service-accounts"])
def test_a_repeated_creation_is_one_account(http: Served, path: str) -> None:
    """Http-api 4: same key and body, same answer; another body is 422."""
    key = {"Idempotency-Key": "once"}

    first = http.post(path, BOT, headers=key)
    again = http.post(path, BOT, headers=key)

    assert (first.content, "true") == (again.content, again.headers["idempotency-replayed"])
    problem(http.post(path, {"name": "other"}, headers=key), 422, "idempotency.mismatch")
