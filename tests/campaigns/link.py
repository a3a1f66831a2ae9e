"""What happens to a node whose link to its database fails?"""

from __future__ import annotations

import socket
import threading

from tests.proxy import Fault, Proxy


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
