"""Does who waits for a record get it or a refusal, and do last uses and retention hold?"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from api.request_errors import UnavailableError
from ops import journal as ops_journal
from ops.journal import QUEUE_MAX, StoredJournal
from projections import journal
from tests.fixed_inputs import START
from tests.ops.journal_desk import SIGNED_IN, Desk, decisions

if TYPE_CHECKING:
    from collections.abc import Iterator


# Required


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Desk]:
    """A journal without whose record nothing is answered, with its thread."""
    desk = Desk(tmp_path / "journal.db", "required")
    desk.journal.start()
    yield desk
    desk.journal.stop()
    desk.engine.dispose()


def test_who_waits_is_told_when_the_record_is_there(strict: Desk) -> None:
    """`required`: after `settle` the entry is in the store, for many at once."""

    async def ask(number: int) -> None:
        strict.journal.decided(decisions(action=f"A{number}"))
        await strict.journal.settle()
        assert f"A{number}" in {one.action for one in strict.kept()}

    async def all_of() -> None:
        await asyncio.gather(*(ask(number) for number in range(50)))

    asyncio.run(all_of())


def test_who_waits_is_refused_when_the_record_cannot_be(strict: Desk) -> None:
    """`required`: a store that fails leaves no answer, and one that is mended answers again."""

    async def ask() -> None:
        strict.journal.decided(decisions())
        await strict.journal.settle()

    strict.break_store()
    for _ in range(3):
        with pytest.raises(UnavailableError, match=r"journal\.unwritable"):
            asyncio.run(ask())
    strict.mend_store()
    strict.inputs.advance(ops_journal.RETRY_SECONDS)
    asyncio.run(ask())

    assert 4 == len(strict.kept())


def test_who_waits_too_long_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that hangs keeps nobody waiting for ever."""
    monkeypatch.setattr(ops_journal, "SETTLE_SECONDS", 0.01)

    with pytest.raises(UnavailableError, match=r"journal\.unwritable"):
        asyncio.run(desk.journal.settle())


def test_a_full_queue_refuses_where_records_are_required(tmp_path: Path) -> None:
    """`required`: without room for the record there is no answer."""
    desk = Desk(tmp_path / "journal.db", "required")
    desk.journal.decided(decisions(QUEUE_MAX))

    with pytest.raises(UnavailableError, match=r"journal\.full"):
        desk.journal.decided(decisions())
    with pytest.raises(UnavailableError, match=r"journal\.full"):
        desk.journal.noted(SIGNED_IN)
    desk.engine.dispose()


def test_an_entry_that_had_no_room_refuses_its_own_caller(
    strict: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`required`: it does not help that others behind it were written."""
    monkeypatch.setattr(ops_journal, "UNWRITTEN_MAX", 1)

    async def ask() -> tuple[BaseException | None, BaseException | None]:
        strict.journal.decided(decisions(2))
        first = asyncio.ensure_future(strict.journal.settle())
        await asyncio.sleep(0)
        second = asyncio.ensure_future(strict.journal.settle())
        return await asyncio.gather(first, second, return_exceptions=True)

    first, second = asyncio.run(ask())

    assert isinstance(first, UnavailableError)
    assert second is None


def test_a_question_to_a_broken_store_is_unavailable(strict: Desk) -> None:
    """Whoever asks the journal is told that it cannot answer now."""
    strict.break_store()

    with pytest.raises(UnavailableError, match=r"store\.unreachable"):
        asyncio.run(strict.journal.ask(journal.head))

    strict.mend_store()
    assert 0 == asyncio.run(strict.journal.ask(journal.head))


# Last uses and retention


def test_last_uses_are_known_right_after_a_restart(desk: Desk) -> None:
    """Security 4.4: what was used before stays told; a later use takes its place."""
    desk.journal.used("bot", "t1", "192.0.2.1", [(b"host", b"x"), (b"user-agent", b"curl/8")])
    desk.write()

    again = StoredJournal(desk.engine, desk.inputs, lambda _: b"")
    again.start()
    used = again.last_use("t1")
    again.stop()

    assert used == desk.journal.last_use("t1") == again.last_use("bot")
    assert used is not None
    assert (START, "192.0.2.1", "curl/8") == (used.at - timedelta(seconds=10), *used[1:])
    assert again.last_use("t2") is None


def test_last_uses_of_other_processes_are_followed(desk: Desk) -> None:
    """What another process has seen shows here within its flush and one's own."""
    other = StoredJournal(desk.engine, desk.inputs, lambda _: b"")
    other.used("bot", "t1", "192.0.2.1", [])
    other.flush(everything=True)

    desk.write()

    assert desk.journal.last_use("t1") == other.last_use("t1")
    assert desk.journal.last_use("t1") is not None


def test_a_use_between_two_writes_is_not_forgotten(desk: Desk) -> None:
    """The newest use is told at once, and written with the next batch."""
    desk.journal.used("bot", "t1", "192.0.2.1", [])
    desk.write()
    desk.journal.used("bot", "t1", "192.0.2.2", [])
    desk.journal.flush()
    first = desk.journal.last_use("t1")

    desk.write()

    assert first is not None
    assert "192.0.2.2" == first.address
    assert first == desk.journal.last_use("t1")


def test_what_is_too_old_goes_and_last_uses_of_what_exists_stay(tmp_path: Path) -> None:
    """Retention is about entries; when a token was last used is known as long as there is one."""
    desk = Desk(tmp_path / "journal.db", exists=lambda id_: id_ != "t2")
    for token in ("t1", "t2"):
        desk.journal.used("bot", token, "", [])
    desk.journal.noted(SIGNED_IN)
    desk.journal.decided(decisions())
    desk.write()
    assert ([SIGNED_IN], 1) == (desk.kept(), desk.counted())

    desk.inputs.advance(2 * 24 * 3_600)
    desk.journal.flush()

    assert ([], 0) == (desk.kept(), desk.counted())
    assert desk.journal.last_use("t1") is not None
    assert desk.journal.last_use("t2") is None
    with desk.engine.connect() as connection:
        assert {"bot", "t1"} == set(journal.last_uses(connection, 0)[1])
    desk.engine.dispose()


def test_a_long_arrear_of_pruning_is_worked_off_in_small_batches(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No one waits behind a deletion of millions: each turn takes a few, until none is left."""
    monkeypatch.setattr(ops_journal, "PRUNE_ENTRIES", 2)
    for _ in range(5):
        desk.journal.noted(SIGNED_IN)
    desk.write()
    desk.inputs.advance(2 * 24 * 3_600)

    left: list[int] = []
    for _ in range(3):
        desk.journal.flush()
        left.append(len(desk.kept()))

    assert [3, 1, 0] == left


def test_pruning_that_fails_is_told_and_tried_again(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """Retention is a promise too; a store that refuses it is heard of."""
    with desk.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE journal_counters RENAME TO elsewhere")

    desk.journal.flush()

    assert "the journal cannot be pruned" in caplog.messages
