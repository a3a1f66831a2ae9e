"""Does a comparison of two moments tell every difference between them, and nothing else?"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from msgspec import structs

from domain.access import allows
from domain.ids import MAIN, BindingId, GroupId, RoleId, ServiceAccountId, TenantId
from domain.permissions import TypeActions
from domain.principals import (
    BindingDeleted,
    InstanceOwnerGranted,
    InstanceOwnerRevoked,
    MemberRemoved,
    TenantAccessEnded,
)
from domain.roles import RoleDescribed, RoleMadeDefault, RolePermissionsSet
from domain.scopes import Resource, Scope
from domain.service_accounts import ServiceAccountDisabled, ServiceAccountRenamed
from domain.state import State, evolve
from domain.tenants import TenantDeleted
from projections import audit_shapes as shapes
from projections.access_delta import Delta, Right
from projections.comparing import Comparison, Moment, Narrowed, compare
from tests.domain.test_explaining_histories import drawn
from tests.domain.world import account, bound, group, member, opened, role
from tests.fixed_inputs import START
from tests.histories import Histories
from tests.projections.test_access_delta import covers, question_of
from tests.spec import facts

if TYPE_CHECKING:
    from domain.events import Event

QUESTIONS: Final = 40

Comparing = Callable[[Moment, Moment, Narrowed], Comparison]


def faults(seed: int, comparing: Comparing = compare) -> Iterator[str]:
    """Yield what is wrong with the comparisons of one random history; nothing, if all is well."""
    history = Histories(seed)
    chance = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    history.run(chance.randrange(150))
    before = Moment(history.state, history.inputs.now().timestamp())
    history.inputs.advance(chance.choice((0, 100_000)))
    history.run(chance.randrange(150))
    after = Moment(history.state, history.inputs.now().timestamp())
    for tenant in {*before.state.tenants, *after.state.tenants}:
        found = comparing(before, after, Narrowed(tenant=tenant))
        yield from faults_of_objects(found, before.state, after.state, tenant)
        yield from faults_of_rights(found.access.gained, before, after)
        yield from faults_of_rights(found.access.lost, after, before)
        for moment in (before, after):
            state = moment.state
            if not (state.service_accounts or state.users or state.groups):
                continue
            for _ in range(QUESTIONS):
                asked = drawn(state, chance)
                if asked[1].tenant == tenant:
                    yield from faults_of_answer(found.access, asked, before, after)


def faults_of_objects(
    found: Comparison, before: State, after: State, tenant: TenantId
) -> Iterator[str]:
    """Compare every object of the tenant by its shape, without asking whether it is the same."""
    expected = {
        key: (was, is_)
        for key in {*every(before, tenant), *every(after, tenant)}
        if (was := every(before, tenant).get(key)) != (is_ := every(after, tenant).get(key))
    }
    told: dict[tuple[str, str], Any] = {
        (one.kind, one.id): (one.before, one.after) for one in found.differences
    }
    # Whoever lost its access is told with what it is now, which only the state knows.
    for key in {*expected, *told}:
        if key[0] not in {"user", "service_account"} and expected.get(key) != told.get(key):
            yield f"{key}: {expected.get(key)} was told as {told.get(key)}"


def every(state: State, tenant: TenantId) -> dict[tuple[str, str], Any]:
    """Return the shape of every object of a tenant."""
    tables: Any = (
        ("group", state.groups, shapes.group),
        ("role", state.roles, shapes.role),
        ("binding", state.bindings, shapes.binding),
    )
    found = {
        (kind, key): shape(state, key)
        for kind, table, shape in tables
        for key, value in table.items()
        if value.tenant == tenant
    }
    memberships = (one for members in state.members.values() for one in members.values())
    for one in memberships:
        if one.tenant == tenant:
            shown = shapes.membership(state, one.group, one.principal)
            found["membership", f"{one.group}/{one.principal}"] = shown
    for subject, access in state.access.items():
        if tenant in access:
            found["tenant_access", subject] = shapes.tenant_access(state, tenant, subject)
    return found


def faults_of_rights(rights: tuple[Right, ...], without: Moment, having: Moment) -> Iterator[str]:
    """Ask for each right itself, each moment by its own clock."""
    for right in rights:
        asked = right.principal, question_of(right)
        if allows(without.state, *asked, without.now) or not allows(
            having.state, *asked, having.now
        ):
            yield f"{right} is no difference"


def faults_of_answer(
    found: Delta, asked: tuple[Any, Any], before: Moment, after: Moment
) -> Iterator[str]:
    """Wherever the two moments answer differently, a right is named that says so."""
    subject, question = asked
    was, is_ = (allows(state, subject, question, now) for state, now in (before, after))
    if subject in before.state.groups or subject in after.state.groups or was == is_:
        return
    rights = found.gained if is_ else found.lost
    if not any(covers(right, subject, question) for right in rights):
        yield f"{subject} {question} changed to {is_}, and nothing tells of it"


@settings(max_examples=25, deadline=None)
@for_all(seed=st.integers(0, 2**32))
def test_a_comparison_tells_every_difference(seed: int) -> None:
    """Issue 5: objects and effective access, added, removed and changed, also by the clock."""
    assert [] == [*faults(seed)]


def by_one_clock(before: Moment, after: Moment, narrowed: Narrowed) -> Comparison:
    """Broken: both moments are judged by the clock of the later one."""
    return compare(before._replace(now=after.now), after, narrowed)


def without_members(before: Moment, after: Moment, narrowed: Narrowed) -> Comparison:
    """Broken: memberships are no objects."""
    found = compare(before, after, narrowed)
    kept = tuple(one for one in found.differences if one.kind != "membership")
    return structs.replace(found, differences=kept)


@pytest.mark.parametrize("broken", [by_one_clock, without_members])
def test_a_comparison_that_misses_something_is_noticed(broken: Comparing) -> None:
    """Control of the property above."""
    assert any(True for seed in range(60) for _ in faults(seed, broken))


# By example

BOT, OTHER = ServiceAccountId("sa_bot"), ServiceAccountId("sa_other")
READER, BOTS = RoleId("rol_reader"), GroupId("grp_bots")
VIEW = TypeActions("FLOW", ("VIEW",))
PROD = Scope(namespace="prod")
BEGINNING: Final = (
    *opened(MAIN, "Main"),
    *account(BOT, MAIN),
    *account(OTHER, MAIN),
    role(READER, (VIEW,)),
    group(BOTS, "Bots"),
)


def moment(*events: Event, after: State | None = None, hours: float = 0) -> Moment:
    """Return the moment at which these events have come to the beginning, or to another state."""
    state = evolve(State(), facts(State(), BEGINNING)) if after is None else after
    return Moment(evolve(state, facts(state, events)), (START + timedelta(hours=hours)).timestamp())


def kinds(found: Comparison) -> list[tuple[str, str, bool, bool]]:
    """Return each difference by kind and id, and at which moment it was there."""
    return [
        (one.kind, one.id, one.before is not None, one.after is not None)
        for one in found.differences
    ]


def test_added_removed_and_changed_are_told_apart() -> None:
    """Before and after each have the shape of the trail, or nothing."""
    gone = bound(OTHER, READER, id_="gone")
    before = moment(gone)
    after = moment(
        bound(BOT, READER, PROD, id_="new"),
        BindingDeleted(tenant=MAIN, id=gone.id),
        RoleDescribed(tenant=MAIN, id=READER, description="reads"),
        after=before.state,
    )

    found = compare(before, after, Narrowed(tenant=MAIN))

    assert kinds(found) == [
        ("binding", "gone", True, False),
        ("binding", "new", False, True),
        ("role", READER, True, True),
    ]
    assert found.access == Delta(
        gained=(Right(MAIN, BOT, "prod", "FLOW", "VIEW"),),
        lost=(Right(MAIN, OTHER, "", "FLOW", "VIEW"),),
    )


def test_what_came_and_went_in_between_is_no_difference() -> None:
    """Two moments are compared, not what lies between them."""
    before = moment()
    given = bound(BOT, READER, id_="gone")
    after = moment(given, BindingDeleted(tenant=MAIN, id=given.id), after=before.state)

    found = compare(before, after, Narrowed(tenant=MAIN))

    assert found == Comparison(differences=(), access=Delta())


def test_the_clock_alone_changes_rights() -> None:
    """A binding's end is no event, and a difference all the same."""
    given = bound(BOT, READER, expires_at=START + timedelta(hours=1))
    joined = member(BOTS, OTHER, not_before=START + timedelta(hours=1))
    before = moment(given, joined, bound(BOTS, READER, PROD))
    after = moment(after=before.state, hours=2)

    found = compare(before, after, Narrowed(tenant=MAIN))

    assert found.differences == ()
    assert found.access == Delta(
        gained=(Right(MAIN, OTHER, "prod", "FLOW", "VIEW"),),
        lost=(Right(MAIN, BOT, "", "FLOW", "VIEW"),),
    )


def test_one_principal_is_told_of_with_its_groups() -> None:
    """Itself, its access and memberships, and the bindings of it and of its groups."""
    before = moment(member(BOTS, BOT), bound(BOTS, READER, id_="of the group"))
    after = moment(
        BindingDeleted(tenant=MAIN, id=BindingId("of the group")),
        bound(OTHER, READER, id_="of another"),
        MemberRemoved(tenant=MAIN, group=BOTS, principal=BOT),
        ServiceAccountDisabled(id=BOT),
        after=before.state,
    )

    found = compare(before, after, Narrowed(tenant=MAIN, principal=BOT))

    assert kinds(found) == [
        ("binding", "of the group", True, False),
        ("membership", f"{BOTS}/{BOT}", True, False),
        ("service_account", BOT, True, True),
    ]
    assert {right.principal for right in found.access.lost} == {BOT}
    assert found.access.gained == ()


def test_one_namespace_is_told_of_with_what_covers_it() -> None:
    """Bindings and rights there, below and above; neither beside it, nor of one resource."""
    before = moment()
    after = moment(
        bound(BOT, READER, PROD, id_="at"),
        bound(BOT, READER, Scope(namespace="prod.billing"), id_="below"),
        bound(OTHER, READER, id_="above"),
        bound(OTHER, READER, Scope(namespace="production"), id_="beside"),
        bound(OTHER, READER, Scope(resource=Resource("FLOW", "x")), id_="one"),
        RoleMadeDefault(tenant=MAIN, id=READER),
        after=before.state,
    )

    found = compare(before, after, Narrowed(tenant=MAIN, namespace="prod"))

    assert [one.id for one in found.differences] == ["above", "at", "below"]
    assert {right.place for right in found.access.gained} == {"", "prod", "prod.billing"}


def test_who_has_left_is_not_followed() -> None:
    """Security 2.3: what an account is called after its access ended is not the tenant's to know.

    Its end is told with what it was, its coming with what it is.
    """
    before = moment()
    left = moment(
        TenantAccessEnded(tenant=MAIN, principal=OTHER),
        ServiceAccountRenamed(id=OTHER, name="secret"),
        after=before.state,
    )

    gone = compare(before, left, Narrowed(tenant=MAIN))
    come = compare(left, before, Narrowed(tenant=MAIN))

    assert kinds(gone) == [
        ("service_account", OTHER, True, False),
        ("tenant_access", OTHER, True, False),
    ]
    assert "secret" not in str((gone, come))


def test_instance_owners_elsewhere_are_not_told_of() -> None:
    """Security 2.3: who became one and has no access here is a stranger here."""
    stranger = ServiceAccountId("sa_stranger")
    before = moment(*account(stranger), InstanceOwnerGranted(principal=OTHER))
    after = moment(
        InstanceOwnerGranted(principal=stranger),
        InstanceOwnerGranted(principal=BOT),
        InstanceOwnerRevoked(principal=OTHER),
        after=before.state,
    )

    found = compare(before, after, Narrowed(tenant=MAIN))
    about = compare(before, after, Narrowed(tenant=MAIN, principal=BOT))

    assert (found.access.owners_gained, found.access.owners_lost) == ((BOT,), (OTHER,))
    assert (about.access.owners_gained, about.access.owners_lost) == ((BOT,), ())


def test_a_tenant_that_is_closed_takes_all_rights_with_it() -> None:
    """Nobody's access has to end first."""
    before = moment(bound(BOT, READER))
    after = moment(TenantDeleted(tenant=MAIN), after=before.state)

    found = compare(before, after, Narrowed(tenant=MAIN))

    assert found.access == Delta(lost=(Right(MAIN, BOT, "", "FLOW", "VIEW"),))


def test_an_edited_role_and_an_ended_access_change_rights() -> None:
    """Through every binding of the role; and who has no access holds nothing."""
    before = moment(bound(BOT, READER), bound(OTHER, READER))
    edited = RolePermissionsSet(
        tenant=MAIN, id=READER, permissions=(VIEW, TypeActions("FLOW", ("EXECUTE",)))
    )
    after = moment(edited, TenantAccessEnded(tenant=MAIN, principal=OTHER), after=before.state)

    found = compare(before, after, Narrowed(tenant=MAIN))

    assert found.access == Delta(
        gained=(Right(MAIN, BOT, "", "FLOW", "EXECUTE"),),
        lost=(Right(MAIN, OTHER, "", "FLOW", "VIEW"),),
    )
