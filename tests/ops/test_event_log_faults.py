"""Is an append stored once and acknowledged once, whatever happens between us and the store?"""

from __future__ import annotations

import resource
import shutil
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import psycopg
import pytest
from eventsourcing.postgres import PostgresAggregateRecorder
from psycopg.conninfo import make_conninfo

from domain.events import Record
from ops import event_log, log_listener
from ops.event_log import PostgresLog, SQLiteLog
from ops.log_schema import migrate_sqlite
from ops.postgres import connect
from ops.store_errors import (
    OutcomeUnknownError,
    PositionTakenError,
    StoreBrokenError,
    StoreFullError,
    StoreSlowError,
    StoreUnreachableError,
)
from tests.ops.log_stores import LOG_ID, PostgresStore, SQLiteStore, records
from tests.postgres import socket_address
from tests.proxy import Fault, Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ops.log_readers import PostgresReader

MARK = "test.marked.v1"
NEWS_SECONDS_MAX = 1.5
ERROR_SECONDS_MAX = 3.0
# Time never decides a test: what a busy machine delayed once is tried again.
TRIES = 3


def marked(position: int) -> list[Record]:
    """Return a record that the proxy knows by its topic."""
    return [Record(position, MARK, b"marked")]


@pytest.mark.parametrize("fault", Fault)
def test_append_whose_answer_is_cut_off_is_stored_once(
    distant_log: PostgresLog,
    postgres_store: PostgresStore,
    proxy: Proxy,
    fault: Fault,
) -> None:
    """A commit that lost its answer is followed up until the bytes tell what happened (A3)."""
    proxy.arm(MARK.encode(), fault)

    distant_log.append(2, marked(2))
    distant_log.append(3, records(3))

    assert proxy.faults == 1
    assert [(1, 2, 3)] == [tuple(position for position, _topic, _state in postgres_store.rows())]
    assert distant_log.read(1, 1) == marked(2)


def test_library_retry_reports_a_stored_append_as_refused(
    distant_log: PostgresLog,
    postgres_store: PostgresStore,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Control: with the library's own retrying insert the stored append is called lost (A3)."""
    monkeypatch.setattr(
        event_log._PostgresRecorder,  # noqa: SLF001 - the broken build replaces this one method
        "insert_events",
        PostgresAggregateRecorder.insert_events,
    )
    proxy.arm(MARK.encode(), Fault.AFTER)

    with pytest.raises(PositionTakenError):
        distant_log.append(2, marked(2))

    assert len(postgres_store.rows()) == 2


def test_append_that_lost_its_answer_and_its_place_is_a_conflict(
    distant_log: PostgresLog,
    postgres_store: PostgresStore,
    proxy: Proxy,
) -> None:
    """Somebody else's bytes at the position prove that the lost append is not stored."""
    other = postgres_store.open()
    other.append(2, records(2, 1, "other"))
    proxy.arm(MARK.encode(), Fault.LATE)

    with pytest.raises(PositionTakenError):
        distant_log.append(2, marked(2))

    assert distant_log.read(1, 5) == records(2, 1, "other")
    other.close()


def test_append_that_cannot_be_followed_up_stays_unknown(
    distant_log: PostgresLog,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without an answer within the bound it is neither done nor refused."""
    monkeypatch.setattr(event_log, "OUTCOME_BOUND_SECONDS", 0.0)
    proxy.arm(MARK.encode(), Fault.AFTER)

    with pytest.raises(OutcomeUnknownError):
        distant_log.append(2, marked(2))

    distant_log.append(3, records(3))
    assert distant_log.head() == 3


def test_append_after_every_connection_was_cut_works(
    distant_log: PostgresLog,
    proxy: Proxy,
) -> None:
    """After a restart of the network or the database the next append simply goes through."""
    proxy.cut_all()

    distant_log.append(2, records(2))

    assert distant_log.head() == 2
    assert distant_log.connections == 2


def test_read_on_a_lost_connection_says_so_and_then_connects_again(
    distant_log: PostgresLog,
    proxy: Proxy,
) -> None:
    """A reader never takes silence for an empty log; the next read counts a new connection."""
    proxy.cut_all()

    with pytest.raises(StoreUnreachableError):
        distant_log.head()

    assert distant_log.head() == 1
    assert distant_log.connections == 2


def test_unreachable_database_is_an_error_within_3_seconds(postgres_store: PostgresStore) -> None:
    """A database that is away fails an append soon, as certainly not stored."""
    with Proxy(socket_address(postgres_store.database)) as proxy:
        url = make_conninfo(postgres_store.database.url, host="127.0.0.1", port=proxy.port)
        log = PostgresLog(url, LOG_ID)
        log.append(1, records(1))
    with pytest.raises(StoreUnreachableError):
        log.read(0, 1)
    log._store.pool.check()  # noqa: SLF001 - lets the pool notice now what it would notice later

    assert fails_soon(lambda: log.append(2, records(2)))
    log.close()


def fails_soon(append: Callable[[], None]) -> bool:
    """Tell whether an append fails in time; a machine that paused may try again."""
    for _ in range(TRIES):
        started = time.monotonic()
        with pytest.raises(StoreUnreachableError):
            append()
        if time.monotonic() - started < ERROR_SECONDS_MAX:
            return True
    return False


def test_exhausted_pool_is_an_error_within_3_seconds(postgres_store: PostgresStore) -> None:
    """An append that gets no connection fails soon, not after minutes."""
    log = postgres_store.open(LOG_ID)
    with log._store.get_connection():  # noqa: SLF001 - takes the only connection away
        assert fails_soon(lambda: log.append(1, records(1)))

    log.close()


def test_exhausted_pool_with_the_library_retry_hangs(
    postgres_store: PostgresStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Control: the library's retry keeps an append waiting for a connection beyond 3 s."""
    monkeypatch.setattr(
        event_log._PostgresRecorder,  # noqa: SLF001 - the broken build replaces this one method
        "insert_events",
        PostgresAggregateRecorder.insert_events,
    )
    log = postgres_store.open(LOG_ID)
    appending = threading.Thread(target=log.append, args=(1, records(1)))
    with log._store.get_connection():  # noqa: SLF001 - takes the only connection away
        appending.start()
        appending.join(ERROR_SECONDS_MAX)
        hanging = appending.is_alive()
    appending.join()

    assert hanging
    log.close()


def test_lock_held_by_a_stuck_session_is_an_error(postgres_store: PostgresStore) -> None:
    """A session that hangs with the table in its hands stops an append for about 2 s only."""
    log = postgres_store.open(LOG_ID)
    with psycopg.connect(postgres_store.database.owner_url) as stuck:
        stuck.execute("LOCK TABLE stored_events IN EXCLUSIVE MODE")
        with pytest.raises(StoreSlowError):
            log.append(1, records(1))

    assert log.head() == 0
    log.close()


def test_locked_file_is_an_error(
    sqlite_store: SQLiteStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file that somebody else keeps locked fails an append, which is then not stored."""
    monkeypatch.setattr(event_log, "LOCK_TIMEOUT_SECONDS", 0.2)
    log = sqlite_store.open(LOG_ID)
    other = sqlite_store.open(LOG_ID)
    with other._store.transaction(commit=False) as cursor:  # noqa: SLF001 - a writer that hangs
        cursor.execute("INSERT INTO stored_events VALUES ('00', 1, '', '')")
        with pytest.raises(StoreSlowError):
            log.append(1, records(1))

    log.append(1, records(1))
    assert log.head() == 1
    other.close()
    log.close()


def news_in_time(store: PostgresStore, reader: PostgresReader) -> bool:
    """Tell whether a follower is no further behind than it may; after a pause it may try again."""
    return any(news_after(store, reader) < NEWS_SECONDS_MAX for _ in range(TRIES))


def news_after(postgres_store: PostgresStore, reader: PostgresReader) -> float:
    """Return how many seconds a follower that waits at most 1 s each time is behind an append."""
    writer = postgres_store.open()
    head = reader.head()
    appended: list[float] = []

    def append() -> None:
        writer.append(head + 1, records(head + 1))
        appended.append(time.monotonic())

    timer = threading.Timer(0.1, append)
    timer.start()
    while reader.head() == head:
        reader.wait(1)
    seen = time.monotonic()
    timer.join()
    writer.close()
    return seen - appended[0]


@pytest.fixture
def followed_log(own_postgres_store: PostgresStore) -> Iterator[PostgresLog]:
    """Yield a log with one record, whose listener listens."""
    log = own_postgres_store.open(LOG_ID)
    log.append(1, records(1))
    log.wait(5)
    yield log
    log.close()


def test_news_arrive_after_the_listening_connection_was_killed(
    own_postgres_store: PostgresStore,
    followed_log: PostgresLog,
) -> None:
    """The listener comes back by itself, and until then the clock is enough (B4)."""
    own_postgres_store.as_owner(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE query LIKE 'LISTEN%' AND datname = current_database()",
    )

    assert news_in_time(own_postgres_store, followed_log)

    started = time.monotonic()
    while not listening(own_postgres_store):
        assert time.monotonic() - started < 30
        time.sleep(0.05)


def listening(store: PostgresStore) -> bool:
    """Return whether a connection listens in the database."""
    with psycopg.connect(store.database.owner_url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE query LIKE 'LISTEN%' AND datname = current_database()",
        ).fetchone()
    assert row is not None
    return bool(row[0])


def suppress_notifications(store: PostgresStore) -> None:
    """Let appends tell nobody."""
    store.as_owner(
        "CREATE OR REPLACE FUNCTION public.log_wake() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NULL; END'",
    )


def test_news_arrive_without_notifications(
    own_postgres_store: PostgresStore,
    followed_log: PostgresLog,
) -> None:
    """Notifications are hints: with none at all a follower is at most 1.5 s behind (B4)."""
    suppress_notifications(own_postgres_store)

    assert news_in_time(own_postgres_store, followed_log)


def test_news_arrive_while_listening_begins_late(
    postgres_store: PostgresStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is appended before LISTEN took effect is told once it has (event-log 7)."""

    def connect_late(conninfo: str) -> psycopg.Connection:
        time.sleep(1)
        return connect(conninfo)

    monkeypatch.setattr(log_listener, "connect", connect_late)
    log = postgres_store.open(LOG_ID)
    log.append(1, records(1))
    log.wait(0)

    assert news_in_time(postgres_store, log)
    log.close()


def test_deaf_follower_hears_nothing(
    own_postgres_store: PostgresStore,
    followed_log: PostgresLog,
) -> None:
    """Control: without notification and without looking by the clock there are no news (B4)."""
    suppress_notifications(own_postgres_store)
    writer = own_postgres_store.open()
    writer.append(2, records(2))
    followed_log.wake()
    followed_log.wait(0)

    started = time.monotonic()
    followed_log.wait(NEWS_SECONDS_MAX)

    assert time.monotonic() - started >= NEWS_SECONDS_MAX
    writer.close()


def test_connection_parameters_reach_the_server(postgres_store: PostgresStore) -> None:
    """The time limits hold on the connection that writes, where the library would drop them."""
    log = postgres_store.open(LOG_ID)
    with log._store.get_connection() as connection:  # noqa: SLF001 - the writing connection itself
        found = [
            connection.execute(f"SHOW {name}".encode()).fetchone()
            for name in (
                "statement_timeout",
                "lock_timeout",
                "idle_in_transaction_session_timeout",
                "application_name",
            )
        ]

    assert [list(row.values()) for row in found if row] == [["10s"], ["2s"], ["5s"], ["muniment"]]
    log.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a directory on a filesystem of 1 MiB."""
    directory = tmp_path / "small"
    directory.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(directory)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def test_full_disk_stores_nothing_and_goes_on_with_space(small_disk: Path) -> None:
    """A full disk fails the append whole; with space again the same log appends again (D5)."""
    migrate_sqlite(small_disk / "log.db")
    log = SQLiteLog(small_disk / "log.db", LOG_ID)
    log.append(1, records(1))
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(600 * 1024))
    large = [Record(2, "test.happened.v1", bytes(500 * 1024))]

    with pytest.raises(StoreFullError):
        log.append(2, large)

    assert log.read(0, 10) == records(1)
    ballast.unlink()
    log.append(2, records(2))
    log.close()
    again = SQLiteLog(small_disk / "log.db")
    assert again.read(0, 10) == records(1, 2)
    again.close()


@pytest.fixture
def no_growing_files() -> Iterator[Callable[[], None]]:
    """Yield a function after whose call no write may make a file larger than 32 KiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (32 * 1024, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_io_error_ends_writing(
    sqlite_store: SQLiteStore,
    no_growing_files: Callable[[], None],
) -> None:
    """After an I/O error nothing is written or synced any more: the next start reads the truth."""
    log = sqlite_store.open(LOG_ID)
    log.append(1, records(1))
    no_growing_files()

    with pytest.raises(StoreBrokenError):
        log.append(2, [Record(2, "test.happened.v1", bytes(64 * 1024))])
    with pytest.raises(StoreBrokenError, match="earlier"):
        log.append(2, records(2))

    log.close()
    again = sqlite_store.open()
    assert again.read(0, 10) == records(1)
    again.close()
