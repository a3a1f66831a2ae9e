"""What is told of a database that does not answer, by everything that asks it?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from api.request_errors import UnavailableError
from domain.ids import CommandId
from domain.sealed import KeyId, Sealed, Secret
from ops.settings import read_settings
from ops.setup import NewUser, set_up
from ops.stores import open_stores, postgres_engine
from ops.vault import Vault, sqlite_engine
from projections.views import UnreachableError, Views
from tests.fixed_inputs import FixedInputs
from tests.postgres import create_database, drop_database

AWAY = Secret("postgresql://muniment@127.0.0.1:1/muniment")


def one(connection: Connection) -> object:
    """Any question."""
    return connection.execute(text("SELECT 1")).scalar()


@pytest.fixture
def away() -> Engine:
    """A database at whose address nobody listens."""
    return postgres_engine(AWAY)


def test_a_database_away_is_said_as_its_driver_says_it(away: Engine) -> None:
    """Whoever uses the pool knows one kind of error, also for a connection that cannot be made."""
    with pytest.raises(OperationalError), away.connect():
        pass


def test_views_away_are_unreachable(away: Engine) -> None:
    """A list is refused as temporarily unavailable, and is no fault of ours."""
    with pytest.raises(UnreachableError):
        asyncio.run(Views(away).ask(one))


@pytest.mark.parametrize(
    "ask",
    [
        lambda vault: vault.create_key("ada"),
        lambda vault: vault.destroy(KeyId("key")),
        lambda vault: vault.open(
            Sealed(key=KeyId("key"), command_id=CommandId("c"), text=b"", commit=b""),
            subject="ada",
            field="email",
        ),
    ],
    ids=["create", "destroy", "open"],
)
def test_a_vault_away_is_unavailable(tmp_path: Path, ask: Callable[[Vault], object]) -> None:
    """Security 2.1: without its keys nothing is sealed, opened or taken for erased."""
    engine = sqlite_engine(tmp_path / "vault.db")
    vault = Vault.create(engine, bytes(32), "log-1", FixedInputs())
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE vault_keys"))

    with pytest.raises(UnavailableError) as refused:
        ask(vault)

    assert refused.value.code == "store.unreachable"
    engine.dispose()


def test_long_lists_keep_nobody_from_the_vault_the_sessions_and_the_journal(
    tmp_path: Path,
) -> None:
    """Event-log 5: each use has a pool of its own, bounded; the control is one that is used up."""
    database = create_database(migrated=False)
    inputs = FixedInputs()
    urls = {"DATABASE_URL": database.url, "OWNER_DATABASE_URL": database.owner_url}
    settings = read_settings(
        {f"MUNIMENT_{name}": url for name, url in urls.items()}, data_dir=tmp_path / "data"
    )
    owner = NewUser(email="ada@example.com")
    set_up(settings, inputs, owner)

    with open_stores(settings, inputs) as stores, ExitStack() as lists:
        taken = 0
        with suppress(SQLAlchemyError):
            while taken < 100:
                lists.enter_context(stores.views.connect())
                taken += 1
        answers = []
        for engine in (stores.sessions, stores.journal):
            with engine.connect() as connection:
                answers.append(one(connection))
        key = stores.vault.create_key("ada")

    drop_database(database)
    assert 2 < taken < 100
    assert answers == [1, 1]
    assert key
