"""Is a database refused that could lose, expose or let us change the log?"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ops.event_log import PostgresLog
from ops.postgres import REQUIRED_SETTINGS, check_server, check_settings, connection_string
from ops.store_errors import StoreUnreachableError, UnsafeStoreError
from tests.ops.log_stores import LOG_ID, PostgresStore, records
from tests.postgres import server_url, socket_address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "db.muniment.test"
SSL_REQUEST_BYTES = 8
CHUNK_BYTES = 1 << 16


# Addresses and TLS


def test_remote_database_is_reached_by_verified_tls_only() -> None:
    """A URL that says nothing of TLS gets the strictest, because libpq's default is none."""
    parameters = conninfo_to_dict(connection_string(f"postgresql://app@{HOST}/muniment"))

    assert parameters["sslmode"] == "verify-full"


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca"])
def test_remote_database_with_weaker_tls_is_refused(mode: str) -> None:
    """Nobody may switch verification off for a database on another machine (security 7.1)."""
    with pytest.raises(UnsafeStoreError, match="sslmode"):
        connection_string(f"postgresql://app@{HOST}/muniment?sslmode={mode}")


@pytest.mark.parametrize(
    "place",
    [
        "postgresql://app@localhost,db.muniment.test/muniment",
        "postgresql://app@localhost/muniment?hostaddr=192.0.2.1",
        "postgresql://app@db.muniment.test/muniment?hostaddr=127.0.0.1",
        "postgresql://app@192.0.2.1/muniment",
    ],
)
def test_host_counts_as_remote_when_any_part_of_it_is(place: str) -> None:
    """One remote host among several, or behind a local name, is remote."""
    assert conninfo_to_dict(connection_string(place))["sslmode"] == "verify-full"


@pytest.mark.parametrize(
    "place",
    [
        "postgresql://app@127.0.0.1/muniment",
        "postgresql://app@[::1]/muniment",
        "postgresql://app@localhost/muniment",
        "postgresql:///muniment?host=/run/postgresql",
        "postgresql:///muniment",
    ],
)
def test_local_database_needs_no_tls(place: str) -> None:
    """Loopback and Unix sockets leave no machine; the URL may still ask for more."""
    assert "sslmode" not in conninfo_to_dict(connection_string(place))
    separator = "&" if "?" in place else "?"
    strict = conninfo_to_dict(connection_string(f"{place}{separator}sslmode=verify-full"))
    assert strict["sslmode"] == "verify-full"


def test_host_from_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that libpq reads cannot move the database elsewhere unverified."""
    monkeypatch.setenv("PGHOST", HOST)

    parameters = conninfo_to_dict(connection_string("postgresql:///muniment"))

    assert parameters["sslmode"] == "verify-full"


@pytest.mark.parametrize("url", ["postgresql:///?service=other", "postgresql://[broken/x"])
def test_url_that_hides_or_garbles_its_host_is_refused(url: str) -> None:
    """A service file could name another host; a broken URL names none."""
    with pytest.raises(UnsafeStoreError):
        connection_string(url)


def test_time_limits_win_over_the_url() -> None:
    """No URL switches the limits off that keep a stuck session from stopping every write."""
    url = "postgresql:///muniment?options=-c%20lock_timeout%3D0"

    options = str(conninfo_to_dict(connection_string(url))["options"])

    assert options.index("lock_timeout=0") < options.index("lock_timeout=2s")


class TlsFront:
    """Ends TLS in front of a server that speaks none."""

    def __init__(self, upstream: tuple[str, int] | str, context: ssl.SSLContext) -> None:
        self._upstream = upstream
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Accept no more."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = self._listening.accept()
                thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.recv(SSL_REQUEST_BYTES)
            client.sendall(b"S")
            with (
                self._context.wrap_socket(client, server_side=True) as encrypted,
                self._connect() as server,
            ):
                self._pass_on(encrypted, server)

    def _connect(self) -> socket.socket:
        if isinstance(self._upstream, tuple):
            return socket.create_connection(self._upstream)
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._upstream)
        return server

    @staticmethod
    def _pass_on(client: ssl.SSLSocket, server: socket.socket) -> None:
        while True:
            ready = [client] if client.pending() else select.select([client, server], [], [])[0]
            for source, target in ((client, server), (server, client)):
                if source in ready:
                    data = source.recv(CHUNK_BYTES)
                    if not data:
                        return
                    target.sendall(data)


def write_certificate(directory: Path, name: str) -> Path:
    """Write a self-signed certificate for `name`, key included, and return its file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin.replace(year=2120))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / f"{name}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM),
    )
    return path


def tls_url(store: PostgresStore, front: TlsFront, trusted: Path) -> str:
    """Return the URL of `store` through `front` under a remote name, trusting `trusted`."""
    return make_conninfo(
        store.database.url,
        host=HOST,
        hostaddr="127.0.0.1",
        port=front.port,
        sslrootcert=str(trusted),
    )


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return the certificate of the database under its remote name."""
    return write_certificate(tmp_path, HOST)


@pytest.fixture
def front(postgres_store: PostgresStore, certificate: Path) -> Iterator[TlsFront]:
    """Yield an end of TLS in front of the database, with `certificate`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    opened = TlsFront(socket_address(postgres_store.database), context)
    yield opened
    opened.close()


def test_log_appends_and_reads_over_verified_tls(
    postgres_store: PostgresStore,
    front: TlsFront,
    certificate: Path,
) -> None:
    """A valid certificate is accepted, on the reading and on the writing connection."""
    log = PostgresLog(tls_url(postgres_store, front, certificate), LOG_ID)

    log.append(1, records(1))

    assert log.read(0, 1) == records(1)
    with log._store.get_connection() as connection:  # noqa: SLF001 - the writing connection itself
        assert connection.pgconn.ssl_in_use
    log.close()


def test_invalid_certificate_is_refused(
    postgres_store: PostgresStore,
    front: TlsFront,
    tmp_path: Path,
) -> None:
    """A database that cannot prove its name is not spoken to."""
    (tmp_path / "other").mkdir()
    other = write_certificate(tmp_path / "other", HOST)

    with pytest.raises(StoreUnreachableError):
        PostgresLog(tls_url(postgres_store, front, other), LOG_ID)


def test_invalid_certificate_passes_without_verification(
    postgres_store: PostgresStore,
    front: TlsFront,
) -> None:
    """Control: libpq's own idea of TLS, which the library would leave us, accepts anyone."""
    url = make_conninfo(
        postgres_store.database.url,
        host=HOST,
        hostaddr="127.0.0.1",
        port=front.port,
        sslmode="require",
    )

    with psycopg.connect(url) as connection:
        assert connection.pgconn.ssl_in_use


# Settings


@pytest.mark.parametrize("name", sorted(REQUIRED_SETTINGS))
@pytest.mark.parametrize("value", ["unsafe", None])
def test_unsafe_setting_is_refused(name: str, value: str | None) -> None:
    """Each setting on which durability rests is refused when it is wrong or not known."""
    settings = {known: allowed[0] for known, allowed in REQUIRED_SETTINGS.items()}
    check_settings(settings)
    del settings[name]
    if value is not None:
        settings[name] = value

    with pytest.raises(UnsafeStoreError, match=name):
        check_settings(settings)


@pytest.mark.parametrize("value", ["off", "local", "remote_write"])
def test_server_that_answers_before_the_sync_is_refused(
    own_postgres_store: PostgresStore,
    value: str,
) -> None:
    """`synchronous_commit` may be switched off for one role in one database: that is seen."""
    own_postgres_store.as_owner(
        f"ALTER ROLE muniment_app IN DATABASE {own_postgres_store.database.name}"
        f" SET synchronous_commit = {value}",
    )

    with pytest.raises(UnsafeStoreError, match="synchronous_commit"):
        own_postgres_store.open(LOG_ID)


def test_waiting_for_a_standby_to_apply_is_safe(own_postgres_store: PostgresStore) -> None:
    """`remote_apply` is stricter than `on` and accepted."""
    own_postgres_store.as_owner(
        f"ALTER ROLE muniment_app IN DATABASE {own_postgres_store.database.name}"
        " SET synchronous_commit = remote_apply",
    )

    own_postgres_store.open(LOG_ID).close()


def test_database_of_another_encoding_is_refused() -> None:
    """Text comes back as it went in only from UTF-8."""
    name = "muniment_test_latin"
    create = sql.SQL(
        "CREATE DATABASE {} TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
    )
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(create.format(sql.Identifier(name)))
        with (
            psycopg.connect(make_conninfo(server_url(), dbname=name), autocommit=True) as latin,
            pytest.raises(UnsafeStoreError, match="server_encoding"),
        ):
            check_server(latin)
        connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


def test_missing_standby_is_a_warning(postgres_store: PostgresStore) -> None:
    """Without a synchronous standby a failover may lose events: it is said, not refused."""
    log = postgres_store.open(LOG_ID)

    assert [warning.split()[0] for warning in log.warnings] == ["synchronous_standby_names"]
    log.close()


# The runtime role


def test_superuser_is_refused(postgres_store: PostgresStore) -> None:
    """The service never runs as one who may do anything (security 7.4)."""
    with pytest.raises(UnsafeStoreError, match="superuser"):
        PostgresLog(postgres_store.database.owner_url, LOG_ID)


@pytest.mark.parametrize(
    "grant",
    [
        "GRANT UPDATE ON stored_events TO {role}",
        "GRANT UPDATE (topic) ON stored_events TO {role}",
        "GRANT DELETE ON stored_events TO {role}",
        "GRANT TRUNCATE ON stored_events TO {role}",
        "GRANT TRIGGER ON stored_events TO {role}",
        "GRANT CREATE ON SCHEMA public TO {role}",
        "ALTER TABLE stored_events OWNER TO {role}",
        "CREATE TABLE {role}_table (); ALTER TABLE {role}_table OWNER TO {role}",
        "GRANT pg_write_all_data TO {role}",
        "ALTER ROLE {role} CREATEROLE",
        "ALTER ROLE {role} BYPASSRLS",
    ],
)
@pytest.mark.parametrize("inherits", [True, False], ids=["itself", "by SET ROLE"])
def test_role_that_may_change_the_log_is_refused(
    postgres_store: PostgresStore,
    grant: str,
    *,
    inherits: bool,
) -> None:
    """A runtime role that could touch history, or become one that can, is refused."""
    role = f"{postgres_store.database.name}_user"
    parent = f"{postgres_store.database.name}_parent"
    powerful = role if inherits else parent
    postgres_store.as_owner(f"CREATE ROLE {role} LOGIN NOINHERIT PASSWORD 'test'")
    postgres_store.as_owner(f"CREATE ROLE {parent}")
    postgres_store.as_owner(f"GRANT USAGE ON SCHEMA muniment TO {role}")
    postgres_store.as_owner(f"GRANT SELECT ON muniment.schema_version TO {role}")
    postgres_store.as_owner(f"GRANT SELECT, INSERT ON stored_events TO {role}")
    url = make_conninfo(postgres_store.database.owner_url, user=role, password="test")
    try:
        PostgresLog(url, LOG_ID).close()  # Without the grant it is accepted.
        postgres_store.as_owner(grant.format(role=powerful))
        postgres_store.as_owner(f"GRANT {parent} TO {role}")

        with pytest.raises(UnsafeStoreError, match="role"):
            PostgresLog(url, LOG_ID)
    finally:
        postgres_store.as_owner(f"REASSIGN OWNED BY {role}, {parent} TO CURRENT_USER")
        postgres_store.as_owner(f"DROP OWNED BY {role}, {parent}")
        postgres_store.as_owner(f"DROP ROLE {role}, {parent}")
