"""How does a test get a stored log that was signed, and change it behind everybody's back?"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final, Protocol

import psycopg
from click.testing import CliRunner

from domain.events import Record
from ops.cli.main import muniment
from ops.event_log import PostgresLog, SQLiteLog
from ops.log_schema import SQLITE_GUARDS, migrate_sqlite
from ops.stores import LOG_FILE
from projections import transparency
from projections.verifier import InclusionProof, entry_of
from tests.histories import LOG_ID
from tests.postgres import Database
from tests.signing import House

# Two checkpoints: after this many commands, and at the end.
COMMANDS: Final = 40

Rows = list[Record]


class Place(Protocol):
    """A stored log that was signed, and may be changed past its guards."""

    @property
    def house(self) -> House:
        """The vault, the notes, the views, and the log as it was."""
        ...

    @property
    def arguments(self) -> tuple[str, ...]:
        """Where the command line finds it."""
        ...

    def rewrite(self, rows: Rows) -> None:
        """Let the log hold these rows and no others."""
        ...


class SQLitePlace:
    """Files in a data directory."""

    def __init__(self, directory: Path, house: House) -> None:
        self.house = house
        self.directory = directory
        self.arguments = ("--data-dir", str(directory))
        directory.chmod(0o700)
        migrate_sqlite(directory / LOG_FILE)
        with closing(SQLiteLog(directory / LOG_FILE, LOG_ID)) as log:
            log.append(1, house.log.read(0, 10_000))

    def rewrite(self, rows: Rows) -> None:
        triggers = [name for name in SQLITE_GUARDS if name.startswith("log_")]
        with closing(sqlite3.connect(self.directory / LOG_FILE)) as connection, connection:
            for name in triggers:
                connection.execute(f"DROP TRIGGER {name}")
            connection.execute("DELETE FROM stored_events")
            connection.executemany(
                "INSERT INTO stored_events VALUES (?, ?, ?, ?)",
                [(LOG_ID.replace("-", ""), row.position, row.topic, row.state) for row in rows],
            )
            for name in triggers:
                connection.execute(SQLITE_GUARDS[name])


class PostgresPlace:
    """Tables of a database."""

    def __init__(self, database: Database, house: House) -> None:
        self.house = house
        self.database = database
        self.arguments = ("--database-url", database.url)
        with closing(PostgresLog(database.url, LOG_ID)) as log:
            log.append(1, house.log.read(0, 10_000))

    def rewrite(self, rows: Rows) -> None:
        with psycopg.connect(self.database.owner_url) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute("TRUNCATE public.stored_events")
            with connection.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO public.stored_events VALUES (%s, %s, %s, %s)",
                    [(LOG_ID, row.position, row.topic, row.state) for row in rows],
                )


def grown(house: House) -> House:
    """Let a house sign twice, and leave a few events unsigned behind."""
    house.grow(COMMANDS)
    house.sign()
    house.grow(COMMANDS)
    house.sign()
    house.grow()
    house.process()
    return house


def rows_of(place: Place) -> Rows:
    """Return the log as it was stored."""
    return [*place.house.log.read(0, 10_000)]


def run(*arguments: str) -> tuple[int, str]:
    """Run `muniment verify` and return exit code and output."""
    done = CliRunner().invoke(muniment, ["verify", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def kept(house: House, place: int, directory: Path) -> str:
    """Keep a checkpoint in a file, as an outsider does, and return its path."""
    file = directory / f"kept-{place}"
    file.write_text(house.checkpoints.following(0, 10)[place].note, encoding="utf-8")
    return str(file)


def key(house: House) -> str:
    """Return the verifier key."""
    return str(house.checkpoints.signing_keys()[0].verifier)


def proof_of(files: SQLitePlace, position: int, directory: Path) -> tuple[Path, Path]:
    """Keep the proof file and the entry of an event."""
    house = files.house
    signed = house.checkpoints.last()
    assert signed is not None
    with house.views.connect() as connection:
        proved = transparency.inclusion(connection, position - 1, signed.size)
    proof, entry = directory / "event.tlog-proof", directory / "event.entry"
    text = InclusionProof(position - 1, proved.hashes, signed.note).text
    proof.write_text(text, encoding="utf-8")
    record = house.log.read(position - 1, 1)[0]
    entry.write_bytes(entry_of(record.topic, record.state))
    return proof, entry
