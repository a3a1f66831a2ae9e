"""Which groups does a tenant have, and who is in them?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, assert_never

from msgspec import UNSET, Struct, UnsetType, structs

from domain import access, aliases, escalation, names, principals
from domain.errors import ConflictError, Faults, FieldFault, NotFoundError
from domain.ids import BindingId, GroupId, PrincipalId, TenantId
from domain.permissions import MANAGE_MEMBERS, Permission
from domain.principals import Level

if TYPE_CHECKING:
    from domain.commands import Context
    from domain.state import Draft, Facts

# Commands


class CreateGroup(Struct, frozen=True, kw_only=True):
    """`default_bindings` holds one id for each member who may gain access to the tenant."""

    needs: ClassVar[Permission] = Permission("GROUP", "CREATE")
    tenant: TenantId
    id: GroupId
    name: str
    description: str = ""
    members: tuple[PrincipalId, ...] = ()
    default_bindings: tuple[BindingId, ...] = ()


class ChangeGroup(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("GROUP", "UPDATE")
    tenant: TenantId
    id: GroupId
    name: str
    description: str


class DeleteGroup(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("GROUP", "DELETE")
    tenant: TenantId
    id: GroupId
    if_unused: bool = False


class AddMember(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("GROUP", "MANAGE_MEMBERS")
    or_needs: ClassVar[Permission] = Permission("GROUP_MEMBERSHIP", "CREATE")
    tenant: TenantId
    group: GroupId
    principal: PrincipalId
    default_binding: BindingId
    level: Level = "MEMBER"
    not_before: datetime | UnsetType = UNSET
    expires_at: datetime | UnsetType = UNSET


class RemoveMember(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("GROUP", "MANAGE_MEMBERS")
    or_needs: ClassVar[Permission] = Permission("GROUP_MEMBERSHIP", "DELETE")
    tenant: TenantId
    group: GroupId
    principal: PrincipalId


class ChangeMembership(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("GROUP", "MANAGE_MEMBERS")
    or_needs: ClassVar[Permission] = Permission("GROUP_MEMBERSHIP", "UPDATE")
    tenant: TenantId
    group: GroupId
    principal: PrincipalId
    level: Level


class ReplaceGroups(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("USER", "MANAGE_GROUP_MEMBERSHIP")
    tenant: TenantId
    principal: PrincipalId
    groups: tuple[GroupId, ...]


Command = (
    CreateGroup
    | ChangeGroup
    | DeleteGroup
    | AddMember
    | RemoveMember
    | ChangeMembership
    | ReplaceGroups
)

# Events


class GroupCreated(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "group.created.v1"
    tenant: TenantId
    id: GroupId
    name: str
    description: str = ""


class GroupRenamed(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "group.renamed.v1"
    tenant: TenantId
    id: GroupId
    name: str


class GroupDescribed(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "group.described.v1"
    tenant: TenantId
    id: GroupId
    description: str


class GroupDeleted(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "group.deleted.v1"
    tenant: TenantId
    id: GroupId


class MembershipChanged(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "group.membership_changed.v1"
    tenant: TenantId
    group: GroupId
    principal: PrincipalId
    level: Level


Event = GroupCreated | GroupRenamed | GroupDescribed | GroupDeleted | MembershipChanged

# State


class Group(Struct, frozen=True, kw_only=True):
    id: GroupId
    tenant: TenantId
    name: str
    description: str
    created: datetime
    changed: int


# Rules


def decide(
    state: Facts, command: Command, context: Context
) -> tuple[Event | principals.Event, ...]:
    match command:
        case CreateGroup():
            return _create_group(state, command, context)
        case ChangeGroup():
            return _change_group(state, command)
        case DeleteGroup():
            return _delete_group(state, command, context)
        case AddMember():
            return _add_member(state, command, context)
        case RemoveMember():
            return _remove_member(state, command, context)
        case ChangeMembership():
            return _change_membership(state, command, context)
        case ReplaceGroups():
            return _replace_groups(state, command, context)
        case _:
            assert_never(command)


def is_owners(
    state: Facts, command: AddMember | RemoveMember | ChangeMembership, context: Context
) -> bool:
    """Tell whether the caller owns the group: its owners manage its members."""
    return owns(state, command.tenant, command.group, context)


def owns(state: Facts, tenant: TenantId, group: GroupId, context: Context) -> bool:
    """Tell whether the caller, through a token that leaves it, owns the group at this instant."""
    held = principals.membership(state, group, context.caller, context.at)
    return (
        held is not None
        and held.tenant == tenant
        and held.level == "OWNER"
        and (held.not_before is UNSET or context.at >= held.not_before)
        and access.leaves(access.caller_narrowing(state, context), tenant, MANAGE_MEMBERS)
    )


def require(state: Facts, tenant: TenantId, id_: GroupId) -> Group:
    """Answer the group of this tenant; NotFoundError `group.unknown`."""
    group = state.groups.get(id_)
    if group is None or group.tenant != tenant:
        raise NotFoundError("group.unknown", f"no group {id_}")
    return group


def _require_free(state: Facts, tenant: TenantId, name: str) -> None:
    if (tenant, names.folded(name)) in state.group_names:
        fault = FieldFault("name", "is taken in this tenant", "group.name_taken")
        detail = f"a group named {name} already exists"
        raise ConflictError("group.name_taken", detail, fields=(fault,))


def _create_group(
    state: Facts, command: CreateGroup, context: Context
) -> tuple[Event | principals.Event, ...]:
    faults = Faults()
    name = faults.check("name", names.display_name, command.name)
    description = faults.check("description", names.description, command.description)
    faults.refuse("group.invalid")
    aliases.require_no_id(state, command.tenant, name, "name.is_id", "name")
    _require_free(state, command.tenant, name)
    created = GroupCreated(tenant=command.tenant, id=command.id, name=name, description=description)
    events: list[Event | principals.Event] = [created]
    members = tuple(dict.fromkeys(command.members))
    spares = command.default_bindings[: len(members)]
    for principal, spare in zip(members, spares, strict=True):
        principals.require_may_reach(state, context, command.tenant, principal)
        principals.require(state, principal)
        added = principals.MemberAdded(tenant=command.tenant, group=command.id, principal=principal)
        principals.require_may_join(state, context, added)
        events += principals.ensure_access(state, context, command.tenant, principal, spare)
        events.append(added)
    return tuple(events)


def _change_group(state: Facts, command: ChangeGroup) -> tuple[Event, ...]:
    group = require(state, command.tenant, command.id)
    faults = Faults()
    name = faults.check("name", names.display_name, command.name)
    description = faults.check("description", names.description, command.description)
    faults.refuse("group.invalid")
    events: list[Event] = []
    if name != group.name:
        aliases.require_no_id(state, group.tenant, name, "name.is_id", "name")
        if names.folded(name) != names.folded(group.name):
            _require_free(state, command.tenant, name)
        events.append(GroupRenamed(tenant=group.tenant, id=group.id, name=name))
    if description != group.description:
        events.append(GroupDescribed(tenant=group.tenant, id=group.id, description=description))
    return tuple(events)


def _delete_group(
    state: Facts, command: DeleteGroup, context: Context
) -> tuple[Event | principals.Event, ...]:
    group = require(state, command.tenant, command.id)
    bindings = tuple(access.bindings_of(state, group.id))
    if command.if_unused and bindings:
        raise principals.in_use(state, context, group, bindings, "group.in_use")
    left = (
        principals.MemberRemoved(tenant=group.tenant, group=group.id, principal=principal)
        for principal in state.members.get(group.id, ())
    )
    unbound = (principals.unbind(binding) for binding in bindings)
    return (*unbound, *left, GroupDeleted(tenant=group.tenant, id=group.id))


def _add_member(state: Facts, command: AddMember, context: Context) -> tuple[principals.Event, ...]:
    require(state, command.tenant, command.group)
    principals.require_may_reach(state, context, command.tenant, command.principal)
    principals.require(state, command.principal)
    not_before, expires_at = access.require_span(
        command.not_before, command.expires_at, context.at, "membership.invalid"
    )
    if principals.membership(state, command.group, command.principal, context.at) is not None:
        raise ConflictError(
            "group.already_member", f"{command.principal} is a member of {command.group}"
        )
    added = principals.MemberAdded(
        tenant=command.tenant,
        group=command.group,
        principal=command.principal,
        level=command.level,
        not_before=not_before,
        expires_at=expires_at,
    )
    principals.require_may_join(state, context, added)
    _require_may_make(state, command, context)
    gained = principals.ensure_access(
        state, context, command.tenant, command.principal, command.default_binding
    )
    return (*gained, added)


def _require_may_make(
    state: Facts, command: AddMember | ChangeMembership, context: Context
) -> None:
    """Refuse an owner made by one who may do less with the group's members than an owner."""
    if command.level == "OWNER" and not is_owners(state, command, context):
        rights = access.rights(state, context, command.tenant)
        escalation.require_may_give_ownership(rights, "group.escalation")


def _require_member(
    state: Facts, command: RemoveMember | ChangeMembership, context: Context
) -> principals.Membership:
    require(state, command.tenant, command.group)
    held = principals.membership(state, command.group, command.principal, context.at)
    if held is None:
        raise ConflictError(
            "group.not_member", f"{command.principal} is no member of {command.group}"
        )
    return held


def _remove_member(
    state: Facts, command: RemoveMember, context: Context
) -> tuple[principals.Event, ...]:
    held = _require_member(state, command, context)
    return (
        principals.MemberRemoved(tenant=held.tenant, group=held.group, principal=held.principal),
    )


def _change_membership(
    state: Facts, command: ChangeMembership, context: Context
) -> tuple[Event, ...]:
    held = _require_member(state, command, context)
    if held.level == command.level:
        return ()
    _require_may_make(state, command, context)
    return (
        MembershipChanged(
            tenant=held.tenant, group=held.group, principal=held.principal, level=command.level
        ),
    )


def _replace_groups(
    state: Facts, command: ReplaceGroups, context: Context
) -> tuple[principals.Event, ...]:
    principals.require_may_reach(state, context, command.tenant, command.principal)
    principals.require(state, command.principal)
    if not principals.has_access(state, command.principal, command.tenant):
        raise principals.no_access(command.tenant, command.principal)
    left, joined = principals.replace_groups(
        state, context, command.principal, command.groups, command.tenant
    )
    return (*left, *joined)


# Memory


def _group_renamed(draft: Draft, event: GroupRenamed) -> None:
    group = draft.groups.get(event.id)
    if group is not None:
        draft.group_names.pop((group.tenant, names.folded(group.name)), None)
        draft.group_names[group.tenant, names.folded(event.name)] = event.id
        draft.groups[event.id] = structs.replace(group, name=event.name, changed=draft.position)


def _membership_changed(draft: Draft, event: MembershipChanged) -> None:
    of_group = draft.members.get(event.group)
    held = None if of_group is None else of_group.get(event.principal)
    if held is not None:
        changed = structs.replace(held, level=event.level, changed=draft.position)
        draft.touched[event.principal] = draft.position
        draft.link(draft.members, event.group, event.principal, changed)
        draft.link(draft.memberships, event.principal, event.group, changed)


def apply(draft: Draft, event: Event) -> None:
    match event:
        case GroupCreated():
            draft.groups[event.id] = Group(
                id=event.id,
                tenant=event.tenant,
                name=event.name,
                description=event.description,
                created=draft.at,
                changed=draft.position,
            )
            draft.group_names[event.tenant, names.folded(event.name)] = event.id
        case GroupRenamed():
            _group_renamed(draft, event)
        case GroupDescribed():
            group = draft.groups.get(event.id)
            if group is not None:
                draft.groups[event.id] = structs.replace(
                    group, description=event.description, changed=draft.position
                )
        case GroupDeleted():
            group = draft.groups.pop(event.id, None)
            if group is not None:
                draft.group_names.pop((group.tenant, names.folded(group.name)), None)
        case MembershipChanged():
            _membership_changed(draft, event)
        case _:
            assert_never(event)
