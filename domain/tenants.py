"""Which isolated spaces are there, and who has access to them?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, assert_never

from msgspec import Struct, structs

from domain import names, principals
from domain.errors import ConflictError, Faults, FieldFault, InvalidError, NotFoundError
from domain.ids import MAIN, BindingId, PrincipalId, RoleId, TenantId
from domain.limits import TENANTS_MAX
from domain.permissions import MANAGED_ROLES, Permission, Permissions

if TYPE_CHECKING:
    from domain.commands import Context
    from domain.state import Draft, Facts

# Commands


class OpenLog(Struct, frozen=True, kw_only=True):
    """The first command of an installation: its log's id, and the tenant `main`."""

    log_id: str
    managed_roles: tuple[RoleId, ...]


class CreateTenant(Struct, frozen=True, kw_only=True):
    id: TenantId
    name: str
    managed_roles: tuple[RoleId, ...]


class RenameTenant(Struct, frozen=True, kw_only=True):
    id: TenantId
    name: str


class DeleteTenant(Struct, frozen=True, kw_only=True):
    id: TenantId


class GrantTenantAccess(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("USER", "CREATE")
    or_needs: ClassVar[Permission] = Permission("TENANT_ACCESS", "CREATE")
    tenant: TenantId
    principal: PrincipalId
    default_binding: BindingId


class EndTenantAccess(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("USER", "DELETE")
    or_needs: ClassVar[Permission] = Permission("TENANT_ACCESS", "DELETE")
    tenant: TenantId
    principal: PrincipalId


Command = OpenLog | CreateTenant | RenameTenant | DeleteTenant | GrantTenantAccess | EndTenantAccess

# Events


class LogOpened(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "log.opened.v1"
    log_id: str


class TenantCreated(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "tenant.created.v1"
    tenant: TenantId
    name: str


class TenantRenamed(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "tenant.renamed.v1"
    tenant: TenantId
    name: str


class TenantDeleted(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "tenant.deleted.v1"
    tenant: TenantId


class ManagedRoleCreated(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "role.managed_created.v1"
    tenant: TenantId
    id: RoleId
    name: str
    permissions: Permissions


Event = LogOpened | TenantCreated | TenantRenamed | TenantDeleted | ManagedRoleCreated

# State


class Tenant(Struct, frozen=True, kw_only=True):
    id: TenantId
    name: str
    deleted: bool
    created: datetime
    changed: int


# Rules


def decide(
    state: Facts, command: Command, context: Context
) -> tuple[Event | principals.Event, ...]:
    match command:
        case OpenLog():
            return _open_log(state, command)
        case CreateTenant():
            return _create_tenant(state, command)
        case RenameTenant():
            return _rename_tenant(state, command)
        case DeleteTenant():
            return _delete_tenant(state, command)
        case GrantTenantAccess():
            return _grant_tenant_access(state, command, context)
        case EndTenantAccess():
            return _end_tenant_access(state, command)
        case _:
            assert_never(command)


def _open_log(state: Facts, command: OpenLog) -> tuple[Event, ...]:
    if state.position:
        raise ConflictError("log.opened", "the log has been opened already")
    return (LogOpened(log_id=command.log_id), *_opened(MAIN, MAIN, command.managed_roles))


def _opened(tenant: TenantId, name: str, managed_roles: tuple[RoleId, ...]) -> tuple[Event, ...]:
    """Make a tenant with the managed roles that every tenant starts with."""
    created = TenantCreated(tenant=tenant, name=name)
    roles = (
        ManagedRoleCreated(tenant=tenant, id=id_, name=role, permissions=permissions)
        for id_, (role, permissions) in zip(managed_roles, MANAGED_ROLES.items(), strict=True)
    )
    return (created, *roles)


def _create_tenant(state: Facts, command: CreateTenant) -> tuple[Event, ...]:
    faults = Faults()
    tenant = faults.check("id", names.tenant_id, command.id)
    name = faults.check("name", names.display_name, command.name)
    faults.refuse("tenant.invalid")
    if tenant in names.RESERVED_TENANTS:
        detail = f"{tenant} has a meaning of its own in paths"
        fault = FieldFault("id", "has a meaning of its own in paths", "tenant.reserved")
        raise InvalidError("tenant.reserved", detail, fields=(fault,))
    if command.id in state.tenants:
        fault = FieldFault("id", "is taken", "tenant.taken")
        raise ConflictError("tenant.taken", f"there is or was a tenant {tenant}", fields=(fault,))
    if state.tenant_count >= TENANTS_MAX:
        raise ConflictError("tenant.too_many", f"there are {TENANTS_MAX} tenants")
    return _opened(command.id, name, command.managed_roles)


def require(state: Facts, tenant: TenantId) -> Tenant:
    """Answer the tenant; NotFoundError `tenant.unknown` where there is none (any more)."""
    found = state.tenants.get(tenant)
    if found is None or found.deleted:
        raise NotFoundError("tenant.unknown", f"no tenant {tenant}")
    return found


def _rename_tenant(state: Facts, command: RenameTenant) -> tuple[Event, ...]:
    tenant = require(state, command.id)
    faults = Faults()
    name = faults.check("name", names.display_name, command.name)
    faults.refuse("tenant.invalid")
    return () if name == tenant.name else (TenantRenamed(tenant=tenant.id, name=name),)


def _delete_tenant(state: Facts, command: DeleteTenant) -> tuple[Event, ...]:
    tenant = require(state, command.id)
    if tenant.id == MAIN:
        raise ConflictError("tenant.main", "the tenant main cannot be deleted")
    return (TenantDeleted(tenant=tenant.id),)


def _grant_tenant_access(
    state: Facts, command: GrantTenantAccess, context: Context
) -> tuple[principals.Event, ...]:
    principals.require(state, command.principal)
    return principals.ensure_access(
        state, context, command.tenant, command.principal, command.default_binding
    )


def _end_tenant_access(state: Facts, command: EndTenantAccess) -> tuple[principals.Event, ...]:
    principals.require_in_tenant(state, command.tenant, command.principal)
    return principals.end_access(state, command.tenant, command.principal)


# Memory


def apply(draft: Draft, event: Event) -> None:
    match event:
        case LogOpened():
            draft.log_id = event.log_id
        case TenantCreated():
            draft.tenants[event.tenant] = Tenant(
                id=event.tenant,
                name=event.name,
                deleted=False,
                created=draft.at,
                changed=draft.position,
            )
            draft.tenant_count += 1
        case TenantRenamed():
            _replace(draft, event.tenant, name=event.name)
        case TenantDeleted():
            _replace(draft, event.tenant, deleted=True)
            draft.tenant_count -= 1
        case ManagedRoleCreated():
            draft.remember_role(
                event.tenant, event.id, event.name, event.permissions, is_managed=True
            )
        case _:
            assert_never(event)


def _replace(draft: Draft, id_: TenantId, **values: str | bool) -> None:
    tenant = draft.tenants.get(id_)
    if tenant is not None:
        draft.tenants[id_] = structs.replace(tenant, changed=draft.position, **values)
