"""Is the journal handed over whole, in order, and to whom it may be shown only?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import msgspec
import pytest

from api.request_errors import UnavailableError
from domain.token_text import TokenKind, make
from ops.journal import COUNTS_SECONDS
from projections import exporting, journal_parts
from projections.export_journal import FORMATS
from tests.answers import problem
from tests.api.checking import Desk, question
from tests.api.journaling import entries, only, sign_in
from tests.api.test_audit_export import Streaming, auditor
from tests.ocsf_schema import faults
from tests.service import NOBODY, ROOT_EMAIL, bearer

if TYPE_CHECKING:
    import httpx

    from tests.service import Headers, Served

OWN: Final = "main/audit/export"
WHOLE: Final = "audit/export"


def get(
    http: Served, path: str = WHOLE, by: Headers | None = None, **asked: object
) -> httpx.Response:
    """Answer an export of the journal."""
    query = urlencode({"stream": "journal", **asked})
    answer = http.get(f"{path}?{query}", by=http.root if by is None else by)
    assert answer.status_code == 200, answer.text
    return answer


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    """Answer the lines of an export."""
    return [msgspec.json.decode(line) for line in answer.text.splitlines()]


def topics(answer: httpx.Response) -> list[str]:
    """Answer the topics of an export."""
    return [line["topic"].removeprefix("journal.") for line in lines(answer)]


def much(http: Served) -> Desk:
    """Let everything happen that leaves something in the journal, in `main` and outside."""
    desk = Desk(http)
    http.inputs.advance(120)
    cookie = {"Cookie": f"JWT={sign_in(http).cookies['JWT']}"}
    sign_in(http, "nobody@example.com", "hunter2 hunter2")
    for _ in range(10):
        sign_in(http, ROOT_EMAIL, "hunter2 hunter2")
    http.post("logout", by=cookie)
    http.get("me", by=bearer(make(TokenKind.USER, bytes(32))))
    http.get("me", by=NOBODY)
    http.post("main/groups", {"name": "Bots"}, by=desk.by_bot)
    http.delete("users/ada@example.com")
    desk.ask(question("ci-bot", "DELETE"), headers={"User-Agent": "=cmd|"})
    desk.ask(question("somebody@example.com", type_="user"))
    desk.ask(question("ci-bot"))
    http.get("main/events")
    http.get(OWN)
    http.run(http.journal.settle())
    http.inputs.advance(COUNTS_SECONDS)
    http.run(http.journal.settle())
    return desk


def test_everything_that_was_noted_is_exported_in_order(http: Served) -> None:
    """Issue 4: sign-ins, failures, refusals, tokens, readings, decisions, and what is counted."""
    much(http)

    answer = get(http)

    found = lines(answer)
    places = [one["position"] for one in found]
    assert places == sorted({*places})
    assert {*topics(answer)} >= {
        *("sign_in", "sign_in_failure", "account_locked", "sign_out", "token_failure"),
        *("refusal", "decision", "audit_read", "audit_export"),
    }
    counted = {one["topic"]: one["outcome"] for one in found if "count" in one}
    assert counted == {"journal.decision": "ALLOWED", "journal.token_failure": "DENIED"}
    noted = [one for one in found if "count" not in one]
    # The export itself came behind it.
    assert len(noted) == len(entries(http)) - 1
    assert answer.headers["x-muniment-position"] == str(places[-1])
    assert answer.headers["content-disposition"] == (
        f'attachment; filename="journal-all-1-{places[-1]}.ndjson"'
    )


def test_an_export_of_the_journal_is_noted_and_goes_on_where_the_last_ended(http: Served) -> None:
    """Audit-export 1: it is an entry itself; runs that ask behind `until` miss and repeat none."""
    sign_in(http)
    first = get(http)
    until = int(first.headers["x-muniment-position"])

    second = get(http, after=until)

    assert (topics(first), topics(second)) == (["sign_in"], ["audit_export"])
    (noted, _) = entries(http, "audit_export")
    assert noted.detail == '{"stream":"journal","after":0,"until":1,"parameters":["stream"]}'
    assert lines(second)[0]["detail"]["until"] == until
    assert topics(get(http, until=until)) == ["sign_in"]
    assert topics(get(http, before=2)) == ["sign_in"]
    assert get(http, after=until, until=until).text == ""
    problem(http.get(f"{WHOLE}?stream=journal&until=99"), 400, "position.future")


def test_a_tenants_export_holds_its_own_and_no_other(http: Served) -> None:
    """Security 2.3: neither sign-ins nor another tenant's; the instance owner's holds all."""
    http.tenant("beta")
    sign_in(http)
    bot = http.account()
    for tenant in ("main", "beta"):
        http.post(f"{tenant}/groups", {"name": "Bots"}, by=http.bearer(bot))

    for path in (OWN, "beta/audit/export"):
        tenant = path.partition("/")[0]
        found = lines(get(http, path))
        assert {one["tenant"] for one in found} == {tenant}
        assert [one["topic"] for one in found] == ["journal.refusal"]
    whole = lines(get(http))
    assert {one.get("tenant") for one in whole} == {"main", "beta", None}
    assert {one["tenant"] for one in lines(get(http, tenant="beta"))} == {"beta"}
    problem(http.get(f"{OWN}?stream=journal&tenant=beta"), 400, "filters.invalid")


def test_only_who_may_export_the_trail_exports_the_journal(http: Served) -> None:
    """Issue 4: 403 and audited; people are named to whom may see users only."""
    by = auditor(http)
    reader = http.user("reader@example.com")
    http.allow(reader, {"AUDITLOG": ["LIST", "VIEW"]})

    query = "?stream=journal"
    problem(http.get(OWN + query, by=http.bearer(reader)), 403, "permission.denied")
    problem(http.get(WHOLE + query, by=by), 403, "privilege.required")
    problem(http.get(OWN + query, by=NOBODY), 401, "auth.required")
    problem(http.get(f"{OWN}{query}&personal=include", by=by), 403, "permission.denied")

    told = [one["operation"] for one in lines(get(http, type="journal.refusal"))]
    assert told == ["exportAudit", "exportWholeAudit", "exportAudit"]
    assert topics(get(http, OWN, by)) == ["refusal", "refusal"]


def test_no_person_is_told_of_by_more_than_an_id(http: Served) -> None:
    """Audit-export 2.4: neither e-mail nor its index, in any format; names if asked for."""
    much(http)
    index = http.vault.email_index(ROOT_EMAIL).hex()
    assert index in repr(entries(http)), "control"

    for form in FORMATS:
        for personal in ("omit", "include"):
            text = get(http, format=form.name, personal=personal).text
            assert index not in text
            assert "index:" not in text
            assert "hunter2" not in text
            assert ("@example.com" in text) == (form.name == "ocsf" and personal == "include")


def test_people_of_other_tenants_stand_by_their_ids(http: Served) -> None:
    """As in the trail: a tenant's export names who has access to it, the whole one everybody."""
    ada = http.user("ada@example.com", first_name="Ada", last_name="Lovelace")
    for by in (http.bearer(ada), http.root):
        http.request("DELETE", "main/groups/nothing", by=by)

    def named(path: str) -> list[str | None]:
        asked = {"type": "journal.refusal", "format": "ocsf", "personal": "include"}
        found = lines(http.get(f"{path}?{urlencode({'stream': 'journal', **asked})}"))
        return [one["actor"]["user"].get("name") for one in found]

    assert named(OWN) == ["Ada Lovelace", None]
    assert named(WHOLE) == ["Ada Lovelace", "root@example.com"]


def test_each_format_tells_the_journal(http: Served) -> None:
    """Every entry in each, every record of OCSF by its schema, unique beside the log."""
    much(http)
    until = get(http).headers["x-muniment-position"]
    ocsf, events, csv = (
        get(http, format=form, until=until) for form in ("ocsf", "cloudevents", "csv")
    )

    number = len(lines(get(http, until=until)))
    assert len(csv.text.splitlines()) == number + 1
    assert csv.headers["content-type"] == "text/csv; charset=utf-8"
    records = lines(ocsf)
    assert [*map(faults, records)] == [[]] * number
    assert {one["class_uid"] for one in records} == {3001, 3002, 6003}
    assert all(one["metadata"]["uid"].startswith("log-1/journal/") for one in records)
    of_journal = {(one["source"], one["id"]) for one in lines(events)}
    log = {(one["source"], one["id"]) for one in lines(http.get(f"{WHOLE}?format=cloudevents"))}
    assert len(of_journal) == number
    assert not of_journal & log


def test_the_journal_is_filtered_as_the_log_is(http: Served) -> None:
    """The same names: kinds with `journal.*`, actor, token, subject, outcome, words, instants."""
    desk = much(http)
    everything = lines(get(http))
    path = f"{WHOLE}?stream=journal&until={everything[-1]['position']}"
    token = http.token_id(desk.by_bot["Authorization"].removeprefix("Bearer "))
    cases: dict[str, tuple[str, object]] = {
        "type=journal.sign_in,journal.sign_out": ("topic", {"journal.sign_in", "journal.sign_out"}),
        f"actor={desk.bot}": ("principal", {desk.bot}),
        f"token={token}": ("token", {token}),
        "outcome=ALLOWED": ("outcome", {"ALLOWED"}),
    }

    for query, (name, values) in cases.items():
        found = lines(http.get(f"{path}&{query}"))
        assert found, query
        assert {one[name] for one in found} == values, query
        assert len(found) < len(everything)
    assert get(http, until_time="2026-01-01T00:01:00Z", type="journal.*").text == ""
    assert {*topics(get(http, subject=desk.bot, type="journal.decision"))} == {"decision"}
    assert topics(get(http, q="creategroup")) == ["refusal"]
    problem(http.get(f"{WHOLE}?stream=journal&position=3"), 400, "position.invalid")


# While it lasts


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an export come in pieces of three lines."""
    monkeypatch.setattr(exporting, "PAGE_EVENTS", 3)


def test_an_export_comes_in_pages_of_bounded_size(http: Served, small_pages: None) -> None:
    """Constant memory: no piece holds more than a page, and all of them hold everything."""
    del small_pages
    much(http)

    async def export() -> Streaming:
        streaming = Streaming(http, http.root, "stream=journal")
        await streaming.task
        return streaming

    streaming = http.run(export())

    assert streaming.has_ended
    assert max(piece.count(b"\n") for piece in streaming.pieces) == 3
    until = only(entries(http, "audit_export")[-1:]).detail or ""
    found = lines(get(http, OWN, until=msgspec.json.decode(until)["until"]))
    assert [*map(msgspec.json.decode, b"".join(streaming.pieces).splitlines())] == found
    assert len(found) > 3, "control"


def test_an_export_is_cut_off_when_the_journal_cannot_be_asked(
    http: Served, small_pages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reliability: a store that goes away in the middle leaves no export that looks whole."""
    del small_pages
    much(http)
    part, asked = journal_parts.part, 0

    def failing(*arguments: Any) -> exporting.Part:  # noqa: ANN401 - those of the part
        nonlocal asked
        asked += 1
        if asked == 2:
            raise UnavailableError("store.unreachable", 1)
        return part(*arguments)

    monkeypatch.setattr(journal_parts, "part", failing)

    async def export() -> Streaming:
        streaming = Streaming(http, http.root, "stream=journal")
        await streaming.task
        return streaming

    streaming = http.run(export())

    assert (streaming.status, streaming.has_ended) == (200, False)
