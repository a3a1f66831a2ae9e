"""What does a network do to a connection at the worst moment?

A proxy in front of a server, in threads. It passes bytes on until it meets a client's message that
holds the mark it was armed with; then it does to that connection what it was told.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

CHUNK_BYTES = 1 << 16
DELAY_SECONDS = 0.6


class Fault(Enum):
    """What happens to the connection that sends the mark."""

    BEFORE = "cut before the server has the request"
    AFTER = "cut after the server has answered, before the client has the answer"
    LATE = "cut at once, and the request reaches the server later"
    TWICE = "the server has the request a second time, on another connection"


class Proxy:
    """Passes connections to `upstream`, a host and port or the path of a Unix socket."""

    def __init__(self, upstream: tuple[str, int] | str) -> None:
        self._upstream = upstream
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._armed: tuple[bytes, Fault] | None = None
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.faults = 0

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut_all()
        for thread in self._threads:
            thread.join()

    def arm(self, mark: bytes, fault: Fault) -> None:
        """Do `fault` to the next connection whose client sends `mark`, once."""
        with self._lock:
            self._armed = (mark, fault)

    def cut_all(self) -> None:
        """End every connection that is open now."""
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for opened in sockets:
            _cut(opened)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listening.accept()
            except OSError:
                return
            try:
                server = self._connect()
            except OSError:
                _cut(client)
                continue
            with self._lock:
                self._sockets += [client, server]
            answers_cut = threading.Event()
            self._start(self._requests, client, server, answers_cut)
            self._start(self._answers, client, server, answers_cut)

    def _connect(self) -> socket.socket:
        if isinstance(self._upstream, str):
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._upstream)
            return server
        return socket.create_connection(self._upstream)

    def _requests(
        self,
        client: socket.socket,
        server: socket.socket,
        answers_cut: threading.Event,
    ) -> None:
        for data in self._messages(client):
            match self._fault(data):
                case None:
                    sent = _send(server, data)
                case Fault.BEFORE:
                    sent = False
                case Fault.AFTER:
                    answers_cut.set()
                    sent = _send(server, data)
                case Fault.LATE:
                    _cut(client)
                    time.sleep(DELAY_SECONDS)
                    sent = _send(server, data)
                case Fault.TWICE:
                    self._start(self._repeat, data)
                    sent = _send(server, data)
            if not sent:
                break
        _cut(client)
        _cut(server)

    def _messages(self, client: socket.socket) -> Iterator[bytes]:
        """What the client sends, as it comes."""
        while data := receive(client):
            yield data

    def _repeat(self, data: bytes) -> None:
        """Send a request again and look away from its answer."""
        with contextlib.suppress(OSError), self._connect() as server:
            _send(server, data)
            receive(server)

    def _answers(
        self,
        client: socket.socket,
        server: socket.socket,
        answers_cut: threading.Event,
    ) -> None:
        while data := receive(server):
            if answers_cut.is_set() or not _send(client, data):
                break
        _cut(client)
        _cut(server)

    def _fault(self, data: bytes) -> Fault | None:
        with self._lock:
            if self._armed is None or self._armed[0] not in data:
                return None
            fault = self._armed[1]
            self._armed = None
            self.faults += 1
            return fault


def receive(connection: socket.socket) -> bytes:
    """What has come next, nothing at the end of the connection."""
    try:
        return connection.recv(CHUNK_BYTES)
    except OSError:
        return b""


def _send(connection: socket.socket, data: bytes) -> bool:
    try:
        connection.sendall(data)
    except OSError:
        return False
    return True


def _cut(connection: socket.socket) -> None:
    # Shutting down, unlike closing, also ends the other thread's receiving at once.
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
