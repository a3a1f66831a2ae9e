"""How is the check API asked in a test?"""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
from litestar.types import Message, Receive, Send
from litestar.types import Scope as Connection
from msgspec import UNSET, UnsetType

from api.checks import EVALUATION, EVALUATIONS, PATHS, Checks
from domain.ids import ServiceAccountId
from domain.scopes import Scope
from tests.service import ADDRESS, Headers, Served

Json = dict[str, Any]

HOT = sorted(PATHS)

PROD = Scope(namespace="prod")
ALLOWED = b'{"decision":true}'
DENIED = b'{"decision":false}'


def question(
    subject: str,
    action: str = "UPDATE",
    namespace: str | UnsetType = "prod.billing",
    *,
    type_: str = "service_account",
    resource: tuple[str, str] = ("FLOW", "nightly-load"),
    tenant: str | UnsetType = UNSET,
    context: Json | UnsetType = UNSET,
) -> Json:
    """Answer the body of an evaluation."""
    given = {"namespace": namespace, "tenant": tenant}
    properties = {name: value for name, value in given.items() if value is not UNSET}
    body: Json = {
        "subject": {"type": type_, "id": subject},
        "action": {"name": action},
        "resource": {"type": resource[0], "id": resource[1], "properties": properties},
    }
    return body if context is UNSET else {**body, "context": context}


class Desk:
    """An installation with a bot that may update flows below `prod`."""

    def __init__(self, http: Served) -> None:
        self.http = http
        self.bot: ServiceAccountId = http.account("ci-bot")
        self.binding = http.allow(self.bot, {"FLOW": ["UPDATE"]}, place=PROD)
        self.by_bot = http.bearer(self.bot)

    def ask(self, body: Json, by: Headers | UnsetType = UNSET, **more: Any) -> httpx.Response:  # noqa: ANN401 - the options of Served.send
        """Ask one question, as the instance owner unless told."""
        return self.http.post(EVALUATION, body, by=self._or_root(by), **more)

    def ask_all(self, body: Json, by: Headers | UnsetType = UNSET) -> httpx.Response:
        """Ask a batch of questions."""
        return self.http.post(EVALUATIONS, body, by=self._or_root(by))

    def find(
        self,
        path: str,
        body: Json,
        by: Headers | UnsetType = UNSET,
        **more: Any,  # noqa: ANN401 - the options of Served.send
    ) -> Json:
        """Search, and answer the body of the page that was found."""
        response = self.http.post(path, body, by=self._or_root(by), **more)
        assert 200 == response.status_code, response.content
        assert "application/json" == response.headers["content-type"]
        assert int(response.headers["x-muniment-position"]) <= self.http.state.position
        found: Json = response.json()
        return found

    def _or_root(self, by: Headers | UnsetType) -> Headers:
        return self.http.root if by is UNSET else by

    def says(self, body: Json, by: Headers | UnsetType = UNSET) -> bool:
        """Hold the answer to be exactly a decision at the published position; answer it."""
        response = self.ask(body, by)
        assert 200 == response.status_code, response.content
        assert response.content in {ALLOWED, DENIED}
        assert "application/json" == response.headers["content-type"]
        assert str(self.http.state.position) == response.headers["x-muniment-position"]
        return response.content == ALLOWED

    def raw(
        self,
        body: Json | bytes,
        *headers: tuple[bytes, bytes],
        path: str = EVALUATION,
    ) -> tuple[int, bytes]:
        """Ask the ASGI callable itself, with nothing before it; answer status and body."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        sent: list[Message] = []

        async def receive() -> Any:  # noqa: ANN401 - a message of ASGI
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        given = [(b"content-type", b"application/json"), *headers]
        connection: Any = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": given,
            "state": {"request_id": "raw", "address": ADDRESS},
        }
        self.http.run(Checks(self.http.service, _nowhere)(connection, receive, send))
        start: Any = sent[0]
        rest: Any = sent[1]
        return start["status"], rest["body"]

    def header(self, by: Headers) -> tuple[bytes, bytes]:
        """Answer a credential as ASGI has it."""
        return b"authorization", by["Authorization"].encode()


async def _nowhere(_scope: Connection, _receive: Receive, _send: Send) -> None:
    raise AssertionError("the request was passed on")
