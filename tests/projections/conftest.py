"""Which databases do the views' tests run on?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, make_url, text

from ops.postgres import ROLE
from projections import journal, views
from tests.postgres import create_database, drop_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import URL, Engine

    from tests.postgres import Database


def driver_url(url: str) -> URL:
    """Answer a connection string of libpq as SQLAlchemy spells it."""
    parameters = dict(part.split("=", 1) for part in url.split())
    found = make_url("postgresql+psycopg://")
    return found.update_query_dict(parameters)


@pytest.fixture(scope="module")
def sqlite_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Yield views in a file."""
    engine = views.open_sqlite(tmp_path_factory.mktemp("views") / "views.db")
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def postgresql_database() -> Iterator[Database]:
    """Yield a database whose owner has made the views' tables."""
    database = create_database()
    owner = create_engine(driver_url(database.owner_url))
    with views.open_postgresql(owner).begin() as connection:
        views.create(connection, role=ROLE)
    owner.dispose()
    yield database
    drop_database(database)


@pytest.fixture(scope="module")
def postgresql_engine(postgresql_database: Database) -> Iterator[Engine]:
    """Yield views in PostgreSQL, as the runtime role."""
    engine = create_engine(driver_url(postgresql_database.url))
    yield views.open_postgresql(engine)
    engine.dispose()


@pytest.fixture(scope="module", params=["sqlite_engine", "postgresql_engine"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Return the views in each kind of database; whoever follows another log begins anew."""
    found: Engine = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def journal_database() -> Iterator[Database]:
    """Yield a PostgreSQL database with the runtime role."""
    database = create_database()
    yield database
    drop_database(database)


@pytest.fixture(params=["sqlite", "postgresql"])
def journal_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Yield an empty journal in each kind of database, as the running service has it."""
    if request.param == "sqlite":
        found = journal.open_sqlite(tmp_path / "journal.db")
    else:
        database: Database = request.getfixturevalue("journal_database")
        owner = create_engine(driver_url(database.owner_url))
        with views.open_postgresql(owner).begin() as connection:
            connection.execute(text(f"DROP SCHEMA IF EXISTS {views.SCHEMA} CASCADE"))
            connection.execute(text(f"CREATE SCHEMA {views.SCHEMA}"))
            connection.execute(text(f"GRANT USAGE ON SCHEMA {views.SCHEMA} TO {ROLE}"))
            journal.create(connection, role=ROLE)
        owner.dispose()
        found = views.open_postgresql(create_engine(driver_url(database.url)))
    yield found
    found.dispose()
