"""Is a write that real servers acknowledged stored exactly once, through bad networks?"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from tests.campaigns import access, deliveries
from tests.campaigns.deliveries import Verdict
from tests.campaigns.link import Weather
from tests.campaigns.report import say
from tests.e2e.cluster import Cluster, running
from tests.e2e.node import PROGRAM, Node
from tests.postgres import socket_address
from tests.proxy import Fault

SEED = 20261123
COMMITS = 150
# An append is one statement, committed by itself; its bind message holds the topics.
APPEND = b"service_account.created.v1"
HOPEFUL = "tests.campaigns.mutants.hopeful"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes that this module shares."""
    with running(tmp_path_factory.mktemp("deliveries"), count=3) as served:
        yield served


def test_through_a_bad_network_each_write_happens_once(cluster: Cluster) -> None:
    """Reliability A1 and A3: cut, late and doubled requests, repeated with their key elsewhere."""
    token = access.owner_token(cluster.first.url)

    verdict = deliveries.run(cluster.urls, token, writes=deliveries.SHORT, seed=SEED)

    say("A1, A3, three nodes", verdict, n=deliveries.SHORT, seed=SEED)
    assert verdict.broken == 0
    assert verdict.tally.unknown == 0
    assert verdict.faults > deliveries.SHORT * deliveries.SHARE / 2
    assert verdict.replayed > 0


def test_one_embedded_node_keeps_each_write_once_too(node: Node) -> None:
    """Reliability A1 and A3 over SQLite."""
    token = access.owner_token(node.url)

    verdict = deliveries.run([node.url], token, writes=deliveries.SHORT // 4, seed=SEED)

    say("A1, A3, embedded", verdict, n=deliveries.SHORT // 4, seed=SEED)
    assert verdict.broken == 0
    assert verdict.tally.unknown == 0


def test_a_request_that_is_sent_twice_without_a_key_is_noticed(node: Node) -> None:
    """Control of reliability A3: `double_send` without keys stores commands twice."""
    verdict = deliveries.run(
        [node.url],
        access.owner_token(node.url),
        writes=deliveries.SHORT // 4,
        seed=SEED,
        keyed=False,
        kinds=(Fault.TWICE,),
    )

    say("A3, double_send", verdict, n=verdict.writes, seed=SEED)
    assert verdict.tally.twice > 0


def through_cut_commits(
    cluster: Cluster,
    home: Path,
    program: str = PROGRAM,
    kinds: tuple[Fault, ...] = (Fault.BEFORE, Fault.AFTER, Fault.LATE),
) -> Verdict:
    """Write by a node of which one commit in seven is cut off from the database.

    Without keys, so that nothing but the node itself can find out what became of it.
    """
    chance = random.Random(SEED)  # noqa: S311 - nothing is to be secret, all repeatable
    where = socket_address(cluster.database)
    with Weather(where, chance, mark=APPEND, share=0.0, kinds=kinds) as link:
        url = make_conninfo(cluster.database.url, host="127.0.0.1", port=str(link.port))
        home.mkdir(mode=0o700)
        node = Node(
            home, program=program, settings={**cluster.stored, "MUNIMENT_DATABASE_URL": url}
        )
        token = access.owner_token(cluster.first.url)
        node.start()
        link.share = 0.15
        try:
            verdict = deliveries.run(
                [node.url],
                token,
                writes=COMMITS,
                seed=SEED + len(home.name),
                keyed=False,
                share=0.0,
                judge=cluster.first.url,
                writers=1,  # or a batch of many would be a single commit
            )
            verdict.faults = link.faults
        finally:
            node.stop()
    return verdict


def test_a_commit_whose_answer_is_lost_is_stored_once(cluster: Cluster, tmp_path: Path) -> None:
    """Reliability A3: commits cut between node and PostgreSQL: acknowledged once, stored once."""
    verdict = through_cut_commits(cluster, tmp_path / "right")

    say("A3, commits", verdict, n=COMMITS, seed=SEED)
    assert verdict.broken == 0
    assert verdict.faults > 0


def test_a_build_that_hopes_for_the_best_is_noticed(cluster: Cluster, tmp_path: Path) -> None:
    """Control of reliability A3: a lost answer taken for done acknowledges what is not there."""
    verdict = through_cut_commits(cluster, tmp_path / "hopeful", HOPEFUL, (Fault.BEFORE,))

    say("A3, hopeful", verdict, n=COMMITS, seed=SEED)
    assert verdict.tally.lost > 0
