"""Who signed in, what was decided, refused, read, and when was each credential last used?

The journal keeps what is not a change: the changes are the log. Its rows are evidence as well, so
they are written in order under a sequence of their own, over all processes, in which a count that
grew stands anew at the end, and they go only when their time is over. Nothing in them opens
anything, and no person's e-mail is in them: what was typed in the place of one is kept as its keyed
index.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain, takewhile
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast

from msgspec import Struct
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    MetaData,
    Table,
    and_,
    bindparam,
    create_engine,
    delete,
    event,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.schema import CreateSchema

from projections import filters
from projections.views import SCHEMA, TEXT, Instant

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

Kind = Literal[
    "decision",
    "search",
    "sign_in",
    "sign_in_failure",
    "sign_out",
    "account_locked",
    "token_failure",
    "token_leak",
    "refusal",
    "audit_read",
    "audit_export",
]
Outcome = Literal["ALLOWED", "DENIED"]

EVALUATE: Final = "access.evaluate"
# Before the keyed index of a subject that may be an e-mail; where in `detail` a sign-in's stands.
INDEXED: Final = "index:"
ACCOUNT: Final = "account"

MINUTE: Final = timedelta(minutes=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Entry(Struct, frozen=True, kw_only=True, gc=False):
    """One thing that happened; what it does not concern is None.

    `position` and `clock` are the facts and the clock that a decision was taken by: with both, it
    is repeated (authzen 9); without `clock`, that was `at`. `subject_asked` is the subject as the
    caller wrote it. `operation` names the route, `detail` is a JSON object.
    """

    at: datetime
    kind: Kind
    outcome: Outcome
    code: str | None = None
    position: int
    clock: datetime | None = None
    tenant: str | None = None
    principal: str | None = None
    principal_type: str | None = None
    token: str | None = None
    via: str | None = None
    address: str | None = None
    agent: str | None = None
    request_id: str | None = None
    operation: str | None = None
    subject_type: str | None = None
    subject_asked: str | None = None
    subject: str | None = None
    action: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    namespace: str | None = None
    detail: str | None = None


# An entry as it is stored: its members in their order, instants as microseconds since 1970.
Row = tuple[Any, ...]


class Kept(NamedTuple):
    """An entry at its place in the journal."""

    sequence: int
    entry: Entry


class Counted(NamedTuple):
    """What is counted together within a minute; what it was folded over is ""."""

    minute: int
    kind: Kind
    outcome: Outcome
    code: str
    tenant: str
    principal: str
    token: str
    subject: str
    resource_type: str
    action: str
    network: str


class LastUse(NamedTuple):
    """When a token, or whatever acts as a principal, was last used, from where and by what."""

    at: datetime
    address: str
    agent: str


def minute_of(instant: datetime) -> int:
    """Answer the number of the minute since 1970 in which an instant lies."""
    return (instant - _EPOCH) // MINUTE


# Tables

# What the audit trail shows beside the events (projections.journal_trail).
SHOWN: Final = "kind NOT IN ('decision', 'search', 'token_failure', 'token_leak')"

_METADATA: Final = MetaData()
_BIG: Final = BigInteger().with_variant(Integer, "sqlite")

_FIELDS: Final = Entry.__struct_fields__
_REQUIRED: Final = frozenset({"at", "kind", "outcome", "position"})
_INSTANTS: Final = frozenset({"at", "clock"})


def _column(name: str) -> Column[Any]:
    kind = Instant if name in _INSTANTS else BigInteger if name == "position" else TEXT
    return Column(name, kind, nullable=name not in _REQUIRED)


ENTRIES: Final = Table(
    "journal_entries",
    _METADATA,
    Column("sequence", _BIG, primary_key=True, autoincrement=False),
    *(_column(name) for name in _FIELDS),
    Index("journal_entries_of_tenant", "tenant", "sequence"),
    Index("journal_entries_by_principal", "principal", "sequence"),
    # Few among many decisions, and asked for with every page of the trail.
    Index(
        "journal_entries_shown",
        "tenant",
        "position",
        "sequence",
        sqlite_where=text(SHOWN),
        postgresql_where=text(SHOWN),
    ),
)

COUNTS: Final = Table(
    "journal_counters",
    _METADATA,
    *(
        Column(name, BigInteger if name == "minute" else TEXT, primary_key=True)
        for name in Counted._fields
    ),
    Column("number", BigInteger, nullable=False),
    # Where it was written last: who reads on from there is told of every count that grew.
    Column("sequence", BigInteger, nullable=False, index=True),
    sqlite_with_rowid=False,
)

_HEAD: Final = Table(
    "journal_head",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
    Column("turn", BigInteger, nullable=False),
)

_LAST_USES: Final = Table(
    "journal_last_uses",
    _METADATA,
    Column("id", TEXT, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("address", TEXT, nullable=False),
    Column("agent", TEXT, nullable=False),
    # The batch that wrote it: by this, and not by clocks, other processes follow.
    Column("turn", BigInteger, nullable=False, index=True),
)

# An entry that was written is never changed.
_GRANTS: Final = {
    ENTRIES: "SELECT, INSERT, DELETE",
    COUNTS: "SELECT, INSERT, UPDATE, DELETE",
    _HEAD: "SELECT, UPDATE",
    _LAST_USES: "SELECT, INSERT, UPDATE, DELETE",
}

# A batch is one transaction and one sync, so FULL costs little: a power cut takes no entry that a
# caller waited for.
_SQLITE_PRAGMAS: Final = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "wal_autocheckpoint=8192",
    "journal_size_limit=67108864",
    "cache_size=-16384",
)


def open_sqlite(path: Path) -> Engine:
    """Answer an engine for the journal's own file, made with mode 0600, its tables included."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 5.0})

    def prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma in _SQLITE_PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
        filters.prepare(cast("Any", connection))

    event.listen(engine, "connect", prepare)
    with engine.begin() as connection:
        create(connection)
    return engine


def create(connection: Connection, *, role: str | None = None) -> None:
    """Make the tables that are missing; on PostgreSQL it is the owner's to do, in their schema."""
    if connection.dialect.name == "postgresql":
        connection.execute(CreateSchema(SCHEMA, if_not_exists=True))
    _METADATA.create_all(connection)
    if connection.execute(select(_HEAD.c.id)).first() is None:
        connection.execute(insert(_HEAD).values(id=1, sequence=0, turn=0))
    if role is not None:
        for table, rights in _GRANTS.items():
            connection.execute(text(f"GRANT {rights} ON {SCHEMA}.{table.name} TO {role}"))


# Writing


def write(
    connection: Connection,
    entries: Sequence[Row],
    counts: Iterable[tuple[Counted, int]],
    uses: Iterable[tuple[str, LastUse]],
) -> int:
    """Write a batch: entries under the next numbers, then counts, which are added up.

    Last uses are written where they are newer. Answers the number of the batch.

    The head's row is taken first and held to the end, so that the numbers of all processes come
    in the order of their commits: who has read up to one number has missed none before it.
    """
    added = sorted(counts)
    taken = len(entries) + len(added)
    last, turn = connection.execute(_TAKING, {"taken": taken}).one()
    first = last - taken + 1
    rows = [(number, *one) for number, one in enumerate(entries, first)]
    if connection.dialect.name == "postgresql":
        _copy(connection, rows)
    else:
        _insert(connection, ENTRIES, rows)
    numbered = enumerate(added, first + len(entries))
    sums = [(*key, number, sequence) for sequence, (key, number) in numbered]
    _insert(connection, COUNTS, sums, _ADDING)
    used = [(id_, _stored(use.at), *use[1:], turn) for id_, use in sorted(uses)]
    _insert(connection, _LAST_USES, used, _RENEWING)
    return cast("int", turn)


_TAKING: Final = (
    update(_HEAD)
    .values(sequence=_HEAD.c.sequence + bindparam("taken"), turn=_HEAD.c.turn + 1)
    .returning(_HEAD.c.sequence, _HEAD.c.turn)
)

_CLOCK: Final = _FIELDS.index("clock") + 1
_values_until_clock: Final = attrgetter(*_FIELDS[:_CLOCK])
_values_from_there: Final = attrgetter(*_FIELDS[_CLOCK:])
_stored: Final = Instant.stored

# Names of tables and columns alone stand in what is put together here, never a value.
_ADDING: Final = " ".join(
    (
        f"ON CONFLICT ({', '.join(Counted._fields)})",
        "DO UPDATE",
        f"SET number = {COUNTS.name}.number + excluded.number, sequence = excluded.sequence",
    )
)
# Another process may have written a later use first.
_RENEWING: Final = " ".join(
    (
        "ON CONFLICT (id) DO UPDATE",
        "SET at = excluded.at, address = excluded.address,",
        "agent = excluded.agent, turn = excluded.turn",
        f"WHERE excluded.at >= {_LAST_USES.name}.at",
    )
)

# Rows that one statement inserts, and fewer at the end. SQLite's driver lets the event loop go on
# after each statement, and then has to wait for its turn: a turn for each row would cost many times
# the row. It keeps what it compiled, so the many different ends are small.
_ROWS_AT_ONCE: Final = 256
_ROWS_AT_THE_END: Final = 64


def row_of(entry: Entry) -> Row:
    """Answer an entry as it is stored."""
    at, *before, clock = _values_until_clock(entry)
    return _stored(at), *before, _stored(clock), *_values_from_there(entry)


def _insert(
    connection: Connection, table: Table, rows: list[tuple[Any, ...]], conflict: str = ""
) -> None:
    """Insert past the library, whose care for each value takes longer than the database."""
    on_sqlite = connection.dialect.name == "sqlite"
    done = 0
    while done < len(rows):
        left = len(rows) - done
        size = min(left, _ROWS_AT_ONCE if left >= _ROWS_AT_ONCE else _ROWS_AT_THE_END)
        statement = _inserting(table, size, conflict, on_sqlite=on_sqlite)
        values = tuple(chain.from_iterable(rows[done : done + size]))
        connection.exec_driver_sql(statement, values)
        done += size


@lru_cache(_ROWS_AT_ONCE)
def _inserting(table: Table, number: int, conflict: str, *, on_sqlite: bool) -> str:
    """Answer the statement that inserts so many rows."""
    names = table.columns.keys()
    place = table.name if on_sqlite else f"{SCHEMA}.{table.name}"
    row = f"({', '.join('?' if on_sqlite else '%s' for _ in names)})"
    clauses = [f"INSERT INTO {place} ({', '.join(names)})", "VALUES", ", ".join([row] * number)]
    return " ".join([*clauses, conflict])


def _copy(connection: Connection, rows: list[tuple[Any, ...]]) -> None:
    """Insert entries by PostgreSQL's own way for many rows."""
    names = ", ".join(ENTRIES.columns.keys())
    driver: Any = connection.connection
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {SCHEMA}.{ENTRIES.name} ({names}) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(row)


# Asking


class Wanted(Struct, frozen=True, kw_only=True):
    """Which entries are asked for; what is None is not asked about.

    `tenant` is one tenant's id, or None for the whole installation; `since` is inclusive, `until`
    exclusive.
    """

    tenant: str | None
    kinds: tuple[Kind, ...] | None = None
    outcome: Outcome | None = None
    principal: str | None = None
    token: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def _matching(wanted: Wanted) -> ColumnElement[bool]:
    column = ENTRIES.c
    same = {"tenant", "outcome", "principal", "token"}
    given = {name: value for name in same if (value := getattr(wanted, name)) is not None}
    conditions = [column[name] == value for name, value in sorted(given.items())]
    if wanted.kinds is not None:
        conditions.append(column.kind.in_(wanted.kinds))
    if wanted.since is not None:
        conditions.append(column.at >= wanted.since)
    if wanted.until is not None:
        conditions.append(column.at < wanted.until)
    return and_(column.sequence > 0, *conditions)


def selection() -> list[ColumnElement[Any]]:
    """Answer the columns of which an entry is made, its number before them."""
    return [ENTRIES.c.sequence, *(ENTRIES.c[name] for name in _FIELDS)]


def entry_of(values: Iterable[Any]) -> Entry:
    """Answer the entry that the columns of `selection` hold behind its number."""
    return Entry(**dict(zip(_FIELDS, values, strict=True)))


def _kept(connection: Connection, statement: Select[Any]) -> tuple[Kept, ...]:
    found = connection.execute(statement)
    return tuple(Kept(sequence, entry_of(values)) for sequence, *values in found)


def newest(
    connection: Connection, wanted: Wanted, limit: int, before: int | None = None
) -> tuple[Kept, ...]:
    """Answer the newest matching entries, those before a number where one is given."""
    matching = _matching(wanted)
    if before is not None:
        matching = and_(matching, ENTRIES.c.sequence < before)
    statement = select(*selection()).where(matching)
    return _kept(connection, statement.order_by(ENTRIES.c.sequence.desc()).limit(limit))


def following(
    connection: Connection, wanted: Wanted, after: int, limit: int, until: int | None = None
) -> tuple[Kept, ...]:
    """Answer the next matching entries behind a number, oldest first, up to another, inclusive."""
    matching = and_(_matching(wanted), ENTRIES.c.sequence > after)
    if until is not None:
        matching = and_(matching, ENTRIES.c.sequence <= until)
    statement = select(*selection()).where(matching)
    return _kept(connection, statement.order_by(ENTRIES.c.sequence).limit(limit))


def head(connection: Connection) -> int:
    """Answer the number of what was written last, 0 where there was nothing yet."""
    number: int = connection.execute(select(_HEAD.c.sequence)).scalar_one()
    return number


def counted(
    connection: Connection, since: int, until: int, tenant: str | None = None
) -> tuple[tuple[Counted, int], ...]:
    """Answer what was counted from one minute to another, both inclusive."""
    matching = and_(COUNTS.c.minute >= since, COUNTS.c.minute <= until)
    if tenant is not None:
        matching = and_(matching, COUNTS.c.tenant == tenant)
    found = connection.execute(select(COUNTS).where(matching).order_by(*COUNTS.primary_key))
    return tuple((Counted(*key), number) for *key, number, _ in found)


def last_uses(connection: Connection, after: int, own: int = 0) -> tuple[int, dict[str, LastUse]]:
    """Answer the last uses that were written by batches behind one, and the last such batch.

    Those of a batch of one's `own`, the newest of all, are known already and left out.
    """
    others = and_(_LAST_USES.c.turn > after, _LAST_USES.c.turn != own)
    found = connection.execute(select(_LAST_USES).where(others)).all()
    uses = {row.id: LastUse(row.at, row.address, row.agent) for row in found}
    return max([after, own, *(row.turn for row in found)]), uses


# Retention


def prune(connection: Connection, before: datetime, limit: int) -> int:
    """Take away at most so many of the oldest entries from before an instant; answer how many.

    Few at a time, so that nobody waits for long; the counts of those minutes go with them.
    """
    oldest = select(ENTRIES.c.sequence).order_by(ENTRIES.c.sequence).limit(limit)
    old = oldest.with_only_columns(ENTRIES.c.sequence, ENTRIES.c.at)
    # Clocks of several processes differ: what is younger ends the search, so none of it goes.
    rows = takewhile(lambda row: row.at < before, connection.execute(old))
    numbers = [row.sequence for row in rows]
    if numbers:
        connection.execute(delete(ENTRIES).where(ENTRIES.c.sequence <= numbers[-1]))
    connection.execute(delete(COUNTS).where(COUNTS.c.minute < minute_of(before)))
    return len(numbers)


def forget(connection: Connection, ids: Collection[str]) -> None:
    """Take away the last uses of what does not exist any more."""
    connection.execute(delete(_LAST_USES).where(_LAST_USES.c.id.in_(ids)))
