"""Is every change of the log found by `muniment verify`? (D6).

The store has signed checkpoints, one near the middle and one at the end. For a tail that is cut off
together with what was signed of it, only somebody outside who kept the last one can tell.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

from click.testing import CliRunner
from msgspec import Struct, field

from ops.cli.main import INTEGRITY, muniment
from ops.inputs import SystemInputs
from ops.log_schema import SQLITE_GUARDS
from ops.sealing import Sealer
from ops.settings import read_settings
from ops.stores import LOG_FILE, VAULT_FILE, VIEWS_FILE, open_stores
from projections.runner import ViewRunner
from tests.e2e.node import PROGRAM
from tests.e2e.node import muniment as muniment_process

SHORT: Final = 100
LONG: Final = 1_000
# How many are looked at by a process of the command line, as an operator would.
BY_PROCESS: Final = 5
# How often there is no view that could name the position.
WITHOUT_VIEWS: Final = 0.3
ROOTLESS: Final = "tests.campaigns.mutants.rootless"
CONTROLS: Final = 10
TAIL: Final = "tail cut"

Row = tuple[int, str, bytes]
Rows = list[Row]
Change = Callable[[Rows, random.Random], int]


class Verdict(Struct):
    """How many changes were found, and of how many the very position was named."""

    changes: int = 0
    found: int = 0
    named: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)


def _flip(rows: Rows, chance: random.Random) -> int:
    """Change one bit of what is stored, whether a fold looks at it or not."""
    number = chance.randrange(len(rows))
    position, topic, state = rows[number]
    changed = bytearray(state)
    changed[chance.randrange(len(state))] ^= 1 << chance.randrange(8)
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


def _cut(rows: Rows, chance: random.Random) -> int:
    """Take away the last rows, one or more."""
    left = chance.randrange(1, len(rows))
    del rows[left:]
    return left + 1


CHANGES: Final[dict[str, Change]] = {
    "byte flipped": _flip,
    "row removed": _remove,
    "two swapped": _swap,
    "topic changed": _rename,
    TAIL: _cut,
}


def sign(store: Path) -> Path:
    """Let a store sign its log, up to the middle and up to the end; keep the last note outside."""
    settings = read_settings({}, data_dir=store)
    inputs = SystemInputs()
    with open_stores(settings, inputs) as stores, closing(stores.log.reader()) as reader:
        runner = ViewRunner(stores.log.reader(), stores.views)
        head = runner.catch_up()
        for size in (head // 2, head):
            sealer = Sealer(
                stores.checkpoints,
                stores.vault,
                stores.views,
                reader,
                inputs,
                reached=partial(int, size),
            )
            signed = sealer.seal()
    assert signed is not None
    kept = store.with_name(f"{store.name}.checkpoint")
    kept.write_text(signed.note, encoding="utf-8")
    return kept


def run(
    store: Path, kept: Path, directory: Path, *, changes: int, seed: int, program: str = PROGRAM
) -> Verdict:
    """Change a copy of a store once, `changes` times, each kind in turn, and look for it.

    `kept` is the last checkpoint, as somebody outside has it. With another program than the real
    one every try is a process of its own.
    """
    chance = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    verdict = Verdict()
    copy = directory / "changed"
    while verdict.changes < changes:
        kind = list(CHANGES)[verdict.changes % len(CHANGES)]
        position = change(store, copy, CHANGES[kind], chance)
        arguments: tuple[str, ...] = ()
        if kind == TAIL:
            _forget_checkpoints(copy)
            arguments = ("--since", str(kept))
        if chance.random() < WITHOUT_VIEWS:
            (copy / VIEWS_FILE).unlink()
        if program != PROGRAM or verdict.changes < BY_PROCESS:
            done = muniment_process("verify", *arguments, data_dir=copy, program=program)
            code, said = done.returncode, done.stderr
        else:
            code, said = printed("verify", copy, *arguments)
        verdict.changes += 1
        verdict.kinds[kind] += 1
        verdict.found += code == INTEGRITY
        verdict.named += code == INTEGRITY and f"position {position} " in said
        if code != INTEGRITY:
            verdict.missed.append(f"{kind} at {position}, exit code {code}")
    return verdict


def _forget_checkpoints(copy: Path) -> None:
    """Take away what was signed as well, as a restore of everything does."""
    with closing(sqlite3.connect(copy / VAULT_FILE)) as connection, connection:
        connection.execute("DELETE FROM checkpoints")


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


def printed(command: str, store: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of a local command, run in this process."""
    done = CliRunner().invoke(muniment, (command, "--data-dir", str(store), *arguments))
    return done.exit_code, done.output
