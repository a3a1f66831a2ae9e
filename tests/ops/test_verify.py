"""Does `muniment verify` name the first position that is wrong?"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec import structs

from domain.events import Record
from ops.cli.main import INTEGRITY, muniment
from ops.event_log import SQLiteLog
from ops.log_schema import migrate_sqlite
from ops.stores import LOG_FILE
from tests.domain.world import EVENTS
from tests.ops.desk import LOG_ID, as_records

HEAD = len(EVENTS)


def verified(directory: Path, records: list[Record]) -> str:
    """Store these records, verify them, and answer what was said."""
    directory.chmod(0o700)
    migrate_sqlite(directory / LOG_FILE)
    with closing(SQLiteLog(directory / LOG_FILE, LOG_ID)) as log:
        log.append(1, records)
    done = CliRunner().invoke(muniment, ["verify", "--data-dir", str(directory)])
    assert done.exit_code == (0 if " events, digest " in done.output else INTEGRITY)
    return done.output


def right() -> list[Record]:
    """A log without fault."""
    return as_records(0, (structs.replace(EVENTS[0], log_id=LOG_ID), *EVENTS[1:]))


def wrong(kind: str) -> list[Record]:
    """A log whose third event from the end is wrong."""
    records = right()
    place = HEAD - 3
    if kind == "topic":
        records[place] = structs.replace(records[place], topic="group.created.v99")
    elif kind == "bytes":
        records[place] = structs.replace(records[place], state=b"{")
    else:
        earlier = records[place].state.replace(b'"at":"2', b'"at":"1', 1)
        records[place] = structs.replace(records[place], state=earlier)
    return records


@pytest.mark.parametrize("kind", ["topic", "bytes", "time"])
def test_verify_names_the_position_that_is_wrong(kind: str, tmp_path: Path) -> None:
    """Cli 7: what cannot be read or folded, or lies about time, is exit code 10 by its position."""
    assert f"position {HEAD - 2}" in verified(tmp_path, wrong(kind))


def test_verify_knows_whose_log_it_is(tmp_path: Path) -> None:
    """Event-log 1: the first event names the log that it opens: none can stand for another."""
    assert "position 1 opens another log" in verified(tmp_path, as_records(0, EVENTS))


def test_verify_finds_nothing_wrong_with_a_right_log(tmp_path: Path) -> None:
    """Control: the same log without the faults is counted and digested."""
    assert f"\n{HEAD} events, digest " in verified(tmp_path, right())
