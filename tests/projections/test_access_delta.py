"""Is what events gave and took exactly what checks answer differently?"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import groupby
from math import inf
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from msgspec import UNSET, structs

from domain.access import Question, allows
from domain.events import TOPICS, decode
from domain.ids import MAIN, BindingId, GroupId, RoleId, ServiceAccountId
from domain.permissions import TypeActions
from domain.principals import (
    BindingCreated,
    BindingDeleted,
    InstanceOwnerGranted,
    InstanceOwnerRevoked,
    MemberRemoved,
    TenantAccessEnded,
)
from domain.roles import RolePermissionsSet
from domain.scopes import Resource, Scope, ancestors
from domain.service_accounts import (
    ServiceAccountDisabled,
    ServiceAccountEnabled,
    ServiceAccountRenamed,
)
from domain.state import State, evolve
from domain.tenants import TenantDeleted
from projections.access_delta import TOUCHING, Delta, Right, delta
from tests.domain.test_explaining_histories import drawn
from tests.domain.world import account, bound, group, member, opened, role
from tests.histories import Histories
from tests.oracle import allowed
from tests.spec import facts

if TYPE_CHECKING:
    from domain.events import Event, Fact
    from domain.ids import SubjectId
    from domain.scopes import ScopeKey
    from tests.oracle import Model

COMMANDS: Final = 120
QUESTIONS: Final = 6
SUMS: Final = 200
SUMMED_QUESTIONS: Final = 40

Compare = Callable[["State", "State", "tuple[Event, ...]", float], Delta]


def faults(seed: int, compare: Compare = delta) -> Iterator[str]:
    """Yield what is wrong with the deltas of one random history; nothing, if all is well."""
    history = Histories(seed)
    chance = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    for _ in range(COMMANDS):
        before, begun = history.state, len(history.records)
        history.run(1)
        after = history.state
        events = tuple(decode(record).envelope.event for record in history.records[begun:])
        now = after.at.timestamp()
        found = compare(before, after, events, now)
        yield from faults_of_rights(found.gained, before, after, now)
        yield from faults_of_rights(found.lost, after, before, now)
        for state in (before, after):
            if not (state.service_accounts or state.users or state.groups):
                continue
            for _ in range(QUESTIONS):
                yield from faults_of_answer(found, drawn(state, chance), (before, after), now)
        if (set(after.owners) - set(before.owners)) != {*found.owners_gained}:
            yield "an owner who was not named"


def faults_of_rights(
    rights: tuple[Right, ...], without: State, having: State, now: float
) -> Iterator[str]:
    """Ask for each right itself: one state says no, the other says yes."""
    for right in rights:
        asked = right.principal, question_of(right), now
        if allows(without, *asked) or not allows(having, *asked):
            yield f"{right} is no difference"


def faults_of_answer(
    found: Delta, asked: tuple[SubjectId, Question], states: tuple[State, State], now: float
) -> Iterator[str]:
    """Wherever the two states answer differently, a right is named that says so."""
    subject, question = asked
    before, after = (allows(state, subject, question, now) for state in states)
    if subject in states[1].groups or subject in states[0].groups or before == after:
        return
    rights = found.gained if after else found.lost
    if not any(covers(right, subject, question) for right in rights):
        yield f"{subject} {question} changed to {after}, and nothing tells of it"


def question_of(right: Right) -> Question:
    """Return the question whose place is the right's own."""
    namespaces, resource = places_of(right.place)
    return Question(right.tenant, right.type, right.action, namespaces, resource)


def places_of(place: ScopeKey) -> tuple[tuple[str, ...], tuple[str, str] | None]:
    """Return the namespaces and the resource that a question at a place names."""
    if isinstance(place, tuple):
        return (), place
    return (ancestors(place) if place else ()), None


def covers(right: Right, subject: SubjectId, question: Question) -> bool:
    """Tell whether a right gives the answer to a question."""
    return (
        right.principal == subject
        and right.tenant == question.tenant
        and right.type in ("*", question.type)
        and right.action in ("*", question.action)
        and (right.place in ("", question.resource, *question.namespaces))
    )


@settings(max_examples=25, deadline=None)
@for_all(seed=st.integers(0, 2**32))
def test_what_was_gained_and_lost_is_what_checks_answer_differently(seed: int) -> None:
    """Issue 5: each right is denied before and allowed after, and no other answer changes."""
    assert [] == [*faults(seed)]


def summed(seed: int, compare: Compare = delta) -> tuple[set[Right], Histories]:
    """Add up the deltas of a random history, by the clock of its end; answer what is held."""
    history = Histories(seed)
    history.run(COMMANDS)
    now = history.inputs.now().timestamp()
    held: set[Right] = set()
    state = State()
    for command in commands_of(history):
        before, state = state, evolve(state, command)
        events = tuple(fact.envelope.event for fact in command)
        found = compare(before, state, events, now)
        held = {
            right
            for right in held
            if not any(covers(lost, right.principal, question_of(right)) for lost in found.lost)
        }
        held |= {*found.remaining, *found.gained}
    return held, history


def commands_of(history: Histories) -> list[list[Fact]]:
    """Answer the facts of a history, command by command."""
    facts_ = map(decode, history.records)
    return [[*facts] for _, facts in groupby(facts_, key=lambda one: one.envelope.command_id)]


def faults_of_sum(seed: int, compare: Compare = delta) -> Iterator[str]:
    """Yield where the sum says something else than a computation from the events alone."""
    held, history = summed(seed, compare)
    state, now = history.state, history.inputs.now().timestamp()
    model = model_of(state)
    chance = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    asked: list[tuple[SubjectId, Question]] = [
        (right.principal, question_of(right)) for right in sorted(held, key=str)
    ]
    if state.service_accounts or state.users or state.groups:
        asked += [drawn(state, chance) for _ in range(SUMMED_QUESTIONS)]
    for subject, question in asked:
        if subject in state.groups:
            continue
        told = any(covers(right, subject, question) for right in held)
        if told is not in_model(model, subject, question, now):
            yield f"{subject} {question}: the sum says {told}"


def model_of(state: State) -> Model:
    """Answer the state as the plain model has it."""

    def span(one: Any) -> dict[str, float]:  # noqa: ANN401 - a binding or a membership
        begins = -inf if one.not_before is UNSET else one.not_before.timestamp()
        return {
            "begins": begins,
            "ends": inf if one.expires_at is UNSET else one.expires_at.timestamp(),
        }

    def place(scope: Scope) -> str:
        if scope.resource is not UNSET:
            return f"{scope.resource.type}/{scope.resource.id}"
        return scope.namespace or ""

    return {
        "tenants": {one.id for one in state.tenants.values() if not one.deleted},
        "groups": {*state.groups},
        "enabled": {
            one.id: one.enabled for one in (*state.users.values(), *state.service_accounts.values())
        },
        "access": {(one, tenant) for one, held in state.access.items() for tenant in held},
        "members": [
            {"group": one.group, "principal": one.principal, **span(one)}
            for members in state.members.values()
            for one in members.values()
        ],
        "roles": {
            one.id: [(entry.type, action) for entry in one.permissions for action in entry.actions]
            for one in state.roles.values()
        },
        "bindings": [
            {
                "tenant": one.tenant,
                "subject": one.subject,
                "role": one.role,
                "place": place(one.scope),
                **span(one),
            }
            for one in state.bindings.values()
        ],
    }


def in_model(model: Model, subject: SubjectId, question: Question, now: float) -> bool:
    """Ask the plain model."""
    namespace = question.namespaces[0] if question.namespaces else ""
    resource = "/".join(question.resource) if question.resource else ""
    asked = question.type, question.action, namespace, resource
    return allowed(model, question.tenant, subject, asked, now)


def test_deltas_add_up_to_what_is_computed_from_scratch() -> None:
    """Issue 5: the sum of the deltas of every command, on 200 random histories."""
    assert [] == [fault for seed in range(SUMS) for fault in faults_of_sum(seed)]


def forgets_what_remains(
    before: State, after: State, events: tuple[Event, ...], now: float
) -> Delta:
    """Broken: whatever lay below a right that is lost is lost with it."""
    return structs.replace(delta(before, after, events, now), remaining=())


def forgets_roles(before: State, after: State, events: tuple[Event, ...], now: float) -> Delta:
    """Broken: an edit of a role touches nobody."""
    kept = tuple(event for event in events if not event.topic.startswith("role."))
    return delta(before, after, kept, now)


def forgets_members(before: State, after: State, events: tuple[Event, ...], now: float) -> Delta:
    """Broken: what a group is given touches its members no more than anybody."""
    kept = tuple(
        event
        for event in events
        if not isinstance(event, BindingCreated) or event.subject not in after.groups
    )
    return delta(before, after, kept, now)


def names_what_was_had(before: State, after: State, events: tuple[Event, ...], now: float) -> Delta:
    """Broken: whoever is touched gained all that is held."""
    found = delta(State(), after, events, now)
    return structs.replace(found, lost=delta(before, after, events, now).lost)


@pytest.mark.parametrize("broken", [forgets_roles, forgets_members, forgets_what_remains])
def test_a_sum_that_is_wrong_is_noticed(broken: Compare) -> None:
    """Control of the sums."""
    assert any(True for seed in range(SUMS) for _ in faults_of_sum(seed, broken))


@pytest.mark.parametrize("broken", [forgets_roles, forgets_members, names_what_was_had])
def test_a_delta_that_misses_or_invents_is_noticed(broken: Compare) -> None:
    """Control of the property above."""
    assert any(True for seed in range(40) for _ in faults(seed, broken))


# By example

BOT, READER = ServiceAccountId("sa_bot"), RoleId("rol_reader")
BOTS = GroupId("grp_bots")
VIEW, EXECUTE = TypeActions("FLOW", ("VIEW",)), TypeActions("FLOW", ("EXECUTE",))
PROD = Scope(namespace="prod")


def state_of(*events: Event, before: State | None = None) -> State:
    """Return the state that these events make of another, by default of a tenant with a bot."""
    if before is None:
        beginning = (*opened(MAIN, "Main"), *account(BOT, MAIN), role(READER, (VIEW,)))
        before = evolve(State(), facts(State(), beginning))
    return evolve(before, facts(before, events))


def of(before: State, *events: Event) -> Delta:
    """Return what these events give and take."""
    after = state_of(*events, before=before)
    return delta(before, after, events, after.at.timestamp())


def right(place: ScopeKey = "", action: str = "VIEW") -> Right:
    """Return a right of the bot."""
    return Right(MAIN, BOT, place, "FLOW", action)


def test_only_what_was_not_covered_is_gained() -> None:
    """What is held above is not gained below, nor lost when the lower binding ends."""
    before = state_of(bound(BOT, READER, PROD))
    below = bound(BOT, READER, Scope(namespace="prod.billing"), id_="below")

    assert of(before, below).is_empty
    assert of(state_of(below, before=before), BindingDeleted(tenant=MAIN, id=below.id)).is_empty
    assert of(before, bound(BOT, READER, id_="all")) == Delta(gained=(right(),))


def test_a_group_gives_and_takes_for_its_members() -> None:
    """Membership and the group's binding are the two halves of a right; either one decides."""
    joined, given = (group(BOTS, "Bots"), member(BOTS, BOT)), bound(BOTS, READER, PROD)
    left = MemberRemoved(tenant=MAIN, group=BOTS, principal=BOT)

    assert of(state_of(*joined), given) == Delta(gained=(right("prod"),))
    assert of(state_of(*joined, given), left) == Delta(lost=(right("prod"),))


def test_an_edited_role_gives_and_takes_at_every_place_of_its_bindings() -> None:
    """One edit, through every binding of the role, also of one resource."""
    there = Scope(resource=Resource("FLOW", "nightly"))
    before = state_of(bound(BOT, READER, PROD), bound(BOT, READER, there, id_="one"))
    edited = RolePermissionsSet(tenant=MAIN, id=READER, permissions=(EXECUTE,))

    assert of(before, edited) == Delta(
        gained=(right(("FLOW", "nightly"), "EXECUTE"), right("prod", "EXECUTE")),
        lost=(right(("FLOW", "nightly")), right("prod")),
    )


def test_a_wildcard_covers_what_it_stands_for() -> None:
    """From all actions to one, the wildcard is lost and the one remains; back, it is gained."""
    before = state_of(bound(BOT, READER))
    everything = RolePermissionsSet(
        tenant=MAIN, id=READER, permissions=(TypeActions("FLOW", ("*",)),)
    )
    back = RolePermissionsSet(tenant=MAIN, id=READER, permissions=(VIEW,))

    assert of(before, everything) == Delta(gained=(right(action="*"),))
    found = of(state_of(everything, before=before), back)
    assert found == Delta(lost=(right(action="*"),), remaining=(right(),))


def test_who_is_disabled_or_leaves_loses_everything() -> None:
    """Disabling, the end of access, and the tenant's end each take all rights there."""
    before = state_of(bound(BOT, READER))
    for event in (
        ServiceAccountDisabled(id=BOT),
        TenantAccessEnded(tenant=MAIN, principal=BOT),
        TenantDeleted(tenant=MAIN),
    ):
        assert of(before, event) == Delta(lost=(right(),))
    disabled = state_of(ServiceAccountDisabled(id=BOT), before=before)
    assert of(disabled, ServiceAccountEnabled(id=BOT)) == Delta(gained=(right(),))


def test_the_privilege_of_an_instance_owner_is_told_by_itself() -> None:
    """It is no right in a tenant."""
    before = state_of(InstanceOwnerGranted(principal=BOT))

    assert of(state_of(), InstanceOwnerGranted(principal=BOT)) == Delta(owners_gained=(BOT,))
    assert of(before, InstanceOwnerRevoked(principal=BOT)) == Delta(owners_lost=(BOT,))


def test_what_nobody_holds_gives_nobody_anything() -> None:
    """Names, tokens, and roles that nobody has change no answer."""
    before = state_of()
    for event in (
        role(RoleId("rol_other"), (EXECUTE,)),
        RolePermissionsSet(tenant=MAIN, id=READER, permissions=(EXECUTE,)),
        BindingDeleted(tenant=MAIN, id=BindingId("gone")),
        ServiceAccountRenamed(id=BOT, name="other"),
    ):
        assert of(before, event).is_empty


# Names, descriptions, secrets, and what becomes of nobody by itself: a new role has no binding.
UNTOUCHING = """
    alias.removed alias.set group.created group.described group.renamed
    instance_owner.granted instance_owner.revoked log.opened
    role.created role.default_ended role.described role.made_default role.managed_created
    role.renamed service_account.created service_account.described service_account.renamed
    sink.created sink.deleted sink.paused sink.replayed sink.resumed
    tenant.created tenant.renamed
    token.disabled token.enabled token.extended token.issued token.revoked token.rotated
    user.created user.email_changed user.erased user.password_rehashed user.password_removed
    user.password_set user.renamed user.restricted user.sessions_ended user.unrestricted
""".split()


def test_it_is_known_of_every_event_whether_it_touches_rights() -> None:
    """A new event is placed here or in the table; the property above finds one misplaced."""
    untouching = {f"{name}.v1" for name in UNTOUCHING}

    assert TOUCHING | untouching == set(TOPICS.values())
    assert not TOUCHING & untouching
