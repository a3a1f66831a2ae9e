"""Do the lists show what the fold says, at every position, filtered, sorted and by pages?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, literal, select

from domain.events import EVENTS, decode, encode
from domain.ids import MAIN
from domain.state import State
from projections import audit, batch
from projections.directory import (
    roles,
)
from projections.directory.temporal import INSTALLATION, View, alive
from projections.entries import TABLE as ENTRIES
from projections.pages import Page
from projections.views import TOTALS
from tests.histories import Histories
from tests.projections.test_runner import history
from tests.projections.view_rows import VIEWS, rebuild, states

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from projections.views import Key, Values

EVERYTHING = Page(size=1000)


def keys_of(state: State, view: View[Any]) -> Iterator[Key]:
    """Yield the keys of all rows that a state calls for."""
    tables: dict[str, Any] = {
        "bindings_v1": state.bindings,
        "groups_v1": state.groups,
        "roles_v1": state.roles,
        "tenants_v1": state.tenants,
        "tokens_v1": state.tokens,
        "users_v1": state.users,
    }
    name = view.table.name
    if name in tables:
        yield from ((str(id_),) for id_ in tables[name])
    elif name == "memberships_v1":
        yield from ((group, one) for group, held in state.members.items() for one in held)
    elif name == "tenant_access_v1":
        yield from ((tenant, one) for one, held in state.access.items() for tenant in held)
    else:
        assert name == "service_accounts_v1"
        for id_ in state.service_accounts:
            yield INSTALLATION, id_
            yield from ((tenant, id_) for tenant in state.access.get(id_, ()))


def expected_rows(state: State, view: View[Any]) -> dict[Key, Values]:
    """Return the rows of a view as the fold alone tells them."""
    found = ((key, view.read(state, key)) for key in keys_of(state, view))
    return {key: _as_stored(values) for key, values in found if values is not None}


def _as_stored(values: Values) -> Values:
    """Return values whose documents have lists in the place of tuples, as JSON has."""
    return {
        name: msgspec.json.decode(msgspec.json.encode(value)) if type(value) is dict else value
        for name, value in values.items()
    }


class HeldRows:
    """All versions of a view's rows, as they are kept."""

    def __init__(self, connection: Connection, view: View[Any]) -> None:
        self._key = view.key
        self._rows = [dict(row) for row in connection.execute(select(view.table)).mappings()]

    def at(self, position: int) -> dict[Key, Values]:
        """Return the rows that hold at a position."""
        apart = {*self._key, "valid_from", "valid_to", "updated"}
        alive = [row for row in self._rows if row["valid_from"] <= position < row["valid_to"]]
        found = {
            tuple(row[column] for column in self._key): {
                name: value for name, value in row.items() if name not in apart
            }
            for row in alive
        }
        assert len(found) == len(alive)
        return found


# The whole


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_views_equal_the_fold_at_every_position(engine: Engine, seed: int) -> None:
    """Whatever has happened, each list shows at each position what the fold says there."""
    records = history(seed, 80)
    rebuild(engine, records)

    with engine.connect() as connection:
        held = [(view, HeldRows(connection, view)) for view in VIEWS]
    for state in states([decode(record) for record in records]):
        for view, rows in held:
            place = (view.table.name, state.position)
            assert rows.at(state.position) == expected_rows(state, view), place


def test_rows_of_a_wrong_position_are_noticed(sqlite_engine: Engine) -> None:
    """Positive control: rows that hold from one position too late differ from the fold."""
    records = history(41, 60)
    rebuild(sqlite_engine, records)
    facts = [decode(record) for record in records]

    with sqlite_engine.connect() as connection:
        rows = HeldRows(connection, roles.VIEW)

    differs = [
        state.position
        for state in states(facts)
        if rows.at(state.position - 1) != expected_rows(state, roles.VIEW)
    ]

    assert differs


def test_totals_equal_the_fold_at_the_end(engine: Engine) -> None:
    """The lengths that are kept are those that counting finds."""
    records = history(42, 400)
    last = [*states([decode(record) for record in records])][-1]
    rebuild(engine, records)
    counted: dict[tuple[str, str], int] = {}
    for view in VIEWS:
        if view.scope is None:
            continue
        for key, values in expected_rows(last, view).items():
            row = {**values, **dict(zip(view.key, key, strict=True))}
            place = view.table.name, row.get(view.scope, "")
            counted[place] = counted.get(place, 0) + 1

    with engine.connect() as connection:
        kept = {
            (row.list, row.scope): row.total
            for row in connection.execute(select(TOTALS))
            if row.total and row.list != "entries_v1"
        }

    assert kept == counted


@pytest.mark.parametrize("step", [1, 64])
def test_totals_of_the_past_equal_a_count(
    engine: Engine, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists as of a position: their kept lengths are what counting the rows of then finds."""
    monkeypatch.setattr(batch, "GROWING_STEP", step)
    records = history(43, 300)
    rebuild(engine, records)
    tables = [view.table for view in VIEWS if view.scope is not None]

    with engine.connect() as connection:
        for position in range(0, len(records) + 1, 7):
            for view in (one for one in VIEWS if one.scope is not None):
                table = view.table
                scope = table.c[view.scope] if view.scope else literal("")
                counting = select(scope, func.count()).where(alive(table, position)).group_by(scope)
                found = {row[0]: row[1] for row in connection.execute(counting)}
                for of in (*found, "nobody"):
                    expected = found.get(of, 0)
                    assert batch.total(connection, table, of, position) == expected, table.name
            of_main = select(func.count()).where(
                ENTRIES.c.tenant == MAIN, ENTRIES.c.position <= position
            )
            counted = connection.execute(of_main).scalar_one()
            assert batch.total(connection, ENTRIES, MAIN, position) == counted
    assert len(tables) == 5


def test_histories_have_events_of_every_kind() -> None:
    """What the properties above are judged on leaves no event out."""
    histories = Histories(3)
    histories.run(4000)

    seen = {type(decode(record).envelope.event) for record in histories.records}

    assert seen == set(EVENTS)


@settings(max_examples=5)
@given(seed=st.integers(0, 10**6))
def test_views_refuse_no_recorded_event(sqlite_engine: Engine, seed: int) -> None:
    """Events about objects that are not there are told by the trail and change no list."""
    histories = Histories(seed)
    histories.run(60)
    envelopes = [decode(record).envelope for record in histories.records]
    histories.random.shuffle(envelopes)
    shuffled = [encode(place, envelope) for place, envelope in enumerate(envelopes, 1)]

    assert rebuild(sqlite_engine, shuffled) == len(shuffled)

    with sqlite_engine.connect() as connection:
        found = audit.search(connection, len(shuffled), audit.EVERYWHERE, None, EVERYTHING)
    assert found.total == len(shuffled)
