"""Does the vault keep, open and erase as transparency-log 5 and security 7.3 say?"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psycopg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json, structs
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.event import listen
from sqlalchemy.exc import ProgrammingError

from domain.ids import CommandId
from domain.sealed import ERASED, DestroyedKeyError, KeyId, Sealed, Secret
from ops.inputs import SystemInputs
from ops.vault import (
    BrokenSealError,
    MasterKeyError,
    Vault,
    VaultError,
    sqlite_engine,
)
from tests.fixed_inputs import FixedInputs
from tests.postgres import Database, create_database, drop_database

MASTER = bytes(range(32))
LOG = "log-1"
COMMAND = CommandId("command-1")
CANARY = "ada.lovelace@canary.example"


@pytest.fixture
def database() -> Iterator[Database]:
    """A PostgreSQL database with the log's schema and the runtime role."""
    database = create_database()
    yield database
    drop_database(database)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty place for a vault, on each database."""
    if request.param == "sqlite":
        engine = sqlite_engine(tmp_path / "vault.db")
    else:
        engine = postgresql_engine(request.getfixturevalue("database").owner_url)
    yield engine
    engine.dispose()


def postgresql_engine(url: str) -> Engine:
    """An engine for what libpq reads as a connection string."""
    return create_engine("postgresql+psycopg://", creator=partial(psycopg.connect, url))


@pytest.fixture
def vault(engine: Engine) -> Vault:
    """A new vault with real randomness."""
    return Vault.create(engine, MASTER, LOG, SystemInputs())


@pytest.fixture
def sqlite_vault(tmp_path: Path) -> Iterator[Vault]:
    """A new vault on SQLite, for what does not depend on the database."""
    engine = sqlite_engine(tmp_path / "vault.db")
    yield Vault.create(engine, MASTER, LOG, FixedInputs())
    engine.dispose()


def again(engine: Engine) -> Vault:
    """The vault as another process opens it."""
    return Vault(engine, MASTER, LOG, SystemInputs())


def seal(vault: Vault, key: KeyId, value: str = CANARY) -> Sealed:
    return vault.seal(key, Secret(value), command_id=COMMAND, subject="ada", field="email")


def test_a_sealed_value_opens_here_and_in_another_process(engine: Engine, vault: Vault) -> None:
    """Transparency-log 5: what was sealed is read again by whoever holds the vault."""
    sealed = seal(vault, vault.create_key("ada"))

    assert CANARY == vault.open(sealed, subject="ada", field="email")
    assert CANARY == again(engine).open(sealed, subject="ada", field="email")


def test_a_destroyed_key_erases_everywhere_and_may_be_destroyed_again(
    engine: Engine, vault: Vault
) -> None:
    """Transparency-log 5: after erasure nobody opens the value; another person's stays."""
    key, other = vault.create_key("ada"), vault.create_key("grace")
    sealed, kept = seal(vault, key), seal(vault, other, "grace")

    vault.destroy(key)
    vault.destroy(key, KeyId("never made"))

    for reader in (vault, again(engine)):
        assert ERASED is reader.open(sealed, subject="ada", field="email")
        assert reader.open(kept, subject="ada", field="email") == "grace"


def test_another_process_drops_its_copy_when_it_reads_the_erasure(
    engine: Engine, vault: Vault
) -> None:
    """Transparency-log 5: a key in memory outlives its row only until the event is read."""
    key = vault.create_key("ada")
    sealed, other = seal(vault, key), again(engine)
    assert CANARY == other.open(sealed, subject="ada", field="email")

    vault.destroy(key)
    other.destroy(key)

    assert ERASED is other.open(sealed, subject="ada", field="email")


def test_many_keys_are_destroyed_at_once(sqlite_vault: Vault) -> None:
    """Transparency-log 5: after a restore every key whose erasure is in the log goes again."""
    sealed = [seal(sqlite_vault, sqlite_vault.create_key("ada")) for _ in range(8)]

    sqlite_vault.destroy(*(KeyId(f"gone-{number}") for number in range(1_200)), sealed[7].key)

    opened = [sqlite_vault.open(one, subject="ada", field="email") for one in sealed]
    assert [*[CANARY] * 7, ERASED] == opened


def test_the_keys_of_the_installation_are_not_data_keys(engine: Engine, vault: Vault) -> None:
    """Security 7.3: no event can have the index or signing key used or destroyed."""
    vault.destroy(KeyId("email_index"), KeyId("signing"))

    assert vault.email_index("ada") == again(engine).email_index("ada")
    with pytest.raises(DestroyedKeyError, match="signing"):
        seal(vault, KeyId("signing"))


def test_sealing_under_an_unknown_key_is_refused(vault: Vault) -> None:
    """Design 3: nothing is stored that nobody could open."""
    with pytest.raises(DestroyedKeyError):
        seal(vault, KeyId("unknown"))


@pytest.mark.parametrize("part", ["key", "command_id", "text", "commit", "subject", "field", "log"])
def test_a_value_moved_or_changed_is_refused(tmp_path: Path, part: str) -> None:
    """Security 7.3: the place is authenticated: log, command, subject, field; so is the value."""
    engine = sqlite_engine(tmp_path / "vault.db")
    vault = Vault.create(engine, MASTER, LOG, FixedInputs())
    sealed, other = seal(vault, vault.create_key("ada")), vault.create_key("ada")
    changes: dict[str, object] = {
        "key": other,
        "command_id": CommandId("command-2"),
        "text": sealed.text[:-1] + bytes([sealed.text[-1] ^ 1]),
        "commit": bytes(32),
    }
    reader = vault
    if part in changes:
        sealed = structs.replace(sealed, **{part: changes[part]})
    if part == "log":
        # A reader of another log that somehow holds the very same data key.
        reader = Vault.create(sqlite_engine(tmp_path / "other.db"), MASTER, "log-2", FixedInputs())
        reader._cache[sealed.key] = vault._cache[sealed.key]  # noqa: SLF001 no other way in

    with pytest.raises(BrokenSealError) as refusal:
        reader.open(
            sealed,
            subject="grace" if part == "subject" else "ada",
            field="name" if part == "field" else "email",
        )

    assert refusal.value.code == "seal.broken"
    assert CANARY not in repr(refusal.value)
    reader._engine.dispose()  # noqa: SLF001 opened above
    engine.dispose()


class PlacelessVault(Vault):
    """A vault that binds a value to no place."""

    def _place(self, command_id: CommandId, subject: str, field: str) -> bytes:
        del command_id, subject, field
        return b""


def test_without_the_place_a_moved_value_opens(tmp_path: Path) -> None:
    """Security 7.3, the control: a build that does not authenticate the place lets it pass."""
    engine = sqlite_engine(tmp_path / "vault.db")
    vault = PlacelessVault.create(engine, MASTER, LOG, FixedInputs())
    sealed = structs.replace(
        seal(vault, vault.create_key("ada")), command_id=CommandId("command-2")
    )

    assert vault.open(sealed, subject="grace", field="name") == CANARY
    engine.dispose()


@pytest.mark.parametrize("length", [0, 1, 11, 12, 27, 59])
def test_a_cut_value_is_refused(sqlite_vault: Vault, length: int) -> None:
    """Transparency-log 5: bytes that are cut are damage, never an empty value or a crash."""
    sealed = seal(sqlite_vault, sqlite_vault.create_key("ada"))
    cut = structs.replace(sealed, text=sealed.text[:length])

    with pytest.raises(BrokenSealError):
        sqlite_vault.open(cut, subject="ada", field="email")


def test_one_ciphertext_never_shows_two_values(sqlite_vault: Vault) -> None:
    """Transparency-log 5: without the commitment another value passes under the right key.

    The forger holds the key and writes a well-authenticated text; only `commit` gives it away,
    and with a commitment of its own (the control) it opens.
    """
    vault = sqlite_vault
    honest, other = seal(vault, vault.create_key("ada")), seal(vault, vault.create_key("ada"), "x")
    forged = structs.replace(other, commit=honest.commit)

    with pytest.raises(BrokenSealError):
        vault.open(forged, subject="ada", field="email")

    assert vault.open(other, subject="ada", field="email") == "x"


def test_equal_values_are_sealed_differently(vault: Vault) -> None:
    """Transparency-log 5: nothing of a sealed value can be guessed from another one."""
    key = vault.create_key("ada")
    sealed = [seal(vault, key) for _ in range(100)]

    assert len({one.text for one in sealed}) == len({one.commit for one in sealed}) == 100


def test_nothing_plain_is_in_event_or_file(tmp_path: Path, sqlite_vault: Vault) -> None:
    """Security 4.5 and 4.7: neither value nor master key nor data key is on disk or in the event.

    The control: the same scan finds what the file does hold, the key's id.
    """
    key = sqlite_vault.create_key("ada")
    event = json.encode(seal(sqlite_vault, key))
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir()) + event

    for secret in (CANARY.encode(), MASTER, sqlite_vault.cursor_key):
        for form in (secret, base64.b64encode(secret), secret.hex().encode()):
            assert form not in stored
    assert key.encode() in stored


def test_a_destroyed_key_leaves_no_bytes_in_the_file(tmp_path: Path) -> None:
    """Transparency-log 5: erasure reaches the freed pages and leaves no journal behind.

    The control: on connections that do not overwrite what they free, the wrapped key stays.
    """
    ours, careless = tmp_path / "ours.db", tmp_path / "careless.db"
    engine = create_engine(f"sqlite:///{careless}")
    listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA secure_delete=OFF"))

    assert not leaves_bytes(sqlite_engine(ours), ours)
    assert leaves_bytes(engine, careless)


def leaves_bytes(engine: Engine, path: Path) -> bool:
    """Whether a wrapped key is still in the files beside `path` after it was destroyed."""

    def stored() -> bytes:
        return b"".join(file.read_bytes() for file in path.parent.glob(path.name + "*"))

    vault = Vault.create(engine, MASTER, LOG, FixedInputs())
    key = vault.create_key("ada")
    with engine.connect() as connection:
        wrapped: bytes = connection.execute(
            text("SELECT wrapped FROM vault_keys WHERE id = :id"), {"id": key}
        ).scalar_one()
    assert wrapped in stored()
    vault.destroy(key)
    engine.dispose()
    return wrapped in stored()


def test_keys_are_on_disk_when_made(tmp_path: Path) -> None:
    """Reliability: synchronous is at least FULL (2) on every connection, and no write-ahead log."""
    engine = sqlite_engine(tmp_path / "vault.db")
    for _ in range(2):
        with engine.connect() as connection:
            assert connection.execute(text("PRAGMA synchronous")).scalar() == 3
            assert connection.execute(text("PRAGMA journal_mode")).scalar() == "delete"
            assert connection.execute(text("PRAGMA secure_delete")).scalar() == 1
        engine.dispose()


def test_the_runtime_role_keeps_keys_and_changes_none(database: Database) -> None:
    """Security 7.1: made by the owner, used by the role that serves, which may not rewrite."""
    owner, role = postgresql_engine(database.owner_url), postgresql_engine(database.url)
    Vault.create(owner, MASTER, LOG, SystemInputs())
    vault = again(role)

    sealed = seal(vault, vault.create_key("ada"))
    assert vault.open(sealed, subject="ada", field="email") == CANARY
    vault.destroy(sealed.key)

    assert ERASED is again(role).open(sealed, subject="ada", field="email")
    with role.connect() as connection, pytest.raises(ProgrammingError, match="permission denied"):
        connection.execute(text("UPDATE muniment.vault_keys SET wrapped = ''"))
    owner.dispose()
    role.dispose()


def test_the_cache_is_bounded(tmp_path: Path) -> None:
    """Security 6.2: what grows has a limit; keys that fell out are read again."""
    engine = sqlite_engine(tmp_path / "vault.db")
    Vault.create(engine, MASTER, LOG, SystemInputs())
    vault = Vault(engine, MASTER, LOG, SystemInputs(), cached_keys_max=3)

    sealed = [seal(vault, vault.create_key("ada"), str(number)) for number in range(10)]

    assert len(vault._cache) == 3  # noqa: SLF001 the limit is on what cannot be seen outside
    opened = [vault.open(one, subject="ada", field="email") for one in sealed]
    assert [str(number) for number in range(10)] == opened
    engine.dispose()


def test_threads_share_the_vault(engine: Engine, vault: Vault) -> None:
    """Design: the views' thread opens while others seal and destroy, and no key comes back."""

    def act(number: int) -> bool:
        key = vault.create_key("ada")
        sealed = seal(vault, key, str(number))
        opened = vault.open(sealed, subject="ada", field="email") == str(number)
        vault.destroy(key)
        return opened and vault.open(sealed, subject="ada", field="email") is ERASED

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(act, range(40)))
    assert again(engine).email_index("ada") == vault.email_index("ada")


def test_the_wrong_master_key_is_refused(engine: Engine, vault: Vault) -> None:
    """Issue item 4: a key or log that is not the vault's is told at the start, not at a read."""
    assert vault
    for master, log in ((bytes(32), LOG), (MASTER, "log-2")):
        with pytest.raises(MasterKeyError) as refusal:
            Vault(engine, master, log, SystemInputs())
        assert refusal.value.code == "master_key.wrong"


def test_a_vault_is_neither_made_by_opening_nor_twice(engine: Engine) -> None:
    """Design 1: with the vault lost, starting must not make an empty one and call all erased."""
    with pytest.raises(VaultError) as missing:
        again(engine)
    Vault.create(engine, MASTER, LOG, SystemInputs())
    with pytest.raises(VaultError) as exists:
        Vault.create(engine, MASTER, LOG, SystemInputs())

    assert [missing.value.code, exists.value.code] == ["vault.missing", "vault.exists"]


def test_a_vault_without_one_of_its_own_keys_is_refused(tmp_path: Path) -> None:
    """Security 7.3: a half-restored vault is told at the start."""
    engine = sqlite_engine(tmp_path / "vault.db")
    Vault.create(engine, MASTER, LOG, SystemInputs())
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM vault_keys WHERE id = 'signing'"))

    with pytest.raises(VaultError) as refusal:
        again(engine)

    assert refusal.value.code == "vault.incomplete"
    engine.dispose()


class StoppedError(Exception):
    """A process that ends in the middle."""


class StoppingInputs(FixedInputs):
    """Ends the process at the third draw: after the table was made."""

    def random_bytes(self, size: int) -> bytes:
        if self._draws == 2:
            raise StoppedError
        return super().random_bytes(size)


def test_a_vault_is_made_whole_or_not_at_all(engine: Engine) -> None:
    """Reliability: `init` stopped half-way can be run again."""
    with pytest.raises(StoppedError):
        Vault.create(engine, MASTER, LOG, StoppingInputs())

    assert Vault.create(engine, MASTER, LOG, SystemInputs()).email_index("ada")


def test_the_file_is_private_and_refused_when_it_is_not(tmp_path: Path) -> None:
    """Security 7.2: files 0600; refused otherwise."""
    path = tmp_path / "vault.db"
    sqlite_engine(path).dispose()
    assert path.stat().st_mode & 0o777 == 0o600

    path.chmod(0o640)
    with pytest.raises(VaultError) as refusal:
        sqlite_engine(path)

    assert refusal.value.code == "vault.unsafe"


# Keyed values


def test_the_email_index_is_keyed_and_stable(engine: Engine, vault: Vault) -> None:
    """Transparency-log 5: equal for equal addresses in every process, unguessable without key."""
    index = vault.email_index("ada@example.com")

    assert len(index) == 32
    assert index == again(engine).email_index("ada@example.com")
    assert index != vault.email_index("ada@example.org")


def test_the_email_index_differs_between_installations(tmp_path: Path) -> None:
    """Transparency-log 5: an index of one installation says nothing about another's."""
    engines = [sqlite_engine(tmp_path / name) for name in ("one.db", "two.db")]
    vaults = [Vault.create(engine, MASTER, LOG, SystemInputs()) for engine in engines]

    assert vaults[0].email_index("ada") != vaults[1].email_index("ada")
    for engine in engines:
        engine.dispose()


TEXTS = st.tuples(st.text(), st.text(), st.text(), st.text())


@given(one=TEXTS, two=TEXTS, body=st.binary(), other_body=st.binary())
def test_idempotency_values_differ_when_anything_differs(
    one: tuple[str, str, str, str], two: tuple[str, str, str, str], body: bytes, other_body: bytes
) -> None:
    """http-api 4: caller, method, path and key are one tuple, never a joined text."""
    with tempfile.TemporaryDirectory() as directory:
        engine = sqlite_engine(Path(directory) / "vault.db")
        vault = Vault.create(engine, MASTER, LOG, FixedInputs())
        engine.dispose()

    same = one == two
    assert same == (vault.command_id_for(*one) == vault.command_id_for(*two))
    same = (one, body) == (two, other_body)
    assert same == (vault.fingerprint(*one, body) == vault.fingerprint(*two, other_body))
    assert vault.command_id_for(*one) != vault.fingerprint(*one, b"")


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (("a", "bc", "d", "e"), ("ab", "c", "d", "e")),
        (("a", "b\n", "", "c"), ("a", "b", "\n", "c")),
    ],
    ids=["joined", "line feed"],
)
def test_idempotency_values_keep_their_parts_apart(
    vault: Vault, one: tuple[str, str, str, str], two: tuple[str, str, str, str]
) -> None:
    """http-api 4: nobody builds a path that stands for another caller's or path's record."""
    assert vault.command_id_for(*one) != vault.command_id_for(*two)
    assert vault.fingerprint(*one, b"x") != vault.fingerprint(*two, b"x")
    assert len(vault.command_id_for(*one)) == len(vault.fingerprint(*one, b"")) == 43


def test_the_signing_key_stays_the_same(engine: Engine, vault: Vault) -> None:
    """Transparency-log 2: Ed25519 by a key of the vault; every process signs alike."""
    assert vault.signing_key().sign(b"note") == again(engine).signing_key().sign(b"note")
    assert len({vault.cursor_key, vault.signing_key().private_bytes_raw()}) == 2


def test_the_text_is_aes_256_gcm(tmp_path: Path) -> None:
    """Transparency-log 5: an auditor with the key opens it by the page alone."""
    engine = sqlite_engine(tmp_path / "vault.db")
    vault = Vault.create(engine, MASTER, LOG, FixedInputs())
    key = vault.create_key("ada")
    sealed = seal(vault, key)
    with engine.connect() as connection:
        wrapped = connection.execute(
            text("SELECT wrapped FROM vault_keys WHERE id = :id"), {"id": key}
        ).scalar_one()

    data_key = AESGCM(MASTER).decrypt(wrapped[:12], wrapped[12:], b'["log-1","%s"]' % key.encode())
    place = b'["log-1","command-1","ada","email"]'
    opened = AESGCM(data_key).decrypt(sealed.text[:12], sealed.text[12:], place)

    assert CANARY.encode() == opened[32:]
    engine.dispose()
