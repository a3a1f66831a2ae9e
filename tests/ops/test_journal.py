"""Is nothing lost in silence on the way to the journal, whatever comes and whatever fails?"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine

from api.request_errors import UnavailableError
from ops import journal as ops_journal
from ops.journal import QUEUE_MAX, StoredJournal
from projections import journal
from projections.folding import Folding
from projections.journal import Entry, Wanted
from tests.fixed_inputs import START, FixedInputs
from tests.ops.journal_desk import REFUSED, SIGNED_IN, Desk, decisions

if TYPE_CHECKING:
    from ops.settings import JournalMode

# Nothing is lost in silence


@given(st.data())
def test_every_decision_is_an_entry_or_counted_or_told_as_dropped(data: st.DataObject) -> None:
    """Whatever the mode, the order, the faults of the store and the floods: the sums are right."""
    mode: JournalMode = data.draw(st.sampled_from(["denials", "all"]))
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        journal.create(connection)
    inputs = FixedInputs()
    kept = StoredJournal(engine, inputs, lambda _: b"", mode=mode)
    noted = 0
    is_broken = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops_journal, "QUEUE_MAX", 50)
        patch.setattr(ops_journal, "UNWRITTEN_MAX", 60)
        for _ in range(data.draw(st.integers(0, 30))):
            match data.draw(st.sampled_from(["decide", "note", "flush", "wait", "store"])):
                case "decide":
                    number = data.draw(st.integers(1, 60))
                    noted += number
                    kept.decided(decisions(number, allowed=data.draw(st.booleans())))
                case "note":
                    noted += 1
                    kept.noted(REFUSED)
                case "flush":
                    kept.flush()
                case "wait":
                    inputs.advance(data.draw(st.sampled_from([0.6, 11, 61])))
                case _:
                    is_broken = not is_broken
                    names = ("journal_head", "away")[:: 1 if is_broken else -1]
                    with engine.begin() as connection:
                        connection.exec_driver_sql(f"ALTER TABLE {names[0]} RENAME TO {names[1]}")
        kept.stop()

    tally = kept.tally()
    assert noted == tally.written + tally.counted + tally.dropped
    assert (0, 0) == (tally.queued, tally.unwritten)
    with engine.connect() as connection:
        stored = journal.following(connection, Wanted(tenant=None), 0, 10_000)
        counts = journal.counted(connection, 0, 2**40)
    assert tally.written == len(stored)
    if not is_broken:
        assert tally.counted == sum(number for _, number in counts)
    engine.dispose()


def test_the_sums_find_what_is_lost(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control of the property above: a journal that forgets one act does not add up."""
    monkeypatch.setattr(Folding, "count", lambda *_: None)
    desk.journal.decided(decisions(3))

    desk.write()

    assert 3 == desk.journal.tally().counted
    assert 0 == desk.counted()


def test_a_full_queue_turns_away_counts_and_tells(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The memory is bounded; what had no room is told by number and in the log, once a minute."""
    desk = Desk(tmp_path / "journal.db", "all")
    desk.journal.decided(decisions(QUEUE_MAX, allowed=False))
    desk.journal.decided(decisions(2, allowed=False))
    desk.journal.noted(SIGNED_IN)
    desk.journal.used("bot", "t1", "", [])
    assert (QUEUE_MAX, 3) == (desk.journal.tally().queued, desk.journal.tally().dropped)

    for _ in range(3):
        desk.inputs.advance(ops_journal.TOLD_SECONDS / 2)
        desk.journal.flush()

    told = [record for record in caplog.records if record.msg == "journal entries were dropped"]
    assert [3] == [vars(record)["dropped"] for record in told]
    assert (QUEUE_MAX, 0) == (len(desk.kept()), desk.journal.tally().queued)
    desk.engine.dispose()


def test_a_flood_of_decisions_needs_no_room_and_loses_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default a flood is counted at once, under bounded names: nothing of it is dropped."""
    monkeypatch.setattr(ops_journal, "QUEUE_MAX", 120)
    for number in range(500):
        desk.journal.decided(decisions(10, allowed=bool(number % 2), action=f"A{number}"))
    tally = desk.journal.tally()
    assert (120, 5_000 - 120, 0) == (tally.queued, tally.counted, tally.dropped)

    desk.write()

    assert (120, 5_000 - 120) == (len(desk.kept()), desk.counted())
    with desk.engine.connect() as connection:
        assert len(journal.counted(connection, 0, 2**40)) <= 64 + 2


def test_what_cannot_be_written_is_kept_in_order_and_written_later(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """Reliability E7: the store is away, nothing is lost meanwhile, and each failure is counted."""
    desk.break_store()
    for number in range(3):
        desk.journal.noted(
            Entry(at=START, kind="sign_in", outcome="ALLOWED", position=number, principal="ada")
        )
        desk.journal.decided(decisions())
        desk.write()
    assert (3, 3, 0) == (
        desk.journal.tally().write_failures,
        desk.journal.tally().unwritten,
        desk.journal.tally().written,
    )
    assert "the journal cannot be written" in caplog.messages

    desk.mend_store()
    desk.write()

    assert [0, 1, 2] == [one.position for one in desk.kept()]
    assert (3, 0) == (desk.counted(), desk.journal.tally().dropped)


def test_a_store_that_is_away_is_not_asked_all_the_time(desk: Desk) -> None:
    """After a failure it is tried again a second later, not at every turn."""
    desk.break_store()
    desk.journal.noted(SIGNED_IN)
    desk.write()

    for _ in range(5):
        desk.journal.flush()

    assert 1 == desk.journal.tally().write_failures


def test_what_waits_for_the_store_has_an_end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store is away the memory does not grow: the oldest stay, the rest is told."""
    monkeypatch.setattr(ops_journal, "UNWRITTEN_MAX", 2)
    desk.break_store()
    for _ in range(5):
        desk.journal.noted(SIGNED_IN)
    desk.write()

    assert (2, 3) == (desk.journal.tally().unwritten, desk.journal.tally().dropped)


def test_what_is_left_at_the_end_is_told(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """A process that ends without its store says how many entries went with it."""
    desk.break_store()
    desk.journal.noted(SIGNED_IN)

    desk.journal.stop()

    assert 1 == desk.journal.tally().dropped
    assert "journal entries were dropped" in caplog.messages


def test_everything_is_written_at_the_end(desk: Desk) -> None:
    """Reliability E3: a shutdown flushes entries, counts and last uses, due or not."""
    desk.journal.noted(SIGNED_IN)
    desk.journal.decided(decisions())
    desk.journal.used("bot", "t1", "192.0.2.1", [(b"user-agent", b"curl/8")])

    desk.journal.stop()

    assert ([SIGNED_IN], 1) == (desk.kept(), desk.counted())
    with desk.engine.connect() as connection:
        assert {"bot", "t1"} == set(journal.last_uses(connection, 0)[1])


def test_the_thread_outlives_what_it_cannot_read(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of ours at one act is logged and told as lost; whoever waits for it is refused."""
    monkeypatch.setattr(ops_journal, "network_of", lambda _: 1 / 0)
    desk.journal.start()

    async def ask() -> None:
        desk.journal.noted(REFUSED)
        with pytest.raises(UnavailableError) as refused:
            await desk.journal.settle()
        assert "journal.unwritable" == refused.value.code
        desk.journal.noted(SIGNED_IN)
        await desk.journal.settle()

    asyncio.run(ask())
    desk.journal.stop()

    assert [SIGNED_IN] == desk.kept()
    assert 1 == desk.journal.tally().dropped
    assert [logging.CRITICAL] == [
        record.levelno for record in caplog.records if "failed at an act" in record.msg
    ]


# Floods


def flood(desk: Desk, number: int) -> int:
    """Refuse so many strangers from everywhere within ten minutes; answer the store's growth."""
    before = size(desk.path)
    for one in range(number):
        address = f"2001:db8:{one % 4096:x}::1" if one % 2 else "192.0.2.1"
        desk.journal.noted(
            Entry(
                at=START,
                kind="token_failure",
                outcome="DENIED",
                code="auth.invalid",
                position=1,
                address=address,
                agent="curl/8" * 10,
                request_id="req-0123456789",
            )
        )
        if one % 1_000 == 999:
            desk.inputs.advance(600 / number * 1_000)
            desk.journal.flush()
    desk.write()
    return size(desk.path) - before


def size(path: Path) -> int:
    """The bytes of a database, without what its write-ahead log keeps for a while."""
    engine = journal.open_sqlite(path)
    with engine.connect() as connection:
        pages: int = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        page: int = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
    engine.dispose()
    return pages * page


def test_a_flood_of_refusals_does_not_fill_the_disk(desk: Desk) -> None:
    """Security 2.11: a million grow the journal by at most 10 MB; here a fiftieth, all counted."""
    number = 20_000

    grown = flood(desk, number)

    tally = desk.journal.tally()
    assert grown <= 10_000_000 / 5
    assert (number, 0) == (tally.written + tally.counted, tally.dropped)
    assert tally.written <= 10 * 300 + 300


def test_a_journal_that_writes_all_refusals_is_found_out(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control of security 2.11: without budgets the same flood is far beyond the bound."""
    monkeypatch.setattr(Folding, "admits", lambda *_, **__: 1)

    assert flood(desk, 20_000) > 10_000_000 / 5


def test_denials_of_a_token_are_told_in_full_at_first(desk: Desk) -> None:
    """A caller that is denied over and over has entries up to its budget, and counts."""
    desk.journal.decided(decisions(500, allowed=False))
    desk.write()

    assert 120 == len(desk.kept())
    assert 380 == desk.counted()


def test_all_keeps_every_decision_and_still_folds_strangers(tmp_path: Path) -> None:
    """`all` is about decisions; refusals by strangers are aggregated in every mode."""
    desk = Desk(tmp_path / "journal.db", "all")
    desk.journal.decided(decisions(500))
    for _ in range(500):
        desk.journal.noted(REFUSED)
    desk.write()

    assert (530, 470) == (len(desk.kept()), desk.counted())
    desk.engine.dispose()
