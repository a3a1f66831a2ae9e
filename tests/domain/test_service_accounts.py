"""Are service accounts made, changed and ended as the rules say?"""

from __future__ import annotations

import pytest
from msgspec import UNSET, structs

from domain.access import Narrowing
from domain.ids import MAIN, BindingId, GroupId, RoleId, ServiceAccountId, TokenId
from domain.permissions import from_lists
from domain.principals import (
    BindingDeleted,
    InstanceOwnerGranted,
    InstanceOwnerRevoked,
    MemberRemoved,
    TenantAccessEnded,
    TenantAccessGranted,
    TokenRevoked,
)
from domain.service_accounts import (
    ChangeServiceAccount,
    CreateServiceAccount,
    DeleteServiceAccount,
    DisableServiceAccount,
    EnableServiceAccount,
    ServiceAccountCreated,
    ServiceAccountDeleted,
    ServiceAccountDescribed,
    ServiceAccountDisabled,
    ServiceAccountEnabled,
    ServiceAccountRenamed,
)
from domain.tenants import TenantDeleted
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
    NEW_BOT,
    NEW_GROUP,
    NOWHERE,
    OPERATOR,
    ROOT,
    SHARED,
    SOON,
    WORLD,
    bound,
    group,
    managed,
    member,
    role,
    token,
)

CREATE = CreateServiceAccount(tenant=MAIN, id=NEW_BOT, name="ci-bot", description="CI pipeline")
CHANGE = ChangeServiceAccount(tenant=MAIN, id=BOT, name="bot")
TOKEN = TokenId("tok_1")
OPERATING = WORLD.and_then(bound(BOTS, OPERATOR))

Whole = type[DisableServiceAccount | EnableServiceAccount | DeleteServiceAccount]
WHOLE: tuple[Whole, ...] = (DisableServiceAccount, EnableServiceAccount, DeleteServiceAccount)


def test_create_service_account_by_a_tenant_route_grants_access_there() -> None:
    """Kestra-iam 6.1: an account made in a tenant has access to it."""
    WORLD.when(CREATE, by=CAL).then(
        ServiceAccountCreated(id=NEW_BOT, name="ci-bot", description="CI pipeline"),
        TenantAccessGranted(tenant=MAIN, principal=NEW_BOT),
    )


def test_create_service_account_with_groups_joins_them() -> None:
    """Kestra-iam 6.1: groups may be given at once, each counts once."""
    WORLD.when(structs.replace(CREATE, groups=(BOTS, BOTS)), by=CAL).then(
        ServiceAccountCreated(id=NEW_BOT, name="ci-bot", description="CI pipeline"),
        TenantAccessGranted(tenant=MAIN, principal=NEW_BOT),
        member(BOTS, NEW_BOT),
    )


def test_create_service_account_by_the_instance_route_grants_the_tenants_named() -> None:
    """Kestra-iam 6.1: an instance owner names tenants; a group brings access to its own."""
    command = structs.replace(
        CREATE, tenant=UNSET, tenants=(MAIN, MAIN), groups=(CREW,), instance_owner=True
    )

    WORLD.when(command, by=ROOT).then(
        ServiceAccountCreated(id=NEW_BOT, name="ci-bot", description="CI pipeline"),
        TenantAccessGranted(tenant=MAIN, principal=NEW_BOT),
        TenantAccessGranted(tenant=BETA, principal=NEW_BOT),
        member(CREW, NEW_BOT, tenant=BETA),
        InstanceOwnerGranted(principal=NEW_BOT),
    )


def test_create_service_account_by_the_instance_route_without_privilege_is_refused() -> None:
    """Kestra-iam 6.1: instance routes are the instance owner's."""
    command = structs.replace(CREATE, tenant=UNSET)

    WORLD.when(command, by=ADA).refuses("privilege.required")


def test_create_service_account_without_permission_is_refused() -> None:
    """Whoever lacks SERVICE_ACCOUNT:CREATE makes none."""
    WORLD.when(CREATE, by=DAN).refuses("permission.denied")


def test_create_service_account_with_the_privilege_by_another_is_refused() -> None:
    """Kestra-iam 5.5: only an instance owner makes another, and not with a narrowed token."""
    owned = WORLD.and_then(token(TOKEN, ROOT, Narrowing(tenants=(MAIN,), instance_owner=True)))
    command = structs.replace(CREATE, instance_owner=True)

    WORLD.when(command, by=ADA).refuses("privilege.denied")
    owned.when(command, by=ROOT, token=TOKEN).refuses("privilege.denied")
    assert owned.when(CREATE, by=ROOT, token=TOKEN).events


def test_create_service_account_in_a_group_of_more_rights_is_refused() -> None:
    """Security 2.2: a membership at birth is a membership."""
    OPERATING.when(structs.replace(CREATE, groups=(BOTS,)), by=CAL).refuses("group.escalation")


def test_create_service_account_with_malformed_words_is_refused() -> None:
    """Every field that does not fit is named."""
    command = structs.replace(CREATE, name="CI Bot", description="\x07")

    refusal = WORLD.when(command, by=CAL).refuses("service_account.invalid")

    assert ["name", "description"] == [fault.path for fault in refusal.fields]


def test_create_service_account_in_unknown_places_is_refused() -> None:
    """Unknown and foreign groups, unknown and deleted tenants are not there."""
    gone = WORLD.and_then(TenantDeleted(tenant=BETA))
    by_owner = structs.replace(CREATE, tenant=UNSET)

    for id_ in (CREW, GroupId("grp_none")):
        WORLD.when(structs.replace(CREATE, groups=(id_,)), by=CAL).refuses("group.unknown")
    nowhere = structs.replace(by_owner, tenants=(NOWHERE,))
    WORLD.when(nowhere, by=ROOT).refuses("tenant.unknown")
    gone.when(structs.replace(by_owner, tenants=(BETA,)), by=ROOT).refuses("tenant.unknown")
    gone.when(structs.replace(by_owner, groups=(CREW,)), by=ROOT).refuses("tenant.unknown")
    assert WORLD.when(structs.replace(by_owner, groups=(CREW,)), by=ROOT).events


def test_change_service_account_records_what_changed() -> None:
    """A new name and a new description are two facts."""
    WORLD.when(structs.replace(CHANGE, name="robot", description="Beep."), by=CAL).then(
        ServiceAccountRenamed(id=BOT, name="robot"),
        ServiceAccountDescribed(id=BOT, description="Beep."),
    )


def test_change_service_account_to_what_it_is_records_nothing() -> None:
    """There is nothing to do; the present privilege is accepted from anyone."""
    same = structs.replace(CHANGE, description="", groups=(BOTS,), instance_owner=False)

    WORLD.when(same, by=CAL).records_nothing()


def test_change_service_account_replaces_its_groups_in_the_tenant() -> None:
    """Kestra-iam 6.1: groups are those of this tenant only, also of a shared account."""
    world = WORLD.and_then(
        group(NEW_GROUP, "Night"), member(BOTS, SHARED), member(CREW, SHARED, tenant=BETA)
    )
    command = structs.replace(CHANGE, id=SHARED, name="shared", groups=(NEW_GROUP,))

    world.when(command, by=CAL).then(
        MemberRemoved(tenant=MAIN, group=BOTS, principal=SHARED), member(NEW_GROUP, SHARED)
    )


def test_change_service_account_into_groups_of_more_rights_is_refused() -> None:
    """Security 2.2: a membership gives what the group's bindings give."""
    command = structs.replace(CHANGE, id=SHARED, name="shared", groups=(BOTS,))

    OPERATING.when(command, by=CAL).refuses("group.escalation")


def test_change_service_account_without_permission_is_refused() -> None:
    """Whoever lacks SERVICE_ACCOUNT:UPDATE changes none, an account not itself either."""
    WORLD.when(structs.replace(CHANGE, name="robot"), by=DAN).refuses("permission.denied")
    WORLD.when(structs.replace(CHANGE, name="robot"), by=BOT).refuses("permission.denied")


def test_change_service_account_privilege_by_another_is_refused() -> None:
    """Kestra-iam 5.5: only an instance owner changes the privilege."""
    command = structs.replace(CHANGE, instance_owner=True)
    owned = WORLD.and_then(InstanceOwnerGranted(principal=BOT))

    WORLD.when(command, by=ADA).refuses("privilege.denied")
    WORLD.when(command, by=ROOT).then(InstanceOwnerGranted(principal=BOT))
    owned.when(structs.replace(CHANGE, instance_owner=False), by=ADA).refuses("privilege.denied")
    owned.when(command, by=ADA).records_nothing()


def test_change_service_account_of_several_tenants_is_the_owners() -> None:
    """Kestra-iam 5.6: a tenant's Admin touches a shared account only as far as its tenant goes."""
    command = structs.replace(CHANGE, id=SHARED, name="mine")

    WORLD.when(command, by=ADA).refuses("service_account.shared")
    WORLD.when(command, by=ROOT).then(ServiceAccountRenamed(id=SHARED, name="mine"))


def test_change_service_account_of_several_tenants_with_a_token_for_one_is_refused() -> None:
    """Security 2.3: an owner's token for one tenant does not reach into another."""
    one = WORLD.and_then(token(TOKEN, ROOT, Narrowing(tenants=(MAIN,), instance_owner=True)))
    command = structs.replace(CHANGE, id=SHARED, name="mine")

    one.when(command, by=ROOT, token=TOKEN).refuses("service_account.shared")


def test_change_service_account_unknown_or_foreign_is_refused_alike() -> None:
    """Security 2.3: another tenant's account answers as one that never existed."""
    for id_ in (DRONE, ServiceAccountId("sa_none")):
        refusal = WORLD.when(structs.replace(CHANGE, id=id_), by=ADA)
        assert f"no service account {id_}" == refusal.refuses("service_account.unknown").detail


def test_change_service_account_with_malformed_words_is_refused() -> None:
    """Every field that does not fit is named."""
    command = structs.replace(CHANGE, name="a--b", description="x" * 2001)

    refusal = WORLD.when(command, by=CAL).refuses("service_account.invalid")

    assert ["name", "description"] == [fault.path for fault in refusal.fields]


def test_disable_service_account_is_recorded_once() -> None:
    """A disabled account loses nothing and may do nothing; doing it twice is nothing."""
    command = DisableServiceAccount(tenant=MAIN, id=BOT)
    off = WORLD.and_then(ServiceAccountDisabled(id=BOT))

    WORLD.when(command, by=CAL).then(ServiceAccountDisabled(id=BOT))
    off.when(command, by=CAL).records_nothing()
    off.when(CREATE, by=BOT).refuses("principal.disabled")


def test_disable_service_account_by_the_instance_route_is_recorded() -> None:
    """An instance owner disables any account."""
    WORLD.when(DisableServiceAccount(id=SHARED), by=ROOT).then(ServiceAccountDisabled(id=SHARED))


@pytest.mark.parametrize("whole", WHOLE)
def test_disable_service_account_enable_and_delete_need_the_permission(whole: Whole) -> None:
    """DisableServiceAccount, EnableServiceAccount and DeleteServiceAccount are not for everyone."""
    WORLD.when(whole(tenant=MAIN, id=BOT), by=DAN).refuses("permission.denied")
    WORLD.when(whole(id=BOT), by=ADA).refuses("privilege.required")


@pytest.mark.parametrize("whole", WHOLE)
def test_disable_service_account_enable_and_delete_of_a_shared_one_are_the_owners(
    whole: Whole,
) -> None:
    """Kestra-iam 5.6: an account of several tenants, or with the privilege, is not one tenant's."""
    owned = WORLD.and_then(InstanceOwnerGranted(principal=BOT))

    WORLD.when(whole(tenant=MAIN, id=SHARED), by=ADA).refuses("service_account.shared")
    owned.when(whole(tenant=MAIN, id=BOT), by=ADA).refuses("service_account.shared")
    assert isinstance(owned.when(whole(tenant=MAIN, id=SHARED), by=ROOT).verdict, tuple)


@pytest.mark.parametrize("whole", WHOLE)
def test_disable_service_account_enable_and_delete_refuse_foreign_ones_alike(
    whole: Whole,
) -> None:
    """Security 2.3: another tenant's account answers as one that never existed."""
    for id_ in (DRONE, ServiceAccountId("sa_none")):
        WORLD.when(whole(tenant=MAIN, id=id_), by=ADA).refuses("service_account.unknown")
    WORLD.when(whole(id=ServiceAccountId("sa_none")), by=ROOT).refuses("service_account.unknown")


def test_enable_service_account_is_recorded_once() -> None:
    """An account comes back as it was; an enabled one needs nothing."""
    command = EnableServiceAccount(tenant=MAIN, id=BOT)
    off = WORLD.and_then(ServiceAccountDisabled(id=BOT))

    off.when(command, by=CAL).then(ServiceAccountEnabled(id=BOT))
    WORLD.when(command, by=CAL).records_nothing()


def test_enable_service_account_of_more_rights_is_refused() -> None:
    """Security 2.2: enabling gives all that the account holds, by itself or by its groups."""
    command = EnableServiceAccount(tenant=MAIN, id=BOT)
    own = WORLD.and_then(bound(BOT, OPERATOR), ServiceAccountDisabled(id=BOT))
    grouped = OPERATING.and_then(ServiceAccountDisabled(id=BOT))
    over = WORLD.and_then(member(NEW_GROUP, BOT, expires_at=SOON), bound(NEW_GROUP, OPERATOR))

    own.when(command, by=CAL).refuses("service_account.escalation")
    grouped.when(command, by=CAL).refuses("service_account.escalation")
    assert grouped.when(command, by=ADA).events
    late = over.and_then(ServiceAccountDisabled(id=BOT)).later(SOON)
    assert late.when(command, by=CAL).events


def test_enable_service_account_in_its_own_name_is_refused() -> None:
    """What is disabled does nothing, not even wake up."""
    boss = role(RoleId("rol_boss"), from_lists({"SERVICE_ACCOUNT": ["*"]}))
    off = WORLD.and_then(boss, bound(BOT, boss.id), ServiceAccountDisabled(id=BOT))

    off.when(EnableServiceAccount(tenant=MAIN, id=BOT), by=BOT).refuses("principal.disabled")


def test_delete_service_account_ends_all_that_it_holds() -> None:
    """Kestra-iam 5.6: tokens, memberships, bindings, access and the privilege end with it."""
    world = WORLD.and_then(
        bound(BOT, OPERATOR, id_="bnd_1"), token(TOKEN, BOT), InstanceOwnerGranted(principal=BOT)
    )

    world.when(DeleteServiceAccount(id=BOT), by=ROOT).then(
        TokenRevoked(id=TOKEN),
        MemberRemoved(tenant=MAIN, group=BOTS, principal=BOT),
        BindingDeleted(tenant=MAIN, id=BindingId("bnd_1")),
        TenantAccessEnded(tenant=MAIN, principal=BOT),
        InstanceOwnerRevoked(principal=BOT),
        ServiceAccountDeleted(id=BOT),
    )


def test_delete_service_account_by_a_tenant_route_is_recorded() -> None:
    """Who holds SERVICE_ACCOUNT:DELETE deletes an account of this tenant alone."""
    WORLD.when(DeleteServiceAccount(tenant=MAIN, id=BOT), by=CAL).then(
        MemberRemoved(tenant=MAIN, group=BOTS, principal=BOT),
        TenantAccessEnded(tenant=MAIN, principal=BOT),
        ServiceAccountDeleted(id=BOT),
    )


def test_disable_service_account_whose_other_tenant_is_gone_is_recorded() -> None:
    """Kestra-iam 5.6: an account is shared among the tenants that there are."""
    gone = WORLD.and_then(bound(SHARED, BETA_ROLE, tenant=BETA), TenantDeleted(tenant=BETA))
    off = gone.and_then(ServiceAccountDisabled(id=SHARED))

    gone.when(DisableServiceAccount(tenant=MAIN, id=SHARED), by=CAL).then(
        ServiceAccountDisabled(id=SHARED)
    )
    off.when(EnableServiceAccount(tenant=MAIN, id=SHARED), by=CAL).then(
        ServiceAccountEnabled(id=SHARED)
    )


def test_delete_service_account_leaves_other_tenants_admins_without_a_say() -> None:
    """Security 2.3: neither tenant's Admin deletes what both use."""
    admin = WORLD.and_then(bound(ADA, managed(BETA, "Admin"), tenant=BETA))

    for tenant, who in ((MAIN, ADA), (BETA, EVE)):
        command = DeleteServiceAccount(tenant=tenant, id=SHARED)
        admin.when(command, by=who).refuses("service_account.shared")
