"""Is what a search finds exactly what evaluations at the same moment would allow?"""

from __future__ import annotations

import random
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from domain import access
from domain.access import Question
from domain.ids import MAIN, GroupId, RoleId, TenantId, UserId
from domain.permissions import ANY, from_lists, granted
from domain.roles import RoleDeleted
from domain.scopes import Resource, Scope, ancestors
from domain.tenants import TenantDeleted
from domain.users import UserDisabled
from projections import searches
from tests import candidates, oracle
from tests.domain.model import model_of
from tests.domain.world import (
    ADA,
    BETA,
    BOT,
    BOTS,
    CAL,
    DAN,
    EVE,
    LATER,
    OPERATOR,
    PAST,
    RECORD,
    SHARED,
    SOON,
    WORLD,
    bound,
    managed,
    member,
    role,
)
from tests.fixed_inputs import START
from tests.histories import NAMESPACES, WORDS, Histories

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from domain.events import Event
    from domain.ids import SubjectId
    from domain.state import State

NOW = START.timestamp()
TYPES = ("FLOW", "record", "USER", "SERVICE_ACCOUNT", "GROUP", "ROLE", "BINDING", "UNHEARD", ANY)
ACTIONS = ("VIEW", "READ", "LIST", "UPDATE", "record:write", "UNHEARD", ANY)
KINDS = ("user", "service_account", "group", "unheard")


# Every search equals the set of evaluations


class Past:
    """A moment of a random installation."""

    def __init__(self, state: State, now: float) -> None:
        self.state = state
        self.now = now
        self.model = model_of(state)

    def __repr__(self) -> str:
        return f"position {self.state.position}"


@cache
def pasts(seed: int) -> list[Past]:
    """Answer moments of one random history, the last of them its present."""
    world = Histories(seed)
    found: list[Past] = []
    for _ in range(4):
        world.run(90)
        found.append(Past(world.state, world.inputs.now().timestamp()))
    return found


@cache
def crowded(seed: int) -> list[Past]:
    """Answer moments of a small world in which nearly everybody holds something."""
    one = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    spans = ((UNSET, UNSET), (UNSET, UNSET), (SOON, UNSET), (UNSET, SOON), (UNSET, START))
    places = [Scope(), *(Scope(namespace=name) for name in NAMESPACES)]
    places += [Scope(resource=Resource(type_, id_)) for type_ in TYPES for id_ in (*WORDS[:3], "*")]
    roles = [
        role(RoleId(f"rol_{number}"), from_lists({type_: one.sample(ACTIONS, 2)}))
        for number, type_ in enumerate(TYPES)
    ]
    history = WORLD.and_then(*roles)
    found: list[Past] = []
    for number in range(60):
        held, place, (begins, ends) = one.choice(roles), one.choice(places), one.choice(spans)
        subject = one.choice((DAN, BOT, SHARED, BOTS, CAL))
        history = history.and_then(
            bound(subject, held.id, place, id_=f"b{number}", not_before=begins, expires_at=ends)
        )
        if number % 20 == 0:
            joined, (begins, ends) = one.choice((DAN, CAL, SHARED)), one.choice(spans)
            history = history.and_then(member(BOTS, joined, not_before=begins, expires_at=ends))
            found.append(Past(history.state, NOW))
    return [*found, Past(history.and_then(UserDisabled(id=DAN)).state, NOW)]


class Asked(NamedTuple):
    """A question at a moment; of its parts a search leaves out the one that it looks for."""

    past: Past
    now: float
    subject: SubjectId
    question: Question


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    """Draw a question, mostly near something that a binding gives."""
    worlds = draw(st.sampled_from((pasts, crowded, crowded)))
    past = draw(st.sampled_from(worlds(draw(st.integers(0, 3)))))
    state = past.state
    one: Callable[[Sequence[Any]], Any] = lambda choices: draw(st.sampled_from(choices))  # noqa: E731 - a word for what is drawn
    tenant = one([*sorted(state.tenants), "nowhere"])
    subject = one(sorted({*state.users, *state.service_accounts, *state.groups, "nobody"}))
    type_, action = one(TYPES), one(ACTIONS)
    namespace, thing = one(("", *NAMESPACES, "prod.billing.eu")), one(("", *WORDS[:3]))
    if state.bindings and one((True, True, False)):
        binding = state.bindings[one(sorted(state.bindings))]
        tenant, namespace = binding.tenant, binding.scope.namespace or namespace
        subject = one([binding.subject, *members_of(state, binding.subject)])
        listed, verb = one([*granted(state.roles[binding.role].permissions)] or [(ANY, ANY)])
        type_ = type_ if listed == ANY else listed
        action = action if verb == ANY else verb
    clock = one((-300_000, -1, 0, 0, 0, 40, 5_000, 300_000))
    question = Question(
        TenantId(tenant),
        type_,
        action,
        ancestors(namespace) if namespace else (),
        (type_, thing) if thing else None,
    )
    return Asked(past, past.now + clock, UserId(subject), question)


def members_of(state: State, group: str) -> list[str]:
    """Answer the members of a group; none of a principal."""
    return sorted(state.members.get(GroupId(group), ()))


def evaluated(one: Asked, subject: str, question: Question) -> bool:
    """Answer one evaluation by the oracle's reading."""
    namespace = question.namespaces[0] if question.namespaces else ""
    resource = "/".join(question.resource) if question.resource else ""
    told = (question.type, question.action, namespace, resource)
    return oracle.allowed(one.past.model, question.tenant, subject, told, one.now)


SEARCH = settings(max_examples=300, database=None, phases=[Phase.explicit, Phase.generate])


@SEARCH
@given(asked(), st.sampled_from(KINDS))
def subjects_are_those_evaluated(one: Asked, kind: str) -> None:
    """Hold a subject search against the evaluations of everybody of the type."""
    everybody = candidates.subjects(one.past.state, kind)

    found = searches.subjects(one.past.state, one.question, one.now, everybody.__contains__)

    assert found == sorted(who for who in everybody if evaluated(one, who, one.question))


@SEARCH
@given(asked())
def resources_are_those_evaluated(one: Asked) -> None:
    """Hold a resource search against the evaluations of everything that may be found."""
    state, question = one.past.state, one.question
    everything = candidates.resources(state, question.tenant, question.type, one.now)

    found = searches.resources(state, one.subject, question, one.now)

    assert found == sorted(
        id_
        for id_ in everything
        if evaluated(one, one.subject, question._replace(resource=(question.type, id_)))
    )


@SEARCH
@given(asked())
def actions_are_those_evaluated(one: Asked) -> None:
    """Hold an action search against the evaluations of every action that may be found."""
    state, question = one.past.state, one.question
    every = candidates.actions(state, question.tenant, question.type)

    found = searches.actions(state, one.subject, question, one.now)

    assert found == sorted(
        action for action in every if evaluated(one, one.subject, question._replace(action=action))
    )


PROPERTIES = (
    subjects_are_those_evaluated,
    resources_are_those_evaluated,
    actions_are_those_evaluated,
)


@pytest.mark.parametrize("holds", PROPERTIES)
def test_a_search_finds_what_evaluations_allow_and_no_more(holds: Callable[[], None]) -> None:
    """On random installations, at their present and their past, in order (authzen 5 and 10)."""
    holds()


def always(*_: Any) -> bool:  # noqa: ANN401 - it looks at nothing
    """Say yes."""
    return True


def never(*_: Any) -> bool:  # noqa: ANN401 - it looks at nothing
    """Say no."""
    return False


@pytest.mark.parametrize(
    ("holds", "part", "broken"),
    [
        (subjects_are_those_evaluated, "allows", always),
        (subjects_are_those_evaluated, "allows", never),
        (resources_are_those_evaluated, "evaluate", always),
        (resources_are_those_evaluated, "evaluate", never),
        (resources_are_those_evaluated, "is_active", always),
        (actions_are_those_evaluated, "evaluate", always),
        (actions_are_those_evaluated, "evaluate", never),
    ],
)
def test_a_search_that_judges_otherwise_is_caught(
    holds: Callable[[], None],
    part: str,
    broken: Callable[..., bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Positive control: one that says yes or no to all, or lists what is over, differs."""
    monkeypatch.setattr(access, part, broken)

    with pytest.raises(AssertionError):
        holds()


# Who, on what, and what else


def ask(
    type_: str, action: str = "", namespace: str = "", resource: tuple[str, str] | None = None
) -> Question:
    """Answer a question in `main`."""
    return Question(MAIN, type_, action, ancestors(namespace) if namespace else (), resource)


def who(question: Question, *more: Event) -> list[SubjectId]:
    """Answer everyone who may, after more events."""
    return searches.subjects(WORLD.and_then(*more).state, question, NOW, always)


def what(question: Question, subject: SubjectId, *more: Event) -> list[str]:
    """Answer on what a subject may, after more events."""
    return searches.resources(WORLD.and_then(*more).state, subject, question, NOW)


def verbs(question: Question, subject: SubjectId, *more: Event) -> list[str]:
    """Answer what a subject may do, after more events."""
    return searches.actions(WORLD.and_then(*more).state, subject, question, NOW)


def test_members_are_found_through_their_group() -> None:
    """The group itself too, and each of them once (authzen 5)."""
    question = ask("FLOW", "EXECUTE", resource=("record", "r-17"))

    assert {ADA, BOTS, BOT} == {*who(question, bound(BOTS, OPERATOR, RECORD), bound(BOT, OPERATOR))}
    assert 3 == len(who(question, bound(BOTS, OPERATOR, RECORD), bound(BOT, OPERATOR)))
    assert [BOTS] == searches.subjects(
        WORLD.and_then(bound(BOTS, OPERATOR)).state, question, NOW, {BOTS, CAL}.__contains__
    )


def test_who_lost_access_is_not_found() -> None:
    """Nor is anybody in a tenant that is gone, or that never was (security 2.1)."""
    question = ask("FLOW", "VIEW")

    assert [ADA] == who(question)
    assert [] == who(question, TenantDeleted(tenant=MAIN))
    assert [] == who(question._replace(tenant=TenantId("nowhere")))


def test_resources_are_those_that_valid_bindings_of_the_tenant_name() -> None:
    """Not what is over or still to come, not another tenant's, not another type's (authzen 5)."""

    def on(id_: str, type_: str = "record") -> Scope:
        return Scope(resource=Resource(type_, id_))

    bindings = (
        bound(BOT, OPERATOR, on("now"), not_before=PAST, expires_at=SOON),
        bound(BOT, OPERATOR, on("over"), id_="over", not_before=PAST, expires_at=START),
        bound(BOT, OPERATOR, on("later"), id_="later", not_before=SOON, expires_at=LATER),
        bound(BOT, OPERATOR, on("other", "document"), id_="document"),
        bound(BOT, OPERATOR, on("*"), id_="any"),
        bound(BOT, OPERATOR, Scope(namespace="prod"), id_="namespace"),
        bound(EVE, RoleId("rol_beta"), on("beta"), tenant=BETA),
    )

    assert ["now"] == what(ask("record", "read"), ADA, *bindings)
    assert ["other"] == what(ask("document", "read"), ADA, *bindings)
    assert [] == what(ask("record", "read"), DAN, *bindings)


def test_who_holds_little_is_told_only_of_that() -> None:
    """A binding on one resource finds that one, whatever others name (authzen 5)."""
    reader = role(RoleId("rol_reader"), from_lists({"record": ["read"]}))
    named = (
        reader,
        bound(BOT, reader.id, RECORD),
        bound(BOT, reader.id, Scope(resource=Resource("*", "r-19")), id_="any_type"),
        bound(BOT, reader.id, Scope(resource=Resource("record", "*")), id_="any_id"),
        bound(SHARED, reader.id, Scope(resource=Resource("record", "r-18"))),
        bound(BOT, OPERATOR, Scope(resource=Resource("record", "r-20")), id_="without_it"),
    )

    assert ["r-17"] == what(ask("record", "read"), BOT, *named)
    assert ["r-17", "r-18", "r-20"] == what(ask("record", "read"), ADA, *named)
    assert [] == what(ask("record", "write"), BOT, *named)


def test_the_namespace_of_a_search_counts_for_each_candidate() -> None:
    """Below a bound namespace everything named may be touched, beside it nothing (authzen 5)."""
    named = (
        role(RoleId("rol_reader"), from_lists({"record": ["read"]})),
        bound(BOT, RoleId("rol_reader"), Scope(namespace="prod")),
        bound(SHARED, OPERATOR, RECORD),
    )

    assert ["r-17"] == what(ask("record", "read", "prod.billing"), BOT, *named)
    assert [] == what(ask("record", "read", "production"), BOT, *named)


def test_muniments_own_objects_are_resources_too() -> None:
    """Those of the tenant: users, groups, roles, bindings, service accounts (authzen 5)."""
    found = {
        type_: what(ask(type_, "VIEW"), ADA)
        for type_ in ("USER", "GROUP", "SERVICE_ACCOUNT", "ROLE", "BINDING", "TENANT")
    }

    state = WORLD.state
    assert found == {
        "USER": sorted([ADA, CAL, DAN]),
        "GROUP": [BOTS],
        "SERVICE_ACCOUNT": sorted([BOT, SHARED]),
        "ROLE": sorted(row.id for row in state.roles.values() if row.tenant == MAIN),
        "BINDING": sorted(row.id for row in state.bindings.values() if row.tenant == MAIN),
        "TENANT": [],
    }
    assert managed(MAIN, "Admin") in found["ROLE"]


def test_actions_are_those_that_roles_mention_and_the_catalogue() -> None:
    """For the type or for any; `*` is none, and what a deleted role named is none (authzen 5)."""
    kept = role(RoleId("rol_kept"), from_lists({"record": ["read", "*"], "*": ["approve"]}))
    gone = role(RoleId("rol_gone"), from_lists({"record": ["forget"]}))
    beta = role(RoleId("rol_other"), from_lists({"record": ["elsewhere"]}), BETA)
    more = (kept, gone, beta, RoleDeleted(tenant=MAIN, id=gone.id))

    assert ["approve", "read"] == verbs(ask("record"), ADA, *more)
    assert ["approve", "USE"] == sorted(verbs(ask("COPILOT"), ADA, *more), key=str.lower)
    assert ["USE", "approve"] == verbs(ask("COPILOT"), ADA, *more)
    assert [] == verbs(ask("record"), DAN, *more)


def test_actions_are_judged_at_their_place() -> None:
    """A binding on one resource gives its actions there alone; READ stands for three (5.3)."""
    more = (bound(BOT, OPERATOR, RECORD), member(BOTS, CAL), bound(BOTS, OPERATOR))

    assert ["EXECUTE", "VIEW"] == verbs(ask("FLOW", resource=("record", "r-17")), BOT, *more[:1])
    assert [] == verbs(ask("FLOW", resource=("record", "r-18")), BOT, *more[:1])
    assert ["LIST", "READ", "VIEW"] == verbs(ask("EXECUTION"), CAL, *more)


@pytest.mark.parametrize("search", [searches.resources, searches.actions])
def test_who_may_not_act_finds_nothing(
    search: Callable[[State, SubjectId, Question, float], list[str]],
) -> None:
    """An unknown subject, one of another tenant, a tenant that is not there (security 2.1)."""
    question = ask("FLOW", "VIEW")

    assert [] == search(WORLD.state, UserId("nobody"), question, NOW)
    assert [] == search(WORLD.state, EVE, question, NOW)
    assert [] == search(WORLD.state, ADA, question._replace(tenant=TenantId("nowhere")), NOW)
