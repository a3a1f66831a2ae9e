"""Does each request leave one record, with ids and without what was sent?"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import httpx
import pytest

from api.app import create_app
from api.checks import EVALUATION, Checks
from api.front import Front
from api.request_log import RequestLog
from tests.service import NOBODY, PASSWORD, PUBLIC_URL, Headers, Served, basic, served

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send

LOGGER: Final = "muniment.requests"
FIELDS: Final = (
    *("request_id", "tenant", "principal_id", "token_id", "method", "route", "status"),
    *("duration_ms", "position"),
)


class Logged:
    """The application as it is wired: the front, the hot endpoints, the record, the routes."""

    def __init__(self, http: Served, caplog: pytest.LogCaptureFixture) -> None:
        self.http = http
        self._caplog = caplog
        routes = RequestLog(http.service, create_app(http.service))
        self._front = Front(
            Checks(http.service, routes),
            hosts=("iam.example",),
            public_https=True,
            new_id=http.inputs.id,
            on_leak=lambda *_: None,
        )

    def ask(
        self, method: str, path: str, by: Headers, *, body: object = None, request_id: str = ""
    ) -> httpx.Response:
        """Send a request."""
        headers = {**by, **({"X-Request-ID": request_id} if request_id else {})}
        return self.http.run(self._send(method, path, headers, json=body))

    def ask_lines(self, path: str, by: Headers, lines: bytes) -> httpx.Response:
        """Send a request of lines."""
        headers = {**by, "Content-Type": "application/x-ndjson"}
        return self.http.run(self._send("POST", path, headers, content=lines))

    async def _send(self, method: str, path: str, by: Headers, **body: Any) -> httpx.Response:  # noqa: ANN401 - what httpx takes
        async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
            scope["state"] = {}
            await self._front(scope, receive, send)

        transport = httpx.ASGITransport(app=cast("Any", with_state))
        async with httpx.AsyncClient(transport=transport, base_url=PUBLIC_URL) as client:
            return await client.request(method, path, headers=by, **body)

    @property
    def records(self) -> list[dict[str, Any]]:
        """What was written, each record with the fields of operations 3 that it has."""
        return [
            {name: value for name, value in vars(record).items() if name in FIELDS}
            for record in self._caplog.records
            if record.name == LOGGER
        ]


@pytest.fixture
def logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Logged]:
    """Yield an application whose records are collected."""
    caplog.set_level(logging.INFO, logger=LOGGER)
    with served(tmp_path) as http:
        yield Logged(http, caplog)


def test_lines_leave_one_record_for_all(logged: Logged) -> None:
    """Operations 3: as many questions as there are, none of them is told of."""
    path = "/api/v1/main/access/check-bulk"

    answer = logged.ask_lines(path, logged.http.root, b'{"subject":1}\n' * 600)

    assert 600 == len(answer.content.splitlines())
    (record,) = logged.records
    assert ("POST", 200, logged.http.state.position) == (
        record["method"],
        record["status"],
        record["position"],
    )
    assert "main" == record["tenant"]
    assert record["route"].endswith("/access/check-bulk")


def test_request_leaves_one_record_with_its_ids(logged: Logged) -> None:
    """Operations 3: tenant, principal, token, method, template, status, time and position."""
    http = logged.http
    account = http.account("ci-bot")
    http.allow(account, {"GROUP": ["CREATE"]})
    by = http.bearer(account)
    (token,) = http.state.tokens_of[account]

    answer = logged.ask(
        "POST",
        "/api/v1/main/groups?at_least=1",
        by,
        body={"name": "Secret society"},
        request_id="req-1",
    )

    assert answer.status_code == 200
    assert [
        {
            "request_id": "req-1",
            "tenant": "main",
            "principal_id": account,
            "token_id": token,
            "method": "POST",
            "route": "/api/v1/{tenant}/groups",
            "status": 200,
            "duration_ms": 0.0,
            "position": int(answer.headers["x-muniment-position"]),
        }
    ] == logged.records


def test_request_of_a_stranger_names_nobody(logged: Logged) -> None:
    """Refusals are recorded with what is known: no principal, no token, no path as sent."""
    logged.ask("GET", "/api/v1/main/groups/Secret", NOBODY)
    logged.ask("GET", "/Secret?q=Secret", NOBODY)
    logged.ask("PUT", "/livez", NOBODY)

    assert [(401, "/api/v1/{tenant}/groups/{id}"), (404, ""), (405, "")] == [
        (record["status"], record["route"]) for record in logged.records
    ]
    assert not any("principal_id" in record for record in logged.records)


def test_record_holds_nothing_that_was_sent(
    logged: Logged, caplog: pytest.LogCaptureFixture
) -> None:
    """Security 4.5: neither bodies nor query strings, names, e-mails or passwords are logged."""
    user = logged.http.user("mole@example.com", owner=True)
    answer = logged.ask(
        "POST",
        "/api/v1/main/groups?filters[q][EQUALS]=canary",
        basic("mole@example.com"),
        body={"name": "canary", "description": PASSWORD},
    )

    assert answer.status_code == 200
    ours = [record for record in caplog.records if record.name == LOGGER]
    text = repr([vars(record) for record in ours])
    assert user in text
    for canary in ("canary", PASSWORD, "mole@example.com", "filters"):
        assert canary not in text


def test_checks_leave_no_record(logged: Logged) -> None:
    """The hot endpoints are measured, not logged; control: the route beside them is."""
    question = {
        "subject": {"type": "service_account", "id": "ci-bot"},
        "action": {"name": "VIEW"},
        "resource": {"type": "FLOW", "id": "nightly"},
    }

    assert logged.ask("POST", EVALUATION, logged.http.root, body=question).status_code == 200
    assert [] == logged.records

    assert logged.ask("GET", "/readyz", NOBODY).status_code == 200
    assert ["/readyz"] == [record["route"] for record in logged.records]


def test_records_are_left_out_above_their_level(
    logged: Logged, caplog: pytest.LogCaptureFixture
) -> None:
    """With warnings only nothing is written, and requests are answered all the same."""
    caplog.set_level(logging.WARNING, logger=LOGGER)

    assert logged.ask("GET", "/livez", NOBODY).status_code == 200
    assert [] == logged.records
