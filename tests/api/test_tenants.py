"""Do tenants and the installation's own facts appear over HTTP as the contract says?"""

from __future__ import annotations

from domain.ids import MAIN
from tests.answers import has_null, problem
from tests.service import NOBODY, PUBLIC_URL, Served


def test_create_tenant_has_managed_roles_and_nobody_in_it(http: Served) -> None:
    """A new tenant has its managed roles, none of which is bound to its maker."""
    sent = {"id": "beta", "name": "Beta", "logo": None, "outputsInInternalStorage": {"x": 1}}

    made = http.post("tenants", sent)

    assert (200, {"id": "beta", "name": "Beta", "deleted": False}) == (
        made.status_code,
        made.json(),
    )
    assert made.json() == http.get("tenants/beta").json()
    assert made.headers["etag"] == http.get("tenants/beta").headers["etag"]
    assert 5 == http.get("beta/roles/search").json()["total"]
    assert 0 == http.get("beta/bindings/search").json()["total"]


def test_create_tenant_refusals(http: Served) -> None:
    """A taken id is 409; a reserved or unfit one 422; also one that was deleted stays taken."""
    http.tenant("beta")
    http.delete("tenants/beta")

    problem(http.post("tenants", {"id": "beta", "name": "x"}), 409, "tenant.taken", "id")
    problem(http.post("tenants", {"id": MAIN, "name": "x"}), 409, "tenant.taken", "id")
    problem(http.post("tenants", {"id": "users", "name": "x"}), 422, "tenant.reserved", "id")
    problem(http.post("tenants", {"id": "A b", "name": ""}), 422, "tenant.invalid", "id", "name")
    problem(http.post("tenants", {"id": "beta"}), 422, "body.invalid", "name")


def test_change_tenant_renames_it(http: Served) -> None:
    """PUT renames; a stale version is 412, an unknown tenant 404."""
    http.tenant("beta")

    changed = http.put("tenants/beta", {"id": "beta", "name": "Better"})

    assert {"id": "beta", "name": "Better", "deleted": False} == changed.json()
    assert f'"{http.state.position}"' == changed.headers["etag"]
    stale = http.put("tenants/beta", {"name": "x"}, headers={"If-Match": '"1"'})
    problem(stale, 412, "etag.mismatch")
    problem(http.put("tenants/gamma", {"name": "x"}), 404, "tenant.unknown")


def test_delete_tenant_closes_it_and_main_stays(http: Served) -> None:
    """A deleted tenant is as one that never was, on every route; `main` cannot be deleted."""
    http.tenant("beta")
    then = http.state.position

    gone = http.delete("tenants/beta")

    assert (204, b"") == (gone.status_code, gone.content)
    problem(http.get("tenants/beta"), 404, "tenant.unknown")
    problem(http.get("beta/groups/search"), 404, "tenant.unknown")
    problem(http.delete("tenants/beta"), 404, "tenant.unknown")
    problem(http.delete("tenants/main"), 409, "tenant.main")
    assert "Beta" == http.get(f"tenants/beta?position={then}").json()["name"]


def test_search_tenants_filters_and_sorts(http: Served) -> None:
    """Tenants are listed by name, can be filtered and sorted, and are counted exactly."""
    for id_ in ("beta", "gamma", "delta"):
        http.tenant(id_)
    http.delete("tenants/gamma")
    cases = {
        "": ["beta", "delta", "main"],
        "size=2&page=2": ["main"],
        "filters[q][EQUALS]=ETA": ["beta"],
        "filters[name][STARTS_WITH]=d": ["delta"],
        "filters[id][IN]=main,gamma": ["main"],
        "sort=id:desc": ["main", "delta", "beta"],
    }

    for query, ids in cases.items():
        found = http.get(f"tenants/search?{query}").json()
        assert ids == [tenant["id"] for tenant in found["results"]], query
    assert 3 == http.get("tenants/search?size=1").json()["total"]


def test_tenants_are_for_instance_owners(http: Served) -> None:
    """Not even who may do everything in a tenant manages tenants; anonymous is 401."""
    admin = http.user()
    http.allow(admin, {"*": ["*"]})
    by = http.bearer(admin)
    body = {"id": "beta", "name": "Beta"}

    for method, path in (
        ("POST", "tenants"),
        ("GET", "tenants/search"),
        ("GET", "tenants/main"),
        ("PUT", "tenants/main"),
        ("DELETE", "tenants/main"),
    ):
        refused = http.request(method, path, body=body, by=by)
        problem(refused, 403, "privilege.required")
        problem(http.request(method, path, body=body, by=NOBODY), 401, "auth.required")


# The installation


def test_configuration_tells_clients_what_they_need(http: Served) -> None:
    """Anyone with a credential learns the version that kestractl asks for, and our own."""
    by = http.bearer(http.account())

    told = http.get("configs", by=by).json()

    assert {
        "uuid": http.state.log_id,
        "version": "2.0.0",
        "edition": "EE",
        "url": PUBLIC_URL,
        "isBasicAuthInitialized": True,
        "muniment": {"version": "0"},
    } == told
    assert not has_null(told)
    problem(http.get("configs", by=NOBODY), 401, "auth.required")


def test_setup_is_open_and_only_tells(http: Served) -> None:
    """Anyone learns that there is an owner; nobody makes one by this route."""
    assert {"isBasicAuthInitialized": True} == http.get("configs/login", by=NOBODY).json()
    assert {"done": True} == http.get("setup", by=NOBODY).json()
    refused = http.post("setup", {"username": "x", "password": "y"}, by=NOBODY)
    problem(refused, 405, "method.not_allowed")
    assert "GET" in refused.headers["allow"]
