"""Are views made anew and put right beside a server, without a request that fails?"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Final, Self

import httpx
import psycopg
import pytest

from ops.cli.main import INTEGRITY, INVALID
from projections.rebuilding import TABLES
from tests.campaigns.access import owner_token
from tests.e2e.node import Node, muniment
from tests.postgres import create_database, drop_database

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postgres import Database

USAGE = 2
PATIENCE_SECONDS: Final = 60.0


class Place:
    """A served installation with some groups, whose views can be damaged."""

    def __init__(self, node: Node, database: Database | None) -> None:
        self.node = node
        self.database = database
        token = owner_token(node.url)
        self.client = httpx.Client(
            base_url=node.url, timeout=30, headers={"Authorization": f"Bearer {token}"}
        )
        for number in range(30):
            self.make(f"Group {number}")

    def make(self, name: str) -> None:
        """Make a group."""
        answer = self.client.post("/api/v1/main/groups", json={"name": name})
        assert answer.is_success, answer.text

    def names(self) -> set[str]:
        """Answer the names of all groups, as the list shows them."""
        answer = self.client.get("/api/v1/main/groups/search?size=100")
        assert answer.is_success, answer.text
        return {one["name"] for one in answer.json()["results"]}

    def execute(self, statement: str) -> None:
        """Change the views past the server."""
        if self.database is None:
            with closing(sqlite3.connect(self.node.data_dir / "views.db", timeout=30)) as database:
                database.execute(statement)
                database.commit()
            return
        with psycopg.connect(self.database.owner_url, autocommit=True) as connection:
            connection.execute("SET search_path TO muniment")
            connection.execute(statement.encode())

    def damage(self) -> None:
        """Let one group be called otherwise, and another be gone."""
        self.execute("UPDATE groups_v1 SET name = 'damaged' WHERE name = 'Group 3'")
        self.execute("DELETE FROM groups_v1 WHERE name = 'Group 4'")

    def replay(self, *arguments: str) -> tuple[int, list[list[str]], str]:
        """Run `muniment replay --rebuild-views`; exit code, the words of each line, and errors."""
        settings = None if self.database is None else {"MUNIMENT_DATABASE_URL": self.database.url}
        done = muniment("replay", *arguments, data_dir=self.node.data_dir, settings=settings)
        return done.returncode, [line.split() for line in done.stdout.splitlines()], done.stderr

    def metric(self, name: str) -> float:
        """Answer a metric."""
        answer = self.client.get("/metrics")
        assert answer.is_success, answer.text
        return next(
            float(line.rpartition(" ")[2])
            for line in answer.text.splitlines()
            if line.startswith(f"muniment_{name}")
        )


@pytest.fixture(params=["sqlite", "postgresql"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """Yield what serves an installation in a kind of store, with further settings."""
    database = create_database(migrated=False) if request.param == "postgresql" else None
    places: list[Place] = []

    def served(**more: str) -> Place:
        settings = dict(more)
        owned = settings
        if database is not None:
            settings["MUNIMENT_DATABASE_URL"] = database.url
            owned = {**settings, "MUNIMENT_OWNER_DATABASE_URL": database.owner_url}
        Node(tmp_path / "data", settings=owned).init()
        node = Node(tmp_path / "data", settings=settings)
        node.start()
        places.append(Place(node, database))
        return places[-1]

    yield served
    for place in places:
        place.client.close()
        place.node.stop()
    if database is not None:
        drop_database(database)


class Asking:
    """Somebody who lists and writes all the while, and counts what fails."""

    def __init__(self, place: Place) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self._place = place
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._place.names()
                self._place.make(f"Meanwhile {self.answers}")
                self.answers += 1
            except (AssertionError, httpx.HTTPError) as fault:
                self.failures.append(str(fault))


def test_views_are_put_right_while_the_server_answers(serve: Callable[..., Place]) -> None:
    """Issue 5: side by side, compared by digest, and not one request fails."""
    place = serve(MUNIMENT_SELF_CHECK_SECONDS="0")
    right = place.names()
    equal, lines, _ = place.replay("--rebuild-views", "--check")
    assert (0, set(TABLES)) == (equal, {line[1] for line in lines})
    assert all(line[3] == line[4] and line[5:] == ["equal"] for line in lines)
    place.damage()
    assert place.names() != right, "the control: the damage shows"

    found, differing, _ = place.replay("--rebuild-views", "--check")
    assert place.names() != right, "comparing alone changes nothing"
    with Asking(place) as asking:
        healed, mended, errors = place.replay("--rebuild-views", "groups", "--progress", "json")
    again, _, _ = place.replay("--rebuild-views", "--check")

    assert (found, healed, again) == (INTEGRITY, 0, 0)
    assert [line[1] for line in differing if line[5:] != ["equal"]] == ["groups"]
    ((_, view, _, live, rebuilt, number, *said),) = mended
    assert (view, number, said) == ("groups", "2", ["rows", "put", "right"])
    assert live != rebuilt
    assert json.loads(errors.splitlines()[-1])["unit"] == "events"
    assert asking.failures == []
    assert asking.answers > 0
    assert right <= place.names()
    assert not [path for path in place.node.data_dir.iterdir() if "rebuilt" in path.name]


def test_a_server_looks_after_its_views_by_itself(serve: Callable[..., Place]) -> None:
    """Issue 5: a continuous self-check finds what differs, says so, and puts it right."""
    place = serve(MUNIMENT_SELF_CHECK_SECONDS="1")
    right = place.names()
    _until(lambda: place.metric('self_checks_total{outcome="equal"}') > 0)
    place.damage()

    _until(lambda: place.metric('self_check_differing_rows_total{view="groups"}') > 0)

    _until(lambda: place.names() == right)
    assert place.metric("self_check_position") > 0
    assert place.metric("self_check_timestamp_seconds") > 0
    assert place.metric('self_checks_total{outcome="failed"}') == 0
    told = [line for line in place.node.output if "views.wrong" in line]
    assert told
    assert "damaged" not in "".join(place.node.output)


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.1)


def test_wrong_usage_is_told(tmp_path: Path) -> None:
    """Cli 4: usage 2; and where there are no views yet, 8 with what to do."""
    node = Node(tmp_path / "data")
    node.init()

    def run(*arguments: str) -> tuple[int, str]:
        done = muniment("replay", *arguments, data_dir=node.data_dir)
        return done.returncode, done.stderr

    assert (USAGE, True) == (run("--check")[0], "--rebuild-views" in run("--check")[1])
    assert run("--rebuild-views", "--to", "3")[0] == USAGE
    unknown = run("--rebuild-views", "nothing")
    assert (USAGE, True) == (unknown[0], "groups" in unknown[1])
    missing = run("--rebuild-views", "--check")
    assert (INVALID, True) == (missing[0], "views.missing" in missing[1])
