"""Does every route of tokens keep what all routes promise?"""

from __future__ import annotations

import pytest
from msgspec import UNSET

from domain.ids import TenantId
from tests.answers import problem
from tests.api.token_families import NAMED, Base, base, issue
from tests.service import NOBODY, Served


@pytest.fixture(params=["tenant", "instance", "user", "me"])
def family(http: Served, request: pytest.FixtureRequest) -> Base:
    """Each of the four families."""
    return base(http, str(request.param))


@pytest.mark.parametrize(
    ("method", "rest", "needs"),
    [
        ("POST", "", "UPDATE"),
        ("GET", "", "VIEW"),
        ("DELETE", "", "DELETE"),
        ("GET", "/{id}", "VIEW"),
        ("DELETE", "/{id}", "DELETE"),
        ("POST", "/{id}/rotate", "UPDATE"),
        ("POST", "/{id}/disable", "UPDATE"),
        ("POST", "/{id}/enable", "UPDATE"),
    ],
)
def test_a_route_needs_its_permission_and_no_other(
    http: Served, method: str, rest: str, needs: str
) -> None:
    """Kestra-iam 6.2: SERVICE_ACCOUNT UPDATE to make, VIEW to see, DELETE to revoke."""
    account = http.account()
    id_ = http.token_id(http.token(account))
    path = f"main/service-accounts/{account}/api-tokens{rest.format(id=id_)}"
    caller = http.user("caller@example.com")
    rights = {"VIEW", "LIST", "CREATE", "UPDATE", "DELETE"} - {needs}
    http.allow(caller, {"SERVICE_ACCOUNT": sorted(rights)})
    by = http.bearer(caller)

    for unknown in (path, path.replace(account, "never")):
        body = problem(http.request(method, unknown, by=by), 403, "permission.denied")
        assert [{"type": "SERVICE_ACCOUNT", "action": needs}] == body["required"]
    problem(http.request(method, path, by=NOBODY), 401, "auth.required")
    instance = path.removeprefix("main/")
    problem(http.request(method, instance, by=by), 403, "privilege.required")
    problem(http.request(method, instance, by=NOBODY), 401, "auth.required")
    http.allow(caller, {"SERVICE_ACCOUNT": [needs]})
    body_given = NAMED if method == "POST" and not rest else UNSET
    assert 200 == http.request(method, path, body_given, by=by).status_code


def test_users_tokens_are_the_owners_and_ones_own_are_anybodys(http: Served) -> None:
    """Kestra-iam 6.2: `/users/{id}/api-tokens` needs an instance owner, `/me` nothing."""
    user = http.user()
    path = f"users/{user}/api-tokens"

    for method in ("POST", "GET", "DELETE"):
        problem(http.request(method, path, by=http.bearer(user)), 403, "privilege.required")
        problem(http.request(method, path, by=NOBODY), 401, "auth.required")
        problem(http.request(method, "me/api-tokens", by=NOBODY), 401, "auth.required")
    account = http.account()
    made = http.post("me/api-tokens", NAMED, by=http.bearer(account))
    assert made.json()["fullToken"].startswith("muns_")


def test_if_match_guards_a_token(http: Served, family: Base) -> None:
    """Kestra-iam 8: 412 when stale, with the present tag; never required."""
    id_ = issue(http, family)["id"]
    path = f"{family.path}/{id_}"
    tag = http.get(path, by=family.by).headers["etag"]
    http.post(f"{path}/disable", by=family.by)

    for method, rest in (("POST", "/enable"), ("DELETE", "")):
        stale = http.request(method, path + rest, by=family.by, headers={"If-Match": tag})
        problem(stale, 412, "etag.mismatch")
        assert http.get(path, by=family.by).headers["etag"] == stale.headers["etag"]
    malformed = http.delete(path, by=family.by, headers={"If-Match": "7"})
    problem(malformed, 400, "etag.invalid")
    now = http.get(path, by=family.by).headers["etag"]
    held = http.post(f"{path}/enable", by=family.by, headers={"If-Match": now})
    assert 200 == held.status_code
    assert http.delete(path, by=family.by, headers={"If-Match": "*"}).is_success


def test_a_repeated_key_answers_the_first_token_without_its_secret(
    http: Served, family: Base
) -> None:
    """Kestra-iam 8: same body, same answer, never again the secret; another body is 422."""
    key = {"Idempotency-Key": "k-1"}
    first = http.post(family.path, NAMED, by=family.by, headers=key)
    head = http.log.head()
    http.account("in-between")

    again = http.post(family.path, NAMED, by=family.by, headers=key)

    assert first.status_code == again.status_code
    expected = first.json()
    expected.pop("fullToken")
    assert expected == again.json()
    assert ("true", str(head)) == (
        again.headers["idempotency-replayed"],
        again.headers["x-muniment-position"],
    )
    other = http.post(family.path, {"name": "other"}, by=family.by, headers=key)
    problem(other, 422, "idempotency.mismatch")
    assert "idempotency-replayed" not in first.headers


def test_a_repeated_rotation_and_revocation_answer_as_before(http: Served, family: Base) -> None:
    """Http-api 4: a repeat is rebuilt as of its position, also when all is gone since."""
    id_ = issue(http, family)["id"]
    path, by = f"{family.path}/{id_}", family.by
    rotated = [
        http.post(f"{path}/rotate", {"grace": "PT1H"}, by=by, headers={"Idempotency-Key": "a"})
        for _ in range(2)
    ]
    revoked = [http.delete(path, by=by, headers={"Idempotency-Key": "b"}) for _ in range(2)]

    expected = rotated[0].json()
    expected.pop("fullToken")
    assert expected == rotated[1].json()
    assert revoked[0].content == revoked[1].content
    assert "true" == revoked[1].headers["idempotency-replayed"]
    if family.path != "me/api-tokens":
        ended = [http.delete(family.path, by=by, headers={"Idempotency-Key": "c"}) for _ in (1, 2)]
        assert ended[0].json() == ended[1].json()


def test_at_least_waits_for_a_position_and_then_gives_up(http: Served, family: Base) -> None:
    """Http-api 6: a read waits until the position is applied, up to a bound: 503."""
    head = http.log.head()

    assert 200 == http.get(f"{family.path}?at_least={head}", by=family.by).status_code
    later = http.get(f"{family.path}?at_least={head + 1}", by=family.by)
    problem(later, 503, "position.not_reached")
    assert "retry-after" in later.headers
    problem(http.get(f"{family.path}?position={head + 1}", by=family.by), 400, "position.future")
    past_write = http.post(f"{family.path}?position=1", NAMED, by=family.by)
    problem(past_write, 400, "position.on_write")


def test_an_empty_body_with_a_content_type_is_fine(http: Served, family: Base) -> None:
    """Kestra-iam 2.5: Terraform sends `Content-Type: application/json` with no body."""
    id_ = issue(http, family)["id"]
    json = {"Content-Type": "application/json"}

    for method, path in (
        ("GET", family.path),
        ("GET", f"{family.path}/{id_}"),
        ("POST", f"{family.path}/{id_}/disable"),
        ("DELETE", f"{family.path}/{id_}"),
    ):
        assert http.request(method, path, by=family.by, headers=json).is_success
    nothing = http.post(family.path, by=family.by, headers=json)
    problem(nothing, 400, "body.missing")


def test_a_tenant_that_the_caller_has_no_access_to_is_unknown(http: Served) -> None:
    """Security 2.3: the tenant of the path is a claim, judged before anything of it."""
    http.tenant("beta")
    drone = http.account("drone", TenantId("beta"))
    by = base(http, "tenant").by

    for tenant in ("beta", "nowhere"):
        path = f"{tenant}/service-accounts/{drone}/api-tokens"
        problem(http.get(path, by=by), 404, "tenant.unknown")
        problem(http.post(path, NAMED, by=by), 404, "tenant.unknown")
