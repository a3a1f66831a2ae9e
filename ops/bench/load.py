"""How does a server answer prepared requests on many connections? The load's own process.

`python -m ops.bench.load URL FILE SECONDS RATE CONNECTIONS`: as fast as it goes with RATE 0; else
so many requests a second, each timed from the moment when it was due, not when it was sent.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import cycle
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

import msgspec
import uvloop
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECTIONS: Final = 32
_END_OF_HEAD: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length: "


class Prepared(Struct, frozen=True):
    """A request, byte for byte, and what its answer must hold: status line's code and a text."""

    request: bytes
    status: bytes
    contains: bytes


class Loaded(Struct, frozen=True, kw_only=True):
    """How many were answered in how many seconds, how many wrongly, and how soon (ms)."""

    requests: int
    seconds: float
    wrong_answers: int
    p50_ms: float
    p99_ms: float


class _Connection(asyncio.Protocol):
    """One keep-alive connection with one request under way."""

    def __init__(self) -> None:
        self._received = b""
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head = self._received.find(_END_OF_HEAD)
        if head < 0:
            return
        start = self._received.lower().find(_LENGTH, 0, head) + len(_LENGTH)
        length = int(self._received[start : self._received.index(b"\r", start)])
        if len(self._received) >= head + len(_END_OF_HEAD) + length:
            received, self._received = self._received, b""
            if self._answer is not None:
                self._answer.set_result(received)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the server hung up"))

    async def ask(self, prepared: Prepared) -> bool:
        """Send one request; tell whether the answer is right."""
        if self._transport is None:
            raise ConnectionError("not connected")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(prepared.request)
        answer = await self._answer
        return answer[9:12] == prepared.status and prepared.contains in answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


class _Run:
    """What all connections share: the requests, the schedule, the count."""

    def __init__(self, requests: list[Prepared], seconds: float, rate: float) -> None:
        self._requests: Iterator[Prepared] = cycle(requests)
        self._begin = perf_counter()
        self._until = self._begin + seconds
        self._pause = 1 / rate if rate else 0.0
        self._planned = 0
        self._wrong = 0
        self._taken: list[float] = []

    async def drive(self, connection: _Connection) -> None:
        """Ask one after the other until the time is over."""
        while True:
            due = perf_counter()
            if self._pause:
                due = self._begin + self._planned * self._pause
                self._planned += 1
                await asyncio.sleep(max(0.0, due - perf_counter()))
            if due >= self._until:
                return
            is_right = await connection.ask(next(self._requests))
            # Not in one with the waiting: the count is read first, and others count meanwhile.
            self._wrong += not is_right
            self._taken.append(perf_counter() - due)

    def result(self) -> Loaded:
        """Answer what came of it."""
        percentiles = quantiles(self._taken, n=100, method="inclusive")
        return Loaded(
            requests=len(self._taken),
            seconds=perf_counter() - self._begin,
            wrong_answers=self._wrong,
            p50_ms=percentiles[49] * 1e3,
            p99_ms=percentiles[98] * 1e3,
        )


async def load(
    url: str, requests: list[Prepared], seconds: float, rate: float, connections: int
) -> Loaded:
    """Put the load on the server at the URL."""
    host, _, port = urlsplit(url).netloc.rpartition(":")
    loop = asyncio.get_running_loop()
    opened = [
        (await loop.create_connection(_Connection, host, int(port)))[1] for _ in range(connections)
    ]
    run = _Run(requests, seconds, rate)
    await asyncio.gather(*(run.drive(connection) for connection in opened))
    for connection in opened:
        connection.close()
    return run.result()


def main() -> None:
    """Print one JSON object."""
    url, file, seconds, rate, connections = sys.argv[1:]
    requests = msgspec.msgpack.decode(Path(file).read_bytes(), type=list[Prepared])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        loaded = runner.run(load(url, requests, float(seconds), float(rate), int(connections)))
    sys.stdout.buffer.write(msgspec.json.encode(loaded))


if __name__ == "__main__":
    main()
