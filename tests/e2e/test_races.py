"""Does exactly one of many win at real servers, and is every rule decided at the head?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaigns import access, owners, races, rules
from tests.campaigns.client import Client, bearer
from tests.campaigns.races import Callers
from tests.campaigns.report import say
from tests.e2e.cluster import Cluster, running
from tests.e2e.node import Node

SEED = 20261123
OPEN_KEY = "tests.campaigns.mutants.open_key"
RETRY_BLIND = "tests.campaigns.mutants.retry_blind"


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A server that the races of this module share."""
    node = Node(tmp_path_factory.mktemp("races") / "data")
    node.init()
    node.start()
    yield node
    node.stop()


@pytest.fixture(scope="module")
def token(raced: Node) -> str:
    """The token of an instance owner."""
    return access.owner_token(raced.url)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes over one database that the races of this module share."""
    with running(tmp_path_factory.mktemp("raced"), count=3) as served:
        yield served


@pytest.fixture(scope="module")
def common_token(cluster: Cluster) -> str:
    """The token of an instance owner that every node knows."""
    made = access.owner_token(cluster.first.url)
    known(cluster.urls, made)
    return made


def known(urls: list[str], token: str) -> None:
    """Wait until every node knows what the first has acknowledged."""
    with Client(urls[0], bearer(token)) as client:
        position = client.ask("GET", "/api/v1/me").position
    for url in urls:
        with Client(url, bearer(token)) as client:
            assert client.ask("GET", f"/api/v1/me?at_least={position}").ok


def callers(urls: list[str], token: str) -> Callers:
    """The two programs of the races of keys, known to every node."""
    made = races.callers(urls[0], token)
    known(urls, token)
    return made


def test_of_two_owners_removed_at_once_one_stays(raced: Node) -> None:
    """Security 2.6, reliability A5: whoever removes whom, an owner who can sign in remains."""
    verdict = owners.run([raced.url], rounds=owners.SHORT, seed=SEED)

    say("A5", verdict, n=owners.SHORT, seed=SEED)
    assert verdict.rounds == owners.SHORT
    assert verdict.standing >= 1
    assert verdict.unfair == set()
    assert verdict.refusals["409 owner.last"] > 0


@pytest.mark.parametrize("race", rules.RACES)
def test_no_command_is_decided_on_what_was(raced: Node, token: str, race: str) -> None:
    """Reliability A5: of two commands that exclude one another never both, on one node."""
    verdict = rules.run([raced.url], token, race, rounds=rules.SHORT)

    say(f"A5, {race}", verdict, n=rules.SHORT)
    assert verdict.unfair == 0
    assert len(verdict.outcomes) > 0


@pytest.mark.parametrize("race", rules.RACES)
def test_no_node_decides_on_what_was(cluster: Cluster, common_token: str, race: str) -> None:
    """Reliability A5: of two commands that exclude one another never both, on two nodes."""
    verdict = rules.run(cluster.urls, common_token, race, rounds=rules.SHORT)

    say(f"A5, {race}, three nodes", verdict, n=rules.SHORT)
    assert verdict.unfair == 0
    assert max(verdict.outcomes, key=lambda outcome: outcome != "200") != "200"


def test_a_build_that_decides_on_an_old_head_is_noticed(tmp_path: Path) -> None:
    """Control of reliability A5 and security 2.6: a state 50 ms old lets both happen."""
    broken = Node(tmp_path / "data", program=owners.STALE_HEAD)
    broken.init()
    broken.start()
    token = access.owner_token(broken.url)

    verdicts = {
        race: rules.run([broken.url], token, race, rounds=rules.SHORT, pause_seconds=0.1)
        for race in rules.RACES
    }
    removed = owners.run(
        [broken.url], rounds=owners.SHORT, seed=SEED, verbs=("demote",), pause_seconds=0.1
    )

    broken.stop()
    say("A5, stale_head", (verdicts, removed), n=rules.SHORT, seed=SEED)
    assert {race: verdict.unfair for race, verdict in verdicts.items()} == dict.fromkeys(
        rules.RACES, 1
    )
    assert removed.standing == 0


def test_of_many_with_the_same_tag_one_wins(raced: Node, token: str) -> None:
    """Reliability A2: 32 clients with one If-Match: exactly one success, the others 412."""
    verdict = races.same_tag([raced.url], token, rounds=races.SHORT)

    say("A2", verdict, n=races.SHORT)
    assert verdict.unfair == 0
    assert set(verdict.statuses) == {"200", "412 etag.mismatch"}


def test_of_many_with_the_same_tag_one_wins_on_three_nodes(
    cluster: Cluster, common_token: str
) -> None:
    """Reliability A2: exactly one success, everyone else 412, nobody an error of ours."""
    verdict = races.same_tag(cluster.urls, common_token, rounds=races.SHORT)

    say("A2, three nodes", verdict, n=races.SHORT)
    assert verdict.unfair == 0
    assert set(verdict.statuses) == {"200", "412 etag.mismatch"}


def test_a_race_that_is_appended_undecided_is_noticed(
    cluster: Cluster, common_token: str, tmp_path: Path
) -> None:
    """Control of reliability A2: `retry_blind` beside a right node lets a second one win."""
    with cluster.joined(tmp_path / "blind", RETRY_BLIND) as blind:
        verdict = races.same_tag([cluster.first.url, blind.url], common_token, rounds=races.SHORT)

    say("A2, retry_blind", verdict, n=races.SHORT)
    assert verdict.unfair > 0


def test_of_many_with_the_same_name_one_wins(raced: Node, token: str) -> None:
    """Reliability A2: a unique name is given once, whatever its case."""
    verdict = races.same_name([raced.url], token, rounds=races.SHORT, seed=SEED)

    say("A2, names", verdict, n=races.SHORT, seed=SEED)
    assert verdict.unfair == 0
    assert set(verdict.statuses) == {"200", "409 group.name_taken"}


def test_one_key_is_one_command_also_after_a_restart(raced: Node, token: str) -> None:
    """Reliability A4: a key means one command of one caller, for as long as the log is there."""
    who = callers([raced.url], token)

    verdict, last = races.same_key([raced.url], who, rounds=races.PAIRS_SHORT, seed=SEED)
    raced.stop()
    raced.start()
    repeated = races.same_key_again(raced.url, token, last)

    say("A4", (verdict, repeated), n=races.PAIRS_SHORT, seed=SEED)
    assert verdict.unfair == repeated.unfair == 0
    assert set(verdict.statuses) == {"200", "422 idempotency.mismatch"}
    assert repeated.rounds == races.RESTARTED


def test_one_key_is_one_command_on_three_nodes(cluster: Cluster, common_token: str) -> None:
    """Reliability A4: the same request with one key, sent to two nodes, happens once."""
    who = callers(cluster.urls, common_token)

    verdict, last = races.same_key(cluster.urls, who, rounds=races.PAIRS_AMONG_NODES, seed=SEED)
    cluster.nodes[2].stop()
    cluster.nodes[2].start()
    repeated = races.same_key_again(cluster.nodes[2].url, common_token, last)

    say("A4, three nodes", (verdict, repeated), n=races.PAIRS_AMONG_NODES, seed=SEED)
    assert verdict.unfair == repeated.unfair == 0
    assert set(verdict.statuses) == {"200", "422 idempotency.mismatch"}


def test_a_key_that_is_anybodys_is_noticed(tmp_path: Path) -> None:
    """Control of reliability A4: `open_key` gives one caller's answer to another."""
    broken = Node(tmp_path / "data", program=OPEN_KEY)
    broken.init()
    broken.start()
    token = access.owner_token(broken.url)

    verdict, _ = races.same_key([broken.url], callers([broken.url], token), rounds=20, seed=SEED)

    broken.stop()
    say("A4, open_key", verdict, n=20, seed=SEED)
    assert verdict.unfair > 0
