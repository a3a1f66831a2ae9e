"""Are roles bound and unbound as the rules say, and never given by one who lacks them?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from msgspec import structs

from domain.bindings import Assignment, AssignRole, AssignRoles, DeleteBinding
from domain.errors import Requirement
from domain.ids import MAIN, BindingId, GroupId, RoleId, SubjectId, TenantId, UserId
from domain.permissions import from_lists
from domain.principals import BindingCreated, BindingDeleted, SubjectType, TenantAccessGranted
from domain.roles import RoleMadeDefault
from domain.scopes import WHOLE_TENANT, Resource, Scope
from tests.domain.world import (
    ADA,
    BETA,
    BETA_ROLE,
    BOT,
    BOTS,
    CAL,
    CREW,
    DAN,
    DRONE,
    EVE,
    LATER,
    MANAGER,
    NEW_BINDING,
    OPERATOR,
    PAST,
    PROD,
    RECORD,
    ROOT,
    SOON,
    SPARE,
    WORLD,
    bound,
    role,
)
from tests.fixed_inputs import START


def assignment(
    subject: SubjectId = BOT,
    role_id: RoleId = OPERATOR,
    scope: Scope = WHOLE_TENANT,
    id_: BindingId = NEW_BINDING,
    spare: BindingId = SPARE,
) -> Assignment:
    kind: SubjectType = "GROUP" if subject.startswith("grp_") else "PRINCIPAL"
    return Assignment(
        id=id_, default_binding=spare, subject_type=kind, subject=subject, role=role_id, scope=scope
    )


def assign(
    subject: SubjectId = BOT,
    role_id: RoleId = OPERATOR,
    scope: Scope = WHOLE_TENANT,
    tenant: TenantId = MAIN,
) -> AssignRole:
    return AssignRole(tenant=tenant, assignment=assignment(subject, role_id, scope))


def test_assign_role_to_a_principal_creates_a_binding() -> None:
    """Who holds a role's permissions may bind it to a principal."""
    WORLD.when(assign(), by=ADA).then(bound(BOT, OPERATOR, id_=NEW_BINDING))


def test_assign_role_to_a_group_on_a_namespace_creates_a_binding() -> None:
    """A binding may give a role to a group in one namespace subtree."""
    WORLD.when(assign(BOTS, scope=PROD), by=ADA).then(bound(BOTS, OPERATOR, PROD, id_=NEW_BINDING))


def test_assign_role_for_a_time_on_a_resource_keeps_both() -> None:
    """Kestra-iam 8: a binding may hold for one resource and for a time."""
    timed = structs.replace(assignment(scope=RECORD), not_before=SOON, expires_at=LATER)

    WORLD.when(AssignRole(tenant=MAIN, assignment=timed), by=ADA).then(
        bound(BOT, OPERATOR, RECORD, id_=NEW_BINDING, not_before=SOON, expires_at=LATER)
    )


def test_assign_role_by_the_instance_owner_makes_the_first_admin() -> None:
    """Kestra-iam 5.6: for escalation alone an instance owner counts as holding everything."""
    WORLD.when(assign(DAN, RoleId("rol_main_admin")), by=ROOT).then(
        bound(DAN, RoleId("rol_main_admin"), id_=NEW_BINDING)
    )


def test_assign_role_without_permission_is_refused() -> None:
    """Whoever lacks BINDING:CREATE binds nothing, and is told what was required."""
    refusal = WORLD.when(assign(), by=DAN).refuses("permission.denied")

    assert (Requirement("BINDING", "CREATE"),) == refusal.required


def test_assign_role_beyond_the_callers_own_rights_is_refused() -> None:
    """Security 2.2: the binding would give what the caller lacks, and the answer names it."""
    refusal = WORLD.when(assign(scope=PROD), by=CAL).refuses("binding.escalation")

    assert Requirement("FLOW", "EXECUTE", "prod") in refusal.required
    assert Requirement("EXECUTION", "LIST", "prod") in refusal.required


def test_assign_role_on_a_wider_namespace_than_held_is_refused() -> None:
    """Security 2.2: a right in prod.billing is none in prod, nor in production."""
    billing = WORLD.and_then(bound(CAL, OPERATOR, Scope(namespace="prod.billing")))

    billing.when(assign(scope=PROD), by=CAL).refuses("binding.escalation")
    billing.when(assign(), by=CAL).refuses("binding.escalation")
    inner = Scope(namespace="prod.billing.eu")
    billing.when(assign(scope=inner), by=CAL).then(bound(BOT, OPERATOR, inner, id_=NEW_BINDING))


def test_assign_role_on_a_resource_names_the_resource_that_is_missing() -> None:
    """A refusal for one resource names that resource."""
    refusal = WORLD.when(assign(scope=RECORD), by=CAL).refuses("binding.escalation")

    assert Requirement("FLOW", "VIEW", "", ("record", "r-17")) in refusal.required


def test_assign_role_of_many_permissions_names_at_most_twenty() -> None:
    """A refusal stays short however much was missing."""
    many = RoleId("rol_many")
    wide = WORLD.and_then(role(many, from_lists({"T": [f"A{i:02}" for i in range(30)]})))

    assert 20 == len(wide.when(assign(role_id=many), by=CAL).refusal.required)


def test_assign_role_unknown_or_foreign_role_is_refused_alike() -> None:
    """Security 2.3: another tenant's role answers as one that never existed."""
    foreign = WORLD.when(assign(role_id=BETA_ROLE), by=ADA).refuses("role.unknown")
    unknown = WORLD.when(assign(role_id=RoleId("rol_none")), by=ADA).refuses("role.unknown")

    assert ["roleId"] == [fault.path for fault in foreign.fields]
    assert foreign.fields == unknown.fields


def test_assign_role_unknown_or_foreign_group_is_refused_alike() -> None:
    """Security 2.3: another tenant's group answers as one that never existed."""
    foreign = WORLD.when(assign(CREW), by=ADA).refuses("group.unknown")
    unknown = WORLD.when(assign(GroupId("grp_none")), by=ADA).refuses("group.unknown")

    assert foreign.fields == unknown.fields


def test_assign_role_unknown_principal_is_refused() -> None:
    """A principal that exists nowhere cannot be bound."""
    WORLD.when(assign(UserId("usr_none")), by=ADA).refuses("principal.unknown")


def test_assign_role_to_one_without_access_grants_it_where_the_caller_may() -> None:
    """Kestra-iam 5.6: a binding grants missing access in the same command."""
    WORLD.when(assign(EVE), by=ADA).then(
        TenantAccessGranted(tenant=MAIN, principal=EVE), bound(EVE, OPERATOR, id_=NEW_BINDING)
    )


def test_assign_role_to_one_without_access_brings_the_default_role() -> None:
    """Kestra-iam 5.6: a user who gains access gets the default role with it."""
    default = WORLD.and_then(RoleMadeDefault(tenant=MAIN, id=MANAGER))

    default.when(assign(EVE), by=ADA).then(
        TenantAccessGranted(tenant=MAIN, principal=EVE),
        bound(EVE, MANAGER, id_=SPARE),
        bound(EVE, OPERATOR, id_=NEW_BINDING),
    )


def test_assign_role_to_one_without_access_by_one_who_may_not_grant_it_is_refused() -> None:
    """Security 2.3: whether the principal exists elsewhere or nowhere, the answer is the same."""
    binder = role(RoleId("rol_binder"), from_lists({"BINDING": ["CREATE"], "FLOW": ["*"]}))
    world = WORLD.and_then(binder, bound(DAN, binder.id))

    world.when(assign(EVE, binder.id), by=DAN).refuses("tenant_access.missing")
    world.when(assign(UserId("usr_none"), binder.id), by=DAN).refuses("tenant_access.missing")


def test_assign_role_twice_is_refused() -> None:
    """Kestra-iam 6.5: an identical live binding is not made again."""
    world = WORLD.and_then(bound(BOT, OPERATOR, PROD))

    refusal = world.when(assign(scope=PROD), by=ADA).refuses("binding.exists")

    assert ["roleId"] == [fault.path for fault in refusal.fields]
    assert world.when(assign(), by=ADA).events


def test_assign_role_again_after_expiry_creates_a_binding() -> None:
    """A binding that is over does not stand in the way of a new one."""
    short = structs.replace(assignment(), expires_at=SOON)
    world = WORLD.and_then(bound(BOT, OPERATOR, expires_at=SOON)).later(LATER)

    again = structs.replace(short, expires_at=LATER.replace(year=2027))
    world.when(AssignRole(tenant=MAIN, assignment=again), by=ADA).then(
        bound(BOT, OPERATOR, id_=NEW_BINDING, expires_at=LATER.replace(year=2027))
    )


def test_assign_role_with_malformed_scope_is_refused() -> None:
    """Namespaces and resources are well formed, and every fault is named."""
    bad = Scope(resource=Resource("no type", " id"))

    refusal = WORLD.when(assign(scope=bad), by=ADA).refuses("binding.invalid")

    assert ["resource.type", "resource.id"] == [fault.path for fault in refusal.fields]
    WORLD.when(assign(scope=Scope(namespace="a..b")), by=ADA).refuses("binding.invalid")
    WORLD.when(assign(scope=Scope(namespace="")), by=ADA).refuses("binding.invalid")


def test_assign_role_with_two_scopes_is_refused() -> None:
    """Kestra-iam 8: a binding has a namespace or a resource, not both."""
    both = Scope(namespace="prod", resource=Resource("record", "r-17"))

    WORLD.when(assign(scope=both), by=ADA).refuses("binding.scope")


def test_assign_role_with_an_impossible_span_is_refused() -> None:
    """Kestra-iam 8: the end lies in the future and after the beginning."""
    past = structs.replace(assignment(), expires_at=PAST)
    turned = structs.replace(assignment(), not_before=LATER, expires_at=SOON)
    empty = structs.replace(assignment(), not_before=SOON, expires_at=SOON)

    for one, code in ((past, "past"), (turned, "order"), (empty, "order")):
        command = AssignRole(tenant=MAIN, assignment=one)
        refusal = WORLD.when(command, by=ADA).refuses("binding.invalid")
        assert [("expiresAt", code)] == [(fault.path, fault.code) for fault in refusal.fields]


def test_assign_role_with_an_instant_of_no_time_zone_is_refused() -> None:
    """Security 6.6: an instant that cannot be compared is a fault, and nothing stumbles."""
    naive = SOON.replace(tzinfo=None)
    for one, path in (
        (structs.replace(assignment(), not_before=naive), "notBefore"),
        (structs.replace(assignment(), expires_at=naive), "expiresAt"),
    ):
        command = AssignRole(tenant=MAIN, assignment=one)
        refusal = WORLD.when(command, by=ADA).refuses("binding.invalid")
        assert [(path, "time_zone")] == [(fault.path, fault.code) for fault in refusal.fields]


def test_assign_role_keeps_its_span_in_utc() -> None:
    """Kestra-iam 2.4: an instant is answered with Z, in whatever zone it was sent."""
    there = timezone(timedelta(hours=2))
    one = structs.replace(
        assignment(), not_before=SOON.astimezone(there), expires_at=LATER.astimezone(there)
    )

    (created,) = WORLD.when(AssignRole(tenant=MAIN, assignment=one), by=ADA).events

    assert isinstance(created, BindingCreated)
    assert (str(SOON), str(LATER)) == (str(created.not_before), str(created.expires_at))


def test_assign_role_with_an_instant_beyond_the_calendar_is_refused() -> None:
    """Security 6.6: an instant that UTC has no year for could be recorded and never be read."""
    late = datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-14)))
    early = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
    for one, path in (
        (structs.replace(assignment(), expires_at=late), "expiresAt"),
        (structs.replace(assignment(), not_before=early), "notBefore"),
    ):
        command = AssignRole(tenant=MAIN, assignment=one)
        refusal = WORLD.when(command, by=ADA).refuses("binding.invalid")
        assert [(path, "range")] == [(fault.path, fault.code) for fault in refusal.fields]
    last = structs.replace(assignment(), expires_at=late.replace(tzinfo=UTC))
    assert WORLD.when(AssignRole(tenant=MAIN, assignment=last), by=ADA).events


def test_assign_role_at_this_instant_is_over() -> None:
    """The end of a span is not a part of it."""
    now = structs.replace(assignment(), expires_at=START)

    WORLD.when(AssignRole(tenant=MAIN, assignment=now), by=ADA).refuses("binding.invalid")


def test_assign_role_beyond_the_limit_of_bindings_is_refused() -> None:
    """Security 6.2: a subject has at most 2,000 bindings."""
    scopes = (Scope(namespace=f"n{number}") for number in range(2000))
    full = WORLD.and_then(*(bound(BOT, OPERATOR, s, id_=f"b{s.namespace}") for s in scopes))

    full.when(assign(), by=ADA).refuses("binding.too_many")


def test_assign_role_with_a_default_role_counts_that_binding_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Security 6.2: the default role of a tenant is a binding of the subject like any other."""
    monkeypatch.setattr("domain.principals.BINDINGS_A_SUBJECT_MAX", 2)
    world = WORLD.and_then(RoleMadeDefault(tenant=MAIN, id=OPERATOR))
    full = world.and_then(bound(EVE, BETA_ROLE, tenant=BETA))

    full.when(assign(EVE), by=ADA).refuses("binding.too_many")
    world.when(assign(EVE), by=ADA).refuses("binding.too_many")
    assert WORLD.when(assign(EVE), by=ADA).events


def test_assign_roles_creates_all_in_order() -> None:
    """Kestra-iam 6.5: bulk is one command, its bindings in the order sent."""
    command = AssignRoles(
        tenant=MAIN,
        assignments=(
            assignment(DRONE, id_=BindingId("bnd_1")),
            assignment(DRONE, scope=PROD, id_=BindingId("bnd_2")),
        ),
    )

    WORLD.when(command, by=ADA).then(
        TenantAccessGranted(tenant=MAIN, principal=DRONE),
        bound(DRONE, OPERATOR, id_="bnd_1"),
        bound(DRONE, OPERATOR, PROD, id_="bnd_2"),
    )


def test_assign_roles_with_one_fault_makes_none() -> None:
    """Kestra-iam 6.5: all or none, and the fault's path tells which."""
    good, bad = assignment(), assignment(scope=Scope(namespace="."))
    unknown = assignment(role_id=RoleId("rol_none"))
    twice = AssignRoles(tenant=MAIN, assignments=(good, good))

    for second, code, path in (
        (bad, "binding.invalid", "[1].namespaceId"),
        (unknown, "role.unknown", "[1].roleId"),
    ):
        command = AssignRoles(tenant=MAIN, assignments=(good, second))
        refusal = WORLD.when(command, by=ADA).refuses(code)
        assert [path] == [fault.path for fault in refusal.fields]
    WORLD.when(twice, by=ADA).refuses("binding.exists")


def test_assign_roles_for_one_time_after_another_creates_both() -> None:
    """Kestra-iam 6.5: only an identical binding is a conflict, in one request as in two."""
    first = structs.replace(assignment(id_=BindingId("bnd_1")), expires_at=SOON)
    second = structs.replace(assignment(id_=BindingId("bnd_2")), not_before=SOON)

    WORLD.when(AssignRoles(tenant=MAIN, assignments=(first, second)), by=ADA).then(
        bound(BOT, OPERATOR, id_="bnd_1", expires_at=SOON),
        bound(BOT, OPERATOR, id_="bnd_2", not_before=SOON),
    )


def test_assign_roles_with_one_escalation_makes_none() -> None:
    """Security 2.2: several of these in one request are judged on what the caller held before."""
    first = assignment(CAL, MANAGER, id_=BindingId("bnd_1"), scope=PROD)
    command = AssignRoles(tenant=MAIN, assignments=(first, assignment(CAL)))

    WORLD.when(command, by=CAL).refuses("binding.escalation")


def test_assign_roles_without_permission_is_refused() -> None:
    """Whoever lacks BINDING:CREATE binds nothing in bulk either."""
    WORLD.when(AssignRoles(tenant=MAIN, assignments=(assignment(),)), by=DAN).refuses(
        "permission.denied"
    )


def test_assign_roles_of_none_records_nothing() -> None:
    """An empty list asks for nothing."""
    WORLD.when(AssignRoles(tenant=MAIN, assignments=()), by=ADA).records_nothing()


def test_assign_roles_of_too_many_is_refused() -> None:
    """Kestra-iam 6.5: at most 1,000 in one request."""
    WORLD.when(AssignRoles(tenant=MAIN, assignments=(assignment(),) * 1001), by=ADA).refuses(
        "binding.too_many"
    )


def test_delete_binding_ends_it() -> None:
    """A binding is deleted by who holds BINDING:DELETE, whatever else it lacks."""
    world = WORLD.and_then(bound(BOT, OPERATOR, id_="bnd_1"))

    world.when(DeleteBinding(tenant=MAIN, id=BindingId("bnd_1")), by=CAL).then(
        BindingDeleted(tenant=MAIN, id=BindingId("bnd_1"))
    )


def test_delete_binding_without_permission_is_refused() -> None:
    """Whoever lacks BINDING:DELETE deletes none, known or unknown."""
    for id_ in ("bnd_usr_cal_rol_manager", "bnd_none"):
        command = DeleteBinding(tenant=MAIN, id=BindingId(id_))
        WORLD.when(command, by=DAN).refuses("permission.denied")


def test_delete_binding_unknown_or_foreign_is_refused_alike() -> None:
    """Security 2.3: another tenant's binding answers as one that never existed."""
    for id_ in ("bnd_none", "bnd_usr_eve_rol_beta_admin"):
        command = DeleteBinding(tenant=MAIN, id=BindingId(id_))
        assert f"no binding {id_}" == WORLD.when(command, by=ADA).refuses("binding.unknown").detail
    assert BindingId("bnd_usr_eve_rol_beta_admin") in WORLD.state.bindings


def test_assign_role_in_a_foreign_tenant_is_refused_as_unknown() -> None:
    """Security 2.3: a tenant without access answers as one that never existed."""
    WORLD.when(assign(tenant=BETA), by=ADA).refuses("tenant.unknown")
    WORLD.when(assign(tenant=TenantId("nowhere")), by=ADA).refuses("tenant.unknown")
