"""Does the journal number, keep, find and forget as it should, on both databases?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from sqlalchemy import create_engine, exc, select, text

from ops.postgres import ROLE
from projections import journal
from projections.journal import Counted, Entry, LastUse, Wanted, row_of
from projections.views import SCHEMA, open_postgresql
from tests.fixed_inputs import START
from tests.postgres import create_database, drop_database
from tests.projections.conftest import driver_url

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine


EVERYTHING = Wanted(tenant=None)
ENTRY = Entry(at=START, kind="sign_in", outcome="ALLOWED", position=7, principal="ada")
COUNTED = Counted(5, "decision", "ALLOWED", "", "main", "bot", "t1", "bot", "FLOW", "VIEW", "")
MINUTE = timedelta(minutes=1)


def write(
    engine: Engine,
    *entries: Entry,
    counts: tuple[tuple[Counted, int], ...] = (),
    uses: tuple[tuple[str, LastUse], ...] = (),
) -> None:
    """Write a batch in a transaction of its own."""
    with engine.begin() as connection:
        journal.write(connection, [*map(row_of, entries)], counts, uses)


def sequences(engine: Engine, wanted: Wanted = EVERYTHING) -> list[int]:
    """The numbers of the matching entries, oldest first."""
    with engine.connect() as connection:
        return [one.sequence for one in journal.following(connection, wanted, 0, 10_000)]


def test_an_entry_comes_back_as_it_was_noted(journal_engine: Engine) -> None:
    """Every member of an entry is kept, whatever characters it holds; what is absent is absent."""
    full = Entry(
        at=START + timedelta(microseconds=1),
        kind="decision",
        outcome="DENIED",
        code="denied",
        position=2**40,
        clock=START - MINUTE,
        **dict.fromkeys(Entry.__struct_fields__[6:], "tab\t, line\n, \\ and ünïcode"),
    )

    write(journal_engine, full, ENTRY)

    with journal_engine.connect() as connection:
        kept = journal.following(connection, EVERYTHING, 0, 10)
    assert [(1, full), (2, ENTRY)] == [*kept]


def test_numbers_have_no_gap_whatever_was_rolled_back_or_pruned(journal_engine: Engine) -> None:
    """Audit-export 1: the journal has a sequence of its own; who read up to a number missed none.

    A batch that failed takes none, and what was taken away is not counted anew.
    """
    write(journal_engine, ENTRY, ENTRY)
    with journal_engine.connect() as failed:
        journal.write(failed, [row_of(ENTRY)], [], [])
        failed.rollback()
    with journal_engine.begin() as connection:
        journal.prune(connection, START + MINUTE, 10)
    write(journal_engine, ENTRY)

    assert [3] == sequences(journal_engine)
    with journal_engine.connect() as connection:
        assert 3 == journal.head(connection)


def test_processes_number_their_entries_together(journal_engine: Engine) -> None:
    """Batches of several processes at once are numbered one after the other, without gaps."""
    batches, size = 20, 5

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(write, journal_engine, *[ENTRY] * size) for _ in range(batches)]:
            done.result()

    assert [*range(1, batches * size + 1)] == sequences(journal_engine)


def test_entries_are_found_by_each_filter(journal_engine: Engine) -> None:
    """Kind, outcome, tenant, principal, token and time narrow the entries, alone and together."""
    other = replace(
        ENTRY,
        at=START + MINUTE,
        kind="refusal",
        outcome="DENIED",
        tenant="beta",
        principal="bot",
        token="t1",
    )
    write(journal_engine, ENTRY, other)

    for wanted in (
        Wanted(tenant="beta"),
        Wanted(tenant=None, kinds=("refusal", "search")),
        Wanted(tenant=None, outcome="DENIED"),
        Wanted(tenant=None, principal="bot"),
        Wanted(tenant=None, token="t1"),
        Wanted(tenant=None, since=START + MINUTE),
        Wanted(tenant="beta", principal="bot", outcome="DENIED", since=START),
    ):
        assert [2] == sequences(journal_engine, wanted)
    assert [1] == sequences(journal_engine, Wanted(tenant=None, until=START + MINUTE))
    assert [] == sequences(journal_engine, Wanted(tenant="main"))
    assert [] == sequences(journal_engine, Wanted(tenant=None, kinds=()))


def test_entries_are_read_in_pages_from_either_end(journal_engine: Engine) -> None:
    """A reader goes on behind the number that it has; the newest come first where asked so."""
    write(journal_engine, *[ENTRY] * 5)

    with journal_engine.connect() as connection:
        onwards = journal.following(connection, EVERYTHING, 2, 2)
        limited = journal.following(connection, EVERYTHING, 0, 10, until=2)
        newest = journal.newest(connection, EVERYTHING, 2)
        older = journal.newest(connection, EVERYTHING, 10, before=newest[-1].sequence)

    assert [3, 4] == [one.sequence for one in onwards]
    assert [1, 2] == [one.sequence for one in limited]
    assert [5, 4] == [one.sequence for one in newest]
    assert [3, 2, 1] == [one.sequence for one in older]


def test_counts_of_a_minute_add_up_over_batches(journal_engine: Engine) -> None:
    """What several batches counted alike stands as one sum; what differs stands apart."""
    elsewhere = COUNTED._replace(minute=6, tenant="beta")

    write(journal_engine, counts=((COUNTED, 2), (elsewhere, 1)))
    write(journal_engine, counts=((COUNTED, 3),))

    with journal_engine.connect() as connection:
        assert ((COUNTED, 5), (elsewhere, 1)) == journal.counted(connection, 5, 6)
        assert ((COUNTED, 5),) == journal.counted(connection, 0, 9, "main")
        assert () == journal.counted(connection, 7, 9)


def test_the_later_use_stays_whoever_writes_last(journal_engine: Engine) -> None:
    """A process that is late with an earlier use takes nothing back; followers see what is new."""
    early, late = LastUse(START, "192.0.2.1", ""), LastUse(START + MINUTE, "192.0.2.2", "curl")

    write(journal_engine, uses=(("t1", late),))
    with journal_engine.connect() as connection:
        turn, uses = journal.last_uses(connection, 0)
    write(journal_engine, uses=(("t1", early), ("t2", early)))

    assert {"t1": late} == uses
    with journal_engine.connect() as connection:
        assert {"t2": early} == journal.last_uses(connection, turn)[1]
        assert {"t1": late, "t2": early} == journal.last_uses(connection, 0)[1]


def test_what_one_wrote_oneself_is_not_read_back(journal_engine: Engine) -> None:
    """A process learns the last uses that others wrote; its own, which may be many, it knows."""
    use = LastUse(START, "192.0.2.1", "curl")
    write(journal_engine, uses=(("t1", use),))
    with journal_engine.begin() as connection:
        own = journal.write(connection, [], [], [("t2", use)])

        assert (own, {"t1": use}) == journal.last_uses(connection, 0, own)
        assert (own, {}) == journal.last_uses(connection, own - 1, own)
        assert (own, {}) == journal.last_uses(connection, own)


def test_only_what_is_too_old_is_pruned_a_few_at_a_time(journal_engine: Engine) -> None:
    """Retention takes the oldest first, stops at what is younger, and takes the counts along."""
    write(
        journal_engine,
        *[ENTRY] * 3,
        replace(ENTRY, at=START + MINUTE),
        counts=((COUNTED, 1), (COUNTED._replace(minute=journal.minute_of(START)), 1)),
        uses=(("t1", LastUse(START, "", "")), ("t2", LastUse(START, "", ""))),
    )

    with journal_engine.begin() as connection:
        assert 2 == journal.prune(connection, START + MINUTE, 2)
        assert 1 == journal.prune(connection, START + MINUTE, 2)
        assert 0 == journal.prune(connection, START + MINUTE, 2)
        journal.forget(connection, ["t1"])

    assert [4] == sequences(journal_engine)
    with journal_engine.connect() as connection:
        assert () == journal.counted(connection, 0, 2**40)
        assert {"t2"} == set(journal.last_uses(connection, 0)[1])


def test_tables_are_made_once(tmp_path: Path) -> None:
    """Opened again, a journal goes on where it ended; its file is private."""
    path = tmp_path / "journal.db"
    first = journal.open_sqlite(path)
    write(first, ENTRY)
    first.dispose()

    again = journal.open_sqlite(path)
    write(again, ENTRY)

    assert [1, 2] == sequences(again)
    assert 0o600 == path.stat().st_mode & 0o777
    again.dispose()


def test_the_running_service_cannot_change_an_entry() -> None:
    """Style 8.9: what was written is not edited; on PostgreSQL the role has no right to (control).

    It may take away what is too old.
    """
    database = create_database()
    owner = create_engine(driver_url(database.owner_url))
    with open_postgresql(owner).begin() as connection:
        journal.create(connection, role=ROLE)
        connection.execute(text(f"GRANT USAGE ON SCHEMA {SCHEMA} TO {ROLE}"))
    runtime = open_postgresql(create_engine(driver_url(database.url)))
    write(runtime, ENTRY)

    with pytest.raises(exc.ProgrammingError, match="permission denied"), runtime.begin() as forging:
        forging.execute(journal.ENTRIES.update().values(principal="grace"))

    with runtime.connect() as connection:
        assert "ada" == connection.scalar(select(journal.ENTRIES.c.principal))
    owner.dispose()
    runtime.dispose()
    drop_database(database)
