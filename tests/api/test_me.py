"""What does the caller learn about itself, and what may it change of itself? (kestra-iam 6.6)."""

from __future__ import annotations

from typing import Final

import pytest
from msgspec import UNSET

from domain.access import Narrowing
from domain.groups import AddMember
from domain.ids import MAIN, BindingId, UserId
from domain.sealed import Secret
from domain.users import ChangeUser, PasswordSet, UserEmailChanged, UserRenamed
from ops.passwords import PasswordHasher
from tests.answers import problem
from tests.service import CHEAPEST, NOBODY, PASSWORD, ROOT_EMAIL, Headers, Served, basic

ADA: Final = "ada@example.com"
OTHER: Final = "another good long password"
WRONG: Final = "not the right one at all"


def exchange(old: str = PASSWORD, new: str = OTHER) -> dict[str, str]:
    """Answer the body that changes one's password."""
    return {"oldPassword": old, "newPassword": new}


# Show


def test_a_user_sees_itself(http: Served) -> None:
    """Kestra-iam 6.6: me, with tenants and the groups that one owns."""
    beta = http.tenant("beta")
    id_ = http.user(ADA, first_name="Ada", last_name="Lovelace", tenants=(MAIN, beta))
    owned, joined = http.group("Owned"), http.group("Joined")
    for group, level in ((owned, "OWNER"), (joined, "MEMBER")):
        http.give(
            AddMember(
                tenant=MAIN,
                group=group,
                principal=id_,
                default_binding=BindingId("spare"),
                level="OWNER" if level == "OWNER" else "MEMBER",
            )
        )

    response = http.get("me", by=basic(ADA))

    assert {
        "id": id_,
        "instanceOwner": False,
        "superAdmin": False,
        "restricted": False,
        "profile": {
            "email": ADA,
            "firstName": "Ada",
            "lastName": "Lovelace",
            "username": ADA,
        },
        "auths": [{"name": ADA, "type": "BASIC_AUTH"}],
        "tenants": [{"id": "beta", "name": "Beta"}, {"id": "main", "name": "main"}],
        "ownedGroups": [{"tenantId": "main", "id": owned}],
    } == response.json()
    assert f'"{http.log.head()}"' == response.headers["etag"]


def test_a_service_account_sees_itself(http: Served) -> None:
    """Kestra-iam 6.6: `username` is its name, `email` is empty; its live tokens are its auths."""
    account = http.account()
    ended = http.token(account, max_age_seconds=1)
    http.inputs.advance(2)

    me = http.get("me", by=http.bearer(account)).json()

    assert ended
    assert {"email": "", "firstName": "", "lastName": "", "username": "ci-bot"} == me["profile"]
    assert [{"name": "deploy", "type": "API_TOKEN"}] == me["auths"]
    assert [{"id": "main", "name": "main"}] == me["tenants"]
    assert (account, False, False) == (me["id"], me["instanceOwner"], me["restricted"])


def test_an_owner_sees_the_privilege_in_both_spellings(http: Served) -> None:
    """Kestra-iam 1: every object with the privilege carries both keys, always equal."""
    me = http.get("me").json()

    assert (True, True) == (me["instanceOwner"], me["superAdmin"])


def test_a_token_of_one_tenant_names_no_other(http: Served) -> None:
    """Security 2.5: a narrowed token tells only of where it works."""
    beta = http.tenant("beta")
    id_ = http.user(ADA, tenants=(MAIN, beta))

    me = http.get("me", by=http.bearer(id_, Narrowing(tenants=(beta,)))).json()

    assert ["beta"] == [tenant["id"] for tenant in me["tenants"]]


def test_the_past_of_oneself_is_shown(http: Served) -> None:
    """Kestra-iam 8: `position=`; before one was made, one is unknown."""
    before = http.log.head()
    id_ = http.user(ADA, first_name="Ada")
    then = http.log.head()
    by = http.bearer(id_)
    http.patch("me", {"firstName": "Augusta"}, by=by)

    past = http.get(f"me?position={then}", by=by)

    assert "Ada" == past.json()["profile"]["firstName"]
    assert str(then) == past.headers["x-muniment-position"]
    problem(http.get(f"me?position={before}", by=by), 404, "principal.unknown")


# Change


def test_one_changes_ones_own_names_and_e_mail(http: Served) -> None:
    """Kestra-iam 6.6: 200 with me; only what is sent changes; null is as if missing."""
    id_ = http.user(ADA, first_name="Ada", last_name="Lovelace")
    by = http.bearer(id_)
    head = http.log.head()

    http.patch("me", {"email": "Countess@Example.com", "lastName": None}, by=by)
    response = http.patch("me", {"lastName": "", "id": "x", "instanceOwner": True}, by=by)

    assert 200 == response.status_code
    me = response.json()
    assert {
        "email": "Countess@Example.com",
        "firstName": "Ada",
        "lastName": "",
        "username": "Countess@Example.com",
    } == me["profile"]
    assert me["instanceOwner"] is False
    assert [UserEmailChanged, UserRenamed] == [type(event) for event in http.events(head)]
    assert 200 == http.get("me", by=basic("countess@example.com")).status_code
    problem(http.get("me", by=basic(ADA)), 401, "auth.invalid")


def test_a_taken_or_malformed_e_mail_is_refused(http: Served) -> None:
    """Kestra-iam 2.4: unique in the installation ignoring case."""
    by = http.bearer(http.user(ADA))

    taken = http.patch("me", {"email": ROOT_EMAIL.upper()}, by=by)
    problem(taken, 409, "user.email_taken", "email")
    problem(http.patch("me", {"email": "nobody"}, by=by), 422, "user.invalid", "email")


def test_a_new_password_ends_the_old_one_and_its_sessions(http: Served) -> None:
    """Kestra-iam 6.6: 200 with {}; security 3.1: the old hash's key is destroyed."""
    id_ = http.user(ADA)
    old = http.state.users[id_].password
    signed_in = http.post("/login", {"username": ADA, "password": PASSWORD}, by=NOBODY)
    session = {"Cookie": signed_in.headers.get_list("set-cookie")[0].partition(";")[0]}
    keys = http.keys()

    response = http.put("me/password", exchange(), by=basic(ADA))

    assert (200, b"{}") == (response.status_code, response.content)
    assert isinstance(http.events()[-1], PasswordSet)
    problem(http.get("me", by=basic(ADA)), 401, "auth.invalid")
    problem(http.get("me", by=session), 401, "auth.invalid")
    assert 200 == http.get("me", by=basic(ADA, OTHER)).status_code
    assert old is not UNSET
    assert not http.opens(old, id_, "password")
    assert keys == http.keys()


def test_a_wrong_old_password_is_named_and_counts_as_a_failed_sign_in(http: Served) -> None:
    """Security 3.4: 422 at `oldPassword`; the tenth locks, and then nothing is judged."""
    by = http.bearer(http.user(ADA))
    keys = http.keys()

    for _ in range(10):
        response = http.put("me/password", exchange(old=WRONG), by=by)
        problem(response, 422, "user.invalid", "oldPassword")

    problem(http.put("me/password", exchange(), by=by), 422, "user.invalid", "oldPassword")
    problem(http.get("me", by=basic(ADA)), 401, "auth.invalid")
    assert keys == http.keys()
    http.inputs.advance(30 * 60)
    assert 200 == http.put("me/password", exchange(), by=by).status_code


def test_a_bad_new_password_is_named(http: Served) -> None:
    """Security 3.2: length and one's own words; nothing changes."""
    by = http.bearer(http.user(ADA, first_name="Augusta", last_name="Lovelace"))

    for bad in ("short", "augusta lovelace"):
        response = http.put("me/password", exchange(new=bad), by=by)
        problem(response, 422, "user.invalid", "newPassword")
    missing = http.put("me/password", {"newPassword": OTHER}, by=by)
    problem(missing, 422, "body.invalid", "oldPassword")
    null = http.put("me/password", {**exchange(), "newPassword": None}, by=by)
    problem(null, 422, "body.invalid", "newPassword")


def test_a_repeated_change_answers_as_before(http: Served) -> None:
    """Http-api 4: the old password is wrong by then, and the repeat is answered from the log."""
    by = http.bearer(http.user(ADA))
    key = {"Idempotency-Key": "once"}
    first = http.put("me/password", exchange(), by=by, headers=key)
    keys = http.keys()

    again = http.put("me/password", exchange(), by=by, headers=key)

    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert "true" == again.headers["idempotency-replayed"]
    assert first.headers["x-muniment-position"] == again.headers["x-muniment-position"]
    assert keys == http.keys()
    other = http.put("me/password", exchange(new="a third good long one"), by=by, headers=key)
    problem(other, 422, "idempotency.mismatch")


class Reset(PasswordHasher):
    """Once, after it has verified a password, an administrator sets another."""

    def __init__(self, http: Served) -> None:
        super().__init__(http.inputs, CHEAPEST)
        self._http = http
        self._resets = True

    async def verify(
        self, stored: str | None, password: Secret, *, remember: UserId | None = None
    ) -> bool:
        right = await super().verify(stored, password, remember=remember)
        if self._resets:
            self._resets = False
            id_ = self._http.state.emails[self._http.vault.email_index(ADA)]
            body = {"password": "set by an administrator"}
            reset = await self._http.send("PATCH", f"users/{id_}/password", body)
            assert 200 == reset.status_code
        return right


def test_a_password_reset_in_between_is_not_set_back(http: Served) -> None:
    """Security 2.5: whoever knows the old password does not win against its replacement."""
    by = http.bearer(http.user(ADA))
    reset = Reset(http)
    http.service.passwords = reset

    response = http.run(http.send("PUT", "me/password", exchange(), by=by))

    problem(response, 422, "user.invalid", "oldPassword")
    problem(http.get("me", by=basic(ADA, OTHER)), 401, "auth.invalid")
    assert 200 == http.get("me", by=basic(ADA, "set by an administrator")).status_code
    reset.close()


def test_if_match_holds_for_ones_own_changes(http: Served) -> None:
    """Http-api 3: 412 when stale, with the present tag."""
    by = http.bearer(http.user(ADA))
    stale = {"If-Match": http.get("me", by=by).headers["etag"]}
    http.patch("me", {"firstName": "Ada"}, by=by)

    for method, path, body in (
        ("PATCH", "me", {"firstName": "Augusta"}),
        ("PUT", "me/password", exchange()),
    ):
        response = http.request(method, path, body, by=by, headers=stale)
        problem(response, 412, "etag.mismatch")
        fresh = {"If-Match": response.headers["etag"]}
        assert 200 == http.request(method, path, body, by=by, headers=fresh).status_code


# Who may not


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("PATCH", "me", {"firstName": "Ada"}), ("PUT", "me/password", exchange())],
)
def test_only_an_unrestricted_user_changes_itself(
    http: Served, method: str, path: str, body: object
) -> None:
    """Kestra-iam 6.6: self, user; judged before the body; not by a narrowed token."""
    restricted = http.user("restricted@example.com")
    http.give(ChangeUser(id=restricted, restricted=True))
    narrowed = http.bearer(http.user(ADA), Narrowing(tenants=(MAIN,)))
    refused: list[Headers] = [
        http.bearer(http.account()),
        http.bearer(restricted),
        basic("restricted@example.com"),
        narrowed,
    ]

    for by in refused:
        for content in (body, b"{"):
            problem(http.request(method, path, content, by=by), 403, "permission.denied")
    problem(http.request(method, path, b"{", by=NOBODY), 401, "auth.required")
    assert 200 == http.get("me", by=refused[1]).status_code
    http.give(ChangeUser(id=restricted, restricted=False))
    assert 200 == http.request(method, path, body, by=refused[2]).status_code
