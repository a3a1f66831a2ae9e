"""Which stores is the log's suite run against?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import make_conninfo

from ops.event_log import PostgresLog
from tests.ops.journal_desk import Desk
from tests.ops.log_stores import LOG_ID, MemoryStore, PostgresStore, SQLiteStore, records
from tests.ops.signed_places import PostgresPlace, SQLitePlace, grown
from tests.postgres import create_database, drop_database, socket_address
from tests.proxy import Proxy
from tests.signing import house_on_postgresql, house_on_sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.ops.log_stores import DurableStore, Log, Store
    from tests.ops.signed_places import Place
    from tests.postgres import Database


@pytest.fixture
def postgres_store(postgres_database: Database) -> PostgresStore:
    """Return the module's PostgreSQL store, emptied; for tests that leave its schema alone."""
    postgres_database.empty()
    return PostgresStore(postgres_database)


@pytest.fixture
def own_postgres_store() -> Iterator[PostgresStore]:
    """Yield a PostgreSQL store that this test has for itself, to change as it likes."""
    database = create_database()
    yield PostgresStore(database)
    drop_database(database)


@pytest.fixture
def proxy(postgres_store: PostgresStore) -> Iterator[Proxy]:
    """Yield a proxy in front of the database."""
    with Proxy(socket_address(postgres_store.database)) as opened:
        yield opened


@pytest.fixture
def distant_log(postgres_store: PostgresStore, proxy: Proxy) -> Iterator[PostgresLog]:
    """Yield a log with one record, whose every connection goes through the proxy."""
    url = make_conninfo(postgres_store.database.url, host="127.0.0.1", port=proxy.port)
    log = PostgresLog(url, LOG_ID)
    log.append(1, records(1))
    yield log
    log.close()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> SQLiteStore:
    """Return an SQLite store that this test has for itself."""
    store = SQLiteStore(tmp_path)
    store.migrate()
    return store


@pytest.fixture(params=["sqlite_store", "postgres_store"])
def durable_store(request: pytest.FixtureRequest) -> DurableStore:
    """Return each kind of store that outlives the process."""
    store: DurableStore = request.getfixturevalue(request.param)
    return store


@pytest.fixture(params=["memory", "sqlite_store", "postgres_store"])
def store(request: pytest.FixtureRequest) -> Store:
    """Return each kind of store."""
    if request.param == "memory":
        return MemoryStore()
    found: Store = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def log(store: Store) -> Iterator[Log]:
    """Yield an empty log in each kind of store."""
    opened = store.open(LOG_ID)
    yield opened
    opened.close()


@pytest.fixture
def durable_log(durable_store: DurableStore) -> Iterator[Log]:
    """Yield an empty log in each kind of store that outlives the process."""
    opened = durable_store.open(LOG_ID)
    yield opened
    opened.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Yield a journal in the default mode."""
    desk = Desk(tmp_path / "journal.db")
    yield desk
    desk.engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Yield a signed log in each kind of store."""
    if request.param == "sqlite":
        (tmp_path / "data").mkdir()
        with house_on_sqlite(tmp_path / "data") as house:
            yield SQLitePlace(tmp_path / "data", grown(house))
        return
    database = create_database()
    with house_on_postgresql(database) as house:
        yield PostgresPlace(database, grown(house))
    drop_database(database)
