"""Does a real server keep its records, whatever ends it?"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from projections import journal
from projections.journal import Entry, Wanted
from tests.e2e.cluster import running
from tests.e2e.node import OWNER_EMAIL, Node

CALLERS = 4
ASKED_BEFORE_KILL = 200
LATE_SECONDS = 60
STRICT = {"MUNIMENT_JOURNAL": "required"}


def entries(directory: Path) -> list[Entry]:
    """What the journal of an embedded installation holds, read past the server."""
    engine = journal.open_sqlite(directory / "journal.db")
    with engine.connect() as connection:
        found = journal.following(connection, Wanted(tenant=None), 0, 1_000_000)
    engine.dispose()
    assert [*range(1, len(found) + 1)] == [one.sequence for one in found]
    return [one.entry for one in found]


def question(bot: str, action: str) -> dict[str, Any]:
    """A question of a bot about itself."""
    return {
        "subject": {"type": "service_account", "id": bot},
        "action": {"name": action},
        "resource": {"type": "FLOW", "id": "nightly-load"},
    }


def bot_of(node: Node) -> tuple[str, str]:
    """Make a service account with a token; answer its id and the token."""
    with node.owner() as owner:
        made = owner.post("/api/v1/main/service-accounts", json={"name": "ci-bot"})
        id_: str = made.json()["id"]
        path = f"/api/v1/main/service-accounts/{id_}/api-tokens"
        token: str = owner.post(path, json={"name": "deploy"}).json()["fullToken"]
    return id_, token


def answered_until_killed(node: Node, bot: str, token: str) -> set[str]:
    """Ask from several callers and kill the server amid it; the actions that were answered."""
    answered: set[str] = set()
    enough = threading.Event()

    def ask(caller: int) -> None:
        with node.client(token) as client:
            for number in range(100_000):
                action = f"A{caller}-{number}"
                try:
                    response = client.post("/access/v1/evaluation", json=question(bot, action))
                except httpx.HTTPError:
                    return
                assert response.status_code == 200
                answered.add(action)
                if len(answered) >= ASKED_BEFORE_KILL:
                    enough.set()

    callers = [threading.Thread(target=ask, args=(caller,)) for caller in range(CALLERS)]
    for one in callers:
        one.start()
    enough.wait(60)
    node.kill()
    for one in callers:
        one.join()
    return answered


@pytest.mark.parametrize(("settings", "keeps"), [(STRICT, True), ({}, False)])
def test_what_was_answered_is_on_disk_after_kill_9(
    tmp_path: Path,
    settings: dict[str, str],
    keeps: bool,  # noqa: FBT001 - a case's expectation
) -> None:
    """Reliability E7: `required` has the record of every answer, even of the last before the end.

    Control: by default the last second's are lost, so the test sees what it looks for.
    """
    node = Node(tmp_path / "data", settings=settings)
    node.init()
    node.start()
    bot, token = bot_of(node)

    answered = answered_until_killed(node, bot, token)

    assert len(answered) >= ASKED_BEFORE_KILL
    kept = {str(one.action) for one in entries(node.data_dir) if one.kind == "decision"}
    assert (answered <= kept) is keeps

    node.start()
    with node.client(token) as client:
        assert client.post("/access/v1/evaluation", json=question(bot, "LAST")).is_success
    assert node.stop() == 0
    assert "LAST" in {one.action for one in entries(node.data_dir)}


def test_a_last_use_is_known_right_after_a_restart(tmp_path: Path) -> None:
    """Security 4.4: what was used before the end is told as used after it."""
    node = Node(tmp_path / "data")
    node.init()
    node.start()
    bot, token = bot_of(node)
    path = f"/api/v1/main/service-accounts/{bot}/api-tokens"
    with node.client(token) as client:
        client.post("/access/v1/evaluation", json=question(bot, "VIEW"))
    node.stop()

    node.start()
    with node.owner() as owner:
        shown = owner.get(path).json()["results"][0]
    node.stop()

    assert shown["lastUsedAddress"] == "127.0.0.1"
    assert shown["lastUsedAgent"].startswith("python-httpx/")
    everything = repr(entries(node.data_dir))
    assert token not in everything
    assert OWNER_EMAIL not in everything


def test_a_last_use_is_known_to_every_process_within_a_minute(tmp_path: Path) -> None:
    """Kestra-iam 8: at most a minute behind, whichever process of a PostgreSQL is asked."""
    with running(tmp_path) as nodes:
        bot, token = bot_of(nodes.first)
        with nodes.first.client(token) as client:
            client.post("/access/v1/evaluation", json=question(bot, "VIEW"))

        path = f"/api/v1/main/service-accounts/{bot}"
        end = time.monotonic() + LATE_SECONDS
        with nodes.second.owner() as owner:
            while "lastUsed" not in owner.get(path).json():
                assert time.monotonic() < end
                time.sleep(0.5)
