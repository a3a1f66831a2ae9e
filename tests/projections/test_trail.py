"""Is every entry of the trail found by all that is true of it, in order, and nowhere twice?"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from domain.ids import MAIN, TenantId
from projections import audit, marks, trail, views
from projections.audit import EVERYWHERE
from projections.filters import fold
from projections.pages import Page
from projections.trail import EVERYTHING, Part, Records, Sought
from tests.projections.test_audit import World
from tests.projections.test_runner import history
from tests.projections.view_rows import log_of, rebuild

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from domain.events import Record
    from projections.audit import Scope
    from projections.entries import Entry

OTHER = TenantId("other")
ALL = 1_000


@pytest.fixture
def world(engine: Engine) -> World:
    """Return a known history whose trail is in each kind of database."""
    return World(engine)


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """Yield a connection to ask with."""
    with engine.connect() as found:
        yield found


def everything(connection: Connection, head: int) -> list[Entry]:
    """Answer the whole trail, oldest first, as the contract's search tells it."""
    page = audit.search(connection, head, EVERYWHERE, None, Page(size=ALL))
    return [*reversed(page.entries)]


def holds(entry: Entry, scope: Scope, sought: Sought) -> bool:
    """Judge one entry by itself, without any index."""
    asked = {
        "actor_id": sought.actor,
        "actor_token_id": sought.token,
        "actor_address": sought.address,
        "correlation_id": sought.correlation,
        "command_id": sought.command,
    }
    said = " ".join(
        fold(text)
        for text in (entry.actor_name, entry.object_name, entry.token_name, entry.namespace)
        if text
    )
    topics = tuple(topic.removesuffix("*") for topic in sought.topics)
    held = {*said.replace(".", " ").replace("-", " ").split(), *entry.topic.split(".")}
    return all(
        (
            scope is EVERYWHERE or entry.tenant == scope,
            all(getattr(entry, name) == value for name, value in asked.items() if value),
            not sought.target or sought.target in concerned(entry),
            not topics or entry.topic.startswith(topics),
            sought.since is None or entry.at >= sought.since,
            sought.until is None or entry.at <= sought.until,
            all(fold(word) in held or word in concerned(entry) for word in sought.words.split()),
        )
    )


def concerned(entry: Entry) -> set[str]:
    """Answer the ids of an entry's objects."""
    return {value for name in marks.TARGETS if (value := getattr(entry, name))}


def positions(part: Part) -> list[int]:
    """Answer the positions of a part."""
    return [entry.position for entry in part.entries]


def questions(entries: list[Entry]) -> Iterator[Sought]:
    """Yield a question for each thing that is true of some entry, and for two at once."""
    for entry in entries[:: max(1, len(entries) // 12)]:
        yield Sought(actor=entry.actor_id)
        yield Sought(token=entry.actor_token_id, command=entry.command_id)
        yield Sought(target=entry.object_id)
        yield Sought(target=entry.user_id or entry.group_id or entry.role_id)
        yield Sought(address=entry.actor_address, actor=entry.actor_id)
        yield Sought(correlation=entry.correlation_id)
        yield Sought(topics=(entry.topic,))
        yield Sought(topics=(entry.topic.partition(".")[0] + ".*", "tenant.created.v1"))
        yield Sought(words=entry.object_name or "created")
        yield Sought(words=f"{entry.object_id} {entry.topic.split('.')[1]}")
        yield Sought(since=entry.at, until=entry.at)
        yield Sought(actor=entry.actor_id, since=entry.at)
        yield Sought(until=entry.at - timedelta(microseconds=1))


@pytest.mark.parametrize("seed", [2, 3])
def test_every_filter_finds_what_a_look_at_each_entry_finds(
    engine: Engine, connection: Connection, seed: int
) -> None:
    """By one thing or several, in a tenant or everywhere, both ways, the answer is exact."""
    head = rebuild(engine, history(seed, 60))
    entries = everything(connection, head)
    found = 0
    for sought in questions(entries):
        for scope in (MAIN, EVERYWHERE):
            expected = [one.position for one in entries if holds(one, scope, sought)]
            found += len(expected)

            forward = trail.part(connection, scope, sought, 0, head, ALL)
            backward = trail.part_before(connection, scope, sought, 0, head, ALL)

            assert expected == positions(forward), sought
            assert expected[::-1] == positions(backward), sought
    assert found > len(entries), "control: the questions find something"


def test_parts_follow_each_other_without_gap_or_repeat(
    world: World, connection: Connection
) -> None:
    """Whoever goes on behind `through` sees each entry once, however short the parts."""
    whole = positions(trail.part(connection, MAIN, EVERYTHING, 0, world.head, ALL))
    for limit in (1, 2, 3):
        seen: list[int] = []
        after, is_last = 0, False
        while not is_last:
            part = trail.part(connection, MAIN, EVERYTHING, after, world.head, limit)
            seen += positions(part)
            after, is_last = part.through, part.is_last
        assert whole == seen
        assert world.head == after

        backwards: list[int] = []
        until, is_last = world.head, False
        while not is_last:
            part = trail.part_before(connection, MAIN, EVERYTHING, 0, until, limit)
            backwards += positions(part)
            until, is_last = part.through - 1, part.is_last
        assert whole[::-1] == backwards


def test_part_looks_no_further_than_it_is_told(world: World, connection: Connection) -> None:
    """Behind the one position, up to and with the other; where nothing lies, nothing is found."""
    part = trail.part(connection, EVERYWHERE, EVERYTHING, 3, 5, ALL)
    assert ([4, 5], 5, True) == (positions(part), part.through, part.is_last)

    for look in (trail.part, trail.part_before):
        assert look(connection, EVERYWHERE, EVERYTHING, 5, 5, ALL).entries == ()
    beyond = trail.part(connection, EVERYWHERE, EVERYTHING, world.head + 5, world.head, ALL)
    assert ((), world.head + 5, True) == (beyond.entries, beyond.through, beyond.is_last)


def test_position_looked_at_moves_where_nothing_matches(
    world: World, connection: Connection
) -> None:
    """A reader who seeks what is rare goes on from the head, not from the last match."""
    part = trail.part(connection, MAIN, Sought(actor="nobody"), 0, world.head, 10)

    assert ((), world.head, True) == (part.entries, part.through, part.is_last)


def test_filters_show_no_other_tenant(world: World, connection: Connection) -> None:
    """What happened in another tenant is found there and by those who see everything."""
    sought = Sought(target=world.foreign)

    def found(scope: Scope) -> int:
        return len(trail.part(connection, scope, sought, 0, world.head, ALL).entries)

    assert (0, 1, 1) == (found(MAIN), found(OTHER), found(EVERYWHERE))


def test_ids_are_compared_with_their_case(world: World, connection: Connection) -> None:
    """Two requests may differ by nothing else, and SQLite's index does not see it."""
    one = everything(connection, world.head)[-1]

    def found(correlation: str) -> tuple[Entry, ...]:
        sought = Sought(correlation=correlation)
        return trail.part(connection, MAIN, sought, 0, world.head, ALL).entries

    assert not found(one.correlation_id.swapcase())
    assert found(one.correlation_id), "control"


@pytest.mark.parametrize(
    "hostile", ['"', "' OR 1=1", 'a" OR "n:other', "%", "*", "a*", "NEAR(a b)", "\\", "-", "ä ß"]
)
def test_what_is_asked_is_never_a_part_of_the_question(
    world: World, connection: Connection, hostile: str
) -> None:
    """Quotes and operators of the databases are text like any other."""
    asked = (
        Sought(actor=hostile),
        Sought(correlation=hostile),
        Sought(target=hostile),
        Sought(topics=(hostile,)),
        Sought(words=hostile),
    )
    for sought in asked:
        found = trail.part(connection, OTHER, sought, 0, world.head, ALL)
        assert positions(found) == [], sought


def test_words_are_found_whatever_their_case_and_reasons_too(
    world: World, connection: Connection
) -> None:
    """A word is found in names, topics and reasons; several have to be there together."""

    def found(words: str) -> set[str]:
        part = trail.part(connection, MAIN, Sought(words=words), 0, world.head, ALL)
        return {entry.topic for entry in part.entries}

    topics = {"group.renamed.v1", "group.deleted.v1", "group.member_removed.v1"}
    assert topics == found("ROBOTS")
    assert "group.created.v1" in found("on-call")
    assert {"group.deleted.v1"} == found("robots deleted")
    assert set() == found("robots nowhere")
    assert set() == found("...")


def test_outcome_in_the_log_is_allowed(world: World, connection: Connection) -> None:
    """What was refused is not in the log."""
    allowed = trail.part(connection, MAIN, Sought(outcome="ALLOWED"), 0, world.head, ALL)
    denied = trail.part(connection, MAIN, Sought(outcome="DENIED"), 0, world.head, ALL)

    assert allowed.entries
    assert not denied.entries


def test_related_entries_share_command_request_or_object(
    world: World, connection: Connection
) -> None:
    """The entries of one command lead to each other, and so do those of one object."""
    whole = everything(connection, world.head)
    created = next(one for one in whole if one.object_id == world.bots)

    found = trail.related(connection, world.head, MAIN, created, ALL)

    about = [one.position for one in whole if world.bots in concerned(one)]
    assert about[:0:-1] == [entry.position for entry in found["target"]]
    first = next(one for one in whole if one.topic == "tenant.created.v1" and one.tenant == OTHER)
    together = trail.related(connection, world.head, OTHER, first, 2)["command"]
    assert [first.command_id] * 2 == [entry.command_id for entry in together]


# The records themselves


class Counting:
    """A log that counts how often it is read."""

    def __init__(self, records: list[Record]) -> None:
        self._log = log_of(records)
        self.reads = 0

    def read(self, after: int, limit: int) -> list[Record]:
        """Read, counted."""
        self.reads += 1
        return self._log.read(after, limit)


def test_records_come_in_the_order_asked_for() -> None:
    """Near ones are read together, far ones apart, and each is the one at its position."""
    records = history(5, 200)
    log = Counting(records)
    asked = [1, 3, 2, len(records), 50]

    found = Records(log).at(asked)

    assert [records[position - 1] for position in asked] == found
    assert log.reads == 3
    assert Records(log).at([]) == []


# The marks


def test_marks_go_and_come_again_with_the_rows(engine: Engine) -> None:
    """Whoever makes the views anew makes their marks anew, none twice."""
    records = history(6, 20)
    for _ in range(2):
        rebuild(engine, records)
        with engine.connect() as connection:
            rows = connection.execute(marks.TABLE.select()).all()
        assert len(rows) == len(records)


def test_marks_stay_when_the_views_are_opened_again(engine: Engine) -> None:
    """The tables in which SQLite keeps its index are not taken for views of another release."""
    records = history(6, 20)
    rebuild(engine, records)
    with engine.begin() as connection:
        views.create(connection)
    with engine.connect() as connection:
        assert len(connection.execute(marks.TABLE.select()).all()) == len(records)
