"""Is what a subject is said to hold exactly what checks allow it, place by place?"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from msgspec import UNSET, Struct, UnsetType

from domain import access, escalation, explaining
from domain.access import Narrowing
from domain.escalation import Meet
from domain.ids import MAIN, TenantId
from domain.permissions import from_lists
from domain.scopes import Resource, Scope
from domain.state import State, evolve
from projections import held_rights
from projections.held_rights import Holding, Place, holdings
from tests import oracle
from tests.domain.model import NAMESPACES, leaves, model_of
from tests.domain.world import (
    ADA,
    BETA,
    BETA_ROLE,
    BOT,
    BOTS,
    DAN,
    NEW_ROLE,
    OPERATOR,
    PROD,
    RECORD,
    SHARED,
    WORLD,
    bound,
    role,
)
from tests.fixed_inputs import START
from tests.histories import WORDS, Histories
from tests.spec import facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from domain.events import Event
    from domain.explaining import Held
    from domain.ids import SubjectId
    from tests.domain.model import Question

    Pair = tuple[str, str]

NOW = START.timestamp()
PAIRS = [
    (type_, action)
    for type_ in ("FLOW", "record", "EXECUTION", "UNHEARD", "*")
    for action in ("VIEW", "LIST", "READ", "record:write", "*")
]
PLACES = [*NAMESPACES, "prod.billing.eu", "pro"]
OBJECTS = ["", *(f"record/{word}" for word in WORDS[:3])]
NARROWINGS = (
    UNSET,
    Narrowing(permissions=from_lists({"FLOW": ["READ"], "*": ["LIST", "record:write"]})),
    Narrowing(namespaces=("prod", "prod.billing", "dev")),
    Narrowing(resources=tuple(Resource("record", word) for word in WORDS[:2])),
    Narrowing(
        permissions=from_lists({"record": ["*"]}),
        namespaces=("prod.billing",),
        resources=(Resource("record", WORDS[2]),),
    ),
    Narrowing(tenants=(MAIN,)),
)


class Tally(Struct):
    """What came of holding lists against the oracle, question by question."""

    asked: int = 0
    allowed: int = 0
    wrong: int = 0


def told(found: list[Holding], question: Question) -> bool:
    """Tell whether the answer to a question follows from what is listed."""
    type_, action, namespace, resource = question
    return any(
        covers(one.place, namespace, resource)
        and any(access.covers(pair, (type_, action)) for pair in source.pairs)
        for one in found
        for source in one.sources
    )


def covers(place: Place, namespace: str, resource: str) -> bool:
    """Tell whether a question names what a place asks for."""
    above = (namespace + ".").startswith(place.namespace + ".") or not place.namespace
    return above and (not place.type or f"{place.type}/{place.id}" == resource)


def questions(
    found: list[Holding], whole: list[Holding], chance: random.Random
) -> Iterator[Question]:
    """Yield questions that are listed, with and without the narrowing, and others."""
    for one in (*found, *whole):
        resource = f"{one.place.type}/{one.place.id}" if one.place.type else ""
        for source in one.sources[:2]:
            for pair in source.pairs[:3]:
                yield (*pair, one.place.namespace, resource)
                yield (*pair, one.place.namespace or chance.choice(PLACES), resource)
                yield (*pair, one.place.namespace, resource or chance.choice(OBJECTS))
    for _ in range(20 if whole else 2):
        yield (*chance.choice(PAIRS), chance.choice(PLACES), chance.choice(OBJECTS))


def tally(seeds: Iterable[int]) -> Tally:
    """List for every subject of random installations, with and without a narrowing."""
    total = Tally()
    for seed in seeds:
        world, chance = Histories(seed), random.Random(seed)  # noqa: S311 - nothing is to be secret
        world.run(250)
        state, model = world.state, model_of(world.state)
        now = world.inputs.now().timestamp() + chance.choice((-90_000, 0, 5_000))
        everyone: list[SubjectId] = [*state.users, *state.service_accounts, *state.groups]
        for subject in everyone:
            for tenant in state.tenants:
                whole = holdings(state, tenant, subject, now)
                for narrowing in NARROWINGS if whole else (UNSET,):
                    found = holdings(state, tenant, subject, now, narrowing)
                    for question in questions(found, whole, chance):
                        allowed = oracle.allowed(model, tenant, subject, question, now)
                        expected = allowed and leaves(narrowing, tenant, question)
                        total.asked += 1
                        total.allowed += expected
                        total.wrong += expected != told(found, question)
    return total


def test_what_is_listed_is_exactly_what_checks_allow() -> None:
    """Every subject of 30 random installations, also by narrowed tokens: no difference."""
    found = tally(range(30))

    assert found.wrong == 0
    assert found.asked > 5_000
    assert found.allowed > found.asked // 10


def ignoring_places(scope: Scope, _: Narrowing | UnsetType) -> Iterator[Meet]:
    """Broken: forget where a token is narrowed to."""
    yield Meet(scope)


def forgetting_to_name_both(scope: Scope, narrowing: Narrowing | UnsetType) -> Iterator[Meet]:
    """Broken: what is left where both are named is told to be left at the scope."""
    for meet in escalation.met_places(scope, narrowing):
        yield Meet(meet.scope)


def ignoring_permissions(given: Iterable[Pair], _: Narrowing | UnsetType) -> Iterator[Pair]:
    """Broken: forget what a token is narrowed to."""
    yield from given


@pytest.mark.parametrize(
    ("part", "broken"),
    [
        ("met_places", ignoring_places),
        ("met_places", forgetting_to_name_both),
        ("met_pairs", ignoring_permissions),
    ],
)
def test_a_list_that_ignores_the_token_is_caught(
    monkeypatch: pytest.MonkeyPatch, part: str, broken: Callable[..., object]
) -> None:
    """Positive controls of the property: what a narrowing does not leave is found."""
    monkeypatch.setattr(held_rights, part, broken)

    assert tally(range(6)).wrong


def test_a_list_that_ignores_time_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positive control of the property: what is over, not yet, or of the disabled, is found."""

    def whatever(state: State, tenant: TenantId, subject: SubjectId, _: float) -> tuple[Held, ...]:
        return tuple(explaining.all_held(state, tenant, subject))

    monkeypatch.setattr(explaining, "effective", whatever)

    assert tally(range(3)).wrong


def after(*events: Event) -> State:
    """Answer the world after these events."""
    return evolve(WORLD.state, facts(WORLD.state, events))


def test_places_come_in_their_order_and_each_once() -> None:
    """The whole tenant, resources, namespaces; all that is given at one stands there."""
    state = after(
        bound(BOT, OPERATOR, PROD, id_="b3"),
        bound(BOT, OPERATOR, RECORD, id_="b2"),
        bound(BOT, OPERATOR, id_="b4"),
        bound(BOTS, OPERATOR, PROD, id_="b1"),
    )

    found = holdings(state, MAIN, BOT, NOW)

    prod = Place("prod")
    assert [Place(), Place("", "record", "r-17"), prod] == [one.place for one in found]
    (through, itself) = found[-1].sources
    assert ("b1", "b3") == (through.held.binding.id, itself.held.binding.id)
    assert through.held.via is not None
    assert (BOTS, None) == (through.held.via.group, itself.held.via)


def test_pairs_are_told_as_granted() -> None:
    """READ stands for what it grants, a wildcard for itself, and nothing is told twice."""
    permissions = from_lists({"FLOW": ["READ", "VIEW", "*"], "*": ["EXPORT"]})
    state = after(role(NEW_ROLE, permissions), bound(DAN, NEW_ROLE))

    ((_, (source,)),) = holdings(state, MAIN, DAN, NOW)

    flow = [("FLOW", action) for action in ("READ", "VIEW", "LIST", "*")]
    assert (*flow, ("*", "EXPORT")) == source.pairs


def test_a_role_of_which_nothing_is_left_is_no_source() -> None:
    """A token without any permission of the role leaves nothing of its binding."""
    state = after(bound(DAN, OPERATOR))

    assert holdings(state, MAIN, DAN, NOW)
    secret = Narrowing(permissions=from_lists({"SECRET": ["*"]}))
    assert [] == holdings(state, MAIN, DAN, NOW, secret)
    assert [] == holdings(state, MAIN, DAN, NOW, Narrowing(tenants=(BETA,)))


def test_overlapping_places_of_a_token_are_told_once() -> None:
    """A binding within two of a token's namespaces is left where it is, once."""
    state = after(bound(DAN, OPERATOR, Scope(namespace="prod.billing")))
    narrowing = Narrowing(namespaces=("prod", "prod.billing"))

    ((place, sources),) = holdings(state, MAIN, DAN, NOW, narrowing)

    assert (Place("prod.billing"), 1) == (place, len(sources))


def test_tenants_are_apart() -> None:
    """A subject of two tenants holds in each what was given there."""
    state = after(bound(SHARED, BETA_ROLE, tenant=BETA), bound(SHARED, OPERATOR, PROD))

    assert [Place("prod")] == [one.place for one in holdings(state, MAIN, SHARED, NOW)]
    assert [Place()] == [one.place for one in holdings(state, BETA, SHARED, NOW)]
    assert [] == holdings(state, BETA, ADA, NOW)
