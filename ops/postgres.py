"""How does Muniment reach PostgreSQL, and is what it reached safe to keep evidence in?"""

from __future__ import annotations

import ipaddress
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ops.store_errors import (
    AppendRefusedError,
    OutcomeUnknownError,
    SchemaError,
    StoreError,
    StoreFullError,
    StoreSlowError,
    StoreUnreachableError,
    UnsafeStoreError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROLE = "muniment_app"
SERVER_VERSION_MIN = 140000
CONNECT_TIMEOUT_SECONDS = 2
IDLE_IN_TRANSACTION_SECONDS = 5

# Reach the server through libpq's `options`; a stuck session would otherwise stop every write.
SESSION_OPTIONS = (
    "-c statement_timeout=10s -c lock_timeout=2s "
    f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_SECONDS}s"
)

# Without these an acknowledged event may be lost or damaged (`event-log.md` 5).
REQUIRED_SETTINGS = {
    "fsync": ("on",),
    "full_page_writes": ("on",),
    "synchronous_commit": ("on", "remote_apply"),
    "data_sync_retry": ("off",),
    "server_encoding": ("UTF8",),
    "in_hot_standby": ("off",),  # the same as pg_is_in_recovery()
}

# A key of its own for schema changes, apart from the keys that are taken from log ids.
SCHEMA_LOCK_KEY = 0x4D554E49

# Every role is judged that the session's user is or may become by SET ROLE.
ROLE_FAULTS = """
WITH roles AS (SELECT * FROM pg_roles WHERE pg_has_role(session_user, oid, 'MEMBER'))
SELECT fault FROM (VALUES
  ('may become a superuser or make, bypass or replicate roles',
   (SELECT bool_or(rolsuper OR rolcreaterole OR rolbypassrls OR rolreplication) FROM roles)),
  ('owns objects of this database',
   EXISTS (SELECT FROM pg_shdepend JOIN roles ON roles.oid = refobjid
     WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o'
       AND dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())))),
  ('may create objects in the schema public',
   (SELECT bool_or(has_schema_privilege(oid, 'public', 'CREATE')) FROM roles)),
  ('may change the log',
   (SELECT bool_or(has_any_column_privilege(oid, 'public.stored_events', 'UPDATE')
     OR has_table_privilege(oid, 'public.stored_events', 'UPDATE, DELETE, TRUNCATE, TRIGGER'))
    FROM roles))
) AS checks (fault, found) WHERE found
"""


def connection_string(url: str) -> str:
    """Return what libpq is to be told for `url`, the session's time limits included.

    TLS is verified (`sslmode=verify-full`) unless every host is loopback or a Unix socket.
    Raises UnsafeStoreError for a remote host with a weaker `sslmode`, and for a service file,
    which could name another host behind our back.
    """
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except psycopg.ProgrammingError as error:
        raise UnsafeStoreError("database url: not a connection URL of libpq") from error
    effective = _environment() | given
    if "service" in effective:
        raise UnsafeStoreError("database service: name the host in the URL")
    parameters: dict[str, str | int] = dict(given)
    if not _is_local(effective):
        if given.get("sslmode", "verify-full") != "verify-full":
            raise UnsafeStoreError("sslmode: a remote database needs verify-full")
        parameters["sslmode"] = "verify-full"
    parameters |= {
        "application_name": "muniment",
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "target_session_attrs": "read-write",
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 5000,
        # Ours come last and so win over the URL's: no setting may switch a limit off.
        "options": f"{given.get('options', '')} {SESSION_OPTIONS}".strip(),
    }
    return make_conninfo("", **parameters)


def _environment() -> dict[str, str]:
    """Return what libpq would take from variables such as PGHOST where the URL says nothing."""
    names = {"host", "hostaddr", "service"}
    defaults = {option.keyword.decode(): option.val for option in pq.Conninfo.get_defaults()}
    return {name: value.decode() for name, value in defaults.items() if name in names and value}


def _is_local(parameters: Mapping[str, str]) -> bool:
    places = [*parameters.get("host", "").split(","), *parameters.get("hostaddr", "").split(",")]
    return all(_is_local_place(place) for place in places)


def _is_local_place(place: str) -> bool:
    if place in {"", "localhost"} or place.startswith(("/", "@")):
        return True
    try:
        return ipaddress.ip_address(place).is_loopback
    except ValueError:
        return False


def check_server(connection: psycopg.Connection) -> tuple[str, ...]:
    """Refuse a server that may lose what it acknowledged; return warnings (`event-log.md` 5).

    `connection` is in autocommit mode. Raises UnsafeStoreError naming the setting.
    """
    if connection.info.server_version < SERVER_VERSION_MIN:
        raise UnsafeStoreError("server_version: PostgreSQL 14 or newer is needed")
    rows = connection.execute(
        "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)",
        ([*REQUIRED_SETTINGS, "synchronous_standby_names"],),
    ).fetchall()
    settings: dict[str, str] = dict(rows)
    check_settings(settings)
    if settings.get("synchronous_standby_names"):
        return ()
    return ("synchronous_standby_names is empty: a failover may lose acknowledged events",)


def check_settings(settings: Mapping[str, str]) -> None:
    """Refuse `settings`, by name, unless each required one is there and safe.

    Raises UnsafeStoreError naming the first that is not.
    """
    for name, allowed in REQUIRED_SETTINGS.items():
        if settings.get(name) not in allowed:
            raise UnsafeStoreError(f"{name}: {settings.get(name)}, not {' or '.join(allowed)}")


def check_role(connection: psycopg.Connection) -> None:
    """Refuse a runtime role that could change the log or take it apart (`event-log.md` 5).

    The session's user is judged, not the current role, which `RESET ROLE` would undo.
    Raises UnsafeStoreError.
    """
    fault = connection.execute(ROLE_FAULTS).fetchone()
    if fault is not None:
        raise UnsafeStoreError(f"role: {connection.info.user} {fault[0]}")


@contextmanager
def schema_change(owner_url: str) -> Iterator[psycopg.Connection]:
    """Yield a connection of the owner within one transaction that no other schema change meets.

    Everything done on it is committed at the end or not at all; a second caller waits at most
    60 s for the first. Raises UnsafeStoreError, StoreUnreachableError, StoreSlowError.
    """
    try:
        with connect(connection_string(owner_url)) as connection:
            check_server(connection)
            connection.execute("SET lock_timeout = '60s'")
            connection.execute("SET statement_timeout = '0'")
            connection.execute("SET idle_in_transaction_session_timeout = '60s'")
            # A session lock, taken before the transaction: one that had begun while it waited
            # would not see what the change before it made.
            connection.execute("SELECT pg_advisory_lock(%s)", (SCHEMA_LOCK_KEY,))
            with connection.transaction():
                yield connection
    except psycopg.Error as error:
        raise fault_of(error) from error


def connect(conninfo: str) -> psycopg.Connection:
    """Open a connection in autocommit mode; raises StoreUnreachableError within about 2 s."""
    try:
        return psycopg.connect(conninfo, autocommit=True)
    except psycopg.OperationalError as error:
        raise StoreUnreachableError("no connection to the database") from error


# One class for each answer of the server that is understood (PostgreSQL, appendix A).
FAULTS: dict[str, type[StoreError]] = {
    "53": StoreUnreachableError,
    "53100": StoreFullError,
    "40": StoreSlowError,
    "55P03": StoreSlowError,
    "57014": StoreSlowError,
    "57": OutcomeUnknownError,
    "08": OutcomeUnknownError,
    "25006": StoreUnreachableError,
    "42501": UnsafeStoreError,
    "3F": SchemaError,
    "42P01": SchemaError,
}


def fault_of(error: psycopg.Error) -> StoreError:
    """Return what `error`, met while a statement ran, says about the store.

    The server's own words stay out of the message, since they may quote values. A connection that
    ended without an answer leaves the outcome unknown; an answered error proves a rollback.
    """
    state = error.sqlstate
    if state is None:
        if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
            return OutcomeUnknownError("the connection ended without an answer")
        return AppendRefusedError("the driver cannot send these values")
    kind = FAULTS.get(state) or FAULTS.get(state[:2], AppendRefusedError)
    return kind(f"the database answered SQLSTATE {state}")
