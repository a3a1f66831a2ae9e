"""Does exactly one of many win at a real server, and does an owner always stay?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaigns import access, owners, races
from tests.campaigns.report import say
from tests.e2e.node import Node

SEED = 20261123


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


def test_of_two_owners_removed_at_once_one_stays(raced: Node) -> None:
    """Security 2.6, reliability A5: whoever removes whom, an owner who can sign in remains."""
    verdict = owners.run([raced.url], rounds=owners.SHORT, seed=SEED)

    say("A5", verdict, n=owners.SHORT, seed=SEED)
    assert verdict.rounds == owners.SHORT
    assert verdict.standing >= 1
    assert verdict.unfair == set()
    assert verdict.refusals["409 owner.last"] > 0


def test_a_build_that_decides_on_an_old_head_is_noticed(tmp_path: Path) -> None:
    """Control of security 2.6: deciding on a state 50 ms old leaves no owner."""
    broken = Node(tmp_path / "data", program=owners.STALE_HEAD)
    broken.init()
    broken.start()

    verdict = owners.run(
        [broken.url], rounds=owners.SHORT, seed=SEED, verbs=("demote",), pause_seconds=0.1
    )

    broken.stop()
    say("A5, stale_head", verdict, n=verdict.rounds, seed=SEED)
    assert verdict.standing == 0


def test_of_many_with_the_same_tag_one_wins(raced: Node, token: str) -> None:
    """Reliability A2: 32 clients with one If-Match: exactly one success, the others 412."""
    verdict = races.same_tag([raced.url], token, rounds=races.SHORT)

    say("A2", verdict, n=races.SHORT)
    assert verdict.unfair == 0
    assert set(verdict.statuses) == {"200", "412 etag.mismatch"}


def test_of_many_with_the_same_name_one_wins(raced: Node, token: str) -> None:
    """Reliability A2: a unique name is given once, whatever its case."""
    verdict = races.same_name([raced.url], token, rounds=races.SHORT, seed=SEED)

    say("A2, names", verdict, n=races.SHORT, seed=SEED)
    assert verdict.unfair == 0
    assert set(verdict.statuses) == {"200", "409 group.name_taken"}


def test_one_key_is_one_command(raced: Node, token: str) -> None:
    """Reliability A4: the same request sent at once with one key happens once, for all alike."""
    verdict = races.same_key([raced.url], token, rounds=races.SHORT, seed=SEED)

    say("A4", verdict, n=races.SHORT, seed=SEED)
    assert verdict.unfair == 0
    assert set(verdict.statuses) == {"200"}
