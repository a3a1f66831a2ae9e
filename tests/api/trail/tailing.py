"""How is a tail read in this process, event by event, by a client that may stop reading?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import msgspec
from msgspec import Struct

from tests import service as harness
from tests.service import ADDRESS, Headers, Served


class Told(Struct, frozen=True):
    """One server-sent event."""

    name: str
    id: int | None
    data: dict[str, Any]


def parse(body: bytes) -> list[Told]:
    """Read server-sent events; what has no data is left out."""
    found: list[Told] = []
    for block in body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in fields:
            id_ = int(fields["id"]) if "id" in fields else None
            found.append(Told(fields["event"], id_, msgspec.json.decode(fields["data"])))
    return found


class Tailing:
    """One tail; what came can be looked at in between."""

    def __init__(self, http: Served, path: str, by: Headers, **headers: str) -> None:
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        self._messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        self.start: dict[str, Any] = {}
        self.body = b""
        self.has_ended = False
        self._came = asyncio.Event()
        self._reads = asyncio.Event()
        self._reads.set()
        path, _, query = path.partition("?")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        given = {"host": "iam.example", **by, **named}
        scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "path": "/api/v1/" + path,
            "raw_path": b"/api/v1/" + path.encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
            "client": (ADDRESS, 50_000),
            "state": {},
        }
        harness.PRESENT.service = http.service
        app = cast("Any", harness.front())
        self.task = asyncio.create_task(app(scope, self._messages.get, self._send))

    async def _send(self, message: Any) -> None:  # noqa: ANN401 - a message of ASGI
        # As the server does: it waits before it writes, and then writes whole.
        await self._reads.wait()
        if message["type"] == "http.response.start":
            self.start = message
        else:
            self.body += message["body"]
            self.has_ended = not message["more_body"]
        self._came.set()

    @property
    def told(self) -> list[Told]:
        """What came so far."""
        return parse(self.body)

    @property
    def positions(self) -> list[int]:
        """The positions of the entries that came."""
        return [one.data["position"] for one in self.told if one.name == "entry"]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds; whatever comes may make it so."""
        async with asyncio.timeout(20):
            while not holds():
                self._came.clear()
                await self._came.wait()

    async def ended(self) -> str:
        """Wait for the end; answer its code."""
        async with asyncio.timeout(20):
            await self.task
        assert self.has_ended
        assert "end" == self.told[-1].name
        code: str = self.told[-1].data["code"]
        return code

    def stop_reading(self) -> None:
        """Take no more."""
        self._reads.clear()

    def read_on(self) -> None:
        """Take again."""
        self._reads.set()

    async def leave(self) -> None:
        """Go away, and wait until the server has noticed."""
        self._messages.put_nowait({"type": "http.disconnect"})
        await self.task
