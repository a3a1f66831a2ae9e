"""Which programs have an identity here, and may they act?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, assert_never

from msgspec import UNSET, Struct, UnsetType, structs

from domain import access, aliases, escalation, names, principals, privilege
from domain.errors import ConflictError, Faults, NotFoundError
from domain.ids import GroupId, ServiceAccountId, TenantId
from domain.permissions import Permission

if TYPE_CHECKING:
    from domain.commands import Context
    from domain.state import Draft, Facts

# Commands


class CreateServiceAccount(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("SERVICE_ACCOUNT", "CREATE")
    tenant: TenantId | UnsetType = UNSET
    id: ServiceAccountId
    name: str
    description: str = ""
    groups: tuple[GroupId, ...] = ()
    tenants: tuple[TenantId, ...] = ()
    instance_owner: bool = False


class ChangeServiceAccount(Struct, frozen=True, kw_only=True):
    """New values of the members given; `groups` are those of the command's tenant only."""

    needs: ClassVar[Permission] = Permission("SERVICE_ACCOUNT", "UPDATE")
    tenant: TenantId | UnsetType = UNSET
    id: ServiceAccountId
    name: str
    description: str | UnsetType = UNSET
    groups: tuple[GroupId, ...] | UnsetType = UNSET
    instance_owner: bool | UnsetType = UNSET


class DisableServiceAccount(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("SERVICE_ACCOUNT", "UPDATE")
    tenant: TenantId | UnsetType = UNSET
    id: ServiceAccountId


class EnableServiceAccount(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("SERVICE_ACCOUNT", "UPDATE")
    tenant: TenantId | UnsetType = UNSET
    id: ServiceAccountId


class DeleteServiceAccount(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("SERVICE_ACCOUNT", "DELETE")
    tenant: TenantId | UnsetType = UNSET
    id: ServiceAccountId


Command = (
    CreateServiceAccount
    | ChangeServiceAccount
    | DisableServiceAccount
    | EnableServiceAccount
    | DeleteServiceAccount
)

# Events


class ServiceAccountCreated(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "service_account.created.v1"
    id: ServiceAccountId
    name: str
    description: str = ""


class ServiceAccountRenamed(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "service_account.renamed.v1"
    id: ServiceAccountId
    name: str


class ServiceAccountDescribed(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "service_account.described.v1"
    id: ServiceAccountId
    description: str


class ServiceAccountDisabled(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "service_account.disabled.v1"
    id: ServiceAccountId


class ServiceAccountEnabled(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "service_account.enabled.v1"
    id: ServiceAccountId


class ServiceAccountDeleted(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "service_account.deleted.v1"
    id: ServiceAccountId


Event = (
    ServiceAccountCreated
    | ServiceAccountRenamed
    | ServiceAccountDescribed
    | ServiceAccountDisabled
    | ServiceAccountEnabled
    | ServiceAccountDeleted
)

# State


class ServiceAccount(Struct, frozen=True, kw_only=True):
    """`enabled_position`: since when it has been enabled, or was the last time."""

    id: ServiceAccountId
    name: str
    description: str
    enabled: bool
    created: datetime
    changed: int
    enabled_position: int


# Rules


def decide(
    state: Facts, command: Command, context: Context
) -> tuple[Event | principals.Event, ...]:
    match command:
        case CreateServiceAccount():
            return _create_service_account(state, command, context)
        case ChangeServiceAccount():
            return _change_service_account(state, command, context)
        case DisableServiceAccount():
            return _disable_service_account(state, command, context)
        case EnableServiceAccount():
            return _enable_service_account(state, command, context)
        case DeleteServiceAccount():
            return _delete_service_account(state, command, context)
        case _:
            assert_never(command)


def require(
    state: Facts, id_: ServiceAccountId, tenant: TenantId | UnsetType = UNSET
) -> ServiceAccount:
    """Answer the account; `service_account.unknown` also for one outside the tenant given."""
    account = state.service_accounts.get(id_)
    if account is None or (tenant is not UNSET and not principals.has_access(state, id_, tenant)):
        raise NotFoundError("service_account.unknown", f"no service account {id_}")
    return account


def _require_whole(
    state: Facts,
    context: Context,
    command: ChangeServiceAccount
    | DisableServiceAccount
    | EnableServiceAccount
    | DeleteServiceAccount,
) -> ServiceAccount:
    """As `require`; and an account shared with other tenants is the instance owner's alone."""
    account = require(state, command.id, command.tenant)
    wider = command.tenant is not UNSET and principals.acts_elsewhere(state, command.id)
    if wider and not access.is_unbounded_owner(state, context):
        raise ConflictError(
            "service_account.shared", f"{command.id} also acts outside tenant {command.tenant}"
        )
    return account


def _create_service_account(
    state: Facts, command: CreateServiceAccount, context: Context
) -> tuple[Event | principals.Event, ...]:
    faults = Faults()
    name = faults.check("name", names.label, command.name)
    description = faults.check("description", names.description, command.description)
    faults.refuse("service_account.invalid")
    aliases.require_no_id(state, command.tenant, name, "name.is_id", "name")
    joined = _joined_at_birth(state, command, context)
    tenants = command.tenants if command.tenant is UNSET else (command.tenant,)
    tenants = tuple(dict.fromkeys((*tenants, *(member.tenant for member in joined))))
    for tenant in tenants:
        if not access.is_open(state, tenant):
            raise NotFoundError("tenant.unknown", f"no tenant {tenant}")
    owner: tuple[principals.Event, ...] = ()
    if command.instance_owner:
        owner = privilege.set_privilege(state, context, command.id, owner=True)
    granted = (
        principals.TenantAccessGranted(tenant=tenant, principal=command.id) for tenant in tenants
    )
    created = ServiceAccountCreated(id=command.id, name=name, description=description)
    return (created, *granted, *joined, *owner)


def _joined_at_birth(
    state: Facts, command: CreateServiceAccount, context: Context
) -> list[principals.MemberAdded]:
    joined: list[principals.MemberAdded] = []
    for group in principals.require_groups(state, command.groups, command.tenant):
        tenant = state.groups[group].tenant
        added = principals.MemberAdded(tenant=tenant, group=group, principal=command.id)
        principals.require_may_join(state, context, added)
        joined.append(added)
    return joined


def _change_service_account(
    state: Facts, command: ChangeServiceAccount, context: Context
) -> tuple[Event | principals.Event, ...]:
    account = require(state, command.id, command.tenant)
    faults = Faults()
    name = faults.check("name", names.label, command.name)
    description = account.description
    if command.description is not UNSET:
        description = faults.check("description", names.description, command.description)
    faults.refuse("service_account.invalid")
    events: list[Event | principals.Event] = []
    if name != account.name:
        aliases.require_no_id(state, command.tenant, name, "name.is_id", "name")
        events.append(ServiceAccountRenamed(id=command.id, name=name))
    if description != account.description:
        events.append(ServiceAccountDescribed(id=command.id, description=description))
    if events:
        _require_whole(state, context, command)
    if command.groups is not UNSET and command.tenant is not UNSET:
        left, joined = principals.replace_groups(
            state, context, command.id, command.groups, command.tenant
        )
        events.extend((*left, *joined))
    if command.instance_owner is not UNSET:
        events.extend(
            privilege.set_privilege(state, context, command.id, owner=command.instance_owner)
        )
    return tuple(events)


def _disable_service_account(
    state: Facts, command: DisableServiceAccount, context: Context
) -> tuple[Event, ...]:
    account = _require_whole(state, context, command)
    return (ServiceAccountDisabled(id=command.id),) if account.enabled else ()


def _enable_service_account(
    state: Facts, command: EnableServiceAccount, context: Context
) -> tuple[Event, ...]:
    account = _require_whole(state, context, command)
    if account.enabled:
        return ()
    escalation.require_may_give_all(state, context, command.id, UNSET, "service_account.escalation")
    return (ServiceAccountEnabled(id=command.id),)


def _delete_service_account(
    state: Facts, command: DeleteServiceAccount, context: Context
) -> tuple[Event | principals.Event, ...]:
    _require_whole(state, context, command)
    return (*principals.end(state, command.id), ServiceAccountDeleted(id=command.id))


# Memory


def apply(draft: Draft, event: Event) -> None:
    accounts = draft.service_accounts
    match event:
        case ServiceAccountCreated():
            accounts[event.id] = ServiceAccount(
                id=event.id,
                name=event.name,
                description=event.description,
                enabled=True,
                created=draft.at,
                changed=draft.position,
                enabled_position=draft.position,
            )
        case ServiceAccountRenamed():
            _replace(draft, event.id, name=event.name)
        case ServiceAccountDescribed():
            _replace(draft, event.id, description=event.description)
        case ServiceAccountDisabled():
            _replace(draft, event.id, enabled=False)
        case ServiceAccountEnabled():
            _replace(draft, event.id, enabled=True, enabled_position=draft.position)
        case ServiceAccountDeleted():
            accounts.pop(event.id, None)
        case _:
            assert_never(event)


def _replace(draft: Draft, id_: ServiceAccountId, **values: str | bool | int) -> None:
    account = draft.service_accounts.get(id_)
    if account is not None:
        draft.service_accounts[id_] = structs.replace(account, changed=draft.position, **values)
