"""Are users made, changed and ended as the rules say?"""

from __future__ import annotations

import pytest
from msgspec import UNSET, structs

from domain.access import Narrowing
from domain.ids import MAIN, BindingId, GroupId, TokenId, UserId
from domain.principals import (
    BindingDeleted,
    InstanceOwnerGranted,
    InstanceOwnerRevoked,
    MemberRemoved,
    TenantAccessEnded,
    TenantAccessGranted,
    TokenRevoked,
)
from domain.roles import RoleMadeDefault
from domain.tenants import TenantDeleted
from domain.users import (
    ChangeOwnPassword,
    ChangeOwnProfile,
    ChangeUser,
    CreateUser,
    DeleteUser,
    DisableUser,
    EnableUser,
    EndSessions,
    PasswordRehashed,
    PasswordRemoved,
    PasswordSet,
    RehashPassword,
    RemovePassword,
    SessionsEnded,
    UserCreated,
    UserDeleted,
    UserDisabled,
    UserEmailChanged,
    UserEnabled,
    UserRenamed,
    UserRestricted,
    UserUnrestricted,
)
from tests.domain.world import (
    ADA,
    BETA,
    BOT,
    BOTS,
    CAL,
    CREW,
    DAN,
    NEW,
    NEW_GROUP,
    NOWHERE,
    OPERATOR,
    ROOT,
    SPARE,
    WORLD,
    bound,
    group,
    index,
    member,
    sealed,
    token,
)

OTHER = BindingId("bnd_other")
TOKEN = TokenId("tok_1")
NOBODY = UserId("usr_none")
CREATE = CreateUser(
    id=NEW,
    email=sealed("mail"),
    email_index=index("mail"),
    default_bindings=(SPARE, OTHER, BindingId("bnd_third")),
)
CREATED = UserCreated(id=NEW, email=sealed("mail"), email_index=index("mail"))
CHANGE = ChangeUser(id=DAN, default_bindings=(SPARE, OTHER))
TWO = WORLD.and_then(InstanceOwnerGranted(principal=DAN))


def test_create_user_is_recorded() -> None:
    """Kestra-iam 6.6: an instance owner makes a user, who may have no password."""
    WORLD.when(CREATE, by=ROOT).then(CREATED)


def test_create_user_with_everything_is_recorded() -> None:
    """Access to the tenants named and to those of the groups, and the privilege."""
    command = structs.replace(
        CREATE,
        first_name=sealed("first"),
        last_name=sealed("last"),
        password=sealed("password"),
        restricted=True,
        tenants=(MAIN, MAIN),
        groups=(CREW, BOTS),
        instance_owner=True,
    )

    WORLD.when(command, by=ROOT).then(
        structs.replace(CREATED, first_name=sealed("first"), last_name=sealed("last")),
        PasswordSet(id=NEW, password=sealed("password")),
        UserRestricted(id=NEW),
        TenantAccessGranted(tenant=MAIN, principal=NEW),
        TenantAccessGranted(tenant=BETA, principal=NEW),
        member(CREW, NEW, tenant=BETA),
        member(BOTS, NEW),
        InstanceOwnerGranted(principal=NEW),
    )


def test_create_user_in_a_tenant_brings_its_default_role() -> None:
    """Kestra-iam 5.6: a user who gains access gets the default role."""
    world = WORLD.and_then(RoleMadeDefault(tenant=MAIN, id=OPERATOR))

    world.when(structs.replace(CREATE, tenants=(BETA, MAIN)), by=ROOT).then(
        CREATED,
        TenantAccessGranted(tenant=BETA, principal=NEW),
        TenantAccessGranted(tenant=MAIN, principal=NEW),
        bound(NEW, OPERATOR, id_=OTHER),
    )


def test_create_user_by_another_is_refused() -> None:
    """Users are the instance owner's to make; no role of a tenant suffices."""
    WORLD.when(CREATE, by=ADA).refuses("privilege.required")


def test_create_user_with_a_token_for_one_tenant_is_refused() -> None:
    """Kestra-iam 8: instance routes need the privilege whole."""
    world = WORLD.and_then(token(TOKEN, ROOT, Narrowing(tenants=(MAIN,), instance_owner=True)))

    world.when(CREATE, by=ROOT, token=TOKEN).refuses("privilege.required")


def test_create_user_with_the_privilege_is_guarded_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Security 2.2: were the gate open, the rule would still keep the privilege."""
    monkeypatch.setattr("domain.commands.require_owner", lambda *_: None)

    WORLD.when(structs.replace(CREATE, instance_owner=True), by=ADA).refuses("privilege.denied")


def test_create_user_of_a_taken_email_is_refused() -> None:
    """Kestra-iam 2.4: an e-mail is unique in the installation, and free again with its user."""
    command = structs.replace(CREATE, email_index=index(DAN))

    WORLD.when(command, by=ROOT).refuses("user.email_taken")
    assert WORLD.and_then(UserDeleted(id=DAN)).when(command, by=ROOT).events


def test_create_user_in_unknown_places_is_refused() -> None:
    """Unknown groups, unknown and deleted tenants are not there."""
    gone = WORLD.and_then(TenantDeleted(tenant=BETA))

    WORLD.when(structs.replace(CREATE, tenants=(NOWHERE,)), by=ROOT).refuses("tenant.unknown")
    gone.when(structs.replace(CREATE, tenants=(BETA,)), by=ROOT).refuses("tenant.unknown")
    nowhere = structs.replace(CREATE, groups=(GroupId("grp_none"),))
    WORLD.when(nowhere, by=ROOT).refuses("group.unknown")


def test_create_user_without_room_for_default_roles_is_a_fault() -> None:
    """Nobody becomes a member without access because the edge gave too few ids."""
    command = structs.replace(CREATE, groups=(BOTS,), default_bindings=())

    with pytest.raises(ValueError, match="zip"):
        WORLD.when(command, by=ROOT)


def test_change_user_records_what_changed() -> None:
    """Every member given is a fact of its own."""
    command = structs.replace(
        CHANGE,
        email=sealed("new"),
        email_index=index("new"),
        first_name=sealed("first"),
        password=sealed("password"),
        restricted=True,
        instance_owner=True,
    )

    WORLD.when(command, by=ROOT).then(
        UserEmailChanged(id=DAN, email=sealed("new"), email_index=index("new")),
        UserRenamed(id=DAN, first_name=sealed("first")),
        PasswordSet(id=DAN, password=sealed("password")),
        UserRestricted(id=DAN),
        InstanceOwnerGranted(principal=DAN),
    )


def test_change_user_by_nothing_records_nothing() -> None:
    """Kestra-iam 2.5: absent members stay, and present values change nothing."""
    same = structs.replace(CHANGE, restricted=False, instance_owner=False, tenants=(MAIN,))

    WORLD.when(CHANGE, by=ROOT).records_nothing()
    WORLD.when(same, by=ROOT).records_nothing()


def test_change_user_lifts_a_restriction() -> None:
    """A restriction is lifted by an instance owner."""
    world = WORLD.and_then(UserRestricted(id=DAN))

    world.when(structs.replace(CHANGE, restricted=False), by=ROOT).then(UserUnrestricted(id=DAN))


def test_change_user_keeps_its_own_email_in_another_spelling() -> None:
    """A user does not stand in its own way."""
    command = structs.replace(CHANGE, email=sealed("DAN"), email_index=index(DAN))

    WORLD.when(command, by=ROOT).then(
        UserEmailChanged(id=DAN, email=sealed("DAN"), email_index=index(DAN))
    )


def test_change_user_to_a_taken_email_is_refused() -> None:
    """Kestra-iam 2.4: a changed e-mail is unique too, and the old one becomes free."""
    command = structs.replace(CHANGE, email=sealed("ada"), email_index=index(ADA))
    moved = WORLD.and_then(UserEmailChanged(id=ADA, email=sealed("x"), email_index=index("x")))

    WORLD.when(command, by=ROOT).refuses("user.email_taken")
    assert moved.when(command, by=ROOT).events


def test_change_user_replaces_tenants() -> None:
    """Access to tenants left out ends, with all that is held there; the new ones are gained."""
    world = WORLD.and_then(bound(DAN, OPERATOR, id_="bnd_1"), member(BOTS, DAN))

    world.when(structs.replace(CHANGE, tenants=(BETA,)), by=ROOT).then(
        TenantAccessGranted(tenant=BETA, principal=DAN),
        MemberRemoved(tenant=MAIN, group=BOTS, principal=DAN),
        BindingDeleted(tenant=MAIN, id=BindingId("bnd_1")),
        TenantAccessEnded(tenant=MAIN, principal=DAN),
    )


def test_change_user_replaces_groups_in_all_tenants() -> None:
    """Kestra-iam 6.6: groups replace memberships everywhere and bring access with them."""
    world = WORLD.and_then(member(BOTS, DAN))

    world.when(structs.replace(CHANGE, groups=(CREW,)), by=ROOT).then(
        TenantAccessGranted(tenant=BETA, principal=DAN),
        MemberRemoved(tenant=MAIN, group=BOTS, principal=DAN),
        member(CREW, DAN, tenant=BETA),
    )
    world.when(structs.replace(CHANGE, groups=()), by=ROOT).then(
        MemberRemoved(tenant=MAIN, group=BOTS, principal=DAN)
    )


def test_change_user_replaces_tenants_and_groups_at_once() -> None:
    """A membership is ended once, though its tenant is left too; a group keeps its tenant."""
    world = WORLD.and_then(member(BOTS, DAN), group(NEW_GROUP, "Night"))

    world.when(structs.replace(CHANGE, tenants=(BETA,), groups=()), by=ROOT).then(
        TenantAccessGranted(tenant=BETA, principal=DAN),
        MemberRemoved(tenant=MAIN, group=BOTS, principal=DAN),
        TenantAccessEnded(tenant=MAIN, principal=DAN),
    )
    world.when(structs.replace(CHANGE, tenants=(), groups=(BOTS,)), by=ROOT).records_nothing()


def test_change_user_by_another_is_refused() -> None:
    """Security 2.2: a password set by another is a way to act as that user."""
    command = structs.replace(CHANGE, password=sealed("mine"))

    WORLD.when(command, by=ADA).refuses("privilege.required")
    WORLD.when(structs.replace(command, id=ROOT), by=ADA).refuses("privilege.required")


def test_change_user_demoting_the_last_owner_is_refused() -> None:
    """Security 2.6: one owner who can sign in stays."""
    command = ChangeUser(id=ROOT, instance_owner=False)

    WORLD.when(command, by=ROOT).refuses("owner.last")
    TWO.when(command, by=DAN).then(InstanceOwnerRevoked(principal=ROOT))


def test_change_user_unknown_is_refused() -> None:
    """A service account is no user."""
    for id_ in (NOBODY, UserId(BOT)):
        WORLD.when(structs.replace(CHANGE, id=id_), by=ROOT).refuses("user.unknown")


def test_change_own_profile_is_recorded() -> None:
    """Kestra-iam 6.6: users change their own names and e-mail."""
    command = ChangeOwnProfile(
        id=DAN, email=sealed("new"), email_index=index("new"), last_name=sealed("last")
    )

    WORLD.when(command, by=DAN).then(
        UserEmailChanged(id=DAN, email=sealed("new"), email_index=index("new")),
        UserRenamed(id=DAN, last_name=sealed("last")),
    )


def test_change_own_profile_by_nothing_records_nothing() -> None:
    """There is nothing to do."""
    WORLD.when(ChangeOwnProfile(id=DAN), by=DAN).records_nothing()


def test_change_own_profile_to_a_taken_email_is_refused() -> None:
    """Kestra-iam 2.4: an e-mail is unique in the installation."""
    command = ChangeOwnProfile(id=DAN, email=sealed("ada"), email_index=index(ADA))

    WORLD.when(command, by=DAN).refuses("user.email_taken")


@pytest.mark.parametrize("who", [ADA, CAL, BOT])
def test_change_own_profile_and_password_of_another_are_refused(who: UserId) -> None:
    """One's own means one's own."""
    profile = ChangeOwnProfile(id=DAN, first_name=sealed("x"))

    WORLD.when(profile, by=who).refuses("privilege.required")
    password = ChangeOwnPassword(id=DAN, password=sealed("x"))
    WORLD.when(password, by=who).refuses("privilege.required")
    rehash = RehashPassword(id=DAN, password=sealed("x"))
    WORLD.when(rehash, by=who).refuses("privilege.required")


def test_change_own_profile_and_password_when_restricted_are_refused() -> None:
    """Kestra-iam 6.6: a restricted user changes nothing of its own."""
    world = WORLD.and_then(UserRestricted(id=DAN))

    profile = ChangeOwnProfile(id=DAN, first_name=sealed("x"))
    world.when(profile, by=DAN).refuses("privilege.required")
    password = ChangeOwnPassword(id=DAN, password=sealed("x"))
    world.when(password, by=DAN).refuses("privilege.required")


def test_change_own_profile_and_password_with_a_narrowed_token_are_refused() -> None:
    """Security 2.2: with its owner's password or mailbox a narrowed token would be a wide one."""
    narrow = WORLD.and_then(token(TOKEN, DAN, Narrowing()))
    plain = WORLD.and_then(token(TOKEN, DAN))

    profile = ChangeOwnProfile(id=DAN, first_name=sealed("x"))
    narrow.when(profile, by=DAN, token=TOKEN).refuses("privilege.required")
    password = ChangeOwnPassword(id=DAN, password=sealed("x"))
    narrow.when(password, by=DAN, token=TOKEN).refuses("privilege.required")
    assert plain.when(profile, by=DAN, token=TOKEN).events


def test_change_own_password_is_recorded_and_ends_sessions() -> None:
    """Security 2.5: a new password ends the sessions that began with the old one."""
    command = ChangeOwnPassword(id=DAN, password=sealed("better"))

    outcome = WORLD.when(command, by=DAN)

    outcome.then(PasswordSet(id=DAN, password=sealed("better")))
    after = WORLD.and_then(*outcome.events).state
    assert after.position == after.users[DAN].sessions_from


def test_rehash_password_is_recorded_and_keeps_sessions() -> None:
    """Security 3: the same password under stronger parameters is no new password."""
    command = RehashPassword(id=DAN, password=sealed("stronger"))
    restricted = WORLD.and_then(UserRestricted(id=DAN))

    outcome = WORLD.when(command, by=DAN)

    outcome.then(PasswordRehashed(id=DAN, password=sealed("stronger")))
    before, after = WORLD.state, WORLD.and_then(*outcome.events).state
    assert before.users[DAN].sessions_from == after.users[DAN].sessions_from
    assert restricted.when(command, by=DAN).events


def test_rehash_password_where_there_is_none_records_nothing() -> None:
    """A password that has gone in the meantime does not come back."""
    world = WORLD.and_then(CREATED)

    world.when(RehashPassword(id=NEW, password=sealed("x")), by=NEW).records_nothing()


def test_remove_password_is_recorded_once_and_ends_sessions() -> None:
    """Kestra-iam 6.6: what is not there cannot be removed; nobody stays signed in by it."""
    outcome = WORLD.when(RemovePassword(id=DAN), by=ROOT)

    outcome.then(PasswordRemoved(id=DAN))
    after = WORLD.and_then(*outcome.events)
    user = after.state.users[DAN]
    assert (UNSET, after.state.position) == (user.password, user.sessions_from)
    after.when(RemovePassword(id=DAN), by=ROOT).refuses("user.auth_unknown")
    after.when(RehashPassword(id=DAN, password=sealed("x")), by=DAN).records_nothing()


def test_remove_password_of_the_last_owner_who_can_sign_in_is_refused() -> None:
    """Security 2.6: no owner is left without a password while there is no other."""
    alone = TWO.and_then(PasswordRemoved(id=DAN))

    TWO.when(RemovePassword(id=ROOT), by=ROOT).then(PasswordRemoved(id=ROOT))
    alone.when(RemovePassword(id=ROOT), by=DAN).refuses("owner.last")
    alone.when(DisableUser(id=ROOT), by=DAN).refuses("owner.last")


def test_disable_user_is_recorded_and_ends_sessions() -> None:
    """Security 2.5: a disabled user's sessions end, and it may do nothing."""
    off = WORLD.and_then(UserDisabled(id=DAN))

    WORLD.when(DisableUser(id=DAN), by=ROOT).then(UserDisabled(id=DAN))
    off.when(DisableUser(id=DAN), by=ROOT).records_nothing()
    off.when(ChangeOwnProfile(id=DAN), by=DAN).refuses("principal.disabled")
    assert off.state.position == off.state.users[DAN].sessions_from


def test_disable_user_who_is_the_last_owner_is_refused() -> None:
    """Security 2.6: one owner who can sign in stays."""
    WORLD.when(DisableUser(id=ROOT), by=ROOT).refuses("owner.last")
    TWO.when(DisableUser(id=ROOT), by=DAN).then(UserDisabled(id=ROOT))


def test_enable_user_is_recorded_once() -> None:
    """A user comes back as it was."""
    off = WORLD.and_then(UserDisabled(id=DAN))

    off.when(EnableUser(id=DAN), by=ROOT).then(UserEnabled(id=DAN))
    WORLD.when(EnableUser(id=DAN), by=ROOT).records_nothing()


def test_end_sessions_is_recorded() -> None:
    """Kestra-iam 6.6: also where there are none."""
    outcome = WORLD.when(EndSessions(id=DAN), by=ROOT)

    outcome.then(SessionsEnded(id=DAN))
    after = WORLD.and_then(*outcome.events).state
    assert after.position == after.users[DAN].sessions_from


def test_delete_user_ends_all_that_it_holds() -> None:
    """Kestra-iam 5.6: tokens, memberships, bindings, access and the privilege end with it."""
    world = TWO.and_then(bound(DAN, OPERATOR, id_="bnd_1"), member(BOTS, DAN), token(TOKEN, DAN))

    world.when(DeleteUser(id=DAN), by=ROOT).then(
        TokenRevoked(id=TOKEN),
        MemberRemoved(tenant=MAIN, group=BOTS, principal=DAN),
        BindingDeleted(tenant=MAIN, id=BindingId("bnd_1")),
        TenantAccessEnded(tenant=MAIN, principal=DAN),
        InstanceOwnerRevoked(principal=DAN),
        UserDeleted(id=DAN),
    )


def test_delete_user_who_is_the_last_owner_is_refused() -> None:
    """Security 2.6: one owner who can sign in stays."""
    WORLD.when(DeleteUser(id=ROOT), by=ROOT).refuses("owner.last")


@pytest.mark.parametrize(
    "command", [DisableUser, EnableUser, EndSessions, RemovePassword, DeleteUser]
)
def test_what_ends_or_enables_a_user_is_the_owners(
    command: type[DisableUser | EnableUser | EndSessions | RemovePassword | DeleteUser],
) -> None:
    """Kestra-iam 6.6: what disables, enables, ends or removes needs an owner and a known user."""
    WORLD.when(command(id=DAN), by=ADA).refuses("privilege.required")
    WORLD.when(command(id=DAN), by=DAN).refuses("privilege.required")
    WORLD.when(command(id=NOBODY), by=ROOT).refuses("user.unknown")
