"""Do bindings behave over HTTP as the contract says? (kestra-iam 6.5 and 8)."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from domain.ids import MAIN, RoleId
from tests.answers import has_null, problem
from tests.service import Headers, Served

FLOWS = {"FLOW": ["VIEW", "UPDATE"]}


def caller(http: Served, *actions: str, email: str = "cal@example.com") -> Headers:
    """Answer a user who may do this with bindings, and nothing else."""
    user = http.user(email)
    http.allow(user, {"BINDING": [*actions]})
    return http.bearer(user)


def body(http: Served, **members: object) -> dict[str, Any]:
    """Answer a request that binds a new role to a new service account."""
    return {"type": "USER", "externalId": http.account(), "roleId": http.role(FLOWS), **members}


def ids(found: dict[str, Any]) -> list[str]:
    """Answer the ids of a page of bindings."""
    return [binding["id"] for binding in found["results"]]


def test_create_binding_of_a_group_in_a_namespace(http: Served) -> None:
    """A namespaced binding carries both spellings of its namespace, and the names it binds."""
    group, role = http.group("Bots"), http.role(FLOWS, name="operator")
    sent = {"type": "GROUP", "externalId": group, "roleId": role, "namespaceId": "prod"}

    made = http.post("main/bindings", {**sent, "extra": None})

    binding = made.json()
    assert {
        "id": binding["id"],
        "type": "GROUP",
        "namespace": "prod",
        "namespaceId": "prod",
        "role": {"id": role, "name": "operator"},
        "group": {"id": group, "name": "Bots"},
        "state": "ACTIVE",
    } == binding
    read = http.get(f"main/bindings/{binding['id']}")
    assert read.json() == binding
    assert f'"{http.state.position}"' == made.headers["etag"] == read.headers["etag"]


def test_create_binding_tenant_wide_carries_no_namespace(http: Served) -> None:
    """Terraform's "" is no namespace; a tenant-wide binding has neither spelling."""
    ada = http.user(first_name="Ada", last_name="Lovelace")
    role = http.role(FLOWS)
    sent = {"type": "USER", "externalId": ada, "roleId": role, "namespaceId": "", "resource": None}

    binding = http.post("main/bindings", sent).json()

    assert {"id", "type", "role", "user", "state"} == set(binding)
    assert {
        "id": ada,
        "username": "ada@example.com",
        "displayName": "Ada Lovelace",
        "type": "STANDARD",
    } == binding["user"]


def test_create_binding_accepts_either_spelling_of_the_namespace(http: Served) -> None:
    """`namespace` stands for `namespaceId`; two different ones are refused."""
    one = http.post("main/bindings", body(http, namespace="prod")).json()
    two = http.post("main/bindings", body(http, namespace="prod", namespaceId="prod")).json()
    differ = http.post("main/bindings", body(http, namespace="prod", namespaceId="test"))

    assert ["prod", "prod"] == [one["namespaceId"], two["namespace"]]
    assert "SERVICE_ACCOUNT" == one["user"]["type"]
    problem(differ, 422, "binding.scope", "namespace")


def test_create_binding_to_one_resource(http: Served) -> None:
    """A binding to one resource echoes it, and excludes a namespace."""
    resource = {"type": "record", "id": "r-17"}

    made = http.post("main/bindings", body(http, resource=resource)).json()

    assert resource == made["resource"]
    assert "namespace" not in made
    both = http.post("main/bindings", body(http, resource=resource, namespaceId="prod"))
    problem(both, 422, "binding.scope", "resource")


def test_create_binding_for_a_span(http: Served) -> None:
    """A binding tells its span and how that lies to now; an expired one stays readable."""
    span = {"notBefore": "2026-01-01T01:00:00Z", "expiresAt": "2026-01-01T02:00:00Z"}
    made = http.post("main/bindings", body(http, **span)).json()
    path = f"main/bindings/{made['id']}"
    then = http.state.position

    states = [made["state"]]
    for _ in range(2):
        http.inputs.advance(3600)
        states.append(http.get(path).json()["state"])

    assert span == {name: made[name] for name in span}
    assert ["PENDING", "ACTIVE", "EXPIRED"] == states
    expired = http.get("main/bindings/search?filters[state][EQUALS]=EXPIRED").json()
    assert [made["id"]] == ids(expired)
    assert "PENDING" == http.get(f"{path}?position={then}").json()["state"]


def test_create_binding_unfit_members_are_named(http: Served) -> None:
    """Each member that does not fit is 422 at its place."""
    past = "2025-01-01T00:00:00Z"
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"namespaceId": "a..b"}, "binding.invalid", "namespaceId"),
        ({"resource": {"type": "a b", "id": "1"}}, "binding.invalid", "resource.type"),
        ({"resource": {"type": "a"}}, "body.invalid", "resource.id"),
        ({"expiresAt": past}, "binding.invalid", "expiresAt"),
        ({"expiresAt": "tomorrow"}, "body.invalid", "expiresAt"),
        ({"type": "SERVICE_ACCOUNT"}, "body.invalid", "type"),
        ({"type": None}, "body.invalid", "type"),
    ]

    for members, code, path in cases:
        problem(http.post("main/bindings", body(http, **members)), 422, code, path)


def test_create_binding_unknown_objects(http: Served) -> None:
    """Unknown and foreign roles, groups and principals are 404, each with its code and place."""
    beta = http.tenant()
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"roleId": "never"}, "role.unknown", "roleId"),
        ({"roleId": http.role(FLOWS, tenant=beta)}, "role.unknown", "roleId"),
        ({"externalId": "never"}, "principal.unknown", "externalId"),
        ({"type": "GROUP", "externalId": "never"}, "group.unknown", "externalId"),
        (
            {"type": "GROUP", "externalId": http.group("C", tenant=beta)},
            "group.unknown",
            "externalId",
        ),
    ]

    for members, code, path in cases:
        problem(http.post("main/bindings", body(http, **members)), 404, code, path)


def test_create_binding_twice_conflicts(http: Served) -> None:
    """An identical live binding is refused; at another scope it is another."""
    sent = body(http)
    http.post("main/bindings", sent)

    problem(http.post("main/bindings", sent), 409, "binding.exists", "roleId")
    assert 200 == http.post("main/bindings", {**sent, "namespaceId": "prod"}).status_code


def test_create_binding_escalation_names_what_is_missing(http: Served) -> None:
    """Nobody binds a role whose permissions they lack at that scope (security 2.5)."""
    by = caller(http, "CREATE")

    refused = http.post("main/bindings", body(http, namespaceId="prod"), by=by)

    told = problem(refused, 403, "binding.escalation")
    assert ["UPDATE", "VIEW"] == [missing["action"] for missing in told["required"]]
    assert {"namespace": "prod"} == told["required"][0]["scope"]


def test_create_binding_gives_access_and_the_default_role(http: Served) -> None:
    """Who gains access by a binding gets the default role too; answered is what was asked for."""
    default = http.post("main/roles", {"name": "all", "permissions": {}, "isDefault": True}).json()
    outsider = http.user("out@example.com", tenants=())
    role = http.role(FLOWS)
    sent = {"type": "USER", "externalId": outsider, "roleId": role}
    headers = {"Idempotency-Key": "once"}

    made = http.post("main/bindings", sent, headers=headers)
    again = http.post("main/bindings", sent, headers=headers)

    assert role == made.json()["role"]["id"]
    assert made.json() == again.json()
    held = {binding.role for binding in http.state.bindings_of[outsider].values()}
    assert {role, default["id"]} == held
    assert MAIN in http.state.access[outsider]


def test_create_binding_without_right_to_give_access_conflicts(http: Served) -> None:
    """Who may not give access binds nobody without it, and learns not whether they exist."""
    outsider = http.user("out@example.com", tenants=())
    by = caller(http, "CREATE")

    for principal in (outsider, "never"):
        refused = http.post("main/bindings", body(http, externalId=principal), by=by)
        problem(refused, 409, "tenant_access.missing")


def test_bulk_is_all_or_none_in_the_same_order(http: Served) -> None:
    """Bindings made together come back in order; one that is refused refuses all."""
    role: RoleId = http.role(FLOWS)
    bots = [http.account(f"bot-{number}") for number in range(3)]
    wanted = [{"type": "USER", "externalId": bot, "roleId": role} for bot in bots]
    headers = {"Idempotency-Key": "once"}

    made = http.post("main/bindings/bulk", wanted, headers=headers)
    again = http.post("main/bindings/bulk", wanted, headers=headers)

    assert 200 == made.status_code
    assert bots == [binding["user"]["id"] for binding in made.json()]
    assert made.json() == again.json()
    later = [{**wanted[0], "namespaceId": "a"}, {**wanted[1], "roleId": "never"}]
    problem(http.post("main/bindings/bulk", later), 404, "role.unknown", "[1].roleId")
    assert 3 == http.get("main/bindings/search").json()["total"]
    doubled = [{**wanted[0], "namespaceId": "a"}] * 2
    problem(http.post("main/bindings/bulk", doubled), 409, "binding.exists", "[1].roleId")
    untyped = [wanted[0], {"type": "USER"}]
    problem(http.post("main/bindings/bulk", untyped), 422, "body.invalid", "[1].externalId")
    assert [] == http.post("main/bindings/bulk", []).json()


def test_bulk_takes_at_most_a_thousand(http: Served) -> None:
    """More than 1000 bindings at once are refused."""
    one = {"type": "USER", "externalId": "x", "roleId": "y"}

    problem(http.post("main/bindings/bulk", [one] * 1001), 422, "binding.too_many")


def test_delete_binding_leaves_nothing(http: Served) -> None:
    """A deleted binding is gone for reading and deleting; the past still shows it."""
    id_ = http.post("main/bindings", body(http)).json()["id"]
    then = http.state.position

    stale = http.delete(f"main/bindings/{id_}", headers={"If-Match": '"1"'})
    gone = http.delete(f"main/bindings/{id_}")

    problem(stale, 412, "etag.mismatch")
    assert (204, b"") == (gone.status_code, gone.content)
    problem(http.get(f"main/bindings/{id_}"), 404, "binding.unknown")
    problem(http.delete(f"main/bindings/{id_}"), 404, "binding.unknown")
    assert id_ == http.get(f"main/bindings/{id_}?position={then}").json()["id"]


def test_binding_of_another_tenant_is_as_one_that_never_was(http: Served) -> None:
    """Another tenant's binding answers just as an id that was never given (security 2.3)."""
    beta = http.tenant()
    foreign = http.allow(http.account("drone", beta), FLOWS, tenant=beta)

    for method in ("GET", "DELETE"):
        told = problem(http.request(method, f"main/bindings/{foreign}"), 404, "binding.unknown")
        never = problem(http.request(method, f"main/bindings/{'0' * 22}"), 404, "binding.unknown")
        assert never["message"].replace("0" * 22, foreign) == told["message"]


def test_binding_version_moves_with_the_names_it_shows(http: Served) -> None:
    """Renaming the role changes the tag of the binding, which shows its name."""
    sent = body(http)
    made = http.post("main/bindings", sent)
    path = f"main/bindings/{made.json()['id']}"

    http.put(f"main/roles/{sent['roleId']}", {"name": "new", "permissions": FLOWS})

    read = http.get(path, headers={"If-None-Match": made.headers["etag"]})
    assert (200, "new") == (read.status_code, read.json()["role"]["name"])
    deleted = http.delete(path, headers={"If-Match": made.headers["etag"]})
    assert 204 == deleted.status_code


def test_search_bindings_filters_and_sorts(http: Served) -> None:
    """Bindings come newest first; each field and the list's own parameters narrow them."""
    role, group, bot = http.role(FLOWS, name="operator"), http.group("Bots"), http.account()
    wide = {"type": "USER", "externalId": bot, "roleId": role}
    sent = [
        {**wide, "namespaceId": ""},
        {**wide, "namespaceId": "prod.billing"},
        {"type": "GROUP", "externalId": group, "roleId": role, "namespaceId": "prod"},
        {**wide, "namespaceId": "production", "expiresAt": "2026-02-01T00:00:00Z"},
        {**wide, "resource": {"type": "record", "id": "r-17"}},
    ]
    made = [http.post("main/bindings", one).json()["id"] for one in sent]
    cases: dict[str, list[int]] = {
        "": [4, 3, 2, 1, 0],
        "namespace=prod": [2],
        "filters[namespace][PREFIX]=prod": [2, 1],
        "filters[namespace][IS_NULL]=": [4, 0],
        f"id={bot}&type=USER&namespace=production": [3],
        f"id={bot}&filters[namespace][IS_NOT_NULL]=": [3, 1],
        "type=GROUP": [2],
        "type=&namespace=": [4, 3, 2, 1, 0],
        f"filters[external_id][EQUALS]={group}": [2],
        f"filters[roleId][EQUALS]={role}&size=2&page=2": [2, 1],
        "filters[resourceType][EQUALS]=record&filters[resource_id][EQUALS]=r-17": [4],
        "filters[expired_at][LESS_THAN]=2027-01-01": [3],
        "filters[state][NOT_EQUALS]=ACTIVE": [],
        "filters[q][EQUALS]=bots": [2],
        "sort=namespace:desc&size=2": [3, 1],
        "sort=created": [0, 1, 2, 3, 4],
    }

    for query, expected in cases.items():
        found = http.get(f"main/bindings/search?{query}").json()
        assert [made[index] for index in expected] == ids(found), query
        assert not has_null(found)
    assert 5 == http.get("main/bindings/search?size=1").json()["total"]
    problem(http.get("main/bindings/search?filters[role][EQUALS]=x"), 400, "filters.invalid")
    problem(http.get("main/bindings/search?sort=role"), 422, "sort.invalid", "sort")


def test_bindings_need_the_permission_of_each_route(http: Served) -> None:
    """Each route asks for its own action, and names it when it refuses."""
    sent = body(http)
    id_ = http.post("main/bindings", sent).json()["id"]
    routes: dict[str, list[tuple[str, str, Any]]] = {
        "CREATE": [("POST", "bindings", sent), ("POST", "bindings/bulk", [sent])],
        "VIEW": [("GET", f"bindings/{id_}", UNSET)],
        "LIST": [("GET", "bindings/search", UNSET)],
        "DELETE": [("DELETE", f"bindings/{id_}", UNSET)],
    }
    for needed, listed in routes.items():
        others = [action for action in routes if action != needed]
        by = caller(http, *others, email=f"{needed.lower()}@example.com")
        for method, path, given in listed:
            refused = http.request(method, f"main/{path}", by=by, body=given)
            told = problem(refused, 403, "permission.denied")
            assert [{"type": "BINDING", "action": needed}] == told["required"]
