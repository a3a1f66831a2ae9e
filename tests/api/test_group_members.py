"""Do memberships behave over HTTP as the contract says? (kestra-iam 6.3 and 8)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from domain.ids import MAIN, GroupId, PrincipalId, TenantId
from domain.principals import MemberAdded
from tests.answers import has_null, problem
from tests.service import NOBODY, Headers, Served

JSON = {"Content-Type": "application/json"}


def owner_of(http: Served, group: GroupId) -> tuple[PrincipalId, Headers]:
    """Answer a user who owns a group and has no permission at all."""
    user = http.user("owner@example.com")
    added = http.put(f"main/groups/{group}/members/{user}", {"membership": "OWNER"})
    assert 200 == added.status_code
    return user, http.bearer(user)


def member_ids(http: Served, group: GroupId, query: str = "") -> list[str]:
    """Answer the ids of a group's members."""
    found: dict[str, Any] = http.get(f"main/groups/{group}/members{query}").json()
    return [member["id"] for member in found["results"]]


def test_add_member_answers_the_member_with_all_its_groups(http: Served) -> None:
    """Terraform's PUT without a body adds a member; this group comes first in the answer."""
    crew, bots = http.group("Crew"), http.group("Bots")
    ada = http.user(first_name="Ada", last_name="Lovelace")
    http.put(f"main/groups/{crew}/members/{ada}", {"membership": "OWNER"})

    added = http.put(f"main/groups/{bots}/members/{ada}", headers=JSON)

    assert 200 == added.status_code
    assert {
        "id": ada,
        "username": "ada@example.com",
        "displayName": "Ada Lovelace",
        "groups": [
            {"id": bots, "name": "Bots", "external": False, "membership": "MEMBER"},
            {"id": crew, "name": "Crew", "external": False, "membership": "OWNER"},
        ],
    } == added.json()
    assert f'"{http.state.position}"' == added.headers["etag"]


def test_add_member_service_account_is_called_by_its_name(http: Served) -> None:
    """A service account is a member like any other, and its user name is its name."""
    bot, group = http.account(), http.group()

    added = http.put(f"main/groups/{group}/members/{bot}").json()

    assert ("ci-bot", "ci-bot") == (added["username"], added["displayName"])


def test_add_member_twice_conflicts(http: Served) -> None:
    """Who is a member cannot be added again."""
    bot, group = http.account(), http.group()
    http.put(f"main/groups/{group}/members/{bot}")

    problem(http.put(f"main/groups/{group}/members/{bot}"), 409, "group.already_member")


def test_add_member_unknown_objects(http: Served) -> None:
    """An unknown group is 404; an unknown principal too, for who may give access."""
    group = http.group()
    foreign = http.group("Crew", tenant=http.tenant())
    bot = http.account()

    problem(http.put(f"main/groups/{'0' * 22}/members/{bot}"), 404, "group.unknown")
    problem(http.put(f"main/groups/{foreign}/members/{bot}"), 404, "group.unknown")
    problem(http.put(f"main/groups/{group}/members/never"), 404, "principal.unknown")


def test_add_member_escalation_names_what_is_missing(http: Served) -> None:
    """Nobody adds members to a group whose bindings give what they lack (security 2.5)."""
    group, bot = http.group(), http.account()
    role = http.role({"SECRET": ["VIEW"]})
    http.post(
        "main/bindings",
        {"type": "GROUP", "externalId": group, "roleId": role, "namespaceId": "prod"},
    )
    cal = http.user("cal@example.com")
    http.allow(cal, {"GROUP": ["MANAGE_MEMBERS"]})

    refused = http.put(f"main/groups/{group}/members/{bot}", by=http.bearer(cal))

    told = problem(refused, 403, "group.escalation")
    missing = {"type": "SECRET", "action": "VIEW", "scope": {"namespace": "prod"}}
    assert [missing] == told["required"]
    assert 200 == http.put(f"main/groups/{group}/members/{bot}").status_code


def test_add_member_for_a_time_ends_by_itself(http: Served) -> None:
    """A membership with an end is echoed, leaves the list when it is over, and may be renewed."""
    group, bot = http.group(), http.account()
    end = http.inputs.now() + timedelta(hours=1)
    body = {"membership": None, "notBefore": None, "expiresAt": end.isoformat()}

    added = http.put(f"main/groups/{group}/members/{bot}", body).json()

    assert "2026-01-01T01:00:00Z" == added["groups"][0]["expiresAt"]
    assert "notBefore" not in added["groups"][0]
    assert [bot] == member_ids(http, group)
    then = http.state.position
    http.inputs.advance(3600)
    assert [] == member_ids(http, group)
    assert [bot] == member_ids(http, group, f"?position={then}")
    problem(http.delete(f"main/groups/{group}/members/{bot}"), 409, "group.not_member")
    assert 200 == http.put(f"main/groups/{group}/members/{bot}").status_code


def test_add_member_impossible_span_is_named(http: Served) -> None:
    """A membership ends in the future and after it began."""
    group, bot = http.group(), http.account()
    past = {"expiresAt": "2025-01-01T00:00:00Z"}
    crossed = {"notBefore": "2027-01-01T00:00:00Z", "expiresAt": "2026-06-01T00:00:00Z"}

    for body in (past, crossed):
        answer = http.put(f"main/groups/{group}/members/{bot}", body)
        problem(answer, 422, "membership.invalid", "expiresAt")
    wrong = http.put(f"main/groups/{group}/members/{bot}", {"membership": "ADMIN"})
    problem(wrong, 422, "body.invalid", "membership")


def test_remove_member_answers_what_is_left(http: Served) -> None:
    """DELETE answers JSON, because kestrapy reads it: the member with its other groups."""
    group, crew, bot = http.group(), http.group("Crew"), http.account()
    for one in (group, crew):
        http.put(f"main/groups/{one}/members/{bot}")

    gone = http.delete(f"main/groups/{group}/members/{bot}", headers=JSON)

    assert 200 == gone.status_code
    assert bot == gone.json()["id"]
    assert [crew] == [one["id"] for one in gone.json()["groups"]]
    problem(http.delete(f"main/groups/{group}/members/{bot}"), 409, "group.not_member")


def test_change_membership_makes_an_owner(http: Served) -> None:
    """The level is a query parameter, required, OWNER or MEMBER, for members only."""
    group, bot = http.group(), http.account()
    path = f"main/groups/{group}/members/membership/{bot}"
    problem(http.put(f"{path}?membership=OWNER"), 409, "group.not_member")
    http.put(f"main/groups/{group}/members/{bot}")

    changed = http.put(f"{path}?membership=OWNER", headers=JSON)

    assert "OWNER" == changed.json()["groups"][0]["membership"]
    before = http.state.position
    assert 200 == http.put(f"{path}?membership=OWNER").status_code
    assert before == http.state.position
    problem(http.put(path), 400, "query.invalid")
    problem(http.put(f"{path}?membership=owner"), 422, "field.invalid", "membership")


def test_owner_of_a_group_manages_its_members_without_permission(http: Served) -> None:
    """An owner of a group adds, lists, changes and removes its members, and those of no other."""
    group, crew, bot = http.group(), http.group("Crew"), http.account()
    owner, by = owner_of(http, group)
    http.put(f"main/groups/{crew}/members/{owner}")

    added = http.put(f"main/groups/{group}/members/{bot}", by=by)
    changed = http.put(f"main/groups/{group}/members/membership/{bot}?membership=OWNER", by=by)
    listed = http.get(f"main/groups/{group}/members", by=by)
    removed = http.delete(f"main/groups/{group}/members/{bot}", by=by)

    assert [200] * 4 == [one.status_code for one in (added, changed, listed, removed)]
    # It may not view groups, so of its own other group nothing is told.
    shown = {member["id"]: member["groups"] for member in listed.json()["results"]}
    assert [group] == [one["id"] for one in shown[owner]]
    problem(http.put(f"main/groups/{crew}/members/{bot}", by=by), 403, "permission.denied")
    problem(http.get(f"main/groups/{group}", by=by), 403, "permission.denied")


def test_owner_of_a_group_no_longer_is_refused(http: Served) -> None:
    """Once only a member, a former owner manages nothing."""
    group, bot = http.group(), http.account()
    owner, by = owner_of(http, group)
    http.put(f"main/groups/{group}/members/membership/{owner}?membership=MEMBER")

    problem(http.put(f"main/groups/{group}/members/{bot}", by=by), 403, "permission.denied")


def test_members_accept_the_old_permission_of_each_verb(http: Served) -> None:
    """GROUP_MEMBERSHIP of generation 1 opens the routes that its verb fits (kestra-iam 5.3)."""
    group, bot = http.group(), http.account()
    cal = http.user("cal@example.com")
    http.allow(cal, {"GROUP_MEMBERSHIP": ["CREATE"]})
    by = http.bearer(cal)

    added = http.put(f"main/groups/{group}/members/{bot}", by=by)
    removed = http.delete(f"main/groups/{group}/members/{bot}", by=by)

    assert 200 == added.status_code
    problem(removed, 403, "permission.denied")


def test_members_can_be_walked_by_pages(http: Served) -> None:
    """Terraform reads members by 200 until a short page: every page but the last is full."""
    accounts = [http.account(f"bot-{number:03}") for number in range(7)]
    made = http.post("main/groups", {"name": "Bots", "membersId": accounts}).json()

    pages = [
        http.get(f"main/groups/{made['id']}/members?size=3&page={page}").json()
        for page in (1, 2, 3)
    ]

    walked = [member["id"] for page in pages for member in page["results"]]
    assert accounts == walked
    assert [3, 3, 1] == [len(page["results"]) for page in pages]
    assert {7} == {page["total"] for page in pages}
    assert 7 == len(member_ids(http, made["id"], "?size=200"))
    assert not has_null(pages)


def test_members_filters_and_sorts(http: Served) -> None:
    """Members are found by their names, though those of people are sealed."""
    group = http.group()
    ada = http.user("ada@example.com", first_name="Ada", last_name="Lovelace")
    http.put(f"main/groups/{group}/members/{ada}")
    http.inputs.advance(60)
    bot = http.account("ci-bot")
    http.put(f"main/groups/{group}/members/{bot}")
    cases = {
        "": [ada, bot],
        "filters[q][EQUALS]=ADA@": [ada],
        "filters[q][CONTAINS]=lovelace": [ada],
        "filters[username][EQUALS]=CI-BOT": [bot],
        "filters[name][STARTS_WITH]=ada": [ada],
        "filters[type][EQUALS]=SERVICE_ACCOUNT": [bot],
        f"filters[id][NOT_EQUALS]={bot}": [ada],
        "filters[created][GREATER_THAN]=2026-01-01T00:00:30Z": [bot],
        "filters[or][0][type][EQUALS]=STANDARD&filters[or][1][q][EQUALS]=bot": [ada, bot],
        "sort=username:desc": [bot, ada],
        "sort=created:desc": [bot, ada],
        "sort=type": [bot, ada],
        "size=1&page=2": [bot],
    }

    for query, ids in cases.items():
        assert ids == member_ids(http, group, f"?{query}"), query
    refused = http.get(f"main/groups/{group}/members?filters[email][EQUALS]=x")
    problem(refused, 400, "filters.invalid")
    problem(http.get("main/groups/never/members"), 404, "group.unknown")


def test_two_memberships_at_once_both_hold(http: Served) -> None:
    """Memberships that are set in parallel are both kept, and both read at once."""
    group = http.group()
    one, two = http.account("bot-1"), http.account("bot-2")

    answers = http.together(
        http.send("PUT", f"main/groups/{group}/members/{one}"),
        http.send("PUT", f"main/groups/{group}/members/{two}"),
    )

    assert [200, 200] == [answer.status_code for answer in answers]
    assert {one, two} == set(member_ids(http, group))


def test_add_member_same_key_answers_again(http: Served) -> None:
    """A repeated key adds nobody twice; the answer is as of then, whoever left since."""
    group, bot = http.group(), http.account()
    headers = {"Idempotency-Key": "once"}
    path = f"main/groups/{group}/members/{bot}"

    first = http.put(path, headers=headers)
    http.delete(path)
    again = http.put(path, headers=headers)

    assert first.json() == again.json()
    assert "true" == again.headers["idempotency-replayed"]
    assert [] == member_ids(http, group)
    problem(http.put(path, {"membership": "OWNER"}, headers=headers), 422, "idempotency.mismatch")


# The groups of one user


def test_replace_groups_replaces_those_of_this_tenant(http: Served) -> None:
    """PUT of a user's groups replaces the memberships here and leaves those elsewhere."""
    beta = http.tenant()
    bot = http.account("ci-bot", MAIN, beta)
    foreign = http.group("Foreign", tenant=beta)
    http.put(f"beta/groups/{foreign}/members/{bot}")
    bots, crew = http.group("Bots"), http.group("Crew")
    http.put(f"main/groups/{bots}/members/{bot}")

    done = http.put(f"main/users/{bot}/groups", {"groupIds": [crew], "other": None})

    assert (204, b"") == (done.status_code, done.content)
    assert str(http.state.position) == done.headers["x-muniment-position"]
    assert {crew, foreign} == set(http.state.memberships[bot])
    assert 204 == http.put(f"main/users/{bot}/groups", {"groupIds": None}).status_code
    assert {foreign} == set(http.state.memberships[bot])


def test_replace_groups_never_grants_access(http: Served) -> None:
    """Even an instance owner gives no access by this route: 409."""
    outsider = http.user("out@example.com", tenants=())

    refused = http.put(f"main/users/{outsider}/groups", {"groupIds": [http.group()]})

    problem(refused, 409, "tenant_access.missing")


def test_replace_groups_unknown_group_and_missing_permission(http: Served) -> None:
    """An unknown or foreign group is 404; without the permission it is 403; anonymous 401."""
    bot = http.account()
    foreign = http.group("Crew", tenant=TenantId(http.tenant()))
    cal = http.user("cal@example.com")
    http.allow(cal, {"GROUP": ["*"], "USER": ["UPDATE"]})
    path = f"main/users/{bot}/groups"

    problem(http.put(path, {"groupIds": [foreign]}), 404, "group.unknown")
    problem(http.put(path, {}), 422, "body.invalid", "groupIds")
    refused = problem(http.put(path, {}, by=http.bearer(cal)), 403, "permission.denied")
    assert [{"type": "USER", "action": "MANAGE_GROUP_MEMBERSHIP"}] == refused["required"]
    problem(http.put(path, {"groupIds": []}, by=NOBODY), 401, "auth.required")


def test_replace_groups_events_say_who_joined(http: Served) -> None:
    """The change is recorded as memberships, not as an edited user."""
    bot, group = http.account(), http.group()
    before = http.state.position

    http.put(f"main/users/{bot}/groups", {"groupIds": [group]})

    assert [MemberAdded(tenant=MAIN, group=group, principal=bot)] == http.events(before)
