"""What becomes of commands and of the process when the store or the log's contents fail?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from api.problems import refusal as said_of
from api.request_errors import UnavailableError
from domain.events import UnknownTopicError, decode
from domain.groups import GroupRenamed
from domain.ids import MAIN
from domain.principals import MemberRemoved
from domain.state import Draft, apply
from ops import writer as writing
from ops.store_errors import (
    AppendRefusedError,
    OutcomeUnknownError,
    PositionTakenError,
    StoreBrokenError,
    StoreError,
    StoreFullError,
    StoreSlowError,
    StoreUnreachableError,
)
from ops.writer import Outcome, Publication, Writer
from tests.domain.world import BOT, BOTS, EVENTS
from tests.ops.desk import (
    WAIT_SECONDS,
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
    from collections.abc import Sequence

    from domain.events import Fact, Record

HEAD = len(EVENTS)


class FailingLog(WatchedLog):
    """A log whose next append, or every reading, fails as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.append_fault: StoreError | None = None
        self.read_fault: StoreError | None = None
        self.stores_anyway = False

    def append(self, position: int, records: Sequence[Record]) -> None:
        """Fail once, perhaps after it has stored the records."""
        fault, self.append_fault = self.append_fault, None
        if fault is None or self.stores_anyway:
            super().append(position, records)
        if fault is not None:
            raise fault

    def read(self, after: int, limit: int) -> list[Record]:
        """Fail for as long as there is a fault."""
        if self.read_fault is not None:
            raise self.read_fault
        return super().read(after, limit)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (StoreFullError("no space"), "store.full"),
        (StoreUnreachableError("away"), "store.unreachable"),
        (StoreSlowError("locked"), "store.slow"),
        (OutcomeUnknownError("cut off"), "log.unknown"),
    ],
)
def test_a_fault_of_the_store_is_503_and_the_writer_goes_on(fault: StoreError, code: str) -> None:
    """Every command of the batch is told the code; the next one is stored (event-log 3)."""
    log = FailingLog()
    log.append_fault = fault
    desk = Desk(log)
    answers = [desk.give(group(1)), desk.give(group(2))]
    with desk.open():
        codes = [refusal(answer) for answer in answers]
        after = outcome(desk.give(group(3)))

    assert [code, code] == codes
    errors = [answer.exception() for answer in answers]
    assert all(
        isinstance(error, UnavailableError) and said_of(error).status == 503 for error in errors
    )
    assert errors[0] is not errors[1]
    assert HEAD + 1 == after.position
    assert [created(3)] == events_of(log)


def test_while_an_append_is_in_doubt_nobody_waits_for_it() -> None:
    """Reliability E1: who queued behind it, and who comes meanwhile, is told at once."""
    log = FailingLog()
    desk = Desk(log)
    refused: list[str] = []

    def lose_the_answer() -> None:
        log.before_append = lambda: None
        behind = desk.give(group(2))
        desk.writer.turn_away()
        refused.append(refusal(behind))
        with pytest.raises(UnavailableError) as at_the_door:
            desk.give(group(3))
        refused.append(at_the_door.value.code)

    log.before_append = lose_the_answer
    first = desk.give(group(1))
    with desk.open():
        assert outcome(first).position == HEAD + 1
        after = outcome(desk.give(group(4)))

    assert refused == ["store.unreachable", "store.unreachable"]
    assert after.position == HEAD + 2
    assert [created(1), created(4)] == events_of(log)


def test_what_was_stored_unknown_to_the_writer_is_found_by_its_key() -> None:
    """After 503 log.unknown the repeat with the same key gets the first outcome (event-log 3)."""
    log = FailingLog()
    log.append_fault = OutcomeUnknownError("cut off")
    log.stores_anyway = True
    desk = Desk(log)
    with desk.open():
        assert "log.unknown" == refusal(desk.give(group(1), key="key-1"))
        again = outcome(desk.give(group(1), key="key-1"))

    assert Outcome(HEAD + 1, (created(1),), replayed=True) == again
    assert [created(1)] == events_of(log)


def test_only_the_part_of_a_batch_that_failed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stored before the fault stays done for its callers."""
    monkeypatch.setattr(writing, "BATCH_BYTES_MAX", 1)
    log = FailingLog()
    desk = Desk(log)
    answers = [desk.give(group(number)) for number in range(3)]
    log.before_append = lambda: setattr(log, "append_fault", StoreFullError("no space"))

    desk.work()

    assert HEAD + 1 == outcome(answers[0]).position
    assert ["store.full", "store.full"] == [refusal(answer) for answer in answers[1:]]
    assert [created(0)] == events_of(log)


def test_a_refusal_that_cannot_be_proved_at_the_head_is_503() -> None:
    """While the log cannot be read no command is refused on what may be stale (design 1)."""
    log = FailingLog()
    desk = Desk(log)
    log.read_fault = StoreUnreachableError("away")
    removed = MemberRemoved(tenant=MAIN, group=BOTS, principal=BOT)
    with desk.open():
        code = refusal(desk.give(group(1, "Bots")))
        log.read_fault = None
        log.elsewhere(removed, GroupRenamed(tenant=MAIN, id=BOTS, name="Others"))
        after = outcome(desk.give(group(2, "Bots")))

    assert "store.unreachable" == code
    assert (created(2, "Bots"),) == after.events


def test_a_follower_goes_on_when_the_store_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing stored meanwhile is lost, and the staleness tells of the gap (reliability B5)."""
    monkeypatch.setattr(writing, "POLL_SECONDS", 0.001)
    log = FailingLog()
    desk = Desk(log)
    log.read_fault = StoreUnreachableError("away")
    with desk.open():
        log.elsewhere(created(1))
        desk.inputs.advance(7)
        stale = desk.writer.staleness_seconds()
        log.read_fault = None
        after = outcome(desk.give(group(2)))
        fresh = desk.writer.staleness_seconds()

    assert (7.0, 0.0) == (stale, fresh)
    assert HEAD + 2 == after.position


# Halting


def halted(desk: Desk) -> str:
    """Let the writer meet what makes it halt; answer the reason."""
    answer = desk.give(group(98))
    desk.work()
    assert "writer.halted" == refusal(answer)
    assert desk.writer.halted is not None
    assert [desk.writer.halted] == desk.halts
    with pytest.raises(writing.HaltedError) as refused:
        desk.give(group(99))
    assert 503 == said_of(refused.value).status
    return desk.writer.halted


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (StoreBrokenError("input or output failed"), "store.broken"),
        (AppendRefusedError("a gap"), "log.refused"),
        (PositionTakenError("by nobody"), "log.refused"),
        (ZeroDivisionError(), "ZeroDivisionError: "),
    ],
)
def test_a_fault_that_no_race_explains_halts(fault: Exception, reason: str) -> None:
    """A failed disk, a gap, a position taken by nobody: nothing more is stored (event-log 3)."""
    log = WatchedLog()

    def fail() -> None:
        raise fault

    log.before_append = fail
    desk = Desk(log)
    answers = [desk.give(group(number)) for number in range(300)]

    assert reason == halted(desk)
    assert {"writer.halted"} == {refusal(answer) for answer in answers}
    assert [] == events_of(log)


class PoisonSkip(Writer):
    """Broken: passes over an event that it cannot read, and goes on."""

    def _follow(self) -> bool:
        draft = Draft(self._state)
        facts: list[Fact] = []
        for record in self._log.read(self._state.position, 1_000):
            try:
                fact = decode(record)
            except UnknownTopicError:
                draft.position = record.position
                continue
            apply(draft, fact)
            facts.append(fact)
        self._state = draft.finish()
        self._publish(Publication(self._state, tuple(facts), ()))
        return bool(facts)


def poisoned(kind: str) -> WatchedLog:
    """A log in which another process has stored a group, a poisoned event, and a group."""
    log = WatchedLog()
    records = as_records(HEAD, (created(1), created(2), created(3)))
    if kind == "topic":
        records[1] = structs.replace(records[1], topic="group.created.v99")
    elif kind == "bytes":
        records[1] = structs.replace(records[1], state=records[1].state[:-1])
    else:
        del records[1]
    log._records.extend(records)  # noqa: SLF001 - no log would store this
    return log


@pytest.mark.parametrize("kind", ["topic", "bytes", "gap"])
def test_a_poisoned_log_halts(kind: str) -> None:
    """An unknown topic, unreadable bytes, a gap: it stops before, and writes no more (B7)."""
    desk = Desk(poisoned(kind), state=state_of(WatchedLog()))

    halted(desk)

    assert {HEAD} == {publication.state.position for publication in desk.published}


def test_a_follower_that_passes_over_poison_is_caught() -> None:
    """Positive control: `poison_skip` is not halted by the same log."""
    desk = Desk(poisoned("topic"), PoisonSkip, state=state_of(WatchedLog()))
    answer = desk.give(group(4))

    desk.work()

    assert HEAD + 4 == outcome(answer).position
    assert desk.writer.halted is None


def test_a_fold_that_raises_halts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that cannot be applied stops the process before it (reliability B7)."""

    def stumble(draft: Draft, fact: Fact) -> None:
        apply(draft, fact)
        raise LookupError(fact.position)

    log = WatchedLog()
    desk = Desk(log)
    log.elsewhere(created(1))
    monkeypatch.setattr(writing, "apply", stumble)

    assert "LookupError" in halted(desk)
    assert HEAD == desk.published[-1].state.position


@pytest.mark.parametrize("instead", [False, True])
def test_a_log_that_lost_its_end_halts_whoever_had_read_it(*, instead: bool) -> None:
    """Event-log 7: the next look after a failover that lost events halts, and nothing is merged."""
    log = WatchedLog()
    log.elsewhere(created(1))
    desk = Desk(log)
    other = WatchedLog()
    if instead:
        other.elsewhere(created(2))
    desk.writer._log = other  # noqa: SLF001 - the failover: the same place holds another end

    with desk.open():
        desk.writer.wake()
        desk.halted.wait(WAIT_SECONDS)

    assert desk.halts == ["log.regressed"]
    assert {HEAD + 1} == {publication.state.position for publication in desk.published} | {HEAD + 1}
