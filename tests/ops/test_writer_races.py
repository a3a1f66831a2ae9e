"""Is every rule judged on the exact head, however many processes append at once?"""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from domain.events import Fact, encode
from domain.groups import AddMember
from domain.ids import MAIN, BindingId, GroupId
from domain.owners import GrantInstanceOwner, RevokeInstanceOwner
from domain.principals import BindingDeleted, InstanceOwnerGranted
from ops import writer as writing
from ops.store_errors import PositionTakenError
from ops.writer import Outcome, Writer
from tests.domain.world import ADA, BOT, DAN, EVENTS, ROOT, SPARE, managed, member
from tests.ops.desk import (
    LOG_ID,
    WAIT_SECONDS,
    Answer,
    Desk,
    WatchedLog,
    as_records,
    events_of,
    group,
    outcome,
    refusal,
    state_of,
)
from tests.ops.test_writer import created

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from domain.events import Record
    from tests.ops.log_stores import Log, Store

HEAD = len(EVENTS)
ROUNDS = 200
MEETING_SECONDS = 0.005


class RetryBlind(Writer):
    """Broken: answers a conflict by appending again at new positions, without deciding anew."""

    def _append(self, batch: writing._Batch) -> bool:
        while True:
            try:
                self._log.append(batch.records[0].position, batch.records)
            except PositionTakenError:
                self._follow()
                batch.state = self._state
                batch.facts = [
                    Fact(position, fact.envelope)
                    for position, fact in enumerate(batch.facts, self._state.position + 1)
                ]
                batch.records = [encode(fact.position, fact.envelope) for fact in batch.facts]
                batch.undo()
            else:
                return True


def once(act: Callable[[], None]) -> Callable[[], None]:
    """Answer what acts at its first call only."""
    acts = [act]
    return lambda: acts.pop()() if acts else None


# A race that is lost


def granted_with_a_lost_right(kind: type[Writer]) -> bool:
    """Ada makes a group while her right to is taken away elsewhere: is the group there?"""
    log = WatchedLog()
    desk = Desk(log, kind)
    ended = BindingDeleted(tenant=MAIN, id=BindingId(f"bnd_{ADA}_{managed(MAIN, 'Admin')}"))
    log.before_append = once(lambda: log.elsewhere(ended))
    answer = desk.give(group(1), by=ADA)

    desk.work()

    done = answer.exception() is None
    assert done or "permission.denied" == refusal(answer)
    assert [ended, *([created(1)] if done else [])] == events_of(log)
    return done


def test_a_right_that_was_revoked_in_between_refuses() -> None:
    """Who loses the race is judged anew, with the rights of now (reliability A5)."""
    assert not granted_with_a_lost_right(Writer)


def test_a_writer_that_only_moves_its_events_is_caught() -> None:
    """Positive control: `retry_blind` acts with the right that is gone."""
    assert granted_with_a_lost_right(RetryBlind)


def test_a_lost_race_is_decided_anew_and_the_caller_sees_the_end() -> None:
    """The whole batch follows what the other stored; the outcome is the final one (design 1)."""
    log = WatchedLog()
    desk = Desk(log)
    log.before_append = once(lambda: log.elsewhere(created(1, "Ops"), created(2)))
    answers = [desk.give(group(3, "Ops")), desk.give(group(4))]

    desk.work()

    assert "group.name_taken" == refusal(answers[0])
    assert Outcome(HEAD + 3, (created(4),)) == outcome(answers[1])
    assert [HEAD + 2, HEAD + 3] == [found.state.position for found in desk.published]
    assert state_of(log) == desk.published[-1].state


def always_outrun(times: int) -> Desk:
    """Answer a writer before whose appends another process is so often first."""
    log = WatchedLog()
    left = [*range(times)]
    log.before_append = lambda: log.elsewhere(created(100 + left.pop())) if left else None
    return Desk(log)


def test_four_lost_races_are_not_seen_by_the_caller() -> None:
    """The fifth decision stands (event-log 3)."""
    desk = always_outrun(4)
    answer = desk.give(group(1))

    desk.work()

    assert HEAD + 5 == outcome(answer).position


def test_five_lost_races_are_contention() -> None:
    """503 log.contention for all of the batch; nothing of it is stored; the writer goes on."""
    desk = always_outrun(5)
    answers = [desk.give(group(1)), desk.give(group(2))]
    with desk.open():
        assert ["log.contention"] * 2 == [refusal(answer) for answer in answers]
        assert HEAD + 6 == outcome(desk.give(group(3))).position

    assert [created(3)] == events_of(desk.log, HEAD + 5)


# A decision without events


class Deaf(Writer):
    """Broken: reads nothing that others append."""

    def _follow(self) -> bool:
        return False


def joined_elsewhere(kind: type[Writer]) -> Answer:
    """Give a command about a group that another process has made and acknowledged."""
    log = WatchedLog()
    desk = Desk(log, kind)
    log.elsewhere(created(1))
    join = AddMember(
        tenant=MAIN, group=GroupId("grp_1"), principal=BOT, default_binding=SPARE, level="MEMBER"
    )
    answer = desk.give(join)
    desk.work()
    return answer


def test_a_refusal_is_judged_on_the_exact_head_too() -> None:
    """What another process acknowledged is known before a command is refused (design 1)."""
    answer = joined_elsewhere(Writer)

    assert (member(GroupId("grp_1"), BOT),) == outcome(answer).events


def test_a_writer_that_refuses_on_stale_facts_is_caught() -> None:
    """Positive control: without reading on, the group is unknown."""
    assert "group.unknown" == refusal(joined_elsewhere(Deaf))


class BusyLog(WatchedLog):
    """A log in which another process stores an event before each reading."""

    def __init__(self) -> None:
        super().__init__()
        self.is_busy = False
        self.readings = 0

    def read(self, after: int, limit: int) -> list[Record]:
        """Grow, then answer."""
        if self.is_busy:
            self.readings += 1
            self.elsewhere(created(100 + self.readings))
        return super().read(after, limit)


def test_a_refusal_ends_however_busy_others_are() -> None:
    """It is judged on a head that was read after it came; that others go on is no contention."""
    log = BusyLog()
    desk = Desk(log)
    log.is_busy = True
    answer = desk.give(group(1), by=DAN)

    desk.work()

    assert "permission.denied" == refusal(answer)


# Following


def published_halves(limit: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Follow commands of several events by pages of `limit`; answer the heads within a command."""
    monkeypatch.setattr(writing, "PAGE_RECORDS", limit)
    log = WatchedLog()
    state = state_of(log)
    whole = {HEAD}
    for number, size in enumerate((1, 3, 2, 7, 1, 1, 4)):
        events = [created(100 * number + one) for one in range(size)]
        log.elsewhere(*events, command_id=f"elsewhere_{number}")
        whole.add(log.head())
    desk = Desk(log, state=state)
    with desk.open():
        outcome(desk.give(group(1)))
    facts = [fact for publication in desk.published for fact in publication.facts]
    assert [*range(HEAD + 1, log.head() + 1)] == [fact.position for fact in facts]
    assert state_of(log) == desk.published[-1].state
    return [
        publication.state.position
        for publication in desk.published
        if publication.state.position not in whole | {log.head()}
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 500])
def test_a_follower_applies_whole_commands_only(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that ends within a command is applied up to the command before (event-log 3)."""
    assert [] == published_halves(limit, monkeypatch)


def test_a_follower_that_applies_each_page_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positive control: pages taken as they come show half commands (reliability B9)."""
    monkeypatch.setattr(writing, "_whole_commands", lambda page: page)

    assert published_halves(2, monkeypatch)


def follows(act: Callable[[Desk], None]) -> None:
    """Hold that the writer publishes what others stored after the act, without any command."""
    log = WatchedLog()
    desk = Desk(log)
    with desk.open():
        log.elsewhere(created(1))
        act(desk)
        assert desk.news.wait(WAIT_SECONDS)
    assert [created(1)] == [fact.envelope.event for fact in desk.published[0].facts]


def test_a_wake_up_makes_the_writer_look() -> None:
    """News from elsewhere is applied and published at once (event-log 7)."""
    follows(lambda desk: desk.writer.wake())


def test_without_wake_ups_the_writer_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The poll is the guarantee, whatever the wake-ups say (event-log 7)."""
    monkeypatch.setattr(writing, "POLL_SECONDS", 0.001)

    follows(lambda _: None)


# Two processes


class MeetingLog:
    """One process's way to a shared log; armed, it waits for the other before its append."""

    def __init__(self, log: Log, meeting: threading.Barrier) -> None:
        self._log = log
        self._meeting = meeting
        self.log_id = LOG_ID
        self.armed = False
        self.head = log.head
        self.read = log.read
        self.wait = log.wait
        self.turn: Callable[[], AbstractContextManager[None]] = log.turn

    def append(self, position: int, records: Sequence[Record]) -> None:
        """Store, after both processes have decided, if they can be brought together."""
        if self.armed:
            self.armed = False
            try:
                self._meeting.wait(MEETING_SECONDS)
            except threading.BrokenBarrierError:
                # One of them waits for its turn, or was refused: then there is no meeting.
                self._meeting.reset()
        self._log.append(position, records)


def race_of_owners(logs: tuple[Log, Log], kind: type[Writer]) -> bool:
    """Let two owners remove each other, each at a process of its own, in 200 rounds.

    Tells whether none was left after some round. After each the one left makes the other owner
    again, at its own process, which must have followed.
    """
    logs[0].append(1, as_records(0, (*EVENTS, InstanceOwnerGranted(principal=ADA))))
    meeting = threading.Barrier(2)
    meetings = [MeetingLog(log, meeting) for log in logs]
    desks = [Desk(log, kind) for log in meetings]
    owners = (ROOT, ADA)
    with desks[0].open(), desks[1].open():
        for _ in range(ROUNDS):
            for log in meetings:
                log.armed = True
            answers = [
                desk.give(RevokeInstanceOwner(principal=other), by=owner)
                for desk, owner, other in zip(desks, owners, reversed(owners), strict=True)
            ]
            done = [answer.exception(WAIT_SECONDS) is None for answer in answers]
            if all(done):
                break
            winner = done.index(True)
            assert refusal(answers[1 - winner]) in {"privilege.required", "owner.last"}
            for log in meetings:
                log.armed = False
            again = GrantInstanceOwner(principal=owners[1 - winner])
            outcome(desks[winner].give(again, by=owners[winner]))
    left = state_of(logs[0]).owners
    assert {*left} == ({*owners} if not all(done) else set())
    assert desks[0].writer.halted is desks[1].writer.halted is None
    return not left


@pytest.fixture
def two_logs(store: Store) -> Iterator[tuple[Log, Log]]:
    """Yield the same empty log as two processes have it open, in each kind of store."""
    with closing(store.open(LOG_ID)) as first, closing(store.open(LOG_ID)) as second:
        yield first, second


def test_two_owners_that_remove_each_other_leave_one(two_logs: tuple[Log, Log]) -> None:
    """In 200 rounds at two processes there is always an owner left (security 2.6, A5)."""
    assert not race_of_owners(two_logs, Writer)


def test_owners_that_are_removed_blindly_leave_none(two_logs: tuple[Log, Log]) -> None:
    """Positive control: `retry_blind` leaves the installation without an owner."""
    assert race_of_owners(two_logs, RetryBlind)


def test_the_same_command_at_two_processes_is_done_once(two_logs: tuple[Log, Log]) -> None:
    """Equal keys at two processes at once: one event and one answer, 50 times (reliability A4)."""
    two_logs[0].append(1, as_records(0, EVENTS))
    meeting = threading.Barrier(2)
    meetings = [MeetingLog(log, meeting) for log in two_logs]
    desks = [Desk(log) for log in meetings]
    with desks[0].open(), desks[1].open():
        for number in range(50):
            for log in meetings:
                log.armed = True
            answers = [desk.give(group(number), key=f"key-{number}") for desk in desks]
            outcomes = [outcome(answer) for answer in answers]
            assert (created(number),) == outcomes[0].events == outcomes[1].events
            assert outcomes[0].position == outcomes[1].position
            assert [False, True] == sorted(one.replayed for one in outcomes)
            for log in meetings:
                log.armed = False

    assert 50 == len(events_of(two_logs[0]))
