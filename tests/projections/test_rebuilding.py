"""Is every row that is not what the log amounts to found, and put right while others read?"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import Table, delete, insert, literal, select, update

from domain.groups import CreateGroup
from domain.ids import MAIN, GroupId
from projections import rebuilding, views
from projections.rebuilding import TABLES, Compared, NoViewsError, Rebuilt, compare
from projections.runner import ViewRunner
from tests.histories import Histories
from tests.memory_log import MemoryLog
from tests.projections.view_rows import all_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine

NAMES: Final = tuple(TABLES)
COMMANDS: Final = 150


class Place:
    """Live views of a random log, and what they are compared with."""

    def __init__(self, engine: Engine, directory: Path) -> None:
        self.engine = engine
        self.history = Histories(8)
        self.history.run(COMMANDS)
        self.log = MemoryLog("log-rebuilt")
        self.log.append(1, self.history.records)
        self.runner = ViewRunner(self.log, engine)
        self.runner.catch_up()
        self.directory = directory
        self.numbers = itertools.count()

    def compare(self, *names: str, heal: bool = False) -> dict[str, Compared]:
        """Compare with views that are made anew."""
        path = self.directory / f"rebuilt-{next(self.numbers)}.db"
        rebuilt = Rebuilt(self.log, path, lambda _: None)
        try:
            return {
                one.view: one for one in compare(self.engine, rebuilt, names or NAMES, heal=heal)
            }
        finally:
            rebuilt.close()

    def damage(self, statement: Any) -> None:  # noqa: ANN401 - any statement
        """Change the live rows behind everybody's back."""
        with self.engine.begin() as connection:
            assert connection.execute(statement).rowcount


@pytest.fixture
def place(engine: Engine, tmp_path: Path) -> Place:
    """Return live views in each kind of database."""
    with engine.begin() as connection:
        views.begin(connection, "log-rebuilt")
    return Place(engine, tmp_path)


def test_views_that_are_right_are_equal_to_the_last_digest(place: Place) -> None:
    """Issue 5: every table has rows, and both sides the same digest."""
    found = place.compare()

    assert set(found) == set(NAMES)
    assert all(one.live == one.rebuilt for one in found.values())
    assert all(one.rows and not one.differing and not one.healed for one in found.values())
    assert {one.position for one in found.values()} == {place.runner.position}


def _changed(table: Table) -> Any:  # noqa: ANN401 - a statement
    column = next(
        one
        for one in reversed(table.columns)
        if not one.primary_key and one.type.python_type in {str, int, bytes}
    )
    value = {str: "damaged", int: 7, bytes: b"damaged"}[column.type.python_type]
    return update(table).values({column: value}).where(_one(table))


def _one(table: Table) -> Any:  # noqa: ANN401 - a condition
    """Answer the condition for one row in the middle of a table."""
    first = next(iter(table.primary_key.columns))
    return first == select(first).order_by(first).offset(1).limit(1).scalar_subquery()


def _missing(table: Table) -> Any:  # noqa: ANN401 - a statement
    return delete(table).where(_one(table))


def _surplus(table: Table) -> Any:  # noqa: ANN401 - a statement
    columns = [*table.columns]
    key = next(iter(table.primary_key.columns))
    other = "zz-damaged" if key.type.python_type is str else 2**40
    copied = select(*(literal(other) if one is key else one for one in columns)).limit(1)
    return insert(table).from_select([one.name for one in columns], copied)


@pytest.mark.parametrize("damage", [_changed, _missing, _surplus])
@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_damage_of_every_table_is_found_and_healed(
    place: Place, name: str, damage: Callable[[Table], Any]
) -> None:
    """Issue 5: a row that says something else, one that is missing, and one too many."""
    before = all_rows(place.engine)
    place.damage(damage(TABLES[name]))

    found = place.compare()
    assert {one.view for one in found.values() if one.differing} == {name}
    assert found[name].live != found[name].rebuilt
    assert not place.compare(name)[name].healed, "comparing alone changes nothing"
    healed = place.compare(name, heal=True)[name]

    assert healed.healed
    assert not place.compare(name)[name].differing
    assert all_rows(place.engine) == before


def test_very_many_wrong_rows_are_written_all_anew(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that was lost comes back whole."""
    monkeypatch.setattr(rebuilding, "SINGLY_MAX", 3)
    monkeypatch.setattr(rebuilding, "ROWS_AT_ONCE", 20)
    before = all_rows(place.engine)
    place.damage(delete(TABLES["entries"]))

    assert place.compare("entries", heal=True)["entries"].differing > 3
    assert all_rows(place.engine) == before


def test_what_happens_while_it_is_compared_is_not_undone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are put right as of the position of then, which may be a later one."""
    place.damage(_changed(TABLES["groups"]))
    right = rebuilding._put_right  # noqa: SLF001 - what comes between the two

    def later(*given: Any) -> None:  # noqa: ANN401 - as there
        place.history.give(CreateGroup(tenant=MAIN, id=GroupId("grp_later"), name="Later"))
        place.log.append(place.log.head() + 1, place.history.records[place.log.head() :])
        place.runner.catch_up()
        right(*given)

    monkeypatch.setattr(rebuilding, "_put_right", later)
    assert place.compare(heal=True)["groups"].differing

    assert all(one.live == one.rebuilt for one in place.compare().values())
    assert place.runner.position == place.log.head()


def test_views_that_lag_behind_the_log_are_compared_as_far_as_they_tell(place: Place) -> None:
    """What the live rows have not reached yet is no difference, and is not written."""
    reached = place.runner.position
    place.history.run(20)
    place.log.append(reached + 1, place.history.records[reached:])
    assert place.log.head() > reached

    behind = place.compare(heal=True)
    place.damage(_changed(TABLES["groups"]))
    healed = place.compare(heal=True)["groups"]
    ahead = Rebuilt(place.log, place.directory / "ahead.db", lambda _: None)
    ahead.follow(place.log.head())
    with pytest.raises(NoViewsError):
        compare(place.engine, ahead, NAMES, heal=True)
    ahead.close()
    place.runner.catch_up()

    assert {(one.position, one.differing) for one in behind.values()} == {(reached, 0)}
    assert (healed.position, healed.healed) == (reached, True)
    assert place.runner.position == place.log.head(), "the runner goes on from where it was"
    assert all(one.live == one.rebuilt for one in place.compare().values())


def test_views_that_are_begun_anew_meanwhile_are_left_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was rebuilt is not written before its position: the runner would write it again."""
    place.damage(_changed(TABLES["groups"]))
    right = rebuilding._put_right  # noqa: SLF001 - what comes between the two

    def anew(*given: Any) -> None:  # noqa: ANN401 - as there
        with place.engine.begin() as connection:
            views.begin(connection, "log-rebuilt")
        right(*given)

    monkeypatch.setattr(rebuilding, "_put_right", anew)
    with pytest.raises(NoViewsError):
        place.compare(heal=True)

    ViewRunner(place.log, place.engine).catch_up()
    assert all(one.live == one.rebuilt for one in place.compare().values())


def test_views_of_another_log_are_not_compared(place: Place, tmp_path: Path) -> None:
    """Nothing is put right by the events of another installation, nor where there are no rows."""
    other = Rebuilt(MemoryLog("another"), tmp_path / "other.db", lambda _: None)
    with pytest.raises(NoViewsError):
        compare(place.engine, other, NAMES, heal=True)
    empty = views.sqlite_engine(tmp_path / "empty.db")
    with pytest.raises(NoViewsError):
        compare(empty, other, NAMES, heal=True)
    other.close()
    empty.dispose()


def test_a_comparison_that_is_blind_to_a_column_is_noticed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positive control: a broken build that leaves the last column out finds nothing."""
    rows = rebuilding._Sides._rows  # noqa: SLF001 - what is broken

    def blind(self: Any, connection: Connection) -> Iterator[Any]:  # noqa: ANN401 - as there
        return (row[:-1] for row in rows(self, connection))

    table = TABLES["groups"]
    last = [one for one in table.columns if not one.primary_key][-1]
    place.damage(update(table).values({last: 7}).where(_one(table)))
    assert place.compare("groups")["groups"].differing
    monkeypatch.setattr(rebuilding._Sides, "_rows", blind)  # noqa: SLF001 - what is broken

    assert not place.compare("groups")["groups"].differing
