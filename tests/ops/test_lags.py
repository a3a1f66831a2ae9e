"""Is it known how old the first event is that a view lacks, whatever is published behind it?"""

from __future__ import annotations

import pytest

from ops import lags
from ops.lags import Lags


def test_a_view_is_behind_since_what_it_lacks_was_published() -> None:
    """Operations 1: not since the last event, nor since it was last looked."""
    known = Lags(0, 0.0)
    known.published(10, 0, 100.0)
    known.published(20, 0, 110.0)

    assert known.head == 20
    assert [25.0, 25.0, 15.0, 0.0] == [known.seconds(shown, 125.0) for shown in (0, 9, 10, 20)]


def test_at_the_start_a_view_is_behind_since_then() -> None:
    """Operations 1: how long the log has been there before, the process does not know."""
    assert [7.0, 0.0] == [Lags(50, 3.0).seconds(shown, 10.0) for shown in (49, 50)]


def test_what_follows_closely_is_one_span_and_tells_at_most_a_second_too_much() -> None:
    """Operations 1: thousands of events a second are not noted one by one."""
    known = Lags(0, 0.0)
    for number in range(1, 1_000):
        known.published(number, 0, 10 + number / 2_000)

    assert 5.0 == known.seconds(998, 15.0005)
    assert 0.0 == known.seconds(999, 15.0005)


def test_what_every_view_shows_is_forgotten() -> None:
    """Operations 1: a view that is behind now was not behind by what it has shown since."""
    known = Lags(0, 0.0)
    for second in range(1, 100):
        known.published(10 * second, 10 * (second - 1), float(second))

    assert 0.5 == known.seconds(989, 99.5)


def test_a_view_that_stands_still_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reliability: a view that has halted is behind for days, and the first event stays known."""
    monkeypatch.setattr(lags, "SPANS_MAX", 3)
    known = Lags(5, 0.0)
    for second in range(10, 1_000, 10):
        known.published(second, 0, float(second))

    assert [1_000.0, 990.0, 980.0] == [known.seconds(shown, 1_000.0) for shown in (0, 9, 989)]
    assert 0.0 == known.seconds(990, 1_000.0)
