"""Do real servers decide as the oracle does, whichever is asked and however?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaigns import access, decisions
from tests.campaigns.client import Client, bearer
from tests.campaigns.report import say
from tests.e2e.cluster import Cluster, running
from tests.e2e.node import Node

SEED = 20261123
MUTANTS = ("flip", "stale_cache", "tenantless_cache", "actionless_cache", "letter_prefix")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes that this module shares."""
    with running(tmp_path_factory.mktemp("decisions")) as served:
        yield served


@pytest.fixture(scope="module")
def token(cluster: Cluster) -> str:
    """The token of an instance owner that both nodes know."""
    made = access.owner_token(cluster.first.url)
    with Client(cluster.first.url, bearer(made)) as client:
        position = client.ask("GET", "/api/v1/me").position
    with Client(cluster.second.url, bearer(made)) as client:
        assert client.ask("GET", f"/api/v1/me?at_least={position}").ok
    return made


def test_two_nodes_decide_as_the_oracle(cluster: Cluster, token: str) -> None:
    """Reliability B1: groups, wildcards, times, names given again, tokens, two tenants."""
    verdict = decisions.run(
        cluster.first.url, cluster.urls, token, checks=decisions.SHORT, seed=SEED
    )

    say("B1, two nodes", verdict, n=decisions.SHORT, seed=SEED)
    assert verdict.different == 0, verdict.first
    assert verdict.checks >= decisions.SHORT
    assert verdict.allowed > decisions.SHORT / 20


def test_an_embedded_node_decides_as_the_oracle(node: Node) -> None:
    """Reliability B1 over SQLite."""
    made = access.owner_token(node.url)
    checks = decisions.SHORT // 4

    verdict = decisions.run(node.url, [node.url], made, checks=checks, seed=SEED + 1)

    say("B1, embedded", verdict, n=checks, seed=SEED + 1)
    assert verdict.different == 0, verdict.first


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_build_that_decides_otherwise_is_noticed(
    cluster: Cluster, token: str, tmp_path: Path, mutant: str
) -> None:
    """Control of reliability B1: one decision inverted, three caches, and a prefix of letters."""
    with cluster.joined(tmp_path / "broken", f"tests.campaigns.mutants.{mutant}") as broken:
        seed = SEED + 2 + MUTANTS.index(mutant)
        verdict = decisions.run(
            cluster.first.url, [broken.url], token, checks=decisions.SHORT, seed=seed
        )

    say(f"B1, {mutant}", verdict, n=verdict.checks, seed=seed)
    assert verdict.different > 0
