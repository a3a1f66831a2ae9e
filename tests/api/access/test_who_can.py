"""Who is told who may do something at a place, and is it exactly those whom checks allow?"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from msgspec import UNSET, UnsetType

from api.access import who_can
from domain.bindings import DeleteBinding
from domain.ids import MAIN, PrincipalId, SubjectId, UserId
from domain.scopes import Resource, Scope
from domain.service_accounts import DisableServiceAccount
from domain.users import DeleteUser
from projections import searches
from tests.answers import problem
from tests.api.access.test_what_can import bind, join, told
from tests.api.checking import PROD, Desk, Json, question
from tests.fixed_inputs import START
from tests.service import Headers, Served, served

if TYPE_CHECKING:
    from collections.abc import Iterator

PLACES = (Scope(), PROD, Scope(namespace="dev"), Scope(resource=Resource("record", "r1")))


@pytest.fixture
def desk(http: Served) -> Desk:
    """Return an installation with a bot that may update flows below `prod`."""
    return Desk(http)


def ask(desk: Desk, by: Headers | UnsetType = UNSET, **asked: Any) -> httpx.Response:  # noqa: ANN401 - the parameters of a query
    """Ask who may update flows in `prod.billing`, or something else."""
    given = {"resourceType": "FLOW", "action": "UPDATE", "namespace": "prod.billing", **asked}
    tenant = given.pop("tenant", "main")
    query = "&".join(f"{name}={value}" for name, value in given.items() if value is not UNSET)
    by = desk.http.root if by is UNSET else by
    return desk.http.get(f"{tenant}/access/who-can?{query}", by=by)


def ids(response: httpx.Response) -> list[str]:
    """Answer who is listed."""
    return [item["id"] for item in told(response)["items"]]


# Whom


def test_principals_are_told_with_the_ways_by_which_they_may(desk: Desk) -> None:
    """By a binding of one's own and through groups, each way once, by the judge of checks."""
    http = desk.http
    bots, crew = http.group("Bots"), http.group("Crew")
    user = http.user("ada@example.com")
    role = http.role({"FLOW": ["UPDATE"]})
    for group in (bots, crew):
        bind(http, group, role)
        bind(http, group, role, PROD)
    join(http, bots, user)
    join(http, bots, desk.bot)
    join(http, crew, desk.bot)

    found = {item["id"]: item for item in told(ask(desk))["items"]}

    through = {
        group: {"type": "group", "id": group, "name": name}
        for group, name in ((bots, "Bots"), (crew, "Crew"))
    }
    assert found == {
        user: {"type": "user", "id": user, "name": "ada@example.com", "via": [[through[bots]]]},
        desk.bot: {
            "type": "service_account",
            "id": desk.bot,
            "name": "ci-bot",
            "via": [[], *([through[group]] for group in sorted(through))],
        },
    }


def test_one_type_can_be_asked_for(desk: Desk) -> None:
    """Users or service accounts alone, and groups only when they are asked for."""
    http = desk.http
    user, group = http.user(), http.group("Bots")
    http.allow(user, {"*": ["*"]})
    bind(http, group, http.role({"FLOW": ["*"]}))

    assert sorted((user, desk.bot)) == ids(ask(desk))
    assert [user] == ids(ask(desk, subjectType="user"))
    assert [desk.bot] == ids(ask(desk, subjectType="service_account"))
    (item,) = told(ask(desk, subjectType="group"))["items"]
    assert {"type": "group", "id": group, "name": "Bots", "via": [[]]} == item


def test_a_resource_and_no_namespace_can_be_asked_about(desk: Desk) -> None:
    """Then bindings on the one resource count; `*` is none in particular (authzen 3)."""
    desk.http.allow(desk.bot, {"record": ["read"]}, place=PLACES[3])
    record: dict[str, Any] = {"resourceType": "record", "action": "read", "namespace": UNSET}

    assert [desk.bot] == ids(ask(desk, **record, resourceId="r1"))
    assert [] == ids(ask(desk, **record, resourceId="r2"))
    assert [] == ids(ask(desk, **record))
    assert [] == ids(ask(desk, **record, resourceId="*"))
    assert [] == ids(ask(desk, namespace=UNSET))


def test_unknown_words_are_nobodys(desk: Desk) -> None:
    """An unknown type or action is no error: nobody may do it (authzen 5)."""
    assert [] == ids(ask(desk, resourceType="UNHEARD"))
    assert [] == ids(ask(desk, action="UNHEARD"))


def test_those_of_other_tenants_are_not_told(desk: Desk) -> None:
    """What was given in another tenant counts there only."""
    http = desk.http
    beta = http.tenant("beta")
    other = http.account("other", beta)
    http.allow(other, {"*": ["*"]}, tenant=beta)

    assert [desk.bot] == ids(ask(desk))
    assert [other] == ids(ask(desk, tenant="beta"))


# To whom


def test_asking_needs_search_at_the_place(desk: Desk) -> None:
    """ACCESS:SEARCH where the question is asked, judged now; also about oneself (authzen 3)."""
    http = desk.http
    problem(ask(desk, desk.by_bot), 403, "permission.denied")
    right = http.allow(desk.bot, {"ACCESS": ["SEARCH"]}, place=PROD)
    granted = http.state.position

    assert [desk.bot] == ids(ask(desk, desk.by_bot))
    missing = problem(ask(desk, desk.by_bot, namespace="dev"), 403, "permission.denied")
    dev = {"namespace": "dev"}
    assert [{"type": "ACCESS", "action": "SEARCH", "scope": dev}] == missing["required"]
    problem(ask(desk, desk.by_bot, namespace=UNSET), 403, "permission.denied")
    http.give(DeleteBinding(tenant=MAIN, id=right))
    problem(ask(desk, desk.by_bot, position=granted), 403, "permission.denied")
    problem(ask(desk, desk.by_bot, tenant="beta"), 404, "tenant.unknown")


def test_names_are_told_to_who_may_see_them(desk: Desk) -> None:
    """Each kind's by its own VIEW or LIST; one's own always; ids to everyone who may search."""
    http = desk.http
    asker = http.account("asker")
    user, group = http.user("ada@example.com"), http.group("Bots")
    bind(http, group, http.role({"*": ["UPDATE"]}))
    join(http, group, user)
    http.allow(asker, {"ACCESS": ["SEARCH"], "FLOW": ["*"]})
    by = http.bearer(asker)

    def names() -> dict[str, str | None]:
        listed = [*told(ask(desk, by))["items"], *told(ask(desk, by, subjectType="group"))["items"]]
        return {item["id"]: item.get("name") for item in listed}

    known: dict[str, str | None] = {asker: "asker", desk.bot: None, user: None, group: None}
    assert known == names()
    for type_, id_, name in (
        ("USER", user, "ada@example.com"),
        ("SERVICE_ACCOUNT", desk.bot, "ci-bot"),
        ("GROUP", group, "Bots"),
    ):
        assert "Bots" not in ask(desk, by).text
        http.allow(asker, {type_: ["LIST"]})
        known[id_] = name
        assert known == names()
    assert "Bots" in ask(desk, by).text


def test_the_past_tells_of_those_who_are_gone(desk: Desk) -> None:
    """Who could then is told, also when deleted since; for now it is not."""
    http = desk.http
    user = http.user("ada@example.com")
    http.allow(user, {"*": ["*"]})
    before = http.state.position
    http.give(DeleteUser(id=user))

    assert sorted((user, desk.bot)) == ids(ask(desk, position=before))
    assert [desk.bot] == ids(ask(desk))


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"resourceType": UNSET}, 400, "query.invalid"),
        ({"action": UNSET}, 400, "query.invalid"),
        ({"action": ""}, 400, "query.invalid"),
        ({"action": "x" * 257}, 400, "query.invalid"),
        ({"namespace": "a..b"}, 400, "query.invalid"),
        ({"resourceId": "x" * 257}, 400, "query.invalid"),
        ({"subjectType": "robot"}, 400, "query.invalid"),
        ({"subjectType": ""}, 400, "query.invalid"),
        ({"cursor": "x"}, 400, "cursor.invalid"),
        ({"limit": "0"}, 422, "page.invalid"),
        ({"position": "99999"}, 400, "position.future"),
    ],
)
def test_a_question_that_cannot_be_read_is_refused(
    desk: Desk, asked: Json, status: int, code: str
) -> None:
    """What is required, what is malformed, and the limits of words."""
    paths = ("limit",) if code == "page.invalid" else ()
    problem(ask(desk, **asked), status, code, *paths)


def test_the_past_is_told_with_its_clock(desk: Desk) -> None:
    """Who could then: by position, by instant, and who can no more is not told for now."""
    http = desk.http
    late = http.account("late")
    bind(http, late, http.role({"FLOW": ["*"]}), not_before=START.replace(hour=2))
    before = http.state.position
    http.inputs.advance(3_600)
    http.give(DisableServiceAccount(id=desk.bot))
    http.inputs.advance(7_200)

    assert [late] == ids(ask(desk))
    assert [desk.bot] == ids(ask(desk, position=before))
    assert [desk.bot] == ids(ask(desk, at="2026-01-01T00:30:00Z"))
    assert [] == ids(ask(desk, at="2026-01-01T01:30:00Z"))
    assert [late] == ids(ask(desk, at="2026-01-01T02:00:00Z"))


# Exactness


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Yield an installation in which many hold something at random, by themselves and by groups."""
    chance = random.Random(5)  # noqa: S311 - nothing is to be secret, all repeatable
    with served(tmp_path_factory.mktemp("crowd")) as http:
        desk = Desk(http)
        groups = [http.group(f"g{number}") for number in range(4)]
        roles = [
            http.role({chance.choice(("FLOW", "record", "*")): [action]})
            for action in ("READ", "UPDATE", "VIEW", "*")
        ]
        principals: list[PrincipalId] = [
            *(http.account(f"bot-{number}") for number in range(8)),
            *(http.user(f"u{number}@example.com", password=None) for number in range(5)),
        ]
        subjects: list[SubjectId] = [*groups, *groups, *principals]
        for subject in subjects:
            role, place = chance.choice(roles), chance.choice(PLACES)
            begins = chance.choice((UNSET, UNSET, START.replace(hour=1)))
            bind(http, subject, role, place, not_before=begins)
        for principal in principals:
            for group in chance.sample(groups, 2):
                join(http, group, principal)
        http.give(DisableServiceAccount(id=http.account("bot-off")))
        http.give(DeleteUser(id=UserId(principals[-1])))
        yield desk


def differing(crowd: Desk) -> tuple[int, int]:
    """Count the subjects that are listed or allowed, and those of which only one is so."""
    http = crowd.http
    kinds = {
        "user": [*http.state.users],
        "service_account": [*http.state.service_accounts],
        "group": [*http.state.groups],
    }
    listed_or_allowed = different = 0
    for action, namespace, resource in (
        ("UPDATE", "prod.x", ("FLOW", "*")),
        ("VIEW", "", ("record", "r1")),
        ("LIST", "dev", ("FLOW", "f")),
        ("*", "prod", ("record", "r1")),
    ):
        for kind, subjects in kinds.items():
            listed = set(
                ids(
                    ask(
                        crowd,
                        action=action,
                        namespace=namespace or UNSET,
                        resourceType=resource[0],
                        resourceId=resource[1],
                        subjectType=kind,
                    )
                )
            )
            place = namespace or UNSET
            allowed = {
                subject
                for subject in subjects
                if crowd.says(question(subject, action, place, type_=kind, resource=resource))
            }
            listed_or_allowed += len(listed | allowed)
            different += len(listed ^ allowed)
    return listed_or_allowed, different


def test_those_told_are_exactly_those_whom_checks_allow(crowd: Desk) -> None:
    """Every user, account and group, at places of every kind: the set of allowed evaluations."""
    found, different = differing(crowd)

    assert found > 10
    assert 0 == different


def test_a_list_without_the_members_of_groups_is_caught(
    crowd: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positive control: with only those who are bound themselves, checks allow more."""
    subjects = searches.subjects
    monkeypatch.setattr(
        who_can,
        "subjects",
        lambda state, *asked: [one for one in subjects(state, *asked) if one in state.bindings_of][
            :1
        ],
    )

    assert differing(crowd)[1]
