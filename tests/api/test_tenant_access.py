"""Does access to a tenant behave over HTTP as the contract says? (kestra-iam 5.6, 6.7)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from msgspec import UNSET

from domain.access import Narrowing
from domain.ids import MAIN
from domain.principals import TenantAccessGranted
from tests.answers import has_null, problem
from tests.service import Headers, Served

FLOWS = {"FLOW": ["VIEW", "LIST"]}


def caller(http: Served, type_: str, *actions: str, email: str = "cal@example.com") -> Headers:
    """Answer a user who may do this with a type, and nothing else."""
    user = http.user(email)
    http.allow(user, {type_: [*actions]})
    return http.bearer(user)


def ids(found: dict[str, Any]) -> list[str]:
    """Answer the ids of a page."""
    return [row["id"] for row in found["results"]]


# Giving and ending


def test_grant_access_twice_is_one_event(http: Served) -> None:
    """PUT gives access, 201 without a body; again it is the same answer and no event."""
    ada = http.user(tenants=())
    before = http.state.position

    first = http.put(f"main/tenant-access/{ada}")
    again = http.put(f"main/tenant-access/{ada}")

    assert [(201, b""), (201, b"")] == [(one.status_code, one.content) for one in (first, again)]
    assert [TenantAccessGranted(tenant=MAIN, principal=ada)] == http.events(before)
    problem(http.put("main/tenant-access/never"), 404, "principal.unknown")


def test_grant_access_brings_the_default_role(http: Served) -> None:
    """A user who gains access gets the default role; a caller who lacks it cannot give it."""
    by = caller(http, "USER", "CREATE")
    body = {"name": "all", "permissions": {"SECRET": ["VIEW"]}, "isDefault": True}
    role = http.post("main/roles", body).json()["id"]
    ada = http.user(tenants=())

    refused = http.put(f"main/tenant-access/{ada}", by=by)
    http.put(f"main/tenant-access/{ada}")

    problem(refused, 403, "tenant_access.escalation")
    assert [role] == [one["id"] for one in http.get(f"main/tenant-access/{ada}").json()["roles"]]


def test_grant_access_by_email(http: Served) -> None:
    """An e-mail in any case finds its user; an unknown one is 404, access already 409."""
    ada = http.user("ada@example.com", tenants=())

    done = http.post("main/tenant-access", {"email": "ADA@Example.com "})

    assert (204, b"") == (done.status_code, done.content)
    assert MAIN in http.state.access[ada]
    again = http.post("main/tenant-access", {"email": "ada@example.com"})
    problem(again, 409, "tenant_access.exists")
    unknown = http.post("main/tenant-access", {"email": "nobody@example.com"})
    problem(unknown, 404, "user.unknown", "email")
    problem(http.post("main/tenant-access", {}), 422, "body.invalid", "email")


def test_grant_access_by_email_same_key_answers_again(http: Served) -> None:
    """A repeated key is no second attempt, so it is not refused."""
    http.user("ada@example.com", tenants=())
    headers = {"Idempotency-Key": "once"}

    first, again = (
        http.post("main/tenant-access", {"email": "ada@example.com"}, headers=headers)
        for _ in range(2)
    )

    assert [204, 204] == [first.status_code, again.status_code]
    assert "true" == again.headers["idempotency-replayed"]


def test_end_access_ends_what_hangs_on_it(http: Served) -> None:
    """Ending access ends memberships and own bindings in this tenant, and none elsewhere."""
    beta = http.tenant()
    ada = http.user(tenants=(MAIN, beta))
    http.allow(ada, FLOWS)
    http.allow(ada, FLOWS, tenant=beta)
    http.put(f"main/groups/{http.group()}/members/{ada}")

    gone = http.delete(f"main/tenant-access/{ada}")

    assert (204, b"") == (gone.status_code, gone.content)
    assert {beta} == {one.tenant for one in http.state.bindings_of[ada].values()}
    assert ada not in http.state.memberships
    problem(http.delete(f"main/tenant-access/{ada}"), 404, "principal.unknown")
    problem(http.get(f"main/tenant-access/{ada}"), 404, "principal.unknown")


# What one may do


def test_access_shows_effective_roles_and_their_origin(http: Served) -> None:
    """The access of a principal names each role in force, where it holds, and where it is from."""
    ada = http.user(first_name="Ada")
    own, through, later = (http.role(FLOWS, name=name) for name in ("own", "through", "later"))
    group = http.group("Bots")
    http.put(f"main/groups/{group}/members/{ada}")
    binding = {"type": "USER", "externalId": ada, "roleId": own, "namespaceId": "prod"}
    held = http.post("main/bindings", binding).json()
    http.post("main/bindings", {"type": "GROUP", "externalId": group, "roleId": through})
    tomorrow = (http.inputs.now() + timedelta(days=1)).isoformat()
    http.post("main/bindings", {**binding, "roleId": later, "notBefore": tomorrow})

    shown = http.get(f"main/tenant-access/{ada}")

    permissions = [{"resource": "FLOW", "actions": ["VIEW", "LIST"]}]
    assert {
        "tenantId": "main",
        "userId": ada,
        "username": "ada@example.com",
        "displayName": "Ada",
        "groups": [{"id": group, "name": "Bots", "external": False}],
        "instanceOwner": False,
        "superAdmin": False,
        "roles": [
            {
                "id": own,
                "name": "own",
                "namespace": "prod",
                "origin": "BINDING",
                "sourceId": held["id"],
                "permissions": permissions,
            },
            {
                "id": through,
                "name": "through",
                "origin": "GROUP",
                "sourceId": group,
                "permissions": permissions,
            },
        ],
    } == shown.json()
    http.inputs.advance(86_400)
    roles = http.get(f"main/tenant-access/{ada}").json()["roles"]
    assert [own, later, through] == [role["id"] for role in roles]


def test_access_version_moves_when_a_binding_of_a_group_ends(http: Served) -> None:
    """A tag of before is not current when rights that came through a group have gone."""
    bot, group = http.account(), http.group()
    http.put(f"main/groups/{group}/members/{bot}")
    binding = {"type": "GROUP", "externalId": group, "roleId": http.role(FLOWS)}
    made = http.post("main/bindings", binding).json()
    tag = http.get(f"main/tenant-access/{bot}").headers["etag"]

    http.delete(f"main/bindings/{made['id']}")

    again = http.get(f"main/tenant-access/{bot}", headers={"If-None-Match": tag})
    assert (200, []) == (again.status_code, again.json()["roles"])


def test_access_of_the_disabled_is_nothing(http: Served) -> None:
    """A disabled service account holds nothing until it is enabled again."""
    bot = http.account()
    http.allow(bot, FLOWS)

    http.post(f"main/service-accounts/{bot}/disable")
    disabled = http.get(f"main/tenant-access/{bot}").json()
    http.post(f"main/service-accounts/{bot}/enable")

    assert [] == disabled["roles"]
    assert 1 == len(http.get(f"main/tenant-access/{bot}").json()["roles"])


def test_access_of_oneself_needs_no_permission(http: Served) -> None:
    """Anyone sees their own access, and nobody else's without USER:VIEW."""
    ada, bot = http.user(), http.account()

    own = http.get(f"main/tenant-access/{bot}", by=http.bearer(bot))
    other = http.get(f"main/tenant-access/{ada}", by=http.bearer(bot))

    assert bot == own.json()["userId"]
    problem(other, 403, "permission.denied")


# Lists


def test_list_access_answers_users_with_groups_and_sign_in(http: Served) -> None:
    """The list has the users with access, their groups here, and by what they sign in."""
    beta = http.tenant()
    ada = http.user("ada@example.com", tenants=(MAIN, beta), first_name="Ada")
    http.user("eve@example.com", tenants=(beta,))
    http.account()
    group = http.group("Bots")
    http.put(f"main/groups/{group}/members/{ada}")
    http.put(f"beta/groups/{http.group('Crew', tenant=beta)}/members/{ada}")

    found = http.get("main/tenant-access").json()

    assert {
        "results": [
            {
                "id": ada,
                "username": "ada@example.com",
                "displayName": "Ada",
                "groups": [{"id": group, "name": "Bots", "external": False}],
                "auths": [{"name": "ada@example.com", "type": "BASIC_AUTH"}],
            }
        ],
        "total": 1,
    } == found
    assert not has_null(found)


def test_list_access_filters_and_sorts(http: Served) -> None:
    """People are found by what is sealed, and everything else of the list's table."""
    ada = http.user("ada@example.com", first_name="Zoe")
    http.inputs.advance(60)
    cal = http.user("cal@example.com", first_name="Cal", password=None)
    group = http.group()
    http.put(f"main/groups/{group}/members/{cal}")
    cases = {
        "": [cal, ada],
        "filters[q][EQUALS]=ZO": [ada],
        "filters[email][EQUALS]=CAL@example.com": [cal],
        "filters[username][ENDS_WITH]=.com&filters[name][EQUALS]=zoe": [ada],
        f"filters[groupList][EQUALS]={group}": [cal],
        "filters[type][EQUALS]=STANDARD": [cal, ada],
        "filters[locked][EQUALS]=true": [],
        "filters[enabled][EQUALS]=true&filters[existingOnly][EQUALS]=false": [cal, ada],
        "filters[super_admin][EQUALS]=true": [],
        "filters[created][GREATER_THAN]=2026-01-01T00:00:30Z": [cal],
        "sort=email": [ada, cal],
        "sort=created:desc&size=1": [cal],
    }

    for query, expected in cases.items():
        assert expected == ids(http.get(f"main/tenant-access?{query}").json()), query
    assert 2 == http.get("main/tenant-access?size=1&page=2").json()["total"]
    problem(http.get("main/tenant-access?sort=groups"), 422, "sort.invalid", "sort")


def test_list_access_at_a_position_shows_the_past(http: Served) -> None:
    """A list of before has those whose access has ended since."""
    ada = http.user()
    then = http.state.position
    http.delete(f"main/tenant-access/{ada}")

    assert [] == ids(http.get("main/tenant-access").json())
    assert [ada] == ids(http.get(f"main/tenant-access?position={then}").json())


def test_autocomplete_access_stays_within_the_tenant(http: Served) -> None:
    """Only an instance owner who asks for it finds users without access."""
    ada = http.user("ada@example.com")
    outsider = http.user("outsider@example.com", tenants=())
    by = caller(http, "USER", "LIST")
    path = "main/tenant-access/autocomplete"
    everyone = {"q": None, "ids": [outsider, "never"], "existingOnly": False, "username": "a"}

    def found(body: dict[str, Any], by: Headers = http.root) -> list[str]:
        return [row["id"] for row in http.post(path, body, by=by).json()]

    assert [ada] == found({"username": "ADA"})
    assert outsider not in found({"ids": [outsider], "q": "outsider"})
    assert outsider not in found(everyone, by=by)
    assert outsider == found(everyone)[0]
    assert ada in found(everyone)
    # What is narrowed to one tenant lists nobody else, as on the list of all users.
    narrow = http.bearer(http.root_id, Narrowing(tenants=(MAIN,), instance_owner=True))
    problem(http.get("users", by=narrow), 403, "privilege.required")
    assert outsider not in found(everyone, by=narrow)


def test_access_needs_the_permission_of_each_route(http: Served) -> None:
    """Each route asks for its own action on USER; TENANT_ACCESS does as well."""
    ada = http.user("ada@example.com")
    out = http.user("out@example.com", tenants=())
    routes: dict[str, list[tuple[str, str, Any]]] = {
        "LIST": [("GET", "", UNSET), ("POST", "/autocomplete", {})],
        "VIEW": [("GET", f"/{ada}", UNSET)],
        "CREATE": [("PUT", f"/{out}", UNSET), ("POST", "", {"email": "ada@example.com"})],
        "DELETE": [("DELETE", f"/{ada}", UNSET)],
    }
    for needed, listed in routes.items():
        others = [action for action in routes if action != needed]
        without = caller(http, "USER", *others, email=f"{needed.lower()}@example.com")
        old = caller(http, "TENANT_ACCESS", needed, email=f"old-{needed.lower()}@example.com")
        for method, path, body in listed:
            refused = http.request(method, f"main/tenant-access{path}", by=without, body=body)
            told = problem(refused, 403, "permission.denied")
            assert [{"type": "USER", "action": needed}] == told["required"]
            passed = http.request(method, f"main/tenant-access{path}", by=old, body=body)
            assert passed.status_code in {200, 201, 204, 409}
