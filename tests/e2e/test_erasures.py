"""Is an erased person in no file of an installation, and is all else as it was?"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import psycopg
import pytest

from ops.cli.main import CONFLICT
from tests.campaigns import canaries
from tests.campaigns.access import EVALUATION, owner_token
from tests.e2e.node import Node, muniment
from tests.postgres import create_database, drop_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.postgres import Database

EMAIL: Final = "planted.grace@example.com"
MARKERS: Final = {
    "e-mail": EMAIL.encode(),
    "first name": b"Plantedfirst",
    "last name": b"Plantedlast",
    "alias": b"planted-grace-4711",
    "password": b"planted password of grace 41",
}
QUESTION: Final = {"action": {"name": "VIEW"}, "resource": {"type": "FLOW", "id": "nightly"}}
USAGE = 2
NOT_FOUND = 6


class Place:
    """A served installation, on SQLite or on PostgreSQL, with a person planted in it."""

    def __init__(self, node: Node, database: Database | None) -> None:
        self.node = node
        self.database = database
        self.token = owner_token(node.url)
        self.user = self.ask(
            "POST",
            "/users",
            {
                "email": EMAIL,
                "firstName": MARKERS["first name"].decode(),
                "lastName": MARKERS["last name"].decode(),
                "password": MARKERS["password"].decode(),
                "tenants": ["main"],
            },
        ).json()["id"]
        alias = MARKERS["alias"].decode()
        self.ask("PUT", f"/main/principals/{self.user}/aliases/identity?alias={alias}")
        role = self.ask("POST", "/main/roles", {"name": "r", "permissions": {"FLOW": ["VIEW"]}})
        given = {"type": "USER", "externalId": self.user, "roleId": role.json()["id"]}
        self.then = int(self.ask("POST", "/main/bindings", given).headers["x-muniment-position"])

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:  # noqa: ANN401 - JSON may be anything
        """Ask the server as its owner."""
        url = path if path.startswith("/access") else f"/api/v1{path}"
        with httpx.Client(base_url=self.node.url, timeout=60) as client:
            headers = {"Authorization": f"Bearer {self.token}"}
            answer = client.request(method, url, json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run a client command; answer its exit code and what it printed."""
        settings = {"MUNIMENT_SERVER": self.node.url, "MUNIMENT_API_TOKEN": self.token}
        done = muniment(*arguments, settings=settings)
        return done.returncode, done.stdout + done.stderr

    def verify(self) -> tuple[int, str]:
        """Run `muniment verify` on the store."""
        settings = self.settings
        done = muniment("verify", data_dir=self.node.data_dir, settings=settings)
        return done.returncode, done.stdout + done.stderr

    @property
    def settings(self) -> dict[str, str] | None:
        """Where the store is, if not in the data directory."""
        return None if self.database is None else {"MUNIMENT_DATABASE_URL": self.database.url}

    def past(self) -> tuple[Any, Any]:
        """Answer what the person could do then with the reasons, and since when."""
        subject = {"type": "user", "id": self.user}
        context = {"as_of": {"position": self.then}, "explain": True}
        answer = self.ask("POST", EVALUATION, {**QUESTION, "subject": subject, "context": context})
        query = f"type=user&id={self.user}&resourceType=FLOW&action=VIEW&position={self.then}"
        intervals = self.ask("GET", f"/main/access/blame?{query}").json()["intervals"]
        # The event itself is told without the name.
        return answer.json(), [one["begin"]["position"] for one in intervals]

    def keys(self) -> list[bytes]:
        """Answer the wrapped keys of the person, as the vault holds them."""
        if self.database is None:
            query = "SELECT wrapped FROM vault_keys WHERE subject = ?"
            with closing(sqlite3.connect(self.node.data_dir / "vault.db")) as connection:
                return [row[0] for row in connection.execute(query, (self.user,))]
        with psycopg.connect(self.database.owner_url) as connection:
            query = "SELECT wrapped FROM muniment.vault_keys WHERE subject = %s"
            return [row[0] for row in connection.execute(query, (self.user,))]

    def files(self) -> list[tuple[str, bytes]]:
        """Answer every file of the installation, on PostgreSQL those of the database as well."""
        found = canaries.files(self.node.data_dir)
        if self.database is None:
            return found
        with psycopg.connect(self.database.owner_url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
            (row,) = connection.execute(
                "SELECT current_setting('data_directory'), oid FROM pg_database"
                " WHERE datname = current_database()"
            )
        for directory in ("pg_wal", f"base/{row[1]}"):
            found += canaries.files(Path(row[0]) / directory)
        return found


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Yield an installation on each kind of store."""
    database = create_database(migrated=False) if request.param == "postgresql" else None
    settings = None
    if database is not None:
        settings = {"MUNIMENT_DATABASE_URL": database.url}
        owned = {**settings, "MUNIMENT_OWNER_DATABASE_URL": database.owner_url}
        Node(tmp_path / "data", settings=owned).init()
    node = Node(tmp_path / "data", settings=settings)
    if database is None:
        node.init()
    node.start()
    yield Place(node, database)
    node.stop()
    if database is not None:
        drop_database(database)


def test_nothing_of_an_erased_person_is_in_any_file(place: Place) -> None:
    """Views, snapshots and later exports hold nothing of it, and the log verifies as before."""
    export = "/audit/export?format=ndjson&personal=include"
    assert EMAIL.encode() in place.ask("GET", export).content, "the control: before it is told"
    before, keys = place.past(), place.keys()
    assert before[0]["decision"] is True
    assert len(keys) == 2
    wrapped = {f"key {number}": key for number, key in enumerate(keys)}
    assert canaries.hits(wrapped, place.files()), "the control: the keys are in the files"

    code, told = place.run("erase", f"user:{EMAIL}", "--reason", "asked", "--confirm", EMAIL)
    assert code == 0, told
    assert "erased at position" in told
    exported = place.ask("GET", export).content
    assert place.past() == before
    # What is only in memory is written to disk when the server ends, and read at its start.
    place.node.stop()
    verified = place.verify()
    place.node.start()

    assert verified[0] == 0, verified[1]
    assert place.past() == before
    assert place.keys() == []
    files = [*place.files(), ("export", exported)]
    assert canaries.hits(MARKERS, files) == []
    if place.database is None:
        # PostgreSQL overwrites the space of a row that is gone only later.
        assert canaries.hits(wrapped, files) == []
    assert b'{"erased":true}' in exported
    assert canaries.hits(MARKERS, [("output", "".join(place.node.output).encode())]) == []


def test_a_command_erases_only_what_is_confirmed(tmp_path: Path) -> None:
    """Cli 6: level 2 shows what would end and wants the name; off a terminal by --confirm."""
    node = Node(tmp_path / "data")
    node.init()
    node.start()
    try:
        place = Place(node, None)
        who = (f"user:{place.user}", "--reason", "asked")
        dry = place.run("erase", *who, "--dry-run")
        unasked = place.run("erase", *who)
        wrong = place.run("erase", *who, "--confirm", EMAIL)
        shapeless = place.run("erase", place.user, "--reason", "asked")
        nobody = place.run("erase", "user:nobody@example.com", "--reason", "asked")
        last = place.run("erase", "user:ada@example.com", "--reason", "asked")
        bare = place.run("erase", f"user:{place.user}", "--confirm", place.user)
        still = place.ask("GET", f"/users/{place.user}").json()["email"]
        erased = place.run("erase", *who, "--confirm", place.user)
        twice = place.run("erase", *who, "--confirm", place.user)
        listed = place.ask("GET", "/erasures").json()
    finally:
        node.stop()

    assert (0, True) == (dry[0], "1 x user.erased.v1" in dry[1])
    assert "1 rights end" in dry[1]
    assert (USAGE, True) == (unasked[0], f"--confirm {place.user}" in unasked[1])
    assert (USAGE, True) == (wrong[0], "nothing is done" in wrong[1])
    assert (USAGE, True) == (shapeless[0], "user:EMAIL" in shapeless[1])
    assert (NOT_FOUND, True) == (nobody[0], "named by its id" in nobody[1])
    assert (CONFLICT, USAGE) == (last[0], bare[0])
    assert still == EMAIL
    assert erased[0] == 0
    assert (0, True) == (twice[0], "erased already" in twice[1])
    assert [place.user] == [one["id"] for one in listed["results"]]
