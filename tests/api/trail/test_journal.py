"""Is what the journal holds found by whatever it is asked for, and only by whom it may be?"""

from __future__ import annotations

from typing import Any

import pytest

from api.checks import EVALUATION
from tests.answers import problem
from tests.api.checking import Desk, question
from tests.service import ADDRESS, Headers, Served

Json = dict[str, Any]


@pytest.fixture
def desk(http: Served) -> Desk:
    """Return an installation with a bot that may update flows below `prod`."""
    return Desk(http)


def listed(
    http: Served, query: str = "", tenant: str = "main", by: Headers | None = None
) -> list[Json]:
    """Answer the entries of a page."""
    answer = http.get(f"{tenant}/audit/journal?{query}", by=by or http.root)
    assert answer.status_code == 200, answer.content
    found: list[Json] = answer.json()["items"]
    return found


def test_a_denied_check_is_told_with_all_that_was_asked(desk: Desk) -> None:
    """Issue 4: who asked, by which token, from where, what, and by which facts."""
    http = desk.http
    headers = {**desk.by_bot, "user-agent": "curl", "x-request-id": "req-denied"}
    http.post(EVALUATION, question(desk.bot, "DELETE"), by=headers)

    (entry,) = listed(http, "type=journal.decision")

    token = next(iter(http.state.tokens_of[desk.bot]))
    assert entry["outcome"] == "DENIED"
    assert entry["actor"] == {
        "type": "service_account",
        "id": desk.bot,
        "name": "ci-bot",
        "tokenId": token,
        "via": "api",
        "address": ADDRESS,
    }
    assert entry["asked"] == {
        "subjectType": "service_account",
        "subjectId": desk.bot,
        "subjectAsked": desk.bot,
        "action": "DELETE",
        "resourceType": "FLOW",
        "resourceId": "nightly-load",
        "namespace": "prod.billing",
    }
    assert (entry["requestId"], entry["position"]) == ("req-denied", http.state.position)


def test_allowed_checks_are_told_by_their_minute(desk: Desk) -> None:
    """Issue 4: by default a counter, which says how many there were."""
    for _ in range(3):
        desk.ask(question(desk.bot), by=desk.by_bot)
    desk.http.journal.flush(everything=True)

    (entry,) = listed(desk.http, "type=journal.decision&outcome=ALLOWED")

    assert (entry["count"], entry["asked"]["action"]) == (3, "UPDATE")
    assert entry["actor"]["id"] == desk.bot
    assert entry["ends"] > entry["at"]
    assert "position" not in entry


def test_refusals_are_found_by_actor_token_request_outcome_and_words(desk: Desk) -> None:
    """Issue 4: each filter finds it, and another value does not."""
    http = desk.http
    by = {**desk.by_bot, "x-request-id": "req-refused"}
    problem(http.post("main/groups", {"name": "Bots"}, by=by), 403, "permission.denied")
    token = next(iter(http.state.tokens_of[desk.bot]))

    for right, wrong in (
        (f"actor={desk.bot}", "actor=nobody"),
        (f"token={token}", "token=none"),
        ("correlation=req-refused", "correlation=req-other"),
        ("outcome=DENIED", "outcome=ALLOWED"),
        (f"address={ADDRESS}", "address=10.0.0.1"),
        ("type=journal.refusal", "type=journal.sign_in"),
        ("q=createGroup", "q=deleteGroup"),
        ("since=2026-01-01T00:00:00Z", "since=2027-01-01T00:00:00Z"),
        ("until=2027-01-01T00:00:00Z", "until=2025-01-01T00:00:00Z"),
    ):
        found = [entry["code"] for entry in listed(http, right) if entry["kind"] == "refusal"]
        assert found == ["permission.denied"], right
        assert not [one for one in listed(http, wrong) if one["kind"] == "refusal"], wrong


def test_pages_miss_nothing_and_repeat_nothing(desk: Desk) -> None:
    """By numbers, from either end, while the journal grows."""
    http = desk.http
    for number in range(7):
        http.post(EVALUATION, question(desk.bot, f"ACT{number}"), by=desk.by_bot)

    kinds = "type=journal.decision"
    forwards: list[str] = []
    after = 0
    while True:
        page = http.get(f"main/audit/journal?{kinds}&after={after}&limit=3").json()
        forwards += [entry["asked"]["action"] for entry in page["items"]]
        if not page["items"]:
            break
        after = page["nextAfter"]
    backwards: list[str] = []
    before = ""
    while True:
        page = http.get(f"main/audit/journal?{kinds}&limit=3{before}").json()
        backwards += [entry["asked"]["action"] for entry in page["items"]]
        if "nextBefore" not in page:
            break
        before = f"&before={page['nextBefore']}"

    assert forwards == [f"ACT{number}" for number in range(7)]
    assert backwards == forwards[::-1]
    http.post(EVALUATION, question(desk.bot, "LATER"), by=desk.by_bot)
    (later,) = listed(http, f"{kinds}&after={after}")
    assert later["asked"]["action"] == "LATER"


def test_a_tenants_journal_is_its_own(desk: Desk) -> None:
    """Security 2.3: an entry of another tenant, or of none, is the instance owner's alone."""
    http = desk.http
    beta = http.tenant("beta")
    other = http.account("other", beta)
    problem(
        http.post("beta/groups", {"name": "x"}, by=http.bearer(other)), 403, "permission.denied"
    )

    assert "refusal" not in {entry["kind"] for entry in listed(http)}
    assert "refusal" in {entry["kind"] for entry in listed(http, tenant="beta")}
    everything = http.get("audit/journal?tenant=beta").json()["items"]
    assert {entry["tenant"] for entry in everything} == {"beta"}
    assert {"main", "beta"} <= {
        entry.get("tenant") for entry in http.get("audit/journal").json()["items"]
    }


def test_people_are_named_to_those_who_may_see_users(http: Served) -> None:
    """Without USER:VIEW an id stands alone."""
    reader, seer = http.account("reader"), http.account("seer")
    http.allow(reader, {"AUDITLOG": ["LIST"]})
    http.allow(seer, {"AUDITLOG": ["LIST"], "USER": ["VIEW"]})
    ada = http.user("ada@example.com")
    problem(http.post("main/groups", {"name": "x"}, by=http.bearer(ada)), 403, "permission.denied")

    for by, name in ((reader, None), (seer, "ada@example.com")):
        found = listed(http, f"actor={ada}&type=journal.refusal", by=http.bearer(by))
        assert [entry["actor"].get("name") for entry in found] == [name]


def test_reading_the_journal_is_noted_in_it(http: Served) -> None:
    """Issue 4: reads of the audit trail itself are entries too."""
    listed(http)

    (entry,) = listed(http, "type=journal.audit_read")

    assert entry["operation"] == "listJournal"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("foo=1", "filters.invalid"),
        ("outcome=MAYBE", "filters.invalid"),
        ("order=up", "filters.invalid"),
        ("after=x", "position.invalid"),
        ("position=3", "position.invalid"),
    ],
)
def test_what_cannot_be_read_is_refused(http: Served, query: str, code: str) -> None:
    """A misspelt filter never shows more; the journal has no past of the log."""
    problem(http.get(f"main/audit/journal?{query}"), 400, code)


def test_who_may_not_list_the_trail_is_refused(desk: Desk) -> None:
    """AUDITLOG:LIST, as for the events."""
    problem(desk.http.get("main/audit/journal", by=desk.by_bot), 403, "permission.denied")
