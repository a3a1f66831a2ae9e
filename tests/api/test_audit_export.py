"""Is the trail handed over whole, in order, to whom it may be, and cut off when that ends?"""

from __future__ import annotations

import asyncio
import csv
import io
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import pytest

from api import turnstile
from domain.ids import MAIN, TenantId
from domain.principals import BindingDeleted, TokenRevoked
from projections import export_lines, exporting
from projections.views import UnreachableError
from tests import service as harness
from tests.answers import problem
from tests.api.access.streaming import publish_at
from tests.service import ADDRESS, NOBODY, Headers, Served

if TYPE_CHECKING:
    pass

PATH: Final = "main/audit/export"


def lines(text: str) -> list[dict[str, Any]]:
    """Return the lines of an export."""
    return [msgspec.json.decode(line) for line in text.splitlines()]


def positions(http: Served, query: str = "", path: str = PATH, **options: Headers) -> list[int]:
    """Return the positions that an export holds."""
    answer = http.get(f"{path}?{query}", **cast("Any", options))
    assert answer.status_code == 200, answer.text
    return [one["position"] for one in lines(answer.text)]


def auditor(http: Served, *more: str) -> Headers:
    """Return a user who may export the trail of `main`, and what else is listed."""
    user = http.user("auditor@example.com")
    http.allow(user, {"AUDITLOG": ["EXPORT"], **{type_: ["VIEW"] for type_ in more}})
    return http.bearer(user)


class Streaming:
    """One export that is taken piece by piece, by one who may stop or leave."""

    def __init__(self, http: Served, by: Headers, query: str = "") -> None:
        self.status = 0
        self.pieces: list[bytes] = []
        self.has_ended = False
        self.takes = asyncio.Event()
        self.takes.set()
        self._gone = asyncio.Event()
        self._begun = asyncio.Event()
        given = {"host": "iam.example", **by}
        path = "/api/v1/main/audit/export"
        self._scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
            "client": (ADDRESS, 50_000),
            "state": {},
        }
        self._asked = False
        harness.PRESENT.service = http.service
        app = cast("Any", harness.front())
        self.task = asyncio.create_task(app(self._scope, self._receive, self._send))

    async def _receive(self) -> Any:  # noqa: ANN401 - a message of ASGI
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:  # noqa: ANN401 - a message of ASGI
        await self.takes.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._begun.set()
            return
        self.pieces.append(message["body"])
        self.has_ended = not message["more_body"]

    def leave(self) -> None:
        """Go away."""
        self._gone.set()

    async def begun(self) -> None:
        """Wait until it has been told that there is an answer."""
        await self._begun.wait()


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an export come in pieces of three events."""
    monkeypatch.setattr(exporting, "PAGE_EVENTS", 3)


# What is exported


def test_an_export_holds_a_tenants_events_and_no_others(http: Served) -> None:
    """Security 2.3: exactly the tenant's own trail, in order; the owner's route holds all."""
    http.tenant("beta")
    http.group("Bots")
    everything = http.facts()

    own = positions(http)
    whole = positions(http, path="audit/export")

    assert whole == [fact.position for fact in everything]
    assert own == [fact.position for fact in everything if fact.envelope.tenant == MAIN]
    assert positions(http, path="beta/audit/export") == [
        fact.position for fact in everything if fact.envelope.tenant == TenantId("beta")
    ]


def test_a_tenants_export_holds_no_digest_of_a_token(http: Served) -> None:
    """Audit-export 2.4: the owner's, which proves the whole log, holds the bytes as stored."""
    http.post(f"main/service-accounts/{http.account('bot')}/api-tokens", {"name": "deploy"})
    query = "?type=token.issued.v1"

    (own,) = lines(http.get(f"{PATH}{query}").text)
    whole = lines(http.get(f"audit/export{query}").text)

    assert "envelope" not in own
    assert all("envelope" in line for line in whole)


def test_an_export_goes_on_where_the_last_one_ended(http: Served, small_pages: None) -> None:
    """Audit-export 1: runs that each ask behind the last `until` miss nothing, repeat nothing."""
    del small_pages
    first = http.get(PATH)
    until = int(first.headers["x-muniment-position"])
    assert until == http.state.position
    assert int(http.get(f"{PATH}?after={until}").headers["x-muniment-position"]) == until
    http.group("Bots")

    second = http.get(f"{PATH}?after={until}")

    found = [one["position"] for one in (*lines(first.text), *lines(second.text))]
    assert found == positions(http)
    assert positions(http, f"after={until}&until={until}") == []
    assert int(http.get(f"{PATH}?until=3&type=x").headers["x-muniment-position"]) == 3
    assert [*positions(http, "until=7", path="audit/export")] == [*range(1, 8)]


def test_each_format_says_what_it_is(http: Served) -> None:
    """Audit-export 1: the media type, and a name of tenant, range and format."""
    head = http.state.position
    cases = {
        "": ("application/x-ndjson", f"audit-main-1-{head}.ndjson"),
        "format=csv&after=4": ("text/csv; charset=utf-8", f"audit-main-5-{head}.csv"),
        "format=ocsf": ("application/x-ndjson", f"audit-main-1-{head}.ocsf.ndjson"),
        "format=cloudevents": ("application/x-ndjson", f"audit-main-1-{head}.cloudevents.ndjson"),
    }
    for query, (media_type, file) in cases.items():
        answer = http.get(f"{PATH}?{query}")
        assert answer.headers["content-type"] == media_type
        assert answer.headers["content-disposition"] == f'attachment; filename="{file}"'
    rows = [*csv.DictReader(io.StringIO(http.get(f"{PATH}?format=csv").text, newline=""))]
    assert [int(row["position"]) for row in rows] == positions(http)
    (event, *_) = lines(http.get(f"{PATH}?format=cloudevents").text)
    assert event["source"] == "https://iam.example/api/v1/main"
    (record, *_) = lines(http.get(f"{PATH}?format=ocsf").text)
    assert record["metadata"]["uid"] == f"{harness.LOG_ID}/{record['metadata']['sequence']}"


# Who may


def test_only_who_may_export_exports(http: Served) -> None:
    """Audit-export 1: AUDITLOG:EXPORT in the tenant; the whole log is the owner's."""
    by = auditor(http)
    user = http.user("reader@example.com")
    http.allow(user, {"AUDITLOG": ["LIST", "VIEW"]})

    assert positions(http, by=by)
    problem(http.get(PATH, by=http.bearer(user)), 403, "permission.denied")
    problem(http.get("audit/export", by=by), 403, "privilege.required")
    problem(http.get(PATH, by=NOBODY), 401, "auth.required")


def test_people_are_named_only_to_whom_may_see_users(http: Served) -> None:
    """Audit-export 2.4: `personal=include` needs USER:VIEW as well; ids stand alone otherwise."""
    ada = http.user("ada@example.com", first_name="Ada", last_name="Lovelace")
    path = "audit/export?type=user.created.v1"

    hidden = lines(http.get(path).text)[-1]
    shown = lines(http.get(f"{path}&personal=include").text)[-1]
    record = lines(http.get(f"{path}&personal=include&format=ocsf").text)[-1]
    nameless = lines(http.get(f"{path}&format=ocsf").text)[-1]

    assert hidden["event"]["email"] == {"sealed": True}
    assert (shown["event"]["email"], shown["event"]["first_name"]) == ("ada@example.com", "Ada")
    assert record["user"] == {"uid": ada, "type_id": 1, "name": "Ada Lovelace"}
    assert nameless["user"] == {"uid": ada, "type_id": 1}
    problem(http.get(f"{PATH}?personal=include", by=auditor(http)), 403, "permission.denied")
    some = http.user("other@example.com")
    http.allow(some, {"AUDITLOG": ["EXPORT"], "USER": ["VIEW"]})
    assert http.get(f"{PATH}?personal=include", by=http.bearer(some)).status_code == 200


def test_what_was_erased_is_shown_as_erased(http: Served) -> None:
    """Audit-export 2.4: the line still proves itself when the key is gone."""
    ada = http.user("ada@example.com")
    sealed = http.state.users[ada].email
    path = "audit/export?type=user.created.v1&personal=include"
    assert "ada@example.com" in http.get(path).text

    http.vault.destroy(sealed.key)

    answer = http.get(path)
    assert "ada@example.com" not in answer.text
    line = answer.text.splitlines()[-1]
    assert msgspec.json.decode(line)["event"]["email"] == {"erased": True}
    record, named = export_lines.read(line.encode())
    assert record == http.log.read(record.position - 1, 1)[0]
    assert named is not None


# While it lasts


@pytest.mark.parametrize("ending", ["token", "permission"])
def test_an_export_is_cut_off_when_the_right_ends(
    http: Served, small_pages: None, ending: str
) -> None:
    """Http-api 5: judged anew for every page; what is cut has no end, so nobody takes it whole."""
    del small_pages
    by = auditor(http)
    text = by["Authorization"].removeprefix("Bearer ")
    user = http.state.tokens[http.token_id(text)].owner
    (binding,) = (one.id for one in http.state.bindings.values() if one.subject == user)
    event = (
        TokenRevoked(id=http.token_id(text))
        if ending == "token"
        else BindingDeleted(tenant=MAIN, id=binding)
    )

    async def export() -> Streaming:
        publish_at(http, 5, event)
        streaming = Streaming(http, by)
        await streaming.task
        return streaming

    streaming = http.run(export())

    assert streaming.status == 200
    assert not streaming.has_ended
    assert lines(b"".join(streaming.pieces).decode())


def test_an_export_whose_right_lasts_comes_to_its_end(http: Served, small_pages: None) -> None:
    """Control: the same export, with nothing taken away."""
    del small_pages
    by = auditor(http)
    expected = positions(http)

    async def export() -> Streaming:
        streaming = Streaming(http, by)
        await streaming.task
        return streaming

    streaming = http.run(export())

    assert streaming.has_ended
    assert [one["position"] for one in lines(b"".join(streaming.pieces).decode())] == expected
    assert max(piece.count(b"\n") for piece in streaming.pieces) == 3


def test_an_export_is_cut_off_when_the_views_cannot_be_asked(
    http: Served, small_pages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reliability: a store that goes away in the middle leaves no export that looks whole."""
    del small_pages
    by = auditor(http)
    part, asked = exporting.part, 0

    def failing(*arguments: Any) -> exporting.Part:  # noqa: ANN401 - those of the part
        nonlocal asked
        asked += 1
        if asked == 2:
            raise UnreachableError
        return part(*arguments)

    monkeypatch.setattr(exporting, "part", failing)

    async def export() -> Streaming:
        streaming = Streaming(http, by)
        await streaming.task
        return streaming

    streaming = http.run(export())

    assert (streaming.status, streaming.has_ended) == (200, False)


def test_who_does_not_take_it_is_not_read_for(http: Served, small_pages: None) -> None:
    """Constant memory: while an answer waits to be taken no further page is made."""
    del small_pages
    by = auditor(http)

    async def export() -> tuple[int, bool]:
        streaming = Streaming(http, by)
        await streaming.begun()
        streaming.takes.clear()
        await asyncio.sleep(0.05)
        held = len(streaming.pieces)
        await asyncio.sleep(0.05)
        assert held == len(streaming.pieces)
        assert not streaming.task.done()
        streaming.takes.set()
        await streaming.task
        return held, streaming.has_ended

    held, has_ended = http.run(export())

    assert held <= 2
    assert has_ended


def test_who_leaves_is_not_written_for(http: Served, small_pages: None) -> None:
    """An export ends soon after its caller has gone, and its place is free again."""
    del small_pages
    by = auditor(http)

    async def export() -> Streaming:
        streaming = Streaming(http, by)
        await streaming.begun()
        streaming.takes.clear()
        streaming.leave()
        await asyncio.sleep(0.05)
        streaming.takes.set()
        await streaming.task
        return streaming

    streaming = http.run(export())

    assert not streaming.has_ended
    assert len(streaming.pieces) <= 2
    assert positions(http, by=by)


def test_so_many_exports_at_once_and_no_more(
    http: Served, small_pages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Security 6.2 and 6.7: two a principal, ten a process; whoever waits is told how long."""
    del small_pages
    first, second = auditor(http), http.root
    monkeypatch.setattr(turnstile, "ALL_MAX", 3)

    async def export() -> list[int]:
        running = [Streaming(http, by) for by in (first, first, second)]
        for one in running:
            one.takes.clear()
        await asyncio.sleep(0.05)
        for one in running:
            assert not one.task.done()
        late = [await http.send("GET", PATH, by=by) for by in (first, second)]
        for one in running:
            one.takes.set()
            await one.task
        again = await http.send("GET", PATH, by=first)
        problem(late[0], 429, "export.too_many")
        problem(late[1], 503, "export.too_many")
        return [again.status_code]

    assert http.run(export()) == [200]
