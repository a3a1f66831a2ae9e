"""Are groups made, filled and ended as the rules say?"""

from __future__ import annotations

import pytest
from msgspec import structs

from domain.errors import Dependent
from domain.groups import (
    AddMember,
    ChangeGroup,
    ChangeMembership,
    CreateGroup,
    DeleteGroup,
    GroupCreated,
    GroupDeleted,
    GroupDescribed,
    GroupRenamed,
    MembershipChanged,
    RemoveMember,
    ReplaceGroups,
)
from domain.ids import MAIN, BindingId, GroupId, PrincipalId, RoleId, UserId
from domain.permissions import from_lists
from domain.principals import (
    BindingDeleted,
    Level,
    MemberAdded,
    MemberRemoved,
    TenantAccessGranted,
)
from domain.roles import RoleMadeDefault
from tests.domain.world import (
    ADA,
    BETA,
    BOT,
    BOTS,
    CAL,
    CREW,
    DAN,
    DRONE,
    EVE,
    LATER,
    MANAGER,
    NEW_GROUP,
    OPERATOR,
    PAST,
    ROOT,
    SOON,
    SPARE,
    WORLD,
    bound,
    group,
    member,
    role,
)

CREATE = CreateGroup(tenant=MAIN, id=NEW_GROUP, name="Night shift", description="They watch.")
CHANGE = ChangeGroup(tenant=MAIN, id=BOTS, name="Bots", description="")
OPERATING = WORLD.and_then(bound(BOTS, OPERATOR))
NOBODY = UserId("usr_none")


def add(
    principal: PrincipalId = DAN, group_id: GroupId = BOTS, level: Level = "MEMBER"
) -> AddMember:
    return AddMember(
        tenant=MAIN, group=group_id, principal=principal, default_binding=SPARE, level=level
    )


def remove(principal: PrincipalId = BOT, group_id: GroupId = BOTS) -> RemoveMember:
    return RemoveMember(tenant=MAIN, group=group_id, principal=principal)


def change(level: Level, principal: PrincipalId = BOT) -> ChangeMembership:
    return ChangeMembership(tenant=MAIN, group=BOTS, principal=principal, level=level)


def replace(*groups: GroupId, principal: PrincipalId = BOT) -> ReplaceGroups:
    return ReplaceGroups(tenant=MAIN, principal=principal, groups=groups)


def test_create_group_is_recorded() -> None:
    """Who holds GROUP:CREATE makes a group."""
    WORLD.when(CREATE, by=CAL).then(
        GroupCreated(tenant=MAIN, id=NEW_GROUP, name="Night shift", description="They watch.")
    )


def test_create_group_with_members_adds_each_once() -> None:
    """Members given twice join once, and one without access gains it."""
    command = structs.replace(
        CREATE,
        members=(BOT, BOT, DRONE),
        default_bindings=(SPARE, SPARE, SPARE),
    )

    WORLD.when(command, by=CAL).then(
        GroupCreated(tenant=MAIN, id=NEW_GROUP, name="Night shift", description="They watch."),
        MemberAdded(tenant=MAIN, group=NEW_GROUP, principal=BOT),
        TenantAccessGranted(tenant=MAIN, principal=DRONE),
        MemberAdded(tenant=MAIN, group=NEW_GROUP, principal=DRONE),
    )


def test_create_group_with_a_stranger_by_one_who_may_not_give_access_is_refused() -> None:
    """Security 2.3: one who exists elsewhere and one who exists nowhere are refused alike."""
    maker = role(RoleId("rol_maker"), from_lists({"GROUP": ["CREATE"]}))
    world = WORLD.and_then(maker, bound(DAN, maker.id))

    for stranger in (EVE, NOBODY):
        command = structs.replace(CREATE, members=(stranger,), default_bindings=(SPARE,))
        world.when(command, by=DAN).refuses("tenant_access.missing")


def test_create_group_with_an_unknown_member_is_refused() -> None:
    """A principal that exists nowhere joins no group."""
    command = structs.replace(CREATE, members=(NOBODY,), default_bindings=(SPARE,))

    WORLD.when(command, by=CAL).refuses("principal.unknown")


def test_create_group_without_permission_is_refused() -> None:
    """Whoever lacks GROUP:CREATE makes none."""
    WORLD.when(CREATE, by=DAN).refuses("permission.denied")


@pytest.mark.parametrize("name", ["Bots", " bOTS ", "\uff22\uff2f\uff34\uff33"])
def test_create_group_of_a_taken_name_is_refused(name: str) -> None:
    """Kestra-iam 2.4: group names are unique in a tenant, whatever case or width."""
    WORLD.when(structs.replace(CREATE, name=name), by=CAL).refuses("group.name_taken")


def test_create_group_of_a_name_taken_in_another_tenant_is_recorded() -> None:
    """Tenants are isolated: names elsewhere do not count."""
    assert WORLD.when(structs.replace(CREATE, name="Crew"), by=CAL).events


def test_create_group_with_malformed_words_is_refused() -> None:
    """Every field that does not fit is named."""
    command = structs.replace(CREATE, name=" ", description="\u202e")

    refusal = WORLD.when(command, by=CAL).refuses("group.invalid")

    assert ["name", "description"] == [fault.path for fault in refusal.fields]


def test_change_group_records_what_changed() -> None:
    """A new name and a new description are two facts."""
    command = structs.replace(CHANGE, name="Robots", description="Beep.")

    WORLD.when(command, by=CAL).then(
        GroupRenamed(tenant=MAIN, id=BOTS, name="Robots"),
        GroupDescribed(tenant=MAIN, id=BOTS, description="Beep."),
    )


def test_change_group_of_case_alone_is_recorded() -> None:
    """A group does not stand in its own way."""
    WORLD.when(structs.replace(CHANGE, name="BOTS"), by=CAL).then(
        GroupRenamed(tenant=MAIN, id=BOTS, name="BOTS")
    )


def test_change_group_to_what_it_is_records_nothing() -> None:
    """There is nothing to do."""
    WORLD.when(CHANGE, by=CAL).records_nothing()


def test_change_group_to_a_taken_name_is_refused() -> None:
    """Kestra-iam 2.4: also a renamed group needs a free name, and its old one becomes free."""
    world = WORLD.and_then(group(NEW_GROUP, "Night"))

    world.when(structs.replace(CHANGE, name="night"), by=CAL).refuses("group.name_taken")
    renamed = world.and_then(GroupRenamed(tenant=MAIN, id=NEW_GROUP, name="Day"))
    assert renamed.when(structs.replace(CHANGE, name="night"), by=CAL).events


def test_change_group_with_malformed_words_is_refused() -> None:
    """Every field that does not fit is named."""
    command = structs.replace(CHANGE, name="x" * 101, description="x" * 2001)

    refusal = WORLD.when(command, by=CAL).refuses("group.invalid")

    assert ["name", "description"] == [fault.path for fault in refusal.fields]


def test_change_group_unknown_or_foreign_is_refused_alike() -> None:
    """Security 2.3: another tenant's group answers as one that never existed."""
    for id_ in (CREW, GroupId("grp_none")):
        refusal = WORLD.when(structs.replace(CHANGE, id=id_), by=CAL).refuses("group.unknown")
        assert f"no group {id_}" == refusal.detail


def test_change_group_without_permission_is_refused() -> None:
    """Whoever lacks GROUP:UPDATE changes none, not even its owner."""
    owned = WORLD.and_then(member(BOTS, DAN, "OWNER"))

    owned.when(structs.replace(CHANGE, name="Mine"), by=DAN).refuses("permission.denied")


def test_delete_group_ends_bindings_and_memberships() -> None:
    """Kestra-iam 5.6: a group's end ends the bindings that name it; members survive."""
    OPERATING.when(DeleteGroup(tenant=MAIN, id=BOTS), by=CAL).then(
        BindingDeleted(tenant=MAIN, id=BindingId("bnd_grp_bots_rol_operator")),
        MemberRemoved(tenant=MAIN, group=BOTS, principal=BOT),
        GroupDeleted(tenant=MAIN, id=BOTS),
    )


def test_delete_group_in_use_is_refused_where_only_unused_was_asked() -> None:
    """Kestra-iam 5.6: the refusal says what depends on it; members alone are no obstacle."""
    command = DeleteGroup(tenant=MAIN, id=BOTS, if_unused=True)

    refusal = OPERATING.when(command, by=CAL).refuses("group.in_use")

    assert (Dependent("BINDING", "bnd_grp_bots_rol_operator"),) == refusal.dependents
    assert WORLD.when(command, by=CAL).events


def test_delete_group_without_permission_is_refused() -> None:
    """Whoever lacks GROUP:DELETE deletes none."""
    WORLD.when(DeleteGroup(tenant=MAIN, id=BOTS), by=DAN).refuses("permission.denied")


def test_delete_group_unknown_or_foreign_is_refused_alike() -> None:
    """Security 2.3: another tenant's group answers as one that never existed."""
    for id_ in (CREW, GroupId("grp_none")):
        WORLD.when(DeleteGroup(tenant=MAIN, id=id_), by=CAL).refuses("group.unknown")


def test_add_member_is_recorded() -> None:
    """Who holds GROUP:MANAGE_MEMBERS adds members, for a time if so asked."""
    command = structs.replace(add(level="OWNER"), not_before=SOON, expires_at=LATER)

    WORLD.when(command, by=CAL).then(member(BOTS, DAN, "OWNER", not_before=SOON, expires_at=LATER))


def test_add_member_by_the_groups_owner_is_recorded() -> None:
    """Kestra-iam 6.3: its owners manage a group's members without any permission."""
    world = OPERATING.and_then(member(BOTS, DAN, "OWNER"))

    world.when(add(CAL), by=DAN).then(member(BOTS, CAL))


def test_add_member_by_the_groups_owner_before_or_after_its_time_is_refused() -> None:
    """An owner manages members only within its own time."""
    early = WORLD.and_then(member(BOTS, DAN, "OWNER", not_before=SOON))
    late = WORLD.and_then(member(BOTS, DAN, "OWNER", expires_at=SOON)).later(SOON)

    early.when(add(CAL), by=DAN).refuses("permission.denied")
    late.when(add(CAL), by=DAN).refuses("permission.denied")


def test_add_member_with_the_legacy_permission_is_recorded() -> None:
    """Kestra-iam 5.3: GROUP_MEMBERSHIP:CREATE does for adding."""
    legacy = role(RoleId("rol_legacy"), from_lists({"GROUP_MEMBERSHIP": ["CREATE"]}))
    world = WORLD.and_then(legacy, bound(DAN, legacy.id))

    world.when(add(CAL), by=DAN).then(member(BOTS, CAL))
    world.when(remove(), by=DAN).refuses("permission.denied")


def test_add_member_without_permission_is_refused() -> None:
    """A plain member manages nobody."""
    world = WORLD.and_then(member(BOTS, DAN))

    world.when(add(CAL), by=DAN).refuses("permission.denied")


def test_add_member_to_a_group_that_holds_more_than_the_caller_is_refused() -> None:
    """Security 2.2: a membership gives what the group's bindings give."""
    OPERATING.when(add(), by=CAL).refuses("group.escalation")
    OPERATING.when(add(CAL), by=CAL).refuses("group.escalation")
    OPERATING.when(add(), by=ADA).then(member(BOTS, DAN))


def test_add_member_to_a_group_that_will_hold_more_is_refused() -> None:
    """Security 2.2: what a group is to have later counts; what it had no longer does."""
    pending = WORLD.and_then(bound(BOTS, OPERATOR, not_before=SOON))
    over = WORLD.and_then(bound(BOTS, OPERATOR, expires_at=SOON)).later(SOON)

    pending.when(add(), by=CAL).refuses("group.escalation")
    over.when(add(), by=CAL).then(member(BOTS, DAN))


def test_add_member_who_is_one_is_refused() -> None:
    """Kestra-iam 6.3: a member is not added again while it is one."""
    WORLD.when(add(BOT), by=CAL).refuses("group.already_member")


def test_add_member_whose_time_is_over_is_recorded() -> None:
    """Kestra-iam 8: an expired membership may be added anew."""
    world = WORLD.and_then(member(BOTS, DAN, expires_at=SOON)).later(SOON)

    world.when(add(), by=CAL).then(member(BOTS, DAN))


def test_add_member_with_an_impossible_span_is_refused() -> None:
    """Kestra-iam 8: the end lies in the future and after the beginning."""
    for span in ({"expires_at": PAST}, {"not_before": LATER, "expires_at": SOON}):
        WORLD.when(structs.replace(add(), **span), by=CAL).refuses("membership.invalid")


def test_add_member_without_access_gains_it_and_the_default_role() -> None:
    """Kestra-iam 5.6: a user who gains access gets the default role; a program does not."""
    world = WORLD.and_then(RoleMadeDefault(tenant=MAIN, id=MANAGER))

    world.when(add(EVE), by=CAL).then(
        TenantAccessGranted(tenant=MAIN, principal=EVE),
        bound(EVE, MANAGER, id_=SPARE),
        member(BOTS, EVE),
    )
    world.when(add(DRONE), by=CAL).then(
        TenantAccessGranted(tenant=MAIN, principal=DRONE), member(BOTS, DRONE)
    )


def test_add_member_without_access_where_the_default_role_is_more_than_held_is_refused() -> None:
    """Security 2.2: the default role is a road too."""
    world = WORLD.and_then(RoleMadeDefault(tenant=MAIN, id=OPERATOR))

    world.when(add(EVE), by=CAL).refuses("tenant_access.escalation")


def test_add_member_without_access_by_an_owner_of_the_group_is_refused_alike() -> None:
    """Security 2.3: an owner learns nothing of principals outside the tenant."""
    world = WORLD.and_then(member(BOTS, DAN, "OWNER"))

    foreign = world.when(add(EVE), by=DAN).refuses("tenant_access.missing")
    unknown = world.when(add(NOBODY), by=DAN).refuses("tenant_access.missing")

    assert foreign.detail.replace(EVE, NOBODY) == unknown.detail


def test_add_member_unknown_is_refused() -> None:
    """Unknown principals and groups are refused to whom may know."""
    WORLD.when(add(NOBODY), by=CAL).refuses("principal.unknown")
    WORLD.when(add(group_id=CREW), by=CAL).refuses("group.unknown")


def test_add_member_beyond_the_limits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Security 6.2: the groups of a principal and the members of a group are limited."""
    monkeypatch.setattr("domain.principals.GROUPS_A_PRINCIPAL_MAX", 1)
    other = WORLD.and_then(group(NEW_GROUP, "Night"))

    other.when(add(BOT, NEW_GROUP), by=CAL).refuses("group.too_many")
    monkeypatch.setattr("domain.principals.MEMBERS_A_GROUP_MAX", 1)
    other.when(add(DAN), by=CAL).refuses("group.full")


def test_remove_member_is_recorded() -> None:
    """Taking away needs no more than GROUP:MANAGE_MEMBERS."""
    OPERATING.when(remove(), by=CAL).then(MemberRemoved(tenant=MAIN, group=BOTS, principal=BOT))


def test_remove_member_by_the_groups_owner_is_recorded() -> None:
    """Kestra-iam 6.3: its owners manage a group's members."""
    world = WORLD.and_then(member(BOTS, DAN, "OWNER"))

    world.when(remove(), by=DAN).then(MemberRemoved(tenant=MAIN, group=BOTS, principal=BOT))


def test_remove_member_without_permission_is_refused() -> None:
    """Whoever lacks GROUP:MANAGE_MEMBERS removes nobody."""
    WORLD.when(remove(), by=DAN).refuses("permission.denied")


def test_remove_member_who_is_none_is_refused() -> None:
    """Kestra-iam 6.3: one who is no member, or no longer, cannot be removed."""
    over = WORLD.and_then(member(BOTS, DAN, expires_at=SOON)).later(SOON)

    WORLD.when(remove(DAN), by=CAL).refuses("group.not_member")
    over.when(remove(DAN), by=CAL).refuses("group.not_member")
    WORLD.when(remove(group_id=CREW), by=CAL).refuses("group.unknown")


def test_change_membership_is_recorded() -> None:
    """A member becomes an owner."""
    WORLD.when(change("OWNER"), by=CAL).then(
        MembershipChanged(tenant=MAIN, group=BOTS, principal=BOT, level="OWNER")
    )


def test_change_membership_by_the_groups_owner_is_recorded() -> None:
    """Kestra-iam 6.3: its owners manage a group's members."""
    world = WORLD.and_then(member(BOTS, DAN, "OWNER"))

    assert world.when(change("OWNER"), by=DAN).events


def test_change_membership_to_what_it_is_records_nothing() -> None:
    """There is nothing to do."""
    WORLD.when(change("MEMBER"), by=CAL).records_nothing()


def test_change_membership_without_permission_is_refused() -> None:
    """Nobody makes itself an owner."""
    world = WORLD.and_then(member(BOTS, DAN))

    world.when(change("OWNER", DAN), by=DAN).refuses("permission.denied")


def test_change_membership_of_a_stranger_is_refused() -> None:
    """One who is no member has no level."""
    WORLD.when(change("OWNER", DAN), by=CAL).refuses("group.not_member")


def test_replace_groups_records_who_leaves_and_joins() -> None:
    """Kestra-iam 6.3: a full replacement in this tenant."""
    world = WORLD.and_then(group(NEW_GROUP, "Night"))

    world.when(replace(NEW_GROUP), by=CAL).then(
        MemberRemoved(tenant=MAIN, group=BOTS, principal=BOT), member(NEW_GROUP, BOT)
    )


def test_replace_groups_keeps_other_tenants_and_expired_ones_go() -> None:
    """Only the memberships of this tenant are replaced."""
    world = WORLD.and_then(
        TenantAccessGranted(tenant=MAIN, principal=DRONE),
        member(CREW, DRONE, tenant=BETA),
        member(BOTS, DRONE, expires_at=SOON),
    ).later(SOON)

    world.when(replace(principal=DRONE), by=CAL).then(
        MemberRemoved(tenant=MAIN, group=BOTS, principal=DRONE)
    )


def test_replace_groups_keeps_the_order_that_was_sent() -> None:
    """Kestra-iam 6.6: the order is kept, with level and time, and needs no new right."""
    world = OPERATING.and_then(
        group(NEW_GROUP, "Night"), member(NEW_GROUP, BOT, "OWNER", expires_at=LATER)
    )

    world.when(replace(NEW_GROUP, BOTS), by=CAL).then(
        MemberRemoved(tenant=MAIN, group=BOTS, principal=BOT),
        MemberRemoved(tenant=MAIN, group=NEW_GROUP, principal=BOT),
        member(NEW_GROUP, BOT, "OWNER", expires_at=LATER),
        member(BOTS, BOT),
    )


def test_replace_groups_by_the_same_records_nothing() -> None:
    """There is nothing to do, also when a group is named twice."""
    WORLD.when(replace(BOTS, BOTS), by=CAL).records_nothing()


def test_replace_groups_beyond_the_callers_own_rights_is_refused() -> None:
    """Security 2.2: a membership gives what the group's bindings give."""
    OPERATING.when(replace(BOTS, principal=DAN), by=CAL).refuses("group.escalation")


def test_replace_groups_without_permission_is_refused() -> None:
    """USER:MANAGE_GROUP_MEMBERSHIP is needed, the group's owner has no exception."""
    world = WORLD.and_then(member(BOTS, DAN, "OWNER"))

    world.when(replace(BOTS, principal=DAN), by=DAN).refuses("permission.denied")


def test_replace_groups_never_grants_access() -> None:
    """Kestra-iam 5.6: one without access to the tenant is refused."""
    WORLD.when(replace(BOTS, principal=EVE), by=ROOT).refuses("tenant_access.missing")
    WORLD.when(replace(BOTS, principal=NOBODY), by=ROOT).refuses("principal.unknown")


def test_replace_groups_by_unknown_foreign_or_too_many_groups_is_refused() -> None:
    """Security 2.3 and 6.2: another tenant's group answers as one that never existed."""
    WORLD.when(replace(CREW), by=CAL).refuses("group.unknown")
    WORLD.when(replace(GroupId("grp_none")), by=CAL).refuses("group.unknown")
    WORLD.when(replace(*(BOTS,) * 1001), by=CAL).refuses("group.too_many")
