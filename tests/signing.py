"""How does a test get a signer, and let the log that it signs grow, shrink or fork?"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import psycopg
from sqlalchemy import create_engine

from ops import checkpoints
from ops.checkpoints import Checkpoints
from ops.postgres import ROLE
from ops.sealing import Rhythm, Sealer
from ops.vault import Vault, sqlite_engine
from projections import views
from projections.runner import ViewRunner
from projections.verifier import Checkpoint, open_checkpoint
from tests.fixed_inputs import FixedInputs
from tests.histories import LOG_ID, Histories
from tests.memory_log import MemoryLog

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Engine

    from domain.events import Record
    from ops.inputs import Inputs
    from ops.sinks import Sink
    from ops.stores import Reader
    from tests.postgres import Database

ORIGIN: Final = "iam.example/log-1"
# Signs at once when asked, and of itself only as the test's clock goes.
AT_ONCE: Final = Rhythm(pause_seconds=0)
MASTER: Final = bytes(range(32))


def new_sealer(
    engines: tuple[Engine, Engine], vault: Vault, log: Reader, inputs: Inputs, runner: ViewRunner
) -> Sealer:
    """Return the signer of a new installation; the engines are the vault's and the views'."""
    kept, tree = engines
    checkpoints.create(kept)
    store = Checkpoints(kept)
    store.begin(vault, ORIGIN, inputs)
    return Sealer(store, vault, tree, log, inputs, reached=lambda: runner.position, rhythm=AT_ONCE)


class Process:
    """One process that follows a log and signs it."""

    def __init__(
        self, house: House, log: MemoryLog, rhythm: Rhythm, sink: Sink | None = None
    ) -> None:
        self.log = log
        self.runner = ViewRunner(log, house.views)
        self.sealer = Sealer(
            house.checkpoints,
            house.vault,
            house.views,
            log,
            house.inputs,
            reached=lambda: self.runner.position,
            sink=sink,
            rhythm=rhythm,
        )


class House:
    """What all processes of an installation share: a history, the vault, the views, the notes."""

    def __init__(self, kept: Engine, tree: Engine) -> None:
        self.kept = kept
        self.views = tree
        self.inputs = FixedInputs()
        self.vault = Vault(kept, MASTER, LOG_ID, self.inputs)
        self.checkpoints = Checkpoints(kept)
        self.checkpoints.begin(self.vault, ORIGIN, self.inputs)
        self.histories = Histories(5)
        self.log = MemoryLog(LOG_ID)
        self.grow(20)

    def grow(self, commands: int = 5) -> None:
        """Let the log become longer, by at least one event."""
        head = self.log.head()
        self.histories.run(commands)
        while len(self.histories.records) == head:
            self.histories.run(commands)
        self.log.append(head + 1, self.histories.records[head:])

    def process(self, log: MemoryLog | None = None, rhythm: Rhythm = AT_ONCE) -> Process:
        """Start a process, which follows the log to its end."""
        process = Process(self, log or self.log, rhythm)
        process.runner.catch_up()
        return process

    def sign(self) -> Checkpoint:
        """Sign the log as it is, and answer what was signed."""
        signed = self.process().sealer.seal()
        assert signed is not None
        return self.opened(signed.note)

    def opened(self, note: str) -> Checkpoint:
        """Judge a note by the keys that are listed."""
        return open_checkpoint(note, [key.verifier for key in self.checkpoints.signing_keys()])


def log_of(records: Sequence[Record]) -> MemoryLog:
    """Return a log that holds these records."""
    log = MemoryLog(LOG_ID)
    log.append(1, records)
    return log


def other_history(head: int) -> list[Record]:
    """Return a history of at least so many events that is not the house's."""
    histories = Histories(6)
    while len(histories.records) < head:
        histories.run(5)
    return histories.records


@contextmanager
def house_on_sqlite(directory: Path) -> Iterator[House]:
    """Give a house whose rows are files."""
    kept = sqlite_engine(directory / "vault.db")
    tree = views.open_sqlite(directory / "views.db")
    Vault.create(kept, MASTER, LOG_ID, FixedInputs())
    checkpoints.create(kept)
    yield House(kept, tree)
    kept.dispose()
    tree.dispose()


@contextmanager
def house_on_postgresql(database: Database) -> Iterator[House]:
    """Give a house whose rows are made by the database's owner and kept by the runtime role."""
    owner = create_engine(
        "postgresql+psycopg://", creator=partial(psycopg.connect, database.owner_url)
    )
    Vault.create(owner, MASTER, LOG_ID, FixedInputs())
    checkpoints.create(owner)
    with views.open_postgresql(owner).begin() as connection:
        views.create(connection, role=ROLE)
    owner.dispose()
    engine = create_engine("postgresql+psycopg://", creator=partial(psycopg.connect, database.url))
    yield House(engine, views.open_postgresql(engine))
    engine.dispose()
