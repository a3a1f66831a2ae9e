"""Are API tokens issued, shown, rotated and ended over HTTP as kestra-iam 6.2 and 8 say?"""

from __future__ import annotations

import pytest
from msgspec import UNSET

from domain.access import Narrowing
from domain.ids import MAIN, UserId
from domain.token_text import digest, well_formed
from domain.tokens import TokenDisabled, TokenEnabled, TokenIssued, TokenRotated
from domain.users import ChangeUser
from tests.answers import problem
from tests.api.token_families import ALL, NAMED, Base, base, issue, others
from tests.service import Served, bearer


@pytest.fixture(params=["tenant", "instance", "user", "me"])
def family(http: Served, request: pytest.FixtureRequest) -> Base:
    """Each of the four families."""
    return base(http, str(request.param))


# Issue


def test_an_issued_token_is_shown_once_and_works(http: Served, family: Base) -> None:
    """Kestra-iam 6.2: the secret is in this one answer, and only its digest is stored."""
    response = http.post(family.path, NAMED, by=family.by)

    assert family.issued == response.status_code
    issued = response.json()
    assert {"id", "name", "fullToken"} == set(issued)
    text = issued["fullToken"]
    assert text.startswith(family.prefix)
    assert well_formed(text)
    (event,) = http.events()[-1:]
    assert isinstance(event, TokenIssued)
    assert (issued["id"], digest(text), family.owner) == (event.id, event.digest, event.owner)
    assert str(http.log.head()) == response.headers["x-muniment-position"]
    assert text not in others(http, family).text
    assert family.owner == http.get("me", by=bearer(text)).json()["id"]


def test_an_item_tells_everything_but_the_secret(http: Served, family: Base) -> None:
    """Kestra-iam 6.2 and 8: what was written reads back; `description` is always a string."""
    first = issue(http, family)
    narrow = {
        "permissions": {"FLOW": ["VIEW", "EXECUTE"]},
        "tenants": ["main"],
        "namespaces": ["prod.billing"],
        "resources": [{"type": "record", "id": "r-17"}],
        "instanceOwner": False,
    }
    http.inputs.advance(1)
    second = issue(
        http,
        family,
        description="prod",
        maxAge="P30D",
        extended=True,
        allowedAddresses=["10.0.0.0/8"],
        scope=narrow,
    )

    listed = others(http, family).json()
    shown = {item["id"]: item for item in listed["results"]}
    assert listed["total"] == len(listed["results"])
    item = shown[second["id"]]
    assert second["id"] == listed["results"][0]["id"], "newest first"
    assert narrow == item["scope"]
    assert ["10.0.0.0/8"] == item["allowedAddresses"]
    assert ("prod", True, True, False) == (
        item["description"],
        item["extended"],
        item["enabled"],
        item["expired"],
    )
    assert ("2026-01-01T00:00:01Z", "2026-01-31T00:00:01Z") == (item["iat"], item["exp"])
    assert 6 == len(item["prefix"])
    plain = shown[first["id"]]
    assert plain["description"] == ""
    assert {"exp", "lastUsed", "rotatedFrom", "allowedAddresses"}.isdisjoint(plain)


def test_an_expired_token_stays_listed(http: Served, family: Base) -> None:
    """Kestra-iam 6.2: expired tokens stay listed until deleted."""
    issued = issue(http, family, maxAge="PT1M")
    http.inputs.advance(60)

    (item,) = [one for one in others(http, family).json()["results"] if one["id"] == issued["id"]]

    assert item["expired"] is True


def test_null_and_empty_members_are_as_if_absent(http: Served, family: Base) -> None:
    """Kestra-iam 2.5: null for any scalar is as if the key were missing; `""` is no `maxAge`."""
    issued = issue(
        http,
        family,
        description=None,
        maxAge="",
        extended=None,
        scope=None,
        allowedAddresses=None,
        id="mine",
        prefix="AAAAAA",
        createdBy="someone",
        unknown={"a": 1},
    )

    item = http.get(f"{family.path}/{issued['id']}", by=family.by).json()
    assert {"exp", "allowedAddresses"}.isdisjoint(item)
    assert item["id"] != "mine"
    assert item["prefix"] != "AAAAAA"
    assert item["createdBy"] != "someone"


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ({}, "body.invalid", "name"),
        ({"name": "Deploy Bot"}, "token.invalid", "name"),
        ({"name": "a" * 64}, "token.invalid", "name"),
        ({**NAMED, "maxAge": "P1M"}, "duration.invalid", "maxAge"),
        ({**NAMED, "maxAge": "PT0S"}, "duration.invalid", "maxAge"),
        ({**NAMED, "maxAge": "-P1D"}, "duration.invalid", "maxAge"),
        ({**NAMED, "maxAge": "P99999D"}, "token.invalid", "maxAge"),
        ({**NAMED, "maxAge": 5}, "body.invalid", "maxAge"),
        ({**NAMED, "allowedAddresses": ["here"]}, "token.invalid", "allowedAddresses[0]"),
        ({**NAMED, "allowedAddresses": ["::"] * 51}, "token.invalid", "allowedAddresses"),
        ({**NAMED, "scope": {"tenants": ["nowhere"]}}, "token.invalid", "scope.tenants"),
        ({**NAMED, "scope": {"namespaces": ["a..b"]}}, "token.invalid", "scope.namespaces"),
        (
            {**NAMED, "scope": {"permissions": {"FLOW": "VIEW"}}},
            "body.invalid",
            "scope.permissions",
        ),
    ],
)
def test_a_member_that_does_not_fit_is_named(
    http: Served, body: object, code: str, path: str
) -> None:
    """Kestra-iam, rule 8: faults are 422, each with its path."""
    account = http.account()

    response = http.post(f"main/service-accounts/{account}/api-tokens", body)

    problem(response, 422, code, path)


def test_a_token_of_one_with_more_rights_is_refused(http: Served) -> None:
    """Security 2.2: 403 `token.escalation`, naming what the caller lacks."""
    family = base(http, "tenant")
    http.allow(family.owner, {"SECRET": ["VIEW"]})

    body = problem(http.post(family.path, NAMED, by=family.by), 403, "token.escalation")

    assert [{"type": "SECRET", "action": "VIEW"}] == body["required"]
    narrow = {**NAMED, "scope": {"permissions": {"SERVICE_ACCOUNT": ["VIEW"]}}}
    assert 200 == http.post(family.path, narrow, by=family.by).status_code
    assert 200 == http.post(family.path, NAMED).status_code


def test_a_token_made_in_a_tenant_works_there_only(http: Served) -> None:
    """Kestra-iam 5.6: unless an instance owner makes it."""
    beta = http.tenant("beta")
    account = http.account("shared", MAIN, beta)
    admin = http.user("admin@example.com")
    http.allow(admin, ALL)
    path = f"main/service-accounts/{account}/api-tokens"

    here = http.post(path, NAMED, by=http.bearer(admin)).json()["fullToken"]
    everywhere = http.post(path, NAMED).json()["fullToken"]

    seen = "/acls/permissions"
    assert 200 == http.get(f"main{seen}", by=bearer(here)).status_code
    problem(http.get(f"beta{seen}", by=bearer(here)), 404, "tenant.unknown")
    assert 200 == http.get(f"beta{seen}", by=bearer(everywhere)).status_code
    assert ["main"] == [one["id"] for one in http.get("me", by=bearer(here)).json()["tenants"]]


def test_a_narrowed_token_makes_no_wider_one(http: Served) -> None:
    """Kestra-iam 8: a token can only make tokens as narrow as itself."""
    user = http.user()
    narrow = http.bearer(user, Narrowing(tenants=(MAIN,)))

    problem(http.post("me/api-tokens", NAMED, by=narrow), 403, "token.escalation")
    same = {**NAMED, "scope": {"tenants": ["main"]}}
    assert 200 == http.post("me/api-tokens", same, by=narrow).status_code


def test_a_restricted_user_makes_no_tokens_but_may_end_them(http: Served) -> None:
    """Kestra-iam 6.6: a restricted user may not make tokens; judged before the body."""
    family = base(http, "me")
    id_ = issue(http, family)["id"]
    http.give(ChangeUser(id=UserId(family.owner), restricted=True))

    problem(http.post(family.path, b"{", by=family.by), 403, "permission.denied")
    rotate = http.post(f"{family.path}/{id_}/rotate", by=family.by)
    problem(rotate, 403, "permission.denied")
    assert 200 == http.post(f"{family.path}/{id_}/disable", by=family.by).status_code
    problem(http.post(f"{family.path}/{id_}/enable", by=family.by), 403, "permission.denied")
    assert 200 == http.delete(f"{family.path}/{id_}", by=family.by).status_code


def test_scope_of_tenants_that_the_caller_may_not_see_is_not_told(http: Served) -> None:
    """Security 2.3: an answer names no tenant that the caller has no access to."""
    family = base(http, "tenant")
    beta = http.tenant("beta")
    http.token(family.owner, narrowing=Narrowing(tenants=(MAIN, beta)))

    (seen,) = others(http, family).json()["results"]
    (whole,) = http.get(family.path).json()["results"]

    assert ["main"] == seen["scope"]["tenants"]
    assert ["main", "beta"] == whole["scope"]["tenants"]


# Show


def test_one_token_is_shown_with_its_version(http: Served, family: Base) -> None:
    """Kestra-iam 8: GET of one token, with ETag; 304 for who holds this version."""
    id_ = issue(http, family)["id"]

    response = http.get(f"{family.path}/{id_}", by=family.by)

    assert id_ == response.json()["id"]
    assert f'"{http.log.head()}"' == response.headers["etag"]
    again = http.get(
        f"{family.path}/{id_}", by=family.by, headers={"If-None-Match": response.headers["etag"]}
    )
    assert 304 == again.status_code


def test_the_past_shows_what_has_been_revoked_since(http: Served, family: Base) -> None:
    """Kestra-iam 8: `position=` shows the answer as of then, also what was deleted since."""
    id_ = issue(http, family)["id"]
    then = http.log.head()
    http.delete(f"{family.path}/{id_}", by=family.by)

    problem(http.get(f"{family.path}/{id_}", by=family.by), 404, "token.unknown")
    past = http.get(f"{family.path}/{id_}?position={then}", by=family.by)
    assert (200, str(then)) == (past.status_code, past.headers["x-muniment-position"])
    listed = http.get(f"{family.path}?position={then}", by=family.by).json()["results"]
    assert id_ in [item["id"] for item in listed]


def test_another_owners_token_is_as_unknown_as_one_that_never_was(
    http: Served, family: Base
) -> None:
    """Security 2.3: the same answer for a foreign id, whatever is done to it."""
    foreign_id = http.token_id(http.token(http.account("other")))

    for method, rest in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/rotate"),
        ("POST", "/disable"),
        ("POST", "/enable"),
    ):
        told = [
            http.request(method, f"{family.path}/{id_}{rest}", by=family.by)
            for id_ in (foreign_id, "neverthere")
        ]
        bodies = [problem(one, 404, "token.unknown") for one in told]
        assert bodies[0]["message"].replace(foreign_id, "neverthere") == bodies[1]["message"]


def test_an_owner_of_another_kind_tenant_or_none_is_unknown(http: Served) -> None:
    """Security 2.3: a user under service accounts, another tenant's account, one that never was."""
    beta = http.tenant("beta")
    user, foreign = http.user(), http.account("drone", beta)
    account = http.account()
    admin = http.user("admin@example.com")
    http.allow(admin, ALL)
    by = http.bearer(admin)

    for path, who, code in (
        (f"main/service-accounts/{user}", by, "service_account.unknown"),
        (f"main/service-accounts/{foreign}", by, "service_account.unknown"),
        ("main/service-accounts/never", by, "service_account.unknown"),
        (f"service-accounts/{user}", http.root, "principal.unknown"),
        ("service-accounts/never", http.root, "principal.unknown"),
        (f"users/{account}", http.root, "principal.unknown"),
        ("users/never", http.root, "principal.unknown"),
    ):
        problem(http.get(f"{path}/api-tokens", by=who), 404, code)
        problem(http.post(f"{path}/api-tokens", NAMED, by=who), 404, code)
        problem(http.delete(f"{path}/api-tokens", by=who), 404, code)
    assert 200 == http.get(f"main/service-accounts/{account}/api-tokens", by=by).status_code


# Rotate


def test_a_rotated_token_hands_over_and_lives_on_for_the_grace(http: Served, family: Base) -> None:
    """Kestra-iam 8: the new one inherits all and the same expiry; the old one ends with it."""
    old = issue(http, family, description="prod", maxAge="P30D", allowedAddresses=["192.0.2.0/24"])

    response = http.post(f"{family.path}/{old['id']}/rotate", {"grace": "PT24H"}, by=family.by)

    assert 200 == response.status_code
    new = response.json()
    assert {"id", "name", "fullToken", "rotatedFrom", "graceUntil"} == set(new)
    assert (old["id"], "2026-01-02T00:00:00Z") == (new["rotatedFrom"], new["graceUntil"])
    assert isinstance(http.events()[-1], TokenRotated)
    shown = {
        id_: http.get(f"{family.path}/{id_}", by=family.by).json() for id_ in (old["id"], new["id"])
    }
    for inherited in ("name", "description", "allowedAddresses"):
        assert shown[old["id"]][inherited] == shown[new["id"]][inherited]
    assert "2026-01-31T00:00:00Z" == shown[new["id"]]["exp"]
    assert (new["id"], "2026-01-02T00:00:00Z") == (
        shown[old["id"]]["rotatedTo"],
        shown[old["id"]]["graceUntil"],
    )
    for text in (old["fullToken"], new["fullToken"]):
        assert 200 == http.get("me", by=bearer(text)).status_code
    http.inputs.advance(86_400)
    problem(http.get("me", by=bearer(old["fullToken"])), 401, "token.expired")
    assert 200 == http.get("me", by=bearer(new["fullToken"])).status_code


@pytest.mark.parametrize(
    ("body", "seconds"),
    [(UNSET, 3_600), ({}, 3_600), ({"grace": None}, 3_600), ({"grace": "PT0S"}, 0)],
)
def test_the_grace_is_an_hour_unless_given(http: Served, body: object, seconds: int) -> None:
    """Kestra-iam 8: default PT1H, from PT0S; a body is not required."""
    family = base(http, "instance")
    id_ = issue(http, family)["id"]

    response = http.post(f"{family.path}/{id_}/rotate", body, by=family.by)

    until = http.state.tokens[id_].grace_until
    assert 200 == response.status_code
    assert until is not UNSET
    assert seconds == (until - http.inputs.now()).total_seconds()


@pytest.mark.parametrize(
    ("grace", "code"), [("P7DT1S", "token.invalid"), ("soon", "duration.invalid")]
)
def test_a_grace_that_does_not_fit_is_named(http: Served, grace: str, code: str) -> None:
    """Kestra-iam 8: at most P7D."""
    family = base(http, "instance")
    id_ = issue(http, family)["id"]

    response = http.post(f"{family.path}/{id_}/rotate", {"grace": grace}, by=family.by)

    problem(response, 422, code, "grace")


def test_what_is_disabled_expired_or_rotated_cannot_be_rotated(http: Served, family: Base) -> None:
    """Kestra-iam 8: a disabled, expired or already rotated token: 409."""
    disabled, rotated = issue(http, family)["id"], issue(http, family)["id"]
    expired = issue(http, family, maxAge="PT1S")["id"]
    http.post(f"{family.path}/{disabled}/disable", by=family.by)
    http.post(f"{family.path}/{rotated}/rotate", by=family.by)
    http.inputs.advance(2)

    for id_ in (disabled, rotated, expired):
        response = http.post(f"{family.path}/{id_}/rotate", by=family.by)
        problem(response, 409, "token.not_rotatable")


# Disable, enable, revoke


def test_a_disabled_token_is_refused_until_it_is_enabled(http: Served, family: Base) -> None:
    """Kestra-iam 8: 200 with the item; what is done already is done without an event."""
    issued = issue(http, family)
    path, holder = f"{family.path}/{issued['id']}", bearer(issued["fullToken"])

    disabled = http.post(f"{path}/disable", by=family.by)
    assert (200, False) == (disabled.status_code, disabled.json()["enabled"])
    problem(http.get("me", by=holder), 401, "token.disabled")
    head = http.log.head()
    assert 200 == http.post(f"{path}/disable", by=family.by).status_code
    assert head == http.log.head()

    enabled = http.post(f"{path}/enable", by=family.by)
    assert (200, True) == (enabled.status_code, enabled.json()["enabled"])
    assert 200 == http.get("me", by=holder).status_code
    assert [TokenDisabled, TokenEnabled] == [type(event) for event in http.events(head - 1)]


def test_a_revoked_token_is_refused_on_the_very_next_request(http: Served, family: Base) -> None:
    """Issue 2: deleting one takes effect on the next request; 200 with {} or 204 without body."""
    issued = issue(http, family)

    response = http.delete(f"{family.path}/{issued['id']}", by=family.by)

    assert family.revoked == response.status_code
    assert response.content == (b"{}" if family.revoked == 200 else b"")
    problem(http.get("me", by=bearer(issued["fullToken"])), 401, "token.revoked")
    gone = http.delete(f"{family.path}/{issued['id']}", by=family.by)
    problem(gone, 404, "token.unknown")


def test_all_tokens_are_revoked_at_once(http: Served, family: Base) -> None:
    """Kestra-iam 8: DELETE of the base answers how many; others' tokens stay."""
    texts = [issue(http, family)["fullToken"] for _ in range(3)]
    held = len(http.state.tokens_of[family.owner])
    other = http.token(http.account("other"))

    response = http.delete(family.path, by=family.by)

    assert (200, {"revoked": held}) == (response.status_code, response.json())
    for text in texts:
        problem(http.get("me", by=bearer(text)), 401, "token.revoked")
    assert 200 == http.get("me", by=bearer(other)).status_code


def test_a_tenant_leaves_tokens_that_work_elsewhere_to_the_owner(http: Served) -> None:
    """Kestra-iam 5.6: 409 `service_account.shared`; and tokens of elsewhere are unknown here."""
    beta = http.tenant("beta")
    account = http.account("shared", MAIN, beta)
    admin = http.user("admin@example.com")
    http.allow(admin, ALL)
    by, path = http.bearer(admin), f"main/service-accounts/{account}/api-tokens"
    wide = http.token_id(http.token(account))
    elsewhere = http.token_id(http.token(account, narrowing=Narrowing(tenants=(beta,))))

    problem(http.delete(f"{path}/{wide}", by=by), 409, "service_account.shared")
    problem(http.delete(path, by=by), 409, "service_account.shared")
    problem(http.delete(f"{path}/{elsewhere}", by=by), 404, "token.unknown")
    assert [wide] == [item["id"] for item in http.get(path, by=by).json()["results"]]
    assert 200 == http.delete(f"{path}/{wide}").status_code
