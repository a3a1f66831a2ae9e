"""How are service accounts managed over HTTP? (kestra-iam 6.1)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from litestar import Response, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Struct, UnsetType

from api import listing
from api.call import OWNER, Call, Done, gives, needs
from api.iam import fields, principals
from api.iam.fields import Flag, Text
from api.iam.principals import AccessRow
from api.journal import last_use
from api.list_fields import SERVICE_ACCOUNTS
from api.paging import Results
from domain import commands, service_accounts
from domain.errors import NotFoundError
from domain.ids import GroupId, ServiceAccountId, TenantId
from domain.owners import GrantInstanceOwner, RevokeInstanceOwner
from domain.permissions import Permission
from domain.service_accounts import (
    ChangeServiceAccount,
    CreateServiceAccount,
    DeleteServiceAccount,
    DisableServiceAccount,
    EnableServiceAccount,
    ServiceAccountCreated,
)
from domain.state import State
from projections.directory import service_accounts as directory

READ: Final = needs(Permission("SERVICE_ACCOUNT", "VIEW"))
LIST: Final = needs(Permission("SERVICE_ACCOUNT", "LIST"))

# Shapes


class GroupReference(Struct, frozen=True, kw_only=True):
    id: str


class TenantReference(Struct, frozen=True, kw_only=True):
    id: str
    name: str


class TenantRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    name: str
    description: Text = UNSET
    groups: tuple[GroupReference, ...] | UnsetType | None = UNSET
    instance_owner: Flag = UNSET
    super_admin: Flag = UNSET


class InstanceRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    name: str
    description: Text = UNSET
    tenants: tuple[str, ...] | UnsetType | None = UNSET
    instance_owner: Flag = UNSET
    super_admin: Flag = UNSET


class PatchRequest(Struct, frozen=True, kw_only=True):
    name: str
    description: Text = UNSET


class PrivilegeRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    instance_owner: Flag = UNSET
    super_admin: Flag = UNSET


class TenantForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """A service account as one tenant sees it."""

    id: str
    name: str
    description: str
    groups: tuple[GroupReference, ...]
    instance_owner: bool
    super_admin: bool
    enabled: bool
    created: datetime
    last_used: datetime | UnsetType


class InstanceForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """A service account as the installation sees it."""

    id: str
    name: str
    description: str
    tenants: tuple[TenantReference, ...]
    instance_owner: bool
    super_admin: bool
    enabled: bool
    created: datetime
    last_used: datetime | UnsetType


def tenant_form(
    call: Call, state: State, tenant: TenantId, id_: ServiceAccountId
) -> tuple[TenantForm, int]:
    """Answer the account in the tenant, and the position of its last change."""
    account = service_accounts.require(state, id_, tenant)
    held = principals.held(state, tenant, id_, listing.moment(call, state))
    owner = id_ in state.owners
    form = TenantForm(
        id=id_,
        name=account.name,
        description=account.description,
        groups=tuple(GroupReference(id=one.group) for one in held),
        instance_owner=owner,
        super_admin=owner,
        enabled=account.enabled,
        created=account.created,
        last_used=_last_used(call, id_),
    )
    return form, commands.changed_at(state, id_) or 0


def _last_used(call: Call, id_: ServiceAccountId) -> datetime | UnsetType:
    used = last_use(call, id_)
    return UNSET if used is None else used.at


def instance_form(call: Call, state: State, id_: ServiceAccountId) -> tuple[InstanceForm, int]:
    """Answer the account with the tenants it has access to, and its last change."""
    account = service_accounts.require(state, id_)
    tenants = [state.tenants[tenant] for tenant in sorted(state.access.get(id_, ()))]
    owner = id_ in state.owners
    form = InstanceForm(
        id=id_,
        name=account.name,
        description=account.description,
        tenants=tuple(
            TenantReference(id=tenant.id, name=tenant.name)
            for tenant in tenants
            if not tenant.deleted
        ),
        instance_owner=owner,
        super_admin=owner,
        enabled=account.enabled,
        created=account.created,
        last_used=_last_used(call, id_),
    )
    changed = max(commands.changed_at(state, id_) or 0, *(tenant.changed for tenant in tenants), 0)
    return form, changed


async def _shown(call: Call, done: Done, id_: str) -> Response[TenantForm]:
    return await done.show(
        lambda state: tenant_form(call, state, call.tenant, ServiceAccountId(id_))
    )


async def _shown_whole(call: Call, done: Done, id_: str) -> Response[InstanceForm]:
    return await done.show(lambda state: instance_form(call, state, ServiceAccountId(id_)))


# In a tenant


@post(
    "/{tenant:str}/service-accounts",
    status_code=200,
    opt=gives(CreateServiceAccount),
    operation_id="createServiceAccount",
    summary="Create a service account with access to this tenant",
)
async def create_in_tenant(
    tenant: FromPath[str], data: JSONBody[TenantRequest], call: NamedDependency[Call]
) -> Response[TenantForm]:
    id_ = ServiceAccountId(call.service.inputs.id())
    groups = fields.listed(data.groups) or ()
    done = await call.execute(
        CreateServiceAccount(
            tenant=TenantId(tenant),
            id=id_,
            name=data.name,
            description=fields.text(data.description),
            groups=tuple(GroupId(group.id) for group in groups),
            instance_owner=fields.privilege(data.instance_owner, data.super_admin) is True,
        )
    )
    made = done.event(ServiceAccountCreated)
    return await _shown(call, done, made.id if made else id_)


@get(
    "/{tenant:str}/service-accounts",
    opt=LIST,
    operation_id="listServiceAccounts",
    summary="List the service accounts with access to a tenant",
)
async def list_in_tenant(
    tenant: FromPath[str], call: NamedDependency[Call]
) -> Response[Results[AccessRow]]:
    asked = listing.asked(call, SERVICE_ACCOUNTS, directory.SORTABLE)
    found = await listing.ask(
        call, directory.of_tenant, call.state.position, TenantId(tenant), asked.where, asked.page
    )
    at = listing.moment(call)
    rows = [principals.account_row(call.state, TenantId(tenant), row.id, at) for row in found.rows]
    return listing.answer(call, asked.page, rows, found.total)


@get(
    "/{tenant:str}/service-accounts/{id:str}",
    opt=READ,
    operation_id="getServiceAccount",
    summary="Show a service account",
)
async def show_in_tenant(
    tenant: FromPath[str], id: FromPath[str], call: NamedDependency[Call]
) -> Response[TenantForm]:
    return call.entity(*tenant_form(call, call.state, TenantId(tenant), ServiceAccountId(id)))


@put(
    "/{tenant:str}/service-accounts/{id:str}",
    opt=gives(ChangeServiceAccount),
    operation_id="replaceServiceAccount",
    summary="Replace name, description, and the groups of this tenant",
)
async def change_in_tenant(
    tenant: FromPath[str],
    id: FromPath[str],
    data: JSONBody[TenantRequest],
    call: NamedDependency[Call],
) -> Response[TenantForm]:
    groups = fields.listed(data.groups)
    done = await call.execute(
        ChangeServiceAccount(
            tenant=TenantId(tenant),
            id=ServiceAccountId(id),
            name=data.name,
            description=fields.text(data.description),
            groups=UNSET if groups is UNSET else tuple(GroupId(group.id) for group in groups),
            instance_owner=fields.privilege(data.instance_owner, data.super_admin),
        ),
        on=id,
    )
    return await _shown(call, done, id)


@delete(
    "/{tenant:str}/service-accounts/{id:str}",
    status_code=200,
    opt=gives(DeleteServiceAccount),
    operation_id="deleteServiceAccount",
    summary="Delete a service account with its tokens, memberships and bindings",
)
async def delete_in_tenant(
    tenant: FromPath[str], id: FromPath[str], call: NamedDependency[Call]
) -> Response[bytes]:
    command = DeleteServiceAccount(tenant=TenantId(tenant), id=ServiceAccountId(id))
    return (await call.execute(command, on=id)).empty(status=200)


@post(
    "/{tenant:str}/service-accounts/{id:str}/disable",
    status_code=200,
    opt=gives(DisableServiceAccount),
    operation_id="disableServiceAccount",
    summary="Refuse all its tokens from the next request on",
)
async def disable_in_tenant(
    tenant: FromPath[str], id: FromPath[str], call: NamedDependency[Call]
) -> Response[TenantForm]:
    command = DisableServiceAccount(tenant=TenantId(tenant), id=ServiceAccountId(id))
    done = await call.execute(command, on=id)
    return await _shown(call, done, id)


@post(
    "/{tenant:str}/service-accounts/{id:str}/enable",
    status_code=200,
    opt=gives(EnableServiceAccount),
    operation_id="enableServiceAccount",
    summary="Let it act again",
)
async def enable_in_tenant(
    tenant: FromPath[str], id: FromPath[str], call: NamedDependency[Call]
) -> Response[TenantForm]:
    command = EnableServiceAccount(tenant=TenantId(tenant), id=ServiceAccountId(id))
    done = await call.execute(command, on=id)
    return await _shown(call, done, id)


# In the installation


@post(
    "/service-accounts",
    status_code=200,
    opt=OWNER,
    operation_id="createInstanceServiceAccount",
    summary="Create a service account with access to the tenants given",
)
async def create_in_installation(
    data: JSONBody[InstanceRequest], call: NamedDependency[Call]
) -> Response[InstanceForm]:
    id_ = ServiceAccountId(call.service.inputs.id())
    done = await call.execute(
        CreateServiceAccount(
            id=id_,
            name=data.name,
            description=fields.text(data.description),
            tenants=tuple(TenantId(tenant) for tenant in fields.listed(data.tenants) or ()),
            instance_owner=fields.privilege(data.instance_owner, data.super_admin) is True,
        )
    )
    made = done.event(ServiceAccountCreated)
    return await _shown_whole(call, done, made.id if made else id_)


@get(
    "/service-accounts",
    opt=OWNER,
    operation_id="listInstanceServiceAccounts",
    summary="List all service accounts with their tenants",
)
async def list_in_installation(
    call: NamedDependency[Call],
) -> Response[Results[InstanceForm]]:
    asked = listing.asked(call, SERVICE_ACCOUNTS, directory.SORTABLE)
    found = await listing.ask(
        call, directory.of_installation, call.state.position, asked.where, asked.page
    )
    rows = [instance_form(call, call.state, row.id)[0] for row in found.rows]
    return listing.answer(call, asked.page, rows, found.total)


@get(
    "/service-accounts/{id:str}",
    opt=OWNER,
    operation_id="getInstanceServiceAccount",
    summary="Show a service account with its tenants",
)
async def show_in_installation(
    id: FromPath[str], call: NamedDependency[Call]
) -> Response[InstanceForm]:
    return call.entity(*instance_form(call, call.state, ServiceAccountId(id)))


@patch(
    "/service-accounts/{id:str}",
    opt=OWNER,
    operation_id="changeInstanceServiceAccount",
    summary="Change name and description",
)
async def change_in_installation(
    id: FromPath[str], data: JSONBody[PatchRequest], call: NamedDependency[Call]
) -> Response[InstanceForm]:
    description = UNSET if data.description is UNSET else fields.text(data.description)
    done = await call.execute(
        ChangeServiceAccount(id=ServiceAccountId(id), name=data.name, description=description),
        on=id,
    )
    return await _shown_whole(call, done, id)


@delete(
    "/service-accounts/{id:str}",
    status_code=204,
    opt=OWNER,
    operation_id="deleteInstanceServiceAccount",
    summary="Delete a service account everywhere",
)
async def delete_in_installation(id: FromPath[str], call: NamedDependency[Call]) -> Response[None]:
    command = DeleteServiceAccount(id=ServiceAccountId(id))
    return (await call.execute(command, on=id)).empty()


@patch(
    ["/service-accounts/{id:str}/instanceowner", "/service-accounts/{id:str}/superadmin"],
    status_code=200,
    opt=OWNER,
    operation_id="setServiceAccountPrivilege",
    summary="Give or take the privilege of an instance owner",
)
async def set_privilege(
    id: FromPath[str], data: JSONBody[PrivilegeRequest], call: NamedDependency[Call]
) -> Response[bytes]:
    owner = fields.new_privilege(data.instance_owner, data.super_admin)
    if id in call.service.state.users:
        raise NotFoundError("service_account.unknown", f"no service account {id}")
    account = ServiceAccountId(id)
    command = (GrantInstanceOwner if owner else RevokeInstanceOwner)(principal=account)
    return (await call.execute(command, on=id)).empty(status=200)


@post(
    "/service-accounts/{id:str}/disable",
    status_code=200,
    opt=OWNER,
    operation_id="disableInstanceServiceAccount",
    summary="Refuse all its tokens from the next request on",
)
async def disable_in_installation(
    id: FromPath[str], call: NamedDependency[Call]
) -> Response[InstanceForm]:
    done = await call.execute(DisableServiceAccount(id=ServiceAccountId(id)), on=id)
    return await _shown_whole(call, done, id)


@post(
    "/service-accounts/{id:str}/enable",
    status_code=200,
    opt=OWNER,
    operation_id="enableInstanceServiceAccount",
    summary="Let it act again",
)
async def enable_in_installation(
    id: FromPath[str], call: NamedDependency[Call]
) -> Response[InstanceForm]:
    done = await call.execute(EnableServiceAccount(id=ServiceAccountId(id)), on=id)
    return await _shown_whole(call, done, id)


ROUTES: Final[list[Any]] = [
    create_in_tenant,
    list_in_tenant,
    show_in_tenant,
    change_in_tenant,
    delete_in_tenant,
    disable_in_tenant,
    enable_in_tenant,
    create_in_installation,
    list_in_installation,
    show_in_installation,
    change_in_installation,
    delete_in_installation,
    set_privilege,
    disable_in_installation,
    enable_in_installation,
]
