"""Has another process told us, by NOTIFY, that the log grew?"""

from __future__ import annotations

import selectors
import socket
import threading

import psycopg

from ops.postgres import connect
from ops.store_errors import StoreError

CHANNEL = "muniment_log"
RETRY_SECONDS_MIN = 0.1
RETRY_SECONDS_MAX = 2.0


class Listener:
    """One LISTEN connection for the process, kept alive in a thread that starts when needed.

    It rings every bell when the log grew, and once after each LISTEN, since what was appended
    while nobody listened is told to nobody. The ring is a hint: the guarantee is the followers'
    own reading every second (`event-log.md` 7).
    """

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._bells: set[threading.Event] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._stop_receiver, self._stop_sender = socket.socketpair()

    def add(self, bell: threading.Event) -> None:
        """Ring `bell` from now on; adding it twice changes nothing."""
        with self._lock:
            self._bells.add(bell)
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name="log-listener", daemon=True)
                self._thread.start()

    def remove(self, bell: threading.Event) -> None:
        """Ring `bell` no more."""
        with self._lock:
            self._bells.discard(bell)

    def stop(self) -> None:
        """End the thread and its connection."""
        self._stopping.set()
        self._stop_sender.close()
        if self._thread is not None:
            self._thread.join()
        self._stop_receiver.close()

    def _run(self) -> None:
        retry_seconds = RETRY_SECONDS_MIN
        while not self._stopping.is_set():
            try:
                with connect(self._conninfo) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    retry_seconds = RETRY_SECONDS_MIN
                    self._ring()
                    self._listen(connection)
            except (psycopg.Error, StoreError):
                # Whatever it is, the followers go on by the clock; here there is only one remedy.
                self._stopping.wait(retry_seconds)
                retry_seconds = min(2 * retry_seconds, RETRY_SECONDS_MAX)

    def _listen(self, connection: psycopg.Connection) -> None:
        """Ring at each notification until told to stop; raises psycopg.Error when cut off.

        The connection is idle in no transaction: a sleeping one would fill the server's queue of
        notifications, and then every commit fails.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), selectors.EVENT_READ)
            selector.register(self._stop_receiver, selectors.EVENT_READ)
            while not self._stopping.is_set():
                selector.select()
                connection.pgconn.consume_input()
                while connection.pgconn.notifies() is not None:
                    self._ring()

    def _ring(self) -> None:
        with self._lock:
            for bell in self._bells:
                bell.set()
