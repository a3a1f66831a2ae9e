"""How is a route asked piece by piece, and how does something happen in the middle of an answer?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from domain.state import evolve
from tests import service as harness
from tests.service import ADDRESS, Headers, Served
from tests.spec import facts

if TYPE_CHECKING:
    from api.front import Front
    from domain.events import Event


def publish_at(http: Served, turn: int, *events: Event) -> None:
    """Publish events as the readiness is asked for the so-manieth time: in a certain slice."""
    service, ready = http.service, http.service.health
    asked = 0

    def health() -> Any:  # noqa: ANN401 - what the installation says
        nonlocal asked
        asked += 1
        if asked == turn:
            new = facts(service.state, events, http.inputs.now())
            service.publish(evolve(service.state, new), new)
        return ready()

    service.health = health


class Stream:
    """One request whose body is given by and by; what came back can be looked at in between."""

    def __init__(self, http: Served, by: Headers, front: Front | None = None) -> None:
        self._http = http
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        self.taken = 0
        self.start: dict[str, Any] = {}
        self.body = b""
        self.has_ended = False
        self._sends = asyncio.Event()
        self._sends.set()
        path = "/api/v1/main/access/check-bulk"
        given = {"host": "iam.example", "content-type": "application/x-ndjson", **by}
        headers = [(name.lower().encode(), value.encode()) for name, value in given.items()]
        self._scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [*headers, (b"transfer-encoding", b"chunked")],
            "client": (ADDRESS, 50_000),
            "state": {},
        }
        harness.PRESENT.service = http.service
        app = cast("Any", front or harness.front())
        self.task = asyncio.create_task(app(self._scope, self._receive, self._send))

    async def _receive(self) -> Any:  # noqa: ANN401 - a message of ASGI
        message = await self._messages.get()
        self.taken += 1
        return message

    async def _send(self, message: Any) -> None:  # noqa: ANN401 - a message of ASGI
        await self._sends.wait()
        if message["type"] == "http.response.start":
            self.start = message
            return
        self.body += message["body"]
        self.has_ended = not message["more_body"]

    def give(self, body: bytes, *, more: bool = True) -> None:
        """Give the next piece of the body."""
        message = {"type": "http.request", "body": body, "more_body": more}
        self._messages.put_nowait(message)

    def leave(self) -> None:
        """Go away."""
        self._messages.put_nowait({"type": "http.disconnect"})

    def stop_reading(self) -> None:
        """Take no more of the answer."""
        self._sends.clear()

    def read_on(self) -> None:
        """Take the answer again."""
        self._sends.set()

    async def settle(self) -> None:
        """Let the server do what it can with what it has."""
        for _ in range(200):
            await asyncio.sleep(0)

    @property
    def lines(self) -> list[bytes]:
        """What has been answered."""
        return self.body.splitlines()

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the answer."""
        return {name.decode(): value.decode() for name, value in self.start["headers"]}
