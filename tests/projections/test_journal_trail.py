"""Do entries of the journal stand in the trail as the contract's acts, in one order with events?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from domain.ids import TenantId
from projections import journal, journal_trail
from projections.audit import EVERYWHERE, Scope
from projections.filters import Comparison, Leaf
from projections.journal import Entry
from projections.journal_trail import Rank, Until
from projections.pages import Sort
from tests.fixed_inputs import START

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

BASE = Entry(at=START, kind="refusal", outcome="DENIED", position=1, principal="bot")
ENTRIES = (
    replace(BASE, kind="sign_in", outcome="ALLOWED", principal="ada", address="192.0.2.1"),
    replace(BASE, kind="sign_out", outcome="ALLOWED", principal="ada", position=2),
    replace(BASE, kind="sign_in_failure", principal=None, position=2),
    replace(BASE, kind="account_locked", principal="ada", position=2),
    replace(BASE, kind="audit_read", outcome="ALLOWED", tenant="main", position=3),
    replace(
        BASE,
        tenant="main",
        position=3,
        resource_type="GROUP",
        action="CREATE",
        resource_id="g1",
        namespace="prod.billing",
        token="t1",
        code="permission.denied",
        operation="createGroup",
    ),
    replace(BASE, resource_type="ROLE", action="UPDATE", position=4),
    replace(BASE, kind="audit_export", outcome="ALLOWED", tenant="main", position=5),
    replace(BASE, kind="decision"),
    replace(BASE, kind="search"),
    replace(BASE, kind="token_failure"),
    replace(BASE, kind="token_leak"),
)
MAIN = TenantId("main")
ALL = Until(9, 9)


@pytest.fixture
def connection(journal_engine: Engine) -> Iterator[Connection]:
    """Yield a connection to a journal that holds one of each kind."""
    with journal_engine.begin() as writing:
        journal.write(writing, [*map(journal.row_of, ENTRIES)], [], [])
    with journal_engine.connect() as found:
        yield found


def found(
    connection: Connection,
    *leaves: Leaf,
    until: Until = ALL,
    scope: Scope = EVERYWHERE,
    sort: tuple[Sort, ...] = (),
    limit: int = 100,
) -> list[int]:
    """The numbers of what is shown; the total is right whatever the limit."""
    node = leaves[0] if leaves else None
    ranks, total = journal_trail.ranks(connection, until, scope, node, sort, limit)
    everything, _ = journal_trail.ranks(connection, until, scope, node, (), 1_000)
    assert total == len(everything)
    return [rank.sequence for rank in ranks]


def equals(field: str, value: Any, key: str = "") -> Leaf:  # noqa: ANN401 - a value of a filter
    """The filter of one value."""
    return Leaf(field=field, comparison=Comparison.EQUALS, values=(value,), key=key)


def test_kinds_are_shown_as_the_acts_of_the_contract(connection: Connection) -> None:
    """Kestra-iam 6.8: what a refused command would have been, and what a sign-in is called."""
    shown = journal_trail.entries(connection, range(1, 9))

    assert {
        1: ("LOGIN", "USER", "ada"),
        2: ("LOGOUT", "USER", "ada"),
        3: ("LOGIN_FAILURE", "USER", ""),
        4: ("ACCOUNT_LOCKED", "USER", "ada"),
        5: ("READ", "", ""),
        6: ("CREATE", "GROUP", "g1"),
        7: ("UPDATE", "ROLE", ""),
        8: ("READ", "", ""),
    } == {number: (one.type, one.resource, one.object_id) for number, one in shown.items()}
    assert ENTRIES[5] == shown[6].kept.entry
    assert "journal.refusal" == journal_trail.event_of(shown[6])
    assert {
        "type": "GROUP",
        "resource": "GROUP",
        "id": "g1",
        "namespace": "prod.billing",
        "code": "permission.denied",
        "operation": "createGroup",
    } == journal_trail.detail(shown[6])


def test_newest_come_first_and_decisions_are_not_shown(connection: Connection) -> None:
    """The trail is about acts; decisions, searches and strangers' tokens are not in it."""
    assert [8, 7, 6, 5, 4, 3, 2, 1] == found(connection)
    assert [8, 7] == found(connection, limit=2)


def test_a_tenant_shows_its_own_only(connection: Connection) -> None:
    """Sign-ins belong to the installation; a tenant sees what was tried and read in it."""
    assert [8, 6, 5] == found(connection, scope=MAIN)
    assert [] == found(connection, scope=TenantId("beta"))


def test_what_is_later_is_not_shown(connection: Connection) -> None:
    """The past does not grow, and readings at the head do not push the pages of a reader."""
    assert [4, 3, 2, 1] == found(connection, until=Until(2, 2))
    assert [7, 6, 4, 3, 2, 1] == found(connection, until=Until(9, 2))


@pytest.mark.parametrize(
    ("leaf", "expected"),
    [
        (equals("q", "createGroup"), []),
        (Leaf(field="q", comparison=Comparison.CONTAINS, values=("GROUP",)), [6]),
        (equals("id", "j7"), [7]),
        (equals("date", START), [8, 7, 6, 5, 4, 3, 2, 1]),
        (equals("type", "LOGIN_FAILURE"), [3]),
        (equals("action", "READ"), [8, 5]),
        (equals("resources", "USER"), [4, 3, 2, 1]),
        (equals("userId", "ada"), [4, 2, 1]),
        (equals("details", "g1", "id"), [6]),
        (equals("details", "x", "nothing"), []),
        (
            Leaf(field="details", key="namespace", comparison=Comparison.PREFIX, values=("prod",)),
            [6],
        ),
        (equals("event", "journal.sign_out"), [2]),
        (equals("tokenId", "t1"), [6]),
        (equals("ipAddress", "192.0.2.1"), [1]),
        (equals("position", 4), [7]),
        (equals("outcome", "DENIED"), [7, 6, 4, 3]),
        (Leaf(field="event", comparison=Comparison.REGEX, values=("sign_(in|out)$",)), [2, 1]),
    ],
)
def test_entries_are_found_by_each_field(
    connection: Connection, leaf: Leaf, expected: list[int]
) -> None:
    """Kestra-iam 2.3: every field of the list of events says the same of both."""
    assert expected == found(connection, leaf)


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        (Sort(field="date"), [1, 2, 3, 4, 5, 6, 7, 8]),
        (Sort(field="position", descending=True), [8, 7, 6, 5, 4, 3, 2, 1]),
        (Sort(field="userId"), [3, 4, 2, 1, 8, 7, 6, 5]),
        (Sort(field="type", descending=True), [7, 8, 5, 2, 3, 1, 6, 4]),
        (Sort(field="resources"), [8, 5, 6, 7, 4, 3, 2, 1]),
        (Sort(field="event"), [4, 8, 5, 7, 6, 1, 3, 2]),
    ],
)
def test_entries_are_sorted_by_each_field(
    connection: Connection, sort: Sort, expected: list[int]
) -> None:
    """Every order ends with the time, newest first; a page is cut out of the same order."""
    assert expected == found(connection, sort=(sort,))
    ranks, _ = journal_trail.ranks(connection, ALL, EVERYWHERE, None, (sort,), 100)
    paged = journal_trail.page(reversed(ranks), (sort,), 2, 3)
    assert expected[2:5] == [rank.sequence for rank in paged]


def test_events_and_entries_are_one_order() -> None:
    """An entry stands behind the event at whose position it was noted, whichever way it is read."""
    events = [Rank((), position, 0) for position in (3, 2, 1)]
    entries = [Rank((), 2, 7), Rank((), 2, 6), Rank((), 0, 5)]
    in_time = [(0, 5), (1, 0), (2, 0), (2, 6), (2, 7), (3, 0)]

    def order(*sort: Sort) -> list[tuple[int, int]]:
        ranks = [rank._replace(values=tuple("x" for _ in sort)) for rank in [*events, *entries]]
        paged = journal_trail.page(ranks, sort, 0, 100)
        return [(rank.position, rank.sequence) for rank in paged]

    assert in_time[::-1] == order()
    assert in_time == order(Sort(field="date"))
    assert in_time[::-1] == order(Sort(field="type"))
    assert in_time == order(Sort(field="type"), Sort(field="date"))
