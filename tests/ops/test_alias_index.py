"""By which blind index is an alias found, and by no other? (authzen 3, transparency-log 5)."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from domain.ids import MAIN, TenantId
from ops.inputs import SystemInputs
from ops.vault import KEY_BYTES, Vault, sqlite_engine
from tests.fixed_inputs import FixedInputs

MASTER = bytes(range(KEY_BYTES))


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    """A new vault."""
    engine = sqlite_engine(tmp_path / "vault.db")
    yield Vault.create(engine, MASTER, "log", FixedInputs())
    engine.dispose()


def test_alias_index_is_of_tenant_type_and_id(vault: Vault) -> None:
    """It is stable, has 32 bytes, and any other part or another division of them differs."""
    index = vault.alias_index(MAIN, "identity", "a")

    assert 32 == len(index)
    assert index == vault.alias_index(MAIN, "identity", "a")
    others = {
        vault.alias_index(MAIN, "identity", "A"),
        vault.alias_index(MAIN, "identitya", ""),
        vault.alias_index(MAIN, "user", "a"),
        vault.alias_index(TenantId("beta"), "identity", "a"),
        vault.alias_index(MAIN, "x", 'y","z'),
        vault.alias_index(MAIN, 'x","y', "z"),
    }
    assert 6 == len(others - {index})


def test_alias_index_is_apart_from_that_of_emails(vault: Vault) -> None:
    """No e-mail has the index of an alias, whatever it says."""
    place = msgspec.json.encode((MAIN, "user", "ada@example.com")).decode()
    plain = {vault.email_index("ada@example.com"), vault.email_index(place)}

    assert vault.alias_index(MAIN, "user", "ada@example.com") not in plain


def test_alias_index_is_the_same_after_a_restart_and_keyed(tmp_path: Path) -> None:
    """Another start finds it again; another installation has another, and no key is none."""
    place = msgspec.json.encode((MAIN, "user", "ada"))
    found: list[bytes] = []
    for number in range(2):
        engine = sqlite_engine(tmp_path / f"vault{number}.db")
        inputs = SystemInputs()
        made = Vault.create(engine, MASTER, f"log{number}", inputs)
        again = Vault(engine, MASTER, f"log{number}", inputs)
        found.append(made.alias_index(MAIN, "user", "ada"))
        assert found[-1] == again.alias_index(MAIN, "user", "ada")
        engine.dispose()

    assert 2 == len({*found})
    assert hmac.digest(b"", place, "sha256") not in found
