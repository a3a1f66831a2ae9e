"""Can each list be filtered and sorted by every field of the contract?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from api import list_fields
from api.paging import Kind
from domain.ids import MAIN
from projections import audit
from projections.directory import (
    bindings,
    groups,
    memberships,
    roles,
    service_accounts,
    tenants,
)
from projections.directory.temporal import Shown
from projections.filters import Comparison, Leaf
from projections.pages import Page, Sort
from tests.fixed_inputs import START
from tests.projections.list_world import EVERYTHING, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

    from projections.filters import Node, Value


@pytest.fixture(scope="module")
def world(engine: Engine) -> World:
    """Return a known installation whose views are in each kind of database."""
    return World(engine)


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """Yield a connection to ask with."""
    with engine.connect() as found:
        yield found


SORTABLE = {
    "accounts": service_accounts.SORTABLE,
    "groups": groups.SORTABLE,
    "roles": roles.SORTABLE,
    "bindings": bindings.SORTABLE,
    "members": memberships.SORTABLE,
    "tenants": tenants.SORTABLE,
    "events": audit.SORTABLE,
}
# People's names are sealed: what filters members by them is judged outside of SQL.
FIELDS = {
    "accounts": list_fields.SERVICE_ACCOUNTS,
    "groups": list_fields.GROUPS,
    "roles": list_fields.ROLES,
    "bindings": list_fields.BINDINGS,
    "members": {
        name: rule
        for name, rule in list_fields.MEMBERS.items()
        if name not in {"q", "username", "name"}
    },
    "tenants": list_fields.EVERY,
    "events": list_fields.EVENTS,
}
EXAMPLES: dict[Kind, Value] = {
    Kind.FLAG: True,
    Kind.NUMBER: 1,
    Kind.AGO: START,
    Kind.INSTANT: START,
}


def ask_list(name: str, world: World, connection: Connection, node: Node | None, page: Page) -> int:
    """Put a question to a list by its name, and return how much it found."""
    head, now = world.head, world.now()
    if name == "events":
        return audit.search(connection, head, MAIN, node, page).total
    asked: dict[str, Callable[[], Shown[Any]]] = {
        "accounts": lambda: service_accounts.of_tenant(connection, head, MAIN, node, page),
        "groups": lambda: groups.search(connection, head, MAIN, node, page),
        "roles": lambda: roles.search(connection, head, MAIN, node, page),
        "bindings": lambda: bindings.search(connection, head, MAIN, now, node, page),
        "members": lambda: memberships.of_group(
            connection, head, MAIN, world.bots, now, node, page
        ),
        "tenants": lambda: tenants.search(connection, head, node, page),
    }
    return asked[name]().total


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_of_the_contract_filters_its_list(
    world: World, connection: Connection, name: str
) -> None:
    """Each field has its column: what has a value and what has none are together all."""
    total = ask_list(name, world, connection, None, EVERYTHING)
    assert total > 0
    for spelled, rule in FIELDS[name].items():
        field = rule.reads or spelled
        value = EXAMPLES.get(rule.kind, "x")
        given = Leaf(field=field, comparison=Comparison.EQUALS, values=(value,), key=rule.key)
        absent = Leaf(
            field=field, comparison=Comparison.EQUALS, values=(value,), key=rule.key, negated=True
        )

        found = [ask_list(name, world, connection, node, EVERYTHING) for node in (given, absent)]

        assert sum(found) == total, spelled


@pytest.mark.parametrize("name", SORTABLE)
def test_every_order_keeps_the_whole_list(world: World, connection: Connection, name: str) -> None:
    """Sorting loses nothing, whichever field it is by and whichever way."""
    total = ask_list(name, world, connection, None, EVERYTHING)
    for field in sorted(SORTABLE[name]):
        for descending in (False, True):
            page = Page(size=1000, sort=(Sort(field=field, descending=descending),))

            assert ask_list(name, world, connection, None, page) == total, field
