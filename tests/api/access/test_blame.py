"""Who is told since when something may be done, and by whose act?"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from msgspec import UNSET, UnsetType

from api.access import blame
from domain.bindings import DeleteBinding
from domain.ids import MAIN
from domain.service_accounts import DeleteServiceAccount, DisableServiceAccount
from tests.answers import problem
from tests.api.access.test_what_can import bind, join, told
from tests.api.checking import PROD, Desk, Json
from tests.fixed_inputs import START

if TYPE_CHECKING:
    from tests.service import Headers, Served


@pytest.fixture
def desk(http: Served) -> Desk:
    """Return an installation with a bot that may update flows below `prod`."""
    return Desk(http)


def ask(desk: Desk, by: Headers | UnsetType = UNSET, **asked: Any) -> httpx.Response:  # noqa: ANN401 - the parameters of a query
    """Ask since when the bot may update flows in `prod.billing`, or something else."""
    given = {
        "type": "service_account",
        "id": "ci-bot",
        "resourceType": "FLOW",
        "action": "UPDATE",
        "namespace": "prod.billing",
        **asked,
    }
    tenant = given.pop("tenant", "main")
    query = "&".join(f"{name}={value}" for name, value in given.items() if value is not UNSET)
    by = desk.http.root if by is UNSET else by
    return desk.http.get(f"{tenant}/access/blame?{query}", by=by)


def positions(body: Json) -> list[tuple[int, int | None]]:
    """Answer where each interval begins and ends."""
    return [
        (one["begin"]["position"], one["end"]["position"] if "end" in one else None)
        for one in body["intervals"]
    ]


def test_each_edge_tells_event_actor_token_request_and_reason(desk: Desk) -> None:
    """Issue 5: given by one act over HTTP, taken by another, each with who and why."""
    http = desk.http
    role, bot = http.role({"FLOW": ["DELETE"]}), http.account("late-bot")
    body = {"type": "USER", "externalId": bot, "roleId": role, "namespaceId": "prod"}
    why = {**http.root, "x-muniment-reason": "on call", "x-request-id": "req-given"}
    made = http.post("main/bindings", body, by=why)
    given_at = http.state.position
    http.delete(f"main/bindings/{made.json()['id']}", by=http.root)

    found = told(ask(desk, id="late-bot", action="DELETE"))

    (interval,) = found["intervals"]
    begin, end = interval["begin"], interval["end"]
    assert found["decision"] is False
    assert (begin["position"], end["position"]) == (given_at, http.state.position)
    assert (begin["topic"], end["topic"]) == ("binding.created.v1", "binding.deleted.v1")
    assert (begin["reason"], begin["correlationId"]) == ("on call", "req-given")
    assert begin["byClock"] is False
    assert begin["actor"]["id"] == http.root_id
    assert begin["sentence"]


def test_the_clock_is_told_as_the_clock(desk: Desk) -> None:
    """What begins and ends by its own time has no event, only the facts that it was judged by."""
    http = desk.http
    bot, role = http.account("timed"), http.role({"FLOW": ["DELETE"]})
    begins, ends = START + timedelta(hours=1), START + timedelta(hours=2)
    bind(http, bot, role, PROD, not_before=begins, expires_at=ends)
    http.inputs.advance(3 * 3600)

    (interval,) = told(ask(desk, id="timed", action="DELETE"))["intervals"]

    assert interval["begin"] == {
        "at": begins.isoformat().replace("+00:00", "Z"),
        "position": http.state.position,
        "byClock": True,
    }
    assert interval["end"]["byClock"] is True


def test_one_that_is_no_more_is_told_of_by_its_id(desk: Desk) -> None:
    """Deleting ends what was held, and hides nothing of it."""
    http = desk.http
    begun = http.state.position
    http.give(DeleteServiceAccount(id=desk.bot))

    found = told(ask(desk, id=desk.bot))

    ((begin, end),) = positions(found)
    assert begin <= begun
    assert end is not None
    assert found["decision"] is False
    assert positions(told(ask(desk, id="nobody-ever"))) == []


def test_a_name_of_nobody_is_not_written_down(desk: Desk) -> None:
    """What was typed may be a person's e-mail, and the journal is read by others."""
    http = desk.http
    assert positions(told(ask(desk, type="user", id="eve@example.com"))) == []
    told(ask(desk))

    entries = http.get("main/audit/journal?type=journal.search").json()["items"]

    assert "eve@example.com" not in str(entries)
    subjects = [one["asked"].get("subjectId") for one in entries]
    assert subjects == [desk.bot, None]


def test_the_past_is_told_as_it_was(desk: Desk) -> None:
    """As of a position what came later has not happened."""
    before = desk.http.state.position
    desk.http.give(DisableServiceAccount(id=desk.bot))

    now, then = told(ask(desk)), told(ask(desk, position=before))

    assert (now["decision"], then["decision"]) == (False, True)
    assert [end for _, end in positions(then)] == [None]


def test_who_may_not_see_the_trail_is_told_positions_alone(desk: Desk) -> None:
    """Actor, token and reason are the trail's; for oneself nothing more is needed."""
    http = desk.http
    reader = http.account("reader")
    http.allow(reader, {"ACCESS": ["CHECK", "EXPLAIN"]})
    auditor = http.account("auditor")
    http.allow(auditor, {"ACCESS": ["CHECK", "EXPLAIN"], "AUDITLOG": ["VIEW"]})

    (blind,) = told(ask(desk, by=http.bearer(reader)))["intervals"]
    (seeing,) = told(ask(desk, by=http.bearer(auditor)))["intervals"]
    (own,) = told(ask(desk, by=desk.by_bot))["intervals"]

    assert set(blind["begin"]) == set(own["begin"]) == {"at", "position", "byClock"}
    assert seeing["begin"]["actor"]
    assert seeing["begin"]["position"] == blind["begin"]["position"]


def test_who_may_not_ask_is_refused(desk: Desk) -> None:
    """ACCESS:CHECK and ACCESS:EXPLAIN at the place, as for an explanation."""
    http = desk.http
    asker = http.account("asker")
    http.allow(asker, {"ACCESS": ["CHECK"]})

    problem(ask(desk, by=http.bearer(asker)), 403, "permission.denied")


def test_what_another_tenant_did_is_not_told_here(desk: Desk) -> None:
    """A shared account: the edge stands, and whose act of no tenant it was does not."""
    http = desk.http
    role = http.role({"FLOW": ["DELETE"]})
    http.give(DisableServiceAccount(id=desk.bot))
    bots = http.group("Bots")
    join(http, bots, desk.bot)
    bind(http, bots, role)

    (interval,) = told(ask(desk))["intervals"]

    assert interval["begin"]["topic"] == "binding.created.v1"
    assert set(interval["end"]) == {"at", "position", "byClock"}


@pytest.mark.parametrize("asked", [{"type": "group"}, {"action": ""}, {"namespace": "a..b"}])
def test_malformed_questions_are_refused(desk: Desk, asked: dict[str, Any]) -> None:
    """A group is no principal; what is asked must be said."""
    assert ask(desk, **asked).status_code == 400


def test_too_many_events_are_refused_with_a_hint(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost of one answer is bounded."""
    monkeypatch.setattr(blame, "EVENTS_MAX", 2)

    problem(ask(desk), 400, "blame.too_much")


def test_an_answer_equals_that_of_a_check(desk: Desk) -> None:
    """What is told of now is what a check says now, before and after a change."""
    for _ in range(2):
        now = told(ask(desk))["decision"]
        body = desk.ask(_question()).json()
        assert now is body["decision"]
        if desk.binding in desk.http.state.bindings:
            desk.http.give(DeleteBinding(tenant=MAIN, id=desk.binding))


def _question() -> Json:
    return {
        "subject": {"type": "service_account", "id": "ci-bot"},
        "action": {"name": "UPDATE"},
        "resource": {"type": "FLOW", "id": "*", "properties": {"namespace": "prod.billing"}},
    }
