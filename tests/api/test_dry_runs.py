"""Does a dry run tell exactly what the command would do, and is nothing of it done?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
from litestar import Litestar
from sqlalchemy import text

from api.app import create_app
from api.openapi import Operation, operations
from domain.events import Record
from domain.ids import MAIN, TenantId
from domain.state import digest
from tests.answers import problem
from tests.api.route_world import SAID, World
from tests.service import Served, served

Json = dict[str, Any]
FLOWS: Final = {"FLOW": ["VIEW"]}


def dry(path: str) -> str:
    """Answer the path that only asks what would happen."""
    return f"{path}{'&' if '?' in path else '?'}dryRun=true"


def told(response: httpx.Response) -> Json:
    """Answer the body of a dry run."""
    assert response.status_code == 200, response.content
    body: Json = response.json()
    assert body["dryRun"] is True
    return body


def records(http: Served, after: int) -> list[Record]:
    """Answer what was stored behind a position."""
    return http.log.read(after, 1_000)


# Every command's route


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield one installation for all routes; each request is about objects of its own."""
    with served(tmp_path_factory.mktemp("dry")) as http:
        yield World(http)


def writing(app: Litestar) -> Iterator[Operation]:
    """Yield every route that writes."""
    return (one for one in operations(app) if not one.reads)


def test_every_route_that_writes_can_be_tried_out(world: World) -> None:
    """Issue 5: each answers with the events that the very same request then stores."""
    tried = 0
    for operation in writing(create_app(world.http.service)):
        if operation.gate.open:
            continue
        caller, by = world.caller("owner", new=True)
        path, body = world.path(operation, caller), world.body(operation)
        by = {**by, **SAID.get(operation.id, {})}
        before, keys = world.http.state.position, key_count(world.http)

        found = told(world.http.request(operation.method, dry(path), body, by=by))

        assert world.http.state.position == before, operation.id
        assert key_count(world.http) == keys, operation.id
        done = world.http.request(operation.method, path, body, by=by)
        assert done.status_code < 300, done.content
        stored = [record.topic for record in records(world.http, before)]
        assert [event["topic"] for event in found["events"]] == stored, operation.id
        tried += 1
    assert tried > 50


def key_count(http: Served) -> int:
    """Answer how many keys the vault holds."""
    with http.vault_engine.connect() as connection:
        found: int = connection.execute(text("SELECT count(*) FROM vault_keys")).scalar_one()
    return found


def test_what_is_no_command_cannot_be_tried_out(world: World) -> None:
    """Signing in and out would really happen; so it is refused rather than done."""
    for operation in writing(create_app(world.http.service)):
        if operation.gate.open:
            answer = world.http.request("POST", dry(operation.path), world.body(operation))
            problem(answer, 400, "dry_run.unsupported")


# What is told


def test_rights_are_told_through_groups_before_they_are_given(http: Served) -> None:
    """The exact permission, place and principal, by name; afterwards a check says the same."""
    group, bot = http.group("Bots"), http.account("ci-bot")
    http.post(f"main/groups/{group}/members/{bot}", {"membership": "MEMBER"})
    http.put(f"main/groups/{group}/members/{bot}", {"membership": "MEMBER"})
    role = http.role(FLOWS)
    given = {"type": "GROUP", "externalId": group, "roleId": role, "namespaceId": "prod"}

    access = told(http.post(dry("main/bindings"), given))["access"]

    assert access == {
        "gains": 1,
        "losses": 0,
        "hidden": False,
        "gained": [
            {
                "tenant": "main",
                "principal": {"type": "service_account", "id": bot, "name": "ci-bot"},
                "permission": {"type": "FLOW", "action": "VIEW"},
                "scope": {"namespace": "prod"},
            }
        ],
        "lost": [],
        "remaining": [],
        "ownersGained": [],
        "ownersLost": [],
    }


def test_nothing_changes_by_asking(http: Served) -> None:
    """The digest of the state and the log are what they were, whatever is asked."""
    role, bot = http.role(FLOWS), http.account("ci-bot")
    before = digest(http.state)
    for path, body in (
        ("main/bindings", {"type": "USER", "externalId": bot, "roleId": role}),
        ("users", {"email": "new@example.com", "password": "a long enough password"}),
        (f"main/service-accounts/{bot}/api-tokens", {"name": "deploy"}),
    ):
        told(http.post(dry(path), body))

    assert digest(http.state) == before
    assert records(http, http.state.position) == []


def test_no_secret_and_no_person_is_in_it(http: Served) -> None:
    """A token's text is never made known, and what is sealed says so."""
    bot = http.account("ci-bot")
    issued = http.post(dry(f"main/service-accounts/{bot}/api-tokens"), {"name": "deploy"})
    person = http.post(dry("users"), {"email": "new@example.com", "firstName": "Ada"})

    assert "fullToken" not in issued.text
    assert "digest" not in issued.text
    assert "new@example.com" not in person.text
    assert told(person)["events"][0]["event"]["email"] == {"sealed": True}


def test_a_refusal_is_the_real_one(http: Served) -> None:
    """A name that is taken, a right that the caller lacks, and a wrong version."""
    http.account("low")
    group = http.group("Bots")
    low = http.bearer(http.account("nobody"))

    problem(http.post(dry("main/groups"), {"name": "Bots"}), 409, "group.name_taken", "name")
    problem(http.post(dry("main/groups"), {"name": "New"}, by=low), 403, "permission.denied")
    stale = {**http.root, "if-match": '"1"'}
    problem(http.delete(dry(f"main/groups/{group}"), by=stale), 412, "etag.mismatch")


def test_an_idempotency_key_is_not_used_up(http: Served) -> None:
    """The same key then gives the command, and a key that was used tells what would be new."""
    keyed = {**http.root, "idempotency-key": "once"}
    body = {"name": "Bots"}
    told(http.post(dry("main/groups"), body, by=keyed))

    made = http.post("main/groups", body, by=keyed)

    assert made.status_code == 200
    assert "idempotency-replayed" not in made.headers


def test_a_command_with_nothing_to_do_tells_no_event(http: Served) -> None:
    """What is so already stays so."""
    bot = http.account("ci-bot")
    http.post(f"service-accounts/{bot}/disable", None)
    found = told(http.post(dry(f"service-accounts/{bot}/disable"), None))

    assert found["events"] == []


def test_rights_in_tenants_that_are_not_the_askers_are_hidden(http: Served) -> None:
    """An account that works elsewhere too loses rights there, of which one is told that much."""
    beta = http.tenant("beta")
    bot = http.account("shared", MAIN, TenantId(beta))
    http.allow(bot, FLOWS)
    http.allow(bot, FLOWS, tenant=beta)
    told_all = told(http.post(dry(f"service-accounts/{bot}/disable"), None))["access"]

    assert {right["tenant"] for right in told_all["lost"]} == {"main", "beta"}
    assert told_all["hidden"] is False


def test_who_may_not_ask_is_told_no_right(http: Served) -> None:
    """Giving a role needs no right to know what others may do."""
    giver, bot = http.account("giver"), http.account("ci-bot")
    http.allow(giver, {**FLOWS, "BINDING": ["CREATE"]})
    role = http.role(FLOWS)
    given = {"type": "USER", "externalId": bot, "roleId": role}

    access = told(http.post(dry("main/bindings"), given, by=http.bearer(giver)))["access"]

    assert (access["gains"], access["gained"], access["hidden"]) == (0, [], True)


def test_a_dry_run_is_noted_like_any_question_about_access(http: Served) -> None:
    """Security 2.11: whoever learns whose rights would change has asked about them."""
    bot, role = http.account("ci-bot"), http.role(FLOWS)
    told(http.post(dry("main/bindings"), {"type": "USER", "externalId": bot, "roleId": role}))

    (entry,) = http.get("main/audit/journal?type=journal.search").json()["items"]

    assert (entry["operation"], entry["detail"]) == ("createBinding", {"count": 1})


def test_a_flag_that_is_no_flag_is_refused(http: Served) -> None:
    """A misspelt wish to try out must not be a command."""
    problem(http.post("main/groups?dryRun=yes", {"name": "Bots"}), 400, "query.invalid")
    assert not http.state.group_names
