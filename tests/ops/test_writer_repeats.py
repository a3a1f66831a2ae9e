"""Does a command that is given twice with the same key happen once, and get the same answer?"""

from __future__ import annotations

import pytest

from domain.errors import InvalidError
from domain.groups import DeleteGroup
from domain.ids import MAIN, BindingId
from domain.permissions import MANAGED_ROLES
from domain.principals import BindingDeleted
from domain.tenants import OpenLog
from ops import writer as writing
from ops.writer import Outcome
from tests.domain.world import ADA, BOTS, DAN, EVENTS, bound, managed
from tests.memory_log import MemoryLog
from tests.ops.desk import LOG_ID, Desk, WatchedLog, events_of, group, outcome, refusal, state_of
from tests.ops.test_writer import created
from tests.spec import SYSTEM

HEAD = len(EVENTS)
TWO_DAYS_SECONDS = 49 * 3600.0


def deletion() -> DeleteGroup:
    """A command of several events."""
    return DeleteGroup(tenant=MAIN, id=BOTS)


def test_a_repeat_in_the_same_batch_gets_the_same_answer() -> None:
    """The second waits behind the first, even before it is stored (http-api 4)."""
    log = WatchedLog()
    desk = Desk(log)
    answers = [
        desk.give(group(0)),
        desk.give(deletion(), key="key-1"),
        desk.give(group(1)),
        desk.give(deletion(), key="key-1"),
    ]

    desk.work()

    first, again = outcome(answers[1]), outcome(answers[3])
    assert len(first.events) > 1
    assert Outcome(first.position, first.events, replayed=True) == again
    assert [created(0), *first.events, created(1)] == events_of(log)


@pytest.mark.parametrize("limit", [1, 2, 3, 500])
def test_a_repeat_in_a_later_batch_gets_the_same_answer(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its events are read back from the log, wherever pages begin (http-api 4)."""
    monkeypatch.setattr(writing, "PAGE_RECORDS", limit)
    log = WatchedLog()
    desk = Desk(log)
    with desk.open():
        outcome(desk.give(group(0)))
        first = outcome(desk.give(deletion(), key="key-1"))
        for number in range(1, 6):
            outcome(desk.give(group(number)))
        again = outcome(desk.give(deletion(), key="key-1"))

    assert Outcome(first.position, first.events, replayed=True) == again
    assert 6 + len(first.events) == len(events_of(log))


def test_the_first_command_of_a_log_can_be_repeated() -> None:
    """Reading back ends at the beginning of the log."""
    log = MemoryLog(LOG_ID)
    desk = Desk(log)
    roles = tuple(managed(MAIN, name) for name in MANAGED_ROLES)
    opened = OpenLog(log_id="log_1", managed_roles=roles)
    with desk.open():
        first = outcome(desk.give(opened, SYSTEM, key="key-1"))
        again = outcome(desk.give(opened, SYSTEM, key="key-1"))

    assert Outcome(first.position, first.events, replayed=True) == again
    assert log.head() == len(first.events) == first.position


def test_a_repeat_after_a_restart_gets_the_same_answer() -> None:
    """The record is part of the log: another process that replays it finds it (http-api 4)."""
    log = WatchedLog()
    before = Desk(log)
    first = before.give(deletion(), key="key-1")
    before.work()

    after = Desk(log, state=state_of(log))
    again = after.give(deletion(), key="key-1")
    after.work()

    assert Outcome(outcome(first).position, outcome(first).events, replayed=True) == outcome(again)
    assert 1 == len(log.appends)


def test_another_request_with_the_same_key_is_refused() -> None:
    """Another fingerprint is 422, in the same batch and later; nothing is stored (http-api 4)."""
    log = WatchedLog()
    desk = Desk(log)
    first = desk.give(group(1), key="key-1")
    early = desk.give(group(2), key="key-1", fingerprint="another body")
    with desk.open():
        outcome(first)
        late = desk.give(group(2), key="key-1", fingerprint="another body")

    assert ["idempotency.mismatch"] * 2 == [refusal(early), refusal(late)]
    assert isinstance(late.exception(), InvalidError)
    assert [created(1)] == events_of(log)


def test_a_repeat_is_judged_by_the_rights_of_now() -> None:
    """Who has lost the right is refused, and not told what once was (http-api 4)."""
    log = WatchedLog()
    desk = Desk(log)
    ended = BindingDeleted(tenant=MAIN, id=BindingId(f"bnd_{ADA}_{managed(MAIN, 'Admin')}"))
    with desk.open():
        outcome(desk.give(group(1), ADA, key="key-1"))
        log.elsewhere(ended)
        again = desk.give(group(1), ADA, key="key-1")

    assert "permission.denied" == refusal(again)


def test_a_refused_command_leaves_no_record() -> None:
    """Its repeat is decided anew (http-api 4)."""
    log = WatchedLog()
    desk = Desk(log)
    with desk.open():
        assert "permission.denied" == refusal(desk.give(group(1), DAN, key="key-1"))
        log.elsewhere(bound(DAN, managed(MAIN, "Admin")))
        again = outcome(desk.give(group(1), DAN, key="key-1"))

    assert Outcome(HEAD + 2, (created(1),)) == again


def test_a_forgotten_key_does_not_mix_two_commands() -> None:
    """After two days a key is free; its repeat then tells the newer command only (http-api 4)."""
    log = WatchedLog()
    desk = Desk(log)
    with desk.open():
        outcome(desk.give(group(1), key="key-1"))
        desk.inputs.advance(TWO_DAYS_SECONDS)
        # A newer key makes the old one's record be forgotten.
        outcome(desk.give(group(2), key="key-2"))
        newer = outcome(desk.give(group(3), key="key-1"))
        again = outcome(desk.give(group(3), key="key-1"))

    assert Outcome(newer.position, (created(3),), replayed=True) == again
