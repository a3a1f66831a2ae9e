"""Who has access to a tenant, and what may each of them do in it? (kestra-iam 5.6 and 6.7)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, Literal

from litestar import Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Struct, UnsetType

from api import listing
from api.call import Call, gives, needs
from api.iam import fields, principals, user_lists
from api.iam.bindings import ResourceForm
from api.iam.fields import AutocompleteRequest, Flag, Text
from api.iam.principals import AccessRow, GroupName
from api.iam.user_lists import Candidate
from api.list_fields import USERS
from api.listing import Asked
from api.paging import Results
from domain import access
from domain import principals as rules
from domain.errors import ConflictError, FieldFault, NotFoundError
from domain.ids import BindingId, PrincipalId, SubjectId, TenantId, UserId
from domain.names import canonical_email
from domain.permissions import Permission
from domain.principals import Binding
from domain.state import State
from domain.tenants import EndTenantAccess, GrantTenantAccess
from projections.directory import tenant_access as directory
from projections.directory import users
from projections.pages import Page

LIST: Final = needs(Permission("USER", "LIST"), Permission("TENANT_ACCESS", "LIST"))
READ_LIST: Final = {**LIST, "reads": True}

# Shapes


class EmailRequest(Struct, frozen=True, kw_only=True):
    email: str


class CompletionRequest(AutocompleteRequest, frozen=True, kw_only=True, rename="camel"):
    """`existing_only: false` lets an instance owner find users without access too."""

    existing_only: Flag = UNSET
    username: Text = UNSET


class ActionsForm(Struct, frozen=True, kw_only=True):
    resource: str
    actions: tuple[str, ...]


class HeldRole(Struct, frozen=True, kw_only=True, rename="camel"):
    """A role in force; `source_id` is the binding's, or that of the group it came through."""

    id: str
    name: str
    namespace: str | UnsetType
    resource: ResourceForm | UnsetType
    origin: Literal["BINDING", "GROUP"]
    source_id: str
    permissions: tuple[ActionsForm, ...]


class AccessForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a principal may do in a tenant at this moment, and by what."""

    tenant_id: str
    user_id: str
    username: str
    display_name: str
    groups: tuple[GroupName, ...]
    instance_owner: bool
    super_admin: bool
    roles: tuple[HeldRole, ...]


async def access_form(call: Call, tenant: TenantId, id_: PrincipalId) -> AccessForm:
    """Answer what the principal may do in the tenant; nothing while it is disabled."""
    state, at = call.state, listing.moment(call)
    found = rules.require_in_tenant(state, tenant, id_)
    name = await principals.name(call, state, id_)
    owner = id_ in state.owners
    return AccessForm(
        tenant_id=tenant,
        user_id=id_,
        username=name.username,
        display_name=name.display_name,
        groups=principals.group_names(state, tenant, id_, at),
        instance_owner=owner,
        super_admin=owner,
        roles=tuple(_roles(state, tenant, id_, at)) if found.enabled else (),
    )


def _roles(state: State, tenant: TenantId, id_: PrincipalId, at: datetime) -> Iterator[HeldRole]:
    for binding in _in_force(state, tenant, id_, at):
        yield _held_role(state, binding, "BINDING", binding.id)
    for one in principals.held(state, tenant, id_, at):
        if _has_begun(one.not_before, at):
            for binding in _in_force(state, tenant, one.group, at):
                yield _held_role(state, binding, "GROUP", one.group)


def _in_force(state: State, tenant: TenantId, subject: SubjectId, at: datetime) -> list[Binding]:
    found = [
        binding
        for binding in access.bindings_of(state, subject)
        if binding.tenant == tenant
        and _has_begun(binding.not_before, at)
        and not access.is_over(binding.expires_at, at)
    ]
    return sorted(found, key=lambda binding: binding.changed)


def _has_begun(not_before: datetime | UnsetType, at: datetime) -> bool:
    return not_before is UNSET or at >= not_before


def _held_role(
    state: State, binding: Binding, origin: Literal["BINDING", "GROUP"], source_id: str
) -> HeldRole:
    role, resource = state.roles[binding.role], binding.scope.resource
    return HeldRole(
        id=role.id,
        name=role.name,
        namespace=binding.scope.namespace,
        resource=(UNSET if resource is UNSET else ResourceForm(type=resource.type, id=resource.id)),
        origin=origin,
        source_id=source_id,
        permissions=tuple(
            ActionsForm(resource=entry.type, actions=entry.actions) for entry in role.permissions
        ),
    )


# Lists


@get(
    "/{tenant:str}/tenant-access",
    opt=LIST,
    operation_id="listTenantAccess",
    summary="List the users who have access to a tenant",
)
async def search(
    tenant: FromPath[str], call: NamedDependency[Call]
) -> Response[Results[AccessRow]]:
    asked = listing.asked(call, USERS, user_lists.ORDERS)
    candidates = await _candidates(call, asked, TenantId(tenant))
    found, total = await listing.pick(candidates, asked, user_lists.value, "name")
    rows = [_row(call, TenantId(tenant), one) for one in found]
    return listing.answer(call, asked.page, rows, total)


@post(
    "/{tenant:str}/tenant-access/autocomplete",
    status_code=200,
    opt=READ_LIST,
    operation_id="autocompleteTenantAccess",
    summary="The users of these ids, then those that a text finds; at most 50",
)
async def autocomplete(
    tenant: FromPath[str], data: JSONBody[CompletionRequest], call: NamedDependency[Call]
) -> Response[tuple[AccessRow, ...]]:
    where = listing.both(
        listing.asked(call, USERS, user_lists.ORDERS).where,
        *listing.containing(fields.text(data.q)),
        *listing.containing(fields.text(data.username), "username"),
    )
    everyone = data.existing_only is False and access.is_unbounded_owner(
        call.service.state, principals.context(call)
    )
    first = Asked(Page(size=listing.AUTOCOMPLETED_MAX), where)
    candidates = await _candidates(call, first, TenantId(tenant), everyone=everyone)
    matching, _ = await listing.pick(candidates, first, user_lists.value, "name")
    by_id: dict[str, Candidate] = {one.row.id: one for one in candidates}
    wanted = dict.fromkeys((*(fields.listed(data.ids) or ()), *(one.row.id for one in matching)))
    chosen = [by_id[id_] for id_ in wanted if id_ in by_id][: listing.AUTOCOMPLETED_MAX]
    return call.answer(tuple(_row(call, TenantId(tenant), one) for one in chosen))


async def _candidates(
    call: Call, asked: Asked, tenant: TenantId, *, everyone: bool = False
) -> list[Candidate]:
    """Answer the users with access to the tenant, or all there are, with their names."""
    position = call.state.position
    granted = await listing.ask(call, directory.users_of_tenant, position, tenant)
    since: dict[str, datetime] = {row.principal: row.created for row in granted}
    rows = (
        await listing.ask(call, users.everyone, position)
        if everyone
        else await listing.ask(call, users.by_ids, position, [UserId(id_) for id_ in since])
    )
    return await user_lists.candidates(call, asked, rows, tenant, since)


def _row(call: Call, tenant: TenantId, one: Candidate) -> AccessRow:
    id_, at = one.row.id, listing.moment(call)
    return AccessRow(
        id=id_,
        username=one.name.username,
        display_name=one.name.display_name,
        groups=principals.group_names(call.state, tenant, id_, at),
        auths=principals.auths(call.state, tenant, call.state.users[id_], one.name.username, at),
    )


# One principal's access


def is_self(call: Call) -> bool:
    """Tell whether the caller asks about itself: the exception of that route."""
    return bool(call.parameters["user_id"] == call.caller.principal)


@get(
    "/{tenant:str}/tenant-access/{user_id:str}",
    opt=needs(Permission("USER", "VIEW"), Permission("TENANT_ACCESS", "VIEW"), is_self),
    operation_id="getTenantAccess",
    summary="Show what a user or service account may do in a tenant now",
)
async def show(
    tenant: FromPath[str], user_id: FromPath[str], call: NamedDependency[Call]
) -> Response[AccessForm]:
    # What is shown hangs together with roles, groups and bindings, which may be gone: no event
    # after the position shown has changed it.
    form = await access_form(call, TenantId(tenant), UserId(user_id))
    return call.entity(form, call.state.position)


@put(
    "/{tenant:str}/tenant-access/{user_id:str}",
    status_code=201,
    opt=gives(GrantTenantAccess),
    operation_id="grantTenantAccess",
    summary="Give a user or service account access to a tenant",
)
async def grant(
    tenant: FromPath[str], user_id: FromPath[str], call: NamedDependency[Call]
) -> Response[None]:
    command = GrantTenantAccess(
        tenant=TenantId(tenant),
        principal=UserId(user_id),
        default_binding=BindingId(call.service.inputs.id()),
    )
    return (await call.execute(command, on=user_id)).empty(status=201)


@post(
    "/{tenant:str}/tenant-access",
    status_code=204,
    opt=gives(GrantTenantAccess),
    operation_id="grantTenantAccessByEmail",
    summary="Give the user of an e-mail access to a tenant",
)
async def grant_by_email(
    tenant: FromPath[str], data: JSONBody[EmailRequest], call: NamedDependency[Call]
) -> Response[None]:
    index = call.service.vault.email_index(canonical_email(data.email))
    user = call.state.emails.get(index)
    if user is None:
        fault = FieldFault("email", "is unknown", "user.unknown")
        raise NotFoundError("user.unknown", "no user has this e-mail", fields=(fault,))
    command = GrantTenantAccess(
        tenant=TenantId(tenant),
        principal=user,
        default_binding=BindingId(call.service.inputs.id()),
    )
    done = await call.execute(command)
    if not done.outcome.events:
        # Nothing was to be done on the exact head, so there was access already.
        raise ConflictError("tenant_access.exists", f"{user} has access to tenant {tenant}")
    return done.empty()


@delete(
    "/{tenant:str}/tenant-access/{user_id:str}",
    status_code=204,
    opt=gives(EndTenantAccess),
    operation_id="endTenantAccess",
    summary="End access to a tenant, and with it the memberships and bindings there",
)
async def end(
    tenant: FromPath[str], user_id: FromPath[str], call: NamedDependency[Call]
) -> Response[None]:
    command = EndTenantAccess(tenant=TenantId(tenant), principal=UserId(user_id))
    return (await call.execute(command, on=user_id)).empty()


ROUTES: Final[list[Any]] = [search, autocomplete, show, grant, grant_by_email, end]
