"""What happens on links that fail: to a node and its database, to a client and its node?"""

from __future__ import annotations

import random
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Final

from tests.proxy import Fault, Proxy, receive

HEADER_END: Final = b"\r\n\r\n"
LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)\r\n")


class Link(Proxy):
    """A link that can be taken down, and one in which everything vanishes."""

    def __init__(self, upstream: tuple[str, int] | str) -> None:
        super().__init__(upstream)
        self._up = threading.Event()
        self._up.set()
        self._flows = threading.Event()
        self._flows.set()

    def down(self) -> None:
        """Cut every connection and refuse new ones."""
        self._up.clear()
        self.cut_all()

    def up(self) -> None:
        """Let connections be made again."""
        self._up.set()

    def swallow(self) -> None:
        """Keep every connection open and pass nothing on, as a black hole does."""
        self._flows.clear()

    def flow(self) -> None:
        """Pass on what was held back."""
        self._flows.set()

    def _connect(self) -> socket.socket:
        if not self._up.is_set():
            raise ConnectionRefusedError
        return super()._connect()

    def _fault(self, data: bytes) -> Fault | None:
        self._flows.wait()
        return super()._fault(data)


class Weather(Proxy):
    """A link on which a share of the marked messages meets one of some faults, by chance."""

    def __init__(
        self,
        upstream: tuple[str, int] | str,
        chance: random.Random,
        *,
        mark: bytes,
        share: float,
        kinds: Sequence[Fault] = tuple(Fault),
    ) -> None:
        super().__init__(upstream)
        self._chance = chance
        self._mark = mark
        self.share = share
        self._kinds = kinds
        self._chance_lock = threading.Lock()

    def _fault(self, data: bytes) -> Fault | None:
        with self._chance_lock:
            if self._mark not in data or self._chance.random() >= self.share:
                return None
            self.faults += 1
            return self._chance.choice(self._kinds)


class HttpWeather(Weather):
    """The same for whole HTTP requests, so that one can arrive late or twice."""

    def _messages(self, client: socket.socket) -> Iterator[bytes]:
        """The client's requests, each with its body."""
        waiting = b""
        while data := receive(client):
            waiting += data
            while len(waiting) >= (size := _size(waiting)) > 0:
                yield waiting[:size]
                waiting = waiting[size:]


def _size(data: bytes) -> int:
    """The bytes of the request that begins here, 0 while its header is incomplete."""
    header, end, _ = data.partition(HEADER_END)
    if not end:
        return 0
    length = LENGTH.search(header + b"\r\n")
    return len(header) + len(end) + (int(length[1]) if length else 0)
