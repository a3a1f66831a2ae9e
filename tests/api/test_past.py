"""Is the past told as it was told then, by every route, whatever has become of it since?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from msgspec import Struct

from api.app import create_app
from api.openapi import operations
from domain.ids import MAIN
from projections.history import History
from tests.answers import problem
from tests.api.route_world import World
from tests.service import Headers, Served, served

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from api.openapi import Operation

Json = dict[str, Any]

# What tells of no moment of the log: the journal and the process, what is signed by now, a
# comparison, which names its moments itself, and a simulation, which is about the present.
TIMELESS: Final = {
    "getCheckpoint": 200,
    "getEventProof": 200,
    "listCheckpoints": 200,
    "getJournalStanding": 200,
    "getMetrics": 400,
    "listJournal": 400,
    "listWholeJournal": 400,
    "compareAccess": 400,
    # A pack says when and by which checkpoint it was made; what it answers has tests of its own.
    "getDecisionEvidence": 200,
    "getPrincipalEvidence": 200,
    "getIntervalEvidence": 400,
    "simulateAccess": 400,
}
# Members that tell of now in an answer about then.
OF_NOW: Final = frozenset({"sealedThrough", "lastUsed", "lastUsedAddress", "lastUsedAgent"})


class Asked(Struct, frozen=True):
    """A reading, and what it told at a position."""

    operation: Operation
    path: str
    body: object
    by: Headers
    position: int
    told: httpx.Response

    def ask(self, http: Served) -> httpx.Response:
        """Ask the same of that position."""
        path = f"{self.path}{'&' if '?' in self.path else '?'}position={self.position}"
        return http.request(self.operation.method, path, self.body, by=self.by)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield one installation for all routes; each request is about objects of its own."""
    with served(tmp_path_factory.mktemp("past")) as http:
        yield World(http)


@pytest.fixture(scope="module")
def noted(world: World) -> list[Asked]:
    """Ask every route that reads, then take away all that it told of."""
    found: list[Asked] = []
    for operation in operations(create_app(world.http.service)):
        if not operation.reads or operation.gate.open or operation.handler.opt.get("tails"):
            continue
        caller, by = world.caller("owner")
        path, body = world.path(operation, caller), world.body(operation)
        position = world.http.state.position
        told = world.http.request(operation.method, path, body, by=by)
        assert told.status_code == 200, (operation.id, told.content)
        found.append(Asked(operation, path, body, by, position, told))
    ruin(world.http)
    return found


def ruin(http: Served) -> None:
    """Take away all that can be taken away."""
    state = http.state
    roles = (one for one in state.roles.values() if one.tenant == MAIN and not one.is_managed)
    for path in (
        *(f"main/groups/{one}" for one, held in state.groups.items() if held.tenant == MAIN),
        *(f"main/bindings/{one}" for one, held in state.bindings.items() if held.tenant == MAIN),
        *(f"main/roles/{one.id}" for one in roles),
        *(f"service-accounts/{one}" for one in state.service_accounts),
        *(f"users/{one}" for one in state.users if one not in state.owners),
        *(f"tenants/{one}" for one in state.tenants if one != MAIN),
    ):
        # A role takes its bindings away with it, and an account its memberships.
        assert http.delete(path).status_code in {200, 204, 404}, path


def lasting(answer: httpx.Response) -> object:
    """Answer what an answer told of its moment."""
    if "json" not in answer.headers.get("content-type", "") or "ndjson" in answer.headers.get(
        "content-type", ""
    ):
        return answer.content
    return _lasting(answer.json())


def _lasting(value: object) -> object:
    if isinstance(value, dict):
        return {name: _lasting(one) for name, one in value.items() if name not in OF_NOW}
    return [_lasting(one) for one in value] if isinstance(value, list) else value


def test_every_route_tells_the_past_as_it_was(world: World, noted: list[Asked]) -> None:
    """Issue 5: objects, members, tokens, rights, the trail: also of what was deleted since."""
    for one in noted:
        again = one.ask(world.http)
        name = one.operation.id
        if name in TIMELESS:
            assert again.status_code == TIMELESS[name], name
        else:
            assert lasting(again) == lasting(one.told), name
    assert len(noted) > 60


def test_what_was_deleted_is_not_told_now(world: World, noted: list[Asked]) -> None:
    """Positive control: the same requests about now tell otherwise, so the past was looked at."""
    different = 0
    for one in noted:
        now = world.http.request(one.operation.method, one.path, one.body, by=one.by)
        different += lasting(now) != lasting(one.told)
    assert different > 40


def test_a_history_that_is_off_by_one_is_noticed(
    world: World, noted: list[Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positive control: with the state before the position some routes tell something else."""
    right = History.at
    monkeypatch.setattr(History, "at", lambda self, position: right(self, position - 1))

    different = [one for one in noted if lasting(one.ask(world.http)) != lasting(one.told)]

    assert {one.operation.id for one in different} - set(TIMELESS)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("at=1999-01-01T00:00:00Z", "position.before_first"),
        ("at=2099-01-01T00:00:00Z", "position.future"),
        ("at=yesterday", "position.invalid"),
        ("at=2026-13-01", "position.invalid"),
        ("position=999999", "position.future"),
        ("position=-1", "position.invalid"),
        ("position=1&at=2026-01-01T00:00:00Z", "position.ambiguous"),
        ("position=1&log=another", "position.foreign"),
        ("at_least=999999&log=another", "position.foreign"),
    ],
)
def test_what_is_no_moment_of_this_log_is_refused(world: World, query: str, code: str) -> None:
    """Issue 5: before the first event, after the head, no time, of another log: a clear 400."""
    told = problem(world.http.get(f"main/groups/search?{query}"), 400, code)

    if code == "position.foreign":
        assert world.http.state.log_id in told["detail"]


def test_a_position_of_this_log_is_taken_with_its_log(world: World) -> None:
    """`/configs` tells which log it is; named with a position, nothing else changes."""
    http = world.http
    log = http.get("configs").json()["uuid"]
    plain = http.get("main/groups/search?position=20")

    assert http.get(f"main/groups/search?position=20&log={log}").content == plain.content


def test_a_write_for_another_log_is_refused(world: World) -> None:
    """Whoever believes to speak to another installation changes nothing here."""
    before = world.http.state.position

    problem(world.http.post("main/groups?log=another", {"name": "G"}), 400, "position.foreign")
    assert world.http.state.position == before


def test_a_check_about_another_log_is_refused(world: World) -> None:
    """AuthZEN's context has the log beside `as_of` and `at_least`; an item may not name one."""
    http = world.http
    question = {
        "subject": {"type": "user", "id": http.root_id},
        "action": {"name": "VIEW"},
        "resource": {"type": "FLOW", "id": "*"},
    }
    foreign = {"context": {"log": "another", "as_of": {"position": 2}}}
    own = {"context": {"log": http.state.log_id, "as_of": {"position": 2}}}
    path = "/access/v1/evaluation"

    problem(http.post(path, question | foreign), 400, "position.foreign")
    assert http.post(path, question | own).status_code == 200
    batch = {"evaluations": [question | {"context": {"log": http.state.log_id}}]}
    answer = http.post("/access/v1/evaluations", batch)
    assert b"log hold for the whole request" in answer.content


# A tenant that is no more


@pytest.fixture
def deleted(http: Served) -> tuple[Served, int, Headers]:
    """Delete a tenant; answer where it was still there, and by whom it was managed."""
    beta = http.tenant("beta")
    keeper = http.user("keeper@example.com", tenants=(beta,))
    http.allow(keeper, {"*": ["*"]}, tenant=beta)
    by = http.bearer(keeper)
    position = http.state.position
    assert http.get("beta/roles/search", by=by).status_code == 200
    assert http.delete("tenants/beta").status_code == 204
    return http, position, by


PAST_OF_A_TENANT: Final = (
    "beta/roles/search?position={}",
    "beta/access/who-can?resourceType=FLOW&action=VIEW&position={}",
    "beta/access/compare?from=1&to={}",
    "beta/events?position={}",
    "beta/auditlogs/search?position={}",
)


@pytest.mark.parametrize("path", PAST_OF_A_TENANT)
def test_the_past_of_a_deleted_tenant_is_the_instance_owners(
    deleted: tuple[Served, int, Headers], path: str
) -> None:
    """Issue 5: for ever, also what has been deleted; to others there is no such tenant."""
    http, position, by = deleted

    assert http.get(path.format(position)).status_code == 200
    problem(http.get(path.format(position), by=by), 404, "tenant.unknown")
    present = path.partition("?")[0]
    if "compare" not in path:
        problem(http.get(present), 404, "tenant.unknown")


def test_a_decision_in_a_deleted_tenant_is_given_again(
    deleted: tuple[Served, int, Headers],
) -> None:
    """Who managed it might; nobody but an instance owner is told, and nobody of now."""
    http, position, by = deleted
    question = {
        "subject": {"type": "user", "id": "keeper@example.com"},
        "action": {"name": "VIEW"},
        "resource": {"type": "FLOW", "id": "*", "properties": {"tenant": "beta"}},
    }
    then = question | {"context": {"as_of": {"position": position}}}
    stranger = http.bearer(http.user("stranger@example.com"))

    assert http.post("/access/v1/evaluation", then).json() == {"decision": True}
    problem(http.post("/access/v1/evaluation", question), 403, "permission.denied")
    problem(http.post("/access/v1/evaluation", then, by=stranger), 403, "permission.denied")
    # One's own rights of then are still one's own to ask about.
    assert http.post("/access/v1/evaluation", then, by=by).json() == {"decision": True}
