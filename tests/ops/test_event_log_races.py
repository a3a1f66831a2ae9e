"""Does the log stay one, without gap, loss or double, when many append at once?"""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

import msgspec
import psycopg
import pytest

from ops import event_log, log_readers
from ops.log_schema import migrate_postgres, migrate_sqlite
from ops.store_errors import PositionTakenError, StoreError, StoreSlowError
from tests.ops.log_stores import LOG_ID, PostgresStore, SQLiteStore, records
from tests.postgres import create_database, drop_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.ops.log_stores import DurableStore, Log

    T = TypeVar("T")

INITS = 12
MIGRATES = 8
PROCESSES = 4
APPENDS = 200
PAGE = 50


def at_once(count: int, act: Callable[[int], T]) -> list[T]:
    """Call `act` with 0, 1, … in `count` threads that start together."""
    barrier = threading.Barrier(count)

    def start(number: int) -> T:
        barrier.wait()
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))


def begin_logs(store: DurableStore) -> int:
    """Let several `init`s begin a log of their own in `store`; return how many succeeded."""

    def begin(number: int) -> bool:
        try:
            with closing(store.open(str(uuid.UUID(int=number)))) as log:
                log.append(1, records(1, 3, f"log {number}"))
        except (PositionTakenError, StoreSlowError):
            return False
        return True

    return sum(at_once(INITS, begin))


def test_of_twelve_inits_at_once_one_wins(durable_store: DurableStore) -> None:
    """A store never comes to hold two logs, whoever starts at the same moment."""
    assert begin_logs(durable_store) == 1
    assert len(durable_store.rows()) == 3


def test_without_the_index_inits_make_several_logs(
    own_postgres_store: PostgresStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Control: the index `one_log` is what keeps the second log out."""
    own_postgres_store.as_owner("DROP INDEX one_log")
    monkeypatch.setattr(log_readers, "check_postgres", lambda _connection: None)

    assert begin_logs(own_postgres_store) > 1


@pytest.fixture
def bare_store() -> Iterator[PostgresStore]:
    """Yield a PostgreSQL store without schema, whose server knows the role already."""
    database = create_database(migrated=False)
    yield PostgresStore(database)
    drop_database(database)


def migrations_that_succeed(migrate: Callable[[], None]) -> int:
    """Run `migrate` several times at once; return how often it succeeded."""

    def attempt(_number: int) -> bool:
        try:
            migrate()
        except (psycopg.Error, StoreError):
            return False
        return True

    return sum(at_once(MIGRATES, attempt))


def test_eight_migrations_at_once_all_succeed_on_postgres(bare_store: PostgresStore) -> None:
    """Every node may be told to migrate at the same moment; the schema is made once."""
    assert migrations_that_succeed(bare_store.migrate) == MIGRATES

    log = bare_store.open(LOG_ID)
    log.append(1, records(1))
    log.close()


def test_migrations_at_once_without_the_lock_fail() -> None:
    """Control: the same statements collide when nothing makes them take turns."""
    # A machine that is busy elsewhere may run them one after another all the same.
    assert any(migrations_collide() for _ in range(10))


def migrations_collide() -> bool:
    """Migrate a new database several times at once without the lock; tell whether any failed."""
    database = create_database(migrated=False)

    def migrate() -> None:
        with psycopg.connect(database.owner_url) as connection:
            migrate_postgres(connection)

    try:
        return migrations_that_succeed(migrate) < MIGRATES
    finally:
        drop_database(database)


def test_eight_migrations_at_once_all_succeed_on_sqlite(sqlite_store: SQLiteStore) -> None:
    """Repeated and simultaneous migrations of one file leave one schema."""
    sqlite_store.path.unlink()

    at_once(MIGRATES, lambda _number: migrate_sqlite(sqlite_store.path))

    log = sqlite_store.open(LOG_ID)
    log.append(1, records(1))
    log.close()


def start_appenders(place: str, appends: int) -> list[subprocess.Popen[str]]:
    """Start processes that wait, ready, with the log at `place` open."""
    appenders = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.ops.appender", place, f"process {number}", str(appends)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for appender in appenders:
        assert appender.stdout is not None
        assert appender.stdout.readline() == "ready\n"
    return appenders


def follow(log: Log, last: int) -> list[int]:
    """Return the positions that a follower by position sees until it has reached `last`."""
    seen: list[int] = []
    while not seen or seen[-1] < last:
        page = log.read(seen[-1] if seen else 0, PAGE)
        seen.extend(record.position for record in page)
        if not page:
            log.wait(1)
    return seen


def race(store: DurableStore, place: str, appends: int) -> None:
    """Let processes append to one log under a follower's eyes, and judge what came of it."""
    log = store.open(LOG_ID)
    log.append(1, records(1, 1, "first"))
    last = 1 + PROCESSES * appends
    appenders = start_appenders(place, appends)
    with ThreadPoolExecutor(1) as pool:
        follower = pool.submit(follow, log, last)
        for appender in appenders:
            assert appender.stdin is not None
            appender.stdin.write("go\n")
            appender.stdin.flush()
        for appender in appenders:
            appender.communicate(timeout=120)
        seen = follower.result(timeout=30)
    log.close()

    assert [appender.returncode for appender in appenders] == [0] * PROCESSES
    assert seen == [*range(1, last + 1)]
    rows = store.rows()
    assert [position for position, _topic, _state in rows] == seen
    marks = [msgspec.json.decode(state)["mark"] for _position, _topic, state in rows]
    expected = {f"process {p}.{n}" for p in range(PROCESSES) for n in range(appends)}
    assert sorted(marks) == sorted({"first"} | expected)


@pytest.fixture
def _slow_commits(postgres_store: PostgresStore) -> Iterator[None]:
    """Hold one transaction open that has written, as other work in the database may."""
    postgres_store.as_owner("CREATE TABLE other_work (number int)")
    with psycopg.connect(postgres_store.database.owner_url) as connection:
        connection.execute("INSERT INTO other_work VALUES (1)")
        yield


@pytest.mark.usefixtures("_slow_commits")
def test_four_processes_append_without_gap_on_postgres(postgres_store: PostgresStore) -> None:
    """Each append is stored once and a follower sees every position once, in order."""
    race(postgres_store, postgres_store.database.url, APPENDS)


def test_four_processes_append_without_gap_on_sqlite(sqlite_store: SQLiteStore) -> None:
    """The same holds on one file, though only one process ought to write there."""
    race(sqlite_store, str(sqlite_store.path), APPENDS)


def test_follower_waits_for_a_transaction_that_holds_a_position(
    postgres_store: PostgresStore,
) -> None:
    """While a position is written but not committed nobody gets past it, reader or writer."""
    log = postgres_store.open(LOG_ID)
    log.append(1, records(1))
    with psycopg.connect(postgres_store.database.url) as slow:
        insert_raw(slow, 2)
        reader = log.reader()
        with ThreadPoolExecutor(1) as pool:
            behind = pool.submit(log.append, 2, records(2, 1, "behind"))
            reader.wait(0.3)
            assert reader.head() == 1
            assert not behind.done()
            slow.commit()

            with pytest.raises(PositionTakenError):
                behind.result(timeout=10)
    assert [record.position for record in reader.read(0, 10)] == [1, 2]
    reader.close()
    log.close()


def insert_raw(connection: psycopg.Connection, position: int) -> None:
    """Insert a record in the open transaction of `connection`."""
    connection.execute(
        "INSERT INTO public.stored_events VALUES (%s, %s, 'test.happened.v1', 'slow')",
        (LOG_ID, position),
    )


def test_follower_of_a_sequence_column_loses_events(postgres_store: PostgresStore) -> None:
    """Control: in the same situation a follower by sequence number steps over the late commit."""
    postgres_store.as_owner("CREATE TABLE numbered (number bigserial, mark text)")
    url = postgres_store.database.owner_url
    seen: list[int] = []

    def read_on(connection: psycopg.Connection) -> None:
        last = seen[-1] if seen else 0
        query = "SELECT number FROM numbered WHERE number > %s ORDER BY number"
        seen.extend(number for (number,) in connection.execute(query, (last,)))

    with psycopg.connect(url, autocommit=True) as reading, psycopg.connect(url) as slow:
        slow.execute("INSERT INTO numbered (mark) VALUES ('slow')")
        postgres_store.as_owner("INSERT INTO numbered (mark) VALUES ('quick')")
        read_on(reading)
        slow.commit()
        read_on(reading)

    assert seen == [2]


@pytest.fixture
def _long_courtesy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let courtesy last longer than any pause of the machine."""
    monkeypatch.setattr(event_log, "COURTESY_SECONDS", 3_600)


@pytest.mark.usefixtures("_long_courtesy")
def test_writers_take_turns_after_a_conflict(postgres_store: PostgresStore) -> None:
    """A process that lost a race holds the courtesy lock for its next turn, then lets it go."""
    log = postgres_store.open(LOG_ID)
    log.append(1, records(1))
    with log.turn():
        assert not held_locks(postgres_store)
    with pytest.raises(PositionTakenError):
        log.append(1, records(1, 1, "late"))

    with log.turn():
        assert held_locks(postgres_store)

    assert not held_locks(postgres_store)
    log.close()


@pytest.mark.usefixtures("_long_courtesy")
def test_turn_goes_on_without_the_lock_when_somebody_keeps_it(
    postgres_store: PostgresStore,
) -> None:
    """The lock is courtesy: a process that hangs with it stops nobody for longer than 2 s."""
    log, other = postgres_store.open(LOG_ID), postgres_store.open(LOG_ID)
    log.append(1, records(1))
    for loser in (log, other):
        with pytest.raises(PositionTakenError):
            loser.append(1, records(1, 1, "late"))

    with log.turn(), other.turn():
        other.append(2, records(2))

    assert log.head() == 2
    log.close()
    other.close()


def held_locks(store: PostgresStore) -> int:
    """Return how many advisory locks are held in the database."""
    with psycopg.connect(store.database.owner_url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())",
        ).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.usefixtures("_long_courtesy")
def test_turn_keeps_an_append_whose_session_was_lost(postgres_store: PostgresStore) -> None:
    """That the lock went with its connection takes nothing back of what was appended."""
    log = postgres_store.open(LOG_ID)
    log.append(1, records(1))
    with pytest.raises(PositionTakenError):
        log.append(1, records(1, 1, "late"))

    with log.turn():
        log.append(2, records(2))
        postgres_store.as_owner(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )

    assert log.head() == 2
    log.close()
