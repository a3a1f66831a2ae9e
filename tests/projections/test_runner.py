"""Do the views follow the log exactly, from wherever they stand, and stop where they must?"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import OperationalError

from domain import bindings, groups, service_accounts
from domain.events import Record, UnknownTopicError, decode
from domain.ids import MAIN, BindingId, GroupId, RoleId, ServiceAccountId
from domain.scopes import Scope
from domain.state import State, evolve
from projections import views
from projections.batch import Batch
from projections.runner import PAGE_RECORDS, MissingEventError, ViewRunner
from tests.histories import LOG_ID, Histories
from tests.memory_log import MemoryLog
from tests.projections.rebuilt_digest import write_records
from tests.projections.view_rows import all_rows, clear, log_of, rebuild

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection, Engine

BOUND_SECONDS = 20.0
TAKEN = {"log_id": LOG_ID, "position": 0, "record_hash": b""}


def history(seed: int, commands: int = 150) -> list[Record]:
    """Return the records of a random history."""
    histories = Histories(seed)
    histories.run(commands)
    return histories.records


def create_group(histories: Histories, name: str) -> None:
    """Let one group come into being: a command of one event."""
    id_ = GroupId(histories.inputs.id())
    histories.give(groups.CreateGroup(tenant=MAIN, id=id_, name=name))


class FaultyLog(MemoryLog):
    """A log whose first reads fail."""

    def __init__(self, records: list[Record], faults: list[Exception]) -> None:
        super().__init__(LOG_ID)
        self.append(1, records)
        self.faults = faults

    def read(self, after: int, limit: int) -> list[Record]:
        if self.faults:
            raise self.faults.pop()
        return super().read(after, limit)


class WatchedLog(MemoryLog):
    """A log that remembers behind which positions it was read: where batches ended."""

    def __init__(self, records: list[Record]) -> None:
        super().__init__(LOG_ID)
        self.append(1, records)
        self.asked_after: list[int] = []

    def read(self, after: int, limit: int) -> list[Record]:
        self.asked_after.append(after)
        return super().read(after, limit)


# Replay


def test_views_rebuilt_equal_the_live_ones(engine: Engine) -> None:
    """Rows written a few commands at a time are those of one pass over the whole log."""
    histories = Histories(11)
    log = log_of(histories.records)
    clear(engine)
    runner = ViewRunner(log, engine)
    runner.catch_up()
    for _ in range(25):
        first = len(histories.records)
        histories.run(7)
        if len(histories.records) > first:
            log.append(first + 1, histories.records[first:])
        runner.catch_up()
    live = all_rows(engine)

    position = rebuild(engine, histories.records)

    assert position == len(histories.records)
    assert all_rows(engine) == live
    assert live["entries_v1"]


def test_views_in_another_process_are_the_same(tmp_path: Path, sqlite_engine: Engine) -> None:
    """No hash order and no clock gets into the rows."""
    records = history(12)
    write_records(tmp_path / "records", records)
    rebuild(sqlite_engine, records)
    here = sha256(repr(all_rows(sqlite_engine)).encode()).hexdigest()

    digests = {
        subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.projections.rebuilt_digest",
                str(tmp_path / "records"),
                str(tmp_path / f"views-{seed}.db"),
            ],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "4242")
    }

    assert digests == {here}


def test_view_runner_resumes_where_the_rows_end(engine: Engine) -> None:
    """After a restart nothing is written twice, whether the fold is given or made again."""
    records = history(13)
    half = len(records) // 2
    rebuild(engine, records[:half])
    middle = all_rows(engine)
    log = log_of(records[:half])
    state = evolve(State(), [decode(record) for record in records[:half]])

    again = ViewRunner(log, engine).catch_up()
    given = ViewRunner(log, engine, state=state).catch_up()

    assert (again, given) == (half, half)
    assert all_rows(engine) == middle
    log.append(half + 1, records[half:])
    ViewRunner(log, engine, state=state).catch_up()
    resumed = all_rows(engine)
    rebuild(engine, records)
    assert resumed == all_rows(engine)


def test_view_runner_given_a_fold_ahead_of_the_rows_does_without_it(engine: Engine) -> None:
    """A state newer than the rows would leave a hole, so the log is folded again."""
    records = history(14)
    rebuild(engine, records)
    whole = all_rows(engine)
    state = evolve(State(), [decode(record) for record in records])
    rebuild(engine, records[:10])

    position = ViewRunner(log_of(records), engine, state=state).catch_up()

    assert position == len(records)
    assert all_rows(engine) == whole


def test_view_runner_asks_for_the_fold_at_the_rows_position(engine: Engine) -> None:
    """After a crash only what the rows lack is read, where an earlier fold can be had."""
    records = history(14)
    facts = [decode(record) for record in records]
    rebuild(engine, records)
    whole = all_rows(engine)
    rebuild(engine, records[:60])
    log = WatchedLog(records)

    position = ViewRunner(
        log,
        engine,
        state=evolve(State(), facts),
        state_at=lambda position: evolve(State(), facts[:position]),
    ).catch_up()

    assert position == len(records)
    assert min(log.asked_after) == 59
    assert all_rows(engine) == whole


@pytest.mark.parametrize("case", ["another id", "shorter", "another event", "no position"])
def test_views_that_are_not_of_this_log_are_made_anew(engine: Engine, case: str) -> None:
    """Rows of another log, or ahead of it, or of events that were lost, are not kept (7)."""
    records = history(15)
    other = history(16)[: len(records)]
    rebuild(engine, records)
    if case == "no position":
        with engine.begin() as connection:
            connection.execute(views.POSITION.delete())
    log = {
        "another id": log_of(records, "another-log"),
        "shorter": log_of(records[:20]),
        "another event": log_of([*records[:-1], *other[len(records) - 1 :]]),
        "no position": log_of(records),
    }[case]

    position = ViewRunner(log, engine).catch_up()

    found = all_rows(engine)
    clear(engine, log.log_id)
    assert ViewRunner(log, engine).catch_up() == position == log.head()
    assert found == all_rows(engine)


def test_views_of_two_processes_are_written_once(engine: Engine) -> None:
    """Whoever comes second to the same events only folds them."""
    records = history(17)
    clear(engine)
    log = log_of(records[:30])
    first, second = ViewRunner(log, engine), ViewRunner(log, engine)
    first.catch_up()
    second.catch_up()
    log.append(31, records[30:])

    assert second.catch_up() == first.catch_up() == len(records)

    found = all_rows(engine)
    rebuild(engine, records)
    assert found == all_rows(engine)


@pytest.mark.parametrize("lost", [True, False])
def test_views_begun_anew_by_another_process_are_followed_again(
    engine: Engine, *, lost: bool
) -> None:
    """A fold that is ahead of the rows is dropped, not written on."""
    records = history(18)
    log = log_of(records[:40])
    clear(engine)
    runner = ViewRunner(log, engine)
    runner.catch_up()
    if lost:
        with engine.begin() as connection:
            connection.execute(views.POSITION.delete())
    else:
        clear(engine)
    log.append(41, records[40:])

    assert runner.catch_up() == len(records)

    found = all_rows(engine)
    rebuild(engine, records)
    assert found == all_rows(engine)


def test_view_runner_never_shows_half_a_command(sqlite_engine: Engine) -> None:
    """A command that is longer than a page is applied in one transaction."""
    histories = Histories(19)
    account = ServiceAccountId(histories.inputs.id())
    histories.give(service_accounts.CreateServiceAccount(tenant=MAIN, id=account, name="ci-bot"))
    before = len(histories.records)
    role = RoleId(min(histories.state.roles))
    assignments = tuple(
        bindings.Assignment(
            id=BindingId(histories.inputs.id()),
            default_binding=BindingId(histories.inputs.id()),
            subject_type="PRINCIPAL",
            subject=account,
            role=role,
            scope=Scope(namespace=f"n{number}"),
        )
        for number in range(PAGE_RECORDS + 100)
    )
    histories.give(bindings.AssignRoles(tenant=MAIN, assignments=assignments))
    create_group(histories, "Bots")
    log = WatchedLog(histories.records)
    clear(sqlite_engine)

    position = ViewRunner(log, sqlite_engine).catch_up()

    assert position == len(histories.records)
    assert before in log.asked_after
    assert not [one for one in log.asked_after if before < one < before + len(assignments)]


# Faults


def test_view_runner_meeting_an_unknown_topic_halts(engine: Engine) -> None:
    """What is not understood may be a revocation: it is not passed over, and waiters are told."""
    records = history(20)
    unknown = Record(len(records) + 1, "token.exploded.v1", records[-1].state)
    clear(engine)
    told: list[str] = []
    runner = ViewRunner(log_of([*records, unknown]), engine, on_halt=told.append)

    async def wait() -> tuple[bool, bool]:
        early = asyncio.create_task(runner.wait_for(len(records) + 1, BOUND_SECONDS))
        await asyncio.sleep(0)
        runner.start()
        return await early, await runner.wait_for(len(records) + 1, BOUND_SECONDS)

    assert asyncio.run(wait()) == (False, False)
    runner.stop()
    where = f"at position {len(records) + 1}"
    assert runner.halted == f"UnknownTopicError: unknown topic token.exploded.v1 {where}"
    assert told == [runner.halted]
    with pytest.raises(UnknownTopicError):
        ViewRunner(log_of([*records, unknown]), engine).catch_up()


def test_view_runner_meeting_a_gap_halts(sqlite_engine: Engine) -> None:
    """A position that is missing is never stepped over."""
    records = history(21)

    class Gap(MemoryLog):
        """A log that hides one record."""

        def read(self, after: int, limit: int) -> list[Record]:
            return records[after + 1 : after + 1 + limit]

    with pytest.raises(MissingEventError, match="position 1 is missing"):
        ViewRunner(Gap("gap"), sqlite_engine).catch_up()
    runner = ViewRunner(Gap("gap"), sqlite_engine)
    runner.start()
    assert not asyncio.run(runner.wait_for(1, BOUND_SECONDS))
    runner.stop()
    assert runner.halted == "MissingEventError: position 1 is missing"


def test_view_runner_that_cannot_write_leaves_rows_and_position_alone(engine: Engine) -> None:
    """Position and rows are one transaction: after a fault both are as they were."""
    records = history(22)
    rebuild(engine, records[:50])
    before = all_rows(engine)

    class BrokenBatch(Batch):
        """A batch whose last statement fails, after all the others."""

        def write(self, connection: Connection) -> None:
            super().write(connection)
            connection.execute(views.POSITION.insert().values(TAKEN))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("projections.runner.Batch", BrokenBatch)
        runner = ViewRunner(log_of(records), engine)
        runner.start()
        assert not asyncio.run(runner.wait_for(len(records), BOUND_SECONDS))
        runner.stop()

    assert runner.halted == "IntegrityError"
    assert all_rows(engine) == before
    ViewRunner(log_of(records), engine).catch_up()
    assert all_rows(engine) != before


def test_view_runner_after_a_lost_connection_tries_again(sqlite_engine: Engine) -> None:
    """A fault that passes by itself does not halt the views: neither theirs nor the log's."""
    records = history(23)
    clear(sqlite_engine)
    lost = OperationalError("SELECT", {}, Exception("gone"))
    log = FaultyLog(records, [ConnectionError(), lost])
    runner = ViewRunner(log, sqlite_engine, retry_on=(ConnectionError,))
    runner.start()

    assert asyncio.run(runner.wait_for(len(records), BOUND_SECONDS))

    runner.stop()
    assert log.faults == []
    assert runner.halted is None


# Waiting


def test_waiting_for_a_position_ends_with_the_events_that_reach_it(engine: Engine) -> None:
    """Whoever waits is woken as soon as the rows are there, and not before."""
    histories = Histories(24)
    log = log_of(histories.records)
    clear(engine)
    runner = ViewRunner(log, engine)
    runner.start()

    async def wait() -> None:
        first = len(histories.records)
        assert await runner.wait_for(first, BOUND_SECONDS)
        assert await runner.wait_for(first, 0.0)
        create_group(histories, "Bots")
        later = asyncio.create_task(runner.wait_for(len(histories.records), BOUND_SECONDS))
        beyond = asyncio.create_task(runner.wait_for(len(histories.records) + 1, BOUND_SECONDS))
        given_up = asyncio.create_task(runner.wait_for(len(histories.records), BOUND_SECONDS))
        await asyncio.sleep(0)
        given_up.cancel()
        assert not later.done()
        log.append(first + 1, histories.records[first:])
        threading.Thread(target=runner.notify, args=(len(histories.records),)).start()
        assert await later
        assert not beyond.done()
        beyond.cancel()
        assert runner.position == len(histories.records)

    asyncio.run(wait())
    runner.stop()


def test_waiting_for_a_position_that_does_not_come_ends_in_time(sqlite_engine: Engine) -> None:
    """The bound is the caller's: afterwards the answer is no."""
    records = history(25, 20)
    rebuild(sqlite_engine, records)
    runner = ViewRunner(log_of(records), sqlite_engine)

    assert not asyncio.run(runner.wait_for(1, 0.01))

    runner.catch_up()
    assert asyncio.run(runner.wait_for(len(records), 0.01))
    assert not asyncio.run(runner.wait_for(len(records) + 1, 0.01))
    runner.stop()


def test_waiter_that_gives_up_as_it_is_reached_disturbs_nobody(sqlite_engine: Engine) -> None:
    """Being told and giving up may cross: then nothing is told."""
    records = history(27, 20)
    clear(sqlite_engine)
    runner = ViewRunner(log_of(records), sqlite_engine)
    faults: list[object] = []

    async def cross() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, fault: faults.append(fault))
        waiting = asyncio.create_task(runner.wait_for(len(records), BOUND_SECONDS))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        runner.catch_up()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.sleep(0)

    asyncio.run(cross())

    assert faults == []
    assert runner.position == len(records)


def test_views_follow_the_log_without_being_told(sqlite_engine: Engine) -> None:
    """The poll is the guarantee: what another process appended is found within a second or so."""
    histories = Histories(26)
    log = log_of(histories.records)
    clear(sqlite_engine)
    runner = ViewRunner(log, sqlite_engine)
    runner.start()
    assert asyncio.run(runner.wait_for(len(histories.records), BOUND_SECONDS))
    first = len(histories.records)
    create_group(histories, "Bots")
    log.append(first + 1, histories.records[first:])

    assert asyncio.run(runner.wait_for(len(histories.records), BOUND_SECONDS))

    runner.stop()


def test_applied_events_are_told_as_they_are_taken_in(engine: Engine) -> None:
    """However far behind the views begin, they say how far each batch went."""
    told: list[int] = []
    log = log_of(history(11))

    position = ViewRunner(log, engine, on_applied=told.append).catch_up()

    assert position == sum(told) == log.head()
    assert all(told)
