"""Where are the log, the keys, the sessions and the views of this installation?

Embedded: files in the data directory, held by one process. PostgreSQL: the log in schema
`public`, everything else in schema `muniment`; the data directory then holds the master key only,
unless a setting gives it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import psycopg
from msgspec import Struct
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DatabaseError

from domain.events import LogReader, Record
from ops import sink_ledger
from ops.checkpoints import Checkpoints, origin_of
from ops.data_directory import lock_data_directory
from ops.event_log import PostgresLog, SQLiteLog
from ops.log_readers import SQLiteReader
from ops.postgres import connect, connection_string
from ops.store_errors import (
    LogMissingError,
    StoreSlowError,
    StoreUnreachableError,
    UnsafeStoreError,
)
from ops.vault import Vault, read_master_key, sqlite_engine
from ops.writer import WritableLog
from projections import journal
from projections.views import open_postgresql, open_sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from domain.sealed import Secret
    from ops.inputs import Inputs
    from ops.settings import Settings

LOG_FILE: Final = "log.db"
VAULT_FILE: Final = "vault.db"
SESSIONS_FILE: Final = "sessions.db"
VIEWS_FILE: Final = "views.db"
JOURNAL_FILE: Final = "journal.db"
SNAPSHOTS: Final = "snapshots"
MASTER_KEY_FILE: Final = "master.key"
_POOL_WAIT_SECONDS: Final = 2.0

# A pool for each use (event-log 5), so that long lists keep nobody from signing in or sealing:
# vault and checkpoints; sessions and failures, a thread each; views, whose readers are many;
# journal. They are opened as they are needed.
_POOLED_CONNECTIONS: Final = (4, 2, 8, 4)


class Reader(LogReader, Protocol):
    """An independent way to read the log, for one thread at a time."""

    def close(self) -> None: ...


class StoredLog(WritableLog, Protocol):
    """The log of a running process."""

    def reader(self) -> Reader:
        """Open another reader of the same log, for another thread."""
        ...

    def wake(self) -> None: ...
    def close(self) -> None: ...


class Stores(Struct, frozen=True, kw_only=True):
    """Everything that is stored, opened; `shared` when other processes may append too."""

    log: StoredLog
    vault: Vault
    checkpoints: Checkpoints
    sessions: Engine
    views: Engine
    journal: Engine
    snapshots: Path
    shared: bool


def postgres_engine(url: Secret, connections: int = 2) -> Engine:
    """Answer a pool of at most so many connections, with the settings of `ops.postgres`."""
    conninfo = connection_string(url.reveal())

    def opened() -> psycopg.Connection:
        try:
            connection = connect(conninfo)
        except (StoreUnreachableError, StoreSlowError) as fault:
            # Said in the driver's words, which the pool knows.
            raise psycopg.OperationalError(fault.code) from fault
        # The engine takes the mode it is given: in autocommit its transactions would be none, and
        # a batch of the views could be stored without the position that goes with it.
        connection.autocommit = False
        return connection

    return create_engine(
        "postgresql+psycopg://",
        creator=opened,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=_POOL_WAIT_SECONDS,
        pool_pre_ping=True,
    )


@contextmanager
def open_stores(settings: Settings, inputs: Inputs) -> Iterator[Stores]:
    """Open the stores of an initialised installation and close them at the end.

    Raises StoreError (LogMissingError before `init`), VaultError, MasterKeyError.
    """
    with ExitStack() as stack:
        if settings.database_url is None:
            yield _embedded(settings, inputs, stack)
        else:
            yield _postgres(settings, settings.database_url, inputs, stack)


def _embedded(settings: Settings, inputs: Inputs, stack: ExitStack) -> Stores:
    directory = settings.data_dir
    if not (directory / LOG_FILE).exists():
        raise LogMissingError(f"{directory} holds no installation")
    stack.enter_context(lock_data_directory(directory))
    log = SQLiteLog(directory / LOG_FILE)
    stack.callback(log.close)
    engines = [
        sqlite_engine(directory / VAULT_FILE),
        sqlite_engine(directory / SESSIONS_FILE),
        open_sqlite(directory / VIEWS_FILE),
        _open_journal(directory / JOURNAL_FILE),
    ]
    for engine in engines:
        stack.callback(engine.dispose)
    vault = Vault(engines[0], _master_key(settings), log.log_id, inputs)
    # It came after the first installations.
    sink_ledger.create(engines[1])
    return Stores(
        log=log,
        vault=vault,
        checkpoints=_checkpoints(engines[0], vault, settings, log.log_id, inputs),
        sessions=engines[1],
        views=engines[2],
        journal=engines[3],
        snapshots=directory / SNAPSHOTS,
        shared=False,
    )


def _open_journal(path: Path) -> Engine:
    """Open the journal; it is evidence, so one that cannot be read is not begun anew."""
    try:
        return journal.open_sqlite(path)
    except DatabaseError as fault:
        raise UnsafeStoreError(f"{path.name} cannot be read; keep it, and put it away") from fault


def _postgres(settings: Settings, url: Secret, inputs: Inputs, stack: ExitStack) -> Stores:
    log = PostgresLog(url.reveal())
    stack.callback(log.close)
    kept, sessions, views, journal = (
        postgres_engine(url, connections) for connections in _POOLED_CONNECTIONS
    )
    for engine in (kept, sessions, views, journal):
        stack.callback(engine.dispose)
    vault = Vault(kept, _master_key(settings), log.log_id, inputs)
    return Stores(
        log=log,
        vault=vault,
        checkpoints=_checkpoints(kept, vault, settings, log.log_id, inputs),
        sessions=sessions,
        views=open_postgresql(views),
        journal=open_postgresql(journal),
        snapshots=settings.data_dir / SNAPSHOTS,
        shared=True,
    )


def _checkpoints(
    engine: Engine, vault: Vault, settings: Settings, log_id: str, inputs: Inputs
) -> Checkpoints:
    """Open what was signed; an installation from before there were checkpoints begins here."""
    checkpoints = Checkpoints(engine)
    if not checkpoints.origins():
        checkpoints.begin(vault, origin_of(settings.public_url, log_id), inputs)
    return checkpoints


def _master_key(settings: Settings) -> bytes:
    return read_master_key(settings.master_key, settings.data_dir / MASTER_KEY_FILE)


@contextmanager
def open_reader(settings: Settings) -> Iterator[Reader]:
    """Open the log for reading only, beside a running server. Raises StoreError."""
    reader: Reader
    if settings.database_url is None:
        if not (settings.data_dir / LOG_FILE).exists():
            raise LogMissingError(f"{settings.data_dir} holds no installation")
        reader = SQLiteReader(settings.data_dir / LOG_FILE)
    else:
        reader = PostgresLog(settings.database_url.reveal())
    try:
        yield reader
    finally:
        reader.close()


def read_all(log: LogReader, after: int = 0, page_records: int = 1_000) -> Iterator[Record]:
    """Yield every record that follows a position, page by page."""
    while page := log.read(after, page_records):
        yield from page
        after = page[-1].position


def read_ahead(log: LogReader, page_records: int) -> Iterator[Record]:
    """Yield every record; of a log that another process holds, the next page is on its way already.

    The log is read in another thread meanwhile, so by nobody else.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="reading") as pool:
        coming = pool.submit(log.read, 0, page_records)
        while page := coming.result():
            coming = pool.submit(log.read, page[-1].position, page_records)
            yield from page
