"""Does a replay amount to the state of the log at a moment, of a store and of an export?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from domain.events import decode
from domain.state import State, digest, evolve
from ops.cli.main import INTEGRITY, INVALID, muniment
from projections import export_lines
from tests.histories import LOG_ID, Histories
from tests.ops.signed_places import SQLitePlace, grown, rows_of
from tests.signing import house_on_sqlite
from tests.tidy import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from domain.events import Record
    from tests.ops.signed_places import Place

USAGE = 2


def run(*arguments: str) -> tuple[int, str, str]:
    """Run `muniment replay`; answer exit code, standard output and standard error."""
    done = CliRunner().invoke(muniment, ["replay", *arguments])
    return done.exit_code, done.stdout, done.stderr


def line(records: list[Record], position: int) -> str:
    """Answer what is to be printed at a position, folded here."""
    return f"{position} {digest(evolve(State(), map(decode, records[:position])))}\n"


@pytest.fixture
def records() -> list[Record]:
    """A random log."""
    history = Histories(7)
    history.run(300)
    return history.records


@pytest.fixture
def export(records: list[Record], tmp_path: Path) -> Path:
    """The whole log as an export."""
    return written(tmp_path / "export.ndjson", records)


def written(file: Path, records: list[Record]) -> Path:
    """Write records as an export does."""
    file.write_bytes(b"".join(map(export_lines.write, records)))
    return file


# Of a store


def test_a_store_is_replayed_to_its_head_and_to_any_moment(place: Place) -> None:
    """Cli 7: a position, an instant, a day; what is printed is the fold's digest."""
    rows = rows_of(place)
    at = decode(rows[19]).envelope.at

    assert run(*place.arguments) == (0, line(rows, len(rows)), "")
    assert run(*place.arguments, "--to", "20") == (0, line(rows, 20), "")
    last = max(row.position for row in rows if decode(row).envelope.at <= at)
    assert run(*place.arguments, "--to", at.isoformat()) == (0, line(rows, last), "")
    assert run(*place.arguments, "--to", "2099-12-31") == (0, line(rows, len(rows)), "")


@pytest.mark.parametrize(
    ("to", "status", "code"),
    [
        ("999999", INVALID, "position.future"),
        ("1999-01-01T00:00:00Z", INVALID, "position.before_first"),
        ("soon", USAGE, "no instant"),
        ("-1", USAGE, "no instant"),
        ("2026-02-30", USAGE, "no instant"),
    ],
)
def test_what_is_no_moment_of_the_log_is_refused(
    export: Path, to: str, status: int, code: str
) -> None:
    """Issue 5: before the first event, after the head, or not a time."""
    found = run("--from-export", str(export), "--to", to)

    assert found[0] == status
    assert code in found[2]
    assert found[1] == ""


def test_a_replay_prints_what_digest_prints(place: Place) -> None:
    """One line to compare on every node (reliability B6)."""
    printed = CliRunner().invoke(muniment, ["digest", *place.arguments, "--position", "30"])

    assert run(*place.arguments, "--to", "30")[1] == printed.stdout


# Of an export


def test_an_export_is_replayed_without_any_store(records: list[Record], export: Path) -> None:
    """To its end and to a moment; a store that it is of may be named, or the log's id."""
    whole = line(records, len(records))

    assert run("--from-export", str(export)) == (0, whole, "")
    assert run("--from-export", str(export), "--log", LOG_ID) == (0, whole, "")
    assert run("--from-export", str(export), "--to", "9") == (0, line(records, 9), "")


def test_an_export_of_another_log_is_refused(
    tmp_path: Path, export: Path, records: list[Record]
) -> None:
    """Issue 5: a position from another installation is refused by its log id."""
    (tmp_path / "data").mkdir()
    other = "00000000-0000-4000-8000-000000000000"
    with house_on_sqlite(tmp_path / "data") as house:
        arguments = SQLitePlace(tmp_path / "data", grown(house)).arguments
    foreign = written(tmp_path / "foreign", [one_of(other, records[0]), *records[1:]])

    assert run("--from-export", str(export), *arguments)[0] == 0
    refused = run("--from-export", str(foreign), *arguments)
    assert refused[0] == INTEGRITY
    assert "log.foreign" in refused[2]
    named = run("--from-export", str(export), "--log", other)
    assert named[0] == INTEGRITY
    assert "log.foreign" in named[2]


def one_of(log_id: str, opening: Record) -> Record:
    """Answer an opening of another log."""
    state = opening.state.replace(LOG_ID.encode(), log_id.encode())
    return type(opening)(opening.position, opening.topic, state)


@pytest.mark.parametrize("fault", ["gap", "swapped", "cut", "leaf", "topic"])
def test_a_damaged_export_is_refused(tmp_path: Path, records: list[Record], fault: str) -> None:
    """A line away, two that changed places, half a line, a leaf or a topic that is not theirs."""
    lines = [*map(export_lines.write, records)]
    match fault:
        case "gap":
            del lines[40]
        case "swapped":
            lines[40:42] = lines[41:39:-1]
        case "cut":
            lines[-1] = lines[-1][: len(lines[-1]) // 2]
        case "leaf":
            told = json.loads(lines[40])
            told["leaf_hash"] = json.loads(lines[41])["leaf_hash"]
            lines[40] = json.dumps(told).encode() + b"\n"
        case _:
            told = json.loads(lines[40])
            told["topic"] = "from.the_future.v9"
            del told["leaf_hash"]
            lines[40] = json.dumps(told).encode() + b"\n"
    file = tmp_path / "damaged"
    file.write_bytes(b"".join(lines))

    code, told_out, said = run("--from-export", str(file))

    assert code == INTEGRITY
    assert told_out == ""
    assert "4" in said or "300" in said or "after position" in said


def test_options_that_do_not_belong_together_are_wrong_usage(export: Path) -> None:
    """One source, and one way to say which log it is of."""
    assert run("--data-dir", "/nowhere", "--log", "x")[0] == USAGE
    assert run("--from-export", str(export), "--data-dir", "/nowhere", "--log", "x")[0] == USAGE
    assert run("--from-export", str(export) + "-not")[0] == USAGE


# How it says how far it is


def test_progress_is_told_in_lines_to_a_machine(records: list[Record], export: Path) -> None:
    """Cli 6: done, of how much, the rate and the time left; the last line is the whole."""
    code, _, said = run("--from-export", str(export), "--progress", "json")

    told = [json.loads(one) for one in said.splitlines()]
    assert code == 0
    assert told[-1]["done"] == told[-1]["of"] == export.stat().st_size
    assert {"unit", "done", "of", "rate", "left"} == told[-1].keys()
    assert records


def test_progress_of_a_store_counts_events(place: Place) -> None:
    """Standard output is data only."""
    code, out, said = run(*place.arguments, "--to", "25", "--progress", "json")

    last = json.loads(said.splitlines()[-1])
    assert (code, last["unit"], last["done"], last["of"]) == (0, "events", 25, 25)
    assert out.startswith("25 ")


def test_a_replay_is_the_same_in_every_process(export: Path) -> None:
    """Reliability B8: whatever hashes, time zone and locale are."""
    printed = set()
    for seed, zone in (("0", "UTC"), ("1", "Asia/Kathmandu"), ("777", "America/New_York")):
        surroundings = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C"}
        done = subprocess.run(
            [sys.executable, "-m", "ops.cli.main", "replay", "--from-export", str(export)],
            env=surroundings,
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        printed.add(done.stdout)

    assert len(printed) == 1
