"""Is nothing ever signed that contradicts what was, by whichever process and after whatever?"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

import pytest
from msgspec import structs
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from ops.checkpoints import Checkpoints, create, drop, origin_of
from ops.sealing import CONFLICT, CheckpointConflictError, Rhythm, Sealer
from ops.store_errors import SchemaError
from ops.vault import FIRST_SIGNING_KEY, Vault, sqlite_engine
from projections import transparency
from projections.verifier import open_note
from tests import naive_tree
from tests.histories import LOG_ID
from tests.postgres import create_database, drop_database
from tests.signing import (
    MASTER,
    ORIGIN,
    House,
    house_on_postgresql,
    house_on_sqlite,
    log_of,
    other_history,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from domain.events import Record

PATIENCE_SECONDS = 20.0


@pytest.fixture(params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """Yield an installation's shared parts, on each database."""
    if request.param == "sqlite":
        with house_on_sqlite(tmp_path) as found:
            yield found
        return
    database = create_database()
    with house_on_postgresql(database) as found:
        yield found
    drop_database(database)


@pytest.fixture
def small_house(tmp_path: Path) -> Iterator[House]:
    """Yield the same on SQLite, for what does not depend on the database."""
    with house_on_sqlite(tmp_path) as found:
        yield found


def root(records: Sequence[Record]) -> bytes:
    """Return the root by the letter of the specification."""
    return naive_tree.root([one.topic.encode() + b"\n" + one.state for one in records])


# Signing


def test_a_checkpoint_has_size_and_root_of_the_log_and_is_kept(house: House) -> None:
    """Transparency-log 2: what is signed is the log as stored; it is kept, then told."""
    signed = house.sign()

    head = house.log.head()
    assert (signed.origin, signed.size) == (ORIGIN, head)
    assert signed.root == root(house.log.read(0, head))
    kept = Checkpoints(house.kept).last()
    assert kept is not None
    assert house.opened(kept.note) == signed
    assert house.checkpoints.of_size(head) == kept
    assert house.checkpoints.of_size(head + 1) is None
    assert house.checkpoints.listed(None, 5) == house.checkpoints.following(0, 5) == (kept,)


def test_two_processes_give_one_root_and_sign_one_after_the_other(house: House) -> None:
    """Transparency-log 6: by whichever node, the same size has one note and sizes only grow."""
    first, second = house.process(), house.process()
    for number in range(6):
        house.grow()
        for process in (first, second):
            process.runner.catch_up()
        turns = (first, second) if number % 2 else (second, first)
        made = [process.sealer.seal() for process in turns]
        assert made[0] is not None
        assert made[1] is None

    listed = house.checkpoints.following(0, 100)
    assert [one.number for one in listed] == [*range(1, 7)]
    assert [one.size for one in listed] == sorted({one.size for one in listed})
    for one in listed:
        assert house.opened(one.note).root == root(house.log.read(0, one.size))


def test_many_signers_at_once_make_one_checkpoint(house: House) -> None:
    """Transparency-log 2: one signs, by a lock; the others find that nothing is left to sign."""
    processes = [house.process() for _ in range(3)]
    made: list[object] = []

    def seal(number: int) -> None:
        made.append(processes[number].sealer.seal())

    threads = [threading.Thread(target=seal, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)

    assert len([one for one in made if one is not None]) == 1
    assert len(made) == 3


def test_a_crash_before_the_note_is_kept_leaves_nothing_and_one_after_it_the_note(
    house: House,
) -> None:
    """Transparency-log 2: persisted before published; what is not persisted was never signed."""
    process = house.process()

    def crash() -> None:
        with house.checkpoints.turn() as turn:
            turn.sign(1, root(house.log.read(0, 1)), house.vault, house.inputs)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crash()
    assert house.checkpoints.last() is None

    assert process.sealer.seal() is not None
    again = house.process().sealer
    assert again.seal() is None
    assert len(house.checkpoints.following(0, 10)) == 1


# Never two that contradict


def test_a_log_that_was_cut_is_not_signed(house: House) -> None:
    """Transparency-log 2: fewer events than were signed: the signer refuses and says so."""
    house.grow()
    house.sign()
    cut = log_of(house.log.read(0, house.log.head() - 1))

    with pytest.raises(CheckpointConflictError, match="are left"):
        house.process(cut).sealer.seal()
    assert len(house.checkpoints.following(0, 10)) == 1


def test_a_fork_is_not_signed_however_long(house: House) -> None:
    """Transparency-log 2: another history of the same length or more has another root."""
    house.sign()
    forked = log_of(other_history(house.log.head() + 3))

    with pytest.raises(CheckpointConflictError, match="are not those signed"):
        house.process(forked).sealer.seal()


def test_an_older_copy_that_goes_on_otherwise_is_not_signed(house: House) -> None:
    """Transparency-log 2: a restored log may grow again, but not into the old one."""
    kept = house.log.head()
    house.grow()
    house.sign()
    house.histories.records[kept:] = [
        structs.replace(record, state=record.state.replace(b'"at":"2', b'"at":"3', 1))
        for record in house.histories.records[kept:]
    ]
    house.grow()

    with pytest.raises(CheckpointConflictError):
        house.process(log_of(house.histories.records)).sealer.seal()


def test_nodes_of_another_log_are_not_signed(small_house: House) -> None:
    """The tree's last leaf must be that of the record as it is stored."""
    process = small_house.process()
    with small_house.views.begin() as connection:
        rows = connection.execute(select(transparency.TABLE)).all()
        connection.execute(
            transparency.TABLE.update().where(transparency.TABLE.c.position == rows[-1].position),
            {"hashes": bytes(len(rows[-1].hashes))},
        )

    with pytest.raises(CheckpointConflictError, match="is not the one"):
        process.sealer.seal()


def test_a_signer_without_the_check_would_contradict_itself(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: the refusal keeps away two notes, rightly signed, that exclude each other."""
    first = house.sign()
    forked = log_of(other_history(house.log.head() + 3))
    process = house.process(forked)
    monkeypatch.setattr(Sealer, "_require_continued", lambda *_: None)
    signed = process.sealer.seal()

    assert signed is not None
    second = house.opened(signed.note)
    assert (first.origin, root(forked.read(0, first.size))) != (second.origin, first.root)


# After a restore, and new keys


def test_a_restored_log_goes_on_under_a_new_origin_beside_the_last_checkpoint(
    house: House,
) -> None:
    """Transparency-log 2: the old tree is not continued, and its end stays visible."""
    first = house.sign()
    kept = house.log.head()
    house.grow()
    lost = house.sign()
    restored = log_of(house.log.read(0, kept))

    house.checkpoints.begin(house.vault, f"{ORIGIN}/2", house.inputs, kept)
    signed = house.process(restored).sealer.seal()

    assert signed is not None
    assert house.opened(signed.note).origin == f"{ORIGIN}/2"
    assert [origin.continues_from for origin in house.checkpoints.origins()] == [0, kept]
    last = house.checkpoints.last(ORIGIN)
    assert last is not None
    assert house.opened(last.note) == lost
    assert first.size == kept == signed.size


def test_both_keys_sign_for_a_while_and_then_the_new_one(house: House) -> None:
    """Transparency-log 2: retired keys stay listed, and old checkpoints stay valid."""
    before = house.sign()
    old = house.checkpoints.signing_keys()[0].verifier
    new = house.checkpoints.rotate(house.vault, house.inputs)
    signers = []
    for days in (0, 29, 2):
        house.inputs.advance(days * 86_400)
        house.grow()
        house.sign()
        last = house.checkpoints.last()
        assert last is not None
        signers.append(open_note(last.note, [old, new])[1])

    assert signers == [(old, new), (old, new), (new,)]
    assert [key.verifier for key in house.checkpoints.signing_keys()] == [old, new]
    assert [key.retired is None for key in house.checkpoints.signing_keys()] == [False, True]
    first = house.checkpoints.of_size(before.size)
    assert first is not None
    assert house.opened(first.note) == before


def test_no_event_destroys_a_key_that_signs(small_house: House) -> None:
    """Transparency-log 2: an erasure names keys of data; whatever it names, signing goes on."""
    later = small_house.vault.create_key("installation", "signing")
    before = small_house.vault.signing_key(later).private_bytes_raw()

    small_house.vault.destroy(later, FIRST_SIGNING_KEY)

    assert before == small_house.vault.signing_key(later).private_bytes_raw()
    assert Vault(small_house.kept, MASTER, LOG_ID, small_house.inputs).signing_key()


def test_an_origin_begins_once_however_many_begin_it(house: House) -> None:
    """Two processes that begin the same origin make one; its first key is the vault's own."""
    for _ in range(2):
        house.checkpoints.begin(house.vault, ORIGIN, house.inputs)

    (key,) = house.checkpoints.signing_keys()
    assert len(house.checkpoints.origins()) == 1
    assert key.verifier.public == (
        house.vault.signing_key(FIRST_SIGNING_KEY).public_key().public_bytes_raw()
    )


def test_an_origin_that_two_begin_at_once_is_one(house: House) -> None:
    """Two nodes that start first on an older store do not give it two origins."""
    barrier = threading.Barrier(4)

    def begin() -> None:
        barrier.wait()
        house.checkpoints.begin(house.vault, f"{ORIGIN}/2", house.inputs)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)

    assert [origin.name for origin in house.checkpoints.origins()] == [ORIGIN, f"{ORIGIN}/2"]
    assert len(house.checkpoints.signing_keys()) == 2


def test_the_origin_is_host_and_path_and_a_short_form_of_the_log() -> None:
    """Transparency-log 2: no scheme, no space, no plus; so one log is told from another."""
    log_id = "4f1c5a2b-0000-4000-8000-000000000000"

    assert origin_of("https://authz.example/muniment", log_id) == "authz.example/muniment/4f1c5a2b"
    assert origin_of("https://authz.example:8443/", log_id) == "authz.example:8443/4f1c5a2b"
    assert origin_of("https://authz.example/a+b", log_id) == "authz.example/a%2Bb/4f1c5a2b"
    assert origin_of("", log_id) == "localhost/4f1c5a2b"


def test_a_store_of_an_older_release_is_to_be_migrated_first(tmp_path: Path) -> None:
    """Event-log 8: a server makes no tables; what began and never was is taken away."""
    engine = sqlite_engine(tmp_path / "vault.db")
    with pytest.raises(SchemaError, match="migrate"):
        Checkpoints(engine)
    create(engine)
    create(engine)

    assert Checkpoints(engine).last() is None
    drop(engine)
    with pytest.raises(SchemaError):
        Checkpoints(engine)
    engine.dispose()


def test_the_runtime_role_cannot_take_back_what_was_signed() -> None:
    """Security 7.1: on PostgreSQL the service adds checkpoints, and changes or removes none."""
    database = create_database()
    with house_on_postgresql(database) as house:
        house.sign()
        for statement in (
            "DELETE FROM muniment.checkpoints",
            "UPDATE muniment.checkpoints SET note = ''",
            "UPDATE muniment.signed_origins SET name = ''",
            "UPDATE muniment.signing_keys SET public = ''",
        ):
            with pytest.raises(DBAPIError), house.kept.begin() as connection:
                connection.exec_driver_sql(statement)
    drop_database(database)


# The thread


def wait_until_sealed(house: House, size: int) -> None:
    """Wait until the thread has signed so much."""
    for _ in range(int(PATIENCE_SECONDS * 100)):
        last = house.checkpoints.last()
        if last is not None and last.size >= size:
            return
        threading.Event().wait(0.01)
    raise AssertionError(size)


def test_the_thread_signs_at_the_start_when_asked_and_at_the_end(small_house: House) -> None:
    """Transparency-log 2: on demand for a proof, and at shutdown."""
    process = small_house.process()
    process.sealer.start()
    wait_until_sealed(small_house, small_house.log.head())
    small_house.grow()
    process.runner.catch_up()
    wanted = small_house.log.head()

    assert asyncio.run(process.sealer.wait_for(wanted, PATIENCE_SECONDS))
    assert process.sealer.sealed_through == wanted
    assert asyncio.run(process.sealer.wait_for(wanted, 0))
    assert not asyncio.run(process.sealer.wait_for(wanted + 1, 0.01))

    small_house.grow()
    process.runner.catch_up()
    process.sealer.stop()
    last = small_house.checkpoints.last()
    assert last is not None
    assert last.size == small_house.log.head()


def test_a_process_takes_note_of_what_others_signed(small_house: House) -> None:
    """Whoever waits is told of another process's checkpoint as well."""
    process = small_house.process()
    process.sealer.look()
    process.sealer.start()
    small_house.grow()

    signed = small_house.sign()

    assert asyncio.run(process.sealer.wait_for(signed.size, PATIENCE_SECONDS))
    process.sealer.stop()


@pytest.mark.parametrize(
    ("rhythm", "elapsed", "is_signed"),
    [
        (Rhythm(seconds=10, pause_seconds=1), 9.9, False),
        (Rhythm(seconds=10, pause_seconds=1), 10.0, True),
        (Rhythm(seconds=10, events=1, pause_seconds=1), 0.9, False),
        (Rhythm(seconds=10, events=1, pause_seconds=1), 1.0, True),
    ],
)
def test_signing_is_due_by_time_or_by_events(
    rhythm: Rhythm, elapsed: float, *, is_signed: bool, small_house: House
) -> None:
    """Transparency-log 2: every 10 s or 10,000 events, and never more often than once a second."""
    process = small_house.process(rhythm=rhythm)
    process.sealer.look()
    small_house.grow()
    process.runner.catch_up()
    small_house.inputs.advance(elapsed)

    process.sealer.look()

    assert (process.sealer.sealed_through == small_house.log.head()) is is_signed


def test_a_conflict_is_said_once_and_ends_with_its_cause(
    small_house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """Transparency-log 2: `muniment_checkpoint_conflict` is raised until the log is right again."""
    small_house.grow()
    small_house.sign()
    process = small_house.process(log_of(small_house.log.read(0, 1)))
    caplog.clear()
    for _ in range(3):
        process.sealer.look()
        small_house.inputs.advance(10)
    assert [(one.levelno, one.message) for one in caplog.records] == [(logging.CRITICAL, CONFLICT)]
    assert process.sealer.conflict is not None

    small_house.grow()
    right = small_house.process()
    right.sealer.look()
    assert right.sealer.conflict is None
    assert right.sealer.sealed_through == small_house.log.head()


def test_while_the_views_are_made_anew_nothing_is_signed_and_nothing_is_wrong(
    small_house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """A tree that is behind what was signed, of a log that is not, is only waited for."""
    small_house.grow()
    small_house.sign()
    process = small_house.process()
    process.runner.position = 1
    process.sealer.look()
    assert process.sealer.conflict is None

    small_house.grow()
    process.runner.catch_up()
    with small_house.views.begin() as connection:
        connection.execute(transparency.TABLE.delete())
    small_house.inputs.advance(10)
    with caplog.at_level(logging.INFO):
        process.sealer.look()
    assert "not signed while the views are made anew" in caplog.messages
    assert process.sealer.conflict is None


def test_a_store_that_is_away_is_tried_again(
    small_house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """What fails is no conflict: it is said, and signed when the store is back."""
    process = small_house.process()
    for name in ("checkpoints", "signing_keys"):
        with small_house.kept.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {name} RENAME TO gone")
        process.sealer.look()
        with small_house.kept.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE gone RENAME TO {name}")
        small_house.inputs.advance(10)
    assert [record.message for record in caplog.records] == ["not signed", "not signed"]

    process.sealer.look()

    assert process.sealer.sealed_through == small_house.log.head()
