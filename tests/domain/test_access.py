"""Does the one judge answer every question as the plainest reading of the rules would?"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from msgspec import UNSET

from domain import access
from domain.access import (
    Narrowing,
    compile_subject,
    covers,
    evaluate,
    narrowing_allows,
    need,
    places,
)
from domain.groups import GroupDeleted
from domain.ids import (
    MAIN,
    GroupId,
    PrincipalId,
    RoleId,
    ServiceAccountId,
    SubjectId,
    TenantId,
    UserId,
)
from domain.permissions import from_lists
from domain.principals import TenantAccessEnded
from domain.scopes import WHOLE_TENANT, Resource, Scope, ancestors
from domain.service_accounts import ServiceAccountDisabled
from domain.tenants import TenantDeleted
from domain.users import UserDisabled
from tests import oracle
from tests.domain.model import (
    ACTIONS,
    NAMESPACES,
    QUESTIONS,
    TYPES,
    Question,
    leaves,
    model_of,
)
from tests.domain.world import (
    ADA,
    BEGINNING,
    BETA,
    BOT,
    BOTS,
    DAN,
    EVE,
    OPERATOR,
    PROD,
    SHARED,
    SOON,
    WORLD,
    account,
    bound,
    group,
    member,
    role,
    user,
)
from tests.fixed_inputs import START
from tests.spec import History, given

if TYPE_CHECKING:
    from datetime import datetime

    from domain.events import Event
    from domain.state import State

NOW = START.timestamp()


def may(state: State, tenant: TenantId, subject: SubjectId, asked: Question, now: float) -> bool:
    """Ask the product, as the check API does."""
    compiled = compile_subject(state, tenant, subject, now)
    if compiled is None:
        return False
    type_, action, namespace, resource = asked
    needed = need(state, tenant, type_, action)
    return evaluate(compiled.masks, needed, above(namespace), pair(resource))


def above(namespace: str) -> tuple[str, ...]:
    return ancestors(namespace) if namespace else ()


def pair(resource: str) -> tuple[str, str] | None:
    type_, _, id_ = resource.partition("/")
    return (type_, id_) if resource else None


# Random installations

USERS = (UserId("usr_a"), UserId("usr_b"))
ACCOUNTS = (ServiceAccountId("sa_a"),)
PRINCIPALS: tuple[PrincipalId, ...] = (*USERS, *ACCOUNTS)
GROUPS = (GroupId("grp_a"), GroupId("grp_b"))
ROLES = (RoleId("rol_a"), RoleId("rol_b"), RoleId("rol_c"))
INSTANTS = tuple(START + timedelta(hours=hours) for hours in range(1, 4))
SCOPES = (
    WHOLE_TENANT,
    PROD,
    Scope(namespace="prod.billing"),
    Scope(namespace="pro"),
    Scope(resource=Resource("record", "r-17")),
)

permissions = st.dictionaries(
    st.sampled_from([*TYPES[:4], "*"]),
    st.lists(st.sampled_from([*ACTIONS[:5], "*"]), min_size=1, max_size=3, unique=True),
    max_size=3,
).map(from_lists)
spans = st.tuples(st.sampled_from([None, *INSTANTS]), st.sampled_from([None, *INSTANTS])).filter(
    lambda both: both[0] is None or both[1] is None or both[0] < both[1]
)


@st.composite
def installations(draw: st.DrawFn) -> tuple[Event, ...]:
    """Draw a history with roles, groups, bindings and all that may end or disable them."""
    events: list[Event] = [*BEGINNING]
    for one in USERS:
        events += user(one, *draw(st.sets(st.sampled_from([MAIN, BETA])).map(sorted)))
    events += account(ACCOUNTS[0], MAIN, BETA)
    tenants = dict(zip(GROUPS, (MAIN, BETA), strict=True))
    events += [group(id_, id_, tenant) for id_, tenant in tenants.items()]
    homes = dict(zip(ROLES, (MAIN, MAIN, BETA), strict=True))
    events += [role(id_, draw(permissions), home) for id_, home in homes.items()]
    for id_ in draw(st.lists(st.sampled_from(GROUPS), max_size=4)):
        begins, ends = draw(spans)
        events.append(
            member(
                id_,
                draw(st.sampled_from(PRINCIPALS)),
                tenant=tenants[id_],
                not_before=begins or UNSET,
                expires_at=ends or UNSET,
            )
        )
    for number, bound_role in enumerate(draw(st.lists(st.sampled_from(ROLES), max_size=6))):
        begins, ends = draw(spans)
        home = homes[bound_role]
        subjects: list[SubjectId] = [*PRINCIPALS, *(one for one in GROUPS if tenants[one] == home)]
        events.append(
            bound(
                draw(st.sampled_from(subjects)),
                bound_role,
                draw(st.sampled_from(SCOPES)),
                tenant=home,
                id_=f"bnd_{number}",
                not_before=begins or UNSET,
                expires_at=ends or UNSET,
            )
        )
    endings: tuple[Event, ...] = (
        UserDisabled(id=USERS[0]),
        ServiceAccountDisabled(id=ACCOUNTS[0]),
        TenantAccessEnded(tenant=MAIN, principal=USERS[1]),
        TenantDeleted(tenant=BETA),
    )
    return (*events, *draw(st.sets(st.sampled_from(endings), max_size=1)))


@settings(max_examples=60)
@for_all(events=installations(), data=st.data())
def test_the_judge_and_the_oracle_agree(events: tuple[Event, ...], data: st.DataObject) -> None:
    """Kestra-iam 5.1 and 5.3, security 2.1: every subject, tenant, question and instant."""
    state = given(*events).state
    model = model_of(state)
    asked = data.draw(st.lists(st.sampled_from(QUESTIONS), min_size=5, max_size=25, unique=True))

    for now in (NOW, *(instant.timestamp() for instant in INSTANTS)):
        for tenant in (MAIN, BETA, TenantId("nowhere")):
            for subject in (*PRINCIPALS, *GROUPS, UserId("usr_none")):
                for question in asked:
                    expected = oracle.allowed(model, tenant, subject, question, now)
                    assert expected == may(state, tenant, subject, question, now)


@settings(max_examples=30)
@for_all(events=installations())
def test_compiled_rights_are_good_until_they_say(events: tuple[Event, ...]) -> None:
    """Performance 2: between now and `valid_until` nothing that time alone does is missed."""
    state = given(*events).state
    for subject in PRINCIPALS:
        compiled = compile_subject(state, MAIN, subject, NOW)
        if compiled is None:
            continue
        for instant in INSTANTS:
            now = instant.timestamp()
            if now < compiled.valid_until:
                later = compile_subject(state, MAIN, subject, now)
                assert later is not None
                assert compiled.masks == later.masks


def rights_in_time(world: History, at: datetime) -> bool:
    return may(world.state, MAIN, BOT, ("FLOW", "VIEW", "", ""), at.timestamp())


@pytest.mark.parametrize("road", ["binding", "membership"])
def test_a_span_begins_with_its_first_instant_and_ends_before_its_last(road: str) -> None:
    """Kestra-iam 8: limits are enforced at decision time, with no sweeper."""
    begins, ends = START + timedelta(hours=1), START + timedelta(hours=2)
    timed = bound(BOT, OPERATOR, not_before=begins, expires_at=ends)
    if road == "membership":
        world = WORLD.and_then(
            bound(BOTS, OPERATOR), member(BOTS, BOT, not_before=begins, expires_at=ends)
        )
    else:
        world = WORLD.and_then(timed)

    tick = timedelta(microseconds=1)
    answers = [rights_in_time(world, at) for at in (begins - tick, begins, ends - tick, ends)]
    assert [False, True, True, False] == answers
    compiled = compile_subject(world.state, MAIN, BOT, NOW)
    assert compiled is not None
    assert begins.timestamp() == compiled.valid_until
    after = compile_subject(world.state, MAIN, BOT, ends.timestamp())
    assert after is not None
    assert math.inf == after.valid_until


@pytest.mark.parametrize(
    ("subject", "tenant"),
    [(UserId("usr_none"), MAIN), (EVE, MAIN), (BOTS, BETA), (ADA, TenantId("nowhere"))],
)
def test_who_is_unknown_there_has_nothing(subject: SubjectId, tenant: TenantId) -> None:
    """Security 2.1: unknown principal, foreign tenant, foreign group: no."""
    assert compile_subject(WORLD.state, tenant, subject, NOW) is None


def test_a_disabled_principal_and_a_deleted_tenant_have_nothing() -> None:
    """Security 2.1: nothing is left of rights that are still recorded."""
    assert may(WORLD.state, MAIN, ADA, ("FLOW", "VIEW", "", ""), NOW)
    off = WORLD.and_then(UserDisabled(id=ADA)).state
    assert not may(off, MAIN, ADA, ("FLOW", "VIEW", "", ""), NOW)
    gone = WORLD.and_then(TenantDeleted(tenant=BETA)).state
    assert not may(gone, BETA, EVE, ("FLOW", "VIEW", "", ""), NOW)


def test_an_unheard_pair_needs_a_wildcard_and_registers_nothing() -> None:
    """Performance 2: asking keeps nothing; only wildcards answer what no role names."""
    asked = ("UNHEARD", "UNHEARD", "", "")

    assert may(WORLD.state, MAIN, ADA, asked, NOW)
    assert not may(WORLD.state, MAIN, DAN, asked, NOW)
    assert 0 == need(WORLD.state, TenantId("nowhere"), "FLOW", "VIEW")
    assert ("UNHEARD", "UNHEARD") not in WORLD.state.vocabulary[MAIN]


def test_a_group_that_is_gone_gives_nothing() -> None:
    """Unknown means no: a group's id without a group holds no rights."""
    world = WORLD.and_then(bound(BOTS, OPERATOR), GroupDeleted(tenant=MAIN, id=BOTS))

    assert compile_subject(world.state, MAIN, BOTS, NOW) is None


# Narrowings

narrowings = st.builds(
    Narrowing,
    permissions=st.just(UNSET) | permissions,
    tenants=st.just(UNSET) | st.sampled_from([(), (MAIN,), (BETA,), (MAIN, BETA)]),
    namespaces=st.just(UNSET)
    | st.lists(st.sampled_from(NAMESPACES[1:]), max_size=2, unique=True).map(tuple),
    resources=st.just(UNSET)
    | st.sampled_from([(), (Resource("record", "r-17"),), (Resource("record", "r-18"),)]),
    instance_owner=st.booleans(),
)


def narrowed(narrowing: Narrowing, tenant: TenantId, asked: Question) -> bool:
    type_, action, namespace, resource = asked
    return narrowing_allows(narrowing, tenant, (type_, action), above(namespace), pair(resource))


@settings(max_examples=30)
@for_all(narrowing=narrowings)
def test_a_narrowing_leaves_what_its_words_say(narrowing: Narrowing) -> None:
    """Kestra-iam 8: permissions, tenants and places, each of which may be absent."""
    for tenant in (MAIN, BETA):
        for asked in QUESTIONS:
            assert leaves(narrowing, tenant, asked) == narrowed(narrowing, tenant, asked)


def test_wildcards_cover_and_are_covered_by_wildcards_only() -> None:
    """Kestra-iam 5.2: `*` stands for any, and is more than any one."""
    assert covers(("*", "*"), ("FLOW", "VIEW"))
    assert covers(("FLOW", "*"), ("FLOW", "*"))
    assert not covers(("FLOW", "VIEW"), ("FLOW", "*"))
    assert not covers(("FLOW", "*"), ("*", "VIEW"))


def test_a_scope_names_its_places() -> None:
    """A question at a scope names all namespaces above it, or its one resource."""
    assert ((), None) == places(WHOLE_TENANT)
    assert (("prod.billing", "prod"), None) == places(Scope(namespace="prod.billing"))
    assert ((), ("record", "r-17")) == places(Scope(resource=Resource("record", "r-17")))


# Controls: each deliberately broken rule is noticed by the oracle.


def broken_span(*_: object) -> tuple[float, bool]:
    return math.inf, True


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("_span", broken_span),
        ("evaluate", lambda masks, needed, *_: any(mask & needed for mask in masks.values())),
    ],
)
def test_a_broken_judge_is_noticed(
    name: str, broken: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Security 2.1, the control: a judge that forgets time or place differs from the oracle."""
    world = WORLD.and_then(
        bound(BOT, OPERATOR, PROD, not_before=SOON), bound(SHARED, OPERATOR, PROD)
    )
    model = model_of(world.state)

    def differs() -> bool:
        return any(
            oracle.allowed(model, MAIN, subject, asked, NOW)
            != may(world.state, MAIN, subject, asked, NOW)
            for subject in (BOT, SHARED)
            for asked in QUESTIONS
        )

    assert not differs()
    monkeypatch.setattr(access, name, broken)
    monkeypatch.setitem(globals(), "evaluate", access.evaluate)
    assert differs()
