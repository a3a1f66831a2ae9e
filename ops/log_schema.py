"""What stands around the log's table, so that history can only grow, and is it of this release?"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from psycopg import sql

from ops.data_directory import check_local, check_private
from ops.postgres import ROLE
from ops.store_errors import SchemaError, StoreSlowError

if TYPE_CHECKING:
    from pathlib import Path

    import psycopg

VERSION = 1
SQLITE_APPLICATION_ID = 0x4D554E49  # "MUNI"

# The table and type are the library's own, letter by letter; a test compares them with it. The
# library would make them itself, but not safely when several processes ask at once.
SQLITE_TABLE = (
    "CREATE TABLE IF NOT EXISTS stored_events (originator_id TEXT, originator_version INTEGER, "
    "topic TEXT, state BLOB, PRIMARY KEY (originator_id, originator_version)) WITHOUT ROWID"
)
POSTGRES_TABLE = (
    'CREATE TABLE IF NOT EXISTS "public"."stored_events" (originator_id "uuid" NOT NULL, '
    "originator_version bigint NOT NULL, topic text, state bytea, "
    "PRIMARY KEY (originator_id, originator_version)) WITH ("
    "    autovacuum_enabled = true,"
    "    autovacuum_vacuum_threshold = 100000000,"
    "    autovacuum_vacuum_scale_factor = 0.5,"
    "    autovacuum_analyze_threshold = 1000,"
    "    autovacuum_analyze_scale_factor = 0.01)"
)
POSTGRES_TYPE = (
    'CREATE TYPE "public"."stored_event_uuid" AS (originator_id "uuid", '
    "originator_version bigint, topic text, state bytea)"
)

# `event-log.md` 6. One log in a store, no gap, no second thoughts.
SQLITE_GUARDS = {
    "one_log": """CREATE UNIQUE INDEX one_log ON stored_events (originator_version)
WHERE originator_version = 1""",
    "log_next": """CREATE TRIGGER log_next BEFORE INSERT ON stored_events
WHEN NEW.topic IS NULL OR NEW.state IS NULL OR NEW.originator_version IS NOT
  (SELECT coalesce(max(originator_version), 0) + 1 FROM stored_events
   WHERE originator_id = NEW.originator_id)
BEGIN SELECT RAISE(ABORT, 'position is not head + 1'); END""",
    "log_no_update": """CREATE TRIGGER log_no_update BEFORE UPDATE ON stored_events
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END""",
    "log_no_delete": """CREATE TRIGGER log_no_delete BEFORE DELETE ON stored_events
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END""",
}

# The functions name the table with its schema: a temporary table of the same name, which any role
# may make, would otherwise be asked for the head.
POSTGRES_GUARDS = (
    """CREATE UNIQUE INDEX one_log ON public.stored_events (originator_version)
WHERE originator_version = 1""",
    """CREATE FUNCTION public.log_next() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE head bigint;
BEGIN
  SELECT coalesce(max(originator_version), 0) INTO head FROM public.stored_events
    WHERE originator_id = NEW.originator_id;
  IF NEW.originator_version <= head THEN
    RAISE EXCEPTION 'position % is taken', NEW.originator_version
      USING ERRCODE = 'unique_violation';
  ELSIF NEW.originator_version > head + 1 OR NEW.topic IS NULL OR NEW.state IS NULL THEN
    RAISE EXCEPTION 'position % does not follow %', NEW.originator_version, head
      USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $$""",
    """CREATE FUNCTION public.log_wake() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('muniment_log', (SELECT max(originator_version)::text FROM added));
  RETURN NULL;
END $$""",
    """CREATE FUNCTION public.log_frozen() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the log is append-only' USING ERRCODE = 'restrict_violation';
END $$""",
    """CREATE TRIGGER log_next BEFORE INSERT ON public.stored_events
FOR EACH ROW EXECUTE FUNCTION public.log_next()""",
    """CREATE TRIGGER log_wake AFTER INSERT ON public.stored_events
REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION public.log_wake()""",
    """CREATE TRIGGER log_frozen BEFORE UPDATE OR DELETE OR TRUNCATE ON public.stored_events
FOR EACH STATEMENT EXECUTE FUNCTION public.log_frozen()""",
)
POSTGRES_GUARD_NAMES = frozenset({"one_log", "log_next", "log_wake", "log_frozen"})

# PUBLIC may create in the schema public up to PostgreSQL 14; the role must not.
POSTGRES_GRANTS = (
    "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    "REVOKE ALL ON public.stored_events FROM PUBLIC",
    "GRANT USAGE ON SCHEMA public TO muniment_app",
    "GRANT SELECT, INSERT ON public.stored_events TO muniment_app",
    "GRANT USAGE ON SCHEMA muniment TO muniment_app",
    "GRANT SELECT ON muniment.schema_version TO muniment_app",
)

# Roles belong to the whole server, so two databases may make this one at the same moment.
POSTGRES_ROLE = """DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'muniment_app') THEN
    CREATE ROLE muniment_app LOGIN;
  END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$"""


def migrate_sqlite(path: Path) -> None:
    """Bring the log's file to this release's schema, making it (mode 0600) where there is none.

    Repeating it changes nothing. Raises SchemaError for a newer or foreign file, UnsafeStoreError
    for an unsafe place, StoreSlowError when another process holds the file for 10 s.
    """
    check_private(path.parent)
    check_local(path.parent)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Changing the journal mode does not wait for others as statements do: so take turns.
        fcntl.flock(directory, fcntl.LOCK_EX)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        _migrate_file(path)
        # The file's own name must survive a power cut as well as its content does.
        os.fsync(directory)
    finally:
        os.close(directory)


def _migrate_file(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as connection:
        try:
            version = _sqlite_version(connection)
            if version > VERSION:
                raise SchemaError(f"schema {version} is newer than {VERSION}")
            if version == 0:
                _make_sqlite_schema(connection)
        except sqlite3.OperationalError as error:
            raise StoreSlowError("another process uses the file") from error
        except sqlite3.DatabaseError as error:
            raise SchemaError("this file is not a database") from error


def _make_sqlite_schema(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("BEGIN IMMEDIATE")
    for statement in (SQLITE_TABLE, *SQLITE_GUARDS.values()):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={SQLITE_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")


def _sqlite_version(connection: sqlite3.Connection) -> int:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != SQLITE_APPLICATION_ID and (application or version or tables):
        raise SchemaError("this database file is not Muniment's")
    return int(version)


def check_sqlite(connection: sqlite3.Connection) -> None:
    """Refuse a file whose schema is not exactly this release's; raises SchemaError.

    A trigger that somebody dropped or changed is a schema fault too: without it history could be
    rewritten by mistake.
    """
    version = _sqlite_version(connection)
    if version != VERSION:
        raise SchemaError(f"schema {version}, not {VERSION}: run muniment migrate")
    found = dict(
        connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type IN ('index', 'trigger')"
            " AND sql IS NOT NULL",
        ),
    )
    if found != SQLITE_GUARDS:
        names = sorted(dict(found.items() ^ SQLITE_GUARDS.items()))
        raise SchemaError(f"the log's guards were changed: {', '.join(names)}")


def migrate_postgres(connection: psycopg.Connection, password: str | None = None) -> None:
    """Bring the database to this release's schema and grants, and make the role `muniment_app`.

    `connection` comes from `ops.postgres.schema_change` with the owner's URL. `password`, when
    given, becomes the role's; it leaves this process only as a SCRAM verifier, so that no server
    log holds it. Repeating it changes nothing else. Raises SchemaError for a newer schema.
    """
    connection.execute(POSTGRES_ROLE)
    connection.execute("CREATE SCHEMA IF NOT EXISTS muniment")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS muniment.schema_version ("
        "only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), version integer NOT NULL)",
    )
    row = connection.execute("SELECT version FROM muniment.schema_version").fetchone()
    if row is None:
        for statement in (POSTGRES_TABLE, POSTGRES_TYPE, *POSTGRES_GUARDS):
            connection.execute(statement)
        connection.execute("INSERT INTO muniment.schema_version (version) VALUES (%s)", (VERSION,))
    elif row[0] > VERSION:
        raise SchemaError(f"schema {row[0]} is newer than {VERSION}")
    for statement in POSTGRES_GRANTS:
        connection.execute(statement)
    if password is not None:
        _set_password(connection, password)


def _set_password(connection: psycopg.Connection, password: str) -> None:
    verifier = connection.pgconn.encrypt_password(
        password.encode(),
        ROLE.encode(),
        b"scram-sha-256",
    )
    connection.execute(
        sql.SQL("ALTER ROLE {role} PASSWORD {verifier}").format(
            role=sql.Identifier(ROLE),
            verifier=sql.Literal(verifier.decode()),
        ),
    )


def check_postgres(connection: psycopg.Connection) -> None:
    """Refuse a database whose schema is not exactly this release's; raises SchemaError."""
    present = connection.execute(
        "SELECT to_regclass('muniment.schema_version') IS NOT NULL",
    ).fetchone()
    row = None
    if present == (True,):
        row = connection.execute("SELECT version FROM muniment.schema_version").fetchone()
    if row != (VERSION,):
        version = row[0] if row else 0
        raise SchemaError(f"schema {version}, not {VERSION}: run muniment migrate")
    found = connection.execute(
        "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled IN ('O', 'A')"
        " AND tgrelid = to_regclass('public.stored_events')"
        " UNION SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " WHERE indrelid = to_regclass('public.stored_events') AND indisunique AND indisvalid",
    ).fetchall()
    missing = POSTGRES_GUARD_NAMES - {name for (name,) in found}
    if missing:
        raise SchemaError(f"the log's guards were changed: {', '.join(sorted(missing))}")
