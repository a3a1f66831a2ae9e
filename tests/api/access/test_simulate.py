"""Does a simulation tell exactly what its changes would do one after another, and do nothing?"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import pytest
from msgspec import UNSET
from sqlalchemy import text

from api import dry_runs, simulation
from api.app import create_app
from api.openapi import operations
from domain.events import decode
from domain.state import digest
from projections.access_delta import delta
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
