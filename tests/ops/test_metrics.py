"""Does every number of the page move when its cause happens, in the parts behind the routes?"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from msgspec import structs
from sqlalchemy import text

from api.service import Health
from domain.events import Record
from domain.sinks import ResumeSink
from ops import journal as ops_journal
from ops import metrics
from ops.sink_ledger import SinkLedgers
from tests.api.route_world import QUESTION
from tests.ops.desk import Desk, WatchedLog, group
from tests.ops.test_writer import created
from tests.scraping import Page, faults
from tests.service import Served, served
from tests.signing import house_on_sqlite, log_of

WAIT_SECONDS: Final = 10.0
VIEWS: Final = ("directory", "audit", "transparency")


@pytest.fixture
def http(tmp_path: Path) -> Iterator[Served]:
    """Yield a new installation with an instance owner and the tenant `main`."""
    with served(tmp_path) as installation:
        yield installation


def scrape(http: Served, watched: metrics.Watched | None = None) -> Page:
    """Read the page of an installation, or of these parts."""
    page = Page(metrics.page(watched or http.watched()).decode())
    assert [] == faults(page.text)
    return page


def until(http: Served, is_so: Callable[[Page], bool]) -> Page:
    """Read the page until it shows something."""
    end = time.monotonic() + WAIT_SECONDS
    while not is_so(page := scrape(http)):
        assert time.monotonic() < end, page.text
        time.sleep(0.01)
    return page


def test_appended_events_are_counted_by_topic(http: Served) -> None:
    """Operations 1: events, the appends that they were in, and the head that they make."""
    before = scrape(http)
    http.group("one")
    http.group("two")
    after = scrape(http)

    def grown(name: str, **labels: str) -> float:
        return after.value(name, **labels) - before.value(name, **labels)

    assert 2 == grown("events_appended_total", topic="group.created.v1")
    assert 0 == grown("events_appended_total", topic="role.created.v1")
    assert 2 == grown("log_position") == grown("append_duration_seconds_count")
    assert 2 == grown("append_commands_sum")
    assert http.log.head() == after.value("log_position")


def test_commands_that_are_appended_together_are_counted_so(http: Served) -> None:
    """Operations 1: three commands in one append; how long it took is told by the clock."""
    log = WatchedLog()
    desk = Desk(log)
    log.before_append = lambda: desk.inputs.advance(0.2)
    for number in range(3):
        desk.give(group(number))
    desk.work()

    page = scrape(http, structs.replace(http.watched(), writer=desk.writer))
    assert 1 == page.value("append_commands_count") == page.value("append_duration_seconds_count")
    assert 3 == page.value("append_commands_sum")
    assert 0.2 == pytest.approx(page.value("append_duration_seconds_sum"))
    assert 0 == page.value("append_conflicts_total")


def test_lost_races_are_counted(http: Served) -> None:
    """Operations 1: each append that came too late."""
    log = WatchedLog()
    left = [1, 2]
    log.before_append = lambda: log.elsewhere(created(100 + left.pop())) if left else None
    desk = Desk(log)
    desk.give(group(1))
    desk.work()

    page = scrape(http, structs.replace(http.watched(), writer=desk.writer))
    assert 2 == page.value("append_conflicts_total")
    assert 1 == page.value("append_commands_count")


def test_views_that_are_behind_say_by_how_much_and_since_when(http: Served, tmp_path: Path) -> None:
    """Operations 1: the stored views stand while their file is held; the access graph goes on."""
    http.get("main/groups/search")
    with closing(sqlite3.connect(tmp_path / "views.db", isolation_level=None)) as holding:
        holding.execute("BEGIN IMMEDIATE")
        http.group("one")
        http.inputs.advance(3)
        http.group("two")
        http.inputs.advance(4)
        behind = scrape(http)

    assert 0 == behind.value("projection_lag_events", view="access_graph")
    assert 0 == behind.value("projection_lag_seconds", view="access_graph")
    for view in VIEWS:
        assert 2 == behind.value("projection_lag_events", view=view)
        assert 7 == behind.value("projection_lag_seconds", view=view)
        shown = behind.value("applied_position", view=view)
        assert behind.value("log_position") - 2 == shown
    for view in VIEWS:
        after = until(http, lambda page: not page.value("projection_lag_events", view="audit"))
        assert 0 == after.value("projection_lag_seconds", view=view)
        assert after.value("log_position") == after.value("applied_position", view=view)


def test_a_process_that_hears_nothing_says_how_long(http: Served) -> None:
    """Operations 1: as its health knows it."""
    http.health = Health(reason="", head_position=0, staleness_seconds=4.5)

    assert 4.5 == scrape(http).value("staleness_seconds")


def test_an_unknown_event_shows_as_halted(http: Served) -> None:
    """Operations 1: whoever reads the log stops there, and the page says so."""
    assert 0 == scrape(http).value("halted")
    position = http.log.head() + 1
    http.log.append(position, [Record(position, "unknown.happened.v1", b"{}")])

    until(http, lambda page: page.value("halted") == 1)


def test_the_newest_checkpoint_is_told_with_its_age(http: Served, tmp_path: Path) -> None:
    """Operations 1: how much of the log it covers; before the first there is no age."""
    (tmp_path / "house").mkdir()
    with house_on_sqlite(tmp_path / "house") as house:
        sealer = house.process().sealer
        watched = structs.replace(http.watched(), sealer=sealer, inputs=house.inputs)
        before = scrape(http, watched)
        sealer.look()
        house.inputs.advance(7)
        after = scrape(http, watched)

    assert 0 == before.value("log_sealed_size")
    assert "muniment_checkpoint_age_seconds" not in before.families
    assert house.log.head() == after.value("log_sealed_size")
    assert 7 == after.value("checkpoint_age_seconds")
    assert 0 == after.value("checkpoint_conflict")


def test_a_conflict_of_checkpoints_is_told(http: Served, tmp_path: Path) -> None:
    """Operations 1, transparency-log 2: what was signed is no more in the log."""
    (tmp_path / "house").mkdir()
    with house_on_sqlite(tmp_path / "house") as house:
        house.sign()
        cut = house.process(log_of(house.log.read(0, 1)))
        cut.sealer.look()
        page = scrape(http, structs.replace(http.watched(), sealer=cut.sealer))

    assert 1 == page.value("checkpoint_conflict")


def test_the_journal_says_what_it_wrote_counted_and_holds(http: Served) -> None:
    """Operations 1: a denial is written, an allowed decision only counted."""
    account = http.account("shared")
    http.allow(account, {"FLOW": ["VIEW"]})
    http.post("/access/v1/evaluation", QUESTION)
    http.post("/access/v1/evaluation", {**QUESTION, "action": {"name": "DELETE"}})
    held = until(http, lambda page: page.value("journal_unwritten") == 1)
    assert 0 == held.value("journal_written_total")

    http.inputs.advance(11)

    until(http, lambda page: page.value("journal_written_total") == 1)
    page = until(http, lambda page: page.value("journal_counted_total") == 1)
    assert 0 == page.value("journal_unwritten") == page.value("journal_queued")
    assert 0 == page.value("journal_dropped_total") == page.value("journal_write_failures_total")


def test_what_the_journal_drops_is_told(http: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 4: never a silent drop; an operator sees every act that is lost."""
    monkeypatch.setattr(ops_journal, "QUEUE_MAX", 0)
    for _ in range(3):
        http.post("/access/v1/evaluation", QUESTION)

    assert 3 == scrape(http).value("journal_dropped_total")


def test_a_journal_that_cannot_be_written_is_told(http: Served) -> None:
    """Operations 1: each try that failed, while the entries are kept."""
    with http.journal_engine.begin() as connection:
        connection.execute(text("ALTER TABLE journal_head RENAME TO away"))
    http.post("/access/v1/evaluation", QUESTION)
    until(http, lambda page: page.value("journal_unwritten") == 1)

    http.inputs.advance(1)

    failed = until(http, lambda page: page.value("journal_write_failures_total") > 0)
    assert 1 == failed.value("journal_unwritten")
    with http.journal_engine.begin() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO journal_head"))
    http.inputs.advance(2)
    until(http, lambda page: page.value("journal_written_total") == 1)


def test_sinks_say_how_far_they_are_and_whether_they_gave_up(http: Served) -> None:
    """Operations 1: by the ledger that all processes share; one that nobody delivers to as well."""
    idle, running = http.sink("Idle"), http.sink("Running")
    sink = http.state.sinks[running]
    ledgers = SinkLedgers(http.sign_ins, http.inputs)
    ledger = ledgers.claim(sink)
    assert ledger is not None
    ledgers.delivered(sink, 3)
    ledgers.failed(sink, structs.replace(ledger, failures=30, halted=sink.changed))
    watched = structs.replace(http.watched(), sink_failures=lambda: {running: 30})

    page = scrape(http, watched)

    head = http.state.position
    assert {idle, running} == page.labels("sink")
    for id_, position, failures, halted in ((idle, 0, 0, 0), (running, 3, 30, 1)):
        assert position == page.value("sink_position", sink=id_)
        assert head - position == page.value("sink_lag_events", sink=id_)
        assert failures == page.value("sink_failures_total", sink=id_)
        assert halted == page.value("sink_halted", sink=id_)
    http.give(ResumeSink(id=running))
    assert 0 == scrape(http).value("sink_halted", sink=running)


def test_the_page_is_there_without_the_store_of_the_ledgers(http: Served) -> None:
    """Operations 1: when a store is away, the rest is needed all the more."""
    sink = http.sink()
    with http.sign_ins.begin() as connection:
        connection.execute(text("DROP TABLE sink_ledger"))

    page = scrape(http)

    assert "muniment_sink_position" not in page.families
    assert 0 == page.value("sink_failures_total", sink=sink)
    assert http.log.head() == page.value("log_position")


def test_scraping_beside_everything_else_never_fails(http: Served) -> None:
    """Operations 1: it is read in a thread of its own while the others count on."""
    broken: list[BaseException] = []
    ended = threading.Event()

    def read_on() -> None:
        try:
            while not ended.is_set():
                scrape(http)
        except BaseException as fault:  # noqa: BLE001 - told by the test's own thread
            broken.append(fault)

    reading = threading.Thread(target=read_on)
    reading.start()
    for number in range(60):
        http.group(f"group {number}")
        http.post("/access/v1/evaluation", QUESTION)
        http.get(f"problems/{number}")
    ended.set()
    reading.join(WAIT_SECONDS)

    assert [] == broken
