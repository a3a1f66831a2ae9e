"""Which people have an identity here, how are they known, and may they act?

A person's e-mail, names and password hash are sealed; no rule depends on what they say, only on
whether they are there, and on the keyed index by which an e-mail is found.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, assert_never

from msgspec import UNSET, Struct, UnsetType, structs

from domain import access, escalation, principals, privilege
from domain.errors import ConflictError, FieldFault, NotFoundError
from domain.ids import BindingId, GroupId, TenantId, UserId
from domain.sealed import Sealed

if TYPE_CHECKING:
    from domain.commands import Context
    from domain.state import Draft, Facts

# Commands


class CreateUser(Struct, frozen=True, kw_only=True):
    """`default_bindings` holds one id for each tenant that the user may gain access to."""

    id: UserId
    email: Sealed
    email_index: bytes
    first_name: Sealed | UnsetType = UNSET
    last_name: Sealed | UnsetType = UNSET
    password: Sealed | UnsetType = UNSET
    tenants: tuple[TenantId, ...] = ()
    groups: tuple[GroupId, ...] = ()
    default_bindings: tuple[BindingId, ...] = ()
    instance_owner: bool = False
    restricted: bool = False


class ChangeUser(Struct, frozen=True, kw_only=True):
    """New values of the members given; `groups` and `tenants` replace those everywhere."""

    id: UserId
    email: Sealed | UnsetType = UNSET
    email_index: bytes | UnsetType = UNSET
    first_name: Sealed | UnsetType = UNSET
    last_name: Sealed | UnsetType = UNSET
    password: Sealed | UnsetType = UNSET
    tenants: tuple[TenantId, ...] | UnsetType = UNSET
    groups: tuple[GroupId, ...] | UnsetType = UNSET
    default_bindings: tuple[BindingId, ...] = ()
    instance_owner: bool | UnsetType = UNSET
    restricted: bool | UnsetType = UNSET


class ChangeOwnProfile(Struct, frozen=True, kw_only=True):
    id: UserId
    email: Sealed | UnsetType = UNSET
    email_index: bytes | UnsetType = UNSET
    first_name: Sealed | UnsetType = UNSET
    last_name: Sealed | UnsetType = UNSET


class ChangeOwnPassword(Struct, frozen=True, kw_only=True):
    """The edge has judged the old password; `password` is the new hash."""

    id: UserId
    password: Sealed


class RehashPassword(Struct, frozen=True, kw_only=True):
    """The same password under stronger parameters, after a sign-in that succeeded."""

    id: UserId
    password: Sealed


class RemovePassword(Struct, frozen=True, kw_only=True):
    id: UserId


class DisableUser(Struct, frozen=True, kw_only=True):
    id: UserId


class EnableUser(Struct, frozen=True, kw_only=True):
    id: UserId


class EndSessions(Struct, frozen=True, kw_only=True):
    id: UserId


class DeleteUser(Struct, frozen=True, kw_only=True):
    id: UserId


Command = (
    CreateUser
    | ChangeUser
    | ChangeOwnProfile
    | ChangeOwnPassword
    | RehashPassword
    | RemovePassword
    | DisableUser
    | EnableUser
    | EndSessions
    | DeleteUser
)

# Events


class UserCreated(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "user.created.v1"
    id: UserId
    email: Sealed
    email_index: bytes
    first_name: Sealed | UnsetType = UNSET
    last_name: Sealed | UnsetType = UNSET


class UserEmailChanged(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "user.email_changed.v1"
    id: UserId
    email: Sealed
    email_index: bytes


class UserRenamed(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "user.renamed.v1"
    id: UserId
    first_name: Sealed | UnsetType = UNSET
    last_name: Sealed | UnsetType = UNSET


class PasswordSet(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "user.password_set.v1"
    id: UserId
    password: Sealed


class PasswordRehashed(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "user.password_rehashed.v1"
    id: UserId
    password: Sealed


class PasswordRemoved(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "user.password_removed.v1"
    id: UserId


class UserRestricted(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "user.restricted.v1"
    id: UserId


class UserUnrestricted(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "user.unrestricted.v1"
    id: UserId


class UserDisabled(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "user.disabled.v1"
    id: UserId


class UserEnabled(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "user.enabled.v1"
    id: UserId


class SessionsEnded(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "user.sessions_ended.v1"
    id: UserId


class UserDeleted(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "user.deleted.v1"
    id: UserId


Event = (
    UserCreated
    | UserEmailChanged
    | UserRenamed
    | PasswordSet
    | PasswordRehashed
    | PasswordRemoved
    | UserRestricted
    | UserUnrestricted
    | UserDisabled
    | UserEnabled
    | SessionsEnded
    | UserDeleted
)

# State


class User(Struct, frozen=True, kw_only=True):
    """Sessions from before `sessions_from` are over; enabled since `enabled_position`."""

    id: UserId
    email: Sealed
    email_index: bytes
    first_name: Sealed | UnsetType
    last_name: Sealed | UnsetType
    password: Sealed | UnsetType
    restricted: bool
    enabled: bool
    sessions_from: int
    created: datetime
    changed: int
    enabled_position: int


# Rules


def decide(  # noqa: C901 - one branch for each command
    state: Facts, command: Command, context: Context
) -> tuple[Event | principals.Event, ...]:
    match command:
        case CreateUser():
            return _create_user(state, command, context)
        case ChangeUser():
            return _change_user(state, command, context)
        case ChangeOwnProfile():
            return _changed_person(state, require(state, command.id), command)
        case ChangeOwnPassword():
            return (PasswordSet(id=require(state, command.id).id, password=command.password),)
        case RehashPassword():
            return _rehash_password(state, command)
        case RemovePassword():
            return _remove_password(state, command)
        case DisableUser():
            return _disable_user(state, command)
        case EnableUser():
            return _enable_user(state, command, context)
        case EndSessions():
            return (SessionsEnded(id=require(state, command.id).id),)
        case DeleteUser():
            return deleted(state, command.id)
        case _:
            assert_never(command)


def is_own(
    state: Facts, command: ChangeOwnProfile | ChangeOwnPassword | RehashPassword, context: Context
) -> bool:
    """Tell whether a user acts on itself; a restricted one changes nothing of its own.

    Nor does a narrowed token: with another e-mail or password its holder would have more.
    """
    user = state.users.get(command.id)
    return (
        user is not None
        and user.enabled
        and context.actor.id == command.id
        and not access.is_narrowed(state, context)
        and (not user.restricted or isinstance(command, RehashPassword))
    )


def require(state: Facts, id_: UserId) -> User:
    """Answer the user; NotFoundError `user.unknown`."""
    user = state.users.get(id_)
    if user is None:
        raise NotFoundError("user.unknown", f"no user {id_}")
    return user


def _require_free(state: Facts, email_index: bytes) -> None:
    if email_index in state.emails:
        fault = FieldFault("email", "is taken", "user.email_taken")
        raise ConflictError("user.email_taken", "another user has this e-mail", fields=(fault,))


def _create_user(
    state: Facts, command: CreateUser, context: Context
) -> tuple[Event | principals.Event, ...]:
    _require_free(state, command.email_index)
    created = UserCreated(
        id=command.id,
        email=command.email,
        email_index=command.email_index,
        first_name=command.first_name,
        last_name=command.last_name,
    )
    events: list[Event | principals.Event] = [created]
    if command.password is not UNSET:
        events.append(PasswordSet(id=command.id, password=command.password))
    if command.restricted:
        events.append(UserRestricted(id=command.id))
    groups = principals.require_groups(state, command.groups, UNSET)
    tenants = (*command.tenants, *(state.groups[group].tenant for group in groups))
    events.extend(_gained(state, command, context, tenants))
    for group in groups:
        tenant = state.groups[group].tenant
        added = principals.MemberAdded(tenant=tenant, group=group, principal=command.id)
        principals.require_may_join(state, context, added)
        events.append(added)
    if command.instance_owner:
        events.extend(privilege.set_privilege(state, context, command.id, owner=True))
    return tuple(events)


def _gained(
    state: Facts,
    command: CreateUser | ChangeUser,
    context: Context,
    tenants: tuple[TenantId, ...],
) -> list[principals.Event]:
    """Give access to each of the tenants that the user has none to yet."""
    missing = [
        tenant
        for tenant in dict.fromkeys(tenants)
        if not principals.has_access(state, command.id, tenant)
    ]
    events: list[principals.Event] = []
    for tenant, spare in zip(missing, command.default_bindings[: len(missing)], strict=True):
        if not access.is_open(state, tenant):
            raise NotFoundError("tenant.unknown", f"no tenant {tenant}")
        granted = principals.TenantAccessGranted(tenant=tenant, principal=command.id)
        events.extend(principals.gain_access(state, context, granted, spare, is_user=True))
    return events


def _change_user(
    state: Facts, command: ChangeUser, context: Context
) -> tuple[Event | principals.Event, ...]:
    user = require(state, command.id)
    events: list[Event | principals.Event] = [*_changed_person(state, user, command)]
    if command.password is not UNSET:
        # Whoever knows the password acts with the user's rights: it is a way to give them.
        escalation.require_may_give_all(state, context, user.id, UNSET, "user.escalation")
        events.append(PasswordSet(id=user.id, password=command.password))
    if command.restricted is not UNSET and command.restricted != user.restricted:
        events.append((UserRestricted if command.restricted else UserUnrestricted)(id=user.id))
    events.extend(_changed_places(state, user, command, context))
    if command.instance_owner is not UNSET:
        owner = command.instance_owner
        events.extend(privilege.set_privilege(state, context, user.id, owner=owner))
    return tuple(events)


def _changed_person(
    state: Facts, user: User, command: ChangeUser | ChangeOwnProfile
) -> tuple[Event, ...]:
    events: list[Event] = []
    if command.email is not UNSET and command.email_index is not UNSET:
        if command.email_index != user.email_index:
            _require_free(state, command.email_index)
        events.append(
            UserEmailChanged(id=user.id, email=command.email, email_index=command.email_index)
        )
    if command.first_name is not UNSET or command.last_name is not UNSET:
        events.append(
            UserRenamed(id=user.id, first_name=command.first_name, last_name=command.last_name)
        )
    return tuple(events)


def _changed_places(
    state: Facts, user: User, command: ChangeUser, context: Context
) -> list[principals.Event]:
    """Answer what a new list of tenants, of groups, or of both changes."""
    present = set(state.access.get(user.id, ()))
    wanted = present if command.tenants is UNSET else set(command.tenants)
    gained = () if command.tenants is UNSET else command.tenants
    removed: tuple[principals.MemberRemoved, ...] = ()
    added: tuple[principals.MemberAdded, ...] = ()
    if command.groups is not UNSET:
        removed, added = principals.replace_groups(state, context, user.id, command.groups)
        joined = [member.tenant for member in added]
        joined += [state.groups[group].tenant for group in command.groups]
        gained = (*gained, *joined)
        wanted = wanted | set(joined)
    ended = [
        event
        for tenant in sorted(present - wanted)
        for event in principals.end_access(state, tenant, user.id)
        if event not in removed
    ]
    return [*_gained(state, command, context, gained), *removed, *ended, *added]


def _rehash_password(state: Facts, command: RehashPassword) -> tuple[Event, ...]:
    user = require(state, command.id)
    has_none = user.password is UNSET
    return () if has_none else (PasswordRehashed(id=user.id, password=command.password),)


def _remove_password(state: Facts, command: RemovePassword) -> tuple[Event, ...]:
    user = require(state, command.id)
    if user.password is UNSET:
        raise NotFoundError("user.auth_unknown", f"{user.id} has no password")
    privilege.require_other_owner(state, user.id)
    return (PasswordRemoved(id=user.id),)


def _disable_user(state: Facts, command: DisableUser) -> tuple[Event, ...]:
    user = require(state, command.id)
    if not user.enabled:
        return ()
    privilege.require_other_owner(state, user.id)
    return (UserDisabled(id=user.id),)


def _enable_user(state: Facts, command: EnableUser, context: Context) -> tuple[Event, ...]:
    user = require(state, command.id)
    if user.enabled:
        return ()
    escalation.require_may_give_all(state, context, user.id, UNSET, "user.escalation")
    return (UserEnabled(id=user.id),)


def deleted(state: Facts, id_: UserId) -> tuple[Event | principals.Event, ...]:
    """Answer the end of a user and of all that it holds; `user.unknown`, `owner.last`."""
    privilege.require_other_owner(state, require(state, id_).id)
    return (*principals.end(state, id_), UserDeleted(id=id_))


# Memory


def apply(draft: Draft, event: Event) -> None:  # noqa: C901, PLR0912 - one branch an event
    match event:
        case UserCreated():
            _user_created(draft, event)
        case UserEmailChanged():
            _user_email_changed(draft, event)
        case UserRenamed():
            _user_renamed(draft, event)
        case PasswordSet():
            _replace(draft, event.id, password=event.password, sessions_from=draft.position)
        case PasswordRehashed():
            _replace(draft, event.id, password=event.password)
        case PasswordRemoved():
            _replace(draft, event.id, password=UNSET, sessions_from=draft.position)
        case UserRestricted():
            _replace(draft, event.id, restricted=True)
        case UserUnrestricted():
            _replace(draft, event.id, restricted=False)
        case UserDisabled():
            _replace(draft, event.id, enabled=False, sessions_from=draft.position)
        case UserEnabled():
            _replace(draft, event.id, enabled=True, enabled_position=draft.position)
        case SessionsEnded():
            _replace(draft, event.id, sessions_from=draft.position)
        case UserDeleted():
            user = draft.users.pop(event.id, None)
            if user is not None:
                draft.emails.pop(user.email_index, None)
                draft.former_users[event.id] = draft.position
        case _:
            assert_never(event)


def _user_created(draft: Draft, event: UserCreated) -> None:
    draft.users[event.id] = User(
        id=event.id,
        email=event.email,
        email_index=event.email_index,
        first_name=event.first_name,
        last_name=event.last_name,
        password=UNSET,
        restricted=False,
        enabled=True,
        sessions_from=draft.position,
        created=draft.at,
        changed=draft.position,
        enabled_position=draft.position,
    )
    draft.emails[event.email_index] = event.id


def _user_email_changed(draft: Draft, event: UserEmailChanged) -> None:
    user = draft.users.get(event.id)
    if user is not None:
        draft.emails.pop(user.email_index, None)
        draft.emails[event.email_index] = event.id
        _replace(draft, event.id, email=event.email, email_index=event.email_index)


def _user_renamed(draft: Draft, event: UserRenamed) -> None:
    if event.first_name is not UNSET:
        _replace(draft, event.id, first_name=event.first_name)
    if event.last_name is not UNSET:
        _replace(draft, event.id, last_name=event.last_name)


def _replace(draft: Draft, id_: UserId, **values: Sealed | UnsetType | bytes | int | bool) -> None:
    user = draft.users.get(id_)
    if user is not None:
        draft.users[id_] = structs.replace(user, changed=draft.position, **values)
