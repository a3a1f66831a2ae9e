"""Which records does the log hold, and when may there be more of them?

Readers take nothing through the library: its pools make readers queue behind writers
(`event-log.md` 4), and its retries hide a lost connection.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from itertools import starmap
from typing import TYPE_CHECKING, Any, Final, LiteralString
from urllib.parse import quote
from uuid import UUID

import psycopg
from psycopg.conninfo import make_conninfo

from domain.events import Record
from ops.data_directory import check_local, check_private
from ops.log_listener import Listener
from ops.log_schema import check_postgres, check_sqlite
from ops.postgres import check_role, check_server, connect, connection_string, fault_of
from ops.store_errors import (
    AppendRefusedError,
    LogMissingError,
    OutcomeUnknownError,
    StoreBrokenError,
    StoreError,
    StoreFullError,
    StoreSlowError,
    StoreUnreachableError,
    UnsafeStoreError,
)

if TYPE_CHECKING:
    from pathlib import Path

DATA_VERSION_POLL_SECONDS = 0.02
LOCK_TIMEOUT_SECONDS = 2

# The low byte of SQLite's result code. What is not listed is held to be broken: unknown means no.
SQLITE_FAULTS: dict[int, type[StoreError]] = {
    sqlite3.SQLITE_BUSY: StoreSlowError,
    sqlite3.SQLITE_LOCKED: StoreSlowError,
    sqlite3.SQLITE_FULL: StoreFullError,
    sqlite3.SQLITE_CANTOPEN: StoreUnreachableError,
    sqlite3.SQLITE_CONSTRAINT: AppendRefusedError,
}


def sqlite_fault(error: BaseException | None) -> StoreError:
    """Return what `error`, raised by the driver, says about the store."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return StoreBrokenError(type(error).__name__)
    return SQLITE_FAULTS.get(code & 0xFF, StoreBrokenError)(f"SQLite answered {code}")


def _beheaded() -> StoreError:
    """Return the fault of a log whose beginning was taken away: it is no empty store."""
    return StoreBrokenError("position 1 is missing, though there are events after it")


class SQLiteReader:
    """Reads the log's file on a read-only connection of its own; for one thread at a time.

    Raises UnsafeStoreError, SchemaError, and LogMissingError while nothing is stored and no
    `log_id` is given. Every method raises StoreError.
    """

    def __init__(self, path: Path, log_id: str | None = None) -> None:
        if not path.is_absolute():
            raise UnsafeStoreError(f"{path}: the log is a file with an absolute path")
        check_private(path.parent)
        check_private(path)
        check_local(path)
        self._path = path
        self._bell = threading.Event()
        try:
            self._connection = sqlite3.connect(
                f"file:{quote(str(path))}?mode=ro",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=LOCK_TIMEOUT_SECONDS,
            )
        except sqlite3.Error as error:
            raise sqlite_fault(error) from error
        try:
            self._connection.execute("PRAGMA query_only=ON")
            check_sqlite(self._connection)
            self.log_id = log_id or self._known_log_id()
            self._data_version = self._read_data_version()
        except BaseException as error:
            self._connection.close()
            if isinstance(error, sqlite3.Error):
                raise sqlite_fault(error) from error
            raise
        self._id = UUID(self.log_id)

    def _known_log_id(self) -> str:
        log_id = self._first_log_id()
        if log_id is None:
            raise LogMissingError("the store holds no log: run muniment init")
        return log_id

    def _first_log_id(self) -> str | None:
        rows = self._rows("SELECT originator_id FROM stored_events WHERE originator_version = 1")
        if not rows and self._rows("SELECT 1 FROM stored_events LIMIT 1"):
            raise _beheaded()
        return str(UUID(hex=rows[0][0])) if rows else None

    def is_taken(self, position: int) -> bool:
        """Return whether something is stored at `position`; at 1 also another log's beginning."""
        if position == 1:
            return self._first_log_id() is not None
        return bool(self.read(position - 1, 1))

    def head(self) -> int:
        """Return the last position, 0 when there is none."""
        rows = self._rows(
            "SELECT coalesce(max(originator_version), 0) FROM stored_events"
            " WHERE originator_id = ?",
            self._id.hex,
        )
        return int(rows[0][0])

    def read(self, after: int, limit: int) -> list[Record]:
        """Return at most `limit` records at `after` + 1 and on, in order, as they are stored."""
        rows = self._rows(
            "SELECT originator_version, topic, state FROM stored_events"
            " WHERE originator_id = ? AND originator_version > ?"
            " ORDER BY originator_version LIMIT ?",
            self._id.hex,
            after,
            limit,
        )
        return list(starmap(Record, rows))

    def _rows(self, query: str, *parameters: str | int) -> list[Any]:
        try:
            # Fetched whole, so that the read transaction ends here and the WAL can be reset.
            return self._connection.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise sqlite_fault(error) from error

    def wait(self, timeout_seconds: float) -> None:
        """Return when the file may have changed since the last wait, at `wake`, or in time."""
        end = time.monotonic() + timeout_seconds
        while True:
            version = self._read_data_version()
            remaining = end - time.monotonic()
            if version != self._data_version or remaining <= 0:
                break
            if self._bell.wait(min(DATA_VERSION_POLL_SECONDS, remaining)):
                break
        self._bell.clear()
        self._data_version = version

    def _read_data_version(self) -> int:
        return int(self._rows("PRAGMA data_version")[0][0])

    def wake(self) -> None:
        """End the present or next `wait` at once; may be called from any thread."""
        self._bell.set()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


PAGE: Final[LiteralString] = (
    "SELECT originator_version, topic, state FROM public.stored_events"
    " WHERE originator_id = %s AND originator_version > %s"
    " ORDER BY originator_version LIMIT %s"
)
# The log is read in the order of its key. Before the first statistics of a table that has grown
# quickly, the planner would rather sort all that is left, for every page anew.
_OTHER_PLANS: Final[tuple[LiteralString, ...]] = (
    "enable_sort",
    "enable_bitmapscan",
    "enable_seqscan",
)


class PostgresReader:
    """Reads the log on a connection of its own to the primary; for one thread at a time.

    A lost connection is opened again by the next call, which checks server, role and schema
    anew; `connections` counts them, so that a caller knows when to look for a regressed log
    (`event-log.md` 7). Raises UnsafeStoreError, SchemaError, StoreUnreachableError, and
    LogMissingError while nothing is stored and no `log_id` is given.
    """

    def __init__(
        self,
        url: str,
        log_id: str | None = None,
        *,
        listener: Listener | None = None,
    ) -> None:
        # `primary`, because libpq holds a read-only session to be no `read-write` one.
        self._conninfo = make_conninfo(connection_string(url), target_session_attrs="primary")
        self._url = url
        self._connection: psycopg.Connection | None = None
        self.connections = 0
        self.warnings: tuple[str, ...] = ()
        self._bell = threading.Event()
        self._listener = listener or Listener(self._conninfo)
        self._owns_listener = listener is None
        try:
            self._connected()
            self.log_id = log_id or self._known_log_id()
        except BaseException:
            PostgresReader.close(self)
            raise
        self._id = UUID(self.log_id)

    def _known_log_id(self) -> str:
        log_id = self._first_log_id()
        if log_id is None:
            raise LogMissingError("the store holds no log: run muniment init")
        return log_id

    def _first_log_id(self) -> str | None:
        rows = self._rows(
            "SELECT originator_id FROM public.stored_events WHERE originator_version = 1",
        )
        if not rows and self._rows("SELECT 1 FROM public.stored_events LIMIT 1"):
            raise _beheaded()
        return str(rows[0][0]) if rows else None

    def is_taken(self, position: int) -> bool:
        """Return whether something is stored at `position`; at 1 also another log's beginning."""
        if position == 1:
            return self._first_log_id() is not None
        return bool(self.read(position - 1, 1))

    def head(self) -> int:
        """Return the last position, 0 when there is none."""
        rows = self._rows(
            "SELECT coalesce(max(originator_version), 0) FROM public.stored_events"
            " WHERE originator_id = %s",
            self._id,
        )
        return int(rows[0][0])

    def read(self, after: int, limit: int) -> list[Record]:
        """Return at most `limit` records at `after` + 1 and on, in order, as they are stored."""
        return list(starmap(Record, self._rows(PAGE, self._id, after, limit)))

    def _rows(self, query: LiteralString, *parameters: UUID | int) -> list[Any]:
        try:
            with self._connected().cursor(binary=True) as cursor:
                return cursor.execute(query, parameters).fetchall()
        except psycopg.Error as error:
            if self._connection is not None and self._connection.closed:
                self._disconnect()
            fault = fault_of(error)
            if isinstance(fault, OutcomeUnknownError):
                # Nothing was to be stored, so nothing about a reading can be unknown.
                raise StoreUnreachableError("the connection was lost while reading") from error
            raise fault from error

    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            connection = connect(self._conninfo)
            try:
                connection.execute("SET default_transaction_read_only = on")
                for other in _OTHER_PLANS:
                    connection.execute(f"SET {other} = off")
                check_postgres(connection)
                self.warnings = check_server(connection)
                check_role(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
            self.connections += 1
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def wait(self, timeout_seconds: float) -> None:
        """Return when the log may have grown since the last wait, at `wake`, or in time.

        What wakes is a hint that may be lost: the caller reads after every wait, news or not.
        """
        self._listener.add(self._bell)
        self._bell.wait(timeout_seconds)
        self._bell.clear()

    def wake(self) -> None:
        """End the present or next `wait` at once; may be called from any thread."""
        self._bell.set()

    def close(self) -> None:
        """Close the connection, and the listener if it is this reader's own."""
        self._listener.remove(self._bell)
        if self._owns_listener:
            self._listener.stop()
        self._disconnect()
