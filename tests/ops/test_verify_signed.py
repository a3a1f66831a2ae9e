"""Is every change of a signed log found by `muniment verify`, here, later and offline?"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from msgspec import structs

from domain.events import Record
from ops.cli.main import INTEGRITY, INVALID
from ops.event_log import SQLiteLog
from ops.log_schema import migrate_sqlite
from ops.stores import LOG_FILE, VAULT_FILE, VIEWS_FILE
from projections.witness import Witness
from tests.histories import LOG_ID, Histories
from tests.ops.signed_places import (
    COMMANDS,
    Place,
    Rows,
    SQLitePlace,
    grown,
    kept,
    key,
    rows_of,
    run,
)
from tests.signing import ORIGIN, House, house_on_sqlite, log_of


@pytest.fixture
def files(tmp_path: Path) -> Iterator[SQLitePlace]:
    """Yield a signed log in a directory, for what does not depend on the database."""
    (tmp_path / "data").mkdir()
    with house_on_sqlite(tmp_path / "data") as house:
        yield SQLitePlace(tmp_path / "data", grown(house))


# Changes


def _flip(rows: Rows) -> Rows:
    """Change what stands around the fact, which no fold looks at."""
    return [*rows[:29], _flipped(rows[29]), *rows[30:]]


def _flipped(row: Record) -> Record:
    place = row.state.index(b'"correlation_id":"') + len(b'"correlation_id":"')
    changed = bytearray(row.state)
    changed[place] ^= 1
    return structs.replace(row, state=bytes(changed))


def _remove_newest(rows: Rows) -> Rows:
    return rows[:-1]


def _remove_middle(rows: Rows) -> Rows:
    return [*rows[:29], *rows[30:]]


def _close_the_gap(rows: Rows) -> Rows:
    """Remove one in the middle and let the later ones move up."""
    rows = _remove_middle(rows)
    return [structs.replace(row, position=place) for place, row in enumerate(rows, 1)]


def _swap(rows: Rows) -> Rows:
    first = structs.replace(rows[30], position=30)
    second = structs.replace(rows[29], position=31)
    return [*rows[:29], first, second, *rows[31:]]


def _rename(rows: Rows) -> Rows:
    other = next(row.topic for row in rows if row.topic != rows[29].topic)
    return [*rows[:29], structs.replace(rows[29], topic=other), *rows[30:]]


def _flip_unsigned(rows: Rows) -> Rows:
    return [*rows[:-1], _flipped(rows[-1])]


CHANGES: Final[dict[str, tuple[Callable[[Rows], Rows], str]]] = {
    "one byte flipped": (_flip, "position 30 is not the event that was signed"),
    "one in the middle removed": (_remove_middle, "position 30 is missing"),
    "one removed, the gap closed": (_close_the_gap, "position 30 "),
    "two swapped": (_swap, "position 30 "),
    "topic changed": (_rename, "position 30"),
    "one byte flipped that is not signed yet": (
        _flip_unsigned,
        "position {head} is not the event that was hashed",
    ),
}


def test_an_untouched_log_holds(place: Place, tmp_path: Path) -> None:
    """Control: the log as it was signed, against all that was signed and an older checkpoint."""
    head = place.house.log.head()

    code, said = run(*place.arguments, "--since", kept(place.house, 0, tmp_path))

    assert code == 0, said
    assert said.startswith(f"{head} events, digest ")
    assert said.endswith("checked against 3 checkpoints\n")


@pytest.mark.parametrize("kind", CHANGES)
def test_every_change_is_found_and_its_position_is_named(kind: str, place: Place) -> None:
    """Transparency-log 6: with the first position that is wrong, exit code 10."""
    change, said = CHANGES[kind]
    place.rewrite(change(rows_of(place)))

    code, found = run(*place.arguments)

    assert (code, said.format(head=place.house.log.head()) in found) == (INTEGRITY, True), found


def test_a_cut_tail_is_found_by_what_was_signed(place: Place) -> None:
    """Transparency-log 6: fewer events than a checkpoint covers; the first missing one is named."""
    place.rewrite(rows_of(place)[:-4])
    last = place.house.checkpoints.last()
    assert last is not None
    place.rewrite(rows_of(place)[: last.size - 1])

    code, said = run(*place.arguments)

    assert code == INTEGRITY
    assert f"position {last.size} is missing: {last.size} events were signed" in said


def test_an_older_copy_of_everything_needs_an_older_checkpoint(
    files: SQLitePlace, tmp_path: Path
) -> None:
    """Reliability D6: log, vault and views rolled back together; who kept a checkpoint sees it."""
    copy = tmp_path / "copy"
    roll_back(files.house, copy, 1)
    assert run("--data-dir", str(copy))[0] == 0

    code, said = run("--data-dir", str(copy), "--since", kept(files.house, 1, tmp_path))

    assert code == INTEGRITY
    assert "is missing" in said


def roll_back(house: House, directory: Path, checkpoints: int) -> None:
    """Make a copy of an installation as it was when it had signed so many checkpoints."""
    directory.mkdir(mode=0o700)
    last = house.checkpoints.following(0, 10)[checkpoints - 1]
    source = Path(str(house.kept.url.database))
    shutil.copy(source, directory / VAULT_FILE)
    with closing(sqlite3.connect(directory / VAULT_FILE)) as connection, connection:
        connection.execute("DELETE FROM checkpoints WHERE number > ?", (checkpoints,))
    migrate_sqlite(directory / LOG_FILE)
    with closing(SQLiteLog(directory / LOG_FILE, LOG_ID)) as log:
        log.append(1, house.log.read(0, last.size))


def test_a_fork_needs_an_older_checkpoint(files: SQLitePlace, tmp_path: Path) -> None:
    """Transparency-log: an operator with the key can sign another history, but not the kept one."""
    since = kept(files.house, 0, tmp_path)
    forked = Histories(8)
    forked.run(COMMANDS * 4)
    files.rewrite(forked.records)
    with closing(sqlite3.connect(files.directory / VAULT_FILE)) as connection, connection:
        connection.execute("DELETE FROM checkpoints")
    (files.directory / VIEWS_FILE).unlink()
    files.house.inputs.advance(60)
    signed = files.house.process(log_of(forked.records)).sealer

    assert signed.seal() is not None
    assert run(*files.arguments)[0] == 0
    code, said = run(*files.arguments, "--since", since)
    assert code == INTEGRITY
    assert "is not the one that was signed" in said


def test_another_installation_does_not_pass_for_this_one(
    files: SQLitePlace, tmp_path: Path
) -> None:
    """A checkpoint that no key of this installation has signed does not hold here."""
    (tmp_path / "other").mkdir()
    note = files.house.checkpoints.following(0, 1)[0].note
    forged = tmp_path / "forged"
    forged.write_text(note.replace("— iam", "— ian"), encoding="utf-8")

    assert run(*files.arguments, "--since", str(forged)) == (
        INTEGRITY,
        "Error: forged: no known key has signed this (note.unknown)\n",
    )
    right = kept(files.house, 0, tmp_path)
    assert run(*files.arguments, "--since", right, "--key", key(files.house))[0] == 0
    stranger = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    assert run(*files.arguments, "--since", right, "--key", stranger)[0] == INTEGRITY


# What was signed, changed


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE checkpoints SET note = replace(note, 'A', 'B') WHERE number = 2", "checkpoint 2"),
        ("UPDATE checkpoints SET size = size - 1 WHERE number = 1", "checkpoint 1 is not what"),
        ("UPDATE checkpoints SET root = zeroblob(32) WHERE number = 1", "checkpoint 1 is not what"),
        ("DELETE FROM signing_keys", "checkpoint 1"),
        ("ALTER TABLE checkpoints DROP COLUMN note", "cannot be read"),
    ],
)
def test_a_changed_checkpoint_is_found(statement: str, said: str, files: SQLitePlace) -> None:
    """What lies beside the vault is judged by its signatures, each one."""
    with closing(sqlite3.connect(files.directory / VAULT_FILE)) as connection, connection:
        connection.execute(statement)

    code, found = run(*files.arguments)

    assert code == INTEGRITY
    assert said in found


def test_hashes_of_the_views_are_no_evidence_by_themselves(files: SQLitePlace) -> None:
    """A stored leaf that is wrong though the event is signed is told as what it is."""
    with closing(sqlite3.connect(files.directory / VIEWS_FILE)) as connection, connection:
        connection.execute("UPDATE tree_v1 SET hashes = zeroblob(32) WHERE position = 9")
    code, said = run(*files.arguments)
    assert code == INTEGRITY
    assert "position 9 is the event that was signed, but its kept hash is not" in said

    for statement in ("DELETE FROM tree_v1 WHERE position = 5", "DROP TABLE tree_v1"):
        with closing(sqlite3.connect(files.directory / VIEWS_FILE)) as connection, connection:
            connection.execute(statement)
            connection.execute("PRAGMA user_version = 1")
        if "DROP" not in statement:
            continue
        assert run(*files.arguments)[0] == 0


def test_without_views_the_change_is_placed_between_two_checkpoints(files: SQLitePlace) -> None:
    """Named where it can be known; else by the checkpoints around it."""
    (files.directory / VIEWS_FILE).unlink()
    files.rewrite(_flip(rows_of(files)))
    first, second = files.house.checkpoints.following(0, 10)
    begin, end = (1, first.size) if first.size >= 30 else (first.size + 1, second.size)

    code, said = run(*files.arguments)

    assert code == INTEGRITY
    assert f"an event from position {begin} to {end} is not the one" in said


def test_without_a_vault_it_is_said_that_nothing_was_compared(files: SQLitePlace) -> None:
    """Nobody takes a log alone for one that was held against its signatures."""
    (files.directory / VAULT_FILE).unlink()

    code, said = run(*files.arguments)

    assert code == 0
    assert "no signed checkpoint to compare with" in said
    assert "checked against 0 checkpoints" in said


def test_a_cut_that_was_made_known_holds_and_is_told(files: SQLitePlace, tmp_path: Path) -> None:
    """Transparency-log 2: after a restore under a new origin the lost part is told, not hidden."""
    first, _ = files.house.checkpoints.following(0, 10)
    since = kept(files.house, 1, tmp_path)
    files.rewrite(rows_of(files)[: first.size])
    files.house.checkpoints.begin(files.house.vault, f"{ORIGIN}/2", files.house.inputs, first.size)

    code, said = run(*files.arguments)

    assert code == 0, said
    assert f"{ORIGIN} was signed up to" in said
    assert "checked against 1 checkpoint\n" in said
    assert run(*files.arguments, "--since", since)[0] == INTEGRITY


def test_an_older_store_is_to_be_migrated_first(files: SQLitePlace) -> None:
    """Event-log 8: without the tables of what was signed nothing is passed over."""
    with closing(sqlite3.connect(files.directory / VAULT_FILE)) as connection, connection:
        connection.execute("DROP TABLE checkpoints")

    code, said = run(*files.arguments)

    assert (code, "muniment migrate" in said) == (INVALID, True)


# Controls


def test_a_verifier_that_skips_roots_is_caught(
    files: SQLitePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: one that compares no root finds neither the fork nor the flipped byte."""
    (files.directory / VIEWS_FILE).unlink()
    files.rewrite(_flip(rows_of(files)))
    monkeypatch.setattr("projections.verifier.Tree.root", _Agreeable())

    assert run(*files.arguments)[0] == 0


class _Agreeable:
    """Stands for a root that is always what was signed."""

    def __call__(self) -> _Agreeable:
        return self

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def test_a_verifier_that_forgets_the_end_is_caught(
    files: SQLitePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: without its last question a cut tail would pass."""
    last = files.house.checkpoints.last()
    assert last is not None
    files.rewrite(rows_of(files)[: last.size - 1])
    assert run(*files.arguments)[0] == INTEGRITY

    monkeypatch.setattr(Witness, "close", lambda _: None)

    assert run(*files.arguments)[0] == 0
