"""Is an explanation the story of the decision, in random histories?

Taking away the events of any one step of each path flips an allow; adding the events of any
proposed grant flips a deny; and so does mending the one thing that a near miss lacks (issue 3).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from msgspec import UNSET, structs

from domain import access, explaining
from domain.access import Question, allows
from domain.events import decode
from domain.explaining import Explanation, all_held
from domain.permissions import ANY, TypeActions, granted
from domain.principals import BindingCreated
from domain.roles import RoleCreated, RolePermissionsSet
from domain.scopes import Scope
from domain.state import State, evolve
from domain.tenants import ManagedRoleCreated
from tests.domain.test_access import above
from tests.histories import NAMESPACES, WORDS, Histories
from tests.spec import facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from domain.events import Fact
    from domain.explaining import NearMiss
    from domain.ids import SubjectId
    from domain.principals import Binding, Membership

    Explain = Callable[[State, SubjectId, Question, float], Explanation]

COMMANDS: Final = 350
QUESTIONS: Final = 40


def faults(seed: int, explain: Explain = explaining.explain) -> Iterator[str]:
    """Yield what is wrong with explanations in one random history; nothing, if all is well."""
    history = Histories(seed)
    history.run(COMMANDS)
    state, now = history.state, history.inputs.now().timestamp()
    recorded = [decode(record) for record in history.records]
    chance = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    for _ in range(QUESTIONS):
        subject, question = drawn(state, chance)
        found = explain(state, subject, question, now)
        if (found.code == "allowed") is not allows(state, subject, question, now):
            yield f"{found.code} is not the decision"
        if found.paths:
            yield from faults_of_paths(found, recorded, (subject, question, now), chance)
        elif found.code == "allowed":
            yield "an allow without a path"
        yield from faults_of_grants(found, state, (subject, question, now))
        if found.code.startswith(("binding.", "permission.")):
            yield from faults_of_misses(found, state, (subject, question, now))


Asked = tuple["SubjectId", Question, float]


def drawn(state: State, chance: random.Random) -> tuple[SubjectId, Question]:
    """Draw a subject and a question, most of them near something that the subject holds."""
    everyone: list[SubjectId] = [*state.service_accounts, *state.users, *state.groups]
    subject = chance.choice(sorted(everyone))
    tenant = chance.choice(sorted(state.tenants))
    type_, action = chance.choice(("FLOW", "record")), chance.choice(("VIEW", "LIST", "write"))
    namespace = chance.choice(("", *NAMESPACES))
    resource = chance.choice((None, ("record", chance.choice(WORDS))))
    held = sorted(all_held(state, tenant, subject), key=lambda one: one.binding.id)
    if held and chance.random() < 0.8:
        binding = chance.choice(held).binding
        listed = sorted(granted(state.roles[binding.role].permissions))
        if listed and chance.random() < 0.7:
            type_, action = (
                other if word == ANY else word
                for word, other in zip(chance.choice(listed), (type_, action), strict=True)
            )
        namespace = binding.scope.namespace or namespace
        if binding.scope.resource is not UNSET:
            resource = (binding.scope.resource.type, binding.scope.resource.id)
    return subject, Question(tenant, type_, action, above(namespace), resource)


def faults_of_paths(
    found: Explanation, recorded: list[Fact], asked: Asked, chance: random.Random
) -> Iterator[str]:
    """Take one step's events away from each path, for each kind of step: the answer is no."""
    for number in range(5):
        removed: set[int] = set()
        for path in found.paths:
            steps = [*path.steps]
            step = steps[number] if number < len(steps) else chance.choice(steps)
            removed.update(path.steps[step])
        if allows(evolve(State(), without(recorded, removed)), *asked):
            yield f"still allowed without {sorted(removed)}"


def without(recorded: list[Fact], removed: set[int]) -> list[Fact]:
    """Answer a history in which these events, and bindings of roles never made, never were."""
    kept: list[Fact] = []
    never_made: set[str] = set()
    for fact in recorded:
        event = fact.envelope.event
        if fact.position in removed:
            if isinstance(event, RoleCreated | ManagedRoleCreated):
                never_made.add(event.id)
        elif not isinstance(event, BindingCreated) or event.role not in never_made:
            kept.append(fact)
    return kept


def faults_of_grants(found: Explanation, state: State, asked: Asked) -> Iterator[str]:
    """Add each proposed grant: the answer is yes."""
    for grant in found.grants:
        if not allows(evolve(state, facts(state, grant, state.at)), *asked):
            yield f"still denied after {grant}"


def faults_of_misses(found: Explanation, state: State, asked: Asked) -> Iterator[str]:
    """Mend what each near miss lacks: the answer is yes."""
    for miss in found.near:
        if not mended(miss, state, asked):
            yield f"{miss} is not near"


def mended(miss: NearMiss, state: State, asked: Asked) -> bool:
    """Tell whether the answer is yes at another time, elsewhere, or with a larger role."""
    subject, question, now = asked
    binding, via = miss.held
    match miss.lacks:
        case "time":
            spans: list[Binding | Membership] = [binding, *([] if via is None else [via])]
            begins = [one.not_before.timestamp() for one in spans if one.not_before is not UNSET]
            ends = [one.expires_at.timestamp() for one in spans if one.expires_at is not UNSET]
            when = max(begins, default=min(ends, default=now) - 1)
            # Spans that never meet are mended by no time at all.
            return when >= min(ends, default=when + 1) or allows(state, subject, question, when)
        case "scope":
            namespaces, resource = access.places(binding.scope)
            there = question._replace(namespaces=namespaces, resource=resource)
            return allows(state, subject, there, now)
        case "permission":
            role = state.roles[binding.role]
            more = TypeActions(question.type, (question.action,))
            larger = RolePermissionsSet(
                tenant=role.tenant, id=role.id, permissions=(*role.permissions, more)
            )
            after = evolve(state, facts(state, (larger,), state.at))
            return allows(after, subject, question, now)


@settings(max_examples=30, deadline=None)
@for_all(seed=st.integers(0, 2**32))
def test_explanations_are_the_story_of_the_decision(seed: int) -> None:
    """Issue 3: removing the named events flips an allow, adding a proposed grant flips a deny."""
    assert [] == [*faults(seed)]


def forgets_a_path(state: State, subject: SubjectId, question: Question, now: float) -> Explanation:
    """Broken: names all ways but the last."""
    found = explaining.explain(state, subject, question, now)
    return structs.replace(found, paths=found.paths[:-1] if len(found.paths) > 1 else found.paths)


def names_another_event(
    state: State, subject: SubjectId, question: Question, now: float
) -> Explanation:
    """Broken: each step is the event before."""
    found = explaining.explain(state, subject, question, now)
    paths = tuple(
        path._replace(steps={step: (at[0] - 1,) for step, at in path.steps.items()})
        for path in found.paths
    )
    return structs.replace(found, paths=paths)


def proposes_too_little(
    state: State, subject: SubjectId, question: Question, now: float
) -> Explanation:
    """Broken: the binding it proposes is elsewhere."""
    found = explaining.explain(state, subject, question, now)
    elsewhere = Scope(namespace="elsewhere")
    grants = tuple(
        tuple(
            structs.replace(event, scope=elsewhere) if isinstance(event, BindingCreated) else event
            for event in grant
        )
        for grant in found.grants
    )
    return structs.replace(found, grants=grants)


def calls_everything_near(
    state: State, subject: SubjectId, question: Question, now: float
) -> Explanation:
    """Broken: whatever is held lacks nothing but its scope."""
    found = explaining.explain(state, subject, question, now)
    near = tuple(
        explaining.NearMiss(one, "scope") for one in all_held(state, question.tenant, subject)
    )
    return structs.replace(found, near=near)


@pytest.mark.parametrize(
    "broken",
    [forgets_a_path, names_another_event, proposes_too_little, calls_everything_near],
)
def test_an_explanation_that_tells_another_story_is_caught(broken: Explain) -> None:
    """The control: each is found out within a few histories."""
    assert any(fault for seed in range(60) for fault in faults(seed, broken))


def test_the_histories_have_what_is_to_be_explained() -> None:
    """The other control: all kinds of answers come up, several paths and all lacks among them."""
    codes: set[str] = set()
    lacks: set[str] = set()
    most_paths = 0
    for seed in range(50):
        history = Histories(seed)
        history.run(COMMANDS)
        chance = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
        for _ in range(QUESTIONS):
            asked = drawn(history.state, chance)
            found = explaining.explain(history.state, *asked, history.inputs.now().timestamp())
            codes.add(found.code)
            lacks.update(miss.lacks for miss in found.near)
            most_paths = max(most_paths, len(found.paths))

    assert {"time", "scope", "permission"} == lacks
    assert most_paths > 1
    assert codes >= {
        "allowed",
        "subject.disabled",
        "tenant.no_access",
        "binding.none_in_scope",
        "permission.not_granted",
    }
