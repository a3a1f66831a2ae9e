"""Does every node come to know, in time and whole, what another has acknowledged?"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaigns import access, halves, poison, reads, revocations
from tests.campaigns.access import ACCOUNTS, EVALUATION, World, question
from tests.campaigns.client import Client, bearer
from tests.campaigns.report import say
from tests.e2e.cluster import Cluster, known_everywhere, ready, running, until_ready
from tests.e2e.node import Node, muniment

SEED = 20261123
IGNORE_AT_LEAST = "tests.campaigns.mutants.ignore_at_least"
DEAF = "tests.campaigns.mutants.deaf"
PIECEMEAL = "tests.campaigns.mutants.piecemeal"
POISON_SKIP = "tests.campaigns.mutants.poison_skip"
NEWER = "tests.campaigns.mutants.newer"
HALT_SECONDS = 3.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes that this module shares."""
    with running(tmp_path_factory.mktemp("followers")) as served:
        yield served


@pytest.fixture(scope="module")
def world(cluster: Cluster) -> World:
    """What is asked about, known to both."""
    made = access.build(cluster.first.url)
    known_everywhere(cluster, made)
    return made


def test_who_names_a_position_never_sees_less(cluster: Cluster, world: World) -> None:
    """Reliability B3: written on one node, read or checked on the other, by `at_least`."""
    urls = cluster.urls
    verdict = reads.run(urls, urls, world.owner_token, pairs=reads.SHORT, seed=SEED)

    say("B3", verdict, n=reads.SHORT, seed=SEED)
    assert verdict.stale == 0
    assert verdict.pairs >= reads.SHORT
    assert verdict.unreached < reads.SHORT / 100


def test_what_cannot_be_reached_in_time_is_no_older_answer(cluster: Cluster, world: World) -> None:
    """Reliability B3: with the link to the database held up, 503 and never an older answer."""
    owners = [Client(url, bearer(world.owner_token)) for url in cluster.urls]
    subject = reads.make(owners[0], "held-up")
    refused = 0
    for _ in range(3):
        cluster.link.swallow()
        bound = reads.bind(owners[0], subject)
        asked = question(subject.account, at_least=bound.position)
        answer = owners[1].ask("POST", EVALUATION, asked)
        refused += (answer.status, answer.code) == (503, "position.not_reached")
        cluster.link.flow()
        until_ready(cluster.second)
        later = owners[1].ask("POST", EVALUATION, asked)
        assert later.body["decision"] is True
        owners[0].made("DELETE", f"{reads.BINDINGS}/{bound.body['id']}")
    for client in owners:
        client.close()

    assert refused == 3


def test_a_node_that_does_not_wait_is_noticed(
    cluster: Cluster, world: World, tmp_path: Path
) -> None:
    """Control of reliability B3: `ignore_at_least` answers from older facts."""
    with cluster.joined(tmp_path / "hasty", IGNORE_AT_LEAST) as hasty:
        verdict = reads.run(
            [cluster.first.url], [hasty.url], world.owner_token, pairs=reads.SHORT, seed=SEED + 10
        )

    say("B3, ignore_at_least", verdict, n=verdict.pairs, seed=SEED)
    assert verdict.stale > 0


@pytest.mark.parametrize("kind", revocations.KINDS)
def test_a_revocation_holds_everywhere_within_a_second(cluster: Cluster, kind: str) -> None:
    """Reliability B4: on the answering node at once, on the other within a second."""
    made = access.build(cluster.first.url, f"Revoked {kind}")
    changes = revocations.SHORT_SESSIONS if kind == "session" else revocations.SHORT

    verdict = revocations.run(cluster.urls, made, kind, changes=changes)

    say(f"B4, {kind}", str(verdict))
    assert verdict.changes == changes
    assert verdict.later_allows == 0
    assert verdict.worst <= revocations.LIMIT_SECONDS


def test_a_node_that_hears_of_nothing_is_noticed(cluster: Cluster, tmp_path: Path) -> None:
    """Control of reliability B4: without NOTIFY and without the poll nothing ever ends."""
    made = access.build(cluster.first.url, "Unheard")
    with cluster.joined(tmp_path / "deaf", DEAF) as deaf:
        verdict = revocations.run([cluster.first.url, deaf.url], made, "membership", changes=1)

    say("B4, deaf", str(verdict))
    assert verdict.worst > revocations.LIMIT_SECONDS


def test_no_check_sees_half_a_command(cluster: Cluster, world: World) -> None:
    """Reliability B9: moved between groups, or its role edited: before or after, never between."""
    verdict = halves.run(
        cluster.first.url, cluster.urls, world.owner_token, checks=halves.SHORT, label="whole"
    )

    say("B9", verdict, n=halves.SHORT)
    assert verdict.halves == 0
    assert verdict.checks >= halves.SHORT
    assert min(verdict.seen["left"], verdict.seen["right"]) > halves.SHORT / 20


def test_a_node_that_publishes_event_by_event_is_noticed(
    cluster: Cluster, world: World, tmp_path: Path
) -> None:
    """Control of reliability B9: a follower that shows each event alone shows halves."""
    with cluster.joined(tmp_path / "piecemeal", PIECEMEAL) as broken:
        verdict = halves.run(
            cluster.first.url, [broken.url], world.owner_token, checks=halves.SHORT, label="half"
        )

    say("B9, piecemeal", verdict, n=verdict.checks)
    assert verdict.halves > 0


def until_halted(node: Node, world: World) -> None:
    """Wait until the node answers no check any more, which its views may say before it."""
    end = time.monotonic() + HALT_SECONDS
    with Client(node.url, bearer(world.bot_token)) as bot:
        while (checked := bot.ask("POST", EVALUATION, question(world.bot))).status == 200:
            assert time.monotonic() < end, "it goes on"
            time.sleep(0.01)
    assert (checked.status, checked.code) == (503, "not_ready.halted")
    answer = ready(node)
    assert (answer.status, answer.body["reason"]) == (503, "halted")


def test_an_event_from_the_future_halts_every_node(tmp_path: Path) -> None:
    """Reliability B7: an unknown topic is not passed over; the newer release goes on from it."""
    with running(tmp_path) as cluster:
        world = access.build(cluster.first.url)
        known_everywhere(cluster, world)
        with cluster.joined(tmp_path / "skipping", POISON_SKIP) as skipping:
            with Client(cluster.first.url, bearer(world.owner_token)) as owner:
                path = f"/api/v1/main/groups/{world.group}"
                owner.made("PUT", path, {"name": "Bots", "description": "the last good event"})
                last = owner.ask("GET", path).position
            with Client(skipping.url, bearer(world.owner_token)) as owner:
                assert owner.ask("GET", f"{path}?at_least={last}").ok

            position = poison.into_postgres(cluster.database)

            for node in cluster.nodes:
                until_halted(node, world)
                assert ready(node).body["applied_position"] == position - 1
                with Client(node.url, bearer(world.owner_token)) as owner:
                    written = owner.ask("POST", ACCOUNTS, {"name": "refused"})
                    assert (written.status, written.code) == (503, "not_ready.halted")
            # The control: what is built to pass it over goes on, and the same is noticed.
            with Client(skipping.url, bearer(world.bot_token)) as bot:
                time.sleep(1.5)
                assert ready(skipping).status == 200
                assert bot.ask("POST", EVALUATION, question(world.bot)).status == 200
        with (
            cluster.joined(tmp_path / "newer", NEWER) as newer,
            Client(newer.url, bearer(world.owner_token)) as owner,
        ):
            assert owner.made("GET", "/api/v1/tenants/main")["name"] == poison.NAME
            made = owner.ask("POST", ACCOUNTS, {"name": "after-the-poison"})
            assert made.ok
            assert made.position > position


def test_an_embedded_node_does_not_start_on_an_event_from_the_future(tmp_path: Path) -> None:
    """Reliability B7: on a copied store the older release names the topic, the newer serves."""
    original = Node(tmp_path / "original")
    original.init()
    original.start()
    world = access.build(original.url)
    original.stop()
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "original", copy)
    position = poison.into_sqlite(copy)

    older = muniment("serve", "--port", "0", data_dir=copy)
    newer = Node(copy, program=NEWER)
    newer.start()

    with Client(newer.url, bearer(world.bot_token)) as bot:
        answer = bot.ask("POST", EVALUATION, question(world.bot))
    newer.stop()
    assert older.returncode != 0
    assert poison.TOPIC in older.stderr
    assert answer.body["decision"] is True
    assert answer.position == position
