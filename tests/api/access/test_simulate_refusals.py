"""Which changes cannot be tried out, by whom, and how many at once?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from api import pacing
from api.access import simulate
from tests.answers import problem
from tests.api.access.test_simulate import FLOWS, PATH, Json, ask, change, stored, told

if TYPE_CHECKING:
    from tests.service import Served


# What is refused


def test_a_version_that_is_none_is_refused_in_its_change(http: Served) -> None:
    """If-Match counts for the change that names it, whatever stands in it."""
    sink = http.sink()
    delete = change("DELETE", f"audit/sinks/{sink}")

    problem(ask(http, delete), 428, "etag.required")
    problem(ask(http, {**delete, "ifMatch": '"\u2028'}), 400, "etag.invalid")
    problem(ask(http, {**delete, "ifMatch": '"1"'}), 412, "etag.mismatch")
    assert len(told(http, {**delete, "ifMatch": "*"})["changes"][0]["events"]) == 1
    assert sink in http.state.sinks


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
