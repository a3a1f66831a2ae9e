"""Is nothing appended to a log that lost what this process has read or stored?"""

from __future__ import annotations

import pytest

from domain.events import Record
from ops import event_log
from ops.event_log import PostgresLog
from ops.store_errors import LogRegressedError, OutcomeUnknownError, StoreUnreachableError
from tests.ops.log_stores import PostgresStore, records
from tests.proxy import Fault, Proxy

MARK = "test.marked.v1"


def test_a_lost_answer_is_told_before_it_is_followed_up(
    distant_log: PostgresLog, proxy: Proxy
) -> None:
    """Reliability E1: whoever waits behind can be told at once; the append itself goes through."""
    told: list[int] = []
    distant_log.on_doubt = lambda: told.append(distant_log.head())
    distant_log.append(2, records(2))
    assert not told

    proxy.arm(MARK.encode(), Fault.BEFORE)
    distant_log.append(3, [Record(3, MARK, b"marked")])

    assert told == [2]
    assert distant_log.head() == 3


def test_an_append_after_an_outage_that_a_reading_noticed_is_not_in_doubt(
    distant_log: PostgresLog, proxy: Proxy
) -> None:
    """Reliability E1: the database is back, so nobody who waits behind is turned away."""
    told: list[bool] = []
    distant_log.on_doubt = lambda: told.append(True)
    distant_log.append(2, records(2))
    proxy.cut_all()
    with pytest.raises(StoreUnreachableError):
        distant_log.head()
    assert distant_log.head() == 2

    distant_log.append(3, records(3))

    assert not told
    assert distant_log.head() == 3


def test_an_append_that_meets_the_outage_itself_is_in_doubt(
    distant_log: PostgresLog, proxy: Proxy
) -> None:
    """Control of the above: on the connection that ended, the answer is lost."""
    told: list[bool] = []
    distant_log.on_doubt = lambda: told.append(True)
    distant_log.append(2, records(2))
    proxy.cut_all()

    distant_log.append(3, records(3))

    assert told
    assert distant_log.head() == 3


def test_an_append_after_a_noticed_outage_looks_for_what_it_knows(
    distant_log: PostgresLog, postgres_store: PostgresStore, proxy: Proxy
) -> None:
    """Event-log 7: another server may stand there now, with a shorter log."""
    distant_log.append(2, records(2))
    fail_over(postgres_store, proxy)
    with pytest.raises(StoreUnreachableError):
        distant_log.head()
    assert distant_log.head() == 2

    with pytest.raises(LogRegressedError):
        distant_log.append(3, records(3))


def fail_over(store: PostgresStore, proxy: Proxy) -> None:
    """Let the log lose its last position and go on without it, as an asynchronous standby does."""
    store.database.execute(
        "SET session_replication_role = replica;"
        " DELETE FROM public.stored_events WHERE originator_version = 2"
    )
    other = store.open()
    other.append(2, records(2, 1, "other"))
    other.close()
    proxy.cut_all()


@pytest.mark.parametrize("learned", ["stored", "read"])
def test_append_after_a_failover_that_lost_events_is_refused(
    distant_log: PostgresLog, postgres_store: PostgresStore, proxy: Proxy, learned: str
) -> None:
    """Event-log 7: what was decided on events that the log has lost is not merged into it (E1)."""
    if learned == "stored":
        distant_log.append(2, records(2))
    else:
        other = postgres_store.open()
        other.append(2, records(2))
        other.close()
        assert distant_log.read(1, 5) == records(2)
    fail_over(postgres_store, proxy)

    for _ in range(2):
        with pytest.raises(LogRegressedError):
            distant_log.append(3, records(3))
    assert len(postgres_store.rows()) == 2


def test_append_after_a_time_without_a_database_looks_first(
    distant_log: PostgresLog,
    postgres_store: PostgresStore,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Event-log 7: given up once, the next append still asks which log it is that came back."""
    distant_log.append(2, records(2))
    monkeypatch.setattr(event_log, "OUTCOME_BOUND_SECONDS", 0.0)
    proxy.arm(MARK.encode(), Fault.BEFORE)
    with pytest.raises(OutcomeUnknownError):
        distant_log.append(3, [Record(3, MARK, b"marked")])
    fail_over(postgres_store, proxy)

    with pytest.raises((LogRegressedError, StoreUnreachableError)):
        distant_log.append(3, records(3))
    assert len(postgres_store.rows()) == 2


def test_an_append_that_does_not_look_merges_two_logs(
    distant_log: PostgresLog,
    postgres_store: PostgresStore,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Control: without the look the append lands on what somebody else wrote (E1)."""
    monkeypatch.setattr(PostgresLog, "_find_known", lambda _: None)
    distant_log.append(2, records(2))
    fail_over(postgres_store, proxy)

    distant_log.append(3, records(3))

    assert len(postgres_store.rows()) == 3
