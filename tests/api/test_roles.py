"""Do roles behave over HTTP as the contract says? (kestra-iam 5.2 to 5.4, 6.4)."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from domain.ids import RoleId
from domain.permissions import KNOWN
from tests.answers import has_null, problem
from tests.service import Headers, Served

MANAGED = ["Admin", "Developer", "Editor", "Launcher", "Viewer"]


def caller(http: Served, *actions: str, email: str = "cal@example.com") -> Headers:
    """Answer a user who may do this with roles, and nothing else."""
    user = http.user(email)
    http.allow(user, {"ROLE": [*actions]})
    return http.bearer(user)


def managed(http: Served, name: str) -> RoleId:
    """Answer the id of a managed role of `main`, as Terraform finds it."""
    found = http.get(f"main/roles/search?filters[name][EQUALS]={name}").json()
    assert 1 == found["total"]
    return RoleId(found["results"][0]["id"])


def test_create_role_keeps_permissions_exactly_as_sent(http: Served) -> None:
    """Keys, order and spelling of permissions come back as sent; empty lists are left out."""
    sent = {"record": ["write", "read"], "FLOW": ["READ", "VIEW", "VIEW"], "EXECUTION": []}
    body = {
        "name": "operator",
        "description": "",
        "isDefault": False,
        "namespaceId": "",
        "permissions": {**sent, "TRIGGER": None},
    }

    made = http.post("main/roles", body)

    role = made.json()
    assert {
        "id": role["id"],
        "name": "operator",
        "description": "",
        "permissions": {"record": ["write", "read"], "FLOW": ["READ", "VIEW", "VIEW"]},
        "isDefault": False,
        "isManaged": False,
    } == role
    assert ["record", "FLOW"] == list(role["permissions"])
    read = http.get(f"main/roles/{role['id']}")
    assert read.json() == role
    assert f'"{http.state.position}"' == made.headers["etag"] == read.headers["etag"]


def test_create_role_two_of_one_name(http: Served) -> None:
    """Role names need not be unique."""
    one = http.post("main/roles", {"name": "operator", "permissions": {}})
    two = http.post("main/roles", {"name": "operator", "permissions": {}, "isDefault": None})

    assert [200, 200] == [one.status_code, two.status_code]
    assert one.json()["id"] != two.json()["id"]


def test_create_role_expands_old_verbs_on_demand(http: Served) -> None:
    """With expandLegacy=true old verbs and types are stored and echoed in today's words."""
    body = {"name": "old", "permissions": {"FLOW": ["READ", "UPDATE"], "TEST": ["READ"]}}

    plain = http.post("main/roles", body).json()["permissions"]
    spelled = http.post("main/roles?expandLegacy=true", body).json()["permissions"]

    assert body["permissions"] == plain
    assert {
        "FLOW": ["VIEW", "LIST", "EXPORT", "UPDATE", "EXECUTE", "DISABLE", "ENABLE", "VALIDATE"],
        "TESTSUITE": ["VIEW", "LIST"],
    } == spelled
    problem(http.post("main/roles?expandLegacy=1", body), 400, "query.invalid")


def test_create_role_unfit_members_are_named(http: Served) -> None:
    """Each member that does not fit is 422 at its place."""
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"name": " ", "permissions": {}}, "role.invalid", "name"),
        ({"name": "a", "permissions": {"A B": ["VIEW"]}}, "role.invalid", "permissions"),
        ({"name": "a", "permissions": {"FLOW": [""]}}, "role.invalid", "permissions.FLOW"),
        ({"name": "a", "permissions": None}, "body.invalid", "permissions"),
        ({"name": "a"}, "body.invalid", "permissions"),
        ({"permissions": {}}, "body.invalid", "name"),
        ({"name": "a", "permissions": {}, "isDefault": "yes"}, "body.invalid", "isDefault"),
    ]

    for body, code, path in cases:
        problem(http.post("main/roles", body), 422, code, path)


def test_create_role_escalation_names_what_is_missing(http: Served) -> None:
    """Nobody puts a permission into a role that they do not hold everywhere (security 2.5)."""
    by = caller(http, "CREATE")
    body = {"name": "a", "permissions": {"ROLE": ["CREATE"], "SECRET": ["VIEW"]}}

    refused = http.post("main/roles", body, by=by)

    told = problem(refused, 403, "role.escalation")
    assert [{"type": "SECRET", "action": "VIEW"}] == told["required"]
    held = http.post("main/roles", {"name": "a", "permissions": {"ROLE": ["CREATE"]}}, by=by)
    assert 200 == held.status_code


def test_change_role_replaces_all_of_it(http: Served) -> None:
    """PUT is a full replacement: what is absent is reset."""
    body = {"name": "a", "description": "b", "permissions": {"FLOW": ["VIEW"]}, "isDefault": True}
    id_ = http.post("main/roles", body).json()["id"]

    changed = http.put(f"main/roles/{id_}", {"name": "c", "permissions": {"FLOW": ["LIST"]}})

    expected = {"name": "c", "description": "", "isDefault": False, "isManaged": False}
    assert {"id": id_, "permissions": {"FLOW": ["LIST"]}, **expected} == changed.json()
    stale = http.put(f"main/roles/{id_}", body, headers={"If-Match": '"1"'})
    problem(stale, 412, "etag.mismatch")
    problem(http.put("main/roles/never", body), 404, "role.unknown")


def test_default_role_is_the_latest(http: Served) -> None:
    """At most one role of a tenant is the default, and the earlier one's version moves on."""
    one = http.post("main/roles", {"name": "a", "permissions": {}, "isDefault": True}).json()["id"]
    before = http.get(f"main/roles/{one}").headers["etag"]

    two = http.post("main/roles", {"name": "b", "permissions": {}, "isDefault": True}).json()

    after = http.get(f"main/roles/{one}")
    assert (True, False) == (two["isDefault"], after.json()["isDefault"])
    assert before != after.headers["etag"]


def test_managed_role_stays_as_it_is(http: Served) -> None:
    """A managed role is neither changed nor deleted, but may become the default."""
    viewer = managed(http, "Viewer")
    role = http.get(f"main/roles/{viewer}").json()
    assert role["isManaged"]

    problem(http.delete(f"main/roles/{viewer}"), 409, "role.managed")
    problem(http.put(f"main/roles/{viewer}", {**role, "name": "x"}), 409, "role.managed")
    changed = http.put(f"main/roles/{viewer}", {**role, "isDefault": True})
    assert {**role, "isDefault": True} == changed.json()


def test_delete_role_ends_its_bindings_or_is_refused(http: Served) -> None:
    """Deleting a role ends what names it; with ifUnused it is refused instead."""
    id_ = http.role({"FLOW": ["VIEW"]})
    bot = http.account()
    bound = http.post("main/bindings", {"type": "USER", "externalId": bot, "roleId": id_}).json()

    told = problem(http.delete(f"main/roles/{id_}?ifUnused=true"), 409, "role.in_use")
    gone = http.delete(f"main/roles/{id_}")

    assert [{"type": "BINDING", "id": bound["id"]}] == told["dependents"]
    assert (204, b"") == (gone.status_code, gone.content)
    problem(http.get(f"main/bindings/{bound['id']}"), 404, "binding.unknown")
    problem(http.delete(f"main/roles/{id_}"), 404, "role.unknown")


def test_role_of_another_tenant_is_as_one_that_never_was(http: Served) -> None:
    """Another tenant's role answers just as an id that was never given (security 2.3)."""
    foreign = http.role({"FLOW": ["VIEW"]}, tenant=http.tenant())

    for method in ("GET", "DELETE"):
        told = problem(http.request(method, f"main/roles/{foreign}"), 404, "role.unknown")
        never = problem(http.request(method, f"main/roles/{'0' * 22}"), 404, "role.unknown")
        assert never["message"].replace("0" * 22, foreign) == told["message"]


def test_create_role_same_key_answers_again(http: Served) -> None:
    """A repeated key makes no second role; another body under it is refused."""
    headers = {"Idempotency-Key": "once"}
    body = {"name": "a", "permissions": {"FLOW": ["VIEW"]}}

    first, again = (http.post("main/roles", body, headers=headers) for _ in range(2))

    assert first.json() == again.json()
    other = http.post("main/roles", {**body, "name": "b"}, headers=headers)
    problem(other, 422, "idempotency.mismatch")


# Lists


def test_search_roles_answers_summaries(http: Served) -> None:
    """The list counts pairs as they were written, and is sorted by name."""
    http.role({"FLOW": ["READ", "VIEW"], "X": ["*"]}, name="operator")

    found = http.get("main/roles/search?size=100").json()

    assert [*MANAGED, "operator"] == [role["name"] for role in found["results"]]
    last = found["results"][-1]
    assert {"id", "name", "isDefault", "isManaged", "permissionCount"} == set(last)
    assert (3, False) == (last["permissionCount"], last["isManaged"])
    assert 6 == found["total"]


def test_search_roles_filters_and_sorts(http: Served) -> None:
    """Every field of the list's table can be filtered and sorted by."""
    body = {"name": "operator", "description": "runs flows", "permissions": {}, "isDefault": True}
    id_ = http.post("main/roles", body).json()["id"]
    cases = {
        "filters[isManaged][EQUALS]=false": ["operator"],
        "filters[is_default][EQUALS]=true": ["operator"],
        "filters[q][EQUALS]=FLOWS": ["operator"],
        f"filters[id][EQUALS]={id_}": ["operator"],
        "filters[name][EQUALS]=nobody": [],
        "sort=isManaged&sort=name:desc&size=2": ["operator", "Viewer"],
        "sort=permissionCount:desc&size=1": ["Admin"],
        "size=1&page=6": ["operator"],
    }

    for query, names in cases.items():
        found = http.get(f"main/roles/search?{query}").json()
        assert names == [role["name"] for role in found["results"]], query
    problem(http.get("main/roles/search?sort=permissions"), 422, "sort.invalid", "sort")
    problem(http.get("main/roles/search?filters[isManaged][EQUALS]=1"), 400, "filters.invalid")


def test_roles_by_ids_are_whole(http: Served) -> None:
    """The ids route answers full roles that are not deleted; unknown and foreign ids nothing."""
    id_ = http.role({"FLOW": ["VIEW"]}, name="operator")
    foreign = http.role({"FLOW": ["VIEW"]}, tenant=http.tenant())

    found = http.post("main/roles/ids", {"ids": [id_, foreign, "never"]}).json()

    assert [{**http.get(f"main/roles/{id_}").json(), "deleted": False}] == found
    assert not has_null(found)


def test_autocomplete_roles_puts_ids_first(http: Served) -> None:
    """The roles of the ids come first, then those that the text finds."""
    id_ = http.role({"FLOW": ["VIEW"]}, name="operator")

    found = http.post("main/roles/autocomplete", {"q": "E", "ids": [id_], "existingOnly": None})

    names = [role["name"] for role in found.json()]
    assert ["operator", "Developer", "Editor", "Launcher", "Viewer"] == names
    assert {"id", "name", "isDefault", "isManaged", "permissionCount"} == set(found.json()[0])


# What is known


def test_known_permissions_and_templates(http: Served) -> None:
    """Whoever has access to the tenant reads the known permissions, templates and actions."""
    by = http.bearer(http.user())

    known = http.get("main/acls/permissions", by=by).json()
    templates = http.get("main/acls/templates", by=by).json()
    actions = http.get("main/acls/actions", by=by).json()

    assert {type_: list(listed) for type_, listed in KNOWN.items()} == known
    assert ["ADMIN", "DEVELOPER", "EDITOR", "LAUNCHER", "VIEWER"] == list(templates)
    assert ["*"] == templates["ADMIN"]["*"]
    assert (
        http.get(f"main/roles/{managed(http, 'Viewer')}").json()["permissions"]
        == (templates["VIEWER"])
    )
    assert len(actions) == len(set(actions))
    assert {"READ", "CREATE", "UPDATE", "DELETE", "VIEW", "LIST", "EXECUTE"} <= set(actions)
    outsider = http.bearer(http.user("out@example.com", tenants=()))
    problem(http.get("main/acls/permissions", by=outsider), 404, "tenant.unknown")


def test_roles_need_the_permission_of_each_route(http: Served) -> None:
    """Each route asks for its own action, and names it when it refuses."""
    id_ = http.role({"FLOW": ["VIEW"]})
    body = {"name": "x", "permissions": {}}
    routes: dict[str, list[tuple[str, str, object]]] = {
        "CREATE": [("POST", "roles", body)],
        "VIEW": [("GET", f"roles/{id_}", UNSET)],
        "UPDATE": [("PUT", f"roles/{id_}", body)],
        "DELETE": [("DELETE", f"roles/{id_}", UNSET)],
        "LIST": [
            ("GET", "roles/search", UNSET),
            ("POST", "roles/autocomplete", {}),
            ("POST", "roles/ids", {}),
        ],
    }
    for needed, listed in routes.items():
        others = [action for action in routes if action != needed]
        by = caller(http, *others, email=f"{needed.lower()}@example.com")
        for method, path, sent in listed:
            answer = http.request(method, f"main/{path}", by=by, body=sent)
            refused = problem(answer, 403, "permission.denied")
            assert [{"type": "ROLE", "action": needed}] == refused["required"]
