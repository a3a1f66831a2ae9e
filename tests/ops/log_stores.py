"""How does one suite open the same log several times, whatever keeps it?"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Protocol

import psycopg

from domain import events
from domain.events import Record
from ops.event_log import PostgresLog, SQLiteLog
from ops.log_schema import migrate_postgres, migrate_sqlite
from ops.postgres import schema_change
from tests.memory_log import MemoryLog

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.postgres import Database

LOG_ID = "0b5a1c5e-7d0c-4f0e-9d3b-3f6f2f9c1a77"
OTHER_LOG_ID = "d2719f0a-51f3-4e63-8f27-7a4b1f1f6c10"


class Log(events.Log, Protocol):
    """The domain's log, and what the writer needs besides."""

    def turn(self) -> AbstractContextManager[None]: ...
    def wake(self) -> None: ...
    def close(self) -> None: ...


class Store(Protocol):
    """One place that keeps one log."""

    def migrate(self) -> None: ...
    def open(self, log_id: str | None = None) -> Log: ...


class DurableStore(Store, Protocol):
    """A store that can be reached behind the log's back, as its owner or as the service."""

    def as_owner(self, statement: str) -> None: ...
    def rows(self) -> list[tuple[int, str, bytes]]: ...


class MemoryStore:
    """A list; opened again it is the same list."""

    def __init__(self) -> None:
        self._log: MemoryLog | None = None

    def migrate(self) -> None:
        pass

    def open(self, log_id: str | None = None) -> MemoryLog:
        if self._log is None:
            self._log = MemoryLog(log_id or LOG_ID)
        return self._log


class SQLiteStore:
    """A file in a private directory."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "log.db"

    def migrate(self) -> None:
        migrate_sqlite(self.path)

    def open(self, log_id: str | None = None) -> SQLiteLog:
        return SQLiteLog(self.path, log_id)

    def as_owner(self, statement: str) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute(statement)

    def rows(self) -> list[tuple[int, str, bytes]]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(
                "SELECT originator_version, topic, state FROM stored_events"
                " ORDER BY originator_version",
            ).fetchall()


class PostgresStore:
    """A database of its own."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def migrate(self) -> None:
        with schema_change(self.database.owner_url) as connection:
            migrate_postgres(connection)

    def open(self, log_id: str | None = None) -> PostgresLog:
        return PostgresLog(self.database.url, log_id)

    def as_owner(self, statement: str) -> None:
        self.database.execute(statement)

    def as_service(self, statement: str) -> None:
        with psycopg.connect(self.database.url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def rows(self) -> list[tuple[int, str, bytes]]:
        with psycopg.connect(self.database.owner_url) as connection:
            return connection.execute(
                "SELECT originator_version, topic, state FROM stored_events"
                " ORDER BY originator_version",
            ).fetchall()


def records(first: int, count: int = 1, mark: str = "") -> list[Record]:
    """Return `count` records from position `first` on, told apart by `mark`."""
    return [
        Record(position, "test.happened.v1", f'{{"position":{position},"mark":"{mark}"}}'.encode())
        for position in range(first, first + count)
    ]
