"""Do several processes over one PostgreSQL act as one service?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaigns import access, owners
from tests.campaigns.access import EVALUATION, World, question
from tests.campaigns.client import Client, LostError, bearer
from tests.campaigns.report import say
from tests.e2e.cluster import (
    BOUND_SECONDS,
    Cluster,
    known_everywhere,
    ready,
    running,
    until_ready,
)
from tests.e2e.node import Node

SEED = 20261123
GRACE_SECONDS = 0.5
REVOKED_EVERYWHERE_SECONDS = 1.5
SERVE_STALE = "tests.campaigns.mutants.serve_stale"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes that this module shares."""
    with running(tmp_path_factory.mktemp("cluster")) as served:
        yield served


@pytest.fixture(scope="module")
def world(cluster: Cluster) -> World:
    """What is asked about, made by way of the first node and known to both."""
    made = access.build(cluster.first.url)
    known_everywhere(cluster, made)
    return made


def test_a_group_reaches_its_namespace_by_way_of_any_process(
    cluster: Cluster, world: World
) -> None:
    """Written by one process, answered alike by both."""
    for url in cluster.urls:
        with Client(url, bearer(world.bot_token)) as bot:
            inside = bot.ask("POST", EVALUATION, question(world.bot, "prod.billing"))
            outside = bot.ask("POST", EVALUATION, question(world.bot, "production"))
            managed = bot.ask("POST", "/api/v1/main/groups", {"name": "Mine"})

        assert inside.body["decision"] is True
        assert outside.body["decision"] is False
        assert (managed.status, managed.code) == (403, "permission.denied")


def test_each_write_is_seen_by_the_other_process(cluster: Cluster, world: World) -> None:
    """Reliability B3: what asks for a position is never shown less, on either process."""
    clients = [Client(url, bearer(world.owner_token)) for url in cluster.urls]
    stale = 0
    for number in range(100):
        writer, reader = clients[number % 2], clients[1 - number % 2]
        made = writer.ask("POST", "/api/v1/main/groups", {"name": f"Seen {number}"})
        assert made.status == 200, made.text
        path = f"/api/v1/main/groups/{made.body['id']}?at_least={made.position}"
        stale += reader.ask("GET", path).status != 200
    for client in clients:
        client.close()

    say("B3", f"{stale} stale", n=100)
    assert stale == 0


def test_a_revoked_token_is_refused_by_the_other_process_too(
    cluster: Cluster, world: World
) -> None:
    """Reliability B4: at most 1.5 s after the acknowledgement no process knows the token."""
    latencies = []
    with (
        Client(cluster.first.url, bearer(world.owner_token)) as owner,
        Client(cluster.second.url) as other,
    ):
        tokens = f"{access.ACCOUNTS}/{world.bot}/api-tokens"
        for number in range(20):
            issued = owner.ask("POST", tokens, {"name": f"short-lived-{number}"})
            headers = {"Authorization": bearer(issued.body["fullToken"])}
            asked = question(world.bot, at_least=issued.position)
            owner_there = {"Authorization": bearer(world.owner_token)}
            path = f"{tokens}?at_least={issued.position}"
            assert other.ask("GET", path, headers=owner_there).ok
            assert other.ask("POST", EVALUATION, asked, headers).body["decision"] is True
            assert owner.ask("DELETE", f"{tokens}/{issued.body['id']}").ok
            began = time.monotonic()
            while other.ask("POST", EVALUATION, question(world.bot), headers).status == 200:
                assert time.monotonic() - began < REVOKED_EVERYWHERE_SECONDS
                time.sleep(0.002)
            latencies.append(time.monotonic() - began)

    middle = sorted(latencies)[len(latencies) // 2]
    say("B4", f"p50 {middle * 1000:.0f} ms, at most {max(latencies) * 1000:.0f} ms", n=20)
    assert max(latencies) <= REVOKED_EVERYWHERE_SECONDS


def test_two_owners_removed_by_way_of_two_processes_leave_one(cluster: Cluster) -> None:
    """Security 2.6, reliability A5: rules are decided at the head of the log, on every process."""
    verdict = owners.run(cluster.urls, rounds=40, seed=SEED)

    say("A5, two processes", verdict, seed=SEED)
    assert verdict.standing >= 1
    assert verdict.unfair == set(), "".join(warnings(cluster))


def warnings(cluster: Cluster) -> list[str]:
    """Return what the nodes have warned of, for whoever looks into a failure."""
    return [line for node in cluster.nodes for line in node.output if '"warning"' in line]


def test_a_race_that_is_retried_blindly_leaves_no_owner(tmp_path: Path) -> None:
    """Control of security 2.6: appending again without deciding anew is noticed."""
    with running(tmp_path, owners.RETRY_BLIND) as broken:
        verdict = owners.run(broken.urls, rounds=40, seed=SEED, verbs=("demote",))

    assert verdict.standing == 0


def cut_off(cluster: Cluster, node: Node, world: World) -> tuple[float, float]:
    """Watch a linked node that has just lost its database, while elsewhere the bot loses its right.

    How long after the loss it last answered a check, and how long until it was not ready.
    """
    began = time.monotonic()
    answered = unready = 0.0
    with Client(cluster.first.url, bearer(world.owner_token)) as owner:
        owner.made("DELETE", f"/api/v1/main/bindings/{world.binding}")
    while (now := time.monotonic() - began) < BOUND_SECONDS + 3 * GRACE_SECONDS:
        with Client(node.url, bearer(world.bot_token), timeout_seconds=5) as bot:
            try:
                answer = bot.ask("POST", EVALUATION, question(world.bot))
            except LostError:
                continue
        if answer.status == 200:
            answered = now
        else:
            assert (answer.status, answer.code) == (503, "not_ready.stale")
        if not unready and ready(node).status == 503:
            unready = time.monotonic() - began
        time.sleep(0.02)
    return answered, unready


@pytest.mark.parametrize("failure", ["refused", "black hole"])
def test_cut_off_from_the_database_a_process_closes(cluster: Cluster, failure: str) -> None:
    """Reliability B5: past the bound no check is answered, and none from old facts afterwards."""
    world = access.build(cluster.first.url, failure)
    known_everywhere(cluster, world)
    (cluster.link.down if failure == "refused" else cluster.link.swallow)()

    answered, unready = cut_off(cluster, cluster.second, world)

    say(f"B5, {failure}", f"answered until {answered:.2f} s, not ready after {unready:.2f} s")
    assert answered <= BOUND_SECONDS + GRACE_SECONDS
    assert 0 < unready <= BOUND_SECONDS + GRACE_SECONDS
    (cluster.link.up if failure == "refused" else cluster.link.flow)()
    until_ready(cluster.second)
    with Client(cluster.second.url, bearer(world.bot_token)) as bot:
        assert bot.ask("POST", EVALUATION, question(world.bot)).body["decision"] is False


def test_a_process_that_answers_from_old_facts_is_noticed(cluster: Cluster, tmp_path: Path) -> None:
    """Control of reliability B5: without a bound on staleness what was taken away still holds."""
    world = access.build(cluster.first.url, "old facts")
    broken = Node(tmp_path, program=SERVE_STALE, settings=cluster.linked)
    broken.start()
    cluster.link.down()

    answered, unready = cut_off(cluster, broken, world)

    cluster.link.up()
    broken.stop()
    until_ready(cluster.second)
    assert answered > BOUND_SECONDS + GRACE_SECONDS
    assert unready == 0
