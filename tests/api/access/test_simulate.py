"""Does a simulation tell exactly what its changes would do one after another, and do nothing?"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import pytest
from msgspec import UNSET
from sqlalchemy import text

from api import dry_runs, pacing, simulation
from api.access import simulate
from api.app import create_app
from api.openapi import operations
from domain.events import decode
from domain.state import digest
from projections.access_delta import delta
from tests.answers import problem
from tests.api.route_world import SAID, World
from tests.service import Headers, Served, served

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

Json = dict[str, Any]
FLOWS: Final = {"FLOW": ["VIEW"]}
PATH: Final = "main/access/simulate"
MEMBERS_END: Final = 8


def change(method: str, path: str, body: object = None, **more: str) -> Json:
    """Answer a change that is a request; `path` below /api/v1/."""
    found: Json = {"method": method, "path": f"/api/v1/{path}", **more}
    return found if body is None else {**found, "body": body}


def ask(http: Served, *changes: Json, by: Headers | None = None) -> httpx.Response:
    """Try changes out."""
    return http.post(PATH, {"changes": [*changes]}, by=by or http.root)


def told(http: Served, *changes: Json, by: Headers | None = None) -> Json:
    """Answer what was told."""
    response = ask(http, *changes, by=by)
    assert response.status_code == 200, response.content
    body: Json = response.json()
    return body


def stored(http: Served) -> tuple[int, str, int]:
    """Answer the head, the digest of the state, and how many keys the vault holds."""
    with http.vault_engine.connect() as connection:
        keys: int = connection.execute(text("SELECT count(*) FROM vault_keys")).scalar_one()
    return http.log.head(), digest(http.state), keys


# What is told


def test_changes_build_on_one_another(http: Served) -> None:
    """A role is made, bound to a group, and a member comes: who gains what by all of it."""
    bot = http.account("ci-bot")
    before = stored(http)

    found = told(
        http,
        change("POST", "main/groups", {"name": "Bots", "membersId": [bot]}, **{"as": "bots"}),
        change("POST", "main/roles", {"name": "viewer", "permissions": FLOWS}, **{"as": "viewer"}),
        change(
            "POST",
            "main/bindings",
            {
                "type": "GROUP",
                "externalId": "{bots}",
                "roleId": "{viewer}",
                "namespaceId": "prod",
            },
        ),
    )

    assert found["position"] == before[0]
    assert [[event["topic"] for event in one["events"]] for one in found["changes"]] == [
        ["group.created.v1", "group.member_added.v1"],
        ["role.created.v1"],
        ["binding.created.v1"],
    ]
    (gained,) = found["access"]["gained"]
    assert gained["principal"] == {"type": "service_account", "id": bot, "name": "ci-bot"}
    assert gained["permission"] == {"type": "FLOW", "action": "VIEW"}
    assert gained["scope"] == {"namespace": "prod"}
    assert (found["access"]["gains"], found["access"]["losses"]) == (1, 0)
    assert stored(http) == before


@pytest.mark.parametrize("kind", ["role", "group", "binding", "service-account", "user"])
def test_a_removal_tells_who_loses_what(http: Served, kind: str) -> None:
    """Issue 5: the removal of a role, group, binding, account; by id or by name."""
    person = http.user("ada@example.com")
    bot = http.account("ci-bot")
    role = http.role(FLOWS)
    group = http.post("main/groups", {"name": "Bots", "membersId": [bot]}).json()["id"]
    given = {"type": "GROUP", "externalId": group, "roleId": role}
    binding = http.post("main/bindings", given).json()["id"]
    http.post("main/bindings", {"type": "USER", "externalId": person, "roleId": role})
    named: dict[str, tuple[str, ...]] = {
        "role": (role, http.state.roles[role].name),
        "group": (group, "Bots"),
        "binding": (binding,),
        "service-account": (bot, "ci-bot"),
        "user": (person, "ada@example.com"),
    }
    losers = {"role": {bot, person}, "user": {person}}.get(kind, {bot})

    for name in named[kind]:
        access = told(http, {"remove": kind, "id": name})["access"]
        assert {one["principal"]["id"] for one in access["lost"]} == losers
        assert access["gains"] == 0


def test_what_is_given_and_taken_again_is_no_difference(http: Served) -> None:
    """The rights are compared before and after all of it."""
    bot, role = http.account("ci-bot"), http.role(FLOWS)
    made = change(
        "POST",
        "main/bindings",
        {"type": "USER", "externalId": bot, "roleId": role},
        **{"as": "b"},
    )

    found = told(http, made, change("DELETE", "main/bindings/{b}"))

    assert (found["access"]["gains"], found["access"]["losses"]) == (0, 0)
    assert len(found["changes"][1]["events"]) == 1


# The same as in reality


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield one installation for all routes; each request is about objects of its own."""
    with served(tmp_path_factory.mktemp("simulated")) as http:
        yield World(http)


def test_a_version_that_is_none_is_refused_in_its_change(http: Served) -> None:
    """If-Match counts for the change that names it, whatever stands in it."""
    sink = http.sink()
    delete = change("DELETE", f"audit/sinks/{sink}")

    problem(ask(http, delete), 428, "etag.required")
    problem(ask(http, {**delete, "ifMatch": '"\u2028'}), 400, "etag.invalid")
    problem(ask(http, {**delete, "ifMatch": '"1"'}), 412, "etag.mismatch")
    assert len(told(http, {**delete, "ifMatch": "*"})["changes"][0]["events"]) == 1
    assert sink in http.state.sinks


def test_every_command_can_be_simulated(world: World) -> None:
    """Each route that writes, alone: the events that the very same request then stores."""
    http, tried = world.http, 0
    for operation in operations(create_app(http.service)):
        if operation.reads or operation.gate.open:
            continue
        caller, by = world.caller("owner", new=True)
        path, body = world.path(operation, caller), world.body(operation)
        said = SAID.get(operation.id, {})
        asked: Json = {"method": operation.method, "path": path}
        if "If-Match" in said:
            asked["ifMatch"] = said["If-Match"]
        changes = [asked if body is UNSET else {**asked, "body": body}]
        before = stored(http)

        # A reason is given for all that is tried out, as for any request.
        answer = http.post(PATH, {"changes": changes}, by=by, headers=dict(said))

        assert answer.status_code == 200, (operation.id, answer.content)
        assert stored(http) == before, operation.id
        done = http.request(operation.method, path, body, by=by, headers=dict(said))
        assert done.status_code < 300, done.content
        records = http.log.read(before[0], 1_000)
        found = [event["topic"] for event in answer.json()["changes"][0]["events"]]
        assert found == [record.topic for record in records], operation.id
        tried += 1
    assert tried > 50


@pytest.mark.parametrize("seed", range(12))
def test_many_changes_are_what_they_would_be_one_after_another(http: Served, seed: int) -> None:
    """Random lists: the same events, and the same rights gained and lost by the same people."""
    chance = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    bots = [http.account(f"bot-{number}") for number in range(3)]
    roles = [http.role({"FLOW": [action]}) for action in ("VIEW", "UPDATE", "*")]
    groups = [http.group(f"group-{number}") for number in range(2)]
    for _ in range(4):
        http.allow(chance.choice(bots), {"FLOW": ["DELETE"]})
    changes = [drawn(chance, bots, roles, groups, number) for number in range(12)]
    before = http.state
    found = told(http, *changes)
    assert http.state is before

    made: dict[str, str] = {}
    for one in changes:
        path, body = filled(one["path"], made), filled(one.get("body"), made)
        done = http.request(one["method"], path, UNSET if body is None else body)
        assert done.status_code < 300, done.content
        if "as" in one:
            made[one["as"]] = done.json()["id"]

    records = http.log.read(before.position, 1_000)
    topics = [event["topic"] for one in found["changes"] for event in one["events"]]
    assert topics == [record.topic for record in records]
    events = [fact.envelope.event for fact in map(decode, records)]
    now = http.inputs.now().timestamp()
    real = delta(before, http.state, events, now)
    assert (found["access"]["gains"], found["access"]["losses"]) == (
        len(real.gained),
        len(real.lost),
    )
    assert known(shown(found["access"]["gained"]), bots) == known(
        [right[1:2] + right[3:] for right in real.gained], bots
    )


def known(rights: list[Any], bots: list[Any]) -> list[tuple[str, ...]]:
    """Answer the rights with no id of an account that was made, which is another each time."""
    return sorted((one[0] if one[0] in bots else "made", *one[1:]) for one in rights)


def shown(rights: list[Json]) -> list[tuple[str, ...]]:
    """Answer who and what, of rights as they are told."""
    return [
        (one["principal"]["id"], one["permission"]["type"], one["permission"]["action"])
        for one in rights
    ]


def filled(value: Any, made: dict[str, str]) -> Any:  # noqa: ANN401 - any JSON
    """Put the ids of what was really made in the places of their names."""
    if isinstance(value, dict):
        return {name: filled(one, made) for name, one in value.items()}
    if isinstance(value, list):
        return [filled(one, made) for one in value]
    if isinstance(value, str):
        for name, id_ in made.items():
            value = value.replace("{" + name + "}", id_)
    return value


def drawn(
    chance: random.Random,
    bots: list[Any],
    roles: list[Any],
    groups: list[Any],
    number: int,
) -> Json:
    """Draw a change that can be made whatever came before it."""
    if number == 0:
        return change("POST", "main/groups", {"name": "New", "membersId": [bots[0]]}, **{"as": "g"})
    if number == 1:
        permissions = {"SECRET": ["READ"], "FLOW": ["VIEW"]}
        body = {"name": "new", "permissions": permissions}
        return change("POST", "main/roles", body, **{"as": "r"})
    subject = chance.choice(
        [("GROUP", "{g}"), *(("GROUP", one) for one in groups), *(("USER", one) for one in bots)]
    )
    given = {
        "type": subject[0],
        "externalId": subject[1],
        "roleId": chance.choice(["{r}", *roles]),
        "namespaceId": chance.choice(["prod", "prod.billing", "dev"]),
    }
    role = chance.choice(roles)
    replaced = {"name": f"role-{number}", "permissions": {"FLOW": [chance.choice(("VIEW", "X"))]}}
    # Each of these pairs comes once at most: nobody joins a group twice.
    member = f"main/groups/{groups[number % 2]}/members/{bots[number // 2 % 3]}"
    return chance.choice(
        [
            change("POST", "main/bindings", given),
            change("POST", "main/bindings", given),
            change("PUT", f"main/roles/{role}", replaced),
            *([change("PUT", member, {"membership": "MEMBER"})] if number < MEMBERS_END else []),
            change("POST", "main/service-accounts", {"name": "made", "groups": [{"id": "{g}"}]}),
        ]
    )


# What is refused


@pytest.mark.parametrize(
    ("changes", "status", "code", "said"),
    [
        ([{}], 400, "simulation.invalid", "changes[0] needs method and path"),
        ([{"method": "POST"}], 400, "simulation.invalid", "changes[0] needs"),
        ([{"remove": "role"}], 400, "query.invalid", "id"),
        (
            [{"remove": "role", "id": "x", "path": "/api/v1/main/roles"}],
            400,
            "simulation.invalid",
            "a request, or removes",
        ),
        ([{"remove": "role", "id": "nothing"}], 404, "role.unknown", "changes[0]"),
        ([change("POST", "main/roles", {"name": 7})], 422, "body.invalid", "changes[0]"),
        ([change("POST", "main/roles")], 400, "body.missing", "changes[0]"),
        ([change("DELETE", "main/groups/{nobody}")], 404, "group.unknown", "changes[0]"),
        ([change("DELETE", "main/nonsense/x")], 404, "route.unknown", "changes[0]"),
        ([change("DELETE", "../roles")], 400, "route.malformed_path", "changes[0]"),
        ([change("DELETE", "main/roles/x?dryRun=true")], 400, "simulation.unsupported", "moment"),
        ([change("DELETE", "main/roles/x?position=1")], 400, "simulation.unsupported", "moment"),
        ([change("POST", "login", {})], 400, "simulation.unsupported", "no command"),
        ([change("POST", "logout")], 400, "simulation.unsupported", "no command"),
        ([change("POST", PATH, {"changes": []})], 400, "simulation.unsupported", "no command"),
        (
            [change("POST", "main/access/check-bulk", {"items": []})],
            400,
            "simulation.unsupported",
            "no command",
        ),
        (
            [change("DELETE", "service-accounts/{x}", **{"as": "y"})],
            404,
            "service_account.unknown",
            "changes[0]",
        ),
    ],
)
def test_what_is_no_change_is_refused(
    http: Served, changes: list[Json], status: int, code: str, said: str
) -> None:
    """With the code that the same request would get, and which change it is."""
    before = stored(http)

    paths = ["changes[0].body.name"] if status == 422 else []
    found = problem(ask(http, *changes), status, code, *paths)

    assert said in found["detail"]
    assert stored(http) == before


def test_the_change_that_is_refused_is_named(http: Served) -> None:
    """Nothing half: the first two would do, the third takes a name that the second has taken."""
    group = change("POST", "main/groups", {"name": "Bots"})
    before = stored(http)

    found = problem(
        ask(http, change("POST", "main/groups", {"name": "Others"}), group, group),
        409,
        "group.name_taken",
        "changes[2].body.name",
    )

    assert found["detail"].startswith("changes[2]: ")
    assert stored(http) == before


def test_a_change_of_nothing_with_an_id_has_no_name(http: Served) -> None:
    """`as` names what is made."""
    bot = http.account("ci-bot")
    made = change("DELETE", f"main/service-accounts/{bot}", **{"as": "gone"})

    problem(ask(http, made), 400, "simulation.invalid")


def test_nobody_simulates_what_it_may_not_do(http: Served) -> None:
    """Gate and escalation are those of reality, and the refusal is in the journal (security 2)."""
    person = http.user("ada@example.com")
    by = http.bearer(person)
    role = http.role(FLOWS)
    given = {"type": "USER", "externalId": person, "roleId": role}
    bind = change("POST", "main/bindings", given)
    problem(ask(http, bind, by=by), 403, "permission.denied")

    http.allow(person, {"BINDING": ["CREATE"]})
    problem(ask(http, bind, by=by), 403, "binding.escalation")
    # A simulated right is none: nobody makes itself an administrator in the first change.
    admin = change(
        "POST", "main/roles", {"name": "all", "permissions": {"*": ["*"]}}, **{"as": "a"}
    )
    problem(ask(http, admin, by=by), 403, "permission.denied")


def test_rights_that_an_earlier_change_takes_are_missing_later(http: Served) -> None:
    """Each change is judged on what those before it leave, the caller's own rights too."""
    person = http.user("ada@example.com")
    binding = http.allow(person, {"*": ["*"]})
    by = http.bearer(person)
    own = change("DELETE", f"main/bindings/{binding}")
    group = change("POST", "main/groups", {"name": "Bots"})

    assert ask(http, group, own, by=by).status_code == 200
    found = problem(ask(http, own, group, by=by), 403, "permission.denied")
    assert found["detail"].startswith("changes[1]: ")


def test_a_caller_that_an_earlier_change_ends_changes_nothing_more(http: Served) -> None:
    """Its token is judged on the draft too, and is not counted as used by every change."""
    person = http.user("ada@example.com", owner=True)
    by = http.bearer(person)
    group = change("POST", "main/groups", {"name": "Bots"})
    (token,) = http.state.tokens_of[person]

    ends = change("DELETE", f"users/{person}/api-tokens/{token}")
    found = problem(ask(http, ends, group, by=by), 401, "token.revoked")
    assert found["detail"].startswith("changes[1]: ")
    disables = change("POST", f"users/{person}/disable")
    problem(ask(http, disables, group, by=by), 401, "principal.disabled")


def test_another_tenant_is_not_there(http: Served) -> None:
    """Neither its routes nor its objects: as for the request itself."""
    beta = http.tenant("beta")
    role = http.role(FLOWS, tenant=beta)
    person = http.user("ada@example.com")
    http.allow(person, {"*": ["*"]})
    by = http.bearer(person)

    problem(ask(http, change("DELETE", f"beta/roles/{role}"), by=by), 404, "tenant.unknown")
    problem(ask(http, change("DELETE", f"main/roles/{role}"), by=by), 404, "role.unknown")
    problem(ask(http, {"remove": "role", "id": role}, by=by), 404, "role.unknown")


# Bounds


def test_too_many_changes_are_refused(http: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hint how to ask for less."""
    monkeypatch.setattr(simulate, "CHANGES_MAX", 1)
    group = change("POST", "main/groups", {"name": "Bots"})

    found = problem(ask(http, group, group), 400, "simulation.too_large")

    assert "in parts" in found["detail"]


@pytest.mark.parametrize("bound", ["steps", "seconds"])
@pytest.mark.parametrize(
    ("path", "code", "hint"),
    [
        (PATH, "simulation.too_large", "fewer changes"),
        ("main/roles?dryRun=true", "simulation.too_large", "less at a time"),
        ("main/access/compare?from=1", "comparison.too_large", "principal or a namespace"),
        ("main/events/{}?access=true", "comparison.too_large", "fewer events"),
        (
            "main/access/blame?type=service_account&id={}&resourceType=FLOW&action=VIEW",
            "blame.too_much",
            "earlier position",
        ),
    ],
)
def test_what_takes_too_long_is_ended(
    http: Served, monkeypatch: pytest.MonkeyPatch, bound: str, path: str, code: str, hint: str
) -> None:
    """Issue 5: by a count whatever the machine, or by the clock, with a hint how to narrow."""
    bot, role = http.account("ci-bot"), http.role(FLOWS)
    given = {"type": "USER", "externalId": bot, "roleId": role}
    http.post("main/bindings", given)
    path = path.format(http.state.position if "events" in path else bot)
    if bound == "steps":
        monkeypatch.setattr(pacing, "STEPS_MAX", 0)
    else:
        monkeypatch.setattr(pacing, "WORK_SECONDS", -1.0)

    if path == PATH:
        answer = ask(http, {"remove": "role", "id": role})
    elif "dryRun" in path:
        answer = http.delete(f"main/roles/{role}?dryRun=true")
    else:
        answer = http.get(path)

    assert hint in problem(answer, 400, code)["detail"]


# Positive controls


def test_a_simulation_that_forgets_what_came_before_is_noticed(
    http: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the draft going on, the second change finds nothing of the first."""
    right = dry_runs.decided
    monkeypatch.setattr(
        simulation, "decided", lambda before, *more: (right(before, *more)[0], before)
    )

    answer = ask(
        http,
        change("POST", "main/groups", {"name": "Bots"}, **{"as": "bots"}),
        change("DELETE", "main/groups/{bots}"),
    )

    assert answer.status_code in {404, 500}


def test_a_simulation_that_leaves_its_keys_is_noticed(
    http: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sealed for nothing is opened by nobody: the vault would hold a key more."""

    async def nothing(_: simulation.Simulation) -> None:
        return None

    person = change("POST", "users", {"email": "new@example.com", "tenants": ["main"]})
    before = stored(http)
    told(http, person)
    assert stored(http) == before
    monkeypatch.setattr(simulation.Simulation, "end", nothing)

    told(http, person)

    assert stored(http)[2] > before[2]
