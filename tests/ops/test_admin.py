"""Can the operator rotate the signing key, and go on after a restore without hiding it?"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from domain.sealed import Secret
from ops.cli.main import CONFLICT, INVALID, muniment
from ops.data_directory import lock_data_directory
from ops.demo import seed
from ops.inputs import SystemInputs
from ops.log_schema import SQLITE_GUARDS
from ops.sealing import Sealer
from ops.settings import read_settings
from ops.stores import LOG_FILE, open_stores
from projections.runner import ViewRunner
from projections.verifier import VerifierKey, open_note


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """An installation with some history, signed twice."""
    directory = tmp_path / "data"
    settings = read_settings({}, data_dir=directory)
    seed(settings, datetime(2026, 11, 23, tzinfo=UTC), Secret("demo"), Secret("no hash"))
    sign(directory, less=20)
    sign(directory)
    return directory


def sign(directory: Path, less: int = 0) -> str:
    """Sign the log, or less of it; return the note."""
    inputs = SystemInputs()
    with open_stores(read_settings({}, data_dir=directory), inputs) as stores:
        size = ViewRunner(stores.log, stores.views).catch_up() - less
        sealer = Sealer(
            stores.checkpoints,
            stores.vault,
            stores.views,
            stores.log.reader(),
            inputs,
            reached=partial(int, size),
        )
        signed = sealer.seal()
    assert signed is not None
    return signed.note


def cut(directory: Path, rows: int) -> None:
    """Restore the log to less, as a backup from before would."""
    with closing(sqlite3.connect(directory / LOG_FILE)) as connection, connection:
        connection.execute("DROP TRIGGER log_no_delete")
        connection.execute(
            "DELETE FROM stored_events WHERE originator_version >"
            " (SELECT max(originator_version) - ? FROM stored_events)",
            (rows,),
        )
        connection.execute(SQLITE_GUARDS["log_no_delete"])


def run(*arguments: str, directory: Path) -> tuple[int, str, str]:
    """Run a local command; return exit code, output and what was said beside it."""
    done = CliRunner().invoke(muniment, [*arguments, "--data-dir", str(directory)])
    return done.exit_code, done.stdout, done.stderr


def test_rotation_prints_the_new_key_which_signs_beside_the_old_one(store: Path) -> None:
    """Transparency-log 2: both keys sign for a while, and every checkpoint stays valid."""
    code, printed, said = run("admin", "rotate-key", "signing", directory=store)
    new = VerifierKey.parse(printed.strip())
    with open_stores(read_settings({}, data_dir=store), SystemInputs()) as stores:
        old = stores.checkpoints.signing_keys()[0].verifier
        with stores.checkpoints.turn() as turn:
            note = turn.sign(1, bytes(32), stores.vault, SystemInputs()).note

    assert code == 0
    assert "30 days" in said
    assert new != old
    assert open_note(note, [old, new])[1] == (old, new)


def test_a_restored_log_gets_a_new_origin_and_holds_again(store: Path) -> None:
    """Transparency-log 2: the cut is visible instead of hidden; verify then names what was lost."""
    cut(store, 10)
    assert run("verify", directory=store)[0] == 10

    code, printed, said = run("admin", "new-origin", directory=store)
    note = sign(store)
    verified = run("verify", directory=store)

    assert code == 0
    assert printed.strip().endswith("/2")
    assert "events are the same" in said
    assert note.startswith(printed)
    assert verified[0] == 0
    assert "before the log was restored to less" in verified[2]
    assert verified[1].endswith("checked against 2 checkpoints\n")


def test_a_log_that_was_not_cut_keeps_its_origin(store: Path) -> None:
    """Nobody leaves the old tree without need."""
    code, _, said = run("admin", "new-origin", directory=store)

    assert (code, "origin.continues" in said) == (INVALID, True)


def test_keys_are_not_changed_under_a_running_server(store: Path) -> None:
    """Cli 7: on SQLite `admin` needs the server stopped, exit code 7."""
    with lock_data_directory(store):
        for arguments in (("rotate-key", "signing"), ("new-origin",)):
            assert run("admin", *arguments, directory=store)[0] == CONFLICT
