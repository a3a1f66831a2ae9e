"""Are tenants opened and closed, and access to them given and ended, as the rules say?"""

from __future__ import annotations

import pytest
from msgspec import structs

from domain.ids import MAIN, BindingId, RoleId, TenantId, UserId
from domain.permissions import from_lists
from domain.principals import (
    BindingDeleted,
    MemberRemoved,
    TenantAccessEnded,
    TenantAccessGranted,
)
from domain.roles import RoleMadeDefault
from domain.tenants import (
    CreateTenant,
    DeleteTenant,
    EndTenantAccess,
    GrantTenantAccess,
    LogOpened,
    OpenLog,
    RenameTenant,
    TenantCreated,
    TenantDeleted,
    TenantRenamed,
)
from tests.domain.world import (
    ADA,
    BETA,
    BOTS,
    CAL,
    CREW,
    DAN,
    DRONE,
    EVE,
    MANAGER,
    NOWHERE,
    OPERATOR,
    ROOT,
    SHARED,
    SPARE,
    WORLD,
    bound,
    managed_ids,
    member,
    opened,
    role,
)
from tests.spec import SYSTEM, given

OPEN = OpenLog(log_id="log_1", managed_roles=managed_ids(MAIN))
CREATE = CreateTenant(id=NOWHERE, name="Nowhere", managed_roles=managed_ids(NOWHERE))
GRANT = GrantTenantAccess(tenant=MAIN, principal=EVE, default_binding=SPARE)
END = EndTenantAccess(tenant=MAIN, principal=DAN)


def test_open_log_makes_the_tenant_main() -> None:
    """The first command of an installation opens its log and the tenant main."""
    given().when(OPEN, by=SYSTEM).then(LogOpened(log_id="log_1"), *opened(MAIN, "main"))


def test_open_log_twice_is_refused() -> None:
    """Security 2.7: set-up happens once."""
    WORLD.when(OPEN, by=SYSTEM).refuses("log.opened")


def test_open_log_by_a_principal_is_refused() -> None:
    """Only the installation itself opens its log, or an owner would be told it is open."""
    WORLD.when(OPEN, by=ADA).refuses("privilege.required")


def test_create_tenant_makes_its_managed_roles() -> None:
    """Kestra-iam 5.4: every tenant has the five managed roles; none is bound to the maker."""
    WORLD.when(CREATE, by=ROOT).then(*opened(NOWHERE, "Nowhere"))


def test_create_tenant_by_another_is_refused() -> None:
    """Kestra-iam 6.7: tenants are made by an instance owner."""
    WORLD.when(CREATE, by=ADA).refuses("privilege.required")


@pytest.mark.parametrize("reserved", ["users", "api", "well-known"])
def test_create_tenant_of_a_reserved_id_is_refused(reserved: str) -> None:
    """Kestra-iam 2.1: words that stand in the same place of a path are no tenants."""
    WORLD.when(structs.replace(CREATE, id=TenantId(reserved)), by=ROOT).refuses("tenant.reserved")


def test_create_tenant_with_malformed_words_is_refused() -> None:
    """Every field that does not fit is named."""
    refusal = WORLD.when(structs.replace(CREATE, id=TenantId("No"), name=""), by=ROOT).refuses(
        "tenant.invalid"
    )

    assert ["id", "name"] == [fault.path for fault in refusal.fields]


def test_create_tenant_that_is_or_was_is_refused() -> None:
    """Ids are never reused, or old rights would come to life."""
    gone = WORLD.and_then(TenantDeleted(tenant=BETA))

    WORLD.when(structs.replace(CREATE, id=BETA), by=ROOT).refuses("tenant.taken")
    gone.when(structs.replace(CREATE, id=BETA), by=ROOT).refuses("tenant.taken")


def test_create_tenant_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Security 6.2: an installation has at most 10,000 tenants; deleted ones do not count."""
    monkeypatch.setattr("domain.tenants.TENANTS_MAX", 2)

    WORLD.when(CREATE, by=ROOT).refuses("tenant.too_many")
    assert WORLD.and_then(TenantDeleted(tenant=BETA)).when(CREATE, by=ROOT).events


def test_rename_tenant_is_recorded() -> None:
    """A tenant has a name to show."""
    WORLD.when(RenameTenant(id=BETA, name=" B "), by=ROOT).then(
        TenantRenamed(tenant=BETA, name="B")
    )


def test_rename_tenant_to_its_name_records_nothing() -> None:
    """There is nothing to do."""
    WORLD.when(RenameTenant(id=BETA, name="Beta"), by=ROOT).records_nothing()


def test_rename_tenant_to_nothing_is_refused() -> None:
    """A name is not empty."""
    WORLD.when(RenameTenant(id=BETA, name=" "), by=ROOT).refuses("tenant.invalid")


def test_rename_tenant_unknown_or_deleted_is_refused() -> None:
    """What is not there (any more) has no name."""
    gone = WORLD.and_then(TenantDeleted(tenant=BETA))

    WORLD.when(RenameTenant(id=NOWHERE, name="N"), by=ROOT).refuses("tenant.unknown")
    gone.when(RenameTenant(id=BETA, name="N"), by=ROOT).refuses("tenant.unknown")


def test_rename_tenant_by_another_is_refused() -> None:
    """Not even its Admin renames a tenant."""
    WORLD.when(RenameTenant(id=MAIN, name="N"), by=ADA).refuses("privilege.required")


def test_delete_tenant_is_recorded_and_ends_all_rights_there() -> None:
    """A deleted tenant answers as one that never existed, to its Admin and to the owner."""
    WORLD.when(DeleteTenant(id=BETA), by=ROOT).then(TenantDeleted(tenant=BETA))

    gone = WORLD.and_then(TenantDeleted(tenant=BETA))
    command = EndTenantAccess(tenant=BETA, principal=DRONE)
    gone.when(command, by=EVE).refuses("tenant.unknown")
    gone.when(command, by=ROOT).refuses("tenant.unknown")


def test_delete_tenant_main_is_refused() -> None:
    """Kestra-iam 6.7: main cannot be deleted."""
    WORLD.when(DeleteTenant(id=MAIN), by=ROOT).refuses("tenant.main")


def test_delete_tenant_unknown_is_refused() -> None:
    """What is not there cannot be deleted."""
    WORLD.when(DeleteTenant(id=NOWHERE), by=ROOT).refuses("tenant.unknown")


def test_delete_tenant_by_another_is_refused() -> None:
    """Not even its Admin deletes a tenant."""
    WORLD.when(DeleteTenant(id=BETA), by=EVE).refuses("privilege.required")


def test_grant_tenant_access_is_recorded() -> None:
    """Who holds USER:CREATE gives access, which by itself gives no right."""
    WORLD.when(GRANT, by=CAL).then(TenantAccessGranted(tenant=MAIN, principal=EVE))


def test_grant_tenant_access_with_the_legacy_permission_is_recorded() -> None:
    """Kestra-iam 5.3: TENANT_ACCESS:CREATE does as well."""
    legacy = role(RoleId("rol_legacy"), from_lists({"TENANT_ACCESS": ["CREATE"]}))
    world = WORLD.and_then(legacy, bound(DAN, legacy.id))

    world.when(GRANT, by=DAN).then(TenantAccessGranted(tenant=MAIN, principal=EVE))
    world.when(END, by=DAN).refuses("permission.denied")


def test_grant_tenant_access_brings_the_default_role_to_users() -> None:
    """Kestra-iam 5.6: a user gets the default role in the same command, a program does not."""
    world = WORLD.and_then(RoleMadeDefault(tenant=MAIN, id=MANAGER))

    world.when(GRANT, by=CAL).then(
        TenantAccessGranted(tenant=MAIN, principal=EVE), bound(EVE, MANAGER, id_=SPARE)
    )
    world.when(structs.replace(GRANT, principal=DRONE), by=CAL).then(
        TenantAccessGranted(tenant=MAIN, principal=DRONE)
    )


def test_grant_tenant_access_where_the_default_role_is_more_than_held_is_refused() -> None:
    """Security 2.2: the default role is a road."""
    world = WORLD.and_then(RoleMadeDefault(tenant=MAIN, id=OPERATOR))

    world.when(GRANT, by=CAL).refuses("tenant_access.escalation")


def test_grant_tenant_access_twice_records_nothing() -> None:
    """Kestra-iam 6.7: no second event."""
    WORLD.when(structs.replace(GRANT, principal=DAN), by=CAL).records_nothing()


def test_grant_tenant_access_to_an_unknown_principal_is_refused() -> None:
    """Access is given to somebody who exists."""
    WORLD.when(structs.replace(GRANT, principal=UserId("usr_none")), by=CAL).refuses(
        "principal.unknown"
    )


def test_grant_tenant_access_without_permission_is_refused() -> None:
    """Whoever lacks USER:CREATE gives none, to itself or others."""
    WORLD.when(GRANT, by=DAN).refuses("permission.denied")
    WORLD.when(structs.replace(GRANT, tenant=BETA, principal=DAN), by=DAN).refuses("tenant.unknown")


def test_end_tenant_access_ends_memberships_and_bindings_there() -> None:
    """Kestra-iam 5.6: what the principal holds in this tenant ends, and nothing elsewhere."""
    world = WORLD.and_then(
        bound(SHARED, OPERATOR, id_="bnd_1"),
        bound(SHARED, RoleId("rol_beta"), tenant=BETA, id_="bnd_2"),
        member(BOTS, SHARED),
        member(CREW, SHARED, tenant=BETA),
    )

    world.when(structs.replace(END, principal=SHARED), by=CAL).then(
        MemberRemoved(tenant=MAIN, group=BOTS, principal=SHARED),
        BindingDeleted(tenant=MAIN, id=BindingId("bnd_1")),
        TenantAccessEnded(tenant=MAIN, principal=SHARED),
    )


def test_end_tenant_access_leaves_nothing_that_comes_back_with_it() -> None:
    """Security 2.2: access given anew gives no right that was held before."""
    world = WORLD.and_then(bound(DAN, OPERATOR), member(BOTS, DAN))
    ended = world.and_then(*world.when(END, by=CAL).events)

    again = ended.when(structs.replace(GRANT, principal=DAN), by=CAL)

    again.then(TenantAccessGranted(tenant=MAIN, principal=DAN))
    assert DAN not in ended.state.bindings_of
    assert DAN not in ended.state.memberships


def test_end_tenant_access_of_one_who_has_none_is_refused_alike() -> None:
    """Security 2.3: one of another tenant answers as one that never existed."""
    foreign = WORLD.when(structs.replace(END, principal=EVE), by=CAL)
    unknown = WORLD.when(structs.replace(END, principal=UserId("usr_none")), by=CAL)

    foreign.refuses("principal.unknown")
    unknown.refuses("principal.unknown")


def test_end_tenant_access_without_permission_is_refused() -> None:
    """Whoever lacks USER:DELETE ends none."""
    WORLD.when(END, by=DAN).refuses("permission.denied")


def test_a_tenant_created_counts_in_the_state() -> None:
    """The limit of tenants is judged on the number of those that are there."""
    world = WORLD.and_then(TenantCreated(tenant=NOWHERE, name="N"), TenantDeleted(tenant=NOWHERE))

    assert 2 == world.state.tenant_count
