"""How are records kept, in one order that no two processes can disagree about?

Sole importer of `eventsourcing`: its aggregate recorders write, and their unique key on the
position is the lock of the whole installation (`event-log.md`).
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager, nullcontext
from enum import Enum
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg
import psycopg_pool
from eventsourcing.persistence import PersistenceError, StoredEvent
from eventsourcing.postgres import PostgresAggregateRecorder, PostgresDatastore
from eventsourcing.sqlite import (
    SQLiteAggregateRecorder,
    SQLiteConnection,
    SQLiteConnectionPool,
    SQLiteDatastore,
)
from psycopg.rows import dict_row
from psycopg.sql import SQL

from ops.log_readers import LOCK_TIMEOUT_SECONDS, PostgresReader, SQLiteReader, sqlite_fault
from ops.postgres import (
    CONNECT_TIMEOUT_SECONDS,
    IDLE_IN_TRANSACTION_SECONDS,
    connection_string,
    fault_of,
)
from ops.store_errors import (
    AppendRefusedError,
    LogRegressedError,
    OutcomeUnknownError,
    PositionTakenError,
    StoreBrokenError,
    StoreError,
    StoreSlowError,
    StoreUnreachableError,
    UnsafeStoreError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from domain.events import Record

# Set and read back on every writing connection. SQLite's default for `synchronous` depends on how
# it was built, and anything below FULL acknowledges what a power cut then loses.
DURABLE_PRAGMAS: tuple[tuple[str, str, object], ...] = (
    ("synchronous", "FULL", 2),
    ("fullfsync", "ON", 1),
    ("journal_mode", "WAL", "wal"),
    ("wal_autocheckpoint", "1000", 1000),
    ("journal_size_limit", "67108864", 67108864),
)
COURTESY_SECONDS = 1.0
OUTCOME_BOUND_SECONDS = 10.0
OUTCOME_POLL_SECONDS = 0.1


class Outcome(Enum):
    """What became of an append: stored, lost to somebody else's records, or not there."""

    COMMITTED = "committed"
    CONFLICT = "conflict"
    ABSENT = "absent"


def _outcome(stored: Sequence[Record], records: Sequence[Record]) -> Outcome:
    """Judge an append of `records` by what is `stored` from its first position on.

    Only the bytes tell whose records they are (`event-log.md` 3, step 6).
    """
    if not stored:
        return Outcome.ABSENT
    return Outcome.COMMITTED if list(stored) == list(records) else Outcome.CONFLICT


def _stored_events(log_id: UUID, position: int, records: Sequence[Record]) -> list[StoredEvent]:
    if [record.position for record in records] != [*range(position, position + len(records))]:
        raise ValueError(f"records do not stand at {position} and after, without gaps")
    if not records:
        raise ValueError("an append without records")
    return [StoredEvent(log_id, record.position, record.topic, record.state) for record in records]


def _driver_error(error: BaseException) -> BaseException:
    """Return the driver's error that the library's own stands for."""
    while isinstance(error, PersistenceError) and error.__cause__ is not None:
        error = error.__cause__
    return error


# SQLite


class _DurablePool(SQLiteConnectionPool):
    """The library's pool, whose connections are proved durable before they are used."""

    def _create_connection(self) -> SQLiteConnection:
        # Not as the library opens it, which keeps one prepared statement: each BEGIN would throw
        # the INSERT away, and to prepare that anew, with its trigger, costs more than to run it.
        opened = sqlite3.connect(
            self.db_name,
            isolation_level=None,
            check_same_thread=False,
            timeout=LOCK_TIMEOUT_SECONDS,
        )
        opened.row_factory = sqlite3.Row
        connection = SQLiteConnection(sqlite_conn=opened, max_age=self.max_age)
        cursor = connection.cursor()
        for name, value, expected in DURABLE_PRAGMAS:
            cursor.execute(f"PRAGMA {name}={value}")
            cursor.execute(f"PRAGMA {name}")
            if cursor.fetchone()[0] != expected:
                raise UnsafeStoreError(f"{name}: not {value}")
        return connection


class _SQLiteStore(SQLiteDatastore):
    """The library's datastore with the one connection that writes.

    It offers no way to be given a pool, and getting the connection from one anew for each append
    costs as much as the insert itself.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.pool.close()
        self.pool = _DurablePool(
            db_name=path,
            lock_timeout=LOCK_TIMEOUT_SECONDS,
            pool_size=1,
            max_overflow=0,
        )
        self._connection = self.pool.get_connection(is_writer=True)

    def get_connection(  # type: ignore[override]
        self,
        *,
        commit: bool,
    ) -> AbstractContextManager[SQLiteConnection]:
        """Return the connection, whose one user is the thread that writes."""
        del commit
        return nullcontext(self._connection)


class SQLiteLog(SQLiteReader):
    """The log in a file of one writing process; the data directory's lock is held by the caller.

    `log_id` is given by `muniment init` only, which makes it; everyone else reads it.
    """

    def __init__(self, path: Path, log_id: str | None = None) -> None:
        super().__init__(path, log_id)
        self._broken = False
        try:
            self._store = _SQLiteStore(str(path))
        except (PersistenceError, sqlite3.Error) as error:
            super().close()
            raise sqlite_fault(_driver_error(error)) from error
        except UnsafeStoreError:
            super().close()
            raise
        self._recorder = SQLiteAggregateRecorder(self._store)

    def append(self, position: int, records: Sequence[Record]) -> None:
        """Store `records` at `position` and after, all or none, synced when this returns.

        Raises PositionTakenError, AppendRefusedError, StoreFullError or StoreSlowError when
        nothing of it is stored; StoreBrokenError when that is unknown until the next start: no
        later append or close touches the file again, because a sync after a failed one may
        report what is not so. The process then ends with `os._exit`.
        """
        events = _stored_events(self._id, position, records)
        if self._broken:
            raise StoreBrokenError("an earlier append met an I/O error")
        try:
            self._recorder.insert_events(events)
        except (PersistenceError, sqlite3.Error) as error:
            fault = sqlite_fault(_driver_error(error))
            self._broken = isinstance(fault, StoreBrokenError)
            if isinstance(fault, AppendRefusedError) and self.is_taken(position):
                fault = PositionTakenError(f"position {position} is taken")
            raise fault from error

    def confirm(self, position: int, records: Sequence[Record]) -> Outcome:
        """Return what became of an append of `records` at `position`, judged by the bytes."""
        return _outcome(self.read(position - 1, len(records)), records)

    def turn(self) -> AbstractContextManager[None]:
        """Return a context for read, decide, append; one process writes, so nobody takes turns."""
        return nullcontext()

    def reader(self) -> SQLiteReader:
        """Return an independent reader of the same log for another thread, which closes it."""
        return SQLiteReader(self._path, self.log_id)

    def close(self) -> None:
        """Empty the write-ahead log into the file and close; a broken file is left as it is."""
        super().close()
        if self._broken:
            return
        try:
            with self._store.get_connection(commit=True) as connection:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except (PersistenceError, sqlite3.Error) as error:
            raise sqlite_fault(_driver_error(error)) from error
        finally:
            self._store.close()


# PostgreSQL


class _PostgresRecorder(PostgresAggregateRecorder):
    """The library's recorder without its retry.

    After a lost answer to a commit the retry inserts again and reports as refused what is stored.
    """

    insert_events = PostgresAggregateRecorder.insert_events.__wrapped__
    select_events = PostgresAggregateRecorder.select_events.__wrapped__

    def __init__(self, datastore: PostgresDatastore) -> None:
        super().__init__(datastore)
        # The library's own statement, put together once and sent with binary parameters: as text
        # the records cost more of our time than the server's.
        statement = self.insert_events_statement.as_string().replace("%s", "%b")
        self.insert_events_statement = SQL(statement).format()


def _postgres_store(conninfo: str) -> PostgresDatastore:
    """Return the library's datastore with one connection that is told all of `conninfo`.

    The library itself passes on host, port, database, user and password, and silently drops the
    rest of a URL: with it TLS and every time limit.
    """
    store = PostgresDatastore(
        "",
        "",
        "",
        "",
        "",
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        idle_in_transaction_session_timeout=IDLE_IN_TRANSACTION_SECONDS,
        pool_size=1,
        max_overflow=0,
    )
    store.pool.conninfo = conninfo
    store.pool.kwargs = {"row_factory": dict_row}
    # The pool doubles its pause after each failure. Given up after this long, it begins anew with
    # the next append: so a database that is back is found at once, however long it was away.
    store.pool.reconnect_timeout = CONNECT_TIMEOUT_SECONDS
    return store


class PostgresLog(PostgresReader):
    """The log in a PostgreSQL database that any number of processes append to.

    `url` is the runtime role's. `log_id` is given by `muniment init` only, which makes it;
    everyone else reads it.
    """

    def __init__(self, url: str, log_id: str | None = None) -> None:
        self._known: Record | None = None
        self._doubted = False
        super().__init__(url, log_id)
        self._others_at = -COURTESY_SECONDS
        # How many connections had been read through when the one that writes was last sound.
        self._sound_at = self.connections
        # Told, in the appending thread, when an append has lost its answer.
        self.on_doubt: Callable[[], None] = lambda: None
        self._store = _postgres_store(connection_string(url))
        try:
            self._recorder = _PostgresRecorder(self._store)
        except PersistenceError as error:
            self.close()
            raise StoreUnreachableError("no connection to write with") from error

    def append(self, position: int, records: Sequence[Record]) -> None:
        """Store `records` at `position` and after, all or none, synced when this returns.

        A lost connection is followed up until the bytes at `position` tell what happened
        (`event-log.md` 3, step 6), for at most 10 s. Raises PositionTakenError,
        AppendRefusedError, StoreFullError, StoreSlowError or StoreUnreachableError when nothing
        of it is stored, OutcomeUnknownError when that could not be learned in time, and
        LogRegressedError, storing nothing, where the database behind a new connection has lost
        what this log has read or stored (`event-log.md` 7).
        """
        events = _stored_events(self._id, position, records)
        self._renew()
        if self._doubted:
            self._find_known()
        try:
            self._insert(position, events)
        except OutcomeUnknownError:
            self._settle(position, records, events)
        self._known = records[-1]

    def read(self, after: int, limit: int) -> list[Record]:
        """Return at most `limit` records at `after` + 1 and on, in order, as they are stored."""
        found = super().read(after, limit)
        if found and (self._known is None or found[-1].position > self._known.position):
            # Nobody reads here what this log itself appended.
            self._others_at = time.monotonic()
            self._known = found[-1]
        return found

    def _renew(self) -> None:
        """Put away a connection that ended when the one for reading did: it would cost an append.

        Its answer would be lost, and everyone who waits be turned away, though all is well again.
        Behind the new one there may be another server.
        """
        if self._sound_at != self.connections:
            self._store.pool.check()
            self._sound_at = self.connections
            self._doubted = True

    def _find_known(self) -> None:
        """Raise LogRegressedError unless the last known record still stands where it stood."""
        known = self._known
        if known is not None and super().read(known.position - 1, 1) != [known]:
            raise LogRegressedError(f"position {known.position} is not what it was")
        self._doubted = False

    def _insert(self, position: int, events: Sequence[StoredEvent]) -> None:
        try:
            self._recorder.insert_events(events)
        except (PersistenceError, psycopg.Error) as error:
            raise self._fault(position, _driver_error(error)) from error

    def _fault(self, position: int, error: BaseException) -> StoreError:
        if isinstance(error, psycopg_pool.PoolTimeout):
            self._doubted = True
            return StoreUnreachableError("no connection to write with")
        if not isinstance(error, psycopg.Error):
            return AppendRefusedError("the library refused the records")
        fault = fault_of(error)
        if isinstance(fault, OutcomeUnknownError | StoreUnreachableError):
            # Behind the next connection there may be another server, promoted with a shorter log.
            self._doubted = True
        if isinstance(error, psycopg.IntegrityError) and self.is_taken(position):
            self._others_at = time.monotonic()
            return PositionTakenError(f"position {position} is taken")
        return fault

    def _settle(
        self,
        position: int,
        records: Sequence[Record],
        events: Sequence[StoredEvent],
    ) -> None:
        """Return when `records` are known to be stored; raises what else is known of them.

        The same bytes are inserted again at the same positions while nothing is there: should
        the first attempt still be under way, the key makes one of the two lose, and the bytes
        tell whose they are.
        """
        self.on_doubt()
        end = time.monotonic() + OUTCOME_BOUND_SECONDS
        while time.monotonic() < end:
            try:
                outcome = self.confirm(position, records)
                if outcome is Outcome.ABSENT:
                    self._find_known()
                    self._insert(position, events)
                    return
            except (AppendRefusedError, LogRegressedError):
                raise
            except StoreError:
                # Whatever became of this attempt, the first one is still not known of.
                time.sleep(OUTCOME_POLL_SECONDS)
                continue
            if outcome is Outcome.CONFLICT:
                self._others_at = time.monotonic()
                raise PositionTakenError(f"position {position} is taken")
            return
        raise OutcomeUnknownError(f"what became of position {position} could not be learned")

    def confirm(self, position: int, records: Sequence[Record]) -> Outcome:
        """Return what became of an append of `records` at `position`, judged by the bytes.

        Raises StoreUnreachableError or StoreSlowError when that cannot be read now.
        """
        return _outcome(self.read(position - 1, len(records)), records)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the other writers off while the caller reads, decides and appends.

        Courtesy, not safety: for a second after others were seen to write processes take turns
        under an advisory lock, so that none keeps losing; without one, or when the lock is not
        had within its time limit, the append is optimistic (`event-log.md` 5).
        """
        courteous = time.monotonic() - self._others_at < COURTESY_SECONDS and self._lock()
        try:
            yield
        finally:
            if courteous:
                self._unlock()

    def _unlock(self) -> None:
        try:
            self._rows("SELECT pg_advisory_unlock(%s)", self._lock_key)
        except StoreError:
            # What was appended stays appended: the session's end lets go of the lock instead.
            self._disconnect()

    def _lock(self) -> bool:
        try:
            self._rows("SELECT pg_advisory_lock(%s)", self._lock_key)
        except StoreSlowError:
            return False
        return True

    @property
    def _lock_key(self) -> int:
        return int.from_bytes(self._id.bytes[:8], signed=True)

    def reader(self) -> PostgresReader:
        """Return an independent reader of the same log for another thread, which closes it.

        It shares this log's LISTEN connection, so it is closed first.
        """
        return PostgresReader(self._url, self.log_id, listener=self._listener)

    def close(self) -> None:
        """Close every connection."""
        super().close()
        self._store.close()
