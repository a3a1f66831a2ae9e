"""Which keys seal personal data and secrets, and how is a value sealed, opened and erased?

One table of keys, each wrapped by the master key, which lies neither in the table nor in its
backups (transparency-log 5, security 7.3). Destroying a row erases everything sealed with it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import stat
from contextlib import contextmanager
from datetime import timedelta
from threading import Lock
from typing import TYPE_CHECKING, Final, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import json
from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Engine,
    LargeBinary,
    MetaData,
    Table,
    Text,
    create_engine,
    delete,
    event,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateSchema

from api.request_errors import UnavailableError
from domain.ids import CommandId, TenantId
from domain.sealed import ERASED, DestroyedKeyError, Erased, KeyId, Sealed, Secret
from domain.token_text import base62
from ops.postgres import ROLE

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from pathlib import Path

    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

    from ops.inputs import Inputs

Purpose = Literal["person", "password", "signing"]

POSTGRESQL_SCHEMA: Final = "muniment"
KEY_BYTES: Final = 32
CACHED_KEYS_MAX: Final = 10_000
RETRY_AFTER_SECONDS: Final = 1.0

_NONCE_BYTES: Final = 12
_SALT_BYTES: Final = 32
_KEYED_ID_LENGTH: Final = 43
_OTHERS_BITS: Final = 0o077
_OWN_FILE: Final = 0o600

# Keys of the installation itself. Ids of data keys have 22 characters, so none is ever the same.
_EMAIL_INDEX: Final = KeyId("email_index")
_IDEMPOTENCY: Final = KeyId("idempotency")
_CURSOR: Final = KeyId("cursor")
FIRST_SIGNING_KEY: Final = KeyId("signing")
# What an alias index is derived by: no UTF-8, so no e-mail has the same index as this.
_ALIASES: Final = b"\xffaliases"
_OWN_KEYS: Final = (_EMAIL_INDEX, _IDEMPOTENCY, _CURSOR, FIRST_SIGNING_KEY)
_INSTALLATION: Final = "installation"


class VaultError(Exception):
    """The vault cannot be used; `code` is stable, `detail` names the way out and no secret."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


class MasterKeyError(VaultError):
    """The master key is absent, malformed, readable by others, or not this vault's."""


class BrokenSealError(VaultError):
    """A sealed value was changed, moved to another place, or shown under another key."""


def read_master_key(given: Secret | None, path: Path) -> bytes:
    """The 32 bytes of the master key: from `given` when there, else from the file at `path`.

    Both hold base64. Raises MasterKeyError: `master_key.missing`, `.unsafe` (others may read the
    file) or `.malformed`.
    """
    encoded = _read_private(path) if given is None else given.reveal().encode()
    try:
        key = base64.b64decode(encoded.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise MasterKeyError(
            "master_key.malformed", f"the master key must be {KEY_BYTES} bytes in base64"
        )
    return key


def create_master_key(path: Path, inputs: Inputs) -> bytes:
    """Write a new master key to a file of mode 0600 that must not exist, durably; answer it."""
    key = inputs.random_bytes(KEY_BYTES)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWN_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(key) + b"\n")
        file.flush()
        os.fsync(descriptor)
    _sync_directory(path.parent)
    return key


def sqlite_engine(path: Path) -> Engine:
    """An engine for the vault's own SQLite file, made with mode 0600 when it does not exist.

    A rollback journal, since a write-ahead log would keep destroyed keys until it is reused;
    `secure_delete` overwrites them in the file. `synchronous=EXTRA` is FULL and also syncs the
    directory when the journal is removed: without that a power cut could undo a commit.
    Raises VaultError `vault.unsafe` when others may read the file.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, _OWN_FILE))
    if path.stat().st_mode & _OTHERS_BITS:
        raise VaultError("vault.unsafe", f"{path.name} must have mode 0600")
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 5.0})

    @event.listens_for(engine, "connect")
    def _harden(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        # The driver would commit CREATE TABLE by itself; so transactions are begun below.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=DELETE", "secure_delete=ON", "synchronous=EXTRA"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


class Vault:
    """The keys of one installation. Safe to use from several threads.

    The log's id is part of all that is authenticated, so that nothing sealed here passes for
    something of another installation.
    """

    def __init__(
        self,
        engine: Engine,
        master_key: bytes,
        log_id: str,
        inputs: Inputs,
        *,
        cached_keys_max: int = CACHED_KEYS_MAX,
    ) -> None:
        """Open an existing vault.

        Raises VaultError `vault.missing` or `.incomplete` when there is none, and MasterKeyError
        `master_key.wrong` when this key or log is not the vault's.
        """
        self._engine = engine
        self._master = AESGCM(master_key)
        self._log_id = log_id
        self._inputs = inputs
        self._keys = _keys_table(engine)
        self._lock = Lock()
        self._cached_keys_max = cached_keys_max
        self._cache: dict[KeyId, tuple[str, AESGCM]] = {}
        if not inspect(engine).has_table(self._keys.name, schema=self._keys.schema):
            raise VaultError("vault.missing", "there is no vault here; restore it, or run init")
        self._own = {key: self._own_key(key) for key in _OWN_KEYS}
        self._alias_key = hmac.digest(self._own[_EMAIL_INDEX], _ALIASES, "sha256")

    @classmethod
    def create(cls, engine: Engine, master_key: bytes, log_id: str, inputs: Inputs) -> Vault:
        """Make the table and the installation's own keys, durably and at once, and open it.

        On PostgreSQL by the owner, after the log's schema; the runtime role may then use it.
        Raises VaultError `vault.exists` when there is one already.
        """
        keys = _keys_table(engine)
        if inspect(engine).has_table(keys.name, schema=keys.schema):
            raise VaultError("vault.exists", "there is a vault here already")
        master = AESGCM(master_key)
        with engine.begin() as connection:
            if keys.schema is not None:
                connection.execute(CreateSchema(keys.schema, if_not_exists=True))
            keys.create(connection)
            if keys.schema is not None:
                connection.execute(text(f"GRANT SELECT, INSERT, DELETE ON {keys} TO {ROLE}"))
            for key in _OWN_KEYS:
                wrapped = _wrap(master, log_id, key, inputs)
                connection.execute(
                    insert(keys).values(
                        id=key,
                        subject=_INSTALLATION,
                        purpose=_INSTALLATION,
                        wrapped=wrapped,
                        created=inputs.now(),
                    )
                )
        return cls(engine, master_key, log_id, inputs)

    def create_key(self, subject: str, purpose: Purpose = "person") -> KeyId:
        """A new key of this subject, for its data or to sign with; durable on return.

        Waits for the disk, so not on the event loop. When the command that was to use it is
        refused, destroy it.
        """
        key = KeyId(self._inputs.id())
        wrapped = _wrap(self._master, self._log_id, key, self._inputs)
        row = insert(self._keys).values(
            id=key,
            subject=subject,
            purpose=purpose,
            wrapped=wrapped,
            created=self._inputs.now(),
        )
        with self._transaction() as connection:
            connection.execute(row)
        return key

    def destroy(self, *keys: KeyId) -> None:
        """Erase what these keys sealed, here and for ever; a key already gone is fine.

        Call it after the event that says so is durable, in every process that reads that event
        (a process may hold the key in memory), and again for all of them at start and after a
        restore. Never touches the installation's own keys, nor one that signs.
        """
        with self._lock:
            # Under the lock, or another thread could read a row before it goes and keep the key.
            data_keys = [key for key in keys if key not in _OWN_KEYS]
            for start in range(0, len(data_keys), 500):
                chunk = data_keys[start : start + 500]
                with self._transaction() as connection:
                    here = self._keys.c.id.in_(chunk) & (self._keys.c.purpose != "signing")
                    connection.execute(delete(self._keys).where(here))
            for key in data_keys:
                self._cache.pop(key, None)

    def erase(self, *subjects: str) -> int:
        """Erase all that was ever sealed of these subjects; answers how many keys there were.

        As with `destroy`: after the event, in every process that reads it, and at every start.
        """
        columns = self._keys.c
        erased = 0
        with self._lock:
            for start in range(0, len(subjects), 500):
                here = columns.subject.in_(subjects[start : start + 500])
                data = columns.purpose.in_(("person", "password"))
                with self._transaction() as connection:
                    erased += connection.execute(delete(self._keys).where(here, data)).rowcount
            gone = frozenset(subjects)
            for key in [key for key, (subject, _) in self._cache.items() if subject in gone]:
                del self._cache[key]
        return erased

    def destroy_unused(self, purpose: Purpose, used: Container[KeyId]) -> int:
        """Destroy the keys of a purpose that nothing uses; answers how many there were.

        Left over when a process ended between an event and the end of what it replaced, or between
        a key and its command. Keys younger than an hour may yet come to be used.
        """
        old = self._inputs.now() - timedelta(hours=1)
        columns = self._keys.c
        query = select(columns.id).where(columns.purpose == purpose, columns.created < old)
        with self._transaction() as connection:
            found = [KeyId(key) for key in connection.scalars(query)]
        unused = [key for key in found if key not in used]
        self.destroy(*unused)
        return len(unused)

    def seal(
        self, key: KeyId, value: Secret, *, command_id: CommandId, subject: str, field: str
    ) -> Sealed:
        """The value under the key, bound to log, command, subject and field.

        Raises DestroyedKeyError when there is no such key any more.
        """
        cipher = self._cipher(key)
        if cipher is None:
            raise DestroyedKeyError(key)
        plain = value.reveal().encode()
        random = self._inputs.random_bytes(_NONCE_BYTES + _SALT_BYTES)
        nonce, salt = random[:_NONCE_BYTES], random[_NONCE_BYTES:]
        place = self._place(command_id, subject, field)
        return Sealed(
            key=key,
            command_id=command_id,
            text=nonce + cipher.encrypt(nonce, salt + plain, place),
            commit=hmac.digest(salt, plain, "sha256"),
        )

    def open(self, sealed: Sealed, *, subject: str, field: str) -> str | Erased:
        """The value, or ERASED when its key was destroyed.

        Raises BrokenSealError `seal.broken` when the bytes were changed, stand at another place
        than they were sealed for, or do not fit their commitment.
        """
        cipher = self._cipher(sealed.key)
        if cipher is None:
            return ERASED
        place = self._place(sealed.command_id, subject, field)
        nonce, closed = sealed.text[:_NONCE_BYTES], sealed.text[_NONCE_BYTES:]
        try:
            opened = cipher.decrypt(nonce, closed, place)
        except (InvalidTag, ValueError):
            raise _broken(sealed, field) from None
        salt, plain = opened[:_SALT_BYTES], opened[_SALT_BYTES:]
        # GCM does not commit to its key: without this, one ciphertext could show two values.
        if not hmac.compare_digest(hmac.digest(salt, plain, "sha256"), sealed.commit):
            raise _broken(sealed, field)
        return plain.decode()

    def is_erased(self, key: KeyId) -> bool:
        """Whether the key was destroyed, and with it all that was sealed under it."""
        return self._cipher(key) is None

    def email_index(self, canonical: str) -> bytes:
        """The blind index of an e-mail address in its canonical form: 32 bytes, keyed."""
        return hmac.digest(self._own[_EMAIL_INDEX], canonical.encode(), "sha256")

    def alias_index(self, tenant: TenantId, type_: str, text: str) -> bytes:
        """The blind index of an alias in a tenant: 32 bytes, keyed apart from that of e-mails."""
        return hmac.digest(self._alias_key, json.encode((tenant, type_, text)), "sha256")

    def command_id_for(self, caller: str, method: str, path: str, key: str) -> CommandId:
        """The command id of a request with an Idempotency-Key (http-api 4): 43 characters.

        The caller is part of it, so nobody finds another's record.
        """
        place = json.encode(("command", caller, method, path, key))
        return CommandId(_text(hmac.digest(self._own[_IDEMPOTENCY], place, "sha256")))

    def fingerprint(self, key: str, method: str, path: str, query: str, body: bytes) -> str:
        """What a repeat with the same Idempotency-Key must equal (http-api 4): 43 characters."""
        derived = hmac.digest(self._own[_IDEMPOTENCY], json.encode(("body", key)), "sha256")
        # The encoded line contains no line feed, so where the body begins is unmistakable.
        line = json.encode((method, path, query)) + b"\n"
        return _text(hmac.digest(derived, line + body, "sha256"))

    @property
    def cursor_key(self) -> bytes:
        """The key that authenticates cursors (http-api 5), 32 bytes."""
        return self._own[_CURSOR]

    def sink_secret(self, sink: str) -> Secret:
        """The secret that signs what is sent to a sink: 43 characters, kept nowhere.

        It follows from a key of the installation and the sink's id, which is never given twice.
        """
        place = json.encode(("sink", sink))
        return Secret(_text(hmac.digest(self._own[_IDEMPOTENCY], place, "sha256")))

    def signing_key(self, key: KeyId = FIRST_SIGNING_KEY) -> Ed25519PrivateKey:
        """A key that signs checkpoints (transparency-log 2): the first one, or a later one.

        Raises VaultError `vault.incomplete` when it is not there.
        """
        return Ed25519PrivateKey.from_private_bytes(self._own.get(key) or self._own_key(key))

    def _place(self, command_id: CommandId, subject: str, field: str) -> bytes:
        return json.encode((self._log_id, command_id, subject, field))

    def _cipher(self, key: KeyId) -> AESGCM | None:
        cached = self._cache.get(key)
        if cached is not None:
            return cached[1]
        with self._lock:
            found = self._row(key)
            if found is None or key in _OWN_KEYS:
                return None
            subject, wrapped = found
            cipher = AESGCM(_unwrap(self._master, self._log_id, key, wrapped))
            self._cache[key] = (subject, cipher)
            if len(self._cache) > self._cached_keys_max:
                del self._cache[next(iter(self._cache))]  # the one that came first
            return cipher

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Begin a transaction; UnavailableError `store.unreachable` where it fails."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as fault:
            raise UnavailableError("store.unreachable", RETRY_AFTER_SECONDS) from fault

    def _row(self, key: KeyId) -> tuple[str, bytes] | None:
        """Answer the subject and the wrapped key."""
        query = select(self._keys.c.subject, self._keys.c.wrapped).where(self._keys.c.id == key)
        with self._transaction() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else (row.subject, row.wrapped)

    def _own_key(self, key: KeyId) -> bytes:
        row = self._row(key)
        if row is None:
            raise VaultError("vault.incomplete", f"the vault lacks its key {key}; restore it")
        return _unwrap(self._master, self._log_id, key, row[1])


def _keys_table(engine: Engine) -> Table:
    schema = None if engine.dialect.name == "sqlite" else POSTGRESQL_SCHEMA
    return Table(
        "vault_keys",
        MetaData(),
        Column("id", Text, primary_key=True),
        Column("subject", Text, nullable=False),
        Column("purpose", Text, nullable=False),
        Column("wrapped", LargeBinary, nullable=False),
        Column("created", DateTime(timezone=True), nullable=False),
        schema=schema,
    )


def _wrap(master: AESGCM, log_id: str, key: KeyId, inputs: Inputs) -> bytes:
    """A new random key, wrapped: 12 bytes of nonce, then the ciphertext."""
    nonce = inputs.random_bytes(_NONCE_BYTES)
    return nonce + master.encrypt(nonce, inputs.random_bytes(KEY_BYTES), json.encode((log_id, key)))


def _unwrap(master: AESGCM, log_id: str, key: KeyId, wrapped: bytes) -> bytes:
    nonce, closed = wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:]
    try:
        return master.decrypt(nonce, closed, json.encode((log_id, key)))
    except InvalidTag:
        raise MasterKeyError(
            "master_key.wrong", "this master key, or this log, does not belong to the vault"
        ) from None


def _broken(sealed: Sealed, field: str) -> BrokenSealError:
    return BrokenSealError(
        "seal.broken", f"{field} of command {sealed.command_id} under key {sealed.key} is damaged"
    )


def _text(number: bytes) -> str:
    return base62(int.from_bytes(number), _KEYED_ID_LENGTH)


def _read_private(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise MasterKeyError("master_key.missing", f"there is no master key {path.name}") from None
    if not stat.S_ISREG(mode) or mode & _OTHERS_BITS:
        raise MasterKeyError("master_key.unsafe", f"{path.name} must be a file of mode 0600")
    return path.read_bytes()


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
