"""Do groups behave over HTTP as the contract says? (kestra-iam 6.3)."""

from __future__ import annotations

from msgspec import UNSET

from domain.groups import GroupCreated
from domain.ids import MAIN, UserId
from tests.answers import has_null, problem
from tests.service import NOBODY, Headers, Served


def caller(http: Served, *actions: str, email: str = "cal@example.com") -> Headers:
    """Answer a user who may do this with groups, and nothing else."""
    user = http.user(email)
    http.allow(user, {"GROUP": [*actions]})
    return http.bearer(user)


def test_create_group_answers_the_group_with_its_version(http: Served) -> None:
    """A new group is answered with its id, and can be read at once under the same tag."""
    sent = {"name": " Bots ", "description": "for CI", "namespaceId": "", "unknown": {"a": None}}

    made = http.post("main/groups", sent)

    id_ = made.json()["id"]
    assert (200, {"id": id_, "name": "Bots", "description": "for CI"}) == (
        made.status_code,
        made.json(),
    )
    read = http.get(f"main/groups/{id_}")
    assert made.json() == read.json()
    assert made.headers["etag"] == read.headers["etag"] == f'"{http.state.groups[id_].changed}"'
    assert made.headers["x-muniment-position"] == str(http.state.position)


def test_create_group_null_members_are_none(http: Served) -> None:
    """`null` for an optional list or text is the same as leaving it out."""
    made = http.post("main/groups", {"name": "Bots", "description": None, "membersId": None})

    assert 200 == made.status_code
    assert "" == made.json()["description"]
    assert [GroupCreated] == [type(event) for event in http.events(http.state.position - 1)]


def test_create_group_with_members_gives_them_access(http: Served) -> None:
    """Members are added in the same command, and gain access where the caller may give it."""
    outsider = http.user("out@example.com", tenants=())

    made = http.post("main/groups", {"name": "Bots", "membersId": [outsider]})

    members = http.get(f"main/groups/{made.json()['id']}/members").json()
    assert [outsider] == [member["id"] for member in members["results"]]
    assert MAIN in http.state.access[outsider]


def test_create_group_outsider_without_right_conflicts(http: Served) -> None:
    """Who may not give access cannot add one without it, and learns not whether it exists."""
    outsider = http.user("out@example.com", tenants=())
    by = caller(http, "CREATE")

    known = http.post("main/groups", {"name": "Bots", "membersId": [outsider]}, by=by)
    never = http.post("main/groups", {"name": "Bots", "membersId": ["never"]}, by=by)

    problem(known, 409, "tenant_access.missing")
    problem(never, 409, "tenant_access.missing")


def test_create_group_taken_name_conflicts(http: Served) -> None:
    """Group names are unique in a tenant whatever their case."""
    http.group("Bots")

    problem(http.post("main/groups", {"name": "bOTS"}), 409, "group.name_taken", "name")


def test_create_group_unfit_text_is_named(http: Served) -> None:
    """A text that does not fit is 422 and names its member."""
    cases = [
        ({"name": ""}, "name"),
        ({"name": "a" * 101}, "name"),
        ({"name": "a\u202eb"}, "name"),
        ({"name": "ok", "description": "d" * 2001}, "description"),
    ]

    for body, path in cases:
        problem(http.post("main/groups", body), 422, "group.invalid", path)


def test_create_group_wrong_types_are_unprocessable(http: Served) -> None:
    """A missing or wrongly typed member is 422 at its place."""
    cases = [
        ({}, "name"),
        ({"name": None}, "name"),
        ({"name": 1}, "name"),
        ({"name": "a", "membersId": "x"}, "membersId"),
        ({"name": "a", "membersId": ["x", 1]}, "membersId[1]"),
    ]

    for body, path in cases:
        problem(http.post("main/groups", body), 422, "body.invalid", path)


def test_create_group_malformed_body_is_a_bad_request(http: Served) -> None:
    """A body that is no JSON is 400."""
    headers = {"Content-Type": "application/json"}

    problem(http.post("main/groups", content=b'{"name":', headers=headers), 400, "body.malformed")


def test_group_order_of_judgement(http: Served) -> None:
    """Credentials come before the tenant, that before permission, body and existence."""
    headers = {"Content-Type": "application/json"}
    low = caller(http, "VIEW")
    bad = b"{"

    nobody = http.put("nowhere/groups/x", content=bad, by=NOBODY, headers=headers)
    nowhere = http.put("nowhere/groups/x", content=bad, by=low, headers=headers)
    refused = http.put("main/groups/x", content=bad, by=low, headers=headers)
    malformed = http.put("main/groups/x", content=bad, headers=headers)
    unknown = http.put("main/groups/x", {"name": "Bots"})

    problem(nobody, 401, "auth.required")
    problem(nowhere, 404, "tenant.unknown")
    problem(refused, 403, "permission.denied")
    problem(malformed, 400, "body.malformed")
    problem(unknown, 404, "group.unknown")


def test_group_of_another_tenant_is_as_one_that_never_was(http: Served) -> None:
    """Another tenant's group answers just as an id that was never given (security 2.3)."""
    foreign = http.group("Crew", tenant=http.tenant())

    for method in ("GET", "DELETE"):
        one = http.request(method, f"main/groups/{foreign}")
        other = http.request(method, f"main/groups/{'0' * 22}")
        told = problem(one, 404, "group.unknown")
        never = problem(other, 404, "group.unknown")
        assert never["message"].replace("0" * 22, foreign) == told["message"]


def test_change_group_replaces_both_texts(http: Served) -> None:
    """PUT replaces: an absent description is reset."""
    id_ = http.post("main/groups", {"name": "Bots", "description": "old"}).json()["id"]

    changed = http.put(f"main/groups/{id_}", {"name": "Robots"})

    assert {"id": id_, "name": "Robots", "description": ""} == changed.json()
    assert f'"{http.state.position}"' == changed.headers["etag"]


def test_change_group_to_taken_name_conflicts(http: Served) -> None:
    """A group cannot take another's name, but may change the case of its own."""
    http.group("Crew")
    id_ = http.group("Bots")

    problem(http.put(f"main/groups/{id_}", {"name": "CREW"}), 409, "group.name_taken", "name")
    assert "BOTS" == http.put(f"main/groups/{id_}", {"name": "BOTS"}).json()["name"]


def test_change_group_stale_version_fails(http: Served) -> None:
    """If-Match with an older version is 412 and tells the present one; with this one it holds."""
    id_ = http.group("Bots")
    first = http.get(f"main/groups/{id_}").headers["etag"]
    http.put(f"main/groups/{id_}", {"name": "Robots"})

    stale = http.put(f"main/groups/{id_}", {"name": "Crew"}, headers={"If-Match": first})

    problem(stale, 412, "etag.mismatch")
    current = stale.headers["etag"]
    assert current == http.get(f"main/groups/{id_}").headers["etag"]
    fresh = http.put(f"main/groups/{id_}", {"name": "Crew"}, headers={"If-Match": current})
    assert 200 == fresh.status_code


def test_show_group_unchanged_needs_no_body(http: Served) -> None:
    """A caller who holds this very version gets 304."""
    id_ = http.group("Bots")
    tag = http.get(f"main/groups/{id_}").headers["etag"]

    assert 304 == http.get(f"main/groups/{id_}", headers={"If-None-Match": tag}).status_code


def test_create_group_same_key_answers_again(http: Served) -> None:
    """A repeated key with the same body makes nothing new and answers as before."""
    headers = {"Idempotency-Key": "once"}

    first = http.post("main/groups", {"name": "Bots"}, headers=headers)
    http.put(f"main/groups/{first.json()['id']}", {"name": "Renamed"})
    again = http.post("main/groups", {"name": "Bots"}, headers=headers)
    other = http.post("main/groups", {"name": "Crew"}, headers=headers)

    assert first.json() == again.json()
    assert "true" == again.headers["idempotency-replayed"]
    assert first.headers["x-muniment-position"] == again.headers["x-muniment-position"]
    problem(other, 422, "idempotency.mismatch")


def test_delete_group_answers_an_empty_object(http: Served) -> None:
    """Deleting a group ends its bindings; its members stay."""
    bot = http.account()
    id_ = http.post("main/groups", {"name": "Bots", "membersId": [bot]}).json()["id"]
    role = http.role({"FLOW": ["VIEW"]})
    http.post("main/bindings", {"type": "GROUP", "externalId": id_, "roleId": role})

    gone = http.delete(f"main/groups/{id_}")

    assert (200, {}) == (gone.status_code, gone.json())
    assert not len(http.state.bindings)
    assert bot in http.state.service_accounts
    problem(http.delete(f"main/groups/{id_}"), 404, "group.unknown")


def test_delete_group_if_unused_names_what_depends(http: Served) -> None:
    """With ifUnused a group that is bound stays, and its bindings are named."""
    id_ = http.group("Bots")
    role = http.role({"FLOW": ["VIEW"]})
    bound = http.post("main/bindings", {"type": "GROUP", "externalId": id_, "roleId": role})

    refused = http.delete(f"main/groups/{id_}?ifUnused=true")

    told = problem(refused, 409, "group.in_use")
    assert [{"type": "BINDING", "id": bound.json()["id"]}] == told["dependents"]
    http.delete(f"main/bindings/{bound.json()['id']}")
    assert 200 == http.delete(f"main/groups/{id_}?ifUnused=true").status_code


def test_delete_group_unreadable_flag_is_a_bad_request(http: Served) -> None:
    """A flag is true or false."""
    problem(http.delete(f"main/groups/{http.group()}?ifUnused=maybe"), 400, "query.invalid")


# Lists


def test_search_groups_pages_by_name_with_exact_total(http: Served) -> None:
    """Pages are full but the last, by name, with the total of all and links to each other."""
    for number in range(5):
        http.group(f"group {number}")
    http.group("foreign", tenant=http.tenant())

    pages = [http.get(f"main/groups/search?size=2&page={page}") for page in (1, 2, 3, 4)]

    names = [[group["name"] for group in page.json()["results"]] for page in pages]
    assert [["group 0", "group 1"], ["group 2", "group 3"], ["group 4"], []] == names
    assert [5] * 4 == [page.json()["total"] for page in pages]
    assert 'rel="next"' in pages[0].headers["link"]
    assert 'rel="next"' not in pages[2].headers["link"]
    assert not has_null(pages[0].json())


def test_search_groups_filters_and_sorts(http: Served) -> None:
    """Every field of the list's table can be filtered and sorted by, in either spelling."""
    for name, description in (("Bots", "first"), ("Crew", ""), ("Robots", "second")):
        http.post("main/groups", {"name": name, "description": description})
    cases = {
        "filters[name][EQUALS]=bots": ["Bots"],
        "filters%5Bname%5D%5BEQUALS%5D=Bots": ["Bots"],
        "filters[q][EQUALS]=O": ["Bots", "Robots"],
        "filters[q][EQUALS]=second": ["Robots"],
        "filters[description][CONTAINS]=FIRST": ["Bots"],
        "filters[name][NOT_EQUALS]=Bots": ["Crew", "Robots"],
        "filters[name][IN]=Bots,Crew": ["Bots", "Crew"],
        "filters[name][REGEX]=^.o": ["Bots", "Robots"],
        "filters[or][0][name][EQUALS]=Crew&filters[or][1][q][EQUALS]=first": ["Bots", "Crew"],
        "filters[created][LESS_THAN]=2020-01-01": [],
        "sort=name:desc": ["Robots", "Crew", "Bots"],
        "sort=description&sort=name:desc": ["Crew", "Bots", "Robots"],
        "size=100": ["Bots", "Crew", "Robots"],
    }

    for query, names in cases.items():
        found = http.get(f"main/groups/search?{query}").json()
        assert names == [group["name"] for group in found["results"]], query
        assert len(names) == found["total"], query


def test_search_groups_refuses_what_it_cannot_read(http: Served) -> None:
    """A bad page is 422, a bad filter or position is 400, one not reached is 503."""
    cases = {
        "size=0": (422, "page.invalid"),
        "size=1001": (422, "page.invalid"),
        "page=0": (422, "page.invalid"),
        "sort=members": (422, "sort.invalid"),
        "filters[member][EQUALS]=x": (400, "filters.invalid"),
        "filters[name][PREFIX]=x": (400, "filters.invalid"),
        "position=1&at=2026-01-01T00:00:00Z": (400, "position.ambiguous"),
        "position=999": (400, "position.future"),
        "at_least=999": (503, "position.not_reached"),
    }

    for query, expected in cases.items():
        refused = http.get(f"main/groups/search?{query}").json()
        assert expected == (refused["status"], refused["code"]), query


def test_search_groups_at_a_position_shows_the_past(http: Served) -> None:
    """A list as of a position has what was deleted since, under the name of then."""
    id_ = http.group("Bots")
    then = http.state.position
    http.put(f"main/groups/{id_}", {"name": "Robots"})
    http.delete(f"main/groups/{id_}")

    past = http.get(f"main/groups/search?position={then}")
    one = http.get(f"main/groups/{id_}?position={then}")

    assert ["Bots"] == [group["name"] for group in past.json()["results"]]
    assert str(then) == past.headers["x-muniment-position"] == one.headers["x-muniment-position"]
    assert "Bots" == one.json()["name"]
    problem(http.put(f"main/groups/{id_}?position=1", {"name": "x"}), 400, "position.on_write")


def test_autocomplete_groups_puts_ids_first(http: Served) -> None:
    """The groups of the ids come first, in that order, then the matches; unknown ones nowhere."""
    crew, bots = http.group("Crew"), http.group("Bots")
    http.group("Robots")
    body = {"q": "bots", "ids": [crew, "never"], "existingOnly": True}

    found = http.post("main/groups/autocomplete", body)

    assert ["Crew", "Bots", "Robots"] == [group["name"] for group in found.json()]
    narrowed = http.post(f"main/groups/autocomplete?filters[id][EQUALS]={bots}", {"q": None})
    assert [bots] == [group["id"] for group in narrowed.json()]


def test_autocomplete_groups_answers_at_most_fifty(http: Served) -> None:
    """No completion is longer than 50."""
    for number in range(51):
        http.group(f"group {number}")

    assert 50 == len(http.post("main/groups/autocomplete", {}).json())


def test_groups_by_ids_leaves_out_unknown_and_foreign(http: Served) -> None:
    """Ids that are unknown or of another tenant are left out; each group comes once."""
    foreign = http.group("Crew", tenant=http.tenant())
    bots = http.group("Bots")
    then = http.state.position

    found = http.post("main/groups/ids", {"ids": [bots, "never", foreign, bots]})

    assert [{"id": bots, "name": "Bots", "description": ""}] == found.json()
    assert [] == http.post(f"main/groups/ids?position={then - 1}", {"ids": [bots]}).json()
    assert [] == http.post("main/groups/ids", {"ids": None}).json()


def test_groups_need_the_permission_of_each_route(http: Served) -> None:
    """Each route asks for its own action, and names it when it refuses."""
    id_ = http.group("Bots")
    user = UserId("0" * 22)
    routes: dict[str, list[tuple[str, str, object]]] = {
        "CREATE": [("POST", "groups", {"name": "x"})],
        "VIEW": [("GET", f"groups/{id_}", UNSET), ("GET", f"groups/{id_}/members", UNSET)],
        "UPDATE": [("PUT", f"groups/{id_}", {"name": "x"})],
        "DELETE": [("DELETE", f"groups/{id_}", UNSET)],
        "LIST": [
            ("GET", "groups/search", UNSET),
            ("POST", "groups/autocomplete", {}),
            ("POST", "groups/ids", {}),
        ],
        "MANAGE_MEMBERS": [("PUT", f"groups/{id_}/members/{user}", UNSET)],
    }
    for needed, listed in routes.items():
        others = [action for action in routes if action != needed]
        by = caller(http, *others, email=f"{needed.lower()}@example.com")
        for method, path, body in listed:
            answer = http.request(method, f"main/{path}", by=by, body=body)
            refused = problem(answer, 403, "permission.denied")
            assert [{"type": "GROUP", "action": needed}] == refused["required"]
