"""Are roles shaped as the rules say, and never by one who lacks what they grant?"""

from __future__ import annotations

import pytest
from msgspec import structs

from domain.errors import Dependent, Requirement
from domain.ids import MAIN, BindingId, RoleId
from domain.permissions import Permissions, from_lists
from domain.principals import BindingDeleted
from domain.roles import (
    ChangeRole,
    CreateRole,
    DefaultRoleEnded,
    DeleteRole,
    RoleCreated,
    RoleDeleted,
    RoleDescribed,
    RoleMadeDefault,
    RolePermissionsSet,
    RoleRenamed,
)
from tests.domain.world import (
    ADA,
    ADMINISTRATION,
    BETA_ROLE,
    BOT,
    CAL,
    DAN,
    MANAGER,
    NEW_ROLE,
    OPERATOR,
    OPERATOR_PERMISSIONS,
    PROD,
    WORLD,
    bound,
    managed,
    role,
)

CREATE = CreateRole(
    tenant=MAIN, id=NEW_ROLE, name="deployer", description="", permissions=OPERATOR_PERMISSIONS
)
CHANGE = ChangeRole(
    tenant=MAIN,
    id=OPERATOR,
    name="operator",
    description="",
    permissions=OPERATOR_PERMISSIONS,
    is_default=False,
)
DEFAULT = WORLD.and_then(RoleMadeDefault(tenant=MAIN, id=OPERATOR))


def wider(extra: dict[str, list[str]]) -> Permissions:
    """The operator's permissions and more."""
    return (*OPERATOR_PERMISSIONS, *from_lists(extra))


def test_create_role_is_recorded_exactly_as_sent() -> None:
    """Kestra-iam rule 7: same order, same spelling, nothing expanded."""
    mixed = from_lists({"record": ["write", "read"], "FLOW": ["UPDATE", "READ"]})

    WORLD.when(structs.replace(CREATE, name=" deployer ", permissions=mixed), by=ADA).then(
        RoleCreated(tenant=MAIN, id=NEW_ROLE, name="deployer", permissions=mixed)
    )


def test_create_role_of_a_name_taken_is_recorded() -> None:
    """Kestra-iam 2.4: role names need not be unique."""
    assert WORLD.when(structs.replace(CREATE, name="operator"), by=ADA).events


def test_create_role_as_default_is_recorded() -> None:
    """A role may be the default from its beginning."""
    WORLD.when(structs.replace(CREATE, is_default=True), by=ADA).then(
        RoleCreated(tenant=MAIN, id=NEW_ROLE, name="deployer", permissions=OPERATOR_PERMISSIONS),
        RoleMadeDefault(tenant=MAIN, id=NEW_ROLE),
    )


def test_create_role_without_permission_is_refused() -> None:
    """Whoever lacks ROLE:CREATE makes none."""
    WORLD.when(CREATE, by=DAN).refuses("permission.denied")


def test_create_role_beyond_the_callers_own_rights_is_refused() -> None:
    """Security 2.2: each permission of a new role must be held, and in the whole tenant."""
    in_prod = WORLD.and_then(bound(CAL, OPERATOR, PROD))

    refusal = WORLD.when(CREATE, by=CAL).refuses("role.escalation")

    assert Requirement("EXECUTION", "READ") in refusal.required
    in_prod.when(CREATE, by=CAL).refuses("role.escalation")
    assert WORLD.when(structs.replace(CREATE, permissions=ADMINISTRATION), by=CAL).events


@pytest.mark.parametrize(
    "lists", [{"*": ["VIEW"]}, {"GROUP": ["*"], "*": ["*"]}, {"FLOW": ["*"]}, {"USERS": ["VIEW"]}]
)
def test_create_role_with_a_wildcard_that_is_not_held_is_refused(
    lists: dict[str, list[str]],
) -> None:
    """Security 2.2: a wildcard is given only by who holds that wildcard or a wider one."""
    command = structs.replace(CREATE, permissions=from_lists(lists))

    WORLD.when(command, by=CAL).refuses("role.escalation")


def test_create_role_with_malformed_words_is_refused() -> None:
    """Every field that does not fit is named."""
    permissions = from_lists({"no type": ["VIEW"], "FLOW": ["no action"]})
    command = structs.replace(CREATE, name="", description="\x00", permissions=permissions)

    refusal = WORLD.when(command, by=ADA).refuses("role.invalid")

    paths = ["name", "description", "permissions", "permissions.FLOW"]
    assert paths == [fault.path for fault in refusal.fields]


def test_create_role_of_too_many_permissions_is_refused() -> None:
    """Security 6.2: a role has at most 2,000 permissions."""
    many = from_lists({"T": [f"A{number}" for number in range(2001)]})

    refusal = WORLD.when(structs.replace(CREATE, permissions=many), by=ADA).refuses("role.invalid")

    assert ["too_many"] == [fault.code for fault in refusal.fields]


def test_create_role_with_too_many_words_for_the_tenant_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Security 6.2: a tenant names at most 10,000 different permissions, known ones are free."""
    monkeypatch.setattr("domain.roles.PERMISSIONS_A_TENANT_MAX", 300)
    new = from_lists({"T": [f"A{number}" for number in range(300)]})

    refusal = WORLD.when(structs.replace(CREATE, permissions=new), by=ADA).refuses("role.invalid")

    assert ["too_many"] == [fault.code for fault in refusal.fields]
    assert WORLD.when(CREATE, by=ADA).events


def test_change_role_records_what_changed() -> None:
    """New name, description and permissions are three facts."""
    more = wider({"TRIGGER": ["VIEW"]})
    command = structs.replace(CHANGE, name="op", description="Runs.", permissions=more)

    WORLD.when(command, by=ADA).then(
        RoleRenamed(tenant=MAIN, id=OPERATOR, name="op"),
        RoleDescribed(tenant=MAIN, id=OPERATOR, description="Runs."),
        RolePermissionsSet(tenant=MAIN, id=OPERATOR, permissions=more),
    )


def test_change_role_to_what_it_is_records_nothing() -> None:
    """There is nothing to do."""
    WORLD.when(CHANGE, by=CAL).records_nothing()


def test_change_role_by_a_permission_that_is_not_held_is_refused() -> None:
    """Security 2.2: a role that others or oneself hold is a road; what it had already is not."""
    more = structs.replace(CHANGE, permissions=wider({"SECRET": ["VIEW"]}))

    refusal = WORLD.when(more, by=CAL).refuses("role.escalation")

    assert (Requirement("SECRET", "VIEW"),) == refusal.required
    held = structs.replace(CHANGE, permissions=wider({"GROUP": ["VIEW"]}))
    assert WORLD.when(held, by=CAL).events


def test_change_role_by_taking_away_needs_no_more_than_the_permission() -> None:
    """Who may edit a role may make it smaller or reorder it."""
    less = OPERATOR_PERMISSIONS[:1]

    WORLD.when(structs.replace(CHANGE, permissions=less), by=CAL).then(
        RolePermissionsSet(tenant=MAIN, id=OPERATOR, permissions=less)
    )
    turned = OPERATOR_PERMISSIONS[::-1]
    assert WORLD.when(structs.replace(CHANGE, permissions=turned), by=CAL).events


def test_change_role_without_permission_is_refused() -> None:
    """Whoever lacks ROLE:UPDATE changes none."""
    WORLD.when(CHANGE, by=DAN).refuses("permission.denied")


def test_change_role_unknown_or_foreign_is_refused_alike() -> None:
    """Security 2.3: another tenant's role answers as one that never existed."""
    for id_ in (BETA_ROLE, RoleId("rol_none")):
        refusal = WORLD.when(structs.replace(CHANGE, id=id_), by=ADA).refuses("role.unknown")
        assert f"no role {id_}" == refusal.detail


def test_change_role_with_malformed_words_is_refused() -> None:
    """Every field that does not fit is named."""
    refusal = WORLD.when(structs.replace(CHANGE, name="\n"), by=ADA).refuses("role.invalid")

    assert ["name"] == [fault.path for fault in refusal.fields]


def test_change_role_that_is_managed_is_refused_except_for_the_default() -> None:
    """Kestra-iam 5.4: a change that sets only isDefault passes."""
    viewer = WORLD.state.roles[managed(MAIN, "Viewer")]
    same = structs.replace(
        CHANGE, id=viewer.id, name=viewer.name, permissions=viewer.permissions, is_default=True
    )

    WORLD.when(structs.replace(same, name="Mine"), by=ADA).refuses("role.managed")
    WORLD.when(structs.replace(same, permissions=ADMINISTRATION), by=ADA).refuses("role.managed")
    WORLD.when(same, by=ADA).then(RoleMadeDefault(tenant=MAIN, id=viewer.id))


def test_change_role_into_the_default_is_recorded() -> None:
    """Kestra-iam 5.6: the latest default wins."""
    again = DEFAULT.and_then(RoleMadeDefault(tenant=MAIN, id=MANAGER))

    WORLD.when(structs.replace(CHANGE, is_default=True), by=ADA).then(
        RoleMadeDefault(tenant=MAIN, id=OPERATOR)
    )
    DEFAULT.when(structs.replace(CHANGE, is_default=True), by=ADA).records_nothing()
    assert MANAGER == again.state.default_roles[MAIN]
    again.when(CHANGE, by=ADA).records_nothing()


def test_change_role_into_a_default_that_is_not_held_is_refused() -> None:
    """Security 2.2: whoever gains access gets the default role, so it is a road."""
    WORLD.when(structs.replace(CHANGE, is_default=True), by=CAL).refuses("role.escalation")


def test_change_role_out_of_the_default_is_recorded() -> None:
    """A tenant may have no default role."""
    DEFAULT.when(CHANGE, by=CAL).then(DefaultRoleEnded(tenant=MAIN, id=OPERATOR))


def test_delete_role_ends_its_bindings() -> None:
    """Kestra-iam 5.6: the bindings that name a role end with it, in the same command."""
    world = WORLD.and_then(bound(BOT, OPERATOR, id_="bnd_1"))

    world.when(DeleteRole(tenant=MAIN, id=OPERATOR), by=CAL).then(
        BindingDeleted(tenant=MAIN, id=BindingId("bnd_1")), RoleDeleted(tenant=MAIN, id=OPERATOR)
    )


def test_delete_role_that_is_the_default_ends_the_default() -> None:
    """Nobody gets a role that is gone; another default stays."""
    gone = DEFAULT.and_then(RoleDeleted(tenant=MAIN, id=OPERATOR))
    other = DEFAULT.and_then(RoleDeleted(tenant=MAIN, id=MANAGER))

    assert MAIN not in gone.state.default_roles
    assert OPERATOR == other.state.default_roles[MAIN]


def test_delete_role_in_use_is_refused_where_only_unused_was_asked() -> None:
    """Kestra-iam 5.6: the refusal says what depends on it."""
    command = DeleteRole(tenant=MAIN, id=OPERATOR, if_unused=True)
    world = WORLD.and_then(bound(BOT, OPERATOR, id_="bnd_1"))

    refusal = world.when(command, by=CAL).refuses("role.in_use")

    assert (Dependent("BINDING", "bnd_1"),) == refusal.dependents
    WORLD.when(command, by=CAL).then(RoleDeleted(tenant=MAIN, id=OPERATOR))


@pytest.mark.parametrize(
    ("lists", "named"), [({"ROLE": ["DELETE"]}, 0), ({"BINDING": ["LIST"]}, 1)]
)
def test_delete_role_in_use_names_bindings_only_to_one_who_may_see_them(
    lists: dict[str, list[str]], named: int
) -> None:
    """Security 2.12: dependents hold only what the caller's right to list or view covers."""
    keeper = role(RoleId("rol_keeper"), from_lists({"ROLE": ["DELETE"], **lists}))
    world = WORLD.and_then(keeper, bound(DAN, keeper.id), bound(BOT, OPERATOR))

    outcome = world.when(DeleteRole(tenant=MAIN, id=OPERATOR, if_unused=True), by=DAN)

    assert named == len(outcome.refuses("role.in_use").dependents)


def test_delete_role_that_is_managed_is_refused() -> None:
    """Kestra-iam 5.4: managed roles stay."""
    command = DeleteRole(tenant=MAIN, id=managed(MAIN, "Viewer"))

    WORLD.when(command, by=ADA).refuses("role.managed")


def test_delete_role_without_permission_is_refused() -> None:
    """Whoever lacks ROLE:DELETE deletes none."""
    WORLD.when(DeleteRole(tenant=MAIN, id=OPERATOR), by=DAN).refuses("permission.denied")


def test_delete_role_unknown_or_foreign_is_refused_alike() -> None:
    """Security 2.3: another tenant's role answers as one that never existed."""
    for id_ in (BETA_ROLE, RoleId("rol_none")):
        WORLD.when(DeleteRole(tenant=MAIN, id=id_), by=ADA).refuses("role.unknown")
