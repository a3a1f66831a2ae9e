"""Who may let applications know a principal by another name, and for how long? (authzen 3)."""

from __future__ import annotations

import pytest
from msgspec import UNSET, structs

from domain.access import Narrowing
from domain.aliases import AliasRemoved, AliasSet, RemoveAlias, SetAlias
from domain.groups import ChangeGroup, CreateGroup, GroupCreated, GroupRenamed
from domain.ids import MAIN, GroupId, PrincipalId, RoleId, ServiceAccountId, TenantId, TokenId
from domain.limits import ALIASES_A_PRINCIPAL_MAX
from domain.permissions import from_lists
from domain.principals import TenantAccessEnded, TenantAccessGranted, TokenRevoked
from domain.sealed import Secret
from domain.service_accounts import (
    ChangeServiceAccount,
    CreateServiceAccount,
    DeleteServiceAccount,
    ServiceAccountDeleted,
    ServiceAccountRenamed,
)
from domain.state import State
from domain.tenants import DeleteTenant, EndTenantAccess, TenantDeleted
from domain.users import ChangeUser, DeleteUser, UserDeleted
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
    NEW,
    NEW_BOT,
    NEW_GROUP,
    OPERATOR,
    ROOT,
    SHARED,
    WORLD,
    account,
    alias,
    alias_index,
    bound,
    member,
    role,
    sealed,
    token,
)

SPIFFE = "spiffe://example/ci/bot"
PEOPLE_ONLY = RoleId("rol_people")
PROGRAMS_ONLY = RoleId("rol_programs")
TWO_HALVES = WORLD.and_then(
    role(PEOPLE_ONLY, from_lists({"USER": ["UPDATE"]})),
    role(PROGRAMS_ONLY, from_lists({"SERVICE_ACCOUNT": ["UPDATE"]})),
)


def setting(principal: PrincipalId, type_: str, text: str, *, tenant: TenantId = MAIN) -> SetAlias:
    """The command that sets an alias, as the edge makes it."""
    return SetAlias(
        tenant=tenant,
        principal=principal,
        type=type_,
        id=Secret(text),
        index=alias_index(tenant, type_, text),
        sealed=UNSET if principal.startswith("sa_") else sealed(text),
    )


def removing(
    principal: PrincipalId, type_: str, text: str, *, tenant: TenantId = MAIN
) -> RemoveAlias:
    """The command that takes an alias away."""
    index = alias_index(tenant, type_, text)
    return RemoveAlias(tenant=tenant, principal=principal, type=type_, index=index)


def removed(set_: AliasSet) -> AliasRemoved:
    """The end of an alias."""
    return AliasRemoved(
        tenant=set_.tenant, principal=set_.principal, type=set_.type, index=set_.index
    )


# Setting


def test_set_alias_of_a_service_account_stands_in_the_clear() -> None:
    """A program's other names are nobody's personal data."""
    WORLD.when(setting(BOT, "identity", SPIFFE), by=ADA).then(
        AliasSet(
            tenant=MAIN,
            principal=BOT,
            type="identity",
            index=alias_index(MAIN, "identity", SPIFFE),
            text=SPIFFE,
        )
    )


def test_set_alias_of_a_user_stands_sealed() -> None:
    """A person's alias is personal data: the event holds what the vault sealed."""
    WORLD.when(setting(DAN, "user", "dan"), by=ADA).then(
        AliasSet(
            tenant=MAIN,
            principal=DAN,
            type="user",
            index=alias_index(MAIN, "user", "dan"),
            text=sealed("dan"),
        )
    )


def test_set_alias_of_a_user_nothing_sealed_is_refused() -> None:
    """Who came to be while the edge was sealing is not known yet; nothing stands in the clear."""
    command = structs.replace(setting(DAN, "user", "dan"), sealed=UNSET)

    WORLD.when(command, by=ADA).refuses("principal.unknown")


def test_set_alias_again_records_nothing() -> None:
    """The same alias of the same principal is there already."""
    held = WORLD.and_then(alias(BOT, "identity", SPIFFE), alias(DAN, "user", "dan"))

    held.when(setting(BOT, "identity", SPIFFE), by=ADA).records_nothing()
    held.when(setting(DAN, "user", "dan"), by=ADA).records_nothing()


def test_set_alias_that_another_has_is_refused() -> None:
    """An alias is unique in its tenant and type; elsewhere it may be another's."""
    held = WORLD.and_then(alias(BOT, "identity", SPIFFE))

    refusal = held.when(setting(SHARED, "identity", SPIFFE), by=ADA).refuses("alias.taken")
    held.when(setting(DAN, "identity", SPIFFE), by=ADA).refuses("alias.taken")
    held.when(setting(SHARED, "employee", SPIFFE), by=ADA).then(alias(SHARED, "employee", SPIFFE))
    held.when(setting(SHARED, "identity", SPIFFE, tenant=BETA), by=EVE).then(
        alias(SHARED, "identity", SPIFFE, tenant=BETA)
    )
    assert SPIFFE not in repr((refusal.detail, refusal.fields))


def test_set_alias_of_a_removed_one_is_free() -> None:
    """Whose alias has ended leaves it to others."""
    set_ = alias(BOT, "identity", SPIFFE)

    ended = WORLD.and_then(set_, removed(set_))

    ended.when(setting(SHARED, "identity", SPIFFE), by=ADA).then(alias(SHARED, "identity", SPIFFE))
    assert not len(ended.state.aliases)
    assert not len(ended.state.aliases_of)


@pytest.mark.parametrize("text", [ADA, BOT, BOTS])
def test_set_alias_that_is_an_id_is_refused(text: str) -> None:
    """An id is looked for first, so a name that is one would never be found."""
    refusal = WORLD.when(setting(BOT, "identity", text), by=ADA).refuses("alias.is_id")

    assert ["id"] == [fault.path for fault in refusal.fields]
    assert text not in refusal.detail


@pytest.mark.parametrize("text", [EVE, DRONE, CREW, "usr_none"])
def test_set_alias_that_is_an_id_elsewhere_tells_nothing(text: str) -> None:
    """Security 2.3: an id of another tenant is taken as one that never existed."""
    WORLD.when(setting(BOT, "identity", text), by=ADA).then(alias(BOT, "identity", text))


@pytest.mark.parametrize(
    ("type_", "text", "paths"),
    [
        ("", "x", ["type"]),
        ("identity", "", ["id"]),
        ("i" * 257, "x", ["type"]),
        ("identity", "x" * 257, ["id"]),
        ("a\x1bb", "a\nb", ["type", "id"]),
        ("identity", " x", ["id"]),
        ("identity", "x\u200b", ["id"]),
    ],
)
def test_set_alias_of_no_good_form_is_refused(type_: str, text: str, paths: list[str]) -> None:
    """Types and ids have 1 to 256 visible characters, and the refusal does not quote them."""
    refusal = WORLD.when(setting(BOT, type_, text), by=ADA).refuses("alias.invalid")

    assert paths == [fault.path for fault in refusal.fields]


def test_set_alias_longest_is_accepted() -> None:
    """256 characters are not too many."""
    command = setting(BOT, "i" * 256, "x" * 256)

    WORLD.when(command, by=ADA).then(alias(BOT, "i" * 256, "x" * 256))


@pytest.mark.parametrize(
    ("principal", "type_"),
    [(BOT, "user"), (DAN, "service_account"), (BOT, "group"), (DAN, "group")],
)
def test_set_alias_of_another_kind_is_refused(principal: PrincipalId, type_: str) -> None:
    """`user` is for users, `service_account` for service accounts, `group` for nobody."""
    refusal = WORLD.when(setting(principal, type_, "x"), by=ADA).refuses("alias.invalid")

    assert ["type"] == [fault.path for fault in refusal.fields]


@pytest.mark.parametrize(
    ("principal", "type_"),
    [(BOT, "service_account"), (DAN, "user"), (BOT, "identity"), (DAN, "identity")],
)
def test_set_alias_of_any_fitting_kind_is_accepted(principal: PrincipalId, type_: str) -> None:
    """Any other type is for both."""
    WORLD.when(setting(principal, type_, "x"), by=ADA).then(alias(principal, type_, "x"))


def test_set_alias_too_many_is_refused() -> None:
    """A principal has at most 20 aliases in a tenant; those elsewhere do not count."""
    many = [alias(SHARED, "identity", f"{n}") for n in range(ALIASES_A_PRINCIPAL_MAX)]
    full = WORLD.and_then(*many)

    full.when(setting(SHARED, "identity", "x"), by=ADA).refuses("alias.too_many")
    full.when(setting(SHARED, "identity", "0"), by=ADA).records_nothing()
    full.when(setting(SHARED, "identity", "x", tenant=BETA), by=EVE).then(
        alias(SHARED, "identity", "x", tenant=BETA)
    )
    full.and_then(removed(many[0])).when(setting(SHARED, "identity", "x"), by=ADA).then(
        alias(SHARED, "identity", "x")
    )


# Who may


def test_set_alias_without_permission_is_refused() -> None:
    """It needs USER:UPDATE or SERVICE_ACCOUNT:UPDATE in the tenant."""
    WORLD.when(setting(BOT, "identity", SPIFFE), by=DAN).refuses("permission.denied")
    WORLD.when(setting(BOT, "identity", SPIFFE), by=EVE).refuses("tenant.unknown")


@pytest.mark.parametrize("principal", [EVE, DRONE, NEW, NEW_BOT])
def test_alias_of_one_without_access_is_unknown(principal: PrincipalId) -> None:
    """Security 2.3: strangers to the tenant and nobody are alike, in both commands."""
    expected = f"no user or service account {principal}"

    for command in (setting(principal, "identity", "x"), removing(principal, "identity", "x")):
        assert expected == WORLD.when(command, by=ADA).refuses("principal.unknown").detail


@pytest.mark.parametrize(
    ("holds", "may", "may_not"), [(PEOPLE_ONLY, CAL, BOT), (PROGRAMS_ONLY, BOT, CAL)]
)
def test_alias_of_the_other_kind_is_unknown(
    holds: RoleId, may: PrincipalId, may_not: PrincipalId
) -> None:
    """USER:UPDATE is for users' aliases, SERVICE_ACCOUNT:UPDATE for service accounts'."""
    held = TWO_HALVES.and_then(
        bound(DAN, holds), alias(CAL, "identity", "cal"), alias(BOT, "identity", "bot")
    )
    names = {CAL: "cal", BOT: "bot"}

    held.when(removing(may, "identity", names[may]), by=DAN).then(
        removed(alias(may, "identity", names[may]))
    )
    held.when(removing(may_not, "identity", names[may_not]), by=DAN).refuses("principal.unknown")
    held.when(setting(may_not, "identity", "x"), by=DAN).refuses("principal.unknown")


def test_set_alias_of_one_with_more_rights_is_refused() -> None:
    """Security 2.2: whoever is known by an alias acts with its carrier's rights there."""
    own = WORLD.and_then(bound(BOT, OPERATOR))
    by_group = WORLD.and_then(bound(BOTS, OPERATOR))
    leads = TWO_HALVES.and_then(member(BOTS, SHARED, "OWNER"), bound(DAN, PROGRAMS_ONLY))

    for world in (own, by_group):
        refusal = world.when(setting(BOT, "identity", SPIFFE), by=CAL).refuses("alias.escalation")
        assert ("FLOW", "EXECUTE") in {(one.type, one.action) for one in refusal.required}
        world.when(setting(BOT, "identity", SPIFFE), by=ADA).then(alias(BOT, "identity", SPIFFE))
    leads.when(setting(SHARED, "identity", SPIFFE), by=DAN).refuses("alias.escalation")


def test_set_alias_counts_the_rights_of_its_tenant_only() -> None:
    """What a principal holds elsewhere, or as instance owner, no alias here gives."""
    world = WORLD.and_then(
        bound(SHARED, BETA_ROLE, tenant=BETA), TenantAccessGranted(tenant=MAIN, principal=ROOT)
    )

    world.when(setting(SHARED, "identity", SPIFFE), by=CAL).then(alias(SHARED, "identity", SPIFFE))
    world.when(setting(ROOT, "user", "root"), by=CAL).then(alias(ROOT, "user", "root"))


def test_set_own_alias_is_allowed_unless_the_token_is_narrowed() -> None:
    """To oneself one gives nothing; but a narrowed token would give all that its owner holds."""
    narrow = TokenId("tok_narrow")
    plain = TokenId("tok_plain")
    world = WORLD.and_then(
        token(narrow, ADA, Narrowing(permissions=from_lists({"USER": ["*"]}))), token(plain, ADA)
    )
    command = setting(ADA, "user", "ada")

    world.when(command, by=ADA).then(alias(ADA, "user", "ada"))
    world.when(command, by=ADA, token=plain).then(alias(ADA, "user", "ada"))
    world.when(command, by=ADA, token=narrow).refuses("alias.escalation")
    world.when(setting(DAN, "user", "dan"), by=ADA, token=narrow).then(alias(DAN, "user", "dan"))


# Removing


def test_remove_alias_ends_it() -> None:
    """It is gone, whatever its carrier holds: removing gives nothing."""
    world = WORLD.and_then(alias(BOT, "identity", SPIFFE), bound(BOT, OPERATOR))

    world.when(removing(BOT, "identity", SPIFFE), by=CAL).then(
        removed(alias(BOT, "identity", SPIFFE))
    )


def test_remove_alias_unknown_is_refused() -> None:
    """An alias that nobody has, or another, is none of this principal's."""
    world = WORLD.and_then(alias(SHARED, "identity", SPIFFE))

    world.when(removing(BOT, "identity", "x"), by=ADA).refuses("alias.unknown")
    world.when(removing(BOT, "employee", SPIFFE), by=ADA).refuses("alias.unknown")
    refusal = world.when(removing(BOT, "identity", SPIFFE), by=ADA).refuses("alias.unknown")
    assert SPIFFE not in refusal.detail


def test_remove_alias_without_permission_is_refused() -> None:
    """As for setting one."""
    world = WORLD.and_then(alias(BOT, "identity", SPIFFE))

    world.when(removing(BOT, "identity", SPIFFE), by=DAN).refuses("permission.denied")


# Ends


def test_end_of_access_ends_the_aliases_there() -> None:
    """Aliases hang on access to their tenant, and only on that."""
    here, there = alias(SHARED, "identity", "1"), alias(SHARED, "identity", "1", tenant=BETA)
    world = WORLD.and_then(here, there)

    world.when(EndTenantAccess(tenant=MAIN, principal=SHARED), by=ADA).then(
        removed(here), TenantAccessEnded(tenant=MAIN, principal=SHARED)
    )


def test_other_tenants_of_a_user_end_its_aliases() -> None:
    """A new list of tenants ends access like any other end."""
    held = alias(DAN, "user", "dan")

    WORLD.and_then(held).when(ChangeUser(id=DAN, tenants=()), by=ROOT).then(
        removed(held), TenantAccessEnded(tenant=MAIN, principal=DAN)
    )


def test_deletion_ends_all_aliases() -> None:
    """Who is gone is known by no name."""
    here, there = alias(SHARED, "identity", "1"), alias(SHARED, "identity", "1", tenant=BETA)
    user = alias(DAN, "user", "dan")
    world = WORLD.and_then(here, there, user, token(TokenId("tok_1"), SHARED))

    assert {
        TokenRevoked(id=TokenId("tok_1")),
        removed(here),
        TenantAccessEnded(tenant=MAIN, principal=SHARED),
        removed(there),
        TenantAccessEnded(tenant=BETA, principal=SHARED),
        ServiceAccountDeleted(id=SHARED),
    } == {*world.when(DeleteServiceAccount(id=SHARED), by=ROOT).events}
    world.when(DeleteUser(id=DAN), by=ROOT).then(
        removed(user), TenantAccessEnded(tenant=MAIN, principal=DAN), UserDeleted(id=DAN)
    )


def test_deleted_tenant_keeps_its_aliases_out_of_reach() -> None:
    """Like groups and bindings they stay as they were, and no command reaches them."""
    held = alias(SHARED, "identity", "1", tenant=BETA)
    world = WORLD.and_then(held)

    world.when(DeleteTenant(id=BETA), by=ROOT).then(TenantDeleted(tenant=BETA))
    gone = world.and_then(TenantDeleted(tenant=BETA))
    gone.when(removing(SHARED, "identity", "1", tenant=BETA), by=ROOT).refuses("tenant.unknown")


# Names that are ids


def test_new_group_name_that_is_an_id_is_refused() -> None:
    """Neither a new group nor a new name of one takes an id for its name."""
    create = CreateGroup(tenant=MAIN, id=NEW_GROUP, name=BOT)
    change = ChangeGroup(tenant=MAIN, id=BOTS, name=ADA, description="")

    for command in (create, change, structs.replace(create, name=BOTS)):
        refusal = WORLD.when(command, by=ADA).refuses("name.is_id")
        assert ["name"] == [fault.path for fault in refusal.fields]


def test_new_group_name_that_is_an_id_elsewhere_tells_nothing() -> None:
    """Security 2.3: an id of another tenant is taken as one that never existed."""
    create = CreateGroup(tenant=MAIN, id=NEW_GROUP, name=DRONE)
    change = ChangeGroup(tenant=MAIN, id=BOTS, name=CREW, description="")

    WORLD.when(create, by=ADA).then(GroupCreated(tenant=MAIN, id=NEW_GROUP, name=DRONE))
    WORLD.when(change, by=ADA).then(GroupRenamed(tenant=MAIN, id=BOTS, name=CREW))


def test_new_account_name_that_is_an_id_is_refused() -> None:
    """Nor does a service account; for an instance owner the ids of every tenant count."""
    id_ = ServiceAccountId("sa-1")
    world = WORLD.and_then(*account(id_, BETA))
    create = CreateServiceAccount(id=NEW_BOT, name=id_)
    change = ChangeServiceAccount(id=BOT, name=id_)

    world.when(create, by=ROOT).refuses("name.is_id")
    world.when(change, by=ROOT).refuses("name.is_id")
    world.when(structs.replace(change, tenant=BETA, id=DRONE), by=EVE).refuses("name.is_id")
    world.when(structs.replace(change, tenant=MAIN), by=ADA).then(
        ServiceAccountRenamed(id=BOT, name=id_)
    )


def test_new_account_name_that_is_a_groups_id_is_refused() -> None:
    """A group's id is one as well."""
    id_ = GroupId("a-group")
    world = WORLD.and_then(GroupCreated(tenant=BETA, id=id_, name="A group"))

    world.when(CreateServiceAccount(id=NEW_BOT, name=id_), by=ROOT).refuses("name.is_id")


# Memory


def test_alias_events_of_nobody_are_folded() -> None:
    """An event that was recorded is never refused, even the end of what is not there."""
    state = WORLD.and_then(removed(alias(BOT, "identity", "x"))).state

    assert WORLD.state.aliases == state.aliases == State().aliases
