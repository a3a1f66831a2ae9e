"""Does a real server's trail hold everything that was done to it, and nothing else?"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from domain.events import TOPICS
from tests.campaigns import completeness
from tests.campaigns.completeness import Told, Trail
from tests.campaigns.report import say

SEED = 20261126


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Told, Trail]:
    """A server to which everything was done at random, and its trail."""
    directory = tmp_path_factory.mktemp("completeness")
    return completeness.run(directory, requests=completeness.SHORT, seed=SEED)


def test_the_trail_holds_everything_that_was_done_and_nothing_else(
    done: tuple[Told, Trail],
) -> None:
    """Security 2.11: each act once, with who, token, address, request and outcome."""
    verdict = completeness.compare(*done)

    say("2.11", verdict, n=completeness.SHORT, seed=SEED)
    assert verdict.missing == []
    assert verdict.invented == []
    assert verdict.requests >= completeness.SHORT
    assert set(verdict.kinds) == completeness.KINDS
    assert verdict.topics == set(TOPICS.values()) - completeness.NOT_HERE
    assert done[0].untouched == []


def _lose(trail: Trail) -> None:
    del trail.feed[len(trail.feed) // 2]


def _another(trail: Trail, **members: str) -> None:
    trail.feed[-1] = structs.replace(trail.feed[-1], **members)


def _by_another(trail: Trail) -> None:
    _another(trail, principal="somebody")


def _by_another_token(trail: Trail) -> None:
    _another(trail, token="another")


def _from_elsewhere(trail: Trail) -> None:
    _another(trail, address="192.0.2.1")


def _by_another_request(trail: Trail) -> None:
    _another(trail, request="r-1")


def _add(trail: Trail) -> None:
    trail.feed.append(structs.replace(trail.feed[-1], position=len(trail.feed) + 1))


def _hide_from_search(trail: Trail) -> None:
    del trail.searched[-1]


def _hide_from_export(trail: Trail) -> None:
    del trail.exported[0]


def _forget(trail: Trail) -> None:
    del trail.stored[0]


def _allow(trail: Trail) -> None:
    trail.stored[0] = structs.replace(trail.stored[0], outcome="?")


def _hide_from_list(trail: Trail) -> None:
    del trail.listed[0]


def _hide_note(trail: Trail) -> None:
    del trail.shown[-1]


def _count_more(trail: Trail) -> None:
    trail.counts.update(trail.counts.keys())


@pytest.mark.parametrize(
    "spoil",
    [
        *(_lose, _by_another, _by_another_token, _from_elsewhere, _by_another_request, _add),
        *(
            _hide_from_search,
            _hide_from_export,
            _forget,
            _allow,
            _hide_note,
            _hide_from_list,
            _count_more,
        ),
    ],
)
def test_a_trail_that_was_spoilt_is_noticed(
    done: tuple[Told, Trail], spoil: Callable[[Trail], None]
) -> None:
    """Control of security 2.11: each thing that can be wrong in a trail, by itself."""
    told, trail = done
    spoilt = copy.deepcopy(trail)
    spoil(spoilt)

    verdict = completeness.compare(told, spoilt)

    assert verdict.missing or verdict.invented


@pytest.mark.parametrize("mutant", completeness.MUTANTS)
def test_a_build_that_forgets_is_noticed(tmp_path: Path, mutant: str) -> None:
    """Control of security 2.11: a journal that loses entries, refusals that nobody notes."""
    program = f"tests.campaigns.mutants.{mutant}"
    told, trail = completeness.run(
        tmp_path, requests=completeness.SHORT, seed=SEED, program=program
    )

    verdict = completeness.compare(told, trail)

    say(f"2.11, {mutant}", verdict, n=completeness.SHORT, seed=SEED)
    assert verdict.missing != []
