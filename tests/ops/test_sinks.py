"""Does every checkpoint leave the house, in order, whatever comes in between?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ops import sinks
from ops.settings import SettingsError
from ops.sinks import Directory, Sink, open_sink, ship
from tests.signing import AT_ONCE, House, Process, house_on_sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.evidence import Signed


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Yield an installation that has signed three times."""
    with house_on_sqlite(tmp_path) as found:
        for _ in range(3):
            found.sign()
            found.grow()
        yield found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory for notes."""
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


class Faulty(Directory):
    """A directory that cannot take anything when it is full."""

    full = False

    def write(self, signed: Signed) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        super().write(signed)


def notes(place: Path) -> list[str]:
    """Return the notes in a directory, in the order of their names."""
    return [file.read_text(encoding="utf-8") for file in sorted(place.glob("*.checkpoint"))]


def test_each_note_is_a_file_in_the_order_of_signing(house: House, place: Path) -> None:
    """Transparency-log 4: each is there as it was signed, and none is written twice."""
    sink = open_sink(str(place), house.checkpoints)
    assert sink is not None

    assert ship(sink, house.checkpoints, sink.last()) == 3

    signed = house.checkpoints.following(0, 10)
    assert notes(place) == [one.note for one in signed]
    assert [house.opened(note).size for note in notes(place)] == [one.size for one in signed]
    assert Directory(place).last() == 3
    assert not [*place.glob(".*")]


def test_after_a_crash_the_last_note_is_written_again(
    house: House, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least once: between the note and its number nothing is lost."""
    sink = Directory(place)
    first, second, _ = house.checkpoints.following(0, 10)
    sink.write(first)
    written: list[int] = []
    monkeypatch.setattr(sink, "write", lambda signed: written.append(signed.number))
    (place / "last").write_text("0\n")

    ship(sink, house.checkpoints, Directory(place).last())

    assert written == [first.number, second.number, 3]


def test_a_signer_ships_and_what_cannot_be_taken_comes_later(
    house: House, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk is said, passed over never, and made up for in order."""
    sink = Faulty(place)
    process = Process(house, house.log, AT_ONCE, sink)
    process.runner.catch_up()
    sink.full = True
    process.sealer.look()
    assert notes(place) == []
    assert "not shipped" in caplog.messages

    sink.full = False
    process.sealer.look()

    assert notes(place) == [one.note for one in house.checkpoints.following(0, 10)]
    assert len(notes(place)) == 4


def test_standard_output_gets_a_line_for_each_note_and_goes_on_after_a_restart(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line of JSON among those of the log, from which the note is had back exactly."""
    for _ in range(2):
        sink = open_sink("-", house.checkpoints)
        assert sink is not None
        ship(sink, house.checkpoints, sink.last())
        house.sign()
        house.grow()

    lines = capsys.readouterr().out.splitlines()
    told = [json.loads(line)["checkpoint"] for line in lines]
    assert told == [one.note for one in house.checkpoints.following(0, 10)][:4]


def test_pages_of_notes_are_shipped_to_the_last(
    house: House, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are to be made up for, none stays behind."""
    monkeypatch.setattr(sinks, "PAGE", 2)

    assert ship(Directory(place), house.checkpoints, 0) == 3


def test_no_sink_and_a_wrong_one(house: House, place: Path) -> None:
    """A setting that names no directory is refused, so that nobody believes notes are shipped."""
    sink: Sink | None = open_sink("", house.checkpoints)
    assert sink is None
    with pytest.raises(SettingsError, match="CHECKPOINT_SINK"):
        open_sink(str(place / "missing"), house.checkpoints)
