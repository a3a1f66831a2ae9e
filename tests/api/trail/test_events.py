"""Is the whole trail found, followed and shown in our own shape, to whom it may be shown?"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from domain.ids import MAIN, TenantId, UserId
from domain.roles import DeleteRole
from domain.users import DeleteUser, UserCreated
from tests.answers import problem
from tests.service import NOBODY, Headers, Served

LISTS = {"AUDITLOG": ["LIST", "VIEW"]}


def auditor(http: Served, *more: str) -> Headers:
    """Answer a user who may list and view the trail, and view the users if so named."""
    user = http.user(f"auditor{len(more)}@example.com")
    http.allow(user, {**LISTS, **({"USER": [*more]} if more else {})})
    return http.bearer(user)


def positions(body: dict[str, Any]) -> list[int]:
    """Answer the positions of a page."""
    return [item["position"] for item in body["items"]]


def own(http: Served, tenant: str = MAIN) -> list[int]:
    """Answer the positions of a tenant's events, by the log itself."""
    page = http.get(f"{tenant}/auditlogs/search?size=1000").json()
    return [item["auditLog"]["position"] for item in page["results"]]


# One entry


def test_entry_tells_who_did_what_from_where_and_what_changed(http: Served) -> None:
    """Actor, target, sentence, the object before and after, and the event itself."""
    bot = http.account("ci-bot")
    http.allow(bot, {"ROLE": ["*"], "FLOW": ["*"]})
    by = http.bearer(bot)
    headers = {"User-Agent": "curl", "X-Request-ID": "r-1", "X-Muniment-Reason": "on call"}
    body = {"name": "operator", "permissions": {"FLOW": ["VIEW"]}}
    role = http.post("main/roles", body, by=by, headers=headers).json()["id"]

    item = http.get("main/events?limit=1").json()["items"][0]

    fact = http.facts()[-1]
    token = next(iter(http.state.tokens_of[bot]))
    after = item.pop("after")
    assert ("operator", {"FLOW": ["VIEW"]}) == (after["name"], after["permissions"])
    assert {
        "position": http.state.position,
        "topic": "role.created.v1",
        "at": "2026-01-01T00:00:00Z",
        "actor": {
            "type": "service_account",
            "id": bot,
            "name": "ci-bot",
            "tokenId": token,
            "via": "api",
            "address": "192.0.2.1",
            "userAgent": "curl",
        },
        "tenant": "main",
        "commandId": fact.envelope.command_id,
        "correlationId": "r-1",
        "reason": "on call",
        "target": {"type": "ROLE", "id": role, "name": "operator", "roleId": role},
        "sentence": '"ci-bot" created the role "operator"',
        "event": {
            "tenant": "main",
            "id": role,
            "name": "operator",
            "description": "",
            "permissions": item["event"]["permissions"],
        },
    } == item


def test_one_event_leads_to_those_of_its_command_its_request_and_its_object(http: Served) -> None:
    """What belongs together is found from any of its parts."""
    headers = {"X-Request-ID": "r-2"}
    made = http.post("main/groups", {"name": "Bots"}, headers=headers).json()["id"]
    first = http.state.position
    http.put(f"main/groups/{made}", {"name": "Robots", "description": "x"}, headers=headers)

    whole = http.get(f"main/events/{first}").json()

    related = {name: positions({"items": found}) for name, found in whole["related"].items()}
    later = [first + 2, first + 1]
    assert {"command": [], "request": later, "target": later} == related
    other = http.get(f"main/events/{first + 1}").json()["related"]["command"]
    assert [first + 2] == positions({"items": other})
    assert "Robots" in other[0]["sentence"]
    assert whole["sentence"].endswith('created the group "Robots"'), "as it is called now"


def test_one_event_that_is_not_in_the_tenant_does_not_exist(http: Served) -> None:
    """Neither another tenant's, nor the future's, nor what is no position."""
    http.group("Foreign", tenant=http.tenant("beta"))
    position = http.state.position

    for number in (position, position + 5, 0, "x", "1e3", "-1", "9" * 30):
        problem(http.get(f"main/events/{number}"), 404, "auditlog.unknown")
    assert 200 == http.get(f"beta/events/{position}").status_code, "control"
    assert 200 == http.get(f"events/{position}").status_code


# Who may, and what they are told


def test_lists_need_list_and_one_needs_view(http: Served) -> None:
    """AUDITLOG:LIST for the list, AUDITLOG:VIEW for one, an instance owner for the whole log."""
    position = http.state.position
    lister = http.user("lister@example.com")
    http.allow(lister, {"AUDITLOG": ["LIST"]})
    viewer = http.user("viewer@example.com")
    http.allow(viewer, {"AUDITLOG": ["VIEW"]})
    first = own(http)[-1]

    for user, listed, one in ((lister, 200, 403), (viewer, 403, 200)):
        by = http.bearer(user)
        assert listed == http.get("main/events", by=by).status_code
        assert one == http.get(f"main/events/{first}", by=by).status_code
        assert 403 == http.get("events", by=by).status_code
        assert 403 == http.get(f"events/{position}", by=by).status_code
    assert 401 == http.get("main/events", by=NOBODY).status_code


def test_people_are_named_to_whom_may_see_users(http: Served) -> None:
    """Others, and in the tenant's trail those without access to it, stand by their ids."""
    ada = http.user("ada@example.com", first_name="Ada", last_name="Lovelace")
    http.allow(ada, {"GROUP": ["*"]})
    http.post("main/groups", {"name": "Bots"}, by=http.bearer(ada))
    http.post("main/groups", {"name": "More"})

    def actors(by: Headers) -> list[Any]:
        found = http.get("main/events?type=group.*", by=by).json()["items"]
        return [(item["actor"].get("name"), item["sentence"].split()[0]) for item in found]

    # The instance owner who made the other group has no access to this tenant.
    assert [(None, http.root_id), (None, ada)] == actors(auditor(http))
    assert [(None, http.root_id), ("Ada Lovelace", '"Ada')] == actors(auditor(http, "VIEW"))
    everywhere = http.get("events?type=group.*").json()["items"]
    assert "root@example.com" == everywhere[0]["actor"]["name"]


def test_sealed_and_erased_values_say_only_that(http: Served) -> None:
    """No e-mail, no hash and no index stands in the trail."""
    ada = http.user("secret@example.com", first_name="Ada")
    path = f"main/events?target={ada}&type=user.created.v1"
    everywhere = f"events?target={ada}&type=user.created.v1"

    sealed = http.get(everywhere).json()["items"][0]["event"]
    assert {"id": ada, "email": {"sealed": True}, "firstName": {"sealed": True}} == sealed
    http.give(DeleteUser(id=UserId(ada)))
    for event in http.events():
        if isinstance(event, UserCreated) and event.id == ada:
            http.vault.destroy(event.email.key)
    erased = http.get(everywhere).json()["items"][0]
    assert {"erased": True} == erased["event"]["email"]
    assert "secret@example.com" not in http.get(path).text
    assert ada in erased["sentence"]


def test_what_was_deleted_is_called_as_the_event_knew_it(http: Served) -> None:
    """A name that is gone from the state is still in the trail."""
    role = http.role({"FLOW": ["VIEW"]}, name="operator")
    http.give(DeleteRole(tenant=MAIN, id=role))

    item = http.get("main/events?limit=1").json()["items"][0]

    assert item["sentence"].endswith('deleted the role "operator"')
    assert "after" not in item


# Filters


def test_each_filter_finds_what_it_says(http: Served) -> None:
    """By actor, token, target, type, time, address, request, command, outcome and words."""
    bot = http.account("ci-bot")
    http.allow(bot, {"GROUP": ["*"]})
    http.inputs.advance(3600)
    by = http.bearer(bot)
    token = next(iter(http.state.tokens_of[bot]))
    group = http.post(
        "main/groups",
        {"name": "Night Watch"},
        by=by,
        address="198.51.100.7",
        headers={"X-Request-ID": "r 3/&%\"'"},
    ).json()["id"]
    position = http.state.position
    command = http.facts()[-1].envelope.command_id
    correlation = http.facts()[-1].envelope.correlation_id

    found = {
        f"actor={bot}": [position],
        f"token={token}": [position],
        f"target={group}": [position],
        "type=group.*": [position],
        "type=group.created.v1,role.deleted.v1": [position],
        "type=group.deleted.v1": [],
        "since=2026-01-01T01:00:00Z&type=group.*": [position],
        "until=2026-01-01T00:59:59Z&type=group.*": [],
        "address=198.51.100.7": [position],
        f"command={command}": [position],
        "outcome=ALLOWED&type=group.*": [position],
        "outcome=DENIED": [],
        "q=night": [position],
        "q=watch+NIGHT+created": [position],
        "q=nigh": [],
        f"q={group}": [position],
        f"after={position - 1}": [position],
        f"before={position}&type=group.*": [],
    }
    for query, expected in found.items():
        assert expected == positions(http.get(f"main/events?{query}").json()), query
    answer = http.run(http.send("GET", f"main/events?correlation={escaped(correlation)}"))
    assert [position] == positions(answer.json())


def escaped(text: str) -> str:
    """Answer a text as it stands in a query."""
    return "".join(f"%{byte:02X}" for byte in text.encode())


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("since=yesterday", "since"),
        ("until=2026-13-01", "until"),
        ("address=localhost", "address"),
        ("type=Group", "type"),
        ("type=group..x", "type"),
        ("type=*", "type"),
        ("type=" + ",".join(["group.*"] * 51), "type"),
        ("outcome=MAYBE", "outcome"),
        ("actor=", "actor"),
        ("q=" + "x" * 257, "q"),
        ("order=up", "order"),
        ("acter=x", "acter"),
        ("tenant=beta", "tenant"),
        ("filters[q][EQUALS]=x", "filters[q][EQUALS]"),
    ],
)
def test_filter_that_is_malformed_or_unknown_is_named(http: Served, query: str, named: str) -> None:
    """400 with the filter's name: a misspelt filter does not show everything."""
    body = problem(http.get(f"main/events?{query}"), 400, "filters.invalid")

    assert body["detail"].startswith(f"{named}: ")


def test_position_that_is_none_is_refused(http: Served) -> None:
    """400, as everywhere."""
    for query in ("after=x", "before=-1", "after=1.5"):
        problem(http.get(f"main/events?{query}"), 400, "position.invalid")
    problem(http.get("main/events?limit=0"), 422, "page.invalid", "limit")


# Walks and feeds


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_walk_shows_one_moment_while_the_log_grows(http: Served, order: str) -> None:
    """Each entry once, none that came later, whatever is written between two pages."""
    expected = own(http)
    if order == "asc":
        expected.reverse()
    path, seen = f"main/events?limit=2&order={order}", []
    while path:
        answer = http.get(path)
        seen += positions(answer.json())
        http.group(f"Group {http.state.position}")
        link = answer.headers.get("link", "")
        path = link[1:].partition(">")[0].removeprefix("https://iam.example")
        assert bool(link) == ("nextCursor" in answer.json())

    assert expected == seen
    assert len(seen) > 4, "control: there were pages"


def test_cursor_belongs_to_its_request(http: Served) -> None:
    """Damaged, by another caller, with another filter or of another route: 400."""
    answer = http.get("main/events?limit=2&type=role.*")
    cursor = answer.json()["nextCursor"]
    assert [cursor] == parse_qs(urlsplit(answer.headers["link"][1:].partition(">")[0]).query)[
        "cursor"
    ]
    http.tenant("beta")
    good = f"?limit=2&type=role.*&cursor={cursor}"

    assert 200 == http.get("main/events" + good).status_code, "control"
    for path, by in (
        (f"main/events?limit=2&type=role.*&cursor=A{cursor[1:]}x", http.root),
        (f"main/events?limit=2&type=user.*&cursor={cursor}", http.root),
        ("beta/events" + good, http.root),
        ("events" + good, http.root),
        ("main/events" + good, auditor(http)),
    ):
        problem(http.get(path, by=by), 400, "cursor.invalid")


@pytest.mark.parametrize("query", ["", "&type=group.*"])
def test_feed_misses_nothing_and_repeats_nothing(http: Served, query: str) -> None:
    """Whoever asks on from `nextAfter` sees each entry once, filtered or not, as the log grows."""
    after, seen = 0, []
    for turn in range(40):
        body = http.get(f"main/events?after={after}&limit=3{query}").json()
        assert body["through"] == body["nextAfter"] >= after
        assert "nextCursor" not in body
        seen += positions(body)
        after = body["nextAfter"]
        if turn < 5:
            http.group(f"Group {turn}")
            http.account(f"bot-{turn}")

    assert http.state.position == after, "it looked as far as the head, whatever matched"
    last = http.get(f"main/events?limit=1000&order=asc{query}").json()
    assert positions(last) == seen


def test_feed_of_a_tenant_has_its_own_events_only(http: Served) -> None:
    """The whole log shows all, without a gap; each tenant its own, and `tenant` picks one."""
    beta = http.tenant("beta")
    http.group("Foreign", tenant=beta)
    http.group("Ours")
    head = http.state.position

    def feed(path: str) -> list[int]:
        return positions(http.get(f"{path}after=0&limit=1000").json())

    assert [*range(1, head + 1)] == feed("events?")
    ours, theirs = feed("main/events?"), feed("beta/events?")
    assert head in ours
    assert head - 1 in theirs
    assert not {*ours} & {*theirs}
    assert theirs == feed("events?tenant=beta&")


def test_feed_that_is_ahead_stays_where_it_is(http: Served) -> None:
    """Who asks for what has not happened gets nothing, and is not sent back."""
    ahead = http.state.position + 10

    body = http.get(f"main/events?after={ahead}").json()

    assert ([], ahead, ahead) == (body["items"], body["through"], body["nextAfter"])


def test_past_shows_no_later_event(http: Served) -> None:
    """`position` shows the trail as of then, and the header says so."""
    position = http.state.position
    http.group("Later")

    answer = http.get(f"main/events?position={position}&order=desc")

    assert str(position) == answer.headers["x-muniment-position"]
    assert position >= max(positions(answer.json()))
    assert http.state.position == positions(http.get("main/events").json())[0], "control"


# Whose rights it changed


def test_an_entry_tells_whose_rights_it_changed_where_that_is_asked(http: Served) -> None:
    """Issue 5: a group's binding gives to its members; in the list and by itself the same."""
    group, bot = http.group("Bots"), http.account("ci-bot")
    http.put(f"main/groups/{group}/members/{bot}", {"membership": "MEMBER"})
    role = http.role({"FLOW": ["VIEW"]})
    given = {"type": "GROUP", "externalId": group, "roleId": role, "namespaceId": "prod"}
    http.post("main/bindings", given)

    (listed,) = http.get("main/events?limit=1&access=true").json()["items"]
    shown = http.get(f"main/events/{http.state.position}?access=true").json()

    assert "access" not in http.get("main/events?limit=1").json()["items"][0]
    assert listed["access"] == shown["access"]
    (gained,) = listed["access"]["gained"]
    assert gained["principal"] == {"type": "service_account", "id": bot, "name": "ci-bot"}
    assert (gained["permission"], gained["scope"]) == (
        {"type": "FLOW", "action": "VIEW"},
        {"namespace": "prod"},
    )
    assert listed["access"]["lost"] == []


def test_rights_of_another_tenant_are_not_told_in_this_ones_trail(http: Served) -> None:
    """An event of both tenants is told to each with its own half, and to the owner whole."""
    beta = TenantId(http.tenant("beta"))
    bot = http.account("ci-bot", MAIN, beta)
    for tenant in (MAIN, beta):
        http.allow(bot, {"FLOW": ["VIEW"]}, tenant=tenant)
    http.post(f"service-accounts/{bot}/disable", None)
    at = http.state.position

    everything = http.get(f"events/{at}?access=true").json()["access"]

    assert {right["tenant"] for right in everything["lost"]} == {"main", "beta"}
    for entry in http.get("main/events?limit=100&access=true").json()["items"]:
        changed = [*entry["access"]["gained"], *entry["access"]["lost"]]
        assert {right["tenant"] for right in changed} <= {"main"}


def test_long_pages_with_rights_are_refused(http: Served) -> None:
    """Each entry costs two folds."""
    problem(http.get("main/events?limit=101&access=true"), 422, "page.invalid", "limit")
    problem(http.get("main/events?access=maybe"), 400, "query.invalid")
