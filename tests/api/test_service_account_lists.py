"""Do the lists of service accounts show what the contract says? (kestra-iam 6.1)."""

from __future__ import annotations

from domain.access import Narrowing
from domain.ids import MAIN
from tests.answers import has_null, problem
from tests.service import Served


def test_list_of_a_tenant_answers_rows_with_groups_and_tokens(http: Served) -> None:
    """A tenant's list shows groups of this tenant and live tokens that work in it."""
    beta = http.tenant()
    bot = http.account("ci-bot", MAIN, beta)
    http.account("drone", beta)
    http.user()
    group = http.group("Bots")
    http.put(f"main/groups/{group}/members/{bot}")
    http.put(f"beta/groups/{http.group('Crew', tenant=beta)}/members/{bot}")
    http.token(bot)
    http.token(bot, max_age_seconds=60)
    http.token(bot, narrowing=Narrowing(tenants=(beta,)))
    http.inputs.advance(61)

    found = http.get("main/service-accounts?size=100").json()

    assert {
        "results": [
            {
                "id": bot,
                "username": "ci-bot",
                "displayName": "ci-bot",
                "description": "",
                "groups": [{"id": group, "name": "Bots", "external": False}],
                "auths": [{"name": "deploy", "type": "API_TOKEN"}],
            }
        ],
        "total": 1,
    } == found


def test_list_of_the_installation_answers_accounts_with_tenants(http: Served) -> None:
    """Kestractl's list shows every account in the instance form."""
    beta = http.tenant()
    bot = http.account("ci-bot", MAIN, beta)
    http.account("drone", beta)

    found = http.get("service-accounts?size=100").json()

    assert ["ci-bot", "drone"] == [account["name"] for account in found["results"]]
    assert found["results"][0] == http.get(f"service-accounts/{bot}").json()
    assert 2 == found["total"]
    assert not has_null(found)


def test_lists_filter_and_sort(http: Served) -> None:
    """Both lists take the same filters and orders."""
    group = http.group()
    body = {"name": "zeta", "description": "Deploys", "superAdmin": True, "groups": [{"id": group}]}
    http.post("main/service-accounts", body)
    http.account("alpha")
    off = http.account("omega")
    http.post(f"main/service-accounts/{off}/disable")
    cases = {
        "": ["alpha", "omega", "zeta"],
        "sort=name:desc&size=2": ["zeta", "omega"],
        "size=2&page=2": ["zeta"],
        "filters[q][EQUALS]=DEPLOY": ["zeta"],
        "filters[enabled][EQUALS]=false": ["omega"],
        "filters[instance_owner][EQUALS]=true": ["zeta"],
        "filters[superAdmin][EQUALS]=false": ["alpha", "omega"],
        f"filters[groupList][EQUALS]={group}": ["zeta"],
        f"filters[group_list][NOT_EQUALS]={group}": ["alpha", "omega"],
        f"filters[id][EQUALS]={off}": ["omega"],
        "filters[description][IS_NULL]=": [],
        "sort=enabled&sort=name": ["omega", "alpha", "zeta"],
    }

    for query, names in cases.items():
        here = http.get(f"main/service-accounts?{query}").json()
        everywhere = http.get(f"service-accounts?{query}").json()
        assert names == [row["username"] for row in here["results"]], query
        assert names == [account["name"] for account in everywhere["results"]], query
    for path in ("main/service-accounts", "service-accounts"):
        problem(http.get(f"{path}?filters[email][EQUALS]=x"), 400, "filters.invalid")
        problem(http.get(f"{path}?sort=groups"), 422, "sort.invalid", "sort")


def test_lists_at_a_position_show_the_past(http: Served) -> None:
    """Both lists show an account that was deleted since, as it was."""
    bot = http.account()
    then = http.state.position
    http.delete(f"main/service-accounts/{bot}")

    for path in ("main/service-accounts", "service-accounts"):
        assert 0 == http.get(path).json()["total"]
        assert [bot] == [row["id"] for row in http.get(f"{path}?position={then}").json()["results"]]


def test_lists_need_permission_and_privilege(http: Served) -> None:
    """The tenant's list needs SERVICE_ACCOUNT:LIST, the installation's an instance owner."""
    cal = http.user("cal@example.com")
    http.allow(cal, {"SERVICE_ACCOUNT": ["VIEW", "UPDATE", "CREATE", "DELETE"], "USER": ["*"]})
    by = http.bearer(cal)

    refused = problem(http.get("main/service-accounts", by=by), 403, "permission.denied")
    assert [{"type": "SERVICE_ACCOUNT", "action": "LIST"}] == refused["required"]
    problem(http.get("service-accounts", by=by), 403, "privilege.required")
