"""What is written into a log by a release that knows a topic more? (reliability B7)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import psycopg
from msgspec.structs import replace

from domain.events import Actor, Envelope, Record, encode
from domain.ids import MAIN, CommandId
from domain.tenants import TenantRenamed
from ops.inputs import SystemInputs
from ops.stores import LOG_FILE
from tests.postgres import Database

KNOWN: Final = "tenant.renamed.v1"
TOPIC: Final = "tenant.renamed.v2"
NAME: Final = "Named by a newer release"
HEAD: Final = "SELECT originator_id, max(originator_version) FROM stored_events GROUP BY 1"


def record(position: int) -> Record:
    """A record of the topic, as an upcast to the known one would read it."""
    inputs = SystemInputs()
    envelope = Envelope(
        at=inputs.now(),
        actor=Actor(type="system", id="system"),
        command_id=CommandId(inputs.id()),
        correlation_id="newer",
        event=TenantRenamed(tenant=MAIN, name=NAME),
    )
    return replace(encode(position, envelope), topic=TOPIC)


def into_postgres(database: Database) -> int:
    """Append it as the runtime role does, while others serve; its position."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        found = connection.execute(HEAD).fetchone()
        assert found is not None
        log_id, head = found
        poison = record(head + 1)
        connection.execute(
            "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
            " VALUES (%s, %s, %s, %s)",
            (log_id, poison.position, poison.topic, poison.state),
        )
    return poison.position


def into_sqlite(data_dir: Path) -> int:
    """Append it to the log of a data directory that nobody serves from; its position."""
    with closing(sqlite3.connect(data_dir / LOG_FILE, isolation_level=None)) as connection:
        log_id, head = connection.execute(HEAD).fetchone()
        poison = record(head + 1)
        connection.execute(
            "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
            " VALUES (?, ?, ?, ?)",
            (log_id, poison.position, poison.topic, poison.state),
        )
    return poison.position
