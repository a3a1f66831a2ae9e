"""Are people managed over HTTP as kestra-iam 6.6 says, and what is personal sealed?"""

from __future__ import annotations

from typing import Any, Final

import pytest
from msgspec import UNSET

from domain.ids import UserId
from domain.users import (
    PasswordRemoved,
    PasswordSet,
    UserDeleted,
    UserDisabled,
    UserEmailChanged,
    UserRenamed,
    UserRestricted,
)
from tests.answers import problem
from tests.service import PASSWORD, ROOT_EMAIL, Served, basic, bearer

ADA: Final = {"email": "ada@example.com"}
OTHER: Final = "another good long password"
EMAIL: Final = ADA["email"]


def made(http: Served, **members: object) -> dict[str, Any]:
    """Create a user by its route; answer the answer."""
    response = http.post("users", {**ADA, **members})
    assert 201 == response.status_code, response.text
    user: dict[str, Any] = response.json()
    return user


def shown(http: Served, id_: str) -> dict[str, Any]:
    """Answer the user as its route shows it."""
    user: dict[str, Any] = http.get(f"users/{id_}").json()
    return user


# Create


def test_a_created_user_reads_back_whole(http: Served) -> None:
    """Kestra-iam 6.6: 201 with the user; the privilege in both spellings, the e-mail as name."""
    beta = http.tenant("beta")
    groups = [http.group("Crew", tenant=beta), http.group("Bots"), http.group("Ops")]

    response = http.post(
        "users",
        {
            "email": "Ada@Example.com",
            "firstName": "Ada",
            "lastName": "Lovelace",
            "password": PASSWORD,
            "tenants": ["main"],
            "groups": groups,
            "superAdmin": True,
            "restricted": True,
            "username": "ignored",
            "namespaceId": "",
        },
    )

    user = response.json()
    id_ = user["id"]
    assert 201 == response.status_code
    assert {
        "id": id_,
        "username": "Ada@Example.com",
        "displayName": "Ada Lovelace",
        "firstName": "Ada",
        "lastName": "Lovelace",
        "email": "Ada@Example.com",
        "tenants": [{"id": "beta", "name": "Beta"}, {"id": "main", "name": "main"}],
        "auths": [{"id": id_, "name": "Ada@Example.com", "type": "BASIC_AUTH"}],
        "groups": [
            {"id": groups[0], "tenantId": "beta"},
            {"id": groups[1], "tenantId": "main"},
            {"id": groups[2], "tenantId": "main"},
        ],
        "instanceOwner": True,
        "superAdmin": True,
        "restricted": True,
        "enabled": True,
        "created": "2026-01-01T00:00:00Z",
    } == user
    assert user == shown(http, id_)
    assert str(http.log.head()) == response.headers["x-muniment-position"]
    assert id_ == http.get("me", by=basic("ada@example.com")).json()["id"]


def test_an_e_mail_is_all_that_is_required(http: Served) -> None:
    """Kestra-iam 2.5: null and absent members are none; unknown ones change nothing."""
    user = made(
        http,
        firstName=None,
        lastName="",
        password=None,
        tenants=None,
        groups=None,
        instanceOwner=None,
        restricted=None,
        id="mine",
        enabled=False,
        created="2020-01-01T00:00:00Z",
    )

    assert ("ada@example.com", [], [], []) == (
        user["displayName"],
        user["tenants"],
        user["groups"],
        user["auths"],
    )
    assert user["id"] != "mine"
    assert (True, False, False) == (user["enabled"], user["restricted"], user["instanceOwner"])
    problem(http.get("me", by=basic(EMAIL)), 401, "auth.invalid")


def test_nothing_personal_stands_in_the_log(http: Served) -> None:
    """Design 3: e-mail, names and password hash are sealed; one key a person, one a password."""
    keys = http.keys()
    id_ = made(http, firstName="Augusta", lastName="Lovelace", password=PASSWORD)["id"]

    stored = b"".join(record.state for record in http.log.read(0, 1_000))
    for told in (b"ada@example.com", b"Augusta", b"Lovelace", b"argon2", PASSWORD.encode()):
        assert told not in stored
    user = http.state.users[UserId(id_)]
    assert user.password is not UNSET
    assert user.first_name is not UNSET
    assert user.email.key == user.first_name.key
    assert user.email.key != user.password.key
    assert keys + 2 == http.keys()
    assert http.opens(user.email, id_, "email")


@pytest.mark.parametrize(
    ("body", "code", "paths"),
    [
        ({}, "body.invalid", ("email",)),
        ({"email": None}, "body.invalid", ("email",)),
        ({"email": "nobody"}, "user.invalid", ("email",)),
        ({"email": "a@b@c"}, "user.invalid", ("email",)),
        ({**ADA, "firstName": "a" * 101}, "user.invalid", ("firstName",)),
        (
            {"email": "", "firstName": "\u200b", "lastName": "\u202e"},
            "user.invalid",
            ("email", "firstName", "lastName"),
        ),
        ({**ADA, "password": "too short"}, "user.invalid", ("password",)),
        ({**ADA, "password": ""}, "user.invalid", ("password",)),
        ({**ADA, "password": "é" * 600}, "user.invalid", ("password",)),
        ({**ADA, "password": 15}, "body.invalid", ("password",)),
        (
            {"email": "augusta.lovelace@x.example", "password": "augusta.lovelace@x.example"},
            "user.invalid",
            ("password",),
        ),
        ({**ADA, "tenants": "main"}, "body.invalid", ("tenants",)),
        (
            {**ADA, "instanceOwner": True, "superAdmin": False},
            "privilege.ambiguous",
            ("instanceOwner",),
        ),
    ],
)
def test_a_member_that_does_not_fit_is_named(
    http: Served, body: object, code: str, paths: tuple[str, ...]
) -> None:
    """Kestra-iam, rule 8, and security 3.2: 422, each fault with its path; nothing is kept."""
    keys = http.keys()

    response = http.post("users", body)

    problem(response, 422, code, *paths)
    assert PASSWORD not in response.text
    assert keys == http.keys()


def test_a_taken_e_mail_a_foreign_tenant_or_group_is_refused_and_no_key_stays(
    http: Served,
) -> None:
    """Kestra-iam 6.6: 409 e-mail in any spelling, 404 tenant or group; new keys are destroyed."""
    http.user(EMAIL)
    keys = http.keys()

    for spelled in ("ada@example.com", "ADA@example.COM", "\uff41da@example.com"):
        taken = http.post("users", {"email": spelled, "password": PASSWORD})
        problem(taken, 409, "user.email_taken", "email")
    new = {"email": "new@example.com", "password": PASSWORD}
    problem(http.post("users", {**new, "tenants": ["nowhere"]}), 404, "tenant.unknown")
    problem(http.post("users", {**new, "groups": ["never"]}), 404, "group.unknown")

    assert keys == http.keys()


def test_a_command_that_is_not_begun_leaves_no_key(http: Served) -> None:
    """Security 6.2: what the writer does not take leaves nothing behind."""
    keys = http.keys()
    http.writer.stop()

    response = http.post("users", {**ADA, "password": PASSWORD})

    problem(response, 503, "writer.stopping")
    assert keys == http.keys()


def test_a_repeated_creation_is_one_user(http: Served) -> None:
    """Http-api 4: same key and body, same answer, also after a change; another body is 422."""
    key = {"Idempotency-Key": '"once"'}
    body = {**ADA, "password": PASSWORD}
    first = http.post("users", body, headers=key)
    keys = http.keys()
    http.patch(f"users/{first.json()['id']}", {"firstName": "Ada"})

    again = http.post("users", body, headers=key)

    assert (201, first.json()) == (again.status_code, again.json())
    assert ("true", first.headers["x-muniment-position"]) == (
        again.headers["idempotency-replayed"],
        again.headers["x-muniment-position"],
    )
    assert keys == http.keys()
    other = http.post("users", {**body, "restricted": True}, headers=key)
    problem(other, 422, "idempotency.mismatch")
    assert keys == http.keys()


# Replace and change


def test_a_replaced_user_keeps_what_was_not_sent(http: Served) -> None:
    """Kestra-iam 2.5: PUT resets absent names; lists, password, privilege and restricted stay."""
    group = http.group()
    before = made(
        http,
        firstName="Ada",
        lastName="Lovelace",
        password=PASSWORD,
        tenants=["main"],
        groups=[group],
        restricted=True,
    )

    response = http.put(f"users/{before['id']}", {"email": EMAIL, "lastName": None})

    after = response.json()
    assert 200 == response.status_code
    assert ("", "", EMAIL) == (after["firstName"], after["lastName"], after["displayName"])
    for kept in ("id", "email", "tenants", "groups", "auths", "restricted", "instanceOwner"):
        assert before[kept] == after[kept]


def test_null_empties_lists_and_groups_keep_the_order_sent(http: Served) -> None:
    """Kestra-iam 6.6: groups in the order last sent; a group's tenant is gained with it."""
    beta = http.tenant("beta")
    one, two, three = http.group("One"), http.group("Two"), http.group("Three", tenant=beta)
    id_ = made(http, tenants=["main"], groups=[one, two])["id"]

    put = http.put(f"users/{id_}", {**ADA, "groups": [three, two, one]}).json()
    assert [three, two, one] == [group["id"] for group in put["groups"]]
    assert ["beta", "main"] == [tenant["id"] for tenant in put["tenants"]]
    none = http.put(f"users/{id_}", {**ADA, "groups": None}).json()
    assert ([], put["tenants"]) == (none["groups"], none["tenants"])
    gone = http.put(f"users/{id_}", {**ADA, "tenants": []}).json()
    assert [] == gone["tenants"]


def test_the_same_again_leaves_no_event(http: Served) -> None:
    """Style 6.7: quiet when there is nothing to do, though every sealing differs."""
    body = {**ADA, "firstName": "Ada", "tenants": ["main"], "restricted": False}
    id_ = made(http, firstName="Ada", tenants=["main"])["id"]
    head, keys = http.log.head(), http.keys()

    response = http.put(f"users/{id_}", body)

    assert (200, head) == (response.status_code, http.log.head())
    assert keys == http.keys()


def test_a_change_touches_only_what_is_sent(http: Served) -> None:
    """Kestra-iam 2.5: PATCH changes only the keys present; null is as if missing."""
    id_ = made(http, firstName="Ada", lastName="Lovelace")["id"]
    head = http.log.head()

    http.patch(f"users/{id_}", {"email": "countess@example.com", "firstName": None})
    http.patch(f"users/{id_}", {"lastName": "King"})
    user = http.patch(f"users/{id_}", {}).json()

    assert ("Ada", "King", "countess@example.com") == (
        user["firstName"],
        user["lastName"],
        user["email"],
    )
    assert [UserEmailChanged, UserRenamed] == [type(event) for event in http.events(head)]
    taken = http.patch(f"users/{id_}", {"email": ROOT_EMAIL})
    problem(taken, 409, "user.email_taken", "email")
    problem(http.patch(f"users/{id_}", {"email": ""}), 422, "user.invalid", "email")


def test_only_the_spelling_of_an_e_mail_may_change(http: Served) -> None:
    """Kestra-iam 2.4: unique ignoring case, and shown as it was sent last."""
    id_ = made(http)["id"]

    user = http.patch(f"users/{id_}", {"email": "Ada@Example.com"}).json()

    assert "Ada@Example.com" == user["username"]


# Passwords, privileges, sessions


def test_a_set_password_replaces_the_old_one_for_ever(http: Served) -> None:
    """Kestra-iam 6.6 and security 3.1: 200 with the user; the old hash's key is destroyed."""
    id_ = made(http, password=PASSWORD)["id"]
    old, keys = http.state.users[UserId(id_)].password, http.keys()

    response = http.patch(f"users/{id_}/password", {"password": OTHER})

    assert (200, id_) == (response.status_code, response.json()["id"])
    assert isinstance(http.events()[-1], PasswordSet)
    assert old is not UNSET
    assert not http.opens(old, id_, "password")
    assert keys == http.keys()
    problem(http.get("me", by=basic(EMAIL)), 401, "auth.invalid")
    assert 200 == http.get("me", by=basic(EMAIL, OTHER)).status_code


def test_a_password_by_put_is_set_too(http: Served) -> None:
    """Kestra-iam 6.6: PUT takes what POST takes."""
    id_ = made(http, password=PASSWORD)["id"]

    http.put(f"users/{id_}", {**ADA, "password": OTHER})

    assert 200 == http.get("me", by=basic(EMAIL, OTHER)).status_code


def test_passwords_set_at_once_leave_one_key(http: Served) -> None:
    """Security 3.1: every replaced hash loses its key, also within one batch of events."""
    id_ = made(http, password=PASSWORD)["id"]
    keys = http.keys()
    passwords = [f"a good long password {number}" for number in range(5)]

    responses = http.together(
        *(http.send("PATCH", f"users/{id_}/password", {"password": one}) for one in passwords)
    )

    assert {200} == {response.status_code for response in responses}
    assert keys == http.keys()
    password = http.state.users[UserId(id_)].password
    assert password is not UNSET
    assert http.opens(password, id_, "password")


def test_a_bad_password_is_named_at_its_place(http: Served) -> None:
    """Security 3.2: length, common ones, and the user's own words."""
    id_ = made(http, firstName="Augusta", lastName="Lovelace")["id"]

    for bad in ("short", "augustalovelace", "x" * 1_025):
        response = http.patch(f"users/{id_}/password", {"password": bad})
        problem(response, 422, "user.invalid", "password")
    problem(http.patch(f"users/{id_}/password", {}), 422, "body.invalid", "password")


@pytest.mark.parametrize("by", ["id", "type"])
def test_a_password_is_taken_away_with_its_key_and_the_sessions(http: Served, by: str) -> None:
    """Kestra-iam 6.6 and security 3.5: 200 with the user, who signs in no more; again is 404."""
    id_ = made(http, password=PASSWORD)["id"]
    old = http.state.users[UserId(id_)].password
    session, _ = http.run(http.sessions.begin(UserId(id_), http.state.position))
    cookie = {"Cookie": f"JWT={session.reveal()}"}
    assert 200 == http.get("me", by=basic(EMAIL)).status_code
    assert 200 == http.get("me", by=cookie).status_code
    (auth,) = shown(http, id_)["auths"]
    problem(http.delete(f"users/{id_}/auths/OIDC"), 404, "user.auth_unknown")

    response = http.delete(f"users/{id_}/auths/{auth[by]}")

    assert (200, []) == (response.status_code, response.json()["auths"])
    assert isinstance(http.events()[-1], PasswordRemoved)
    assert old is not UNSET
    assert not http.opens(old, id_, "password")
    problem(http.get("me", by=basic(EMAIL)), 401, "auth.invalid")
    problem(http.get("me", by=cookie), 401, "auth.invalid")
    problem(http.delete(f"users/{id_}/auths/{auth[by]}"), 404, "user.auth_unknown")


@pytest.mark.parametrize("route", ["instanceowner", "superadmin"])
@pytest.mark.parametrize("member", ["instanceOwner", "superAdmin"])
def test_the_privilege_is_given_and_taken(http: Served, route: str, member: str) -> None:
    """Kestra-iam 6.6: either key on either route, 200 with {}."""
    id_ = made(http)["id"]

    for value in (True, True, False, False):
        response = http.patch(f"users/{id_}/{route}", {member: value})
        assert (200, b"{}") == (response.status_code, response.content)
        user = shown(http, id_)
        assert (value, value) == (user["instanceOwner"], user["superAdmin"])


@pytest.mark.parametrize("body", [{}, {"instanceOwner": None, "superAdmin": None}])
def test_a_privilege_that_is_not_named_is_not_taken(http: Served, body: dict[str, None]) -> None:
    """Kestra-iam 2.5: PATCH changes only the keys present, and null is as if missing."""
    owner = http.user("owner@example.com", owner=True)

    response = http.patch(f"users/{owner}/superadmin", body)

    problem(response, 422, "body.invalid", "instanceOwner")
    assert owner in http.state.owners


def test_the_last_owner_stays(http: Served) -> None:
    """Security 2.6: demote, disable, delete or lock out the last owner who can sign in: 409."""
    root = http.root_id
    made(http, instanceOwner=True)

    demoted = http.patch(f"users/{root}/instanceowner", {"instanceOwner": False})
    problem(demoted, 409, "owner.last")
    problem(http.post(f"users/{root}/disable"), 409, "owner.last")
    problem(http.delete(f"users/{root}"), 409, "owner.last")
    problem(http.delete(f"users/{root}/auths/BASIC_AUTH"), 409, "owner.last")
    put = http.put(f"users/{root}", {"email": ROOT_EMAIL, "superAdmin": False})
    problem(put, 409, "owner.last")


def test_a_user_is_restricted_and_freed(http: Served) -> None:
    """Kestra-iam 6.6: 200 with {}; a restricted user changes nothing of its own."""
    id_ = made(http)["id"]

    for value in (True, False):
        response = http.patch(f"users/{id_}/restricted", {"restricted": value})
        assert (200, b"{}") == (response.status_code, response.content)
        assert value is shown(http, id_)["restricted"]
    assert UserRestricted in [type(event) for event in http.events()]
    problem(http.patch(f"users/{id_}/restricted", {}), 422, "body.invalid", "restricted")
    null = http.patch(f"users/{id_}/restricted", {"restricted": None})
    problem(null, 422, "body.invalid", "restricted")


def test_a_disabled_user_is_refused_and_loses_nothing(http: Served) -> None:
    """Kestra-iam 8: all its tokens are refused from the next request on."""
    id_ = UserId(made(http, password=PASSWORD, tenants=["main"])["id"])
    by = bearer(http.token(id_))

    disabled = http.post(f"users/{id_}/disable")
    assert (200, False) == (disabled.status_code, disabled.json()["enabled"])
    assert isinstance(http.events()[-1], UserDisabled)
    problem(http.get("me", by=by), 401, "principal.disabled")
    problem(http.get("me", by=basic(EMAIL)), 401, "auth.invalid")

    enabled = http.post(f"users/{id_}/enable")
    assert (200, True) == (enabled.status_code, enabled.json()["enabled"])
    assert 200 == http.get("me", by=by).status_code
    assert 200 == http.get("me", by=basic(EMAIL)).status_code


def test_a_deleted_user_is_gone_with_all_it_had(http: Served) -> None:
    """Kestra-iam 5.6: tokens, memberships, bindings end; the password's key is destroyed."""
    group = http.group()
    id_ = UserId(made(http, password=PASSWORD, groups=[group])["id"])
    by = bearer(http.token(id_))
    password = http.state.users[id_].password
    then = http.log.head()

    response = http.delete(f"users/{id_}")

    assert (204, b"") == (response.status_code, response.content)
    assert isinstance(http.events()[-1], UserDeleted)
    problem(http.get("me", by=by), 401, "token.revoked")
    problem(http.get(f"users/{id_}"), 404, "user.unknown")
    assert password is not UNSET
    assert not http.opens(password, id_, "password")
    past = http.get(f"users/{id_}?position={then}").json()
    assert (EMAIL, [group]) == (past["email"], [one["id"] for one in past["groups"]])
    assert 201 == http.post("users", ADA).status_code


def test_sessions_end_by_command_also_when_there_are_none(http: Served) -> None:
    """Kestra-iam 6.6: 204, every time."""
    id_ = made(http)["id"]

    for _ in range(2):
        assert 204 == http.delete(f"users/{id_}/refresh-token").status_code
