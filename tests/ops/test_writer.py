"""Do commands become events as promised: in batches, whole, and durable before anyone is told?"""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import cast

import pytest
from msgspec import structs

from api.problems import refusal as said_of
from api.request_errors import UnavailableError
from domain.bindings import DeleteBinding
from domain.commands import Command
from domain.events import Actor, Fact, decode
from domain.groups import AddMember, ChangeMembership, DeleteGroup, GroupCreated, RemoveMember
from domain.ids import MAIN, BindingId, GroupId, RoleId
from domain.permissions import TypeActions
from domain.principals import MemberAdded
from domain.roles import CreateRole
from domain.sealed import KeyId
from domain.state import Draft, apply
from domain.tokens import RevokeAllTokens
from domain.users import CreateUser
from ops import writer as writing
from ops.writer import Outcome, Writer
from tests.domain.world import ADA, BOT, BOTS, DAN, EVENTS, NEW, ROOT, SPARE, index, sealed
from tests.fixed_inputs import START
from tests.ops.desk import Answer, Desk, WatchedLog, events_of, group, outcome, refusal, state_of

HEAD = len(EVENTS)


def created(number: int, name: str = "") -> GroupCreated:
    """The event of `group`."""
    return GroupCreated(tenant=MAIN, id=GroupId(f"grp_{number}"), name=name or f"Group {number}")


def wide_role(number: int, actions: int, characters: int) -> CreateRole:
    """A command whose one event is about as long as its actions together."""
    words = tuple(f"{word:0{characters}}" for word in range(actions))
    return CreateRole(
        tenant=MAIN,
        id=RoleId(f"rol_{number}"),
        name=f"Wide {number}",
        permissions=(TypeActions("WIDE", words),),
    )


def positions(log: WatchedLog) -> list[list[int]]:
    """Answer which positions were stored together."""
    return [[record.position for record in batch] for batch in log.appends]


# Group commit


def test_commands_that_wait_together_are_stored_in_one_append() -> None:
    """All that waits becomes one append, at the exact next positions (event-log 3)."""
    log = WatchedLog()
    desk = Desk(log)
    answers = [desk.give(group(number)) for number in range(3)]

    desk.work()

    assert [[HEAD + 1, HEAD + 2, HEAD + 3]] == positions(log)
    assert [Outcome(HEAD + 1 + n, (created(n),)) for n in range(3)] == [*map(outcome, answers)]
    assert state_of(log) == desk.published[-1].state


def test_each_command_is_decided_on_what_those_before_it_left() -> None:
    """Of two commands in one batch that exclude each other the first wins (design 1)."""
    desk = Desk(WatchedLog())
    answers = [desk.give(group(1, "Ops")), desk.give(group(2, "Ops"))]

    desk.work()

    assert (created(1, "Ops"),) == outcome(answers[0]).events
    assert refusal(answers[1]) == "group.name_taken"


def test_a_refused_command_fails_alone() -> None:
    """What one caller may not do costs the others of the batch nothing."""
    log = WatchedLog()
    desk = Desk(log)
    answers = [desk.give(group(1)), desk.give(group(2), by=DAN), desk.give(group(3))]

    desk.work()

    assert "permission.denied" == refusal(answers[1])
    assert [created(1), created(3)] == events_of(log)
    assert [HEAD + 1, HEAD + 2] == [outcome(answers[0]).position, outcome(answers[2]).position]


def test_a_command_with_nothing_to_do_answers_the_head() -> None:
    """Nothing is stored, and the position is the one that the answer was judged at."""
    log = WatchedLog()
    desk = Desk(log)
    answer = desk.give(RevokeAllTokens(owner=BOT))

    desk.work()

    assert Outcome(HEAD, ()) == outcome(answer)
    assert [] == log.appends


def test_events_carry_the_circumstances_of_their_command() -> None:
    """Actor, tenant, command id, request id and instant stand beside every event (event-log 2)."""
    log = WatchedLog()
    desk = Desk(log)
    by = Actor(type="user", id=ROOT, via="api", address="192.0.2.7")
    answer = desk.give(DeleteGroup(tenant=MAIN, id=BOTS), by, key="key-1")

    desk.work()

    stored = [decode(record).envelope for record in log.appends[0]]
    assert len(stored) > 1
    assert {("key-1", "as key-1", "request-1")} == {
        (one.command_id, one.fingerprint, one.correlation_id) for one in stored
    }
    assert {(START, MAIN)} == {(one.at, one.tenant) for one in stored}
    assert all(by == one.actor for one in stored)
    assert outcome(answer).events == tuple(one.event for one in stored)


def test_at_never_runs_backwards() -> None:
    """A clock that is put back leaves later events at the instant of the one before (style 6.2)."""
    log = WatchedLog()
    desk = Desk(log)
    with desk.open():
        desk.inputs.advance(60)
        outcome(desk.give(group(1)))
        desk.inputs.advance(-3600)
        outcome(desk.give(group(2)))
        desk.inputs.advance(3601)
        outcome(desk.give(group(3)))

    instants = [decode(batch[0]).envelope.at - START for batch in log.appends]
    assert [timedelta(seconds=60), timedelta(seconds=60), timedelta(seconds=61)] == instants


def test_a_batch_holds_at_most_256_commands() -> None:
    """Further commands make the next batch (event-log 3)."""
    log = WatchedLog()
    desk = Desk(log)
    answers = [desk.give(group(number)) for number in range(300)]

    desk.work()

    assert [256, 44] == [len(batch) for batch in log.appends]
    assert [*range(HEAD + 1, HEAD + 301)] == [outcome(answer).position for answer in answers]


def test_a_batch_is_full_at_one_megabyte() -> None:
    """The command that fills it goes whole; those behind it make the next batch."""
    log = WatchedLog()
    desk = Desk(log)
    answers = [desk.give(wide_role(number, 1_000, 60)) for number in range(20)]

    desk.work()

    sizes = [sum(len(record.state) for record in batch) for batch in log.appends]
    assert len(sizes) == 2
    assert sizes[0] >= writing.BATCH_BYTES_MAX > sizes[0] - len(log.appends[0][-1].state)
    assert 20 == len({outcome(answer).position for answer in answers})


# What cannot be stored


def test_an_event_over_64_kib_is_refused_alone() -> None:
    """No part of its command is stored, and the next one takes the position (security 6.2)."""
    log = WatchedLog()
    desk = Desk(log)
    answers = [desk.give(group(1)), desk.give(wide_role(1, 2_000, 60)), desk.give(group(2))]

    desk.work()

    assert "event.too_large" == refusal(answers[1])
    assert [created(1), created(2)] == events_of(log)
    assert HEAD + 2 == outcome(answers[2]).position


def unfaithful() -> CreateUser:
    """A command whose event would not come back as it went in: a lone surrogate in a key's id."""
    email = structs.replace(sealed("new"), key=KeyId("\ud800"))
    return CreateUser(id=NEW, email=email, email_index=index("new"), password=sealed("secret"))


def test_an_unfaithful_event_is_refused_alone() -> None:
    """Its caller is told 500, nothing of its command is stored (event-log 2)."""
    log = WatchedLog()
    desk = Desk(log)
    answers = [desk.give(unfaithful()), desk.give(group(1))]

    desk.work()

    fault = answers[0].exception()
    assert isinstance(fault, Exception)
    assert (500, "internal") == (said_of(fault).status, said_of(fault).code)
    assert [created(1)] == events_of(log)
    assert HEAD + 1 == outcome(answers[1]).position


def test_a_fault_of_a_rule_fails_its_command_alone(caplog: pytest.LogCaptureFixture) -> None:
    """An exception that nobody foresaw is 500 for its caller; the writer goes on (security 2.1)."""
    log = WatchedLog()
    desk = Desk(log)
    faulty = group(1, cast("str", 7))
    with desk.open():
        answers = [desk.give(faulty), desk.give(group(2))]
        fault = answers[0].exception(10)
        later = outcome(desk.give(group(3)))

    assert isinstance(fault, TypeError)
    assert (500, "internal") == (said_of(fault).status, said_of(fault).code)
    assert ["a command failed"] == [record.message for record in caplog.records]
    assert [created(2), created(3)] == events_of(log)
    assert HEAD + 2 == later.position
    assert desk.writer.halted is None


def apply_and_stumble(draft: Draft, fact: Fact) -> None:
    """The fold, with a fault in it: it raises after it has changed the draft."""
    apply(draft, fact)
    is_joining = isinstance(fact.envelope.event, MemberAdded)
    if is_joining:
        raise RuntimeError(fact.position)


def test_a_fault_of_the_fold_leaves_nothing_of_its_command(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What it had half applied is dropped; those before and after it are decided rightly."""
    monkeypatch.setattr(writing, "apply", apply_and_stumble)
    log = WatchedLog()
    desk = Desk(log)
    joined = AddMember(
        tenant=MAIN, group=GroupId("grp_1"), principal=ADA, default_binding=SPARE, level="MEMBER"
    )
    promoted = ChangeMembership(tenant=MAIN, group=GroupId("grp_1"), principal=ADA, level="OWNER")
    answers = [
        desk.give(group(1)),
        desk.give(joined),
        desk.give(promoted),
        desk.give(group(2)),
    ]

    desk.work()

    assert isinstance(answers[1].exception(), RuntimeError)
    assert "group.not_member" == refusal(answers[2])
    assert [created(1), created(2)] == events_of(log)
    assert state_of(log) == desk.published[-1].state
    assert caplog.records


# Telling


class AckEarly(Writer):
    """Broken: tells its callers before the append."""

    def _append(self, batch: writing._Batch) -> bool:
        self._publish(writing.Publication(self._state, (), tuple(batch.settled)))
        return super()._append(batch)


def told_before_durable(kind: type[Writer]) -> bool:
    """Tell whether an outcome was known while its position was not in the log."""
    log = WatchedLog()
    desk = Desk(log, kind)
    early: list[bool] = []
    answers: list[Answer] = []
    for number in range(5):
        answer = desk.give(group(number))
        answer.add_done_callback(lambda done: early.append(done.result().position > log.head()))
        answers.append(answer)
    desk.work()
    assert 5 == len(early)
    return any(early)


def test_nobody_is_told_before_it_is_durable() -> None:
    """A head is published when its events are in the log, never before (design 1)."""
    assert not told_before_durable(Writer)


def test_a_writer_that_tells_before_the_append_is_caught() -> None:
    """Positive control: `ack_early`."""
    assert told_before_durable(AckEarly)


def test_a_cancelled_caller_is_told_nothing_and_its_command_is_done() -> None:
    """Hanging up does not take a command back; the others get their outcomes (reliability 7)."""
    log = WatchedLog()
    desk = Desk(log)
    answers = [desk.give(group(1)), desk.give(group(2), by=DAN), desk.give(group(3))]
    assert answers[0].cancel()
    assert answers[1].cancel()

    desk.work()

    assert [created(1), created(3)] == events_of(log)
    assert HEAD + 2 == outcome(answers[2]).position


# The queue


def revocation(number: int) -> DeleteBinding:
    """A command that takes something away; refused, but queued like one that is not."""
    return DeleteBinding(tenant=MAIN, id=BindingId(f"bnd_{number}"))


def refused_at_once(desk: Desk, command: Command) -> UnavailableError | None:
    """Answer what the queue says to a command, None where it finds a place."""
    try:
        desk.give(command)
    except UnavailableError as refused:
        return refused
    return None


def flooded() -> Desk:
    """A writer that does not work yet, with every ordinary place taken."""
    desk = Desk(WatchedLog())
    for number in range(960):
        desk.give(group(number))
    return desk


def test_a_full_queue_is_busy() -> None:
    """The 961st ordinary command is refused at once with 503 (event-log 3)."""
    refused = refused_at_once(flooded(), group(960))

    assert refused is not None
    assert ("writer.busy", 503) == (refused.code, said_of(refused).status)
    assert (b"retry-after", b"1") in said_of(refused).headers


def test_revocations_have_places_of_their_own() -> None:
    """In a flood 64 revocations find a place, and not one more (security 6.4)."""
    desk = flooded()

    refused = [refused_at_once(desk, revocation(number)) for number in range(65)]

    assert [None] * 64 == refused[:64]
    assert refused[64] is not None
    assert "writer.busy" == refused[64].code


def test_revocations_are_decided_first() -> None:
    """A revocation that came last in a flood is in the first batch (security 6.4)."""
    desk = flooded()
    ended = desk.give(RemoveMember(tenant=MAIN, group=BOTS, principal=BOT))

    desk.work()

    assert HEAD + 1 == outcome(ended).position


def test_one_queue_for_all_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positive control: without the reserved places a flood keeps revocations out."""
    monkeypatch.setattr(writing, "REVOCATIONS", ())

    assert refused_at_once(flooded(), revocation(0)) is not None


def test_stopping_finishes_what_waits_and_takes_no_more() -> None:
    """What was queued is done before the thread ends; afterwards 503 (reliability E3)."""
    desk = Desk(WatchedLog())
    answers = [desk.give(group(number)) for number in range(300)]

    desk.work()

    assert HEAD + 300 == max(outcome(answer).position for answer in answers)
    with pytest.raises(UnavailableError) as stopped:
        desk.give(group(300))
    assert "writer.stopping" == stopped.value.code


def test_commands_from_many_threads_are_each_done_once() -> None:
    """Eight callers at once: every command has one position of its own, without gaps."""
    log = WatchedLog()
    desk = Desk(log)
    answers: list[Answer] = []

    def call(first: int) -> None:
        answers.extend([desk.give(group(number)) for number in range(first, first + 40)])

    with desk.open():
        threads = [threading.Thread(target=call, args=(40 * number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert {*range(HEAD + 1, HEAD + 321)} == {outcome(answer).position for answer in answers}
    assert 320 == len(events_of(log))
