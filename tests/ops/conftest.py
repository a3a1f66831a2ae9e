"""Which stores is the log's suite run against?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ops.log_stores import LOG_ID, MemoryStore, PostgresStore, SQLiteStore
from tests.postgres import create_database, drop_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.ops.log_stores import DurableStore, Log, Store
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
