"""Is a sink's position kept truly, by one process at a time, on each database?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
from msgspec import UNSET, structs
from sqlalchemy import Engine, create_engine

from api.deliveries import Ledger
from api.request_errors import UnavailableError
from domain.ids import SinkId
from domain.sinks import Sink
from ops import sink_ledger
from ops.sink_ledger import LEASE, SinkLedgers
from ops.vault import sqlite_engine
from tests.fixed_inputs import START, FixedInputs
from tests.postgres import Database, create_database, drop_database

SINK = Sink(
    id=SinkId("siem"),
    name="SIEM",
    kind="file",
    url=UNSET,
    types=(),
    after=4,
    begun=7,
    paused=False,
    created=START,
    changed=7,
)


@pytest.fixture
def database() -> Iterator[Database]:
    """A PostgreSQL database with the log's schema and the runtime role."""
    database = create_database()
    yield database
    drop_database(database)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """The table as the runtime role finds it, on each database."""
    if request.param == "sqlite":
        engine = sqlite_engine(tmp_path / "sessions.db")
        sink_ledger.create(engine)
    else:
        database: Database = request.getfixturevalue("database")
        owner = _postgresql(database.owner_url)
        sink_ledger.create(owner)
        owner.dispose()
        engine = _postgresql(database.url)
    yield engine
    engine.dispose()


def _postgresql(url: str) -> Engine:
    return create_engine("postgresql+psycopg://", creator=partial(psycopg.connect, url))


def test_one_process_at_a_time_holds_a_sink(engine: Engine) -> None:
    """So that events stay in order; who does not renew is followed by another."""
    inputs = FixedInputs()
    first, second = SinkLedgers(engine, inputs), SinkLedgers(engine, inputs)

    assert first.claim(SINK) == Ledger(position=4, begun=7)
    assert second.claim(SINK) is None
    second.delivered(SINK, 9)
    assert second.all()[SINK.id].position == 4
    inputs.advance(LEASE.total_seconds())
    assert second.claim(SINK) is not None
    assert first.claim(SINK) is None
    second.release()
    assert first.claim(SINK) is not None


def test_what_was_delivered_and_what_failed_is_kept(engine: Engine) -> None:
    """A success wipes out the failures before it; a failure moves no position."""
    inputs = FixedInputs()
    ledgers = SinkLedgers(engine, inputs)
    ledgers.claim(SINK)
    failed = Ledger(
        position=4,
        begun=7,
        failures=3,
        error="sink.refused",
        next_try=inputs.now() + LEASE,
        halted=7,
    )

    ledgers.failed(SINK, failed)
    assert ledgers.all() == {SINK.id: failed}
    ledgers.delivered(SINK, 9)

    delivered = Ledger(position=9, begun=7, delivered_at=inputs.now())
    assert SinkLedgers(engine, inputs).all() == {SINK.id: delivered}
    ledgers.forget(SINK.id)
    assert ledgers.all() == {}


def test_who_was_asked_to_begin_anew_has_nothing_to_say(engine: Engine) -> None:
    """A batch of before a replay does not move the position of the new run."""
    ledgers = SinkLedgers(engine, FixedInputs())
    ledgers.claim(SINK)
    ledgers.delivered(SINK, 9)

    ledgers.claim(structs.replace(SINK, after=2, begun=8))
    ledgers.delivered(SINK, 30)

    assert ledgers.all()[SINK.id].position == 2


def test_a_store_that_is_away_is_told_to_who_asks(tmp_path: Path) -> None:
    """503 and not a fault of ours, for whoever looks at the sinks."""
    engine = sqlite_engine(tmp_path / "empty.db")

    with pytest.raises(UnavailableError):
        SinkLedgers(engine, FixedInputs()).all()
    engine.dispose()


def test_whoever_is_alone_need_not_wait_for_the_dead(engine: Engine) -> None:
    """A process that was killed let go of nothing; by itself its time would have to pass."""
    inputs = FixedInputs()
    assert SinkLedgers(engine, inputs).claim(SINK) is not None
    alone = SinkLedgers(engine, inputs)
    assert alone.claim(SINK) is None
    alone.release()
    assert alone.claim(SINK) is None

    alone.release(all_=True)

    assert alone.claim(SINK) is not None
