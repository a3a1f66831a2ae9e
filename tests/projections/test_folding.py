"""Does a flood stay small, and does every act still stand somewhere?"""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections import folding
from projections.folding import Folding, What, Who
from projections.journal import Counted

MINUTE = 29_000_000
WHO: Who = "refusal", "DENIED", "bot", "t1", ""


def act(action: str = "VIEW", code: str = "denied") -> What:
    """Something that was refused."""
    return "bot", "FLOW", action, "main", code


def counted(minute: int = MINUTE, action: str = "VIEW", network: str = "") -> Counted:
    """How it is told, when it was counted."""
    return Counted(
        minute, "refusal", "DENIED", "denied", "main", "bot", "t1", "bot", "FLOW", action, network
    )


def by(network: str) -> Who:
    """Someone in a network."""
    return "refusal", "DENIED", "bot", "t1", network


def begun() -> Folding:
    """A folding in its first minute."""
    return Folding(MINUTE)


def total(fold: Folding) -> int:
    """How many acts are counted and not yet written."""
    return sum(number for _, number in fold.due())


def test_a_source_is_written_in_full_up_to_its_budget() -> None:
    """One who is refused over and over is heard of in full at first; others are not touched."""
    fold = begun()

    admitted = [fold.admits("t1") for _ in range(folding.A_SOURCE_MAX + 1)]

    assert [1] * folding.A_SOURCE_MAX + [0] == admitted
    assert fold.admits("t2")


def test_of_many_acts_at_once_so_many_are_written_as_the_budget_leaves() -> None:
    """A batch of refusals is judged in one go, and charged like as many single ones."""
    fold = begun()

    assert 100 == fold.admits("t1", 100)
    assert folding.A_SOURCE_MAX - 100 == fold.admits("t1", 100)
    assert 0 == fold.admits("t1", 100)
    assert 0 == fold.admits("t2", 0)


def test_the_next_minute_has_a_fresh_budget() -> None:
    """A source that was cut off is heard of again a minute later, not twice within one."""
    fold = begun()
    while fold.admits("192.0.2.0/24", stranger=True):
        pass

    fold.go_on(MINUTE)
    assert not fold.admits("192.0.2.0/24", stranger=True)
    fold.go_on(MINUTE + 1)
    assert fold.admits("192.0.2.0/24", stranger=True)


def test_strangers_from_everywhere_share_a_budget() -> None:
    """Whoever has as many addresses as he likes fills neither the disk nor the memory with them."""
    fold = begun()

    admitted = sum(fold.admits(f"2001:db8:{n:x}::/56", stranger=True) for n in range(5_000))

    assert folding.STRANGERS_MAX == admitted
    assert fold.admits("t1")


def test_all_sources_together_have_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tokens are refused, the entries of a minute have an end."""
    monkeypatch.setattr(folding, "ALL_MAX", 10)
    fold = begun()

    assert 10 == sum(fold.admits(f"t{n}") for n in range(50))


def test_a_source_that_asks_for_too_many_things_is_counted_without_them() -> None:
    """The words of a question are the caller's own: they make no more counts than so many."""
    fold = begun()

    for number in range(0, 1_000, 50):
        fold.count("t1", WHO, [act(f"A{number + one}") for one in range(50)])

    told = dict(fold.due())
    assert folding.COUNTS_OF_A_SOURCE_MAX + 1 == len(told)
    folded = counted()._replace(code="", tenant="", subject="", resource_type="", action="")
    assert 1_000 - folding.COUNTS_OF_A_SOURCE_MAX == told[folded]


def test_counts_have_an_end_over_all_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it only the kind is told apart, and the sum is still right."""
    monkeypatch.setattr(folding, "COUNTS_MAX", 10)
    fold = begun()

    for number in range(50):
        fold.count(f"n{number}", by(f"n{number}"), [act()])

    assert 11 == len(fold.due())
    assert 50 == total(fold)


def test_what_is_settled_is_not_written_twice() -> None:
    """After a batch only what came since is due, and a thing known this minute is no new one."""
    fold = begun()
    fold.count("t1", WHO, [act()] * 2)
    assert [(counted(), 2)] == fold.due()
    fold.settled()
    assert [] == fold.due()

    fold.count("t1", WHO, [act()] * 3)

    assert [(counted(), 3)] == fold.due()
    assert [(counted(), 3)] == fold.due()


def test_a_thing_counted_and_written_is_not_new_again_within_its_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Writing often gives a flood no more room: the counts of a minute have one bound."""
    monkeypatch.setattr(folding, "COUNTS_OF_A_SOURCE_MAX", 2)
    fold = begun()
    told: set[Counted] = set()

    for number in range(10):
        fold.count("t1", WHO, [act(f"A{number}")])
        told |= dict(fold.due()).keys()
        fold.settled()

    assert 3 == len(told)


def test_a_decision_is_counted_without_a_code_and_an_unknown_subject_without_a_name() -> None:
    """Whoever floods with decisions is told apart by what was asked, and by nothing else."""
    fold = begun()

    fold.count("t1", ("decision", "DENIED", "bot", "t1", ""), [(None, "FLOW", "VIEW", "main")])

    expected = counted()._replace(kind="decision", code="", subject="")
    assert [(expected, 1)] == fold.due()


def test_counts_of_past_minutes_wait_until_they_are_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While the store is away the sums stay right and the memory bounded, minute after minute."""
    monkeypatch.setattr(folding, "COUNTS_MAX", 10)
    fold = begun()
    for minute in range(MINUTE, MINUTE + 20):
        fold.go_on(minute)
        for number in range(5):
            fold.count(f"t{number}", WHO, [act(f"A{number}")])

    due = fold.due()

    assert 100 == sum(number for _, number in due)
    assert len(due) <= 10 + 20 + 5
    fold.settled()
    assert [] == fold.due()


def test_threads_that_count_and_write_at_once_lose_nothing() -> None:
    """What is counted while a batch is taken stands in that batch or in the next one."""
    fold = begun()
    written = Counter[Counted]()

    def count() -> None:
        for number in range(2_000):
            fold.count("t1", WHO, [act(f"A{number % 100}")] * 3)

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        written.update(dict(fold.due()))
        fold.settled()
    written.update(dict(fold.due()))

    assert 3 * 2_000 * 3 == written.total()


Step = tuple[str, int, int]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["admit", "count", "minute", "settle"]),
            st.integers(0, 200),
            st.integers(-1, 1),
        ),
        max_size=300,
    )
)
def test_every_act_is_written_in_full_or_counted(steps: list[Step]) -> None:
    """Whatever comes in whatever order, even a clock that runs back: the sums are right."""
    fold = begun()
    minute, full, kept, acts = MINUTE, 0, Counter[Counted](), 0
    for step, source, direction in steps:
        if step == "minute":
            minute += direction
            fold.go_on(minute)
        elif step == "settle":
            due = fold.due()
            kept.update(dict(due))
            fold.settled()
            assert [] == fold.due()
        else:
            acts += 1
            name = f"s{source % 3}"
            if step == "admit" and fold.admits(name, stranger=bool(source % 2)):
                full += 1
            else:
                fold.count(name, WHO, [act(f"A{source}")])

    assert acts == full + kept.total() + total(fold)
    assert all(number > 0 for _, number in fold.due())
