"""Is every change of the log found, by what `muniment verify` can know today? (D6).

It folds the log and prints the digest of the state, which an operator keeps. A tail that is cut
off, and bytes that no fold looks at (who did it, from where), need the signed checkpoints of the
transparency log.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from click.testing import CliRunner
from msgspec import Struct, field

from ops.cli.main import INTEGRITY, muniment
from ops.log_schema import SQLITE_GUARDS
from ops.stores import LOG_FILE
from tests.e2e.node import muniment as muniment_process

SHORT: Final = 100
LONG: Final = 1_000
# How many are looked at by a process of the command line, as an operator would.
BY_PROCESS: Final = 5
_FACT: Final = b'"event":{'

Row = tuple[int, str, bytes]
Rows = list[Row]
Change = Callable[[Rows, random.Random], int]


class Verdict(Struct):
    """How `changes` were found: by `verify`, or by the digest at the changed position.

    `unseen` bytes were flipped besides, such as in the name of a member that has its default.
    """

    changes: int = 0
    unseen: int = 0
    by_verify: int = 0
    by_digest: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)


def _flip(rows: Rows, chance: random.Random) -> int:
    """Change one bit of a fact as it is stored; what stands around it no fold looks at."""
    number = chance.randrange(len(rows))
    position, topic, state = rows[number]
    place = chance.randrange(state.index(_FACT) + len(_FACT), len(state) - 2)
    changed = bytearray(state)
    changed[place] ^= 1 << chance.randrange(8)
    rows[number] = position, topic, bytes(changed)
    return position


def _remove(rows: Rows, chance: random.Random) -> int:
    """Take away any row but the last."""
    return rows.pop(chance.randrange(len(rows) - 1))[0]


def _swap(rows: Rows, chance: random.Random) -> int:
    """Let two rows change places."""
    first, second = sorted(chance.sample(range(len(rows)), 2))
    (here, topic, state), (there, other_topic, other_state) = rows[first], rows[second]
    rows[first], rows[second] = (here, other_topic, other_state), (there, topic, state)
    return here


def _rename(rows: Rows, chance: random.Random) -> int:
    """Call a row by the topic of another."""
    number = chance.randrange(len(rows))
    position, topic, state = rows[number]
    others = sorted({other for _, other, _ in rows} - {topic})
    rows[number] = position, chance.choice(others), state
    return position


CHANGES: Final[dict[str, Change]] = {
    "byte flipped": _flip,
    "row removed": _remove,
    "two swapped": _swap,
    "topic changed": _rename,
}


def run(store: Path, directory: Path, *, changes: int, seed: int) -> Verdict:
    """Change a copy of a store once, `changes` times, each kind in turn, and look for it."""
    chance = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    verdict = Verdict()
    copy = directory / "changed"
    while verdict.changes < changes:
        kind = list(CHANGES)[verdict.changes % len(CHANGES)]
        position = change(store, copy, CHANGES[kind], chance)
        if verdict.changes < BY_PROCESS:
            code = muniment_process("verify", data_dir=copy).returncode
        else:
            code = printed("verify", copy)[0]
        if code == INTEGRITY:
            verdict.by_verify += 1
        elif is_seen_by_digest(store, copy, position):
            verdict.by_digest += 1
        elif CHANGES[kind] is _flip:
            verdict.unseen += 1
            continue
        else:
            verdict.missed.append(f"{kind} at {position}, exit code {code}")
        verdict.changes += 1
        verdict.kinds[kind] += 1
    return verdict


def change(store: Path, copy: Path, how: Change, chance: random.Random) -> int:
    """Copy a store anew and change its log past the guards; the first changed position."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(store, copy)
    with closing(sqlite3.connect(copy / LOG_FILE)) as connection:
        query = "SELECT originator_version, topic, state FROM stored_events ORDER BY 1"
        rows: Rows = connection.execute(query).fetchall()
        ((log_id,),) = connection.execute("SELECT DISTINCT originator_id FROM stored_events")
        position = how(rows, chance)
        # Whoever owns the file can drop a trigger, and put it back.
        triggers = [name for name in SQLITE_GUARDS if name.startswith("log_")]
        for name in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("DELETE FROM stored_events")
        connection.executemany(
            "INSERT INTO stored_events VALUES (?, ?, ?, ?)", [(log_id, *row) for row in rows]
        )
        for name in triggers:
            connection.execute(SQLITE_GUARDS[name])
        connection.commit()
    return position


def is_seen_by_digest(store: Path, copy: Path, position: int) -> bool:
    """Whether the digest at a position is not the one that was kept of it, or cannot be had."""
    kept = printed("digest", store, "--position", str(position))
    assert kept[0] == 0, kept[1]
    return printed("digest", copy, "--position", str(position)) != kept


def printed(command: str, store: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of a local command, run in this process."""
    done = CliRunner().invoke(muniment, (command, "--data-dir", str(store), *arguments))
    return done.exit_code, done.output
