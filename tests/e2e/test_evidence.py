"""Can somebody outside hold a real installation to its word, whatever happens to its process?"""

from __future__ import annotations

import itertools
import json
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import httpx
import pytest

from ops.log_schema import SQLITE_GUARDS
from projections.verifier import InclusionProof, VerifierKey, open_checkpoint, verify_event
from tests.campaigns.report import say
from tests.e2e.cluster import Cluster, running
from tests.e2e.node import Node, muniment

SEED: Final = 20261123
KILLS: Final = 4
PATIENCE_SECONDS: Final = 30.0
AUDIT: Final = "/api/v1/audit"
GROUPS: Final = "/api/v1/main/groups"


def keys(client: httpx.Client) -> list[VerifierKey]:
    """Return the keys that the installation lists."""
    listed = client.get(f"{AUDIT}/keys").json()["keys"]
    return [VerifierKey.parse(key["verifierKey"]) for key in listed]


def write(client: httpx.Client, name: str) -> int:
    """Make a group; return the position of it."""
    answer = client.post(GROUPS, json={"name": name})
    assert answer.status_code == 200, answer.text
    return int(answer.headers["X-Muniment-Position"])


def proved(client: httpx.Client, position: int) -> str:
    """Ask for the proof of an event until it is signed; return the file."""
    end = time.monotonic() + PATIENCE_SECONDS
    while (answer := client.get(f"{AUDIT}/events/{position}/proof")).status_code != 200:
        assert answer.json()["code"] == "proof.not_sealed"
        assert time.monotonic() < end
    return answer.text


def keep(directory: Path, note: str) -> Path:
    """Keep a note outside."""
    file = directory / f"{len([*directory.glob('*.note')]):03}.note"
    file.write_text(note, encoding="utf-8")
    return file


def cut(data_dir: Path, rows: int) -> None:
    """Take the last rows away, and everything that was signed of them, as their owner can."""
    with closing(sqlite3.connect(data_dir / "log.db")) as connection, connection:
        connection.execute("DROP TRIGGER log_no_delete")
        connection.execute(
            "DELETE FROM stored_events WHERE originator_version >"
            " (SELECT max(originator_version) - ? FROM stored_events)",
            (rows,),
        )
        connection.execute(SQLITE_GUARDS["log_no_delete"])
    with closing(sqlite3.connect(data_dir / "vault.db")) as connection, connection:
        connection.execute("DELETE FROM checkpoints")
    (data_dir / "views.db").unlink()


def test_an_outsider_keeps_a_checkpoint_and_finds_the_log_cut(node: Node, tmp_path: Path) -> None:
    """Transparency-log: proof, entry and key offline; and only the kept note tells of the cut."""
    with node.owner() as client:
        position = write(client, "Evidence")
        proof = tmp_path / "event.tlog-proof"
        proof.write_text(proved(client, position), encoding="utf-8")
        entry = tmp_path / "event.entry"
        entry.write_bytes(client.get(f"{AUDIT}/events/{position}/entry").content)
        known = keys(client)
        kept = keep(tmp_path, client.get(f"{AUDIT}/checkpoint").text)

    key = str(known[0])
    beside = muniment("verify", "--since", str(kept), data_dir=node.data_dir)
    offline = muniment("verify", "--proof", str(proof), "--entry", str(entry), "--key", key)
    assert (beside.returncode, offline.returncode) == (0, 0), beside.stderr + offline.stderr
    assert verify_event(proof.read_text(encoding="utf-8"), entry.read_bytes(), known)

    assert node.stop() == 0
    cut(node.data_dir, 1)
    alone = muniment("verify", data_dir=node.data_dir)
    held = muniment("verify", "--since", str(kept), data_dir=node.data_dir)
    assert alone.returncode == 0
    assert (held.returncode, f"position {position} is missing" in held.stderr) == (10, True)


def test_a_shutdown_signs_what_there_is_and_every_note_leaves_the_house(tmp_path: Path) -> None:
    """Transparency-log 2 and 4: at shutdown, to the directory, at least once and in order."""
    notes = tmp_path / "notes"
    notes.mkdir()
    node = Node(tmp_path / "data", settings={"MUNIMENT_CHECKPOINT_SINK": str(notes)})
    node.init()
    positions = []
    for number in range(2):
        node.start()
        with node.owner() as client:
            positions.append(write(client, f"Group {number}"))
            known = keys(client)
        assert node.stop() == 0

    shipped = [
        open_checkpoint(file.read_text(encoding="utf-8"), known)
        for file in sorted(notes.glob("*.checkpoint"))
    ]

    sizes = [one.size for one in shipped]
    assert sizes == sorted(set(sizes))
    assert set(positions) <= set(sizes)
    last = muniment("verify", data_dir=node.data_dir)
    assert last.stdout.endswith(f"checked against {len(sizes)} checkpoints\n")


def test_standard_output_carries_notes_beside_the_log(tmp_path: Path) -> None:
    """Transparency-log 4: one line of JSON a note."""
    node = Node(tmp_path / "data", settings={"MUNIMENT_CHECKPOINT_SINK": "-"})
    node.init()
    node.start()
    with node.owner() as client:
        known = keys(client)
        write(client, "Bots")
    assert node.stop() == 0

    told = [json.loads(line) for line in node.output if line.startswith('{"checkpoint"')]
    assert told
    for one in told:
        assert open_checkpoint(one["checkpoint"], known).size > 0


def test_kill_9_while_signing_leaves_nothing_that_contradicts(tmp_path: Path) -> None:
    """Transparency-log 6: whatever was published before a crash holds for ever after it."""
    chance = random.Random(SEED)  # noqa: S311 - nothing is to be secret, all repeatable
    node = Node(tmp_path / "data")
    node.init()
    seen: list[str] = []
    for cycle in range(KILLS):
        node.start()
        published = threading.Event()
        watcher = threading.Thread(target=_watch, args=(node, cycle, seen, published))
        watcher.start()
        assert published.wait(PATIENCE_SECONDS)
        time.sleep(chance.random() * 1.2)
        node.kill()
        watcher.join(PATIENCE_SECONDS)

    say("kill while signing", f"{len(set(seen))} checkpoints seen", n=KILLS, seed=SEED)
    assert len(set(seen)) >= KILLS
    kept = [f"--since={keep(tmp_path, note)}" for note in dict.fromkeys(seen)]
    done = muniment("verify", *kept, data_dir=node.data_dir)
    assert done.returncode == 0, done.stderr


def _watch(node: Node, cycle: int, seen: list[str], published: threading.Event) -> None:
    """Write, have it signed, and keep what is published, until the server is gone."""
    with suppress(httpx.HTTPError), node.owner() as client:
        for number in itertools.count():
            position = write(client, f"Group {cycle}-{number}")
            answer = client.get(f"{AUDIT}/events/{position}/proof")
            if answer.status_code == 200:
                seen.append(InclusionProof.parse(answer.text).note)
                published.set()


def test_a_store_from_before_checkpoints_is_migrated_and_then_signed(tmp_path: Path) -> None:
    """Event-log 8: `serve` names `migrate`; after it the installation begins to sign."""
    node = Node(tmp_path / "data")
    node.init()
    with closing(sqlite3.connect(node.data_dir / "vault.db")) as connection, connection:
        for table in ("checkpoints", "signed_origins", "signing_keys", "checkpoints_shipped"):
            connection.execute(f"DROP TABLE {table}")

    refused = muniment("serve", "--port", "0", data_dir=node.data_dir)
    migrated = muniment("migrate", data_dir=node.data_dir)

    assert (refused.returncode, "muniment migrate" in refused.stderr) == (8, True)
    assert migrated.returncode == 0
    node.start()
    with node.owner() as client:
        assert proved(client, 1)
    assert node.stop() == 0


# Several processes


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes over one database."""
    with running(tmp_path_factory.mktemp("cluster")) as served:
        yield served


def test_two_nodes_give_one_root_and_one_sequence_of_checkpoints(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Transparency-log 6: whichever node is asked, and both may sign."""
    first, second = (node.owner() for node in cluster.nodes)
    with first, second:
        for number in range(6):
            writer, reader = (first, second) if number % 2 else (second, first)
            position = write(writer, f"Shared {number}")
            proved(reader, position)
        asked = f"{AUDIT}/proofs/inclusion?index=3&size={position}"
        consistent = f"{AUDIT}/proofs/consistency?from=5&to={position}"
        assert first.get(asked).json() == second.get(asked).json()
        assert first.get(consistent).json() == second.get(consistent).json()
        assert first.get(asked).status_code == 200
        listed = [client.get(f"{AUDIT}/checkpoints").json()["items"] for client in (first, second)]
        known = keys(first)
        kept = keep(tmp_path, second.get(f"{AUDIT}/checkpoint").text)

    assert listed[0] == listed[1]
    sizes = [item["size"] for item in listed[0]]
    assert sizes == sorted(set(sizes), reverse=True)
    for item in listed[0]:
        assert open_checkpoint(item["checkpoint"], known).size == item["size"]
    done = muniment("verify", "--since", str(kept), settings=cluster.stored)
    assert done.returncode == 0, done.stderr
