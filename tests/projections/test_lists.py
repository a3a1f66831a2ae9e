"""Do the lists answer as the contract says: fields, orders, pages, tenants, and the past?"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from domain.ids import MAIN
from projections.directory import (
    bindings,
    groups,
    memberships,
    roles,
    service_accounts,
    tenant_access,
    tenants,
    tokens,
    users,
)
from projections.directory.temporal import Shown
from projections.filters import And, Comparison, Leaf
from projections.pages import Page, Sort
from tests.projections.list_world import EVERYTHING, GONE, HOUR, OTHER, World

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def leaf(
    field: str, *values: Value, comparison: Comparison = Comparison.EQUALS, negated: bool = False
) -> Leaf:
    return Leaf(field=field, comparison=comparison, values=values, negated=negated)


def names(shown: Shown[Any]) -> list[str]:
    """Return the names of a page's rows, in order."""
    assert shown.total >= len(shown.rows)
    return [row.name for row in shown.rows]


def ids(shown: Shown[Any]) -> list[str]:
    """Return the ids of a page's rows, in order."""
    return [row.id for row in shown.rows]


# Tenants


def test_lists_of_a_tenant_show_that_tenant_alone(world: World, connection: Connection) -> None:
    """Nothing of one tenant is listed in another, nor found by an id from there."""
    head, now = world.head, world.now()

    main = service_accounts.of_tenant(connection, head, MAIN, None, EVERYTHING)
    other = service_accounts.of_tenant(connection, head, OTHER, None, EVERYTHING)

    assert (names(main), main.total) == (["build-bot", "deploy"], 2)
    assert (names(other), other.total) == (["shared"], 1)
    assert ids(groups.search(connection, head, OTHER, None, EVERYTHING)) == [world.foreign]
    assert world.operator not in ids(roles.search(connection, head, OTHER, None, EVERYTHING))
    assert bindings.search(connection, head, OTHER, now, None, EVERYTHING).rows == ()
    assert groups.by_ids(connection, head, MAIN, [world.foreign]) == ()
    assert roles.by_ids(connection, head, MAIN, [world.foreign_role]) == ()
    assert memberships.everyone_of_group(connection, head, OTHER, world.bots, now) == ()
    assert bindings.of_subjects(connection, head, OTHER, [world.bots]) == ()


def test_list_of_the_installation_shows_every_account(world: World, connection: Connection) -> None:
    """An instance owner sees the accounts of all tenants, and those without one, each once."""
    found = service_accounts.of_installation(connection, world.head, None, EVERYTHING)

    assert names(found) == ["build-bot", "deploy", "nowhere", "shared"]
    assert found.total == 4
    (ci,) = service_accounts.by_ids(connection, world.head, [world.ci, world.retired])
    assert (ci.name, ci.description, ci.enabled) == ("build-bot", "CI pipeline", True)


def test_deleted_tenant_is_no_longer_listed(world: World, connection: Connection) -> None:
    """It was there until it was deleted, and a list of then shows it."""
    now = tenants.search(connection, world.head, None, EVERYTHING)
    positions = [record.position for record in world.histories.records]
    deleted = next(
        record.position for record in world.histories.records if record.topic == "tenant.deleted.v1"
    )

    then = tenants.search(connection, deleted - 1, None, EVERYTHING)

    assert (names(now), now.total) == (["Other", "main"], 2)
    assert (names(then), then.total) == (["Gone", "Other", "main"], 3)
    assert [row.id for row in tenants.by_ids(connection, world.head, [GONE, OTHER])] == [OTHER]
    assert positions[-1] == world.head


# The past


def test_list_of_the_past_shows_what_was(world: World, connection: Connection) -> None:
    """Renamed, disabled and deleted accounts are listed as they were at the position."""
    then = world.marks["before the ends"]

    found = service_accounts.of_tenant(connection, then, MAIN, None, EVERYTHING)

    assert names(found) == ["ci-bot", "deploy", "retired"]
    assert found.total == 3
    assert all(row.enabled for row in found.rows)
    (bob,) = users.by_ids(connection, then, [world.bob])
    (disabled,) = users.by_ids(connection, world.head, [world.bob])
    assert (bob.enabled, disabled.enabled) == (True, False)
    assert service_accounts.of_tenant(connection, 0, MAIN, None, EVERYTHING) == Shown(
        rows=(), total=0
    )


# Filters, orders, pages


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (leaf("name", "BUILD-BOT"), ["build-bot"]),
        (leaf("name", "build-bot", negated=True), ["deploy"]),
        (leaf("q", "PIPE", comparison=Comparison.CONTAINS), ["build-bot"]),
        (leaf("description", "ci", comparison=Comparison.STARTS_WITH), ["build-bot"]),
        (leaf("enabled", False), ["deploy"]),  # noqa: FBT003 - the value itself
        (leaf("instanceOwner", True), []),  # noqa: FBT003 - the value itself
        (And((leaf("enabled", True), leaf("name", "deploy"))), []),  # noqa: FBT003 - the value itself
    ],
)
def test_service_accounts_are_filtered(
    world: World, connection: Connection, node: Node, expected: list[str]
) -> None:
    """A filter leaves the rows that it means, and the total counts those (kestra-iam 2.3)."""
    found = service_accounts.of_tenant(connection, world.head, MAIN, node, EVERYTHING)

    assert (names(found), found.total) == (expected, len(expected))


def test_service_accounts_are_filtered_by_group(world: World, connection: Connection) -> None:
    """`groupList` looks at the groups that one was in at the position, in the list's tenant."""
    in_bots = leaf("groupList", world.bots)
    outside = leaf("groupList", world.bots, world.admins, negated=True)
    in_any = leaf("groupList", comparison=Comparison.PRESENT)
    then = world.marks["before the ends"]

    def found(position: int, node: Node) -> list[str]:
        return names(service_accounts.of_tenant(connection, position, MAIN, node, EVERYTHING))

    everywhere = service_accounts.of_installation(connection, world.head, in_bots, EVERYTHING)
    assert found(world.head, in_bots) == found(world.head, in_any) == ["build-bot"]
    assert found(world.head, outside) == ["deploy"]
    assert found(then, in_bots) == ["ci-bot"]
    assert names(everywhere) == ["build-bot"]


def test_pages_go_through_a_list_once(world: World, connection: Connection) -> None:
    """Pages of any size together are the whole list, and each tells the whole total."""
    whole = service_accounts.of_installation(connection, world.head, None, EVERYTHING)
    pages = [
        service_accounts.of_installation(connection, world.head, None, Page(page=number, size=3))
        for number in (1, 2, 3)
    ]

    assert [row for page in pages for row in page.rows] == list(whole.rows)
    assert [len(page.rows) for page in pages] == [3, 1, 0]
    assert {page.total for page in pages} == {4}


def test_lists_are_sorted_as_asked_with_the_absent_first(
    world: World, connection: Connection
) -> None:
    """Both databases order alike: what is absent comes before all else, ties go by id."""

    def sorted_by(*keys: Sort) -> list[str]:
        page = Page(size=1000, sort=keys)
        return ids(bindings.search(connection, world.head, MAIN, world.now(), None, page))

    upwards = sorted_by(Sort(field="namespace"), Sort(field="created"))
    downwards = sorted_by(Sort(field="namespace", descending=True))
    tied = sorted_by(Sort(field="roleId", descending=True))

    assert upwards[-3:] == [world.in_prod, world.in_billing, world.in_production]
    assert downwards[:3] == [world.in_production, world.in_billing, world.in_prod]
    assert tied == sorted(tied)


def test_bindings_are_listed_newest_first(world: World, connection: Connection) -> None:
    """Without an order of one's own the newest comes first; deleted ones are gone."""
    found = bindings.search(connection, world.head, MAIN, world.now(), None, Page(size=3))

    assert ids(found) == [world.later, world.for_an_hour, world.on_record]
    # Ada and Bob were given the default role when they gained access.
    assert found.total == 8


def test_bindings_are_filtered(world: World, connection: Connection) -> None:
    """PREFIX is the hierarchy, and `externalId` the subject (kestra-iam 2.3)."""

    def found(node: Node, at: datetime | None = None) -> list[str]:
        at = at or world.now()
        return ids(bindings.search(connection, world.head, MAIN, at, node, EVERYTHING))

    assert found(leaf("namespace", "prod")) == [world.in_prod]
    assert found(leaf("namespace", "prod", comparison=Comparison.PREFIX)) == [
        world.in_billing,
        world.in_prod,
    ]
    assert found(leaf("externalId", world.admins)) == [world.in_production]
    assert found(leaf("resourceType", "record")) == [world.on_record]
    assert found(leaf("resourceId", "r-17")) == [world.on_record]
    assert len(found(leaf("type", "USER"))) == 5
    assert len(found(leaf("roleId", world.operator))) == 8
    assert found(leaf("q", "BOTS", comparison=Comparison.CONTAINS)) == [
        world.in_billing,
        world.in_prod,
    ]
    assert found(leaf("q", "build", comparison=Comparison.CONTAINS)) == [world.on_record]
    assert len(found(leaf("q", "operat", comparison=Comparison.CONTAINS))) == 8
    assert found(leaf("q", "r-17", comparison=Comparison.CONTAINS)) == [world.on_record]


@pytest.mark.parametrize(
    ("hours", "for_an_hour", "later"),
    [(0, "ACTIVE", "PENDING"), (2, "EXPIRED", "ACTIVE")],
)
def test_state_of_bindings_is_judged_at_the_instant_of_asking(
    world: World, connection: Connection, hours: int, for_an_hour: str, later: str
) -> None:
    """A span begins and ends by itself: nothing is written, and expired ones stay listed."""
    at = world.now() + hours * HOUR
    by_state = Page(size=1000, sort=(Sort(field="state"), Sort(field="created")))

    def found(state: str) -> list[str]:
        node = leaf("state", state)
        return ids(bindings.search(connection, world.head, MAIN, at, node, EVERYTHING))

    states = {state: found(state) for state in ("PENDING", "ACTIVE", "EXPIRED")}
    everything = bindings.search(connection, world.head, MAIN, at, None, by_state)

    assert world.for_an_hour in states[for_an_hour]
    assert world.later in states[later]
    assert sum(len(one) for one in states.values()) == everything.total
    assert ids(everything)[0] in states["ACTIVE"]


def test_roles_and_groups_are_listed_by_name(world: World, connection: Connection) -> None:
    """Names go up by code point; a role says whether it is managed, the default, how large."""
    head = world.head
    custom = leaf("isManaged", False)  # noqa: FBT003 - the value itself

    listed = roles.search(connection, head, MAIN, None, EVERYTHING)
    (operator,) = roles.search(connection, head, MAIN, custom, EVERYTHING).rows

    assert names(listed) == ["Admin", "Developer", "Editor", "Launcher", "Viewer", "operator"]
    assert operator.permissions == {"FLOW": ["VIEW", "LIST"], "record": ["read"]}
    assert (operator.permission_count, operator.is_default) == (3, True)
    assert roles.by_ids(connection, head, MAIN, [world.operator]) == (operator,)
    assert names(groups.search(connection, head, MAIN, None, EVERYTHING)) == ["Bots", "admins"]
    assert names(Shown(rows=groups.by_ids(connection, head, MAIN, [world.bots]), total=1)) == [
        "Bots"
    ]


# Members, access, tokens, users


def test_members_are_listed_in_the_order_of_joining(world: World, connection: Connection) -> None:
    """A membership that is over leaves the list (kestra-iam 8); the past has it still."""
    head, now = world.head, world.now()
    ask = partial(memberships.of_group, connection, head, MAIN, world.bots)
    programs = leaf("type", "SERVICE_ACCOUNT")
    joined_later = leaf(
        "created", world.now(), comparison=Comparison.GREATER_THAN_OR_EQUAL_TO, negated=True
    )

    present = ask(now, None, EVERYTHING)
    later = ask(now + 2 * HOUR, None, EVERYTHING)

    assert [row.principal for row in present.rows] == [world.ci, world.ada, world.bob]
    assert [row.level for row in present.rows] == ["MEMBER", "OWNER", "MEMBER"]
    assert [row.principal for row in later.rows] == [world.ci, world.ada]
    assert (present.total, later.total) == (3, 2)
    assert [row.type for row in ask(now, programs, EVERYTHING).rows] == ["SERVICE_ACCOUNT"]
    assert ask(now, joined_later, EVERYTHING).total == 3
    assert memberships.everyone_of_group(connection, head, MAIN, world.bots, now) == present.rows
    since = memberships.joined_of_group(connection, head, MAIN, world.bots, now)
    assert since == {row.principal: row.updated for row in present.rows}
    held = memberships.of_principals(connection, head, MAIN, [world.ci], now)
    assert [row.group_id for row in held] == [world.bots, world.admins]


def test_access_is_listed_by_tenant_and_by_principal(world: World, connection: Connection) -> None:
    """The people of a tenant, and the tenants of a principal."""
    people = tenant_access.users_of_tenant(connection, world.head, MAIN)
    of_bob = tenant_access.of_principals(connection, world.head, [world.bob, world.retired])

    assert [row.principal for row in people] == [world.ada, world.bob]
    assert [row.tenant for row in of_bob] == [MAIN, OTHER]


def test_tokens_are_listed_newest_first_without_their_digests(
    world: World, connection: Connection
) -> None:
    """What a list needs of a token is public; the old one of a rotation names the new."""
    found = tokens.of_owners(connection, world.head, [world.ci])

    assert {row.id for row in found[:2]} == {world.second, world.third}
    assert found[2].id == world.first
    by_id = {row.id: row for row in found}
    assert by_id[world.first].rotated_to == world.second
    assert by_id[world.second].rotated_from == world.first
    assert not by_id[world.third].enabled
    assert "digest" not in tokens.VIEW.table.columns


def test_users_are_listed_without_anything_personal(world: World, connection: Connection) -> None:
    """Nothing in a view has to be erased with a person's key (security 7.3)."""
    found = users.everyone(connection, world.head)

    assert [row.id for row in found] == [world.ada, world.bob]
    assert [row.instance_owner for row in found] == [True, False]
    personal = {"email", "email_index", "first_name", "last_name", "password"}
    assert personal.isdisjoint(users.VIEW.table.columns.keys())
