"""Is the collector kept away from what a start makes, and is it back afterwards?"""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import pytest

from ops.collection import FREEZE_FACTS, Freezer, collection_off

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    """Give back to the collector what a test has frozen."""
    yield
    gc.unfreeze()


def test_what_is_made_with_the_collection_off_is_left_alone() -> None:
    """Performance 3: no collection interrupts a start, nor walks through a state afterwards."""
    gc.unfreeze()

    with collection_off():
        assert not gc.isenabled()
        assert 0 == gc.get_freeze_count()
        made = [[number] for number in range(1_000)]

    assert gc.isenabled()
    assert gc.get_freeze_count() >= len(made)


def test_collection_off_within_another_ends_with_the_outer_one() -> None:
    """A replay is a part of a start, and the graph that follows is made undisturbed too."""
    gc.unfreeze()

    with collection_off():
        with collection_off():
            pass
        assert not gc.isenabled()
        assert 0 == gc.get_freeze_count()

    assert gc.isenabled()


def test_collection_is_on_again_after_a_start_that_failed() -> None:
    """A log that cannot be read leaves a process that can still tell so."""
    with pytest.raises(ValueError, match="unreadable"), collection_off():
        raise ValueError("unreadable")

    assert gc.isenabled()


def test_what_was_folded_is_frozen_once_it_is_much() -> None:
    """Performance 3: every thousand events, so that no full collection meets what stays."""
    gc.unfreeze()
    freezer = Freezer()

    freezer.note(FREEZE_FACTS - 1)
    before = gc.get_freeze_count()
    made = [[number] for number in range(1_000)]
    freezer.note(1)
    frozen = gc.get_freeze_count()
    gc.unfreeze()
    freezer.note(FREEZE_FACTS - 1)

    assert 0 == before
    assert frozen >= len(made)
    assert 0 == gc.get_freeze_count()


def test_a_thread_that_answers_nobody_keeps_no_garbage() -> None:
    """What was garbage before is collected, not kept for ever."""

    class Cycle:
        """Held by itself alone."""

        def __init__(self) -> None:
            self.own = self

    gc.collect()
    gone = weakref.ref(Cycle())

    Freezer(collects=True).note(FREEZE_FACTS)

    assert gone() is None
