"""Is every decision told or counted, repeatable, and none given whose record cannot be kept?"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from api.request_errors import UnavailableError
from domain.token_text import digest
from projections.journal import Entry
from tests.answers import problem
from tests.api.checking import Desk, question
from tests.api.journaling import REQUEST, counts, entries, only, sign_in
from tests.fixed_inputs import START
from tests.service import ADDRESS

if TYPE_CHECKING:
    from tests.service import Served


def told(entry: Entry) -> dict[str, Any]:
    """The members that an entry has."""
    members = msgspec.structs.asdict(entry)
    return {name: value for name, value in members.items() if value is not None}


# Decisions


def test_a_denial_is_told_in_full(http: Served) -> None:
    """Authzen 9: position, instant, caller, token, address, subject as asked and as resolved."""
    desk = Desk(http)

    desk.ask(question("ci-bot", "DELETE"), headers=REQUEST)

    assert {
        "at": START,
        "kind": "decision",
        "outcome": "DENIED",
        "code": "denied",
        "position": http.state.position,
        "tenant": "main",
        "principal": http.root_id,
        "principal_type": "user",
        "token": http.token_id(http.root["Authorization"].removeprefix("Bearer ")),
        "via": "api",
        "address": ADDRESS,
        "request_id": "req-1",
        "operation": "access.evaluate",
        "subject_type": "service_account",
        "subject_asked": "ci-bot",
        "subject": desk.bot,
        "action": "DELETE",
        "resource_type": "FLOW",
        "resource_id": "nightly-load",
        "namespace": "prod.billing",
    } == told(only(entries(http, "decision")))


def test_a_denial_in_bulk_is_told_as_any_other(http: Served) -> None:
    """Issue 4: thousands at once, by body or by lines, are decisions like all others."""
    desk = Desk(http)
    item = question("ci-bot", "DELETE")
    line = msgspec.json.encode(item) + b"\n"
    lines = {"Content-Type": "application/x-ndjson"}

    assert 200 == http.post("main/access/check-bulk", {"items": [item]}).status_code
    assert 200 == http.post("main/access/check-bulk", content=line, headers=lines).status_code

    assert [(desk.bot, "DELETE")] * 2 == [
        (one.subject, one.action) for one in entries(http, "decision")
    ]


@pytest.mark.parametrize(
    ("path", "subject", "total"),
    [("subject", None, 1), ("resource", "bot", 0), ("action", "bot", 1)],
)
def test_a_search_leaves_one_entry_with_its_count(
    http: Served, path: str, subject: str | None, total: int
) -> None:
    """Authzen 9: what was searched, by whom, and how many were found."""
    desk = Desk(http)
    body = question("ci-bot", "UPDATE")

    assert 200 == http.post(f"/access/v1/search/{path}", body, headers=REQUEST).status_code

    entry = only(entries(http, "search"))
    assert ("FLOW", "prod.billing", http.root_id) == (
        entry.resource_type,
        entry.namespace,
        entry.principal,
    )
    assert (subject and desk.bot) == entry.subject
    assert msgspec.json.encode({"total": total}).decode() == entry.detail


@pytest.mark.parametrize(
    "query", ["who-can?resourceType=FLOW&action=UPDATE&namespace=prod", "me", "what-can?type=%s"]
)
def test_a_list_of_rights_leaves_an_entry(http: Served, query: str) -> None:
    """Who looked up whose rights is told too."""
    Desk(http)
    query = query.replace("%s", "service_account&id=ci-bot")

    assert 200 == http.get(f"main/access/{query}").status_code

    assert http.root_id == only(entries(http, "search")).principal


def test_an_allow_is_counted_by_the_minute_unless_all_is_kept(http: Served) -> None:
    """By default it is known how often whose right was used, by which token, for what."""
    desk = Desk(http)

    for _ in range(3):
        assert desk.says(question("ci-bot"))

    assert [] == entries(http, "decision")
    ((counted, number),) = counts(http)
    assert 3 == number
    assert ("decision", "ALLOWED", "main", http.root_id, desk.bot, "FLOW", "UPDATE") == (
        counted.kind,
        counted.outcome,
        counted.tenant,
        counted.principal,
        counted.subject,
        counted.resource_type,
        counted.action,
    )


def test_each_item_of_a_batch_has_an_entry_of_the_same_moment(all_kept: Served) -> None:
    """Authzen 4 and 9: one position and one instant, kept with every item that was judged."""
    desk = Desk(all_kept)
    items = [question("ci-bot", action) for action in ("UPDATE", "DELETE", "UPDATE")]

    desk.ask_all({"evaluations": [*items, {}]})

    found = entries(all_kept, "decision")
    assert ["ALLOWED", "DENIED", "ALLOWED"] == [one.outcome for one in found]
    assert ["allowed", "denied", "allowed"] == [one.code for one in found]
    assert {(all_kept.state.position, START, None)} == {
        (one.position, one.at, one.clock) for one in found
    }


def test_a_journaled_decision_is_repeated_by_its_position_and_clock(all_kept: Served) -> None:
    """Authzen 9: `as_of` with what the entry holds gives the same decision, whatever came since."""
    desk = Desk(all_kept)
    assert desk.says(question("ci-bot"))
    all_kept.inputs.advance(60)
    past = {"as_of": {"position": all_kept.state.position, "at": "2026-01-01T00:00:30Z"}}
    desk.ask(question(desk.bot, context=past))
    all_kept.delete(f"main/bindings/{desk.binding}")
    assert not desk.says(question("ci-bot"))

    for entry in entries(all_kept, "decision"):
        as_of = {"position": entry.position, "at": (entry.clock or entry.at).isoformat()}
        asked = question(str(entry.subject), context={"as_of": as_of})
        assert (entry.outcome == "ALLOWED") is desk.ask(asked).json()["decision"]
    clocks = [one.clock for one in entries(all_kept, "decision")[:2]]
    assert [None, START + timedelta(seconds=30)] == clocks


def test_a_persons_e_mail_is_kept_as_its_index_only(all_kept: Served) -> None:
    """Nobody reads an e-mail out of the journal, not even of one who is no user here."""
    desk = Desk(all_kept)
    ada = all_kept.user("ada@example.com")
    for typed in ("ada@example.com", "nobody@example.com"):
        desk.ask(question(typed, type_="user"))
    desk.ask(question(ada, type_="user", context={"token": "t1"}))

    known, unknown, by_id = entries(all_kept, "decision")

    index = all_kept.vault.email_index("ada@example.com").hex()
    assert (f"index:{index}", ada) == (known.subject_asked, known.subject)
    assert ("subject.unknown", None) == (unknown.code, unknown.subject)
    assert "nobody" not in str(unknown.subject_asked)
    assert (ada, '{"token":"t1"}') == (by_id.subject_asked, by_id.detail)


def test_an_explained_decision_is_journaled_as_any(http: Served) -> None:
    """To ask why is to ask whether."""
    desk = Desk(http)

    desk.ask(question("ci-bot", "DELETE", context={"explain": True}))

    assert "DENIED" == only(entries(http, "decision")).outcome


def test_who_may_not_ask_is_journaled_alone_or_in_a_batch(http: Served) -> None:
    """Security 2.10: a question that was refused tells who asked about which place."""
    desk = Desk(http)
    stranger = http.bearer(http.account("prying"))

    problem(desk.ask(question("ci-bot"), stranger), 403, "permission.denied")
    desk.ask_all({"evaluations": [question("ci-bot", namespace=msgspec.UNSET)]}, stranger)

    first, second = entries(http, "refusal")
    assert ("permission.denied", "ACCESS", "CHECK", "main") == (
        first.code,
        first.resource_type,
        first.action,
        first.tenant,
    )
    assert ("prod.billing", None) == (first.namespace, second.namespace)
    assert "nightly-load" == first.resource_id
    assert {http.state.digests[digest(stranger["Authorization"][7:])]} == {
        first.token,
        second.token,
    }


# Required


def test_no_answer_without_its_record(strictly_kept: Served) -> None:
    """`required`: while the journal cannot be written there is no allow, no sign-in, no reading.

    Neither is there a deny: whoever asks is told to come again.
    """
    http = strictly_kept
    desk = Desk(http)
    assert desk.says(question("ci-bot"))
    allowed = only(entries(http, "decision"))
    assert "ALLOWED" == allowed.outcome
    store = http.journal_engine
    with store.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE journal_head RENAME TO away")

    batch = {"evaluations": [question("ci-bot")] * 2}
    for answer in (
        desk.ask(question("ci-bot")),
        desk.ask(question("ci-bot", "DELETE")),
        desk.ask_all(batch),
        sign_in(http),
        http.get("main/auditlogs/search"),
        http.get("main/auditlogs/export"),
    ):
        problem(answer, 503, "journal.unwritable")
        assert b"true" not in answer.content
        assert "set-cookie" not in answer.headers
    assert 200 == http.get("me").status_code

    with store.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO journal_head")
    http.inputs.advance(60)
    assert desk.says(question("ci-bot"))
    assert 200 == sign_in(http).status_code


def test_a_default_journal_that_cannot_be_written_stops_no_answer(http: Served) -> None:
    """Control of the rule above: by default checks go on, and the failure is counted."""
    desk = Desk(http)
    with http.journal_engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE journal_head RENAME TO away")

    assert not desk.says(question("ci-bot", "DELETE"))
    with pytest.raises(UnavailableError):
        http.run(http.journal.settle())

    assert http.journal.tally().write_failures
