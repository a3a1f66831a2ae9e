"""Does the audit trail appear over HTTP as the contract says? (kestra-iam 6.8)."""

from __future__ import annotations

import csv
import io
from typing import Any

import msgspec

from api.iam.audit_items import CSV_COLUMNS
from domain.ids import MAIN, UserId
from domain.users import DeleteUser
from projections.export_csv import harmless
from tests.answers import has_null, problem
from tests.service import NOBODY, Headers, Served

BODY = {"name": "operator", "permissions": {"FLOW": ["VIEW"]}}


def caller(http: Served, permissions: dict[str, list[str]], email: str) -> Headers:
    """Answer a user who holds these permissions, and nothing else."""
    user = http.user(email)
    http.allow(user, permissions)
    return http.bearer(user)


def made_role(http: Served) -> tuple[str, str]:
    """Make a role over HTTP; answer its id and that of the event's entry."""
    made = http.post("main/roles", BODY, headers={"User-Agent": "curl", "X-Request-ID": "r-1"})
    return made.json()["id"], f"e{http.state.position}"


def positions(found: dict[str, Any]) -> list[int]:
    """Answer the positions of a page of entries."""
    return [item["auditLog"]["position"] for item in found["results"]]


def table(text: str) -> list[dict[str, str]]:
    """Answer the rows of a CSV export by their columns."""
    return [*csv.DictReader(io.StringIO(text, newline=""))]


# Search


def test_search_answers_act_actor_token_and_change(http: Served) -> None:
    """An entry tells who did what, when, from where, with which token, and what changed."""
    bot = http.account()
    http.allow(bot, {"ROLE": ["*"], "FLOW": ["*"]})
    by = http.bearer(bot)
    headers = {"User-Agent": "curl", "X-Request-ID": "r-1", "X-Muniment-Reason": "on call"}
    role = http.post("main/roles", BODY, by=by, headers=headers).json()["id"]
    token = next(iter(http.state.tokens_of[bot]))

    item = http.get("main/auditlogs/search?size=1").json()["results"][0]

    position = http.state.position
    patch = {"name": "operator", "permissions": {"FLOW": ["VIEW"]}, "description": "", "id": role}
    log = item["auditLog"]
    assert {**patch, "isDefault": False, "isManaged": False} == {
        step["path"].removeprefix("/"): step["value"] for step in log.pop("appliedPatch")
    }
    assert {"remove"} == {step["op"] for step in log.pop("revertPatch")}
    assert {
        "id": f"e{position}",
        "tenantId": "main",
        "type": "CREATE",
        "date": "2026-01-01T00:00:00Z",
        "userId": bot,
        "ipAddress": "192.0.2.1",
        "detail": {
            "type": "ROLE",
            "resource": "ROLE",
            "id": role,
            "name": "operator",
            "roleId": role,
        },
        "position": position,
        "event": "role.created.v1",
        "tokenId": token,
        "userAgent": "curl",
        "reason": "on call",
        "requestId": "r-1",
        "outcome": "ALLOWED",
    } == log
    assert {
        "id": bot,
        "type": "SERVICE_ACCOUNT",
        "username": "ci-bot",
        "email": "",
        "name": "ci-bot",
        "description": "",
        "groupList": [],
        "instanceOwner": False,
        "superAdmin": False,
    } == item["user"]


def test_search_names_people_and_what_was_deleted(http: Served) -> None:
    """A person is named by their e-mail, also after they were deleted."""
    ada = http.user("ada@example.com", first_name="Ada", last_name="Lovelace", owner=True)
    http.post("main/roles", BODY, by=http.bearer(ada))
    path = "main/auditlogs/search?filters[event][EQUALS]=role.created.v1"
    before = http.get(path).json()["results"][0]["user"]

    http.give(DeleteUser(id=ada))

    after = http.get(path).json()["results"][0]["user"]
    assert ("STANDARD", "ada@example.com", "ada@example.com", "Ada", "Lovelace") == tuple(
        after[name] for name in ("type", "username", "email", "firstName", "lastName")
    )
    assert (True, False) == (before["instanceOwner"], after["instanceOwner"])


def test_search_filters_pages_and_sorts(http: Served) -> None:
    """Entries come newest first, and are found by each field of the list's table."""
    role, _ = made_role(http)
    first = http.state.position
    http.inputs.advance(3600)
    bot = http.account()
    group = http.group("Bots")
    http.put(f"main/groups/{group}/members/{bot}")
    binding = {"type": "GROUP", "externalId": group, "roleId": role, "namespaceId": "prod.billing"}
    http.post("main/bindings", binding)
    last = http.state.position
    cases: dict[str, list[int]] = {
        "size=2": [last, last - 1],
        "size=1&page=2": [last - 1],
        "filters[resources][IN]=BINDING,ROLE&size=2": [last, first],
        f"filters[details][EQUALS][userId]={bot}&filters[type][EQUALS]=CREATE&size=1": [last - 1],
        "filters[namespace][PREFIX]=prod": [last],
        "filters[event][STARTS_WITH]=binding.": [last],
        f"filters[user_id][EQUALS]={http.root_id}&size=1": [last],
        "filters[q][EQUALS]=OPERATOR&sort=position": [first],
        "filters[timeRange][EQUALS]=PT1M&filters[resources][EQUALS]=BINDING": [last],
        "filters[endDate][LESS_THAN]=2026-01-01T00:30:00Z&size=1": [first],
        f"filters[position][EQUALS]={first}": [first],
        f"filters[id][EQUALS]=e{first}": [first],
        "filters[ipAddress][EQUALS]=192.0.2.1&size=1": [last],
        "filters[outcome][EQUALS]=DENIED": [],
        "filters[flowId][EQUALS]=x": [],
        "sort=date&filters[resources][EQUALS]=GROUP": [last - 2, last - 1],
    }

    for query, expected in cases.items():
        found = http.get(f"main/auditlogs/search?{query}").json()
        assert expected == positions(found), query
        assert not has_null(found)
    problem(http.get("main/auditlogs/search?sort=q"), 422, "sort.invalid", "sort")
    problem(http.get("main/auditlogs/search?filters[x][EQUALS]=1"), 400, "filters.invalid")


def test_search_keeps_to_its_tenant(http: Served) -> None:
    """A tenant's trail has its own events only; the instance owner's has every one."""
    http.group("Crew", tenant=http.tenant())
    made_role(http)

    here = http.get("main/auditlogs/search?size=1000").json()
    everywhere = http.get("auditlogs/search?size=1000").json()

    assert {"main"} == {item["auditLog"]["tenantId"] for item in here["results"]}
    assert [*range(http.state.position, 0, -1)] == positions(everywhere)
    assert everywhere["total"] == http.state.position
    assert not has_null(everywhere)


def test_trail_of_a_tenant_tells_nothing_of_its_actors_elsewhere(http: Served) -> None:
    """Security 2.3: of an actor's groups it names those of the tenant; the owner's names all."""
    beta = http.tenant("elsewhere")
    ada = http.user(tenants=(MAIN, beta))
    crew, bots = http.group("Crew", tenant=beta), http.group("Bots")
    http.put(f"elsewhere/groups/{crew}/members/{ada}")
    http.put(f"main/groups/{bots}/members/{ada}")
    http.allow(ada, {"GROUP": ["CREATE"]})
    http.post("main/groups", {"name": "made by ada"}, by=http.bearer(ada))
    by = caller(http, {"AUDITLOG": ["*"]}, "auditor@example.com")
    entry = http.post("main/auditlogs/find", {"resource": "GROUP", "type": "CREATE"}, by=by)

    here = http.get("main/auditlogs/search?size=1000", by=by).text
    everywhere = http.get("auditlogs/search?size=1000").text

    assert [{"tenantId": "main", "groupId": bots}] == entry.json()["user"]["groupList"]
    for text in (here, entry.text, http.get("main/auditlogs/export", by=by).text):
        assert crew not in text
        assert "elsewhere" not in text
    assert f'{{"tenantId":"elsewhere","groupId":"{crew}"}}' in everywhere


def test_search_at_a_position_ends_there(http: Served) -> None:
    """The trail as of a position ends with that event."""
    made_role(http)
    then = http.state.position
    http.group()

    assert then == positions(http.get(f"main/auditlogs/search?position={then}").json())[0]


# Find and history


def test_find_answers_one_and_the_list(http: Served) -> None:
    """The newest match stands by itself and in a list; no match is an empty list."""
    role, entry = made_role(http)
    body = {"resource": "ROLE", "type": "CREATE", "detail": {"id": role, "other": None}}

    found = http.post("main/auditlogs/find", body).json()
    nothing = http.post("main/auditlogs/find", {"detail": {"id": "never"}, "x": 1}).json()

    assert entry == found["auditLog"]["id"] == found["results"][0]["auditLog"]["id"]
    assert found["user"] == found["results"][0]["user"]
    assert 1 == found["total"]
    assert {"results": [], "total": 0} == nothing
    for number in range(11):
        http.group(f"group {number}")
    many = http.post("main/auditlogs/find", {"resource": "GROUP", "type": None}).json()
    assert (10, 11) == (len(many["results"]), many["total"])
    problem(http.post("main/auditlogs/find", {"detail": 1}), 422, "body.invalid", "detail")


def test_history_lists_the_events_of_an_object(http: Served) -> None:
    """An object's history is newest first; an id that never was has none."""
    role, entry = made_role(http)
    http.put(f"main/roles/{role}", {**BODY, "name": "renamed"})

    history = http.get(f"main/auditlogs/history/{role}").json()

    assert [f"e{http.state.position}", entry] == [one["id"] for one in history]
    assert {"id", "date", "username"} == set(history[0])
    assert "root@example.com" == history[0]["username"]
    assert [] == http.get("main/auditlogs/history/never").json()


# Differences


def test_diff_shows_an_object_before_and_after(http: Served) -> None:
    """Both sides are JSON text with sorted keys; where the object did not exist there is none."""
    role, made = made_role(http)
    http.put(f"main/roles/{role}", {**BODY, "name": "renamed"})
    renamed = f"e{http.state.position}"
    http.put(f"main/roles/{role}", {**BODY, "name": "again"})
    again = f"e{http.state.position}"
    http.delete(f"main/roles/{role}")
    deleted = f"e{http.state.position}"

    def names(path: str) -> list[str]:
        sides = http.get(f"main/auditlogs/{path}").json()
        texts = (sides["before"], sides["after"])
        return [msgspec.json.decode(text)["name"] if text else "" for text in texts]

    assert ["", "operator"] == names(f"{made}/diff")
    assert ["operator", "renamed"] == names(f"{renamed}/diff")
    assert ["operator", "again"] == names(f"{again}/diff?previousId={made}")
    assert ["again", ""] == names(f"{deleted}/diff")
    text = http.get(f"auditlogs/{made}/diff").json()["after"]
    assert text.startswith('{\n  "description": ""')
    assert [*msgspec.json.decode(text)] == sorted(msgspec.json.decode(text))


def test_diff_unknown_entries(http: Served) -> None:
    """What is no entry, of another tenant, or about something else is 404."""
    role, made = made_role(http)
    group = http.group("Crew", tenant=http.tenant())
    foreign = f"e{http.state.position}"
    http.group()
    other = f"e{http.state.position}"

    assert group != role
    for id_ in ("e0", "e999", "1", "ex", foreign):
        problem(http.get(f"main/auditlogs/{id_}/diff"), 404, "auditlog.unknown")
    for id_ in ("e999", "x", foreign, other):
        asked = http.get(f"main/auditlogs/{made}/diff?previousId={id_}")
        problem(asked, 404, "auditlog.unknown")


def test_diff_and_history_are_open_to_who_may_view_the_object(http: Served) -> None:
    """VIEW of the object's type is enough; what one may not view is as if it were not there."""
    role, made = made_role(http)
    group = http.group()
    grouped = f"e{http.state.position}"
    roles = caller(http, {"ROLE": ["VIEW"]}, "roles@example.com")
    trail = caller(http, {"AUDITLOG": ["VIEW"]}, "trail@example.com")
    nothing = caller(http, {"FLOW": ["VIEW"], "AUDITLOG": ["LIST"]}, "nothing@example.com")

    assert 200 == http.get(f"main/auditlogs/{made}/diff", by=roles).status_code
    assert 1 == len(http.get(f"main/auditlogs/history/{role}", by=roles).json())
    problem(http.get(f"main/auditlogs/{grouped}/diff", by=roles), 404, "auditlog.unknown")
    assert [] == http.get(f"main/auditlogs/history/{group}", by=roles).json()
    assert 200 == http.get(f"main/auditlogs/{grouped}/diff", by=trail).status_code
    for path in (f"{made}/diff", "e999/diff", f"history/{role}", "history/never"):
        problem(http.get(f"main/auditlogs/{path}", by=nothing), 403, "permission.denied")


# Export


def test_export_is_csv_of_everything_asked_for(http: Served) -> None:
    """The export has every entry up to its position, oldest first, in the contract's columns."""
    role, _ = made_role(http)

    export = http.get("main/auditlogs/export", headers={"Accept": "text/csv"})

    rows = table(export.text)
    assert export.headers["content-type"].startswith("text/csv")
    assert str(http.state.position) == export.headers["x-muniment-position"]
    assert CSV_COLUMNS == [*rows[0]]
    assert [*range(2, 2 + len(rows) - 1)] == [int(row["position"]) for row in rows[:-1]]
    last = rows[-1]
    assert ("CREATE", "role.created.v1", "ROLE", role, "root@example.com") == tuple(
        last[column] for column in ("type", "event", "resource", "resourceId", "username")
    )
    assert role == msgspec.json.decode(last["details"])["roleId"]
    assert "2026-01-01T00:00:00Z" == last["date"]


def test_export_takes_filters_and_flat_parameters_together(http: Served) -> None:
    """Both styles of the query narrow the export, alone and together."""
    role, entry = made_role(http)
    http.put(f"main/roles/{role}", {**BODY, "name": "renamed"})
    http.group("Bots")
    details = f'details={{"roleId":"{role}"}}'.replace('"', "%22").replace("{", "%7B")
    cases = {
        "filters[resources][EQUALS]=ROLE&q=renamed": 1,
        "resources=ROLE,GROUP&type=CREATE&q=bots": 1,
        f"id={entry}": 1,
        f"details=roleId:{role}": 2,
        details.replace("}", "%7D"): 2,
        f"userId={http.root_id}&resources=ROLE": 2,
        f"userId={http.root_id}&filters[type][EQUALS]=UPDATE": 1,
        "startDate=2026-01-02": 0,
        "endDate=2025-12-31": 0,
        "namespace=prod": 0,
        "flowId=x": 0,
        "executionId=x": 0,
        "namespace=&flowId=&q=&details=&resources=GROUP": 1,
    }

    for query, rows in cases.items():
        assert rows == len(table(http.get(f"main/auditlogs/export?{query}").text)), query
    problem(http.get("main/auditlogs/export?startDate=soon"), 400, "filters.invalid")
    problem(http.get("main/auditlogs/export?details=x"), 400, "query.invalid")
    problem(http.get('main/auditlogs/export?details=%7B"a":1%7D'), 400, "query.invalid")


def test_export_of_the_installation_has_every_event(http: Served) -> None:
    """The instance owner's export covers all tenants and what belongs to none."""
    http.tenant()

    rows = table(http.get("auditlogs/export").text)

    assert [*range(1, http.state.position + 1)] == [int(row["position"]) for row in rows]


def test_export_disarms_formulas(http: Served) -> None:
    """No cell of an export is taken for a formula by a spreadsheet (security 6.1)."""
    for cell in ("=1+1", "+1", "-1", "@x", "\tx", "\rx", "\u200bx"):
        assert f"'{cell}" == harmless(cell)
    for cell in ("", "a=b", "1", "{}"):
        assert cell == harmless(cell)
    agent = {"X-Request-ID": "r"}
    http.post("main/groups", {"name": "=cmd()"}, headers=agent)
    text = http.get("main/auditlogs/export?resources=GROUP").text
    assert not any(cell.startswith("=") for row in csv.reader(io.StringIO(text)) for cell in row)


def test_trail_needs_the_permission_of_each_route(http: Served) -> None:
    """Reading, finding and exporting each ask for their own action; anonymous is 401."""
    made_role(http)
    routes: dict[str, list[tuple[str, str]]] = {
        "LIST": [("GET", "search"), ("POST", "find")],
        "EXPORT": [("GET", "export")],
    }
    for needed, listed in routes.items():
        others = [action for action in ("LIST", "EXPORT", "VIEW") if action != needed]
        by = caller(http, {"AUDITLOG": others}, f"{needed.lower()}@example.com")
        for method, path in listed:
            answer = http.request(method, f"main/auditlogs/{path}", body={}, by=by)
            told = problem(answer, 403, "permission.denied")
            assert [{"type": "AUDITLOG", "action": needed}] == told["required"]
            nobody = http.request(method, f"main/auditlogs/{path}", body={}, by=NOBODY)
            problem(nobody, 401, "auth.required")
    admin = caller(http, {"*": ["*"]}, "admin@example.com")
    for path in ("search", "export", "e1/diff"):
        problem(http.get(f"auditlogs/{path}", by=admin), 403, "privilege.required")


def test_trail_tells_no_secret(http: Served) -> None:
    """Neither a token's secret nor its digest, nor anything sealed, stands in the trail."""
    bot = http.account()
    made = http.post(f"main/service-accounts/{bot}/api-tokens", {"name": "deploy"}).json()
    ada = UserId(http.user("ada@example.com", first_name="Augusta"))

    text = http.get("auditlogs/search?size=1000").text

    assert made["id"] in text
    assert made["fullToken"] not in text
    token = http.state.tokens[made["id"]]
    assert token.digest.hex() not in text
    assert "Augusta" not in text
    assert ada in text
    assert MAIN in text
