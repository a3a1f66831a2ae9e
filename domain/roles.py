"""Which named sets of permissions does a tenant have, and who may shape them?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Final, assert_never

from msgspec import Struct

from domain import access, escalation, names, permissions, principals
from domain.errors import ConflictError, Faults, NotFoundError
from domain.ids import RoleId, TenantId
from domain.limits import PERMISSIONS_A_TENANT_MAX
from domain.permissions import Permission, Permissions, granted
from domain.scopes import WHOLE_TENANT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.commands import Context
    from domain.state import Draft, Facts

# Commands


class CreateRole(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("ROLE", "CREATE")
    tenant: TenantId
    id: RoleId
    name: str
    description: str = ""
    permissions: Permissions
    is_default: bool = False


class ChangeRole(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("ROLE", "UPDATE")
    tenant: TenantId
    id: RoleId
    name: str
    description: str
    permissions: Permissions
    is_default: bool


class DeleteRole(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("ROLE", "DELETE")
    tenant: TenantId
    id: RoleId
    if_unused: bool = False


Command = CreateRole | ChangeRole | DeleteRole

# Events


class RoleCreated(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "role.created.v1"
    tenant: TenantId
    id: RoleId
    name: str
    description: str = ""
    permissions: Permissions


class RoleRenamed(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "role.renamed.v1"
    tenant: TenantId
    id: RoleId
    name: str


class RoleDescribed(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "role.described.v1"
    tenant: TenantId
    id: RoleId
    description: str


class RolePermissionsSet(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "role.permissions_set.v1"
    tenant: TenantId
    id: RoleId
    permissions: Permissions


class RoleMadeDefault(Struct, frozen=True, kw_only=True):
    """Every user who gains access to the tenant gets this role; an earlier default ends."""

    topic: ClassVar[str] = "role.made_default.v1"
    tenant: TenantId
    id: RoleId


class DefaultRoleEnded(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "role.default_ended.v1"
    tenant: TenantId
    id: RoleId


class RoleDeleted(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "role.deleted.v1"
    tenant: TenantId
    id: RoleId


Event = (
    RoleCreated
    | RoleRenamed
    | RoleDescribed
    | RolePermissionsSet
    | RoleMadeDefault
    | DefaultRoleEnded
    | RoleDeleted
)

# State


class Role(Struct, frozen=True, kw_only=True):
    """`mask` has the bits of every (type, action) pair that the role grants in its tenant.

    `created_position` and `permissions_position`: which events made it, and what it grants.
    """

    id: RoleId
    tenant: TenantId
    name: str
    description: str
    permissions: Permissions
    is_managed: bool
    mask: int
    created: datetime
    changed: int
    created_position: int
    permissions_position: int


_NO_WORDS: Final[Mapping[tuple[str, str], int]] = {}

# Rules


def decide(
    state: Facts, command: Command, context: Context
) -> tuple[Event | principals.Event, ...]:
    match command:
        case CreateRole():
            return _create_role(state, command, context)
        case ChangeRole():
            return _change_role(state, command, context)
        case DeleteRole():
            return _delete_role(state, command, context)
        case _:
            assert_never(command)


def require(state: Facts, tenant: TenantId, id_: RoleId) -> Role:
    """Answer the role of this tenant; NotFoundError `role.unknown`."""
    role = state.roles.get(id_)
    if role is None or role.tenant != tenant:
        raise NotFoundError("role.unknown", f"no role {id_}")
    return role


def _judged(state: Facts, command: CreateRole | ChangeRole) -> tuple[str, str]:
    """Answer name and description in normal form, or refuse what does not fit."""
    faults = Faults()
    name = faults.check("name", names.display_name, command.name)
    description = faults.check("description", names.description, command.description)
    permissions.judge(command.permissions, faults, "permissions")
    known = state.vocabulary.get(command.tenant, _NO_WORDS)
    new = {pair for pair in granted(command.permissions) if pair not in known}
    if len(known) + len(new) > PERMISSIONS_A_TENANT_MAX:
        faults.add("permissions", "name too many different permissions", "too_many")
    faults.refuse("role.invalid")
    return name, description


def _require_may_give(
    state: Facts, context: Context, tenant: TenantId, pairs: set[tuple[str, str]]
) -> None:
    rights = access.rights(state, context, tenant)
    escalation.require_may_give(
        rights, ((*pair, WHOLE_TENANT) for pair in pairs), "role.escalation"
    )


def _create_role(state: Facts, command: CreateRole, context: Context) -> tuple[Event, ...]:
    name, description = _judged(state, command)
    _require_may_give(state, context, command.tenant, set(granted(command.permissions)))
    created = RoleCreated(
        tenant=command.tenant,
        id=command.id,
        name=name,
        description=description,
        permissions=command.permissions,
    )
    if command.is_default:
        return (created, RoleMadeDefault(tenant=command.tenant, id=command.id))
    return (created,)


def _change_role(state: Facts, command: ChangeRole, context: Context) -> tuple[Event, ...]:
    role = require(state, command.tenant, command.id)
    name, description = _judged(state, command)
    events: list[Event] = []
    if name != role.name:
        events.append(RoleRenamed(tenant=role.tenant, id=role.id, name=name))
    if description != role.description:
        events.append(RoleDescribed(tenant=role.tenant, id=role.id, description=description))
    if command.permissions != role.permissions:
        added = set(granted(command.permissions)) - set(granted(role.permissions))
        _require_may_give(state, context, role.tenant, added)
        events.append(
            RolePermissionsSet(tenant=role.tenant, id=role.id, permissions=command.permissions)
        )
    if events and role.is_managed:
        raise ConflictError("role.managed", f"role {role.id} is managed and stays as it is")
    was_default = state.default_roles.get(role.tenant) == role.id
    if command.is_default and not was_default:
        _require_may_give(state, context, role.tenant, set(granted(command.permissions)))
        events.append(RoleMadeDefault(tenant=role.tenant, id=role.id))
    elif was_default and not command.is_default:
        events.append(DefaultRoleEnded(tenant=role.tenant, id=role.id))
    return tuple(events)


def _delete_role(
    state: Facts, command: DeleteRole, context: Context
) -> tuple[Event | principals.Event, ...]:
    role = require(state, command.tenant, command.id)
    if role.is_managed:
        raise ConflictError("role.managed", f"role {role.id} is managed and stays")
    named_by = state.bindings_to.get(role.id)
    bindings = () if named_by is None else tuple(named_by.values())
    if command.if_unused and bindings:
        raise principals.in_use(state, context, role, bindings, "role.in_use")
    unbound = (principals.unbind(binding) for binding in bindings)
    return (*unbound, RoleDeleted(tenant=role.tenant, id=role.id))


# Memory


def _role_made_default(draft: Draft, event: RoleMadeDefault) -> None:
    earlier = draft.default_roles.get(event.tenant)
    draft.default_roles[event.tenant] = event.id
    draft.replace_role(event.id)
    if earlier is not None:
        draft.replace_role(earlier)


def _role_deleted(draft: Draft, event: RoleDeleted) -> None:
    draft.roles.pop(event.id, None)
    if draft.default_roles.get(event.tenant) == event.id:
        draft.default_roles.pop(event.tenant, None)


def apply(draft: Draft, event: Event) -> None:
    match event:
        case RoleCreated():
            draft.remember_role(
                event.tenant, event.id, event.name, event.permissions, event.description
            )
        case RoleRenamed():
            draft.replace_role(event.id, name=event.name)
        case RoleDescribed():
            draft.replace_role(event.id, description=event.description)
        case RolePermissionsSet():
            mask = draft.mask(event.tenant, event.permissions)
            draft.replace_role(
                event.id,
                permissions=event.permissions,
                mask=mask,
                permissions_position=draft.position,
            )
        case RoleMadeDefault():
            _role_made_default(draft, event)
        case DefaultRoleEnded():
            draft.default_roles.pop(event.tenant, None)
            draft.replace_role(event.id)
        case RoleDeleted():
            _role_deleted(draft, event)
        case _:
            assert_never(event)
