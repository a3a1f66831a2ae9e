"""Whom does a subject name that is an alias, now and in the past, and what does asking cost?"""

from __future__ import annotations

from domain.aliases import AliasRemoved
from domain.ids import MAIN, TenantId
from domain.principals import TenantAccessEnded
from domain.state import State, evolve
from projections.access_graph import AccessGraph
from tests.domain.world import (
    ADA,
    BETA,
    BOT,
    DAN,
    DRONE,
    SHARED,
    WORLD,
    alias,
    alias_index,
)
from tests.projections.graph import UNHEARD, email_index
from tests.spec import facts

SPIFFE = "spiffe://example/ci/bot"
KNOWN = WORLD.and_then(
    alias(BOT, "identity", SPIFFE),
    alias(DAN, "user", "dan"),
    alias(BOT, "service_account", "shared"),
    alias(SHARED, "identity", SPIFFE, tenant=BETA),
)
ENDED = AliasRemoved(
    tenant=MAIN, principal=BOT, type="identity", index=alias_index(MAIN, "identity", SPIFFE)
)


class Counting:
    """The keyed index, and how often it was worked out."""

    def __init__(self) -> None:
        self.asked: list[tuple[TenantId, str, str]] = []

    def __call__(self, tenant: TenantId, type_: str, text: str) -> bytes:
        self.asked.append((tenant, type_, text))
        return alias_index(tenant, type_, text)


def graph_of(state: State) -> AccessGraph:
    """Answer the graph of a state."""
    return AccessGraph(state, email_index, alias_index)


def test_alias_of_exactly_that_type_and_id_names_its_carrier() -> None:
    """Authzen 3: an alias is a pair, and holds in its own tenant."""
    graph = graph_of(KNOWN.state)

    assert BOT == graph.resolve(MAIN, "identity", SPIFFE)
    assert SHARED == graph.resolve(BETA, "identity", SPIFFE)
    assert DAN == graph.resolve(MAIN, "user", "dan")
    for tenant, type_, text in (
        (MAIN, "identity", SPIFFE.upper()),
        (MAIN, "identity", "dan"),
        (MAIN, "employee", SPIFFE),
        (MAIN, "service_account", SPIFFE),
        (MAIN, "group", SPIFFE),
        (BETA, "user", "dan"),
        (UNHEARD, "identity", SPIFFE),
    ):
        assert graph.resolve(tenant, type_, text) is None, (tenant, type_, text)


def test_id_goes_before_alias_and_alias_before_name() -> None:
    """Authzen 3: id first, else alias, else exact name."""
    graph = graph_of(KNOWN.and_then(alias(BOT, "user", ADA)).state)

    assert ADA == graph.resolve(MAIN, "user", ADA)
    assert BOT == graph.resolve(MAIN, "service_account", "shared")
    assert SHARED == graph.resolve(BETA, "service_account", "shared")
    assert DRONE == graph.resolve(BETA, "service_account", "drone")


def test_alias_of_one_without_access_names_nobody() -> None:
    """Unknown means no, even where an alias were left behind; nor is a name tried then."""
    lost = KNOWN.and_then(TenantAccessEnded(tenant=MAIN, principal=BOT)).state

    assert graph_of(lost).resolve(MAIN, "identity", SPIFFE) is None
    assert graph_of(lost).resolve(MAIN, "service_account", "shared") is None


def test_alias_is_known_from_the_event_on_and_in_the_past() -> None:
    """An end is seen at once, and the past is asked by the same code."""
    graph = graph_of(WORLD.state)
    assert graph.resolve(MAIN, "identity", SPIFFE) is None

    graph.publish(KNOWN.state, facts(WORLD.state, (alias(BOT, "identity", SPIFFE),)))
    assert BOT == graph.resolve(MAIN, "identity", SPIFFE)

    ended = facts(KNOWN.state, (ENDED,))
    graph.publish(evolve(KNOWN.state, ended), ended)
    assert graph.resolve(MAIN, "identity", SPIFFE) is None
    assert BOT == graph.resolve_in(KNOWN.state)(MAIN, "identity", SPIFFE)
    assert graph.resolve_in(WORLD.state)(MAIN, "identity", SPIFFE) is None


def test_index_is_worked_out_only_where_there_is_something_to_find() -> None:
    """Who asks by id, or where no alias of the type is, pays for no hash (performance 2)."""
    counting = Counting()
    graph = AccessGraph(KNOWN.state, email_index, counting)

    for tenant, type_, text in (
        (MAIN, "service_account", BOT),
        (MAIN, "user", DAN),
        (MAIN, "group", "Bots"),
        (MAIN, "employee", SPIFFE),
        (BETA, "user", "dan"),
        (BETA, "service_account", "drone"),
    ):
        graph.resolve(tenant, type_, text)
    assert [] == counting.asked

    graph.resolve(MAIN, "identity", SPIFFE)
    assert [(MAIN, "identity", SPIFFE)] == counting.asked


def test_last_alias_of_a_type_takes_the_cost_away() -> None:
    """With the last one its type is unheard of again."""
    counting = Counting()
    graph = AccessGraph(KNOWN.and_then(ENDED).state, email_index, counting)

    assert graph.resolve(MAIN, "identity", SPIFFE) is None
    assert [] == counting.asked
