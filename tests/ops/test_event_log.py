"""Does a log keep exactly what it was given, in one order, whatever keeps it?"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import psycopg
import pytest
from eventsourcing.persistence import IntegrityError, StoredEvent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.events import Record
from ops import event_log
from ops.event_log import Outcome, PostgresLog, SQLiteLog
from ops.log_readers import PAGE
from ops.store_errors import (
    AppendRefusedError,
    LogMissingError,
    PositionTakenError,
    StoreError,
    UnsafeStoreError,
)
from tests.ops.log_stores import LOG_ID, OTHER_LOG_ID, PostgresStore, SQLiteStore, records

if TYPE_CHECKING:
    from tests.ops.log_stores import DurableStore, Log

MEBIBYTE = 1024 * 1024


def test_append_stores_records_at_exact_positions(log: Log) -> None:
    """Positions are 1, 2, 3 without gaps, over several appends."""
    log.append(1, records(1, 3))
    log.append(4, records(4))

    assert log.head() == 4
    assert log.read(0, 10) == records(1, 4)


def test_read_returns_pages_after_a_position(log: Log) -> None:
    """A page begins right after the position asked for and holds at most the limit."""
    log.append(1, records(1, 10))

    assert log.read(3, 4) == records(4, 4)
    assert log.read(8, 4) == records(9, 2)
    assert log.read(10, 4) == []


def test_head_of_an_empty_log_is_zero(log: Log) -> None:
    """An empty log has head 0 and nothing to read."""
    assert log.head() == 0
    assert log.read(0, 10) == []


def test_append_at_a_taken_position_is_refused(log: Log) -> None:
    """Whoever comes second is refused, and what was first stays."""
    log.append(1, records(1, 2, "first"))

    with pytest.raises(PositionTakenError):
        log.append(2, records(2, 1, "second"))

    assert log.read(0, 10) == records(1, 2, "first")


def test_append_that_overlaps_stores_nothing_of_its_batch(log: Log) -> None:
    """A batch is stored whole or not at all, also when only its beginning is taken."""
    log.append(1, records(1, 2, "first"))

    with pytest.raises(PositionTakenError):
        log.append(2, records(2, 5, "second"))

    assert log.head() == 2


def test_append_after_a_gap_is_refused_as_a_fault(log: Log) -> None:
    """A gap is no lost race: the error tells the writer to halt."""
    log.append(1, records(1))

    with pytest.raises(AppendRefusedError):
        log.append(3, records(3))

    assert log.head() == 1


def test_append_works_again_after_a_refusal(log: Log) -> None:
    """A refused append leaves nothing behind that would stop the next."""
    log.append(1, records(1))
    with pytest.raises(PositionTakenError):
        log.append(1, records(1, 1, "late"))

    log.append(2, records(2))

    assert log.head() == 2


@pytest.mark.parametrize("batch", [[], records(2, 2), [*records(1), *records(3)]])
def test_append_of_records_that_do_not_follow_one_another_is_a_mistake(
    log: Log,
    batch: list[Record],
) -> None:
    """Records carry the positions they are stored at; nothing else reaches the store."""
    with pytest.raises(ValueError, match="records"):
        log.append(1, batch)


@pytest.mark.parametrize(
    "state",
    [b"", bytes(range(256)), bytes(range(256)) * (MEBIBYTE // 256)],
    ids=["empty", "every byte", "1 MiB"],
)
def test_bytes_come_back_identical(log: Log, state: bytes) -> None:
    """The stored bytes are the evidence: they come back as they were given."""
    log.append(1, [Record(1, "test.happened.v1", state)])

    assert log.read(0, 1) == [Record(1, "test.happened.v1", state)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(batch=st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_any_bytes_come_back_identical(log: Log, batch: list[bytes]) -> None:
    """No content of a record is changed, cut or merged."""
    first = log.head() + 1
    given_records = [
        Record(first + index, "test.happened.v1", state) for index, state in enumerate(batch)
    ]

    log.append(first, given_records)

    assert log.read(first - 1, len(batch)) == given_records


def test_wake_ends_a_wait_from_another_thread(log: Log) -> None:
    """A waiting writer is woken at once when a command comes."""
    log.wait(0)
    timer = threading.Timer(0.05, log.wake)
    timer.start()

    started = time.monotonic()
    log.wait(30)

    assert time.monotonic() - started < 15
    timer.join()


def test_wake_before_a_wait_is_not_lost(log: Log) -> None:
    """A command that comes just before the writer waits is still noticed at once."""
    log.wait(0)
    log.wake()

    started = time.monotonic()
    log.wait(30)

    assert time.monotonic() - started < 15


def test_open_without_a_log_is_refused(durable_store: DurableStore) -> None:
    """An empty store is refused by everyone but `init`, so nobody makes a log by accident."""
    with pytest.raises(LogMissingError):
        durable_store.open()


def test_reopened_log_holds_the_same(durable_store: DurableStore) -> None:
    """What was acknowledged is there after closing and opening, under the same log id."""
    log = durable_store.open(LOG_ID)
    log.append(1, records(1, 3))
    log.close()

    again = durable_store.open()

    assert (again.log_id, again.read(0, 10)) == (LOG_ID, records(1, 3))
    again.close()


def test_second_log_in_a_store_is_refused(durable_log: Log, durable_store: DurableStore) -> None:
    """A store holds one log: another one loses at its first position."""
    durable_log.append(1, records(1))
    other = durable_store.open(OTHER_LOG_ID)

    with pytest.raises(PositionTakenError):
        other.append(1, records(1, 1, "other"))

    other.close()
    assert len(durable_store.rows()) == 1


@pytest.mark.parametrize("column", ["topic", "state"])
def test_record_without_content_is_refused(
    durable_log: Log,
    durable_store: DurableStore,
    column: str,
) -> None:
    """A row without topic or bytes is no evidence."""
    others = {"topic": "state", "state": "topic"}

    with pytest.raises(Exception, match=r"position 1 does not follow|head \+ 1"):
        durable_store.as_owner(
            f"INSERT INTO stored_events (originator_id, originator_version, {others[column]})"  # noqa: S608 - constants of this test
            f" VALUES ('{LOG_ID}', 1, 'x')",
        )

    assert durable_log.head() == 0


STATEMENTS_THAT_REWRITE = [
    "UPDATE stored_events SET topic = 'test.forged.v1' WHERE originator_version = 1",
    "DELETE FROM stored_events WHERE originator_version = 2",
]


@pytest.mark.parametrize("statement", STATEMENTS_THAT_REWRITE)
def test_history_cannot_be_rewritten(
    durable_log: Log,
    durable_store: DurableStore,
    statement: str,
) -> None:
    """The database refuses to change or remove what is stored, even to its owner."""
    durable_log.append(1, records(1, 2))

    with pytest.raises(Exception, match="append-only"):
        durable_store.as_owner(statement)

    assert durable_log.read(0, 10) == records(1, 2)


def test_rewriting_would_work_without_the_guards(sqlite_store: SQLiteStore) -> None:
    """Control: with the triggers dropped the same statements do rewrite history."""
    log = sqlite_store.open(LOG_ID)
    log.append(1, records(1, 2))
    for trigger in ("log_no_update", "log_no_delete"):
        sqlite_store.as_owner(f"DROP TRIGGER {trigger}")

    for statement in STATEMENTS_THAT_REWRITE:
        sqlite_store.as_owner(statement)

    assert [Record(1, "test.forged.v1", records(1)[0].state)] == log.read(0, 10)
    log.close()


def test_insert_or_replace_is_refused(sqlite_store: SQLiteStore) -> None:
    """REPLACE removes rows without firing delete triggers; it too is refused."""
    log = sqlite_store.open(LOG_ID)
    log.append(1, records(1))

    with pytest.raises(Exception, match=r"head \+ 1"):
        sqlite_store.as_owner(
            "INSERT OR REPLACE INTO stored_events SELECT originator_id, 1, 'test.forged.v1', x'00'"
            " FROM stored_events",
        )

    assert log.read(0, 10) == records(1)
    log.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE stored_events SET topic = 'test.forged.v1'",
        "DELETE FROM stored_events",
        "TRUNCATE stored_events",
        "ALTER TABLE stored_events DISABLE TRIGGER ALL",
        "ALTER TABLE stored_events DISABLE TRIGGER log_frozen",
        "DROP TRIGGER log_frozen ON stored_events",
        "DROP TABLE stored_events",
        "CREATE RULE forget AS ON INSERT TO stored_events DO INSTEAD NOTHING",
        "SET session_replication_role = replica",
        "CREATE TABLE public.other (a int)",
        "CREATE OR REPLACE FUNCTION public.log_next() RETURNS trigger LANGUAGE sql AS ''",
        "UPDATE muniment.schema_version SET version = 99",
    ],
)
def test_service_role_cannot_touch_history(postgres_store: PostgresStore, statement: str) -> None:
    """A stolen credential of the service can only append and read (security 7.1)."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        postgres_store.as_service(statement)


def test_truncate_is_refused_even_to_the_owner(postgres_store: PostgresStore) -> None:
    """TRUNCATE, which fires no row trigger, is refused as well."""
    with pytest.raises(psycopg.errors.RestrictViolation):
        postgres_store.as_owner("TRUNCATE stored_events")


def test_temporary_table_does_not_mislead_the_guard(postgres_store: PostgresStore) -> None:
    """A temporary table of the log's name, which any role may make, hides no gap."""
    statement = (
        "CREATE TEMPORARY TABLE stored_events AS SELECT gen_random_uuid() AS originator_id,"
        " 8::bigint AS originator_version, ''::text AS topic, ''::bytea AS state;"
        "INSERT INTO public.stored_events SELECT originator_id, 9, 'test.forged.v1', ''"
        " FROM stored_events"
    )

    with pytest.raises(psycopg.errors.CheckViolation):
        postgres_store.as_service(statement)


def test_confirm_tells_what_became_of_an_append(
    durable_log: SQLiteLog | PostgresLog,
) -> None:
    """Only the bytes at a position tell whether an append was stored, and whose it is."""
    durable_log.append(1, records(1, 2, "mine"))

    assert durable_log.confirm(1, records(1, 2, "mine")) is Outcome.COMMITTED
    assert durable_log.confirm(1, records(1, 2, "other")) is Outcome.CONFLICT
    assert durable_log.confirm(1, records(1, 3, "mine")) is Outcome.CONFLICT
    assert durable_log.confirm(3, records(3)) is Outcome.ABSENT


def test_reader_sees_what_the_log_appends(durable_log: SQLiteLog | PostgresLog) -> None:
    """A reader for another thread follows the same log on a connection of its own."""
    reader = durable_log.reader()

    durable_log.append(1, records(1, 2))

    assert (reader.log_id, reader.head(), reader.read(0, 5)) == (LOG_ID, 2, records(1, 2))
    reader.close()


def test_pages_are_read_by_the_key_whatever_the_planner_knows(
    own_postgres_store: PostgresStore,
) -> None:
    """Event-log 7: a log that grew quickly, as after a restore, is not sorted for every page."""
    log = own_postgres_store.open(LOG_ID)
    for first in range(1, 6_001, 1_000):
        log.append(first, [Record(first + n, "t.v1", b"{}" * 40) for n in range(1_000)])
    explain = "EXPLAIN " + PAGE
    asked = (LOG_ID, 0, 1_000)

    with psycopg.connect(own_postgres_store.database.owner_url) as owner:
        usual = str(owner.execute(explain.encode(), asked).fetchall())
    reader = log.reader()
    plan = str(reader._connected().execute(explain.encode(), asked).fetchall())  # noqa: SLF001 - its session

    assert "Sort" in usual, "the control: that is what the planner would do"
    assert "Index Scan using stored_events_pkey" in plan
    assert "Sort" not in plan
    assert [record.position for record in reader.read(2_999, 2)] == [3_000, 3_001]
    reader.close()
    log.close()


def test_wait_returns_when_another_connection_appended(
    durable_store: DurableStore,
    durable_log: SQLiteLog | PostgresLog,
) -> None:
    """News from another process ends the wait long before its time-out."""
    durable_log.append(1, records(1))
    reader = durable_log.reader()
    reader.wait(0.5)  # The first ring after LISTEN is for what came before it.
    other = durable_store.open()
    timer = threading.Timer(0.05, lambda: other.append(2, records(2)))
    timer.start()

    started = time.monotonic()
    reader.wait(30)

    assert time.monotonic() - started < 15
    timer.join()
    other.close()
    reader.close()


def test_append_between_read_and_wait_is_not_slept_over(
    durable_store: DurableStore,
    durable_log: SQLiteLog | PostgresLog,
) -> None:
    """What is appended after a follower's read, but before its wait, ends that wait."""
    reader = durable_log.reader()
    reader.wait(0.5)
    other = durable_store.open(LOG_ID)
    assert reader.head() == 0
    other.append(1, records(1))

    started = time.monotonic()
    reader.wait(30)

    assert time.monotonic() - started < 15
    assert reader.head() == 1
    other.close()
    reader.close()


def test_reader_cannot_write(sqlite_store: SQLiteStore) -> None:
    """Only one connection writes; every other one is read-only at the database."""
    log = sqlite_store.open(LOG_ID)
    reader = log.reader()

    with pytest.raises(StoreError):
        reader._rows("DELETE FROM stored_events")  # noqa: SLF001 - the only way to let it try

    reader.close()
    log.close()


def test_close_empties_the_write_ahead_log(sqlite_store: SQLiteStore) -> None:
    """After a shutdown the file alone holds everything: a copy of it is a copy of the log."""
    log = sqlite_store.open(LOG_ID)
    log.append(1, records(1))

    log.close()

    write_ahead_log = sqlite_store.path.with_name("log.db-wal")
    assert not write_ahead_log.exists() or write_ahead_log.stat().st_size == 0


@pytest.mark.parametrize("found", ["NORMAL", "OFF"])
def test_connection_that_is_not_durable_is_refused(
    sqlite_store: SQLiteStore,
    monkeypatch: pytest.MonkeyPatch,
    found: str,
) -> None:
    """What was set is read back: a build that does not obey is not written with (event-log 4)."""
    disobeyed = [
        (name, found if name == "synchronous" else value, expected)
        for name, value, expected in event_log.DURABLE_PRAGMAS
    ]
    monkeypatch.setattr(event_log, "DURABLE_PRAGMAS", disobeyed)

    with pytest.raises(UnsafeStoreError, match="synchronous"):
        sqlite_store.open(LOG_ID)


def test_library_reports_a_taken_position_as_integrity_error(
    durable_log: SQLiteLog | PostgresLog,
) -> None:
    """The library's own class, on which the lost race rests, is what the pinned version raises."""
    durable_log.append(1, records(1))
    event = StoredEvent(durable_log._id, 1, "test.happened.v1", b"late")  # noqa: SLF001 - see above

    with pytest.raises(IntegrityError):
        durable_log._recorder.insert_events([event])  # noqa: SLF001 - the recorder itself is judged
