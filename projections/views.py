"""Where do the views keep their rows, and up to which event do the rows tell?

The rows are disposable: whatever is wrong with them, they are made again from the log. All tables
carry one version, so another release has tables of its own and a position of its own.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar, cast

import msgspec
from msgspec import Struct
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Dialect,
    Engine,
    LargeBinary,
    MetaData,
    Select,
    Table,
    Text,
    TypeDecorator,
    create_engine,
    delete,
    event,
    exc,
    insert,
    inspect,
    select,
    text,
    update,
)

from projections import filters

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

P = ParamSpec("P")
R = TypeVar("R")

Values = dict[str, Any]
Key = tuple[str, ...]

VERSION: Final = 1
SCHEMA: Final = "muniment"

# `valid_to` of a row that still holds.
FOREVER: Final = 2**63 - 1

# NORMAL, not OFF: a power cut may cost the last rows, which are made again, but leaves the file
# whole. Checkpoints, the only moments that wait for the disk, come every 32 MiB.
_SQLITE_PRAGMAS: Final = (
    "journal_mode=WAL",
    "synchronous=NORMAL",
    "wal_autocheckpoint=8192",
    "cache_size=-32768",
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware instant, kept as microseconds since 1970, which both databases order."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Answer what is stored."""
        del dialect
        return self.stored(value)

    @staticmethod
    def stored(value: datetime | None) -> int | None:
        """Answer what is stored."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Answer what was stored."""
        del dialect
        return None if value is None else _EPOCH + value * _MICROSECOND


class Document(TypeDecorator[Any]):
    """A JSON value, kept as text with its members in their own order."""

    impl = Text
    cache_ok = True

    @staticmethod
    def stored(value: object) -> str | None:
        """Answer what is stored."""
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> object:
        """Answer what was stored."""
        del dialect
        return None if value is None else msgspec.json.decode(value)


# Ordered by code point on both databases, whatever the locale of the server.
TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")

METADATA: Final = MetaData()

# Marks a table that is a full-text index on SQLite, where its key is the hidden `rowid`.
FULL_TEXT: Final = "full_text"
_HIDDEN: Final = "rowid"
_VERSIONED: Final = re.compile(r"(\w+)_v[0-9]+\Z")


def versioned(name: str) -> str:
    """Answer the name of a table, or of an index, in this version."""
    return f"{name}_v{VERSION}"


POSITION: Final = Table(
    versioned("view_position"),
    METADATA,
    Column("log_id", TEXT, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("record_hash", LargeBinary, nullable=False),
)

# How long each list is that is asked for often, without filter; `changed` is the position since
# which that has been so.
TOTALS: Final = Table(
    versioned("totals"),
    METADATA,
    Column("list", TEXT, primary_key=True),
    Column("scope", TEXT, primary_key=True),
    Column("total", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
)


# How long each of these lists was since a position: at every change, or for a list that only grows
# and can be counted from any place on, now and then.
PAST_TOTALS: Final = Table(
    versioned("past_totals"),
    METADATA,
    Column("list", TEXT, primary_key=True),
    Column("scope", TEXT, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("total", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)


class Place(Struct, frozen=True):
    """How far the views have come: the position, and SHA-256 of the record there."""

    log_id: str
    position: int
    record_hash: bytes


class UnreachableError(Exception):
    """The database that holds the views does not answer now."""


class Views:
    """The rows, for whoever asks in the event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def ask(
        self, query: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Answer a query of `projections.directory` or `projections.audit`, off the event loop.

        Raises UnreachableError.
        """

        def answer() -> R:
            try:
                with self._engine.connect() as connection:
                    return query(connection, *args, **kwargs)
            except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as fault:
                raise UnreachableError from fault

        return await asyncio.to_thread(answer)


# Databases


def open_sqlite(path: Path) -> Engine:
    """Answer an engine for the views' own file, made with mode 0600, its tables included.

    A file that is damaged or of another version is begun anew.
    """
    engine = sqlite_engine(path)
    try:
        with engine.begin() as connection:
            create(connection)
    except exc.DatabaseError:
        # What cannot be read is made again from the log.
        engine.dispose()
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        engine = sqlite_engine(path)
        with engine.begin() as connection:
            create(connection)
    return engine


def sqlite_engine(path: Path) -> Engine:
    """Answer an engine for the views' own file as it is, without tables where it is new."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 5.0})

    def prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma in _SQLITE_PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
        filters.prepare(cast("Any", connection))

    event.listen(engine, "connect", prepare)
    return engine


def open_postgresql(engine: Engine) -> Engine:
    """Answer the engine of the runtime role as one that finds the views in their schema."""
    return engine.execution_options(schema_translate_map={None: SCHEMA})


def create(connection: Connection, *, role: str | None = None) -> None:
    """Make the tables, dropping all there are unless they are exactly those of this release.

    All or none, because they share one position. On PostgreSQL it is the owner's to do, after
    the log's schema; `role` may then use them.
    """
    schema = None if connection.dialect.name == "sqlite" else SCHEMA
    present = inspect(connection)
    wanted = {table.name: _shown(table.columns.keys()) for table in METADATA.sorted_tables}
    ours = {unversioned(name) for name in wanted}
    found = {
        name: _shown(column["name"] for column in present.get_columns(name, schema=schema))
        for name in present.get_table_names(schema=schema)
        if unversioned(name) in ours
    }
    if found != wanted:
        for name in found:
            Table(name, MetaData(), schema=schema).drop(connection)
    METADATA.create_all(connection)
    if role is not None:
        for table in METADATA.sorted_tables:
            connection.execute(
                text(
                    "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE"
                    f" ON {SCHEMA}.{table.name} TO {role}"
                )
            )


def unversioned(name: str) -> str | None:
    """Answer what a table is called in every version, None for one that has none of its own.

    Such as those in which SQLite keeps a full-text table, and which go with it.
    """
    found = _VERSIONED.match(name)
    return None if found is None else found[1]


def _shown(columns: Iterable[str]) -> list[str]:
    return [name for name in columns if name != _HIDDEN]


# Position


def lock(connection: Connection) -> Place | None:
    """Answer how far the views have come, and keep other processes from moving them.

    None where they have not begun.
    """
    return _place(connection, select(POSITION).with_for_update())


def place(connection: Connection) -> Place | None:
    """Answer how far the views have come, as the connection's transaction sees it."""
    return _place(connection, select(POSITION))


def _place(connection: Connection, query: Select[Any]) -> Place | None:
    found = connection.execute(query).one_or_none()
    return None if found is None else Place(found.log_id, found.position, found.record_hash)


def begin(connection: Connection, log_id: str) -> None:
    """Forget every row and begin before the first event of a log."""
    if connection.dialect.name == "postgresql":
        names = ", ".join(f"{SCHEMA}.{table.name}" for table in METADATA.sorted_tables)
        connection.execute(text(f"TRUNCATE {names}"))
    else:
        for table in METADATA.sorted_tables:
            if FULL_TEXT in table.info:
                # Its rows would be taken out one by one.
                table.drop(connection)
                table.create(connection)
            else:
                connection.execute(delete(table))
    connection.execute(insert(POSITION).values(log_id=log_id, position=0, record_hash=b""))


def move(connection: Connection, position: int, record_hash: bytes) -> None:
    """Say that the rows tell up to this position."""
    connection.execute(update(POSITION).values(position=position, record_hash=record_hash))
