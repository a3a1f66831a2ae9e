"""Do the searches find what evaluations allow, and tell it only to who may ask?"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import Phase, given, settings
from msgspec import UNSET, structs

from api import searches
from api.checks import EVALUATIONS
from api.judging import Judge
from api.searches import ACTIONS, RESOURCES, SUBJECTS
from domain.access import Narrowing, Question
from domain.bindings import DeleteBinding
from domain.ids import MAIN
from domain.permissions import from_lists
from domain.scopes import Resource, Scope
from domain.service_accounts import DisableServiceAccount
from domain.tenants import DeleteTenant
from ops.setup import system_context
from tests import candidates
from tests.answers import problem
from tests.api.checking import PROD, Desk, Json, question
from tests.api.searching import assigned, ids, member, on, populate, questions
from tests.projections.graph import Open
from tests.service import Served, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from api.questions import Search
    from tests.service import Headers

PATHS = (SUBJECTS, RESOURCES, ACTIONS)
RECORD = ("record", "r-17")


@pytest.fixture
def desk(http: Served) -> Desk:
    """Return an installation with a bot that may update flows below `prod`."""
    return Desk(http)


# Answers


def test_a_search_is_answered_with_exactly_this(desk: Desk) -> None:
    """Entities are type and id, actions a name, and nothing else is said (authzen 5)."""
    desk.http.allow(desk.bot, {"record": ["read"]}, place=on("r-17"))
    body = question(desk.bot, "read", UNSET, resource=RECORD)

    def told(path: str) -> bytes:
        return desk.http.post(path, body).content

    entity = '{"results":[{"type":"%s","id":"%s"}]}'
    assert told(SUBJECTS).decode() == entity % ("service_account", desk.bot)
    assert told(RESOURCES).decode() == entity % RECORD
    assert told(ACTIONS) == b'{"results":[{"name":"read"}]}'


def test_results_stand_in_the_order_of_their_bytes(desk: Desk) -> None:
    """Ids and names, ascending, not as a reader of another script would sort them (authzen 5)."""
    names = ["Z", "a", "é", "z", "\u007e", "\uff5e", "\U0001f600", "a b", "10", "9"]
    for name in names:
        desk.http.allow(desk.bot, {"record": ["read"]}, place=on(name))
    body = question(desk.bot, "read", UNSET, resource=RECORD)

    found = ids(desk.find(RESOURCES, body))

    assert sorted(names, key=str.encode) == found
    assert found == ids(desk.find(RESOURCES, body))


def test_subjects_are_found_by_their_kind(desk: Desk) -> None:
    """Users, service accounts and groups apart, members through their group (authzen 5)."""
    http = desk.http
    ada, team = http.user("ada@example.com"), http.group("Team")
    http.give(member(http, team, ada))
    http.give(assigned(http, MAIN, team, http.role({"FLOW": ["UPDATE"]}), PROD))

    found = {
        kind: ids(desk.find(SUBJECTS, question("x", type_=kind)))
        for kind in ("user", "service_account", "group", "identity", "USER", "")
    }

    assert found == {
        "user": [ada],
        "service_account": [desk.bot],
        "group": [team],
        "identity": [],
        "USER": [],
        "": [],
    }


@pytest.mark.parametrize("path", [RESOURCES, ACTIONS])
def test_a_subject_is_found_as_in_every_check(desk: Desk, path: str) -> None:
    """By id or exact name; one that is unknown or ambiguous may nothing (authzen 3)."""
    desk.http.allow(desk.bot, {"record": ["read"]}, place=on("r-17"))

    def found(text: str, **more: Any) -> list[str]:  # noqa: ANN401 - the options of question
        return ids(desk.find(path, question(text, "read", UNSET, resource=RECORD, **more)))

    assert found(desk.bot) == found("ci-bot") != []
    assert [] == found("CI-BOT") == found("nobody") == found(desk.bot, type_="user")
    desk.http.account("ci-bot")
    assert [] == found("ci-bot")
    assert found(desk.bot)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "unknown",
    [
        {"action": "UNHEARD", "resource": ("UNHEARD", "x")},
        {"resource": ("", "x"), "action": ""},
        {"subject": "nobody", "type_": "unheard", "resource": ("UNHEARD", "x")},
    ],
)
def test_what_is_unknown_is_found_nowhere(desk: Desk, path: str, unknown: Json) -> None:
    """200 with no results, never an error (authzen 5)."""
    assert {"results": []} == desk.find(path, question(**{"subject": desk.bot, **unknown}))


@pytest.mark.parametrize("path", PATHS)
def test_members_without_a_meaning_have_no_effect(desk: Desk, path: str) -> None:
    """Unknown ones at every level, properties, and what is searched, of any type (authzen 2, 5)."""
    desk.http.allow(desk.bot, {"FLOW": ["UPDATE"]}, place=on("nightly-load", "FLOW"))
    body = question(desk.bot, context={"unheard": [None], "explain": True, "at_least": None})
    plain = desk.find(path, body)
    body |= {"evaluations": 7, "options": None, "page": {"properties": {"x": None}}}
    for name in ("subject", "action", "resource"):
        body[name] |= {"unheard": {"deep": [None]}}
    body["subject"]["properties"] = {"role": "owner"}

    found = desk.find(path, body)

    assert plain["results"] == found["results"] != []
    assert found["page"] == {"next_token": "", "count": 1, "total": 1}


# What is found is what evaluations allow


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Yield an installation with a history, which several tests ask, and none changes."""
    with served(tmp_path_factory.mktemp("searches")) as http:
        populate(http)
        yield Desk(http)


def evaluated(crowd: Desk, body: Json, part: str, values: set[str]) -> list[str]:
    """Answer those values of a part of the question for which a batch of evaluations allows."""
    kept = {key: value for key, value in body[part].items() if key in {"type", "properties"}}
    name = "name" if part == "action" else "id"
    ordered = sorted(values)
    batch = body | {"evaluations": [{part: {**kept, name: value}} for value in ordered]}
    if not ordered:
        return []
    answers = crowd.http.post(EVALUATIONS, batch).json()["evaluations"]
    return [
        value for value, answer in zip(ordered, answers, strict=True) if answer["decision"] is True
    ]


def searched(crowd: Desk, path: str, body: Json) -> None:
    """Hold a search against the evaluations of all that it might find."""
    http, context = crowd.http, body.get("context", {})
    state, now = http.state, http.inputs.now().timestamp()
    if context:
        state = http.run(http.service.state_at(context["as_of"]["position"]))
        now = state.at.timestamp()
    resource = body["resource"]
    tenant, type_ = resource["properties"]["tenant"], resource["type"]
    part, might = {
        SUBJECTS: ("subject", candidates.subjects(state, body["subject"]["type"])),
        RESOURCES: ("resource", candidates.resources(state, tenant, type_, now)),
        ACTIONS: ("action", candidates.actions(state, tenant, type_)),
    }[path]

    response = http.post(path, body)

    assert 200 == response.status_code, response.content
    assert str(state.position) == response.headers["x-muniment-position"]
    assert ids(response.json()) == evaluated(crowd, body, part, might)


def holds(crowd: Desk, path: str, examples: int = 60) -> None:
    """Hold random searches against evaluations."""

    @settings(max_examples=examples, database=None, phases=[Phase.generate])
    @given(questions(crowd))
    def property_(body: Json) -> None:
        searched(crowd, path, body)

    property_()


@pytest.mark.parametrize("path", PATHS)
def test_a_search_is_the_set_of_evaluations(crowd: Desk, path: str) -> None:
    """At one position and instant, now and in the past: no more and no less (authzen 5, 10)."""
    holds(crowd, path)


@pytest.mark.parametrize("path", PATHS)
def test_a_search_of_another_place_is_caught(
    crowd: Desk, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positive control: one that overlooks the namespace differs from the evaluations."""
    as_asked = searches._question  # noqa: SLF001 - the part that is broken

    def elsewhere(search: Search) -> Question:
        return as_asked(search)._replace(namespaces=())

    monkeypatch.setattr(searches, "_question", elsewhere)

    with pytest.raises(AssertionError):
        holds(crowd, path, 300)


# Who may ask


def may_search(desk: Desk, path: str, by: Headers, body: Json) -> bool:
    """Tell whether the caller is answered."""
    response = desk.http.post(path, body, by=by)
    if response.status_code == 200:
        return True
    said = problem(response, 403, "permission.denied")
    assert ("ACCESS", "SEARCH") == (said["required"][0]["type"], said["required"][0]["action"])
    assert "ACCESS:SEARCH" in response.headers["www-authenticate"]
    return False


@pytest.mark.parametrize("path", PATHS)
def test_a_search_about_others_needs_the_right_to_search(desk: Desk, path: str) -> None:
    """Whether they exist or not; ACCESS:CHECK is not enough (authzen 3)."""
    asker = desk.http.account("asker")
    desk.http.allow(asker, {"ACCESS": ["CHECK", "EXPLAIN"]})
    by = desk.http.bearer(asker)

    for subject in (desk.bot, "ci-bot", "nobody"):
        assert not may_search(desk, path, by, question(subject))
    desk.http.allow(asker, {"ACCESS": ["SEARCH"]})
    assert may_search(desk, path, by, question(desk.bot))


@pytest.mark.parametrize("path", PATHS)
def test_a_service_that_lets_anybody_search_is_caught(
    desk: Desk, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positive control: without the rule the same search is answered (security 2.10)."""
    by = desk.http.bearer(desk.http.account("asker"))
    monkeypatch.setattr(Judge, "require_may_ask", lambda *_: None)

    assert may_search(desk, path, by, question(desk.bot))


def test_one_may_always_search_what_one_may_oneself(desk: Desk) -> None:
    """Resources and actions, by id or name; who else may is another question (authzen 3)."""
    for subject in (desk.bot, "ci-bot"):
        assert may_search(desk, RESOURCES, desk.by_bot, question(subject))
        assert may_search(desk, ACTIONS, desk.by_bot, question(subject))
        assert not may_search(desk, SUBJECTS, desk.by_bot, question(subject))
    assert may_search(desk, ACTIONS, desk.by_bot, question(desk.bot, tenant="unheard"))


ON_ONE = Scope(resource=Resource("FLOW", "nightly-load"))


@pytest.mark.parametrize(
    ("place", "asked", "answered"),
    [
        (Scope(), question("x"), PATHS),
        (PROD, question("x", namespace="prod.billing"), PATHS),
        (PROD, question("x", namespace="production"), ()),
        (PROD, question("x", namespace=UNSET), ()),
        # A search for resources names none of them.
        (ON_ONE, question("x", namespace=UNSET), (SUBJECTS, ACTIONS)),
        (ON_ONE, question("x", namespace=UNSET, resource=("FLOW", "*")), ()),
        (Scope(), question("x", tenant="beta"), ()),
        (Scope(), question("x", tenant="unheard"), ()),
    ],
)
def test_the_right_to_search_counts_where_it_is_held(
    desk: Desk, place: Scope, asked: Json, answered: tuple[str, ...]
) -> None:
    """In the tenant, namespace or resource that the question names (authzen 3)."""
    desk.http.tenant("beta")
    asker = desk.http.account("asker")
    desk.http.allow(asker, {"ACCESS": ["SEARCH"]}, place=place)
    by = desk.http.bearer(asker)

    assert [*answered] == [path for path in PATHS if may_search(desk, path, by, asked)]


@pytest.mark.parametrize("path", PATHS)
def test_a_narrowed_token_searches_only_what_it_leaves(desk: Desk, path: str) -> None:
    """The right to ask goes through the token's own list (security 2.5)."""
    asker = desk.http.account("asker")
    desk.http.allow(asker, {"ACCESS": ["SEARCH"]})
    flows = Narrowing(permissions=from_lists({"FLOW": ["*"]}))
    below = Narrowing(permissions=from_lists({"ACCESS": ["SEARCH"]}), namespaces=("prod",))

    assert not may_search(desk, path, desk.http.bearer(asker, flows), question(desk.bot))
    by = desk.http.bearer(asker, below)
    assert may_search(desk, path, by, question(desk.bot))
    assert not may_search(desk, path, by, question(desk.bot, namespace="dev"))


@pytest.mark.parametrize("path", PATHS)
def test_an_instance_owner_may_search_in_every_tenant(desk: Desk, path: str) -> None:
    """Also where it has no access; by a token that leaves the privilege (kestra-iam 5.5)."""
    beta = desk.http.tenant()
    root = desk.http.root_id
    bare = desk.http.bearer(root, Narrowing())
    whole = desk.http.bearer(root, Narrowing(instance_owner=True))

    assert may_search(desk, path, desk.http.root, question("x", tenant=beta))
    assert may_search(desk, path, whole, question("x", tenant=beta))
    assert not may_search(desk, path, bare, question("x", tenant=beta))


@pytest.mark.parametrize("path", PATHS)
def test_an_unknown_and_a_deleted_tenant_are_refused_alike(desk: Desk, path: str) -> None:
    """Status, headers and body tell nothing apart, for the owner too (authzen 3, security 2.3)."""
    gone = desk.http.tenant("gone")
    desk.http.give(DeleteTenant(id=gone))
    hidden = desk.http.tenant("hidden")
    asker = desk.http.bearer(desk.http.account("asker"))

    def told(tenant: str, by: Headers) -> tuple[Any, ...]:
        response = desk.http.post(
            path, question("x", tenant=tenant), by=by, headers={"X-Request-ID": "same"}
        )
        assert 403 == response.status_code
        return response.headers.items(), response.content

    assert told(gone, desk.http.root) == told("unheard", desk.http.root)
    assert told(gone, asker) == told("unheard", asker) == told(hidden, asker)


# What is kept


def test_searching_keeps_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many unknown words are searched for, the live graph keeps none (performance 2)."""
    graph = Open(desk.http.state, str.encode, lambda *words: "".join(words).encode())
    monkeypatch.setattr(desk.http.service, "graph", graph)
    for path in PATHS:
        desk.find(path, question(desk.bot))
    before, entries = graph.sizes(), graph.entries()

    for number in range(50):
        word = f"unknown{number}"
        for path in PATHS:
            body = question(word, word, f"{word}.{word}", type_=word, resource=(word, word))
            assert {"results": []} == desk.find(path, body)
            desk.find(path, question(desk.bot, word, f"{word}.{word}", resource=(word, word)))

    assert before == graph.sizes()
    assert entries == graph.entries()


@pytest.mark.parametrize("path", PATHS)
def test_the_live_graph_is_touched_by_the_loop_alone(
    desk: Desk, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a search works out beside the loop is never asked of the live graph (style 4)."""
    loop, asked = threading.get_ident(), set[int]()
    graph = desk.http.service.graph

    def watched(part: Callable[..., Any]) -> Callable[..., Any]:
        def call(*question: Any) -> Any:  # noqa: ANN401 - passed on
            asked.add(threading.get_ident())
            return part(*question)

        return call

    for name in ("check", "resolve"):
        monkeypatch.setattr(graph, name, watched(getattr(graph, name)))
    asker = desk.http.account("asker")
    desk.http.allow(asker, {"ACCESS": ["SEARCH"]})

    desk.find(path, question(desk.bot), desk.http.bearer(asker))

    assert {loop} == asked


# Moments


@pytest.mark.parametrize("path", PATHS)
def test_a_search_shows_the_past(desk: Desk, path: str) -> None:
    """By position or instant, at which it is told to stand (authzen 6)."""
    desk.http.allow(desk.bot, {"record": ["read"]}, place=on("r-17"))
    body = question(desk.bot, "read", UNSET, resource=RECORD)
    before, then = desk.http.state.position, desk.http.inputs.now().isoformat()
    found = desk.find(path, body)
    desk.http.inputs.advance(60)
    desk.http.give(DisableServiceAccount(id=desk.bot))

    def as_of(**moment: Any) -> tuple[Json, str]:  # noqa: ANN401 - position or instant
        response = desk.http.post(path, body | {"context": {"as_of": moment}})
        return response.json(), response.headers["x-muniment-position"]

    assert {"results": []} == desk.find(path, body)
    assert (found, str(before)) == as_of(position=before) == as_of(at=then)


@pytest.mark.parametrize("path", PATHS)
def test_a_search_waits_for_the_position_that_it_asks_for(desk: Desk, path: str) -> None:
    """It never shows less than `at_least` (reliability B3)."""
    next_one = desk.http.state.position + 1
    body = question(desk.bot, context={"at_least": next_one})
    service = desk.http.service
    service.settings = structs.replace(service.settings, at_least_bound_seconds=30.0)

    async def both() -> httpx.Response:
        asked = asyncio.create_task(desk.http.send("POST", path, body))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not asked.done()
        ended = DeleteBinding(tenant=MAIN, id=desk.binding)
        await service.execute(ended, system_context(desk.http.inputs))
        return await asked

    response = desk.http.run(both())

    assert {"results": []} == response.json()
    assert str(next_one) == response.headers["x-muniment-position"]
