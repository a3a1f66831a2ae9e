"""Is a schema that is not exactly ours refused, and is the library's table what we think it is?"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import psycopg
import pytest
from eventsourcing.postgres import PostgresAggregateRecorder, PostgresDatastore
from eventsourcing.sqlite import SQLiteAggregateRecorder, SQLiteDatastore
from psycopg.conninfo import conninfo_to_dict

from ops.log_readers import PostgresReader, SQLiteReader
from ops.log_schema import (
    POSTGRES_GUARDS,
    POSTGRES_TABLE,
    POSTGRES_TYPE,
    SQLITE_APPLICATION_ID,
    SQLITE_GUARDS,
    SQLITE_TABLE,
    VERSION,
    migrate_postgres,
    migrate_sqlite,
)
from ops.postgres import schema_change
from ops.store_errors import SchemaError, UnsafeStoreError
from tests.ops.log_stores import LOG_ID, PostgresStore, SQLiteStore

if TYPE_CHECKING:
    from pathlib import Path


SET_VERSION = "UPDATE muniment.schema_version SET version = {}"


def squeezed(statement: str) -> str:
    """Return `statement` without differences of blanks."""
    return re.sub(r"\s*([(),])\s*", r"\1", " ".join(statement.split()))


def test_sqlite_table_is_the_library_s(tmp_path: Path) -> None:
    """The statement that makes the table is the one of the pinned library version."""
    store = SQLiteDatastore(str(tmp_path / "library.db"))

    statements = SQLiteAggregateRecorder(store).create_table_statements

    assert [squeezed(SQLITE_TABLE)] == [squeezed(statement) for statement in statements]
    store.close()


def test_postgres_table_and_type_are_the_library_s(postgres_store: PostgresStore) -> None:
    """The statements that make table and type are those of the pinned library version."""
    parameters = conninfo_to_dict(postgres_store.database.owner_url)
    store = PostgresDatastore(
        str(parameters["dbname"]),
        str(parameters.get("host", "")),
        str(parameters.get("port", "")),
        str(parameters.get("user", "")),
        str(parameters.get("password", "")),
    )

    statements = PostgresAggregateRecorder(store).sql_create_statements

    assert [squeezed(POSTGRES_TABLE), squeezed(POSTGRES_TYPE)] == [
        squeezed(statement.as_string()) for statement in statements
    ]
    store.close()


def test_comparison_of_statements_notices_a_change() -> None:
    """Control: a statement that differs in more than blanks is not taken for the same."""
    assert squeezed(SQLITE_TABLE) != squeezed(SQLITE_TABLE.replace("BLOB", "TEXT"))
    assert squeezed("a ( b,c )") == squeezed("a(b, c)")


def test_migrated_file_is_marked_and_private(tmp_path: Path) -> None:
    """The file says whose it is and of which schema, and nobody else may read it."""
    path = tmp_path / "log.db"
    migrate_sqlite(path)

    with closing(sqlite3.connect(path)) as connection:
        marks = [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version")
        ]

    assert marks == [SQLITE_APPLICATION_ID, VERSION]
    assert path.stat().st_mode & 0o777 == 0o600


def test_migrations_repeated_change_nothing(
    sqlite_store: SQLiteStore,
    postgres_store: PostgresStore,
) -> None:
    """Migrating what is migrated is quiet."""
    for store in (sqlite_store, postgres_store):
        store.migrate()
        store.open(LOG_ID).close()


@pytest.mark.parametrize("version", [0, VERSION + 1], ids=["older", "newer"])
def test_other_schema_versions_are_refused(
    sqlite_store: SQLiteStore,
    own_postgres_store: PostgresStore,
    version: int,
) -> None:
    """A schema older or newer than this release's is refused, naming the remedy."""
    sqlite_store.as_owner(f"PRAGMA user_version={version}")
    own_postgres_store.as_owner(SET_VERSION.format(version))

    for store in (sqlite_store, own_postgres_store):
        with pytest.raises(SchemaError, match="muniment migrate"):
            store.open(LOG_ID)


def test_migrating_a_newer_schema_is_refused(
    sqlite_store: SQLiteStore,
    own_postgres_store: PostgresStore,
) -> None:
    """Migrations go forward only."""
    sqlite_store.as_owner(f"PRAGMA user_version={VERSION + 1}")
    own_postgres_store.as_owner(SET_VERSION.format(VERSION + 1))

    for store in (sqlite_store, own_postgres_store):
        with pytest.raises(SchemaError, match="newer"):
            store.migrate()


def test_foreign_file_is_refused(tmp_path: Path) -> None:
    """Another program's database is neither opened nor migrated."""
    path = tmp_path / "log.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    path.chmod(0o600)

    with pytest.raises(SchemaError, match="not Muniment's"):
        migrate_sqlite(path)
    with pytest.raises(SchemaError, match="not Muniment's"):
        SQLiteReader(path)


def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """Whatever else lies in the log's place is left as it is."""
    path = tmp_path / "log.db"
    path.write_bytes(b"something else" * 100)
    path.chmod(0o600)

    with pytest.raises(SchemaError, match="not a database"):
        migrate_sqlite(path)

    assert path.read_bytes() == b"something else" * 100


@pytest.mark.parametrize("guard", sorted(SQLITE_GUARDS))
def test_file_without_a_guard_is_refused(sqlite_store: SQLiteStore, guard: str) -> None:
    """A log whose trigger or index was dropped is not served: history could be rewritten."""
    kind = "INDEX" if guard == "one_log" else "TRIGGER"
    sqlite_store.as_owner(f"DROP {kind} {guard}")

    with pytest.raises(SchemaError, match=guard):
        sqlite_store.open(LOG_ID)


@pytest.mark.parametrize(
    ("statement", "trigger"),
    [
        ("DROP TRIGGER log_next ON stored_events", "log_next"),
        ("DROP TRIGGER log_wake ON stored_events", "log_wake"),
        ("DROP TRIGGER log_frozen ON stored_events", "log_frozen"),
        ("ALTER TABLE stored_events DISABLE TRIGGER log_frozen", "log_frozen"),
        ("ALTER TABLE stored_events ENABLE REPLICA TRIGGER log_next", "log_next"),
        ("DROP INDEX one_log", "one_log"),
    ],
)
def test_database_without_a_guard_is_refused(
    own_postgres_store: PostgresStore,
    statement: str,
    trigger: str,
) -> None:
    """A log whose trigger or index was dropped or disabled is not served either."""
    own_postgres_store.as_owner(statement)

    with pytest.raises(SchemaError, match=trigger):
        own_postgres_store.open(LOG_ID)


def test_database_without_schema_is_refused(own_postgres_store: PostgresStore) -> None:
    """Serving never makes a schema; it says that there is none."""
    own_postgres_store.as_owner("DROP SCHEMA muniment CASCADE")

    with pytest.raises(SchemaError, match="schema 0"):
        PostgresReader(own_postgres_store.database.url)


def test_failed_migration_leaves_nothing_behind(postgres_store: PostgresStore) -> None:
    """A schema change is made whole or not at all."""

    def change_half() -> None:
        with schema_change(postgres_store.database.owner_url) as connection:
            connection.execute("CREATE TABLE half_done (a int)")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change_half()

    with pytest.raises(psycopg.errors.UndefinedTable):
        postgres_store.as_owner("SELECT * FROM half_done")


def test_password_reaches_the_server_as_a_verifier_only(postgres_store: PostgresStore) -> None:
    """The role's password is not in any statement, so no log of the server holds it."""
    with schema_change(postgres_store.database.owner_url) as connection:
        migrate_postgres(connection, "test-role-password")

    with psycopg.connect(postgres_store.database.owner_url) as connection:
        row = connection.execute(
            "SELECT rolpassword FROM pg_authid WHERE rolname = 'muniment_app'",
        ).fetchone()

    assert row is not None
    assert row[0].startswith("SCRAM-SHA-256$")


def test_guards_never_ignore_a_conflict() -> None:
    """To do nothing on a conflict would report success and lose the event (event-log 6)."""
    statements = " ".join([*SQLITE_GUARDS.values(), *POSTGRES_GUARDS]).upper()

    assert "ON CONFLICT" not in statements
    assert "OR IGNORE" not in statements


@pytest.mark.parametrize("name", ["log.db", ":memory:", "file:log.db?mode=memory"])
def test_log_that_is_no_absolute_path_is_refused(name: str, tmp_path: Path) -> None:
    """A log in memory, or in a place that depends on where one stands, is refused."""
    with pytest.raises(UnsafeStoreError):
        SQLiteReader(type(tmp_path)(name))
