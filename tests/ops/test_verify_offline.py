"""Are an export, a checkpoint and a proof file judged rightly without any store?"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.cli.main import INTEGRITY
from projections import export_lines
from tests.ops.signed_places import SQLitePlace, grown, kept, key, proof_of, rows_of, run
from tests.signing import ORIGIN, house_on_sqlite


@pytest.fixture
def files(tmp_path: Path) -> Iterator[SQLitePlace]:
    """Yield a signed log in a directory."""
    (tmp_path / "data").mkdir()
    with house_on_sqlite(tmp_path / "data") as house:
        yield SQLitePlace(tmp_path / "data", grown(house))


@pytest.fixture
def export(files: SQLitePlace, tmp_path: Path) -> Path:
    """The whole log as an export."""
    file = tmp_path / "export.ndjson"
    file.write_bytes(b"".join(map(export_lines.write, rows_of(files))))
    return file


def test_an_export_is_verified_without_the_store(
    files: SQLitePlace, export: Path, tmp_path: Path
) -> None:
    """Cli 7: file, checkpoint and key are enough; the store may be gone."""
    notes = [kept(files.house, place, tmp_path) for place in (0, 1)]
    keys = ("--key", key(files.house))
    shutil.rmtree(files.directory)

    code, said = run("--export", str(export), "--checkpoint", notes[1], *keys)
    both = run("--export", str(export), *(f"--checkpoint={note}" for note in notes), *keys)
    unjudged = run("--export", str(export), "--checkpoint", notes[1])

    assert code == both[0] == unjudged[0] == 0, said
    assert f"checked against 1 checkpoint of {ORIGIN}" in said
    assert "newer than the checkpoint" in said
    assert f"checked against 2 checkpoints of {ORIGIN}" in both[1]
    assert "the signature was not judged" in unjudged[1]
    assert "not judged" not in said


def test_a_changed_export_or_a_forged_checkpoint_is_refused(
    files: SQLitePlace, export: Path, tmp_path: Path
) -> None:
    """Exit code 10 offline too, with the first position that is wrong."""
    note = kept(files.house, 1, tmp_path)
    keys = ("--key", key(files.house))
    forged = tmp_path / "forged"
    forged.write_text(Path(note).read_text(encoding="utf-8").replace("\n\n", "\n \n\n"))
    lines = export.read_bytes().splitlines(keepends=True)
    changed = tmp_path / "changed.ndjson"
    changed.write_bytes(b"".join([*lines[:29], *lines[30:]]))

    assert run("--export", str(export), "--checkpoint", str(forged), *keys)[0] == INTEGRITY
    code, said = run("--export", str(changed), "--checkpoint", note, *keys)
    assert (code, "position 30 is missing" in said) == (INTEGRITY, True)
    foreign = tmp_path / "foreign"
    foreign.write_text(Path(note).read_text(encoding="utf-8").replace(ORIGIN, "other.example"))
    both = (f"--checkpoint={note}", f"--checkpoint={foreign}")
    assert "of different logs" in run("--export", str(export), *both)[1]


def test_a_proof_file_is_verified_without_the_store(files: SQLitePlace, tmp_path: Path) -> None:
    """Transparency-log 3: one event with its entry and a verifier key."""
    proof, entry = proof_of(files, 12, tmp_path)
    keys = ("--key", key(files.house))

    code, said = run("--proof", str(proof), "--entry", str(entry), *keys)
    entry.write_bytes(entry.read_bytes() + b" ")
    other = run("--proof", str(proof), "--entry", str(entry), *keys)

    assert (code, ORIGIN in said) == (0, True)
    assert other[0] == INTEGRITY


@pytest.mark.parametrize(
    "arguments",
    [
        ("--export", "FILE"),
        ("--checkpoint", "FILE"),
        ("--proof", "FILE"),
        ("--entry", "FILE"),
        ("--proof", "FILE", "--entry", "FILE"),
        ("--export", "FILE", "--checkpoint", "FILE", "--since", "FILE"),
        ("--since", "missing"),
    ],
)
def test_ways_that_do_not_go_together_are_a_usage_error(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    """Cli 4: exit code 2, and nothing is taken for verified."""
    file = tmp_path / "file"
    file.write_text("")

    assert run(*(str(file) if one == "FILE" else one for one in arguments))[0] == 2


def test_a_key_that_is_none_is_said(files: SQLitePlace) -> None:
    """What does not hold is told by its code, also of what the caller gave."""
    code, said = run(*files.arguments, "--key", "x")

    assert (code, "key.malformed" in said) == (INTEGRITY, True)
