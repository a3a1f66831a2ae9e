"""How does an installation come to be: log, vault, master key, tenant main, the first owner?"""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType
from sqlalchemy import Engine, text

from domain import names
from domain.commands import Command, Context
from domain.events import Actor
from domain.ids import MAIN, BindingId, CommandId, RoleId, TenantId, UserId
from domain.permissions import MANAGED_ROLES
from domain.sealed import KeyId, Sealed, Secret
from domain.tenants import OpenLog
from domain.users import CreateUser
from ops import checkpoints, sessions, sink_ledger
from ops.checkpoints import Checkpoints, origin_of
from ops.data_directory import lock_data_directory
from ops.event_log import PostgresLog, SQLiteLog
from ops.log_schema import migrate_postgres, migrate_sqlite
from ops.postgres import ROLE, schema_change
from ops.settings import Settings, SettingsError
from ops.stores import (
    LOG_FILE,
    MASTER_KEY_FILE,
    SESSIONS_FILE,
    VAULT_FILE,
    StoredLog,
    postgres_engine,
)
from ops.vault import Vault, create_master_key, read_master_key, sqlite_engine
from ops.writer import Outcome, Writer, settle
from projections import (
    journal,
    runner,  # noqa: F401 - importing it tells `views` of every table that there is
    views,
)
from projections.views import open_postgresql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.inputs import Inputs

SYSTEM = Actor(type="system", id="muniment", via="cli")


class AlreadySetUpError(Exception):
    """The store has a log, and so an owner, already; nothing was changed."""


class NewUser(Struct, frozen=True, kw_only=True):
    """A person in plain; `password_hash` is an encoded argon2id hash."""

    email: str
    first_name: str = ""
    last_name: str = ""
    password_hash: Secret | None = None


def sealed_user(
    vault: Vault,
    inputs: Inputs,
    context: Context,
    person: NewUser,
    *,
    tenants: tuple[TenantId, ...],
    instance_owner: bool = False,
) -> CreateUser:
    """Answer the command that makes this person a user, sealed for the context's command.

    Raises ValueError for an e-mail or name that is none.
    """
    user = UserId(inputs.id())
    own_key = vault.create_key(user)

    def sealed(field: str, value: Secret, key: KeyId) -> Sealed:
        return vault.seal(key, value, command_id=context.command_id, subject=user, field=field)

    def named(field: str, value: str) -> Sealed | UnsetType:
        return sealed(field, Secret(names.display_name(value)), own_key) if value else UNSET

    password: Sealed | UnsetType = UNSET
    if person.password_hash is not None:
        password = sealed("password", person.password_hash, vault.create_key(user, "password"))
    return CreateUser(
        id=user,
        email=sealed("email", Secret(names.email(person.email)), own_key),
        email_index=vault.email_index(names.canonical_email(person.email)),
        first_name=named("first_name", person.first_name),
        last_name=named("last_name", person.last_name),
        password=password,
        tenants=tenants,
        default_bindings=tuple(BindingId(inputs.id()) for _ in tenants),
        instance_owner=instance_owner,
    )


def set_up(settings: Settings, inputs: Inputs, owner: NewUser) -> UserId:
    """Make an installation with its first instance owner; answer that user's id.

    Raises AlreadySetUpError where there is one, ValueError for an e-mail that is none, and
    StoreError, VaultError or SettingsError where it cannot be made.
    """
    names.email(owner.email)
    log_id = str(UUID(bytes=inputs.random_bytes(16), version=4))
    with _new_stores(settings, inputs, log_id) as (log, vault):
        context = system_context(inputs)
        command = sealed_user(vault, inputs, context, owner, tenants=(MAIN,), instance_owner=True)
        roles = tuple(RoleId(inputs.id()) for _ in MANAGED_ROLES)
        opened = OpenLog(log_id=log_id, managed_roles=roles)
        # Both wait when the writer starts, so they are one append: a log with an owner, or none.
        give_together(log, inputs, ((opened, system_context(inputs)), (command, context)))
    return command.id


def migrate(settings: Settings) -> None:
    """Bring the store's schema to this release's, forward only; the log's rows stay as they are.

    Raises SettingsError without the owner's URL on PostgreSQL, StoreError where it cannot be.
    """
    if settings.database_url is None:
        with lock_data_directory(settings.data_dir):
            migrate_sqlite(settings.data_dir / LOG_FILE)
            for name, create in (
                (SESSIONS_FILE, sessions.create),
                (SESSIONS_FILE, sink_ledger.create),
                (VAULT_FILE, checkpoints.create),
            ):
                engine = sqlite_engine(settings.data_dir / name)
                create(engine)
                engine.dispose()
        return
    if settings.owner_database_url is None:
        raise SettingsError("migrate on PostgreSQL needs OWNER_DATABASE_URL")
    with schema_change(settings.owner_database_url.reveal()) as connection:
        migrate_postgres(connection, _password_of(settings.database_url))
    owner = postgres_engine(settings.owner_database_url)
    sessions.create(owner)
    checkpoints.create(owner)
    sink_ledger.create(owner)
    _make_views(owner)
    owner.dispose()


def _make_views(owner: Engine) -> None:
    with open_postgresql(owner).begin() as connection:
        views.create(connection, role=ROLE)
        journal.create(connection, role=ROLE)


def give_together(
    log: StoredLog, inputs: Inputs, given: tuple[tuple[Command, Context], ...]
) -> list[Outcome]:
    """Append the events of several commands on an empty log as one batch."""
    writer = Writer(log, inputs, settle)
    waiting: list[Future[Outcome]] = []
    for command, context in given:
        future: Future[Outcome] = Future()
        writer.submit(command, context, future)
        waiting.append(future)
    writer.start()
    writer.stop()
    return [future.result() for future in waiting]


def system_context(inputs: Inputs) -> Context:
    """Answer the circumstances of a command that the operator gives on the host."""
    return Context(
        at=inputs.now(),
        actor=SYSTEM,
        command_id=CommandId(inputs.id()),
        correlation_id=inputs.id(),
    )


@contextmanager
def _new_stores(
    settings: Settings, inputs: Inputs, log_id: str
) -> Iterator[tuple[StoredLog, Vault]]:
    with ExitStack() as stack:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if settings.database_url is None:
            yield _new_embedded(settings, inputs, log_id, stack)
        else:
            yield _new_postgres(settings, settings.database_url, inputs, log_id, stack)


def _new_embedded(
    settings: Settings, inputs: Inputs, log_id: str, stack: ExitStack
) -> tuple[StoredLog, Vault]:
    directory = settings.data_dir
    stack.enter_context(lock_data_directory(directory))
    migrate_sqlite(directory / LOG_FILE)
    log = SQLiteLog(directory / LOG_FILE, log_id)
    stack.callback(log.close)
    if log.is_taken(1):
        raise AlreadySetUpError
    # An earlier attempt may have ended before the log began; its keys open nothing.
    for name in (VAULT_FILE, SESSIONS_FILE):
        for suffix in ("", "-wal", "-shm"):
            (directory / f"{name}{suffix}").unlink(missing_ok=True)
    keys, sign_ins = sqlite_engine(directory / VAULT_FILE), sqlite_engine(directory / SESSIONS_FILE)
    stack.callback(keys.dispose)
    stack.callback(sign_ins.dispose)
    vault = _new_vault(keys, settings, inputs, log_id)
    sessions.create(sign_ins)
    sink_ledger.create(sign_ins)
    return log, vault


def _new_postgres(
    settings: Settings, url: Secret, inputs: Inputs, log_id: str, stack: ExitStack
) -> tuple[StoredLog, Vault]:
    if settings.owner_database_url is None:
        raise SettingsError("init on PostgreSQL needs OWNER_DATABASE_URL besides DATABASE_URL")
    owner_url = settings.owner_database_url
    with schema_change(owner_url.reveal()) as connection:
        migrate_postgres(connection, _password_of(url))
    # Held to the end: another init must not take the keys of this one for leftovers.
    stack.enter_context(schema_change(owner_url.reveal()))
    log = PostgresLog(url.reveal(), log_id)
    stack.callback(log.close)
    if log.is_taken(1):
        raise AlreadySetUpError
    owner = postgres_engine(owner_url)
    stack.callback(owner.dispose)
    _drop_leftovers(owner)
    vault = _new_vault(owner, settings, inputs, log_id)
    sessions.create(owner)
    sink_ledger.create(owner)
    _make_views(owner)
    return log, vault


def _new_vault(engine: Engine, settings: Settings, inputs: Inputs, log_id: str) -> Vault:
    """Make the keys, and beside them the place of what they sign, under its first origin."""
    vault = Vault.create(engine, _master_key(settings, inputs), log_id, inputs)
    checkpoints.create(engine)
    Checkpoints(engine).begin(vault, origin_of(settings.public_url, log_id), inputs)
    return vault


def _password_of(url: Secret) -> str | None:
    password = urlsplit(url.reveal()).password
    return None if password is None else unquote(password)


def _master_key(settings: Settings, inputs: Inputs) -> bytes:
    path = settings.data_dir / MASTER_KEY_FILE
    if settings.master_key is None and not path.exists():
        return create_master_key(path, inputs)
    return read_master_key(settings.master_key, path)


def _drop_leftovers(engine: Engine) -> None:
    """Take away the keys of an attempt that ended before the log began."""
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS muniment.vault_keys"))
    checkpoints.drop(engine)
