"""How are roles managed over HTTP, and which permissions are known? (kestra-iam 5.2 to 6.4)."""

from __future__ import annotations

from itertools import chain
from typing import Any, Final

from litestar import Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Struct, structs

from api import listing
from api.call import ACCESS, Call, gives, needs
from api.iam import fields
from api.iam.fields import AutocompleteRequest, Flag, IdsRequest, Text
from api.list_fields import ROLES
from api.paging import Results
from domain import commands, permissions, roles
from domain.ids import RoleId, TenantId
from domain.permissions import KNOWN, MANAGED_ROLES, Permission, Permissions
from domain.roles import ChangeRole, CreateRole, DeleteRole, Role, RoleCreated
from domain.state import State
from projections.directory import roles as directory
from projections.pages import Page

READ: Final = needs(Permission("ROLE", "VIEW"))
LIST: Final = needs(Permission("ROLE", "LIST"))
READ_LIST: Final = {**LIST, "reads": True}

# Shapes


class RoleRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """A type whose list is null or empty grants nothing and is left out."""

    name: str
    permissions: dict[str, tuple[str, ...] | None]
    description: Text = UNSET
    is_default: Flag = UNSET


class RoleForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """A role with its permissions, exactly as they were sent."""

    id: str
    name: str
    description: str
    permissions: dict[str, list[str]]
    is_default: bool
    is_managed: bool


class RoleEntry(RoleForm, frozen=True, kw_only=True, rename="camel"):
    """A role among those asked for by their ids; a deleted one is not among them."""

    deleted: bool = False


class RoleSummary(Struct, frozen=True, kw_only=True, rename="camel"):
    """A role in a list; `permission_count` counts the pairs as they were written."""

    id: str
    name: str
    is_default: bool
    is_managed: bool
    permission_count: int


def role_form(state: State, tenant: TenantId, id_: RoleId) -> tuple[RoleForm, int]:
    """Answer the role, and the position of its last change."""
    role = roles.require(state, tenant, id_)
    form = RoleForm(
        id=role.id,
        name=role.name,
        description=role.description,
        permissions=permissions.to_lists(role.permissions),
        is_default=state.default_roles.get(tenant) == role.id,
        is_managed=role.is_managed,
    )
    return form, commands.changed_at(state, id_) or 0


def _summary(state: State, role: Role) -> RoleSummary:
    return RoleSummary(
        id=role.id,
        name=role.name,
        is_default=state.default_roles.get(role.tenant) == role.id,
        is_managed=role.is_managed,
        permission_count=permissions.count(role.permissions),
    )


def _asked(call: Call, data: RoleRequest) -> Permissions:
    """Answer the permissions of a request, in today's words where the caller wants that."""
    asked = permissions.from_lists(
        {type_: listed or () for type_, listed in data.permissions.items()}
    )
    return permissions.expand_legacy(asked) if call.flag("expandLegacy") else asked


# Roles


@post(
    "/{tenant:str}/roles",
    status_code=200,
    opt=gives(CreateRole),
    operation_id="createRole",
    summary="Create a role; with expandLegacy=true verbs of generation 1 are spelled out",
)
async def create(
    tenant: FromPath[str], data: JSONBody[RoleRequest], call: NamedDependency[Call]
) -> Response[RoleForm]:
    id_ = RoleId(call.service.inputs.id())
    done = await call.execute(
        CreateRole(
            tenant=TenantId(tenant),
            id=id_,
            name=data.name,
            description=fields.text(data.description),
            permissions=_asked(call, data),
            is_default=data.is_default is True,
        )
    )
    made = done.event(RoleCreated)
    return await done.show(
        lambda state: role_form(state, TenantId(tenant), made.id if made else id_)
    )


@get(
    "/{tenant:str}/roles/{id:str}",
    opt=READ,
    operation_id="getRole",
    summary="Show a role with its permissions",
)
async def show(
    tenant: FromPath[str], id: FromPath[str], call: NamedDependency[Call]
) -> Response[RoleForm]:
    return call.entity(*role_form(call.state, TenantId(tenant), RoleId(id)))


@put(
    "/{tenant:str}/roles/{id:str}",
    opt=gives(ChangeRole),
    operation_id="replaceRole",
    summary="Replace a role; with expandLegacy=true verbs of generation 1 are spelled out",
)
async def change(
    tenant: FromPath[str],
    id: FromPath[str],
    data: JSONBody[RoleRequest],
    call: NamedDependency[Call],
) -> Response[RoleForm]:
    command = ChangeRole(
        tenant=TenantId(tenant),
        id=RoleId(id),
        name=data.name,
        description=fields.text(data.description),
        permissions=_asked(call, data),
        is_default=data.is_default is True,
    )
    done = await call.execute(command, on=id)
    return await done.show(lambda state: role_form(state, TenantId(tenant), RoleId(id)))


@delete(
    "/{tenant:str}/roles/{id:str}",
    status_code=204,
    opt=gives(DeleteRole),
    operation_id="deleteRole",
    summary="Delete a role with its bindings; with ifUnused=true only where there are none",
)
async def remove(
    tenant: FromPath[str], id: FromPath[str], call: NamedDependency[Call]
) -> Response[None]:
    command = DeleteRole(tenant=TenantId(tenant), id=RoleId(id), if_unused=call.flag("ifUnused"))
    return (await call.execute(command, on=id)).empty()


# Lists


@get(
    "/{tenant:str}/roles/search",
    opt=LIST,
    operation_id="searchRoles",
    summary="List the roles of a tenant",
)
async def search(
    tenant: FromPath[str], call: NamedDependency[Call]
) -> Response[Results[RoleSummary]]:
    asked = listing.asked(call, ROLES, directory.SORTABLE)
    found = await listing.ask(
        call, directory.search, call.state.position, TenantId(tenant), asked.where, asked.page
    )
    rows = [_summary(call.state, call.state.roles[row.id]) for row in found.rows]
    return listing.answer(call, asked.page, rows, found.total)


@post(
    "/{tenant:str}/roles/autocomplete",
    status_code=200,
    opt=READ_LIST,
    operation_id="autocompleteRoles",
    summary="The roles of these ids, then those that a text finds; at most 50",
)
async def autocomplete(
    tenant: FromPath[str], data: JSONBody[AutocompleteRequest], call: NamedDependency[Call]
) -> Response[tuple[RoleSummary, ...]]:
    asked = listing.asked(call, ROLES, directory.SORTABLE)
    found = await listing.ask(
        call,
        directory.search,
        call.state.position,
        TenantId(tenant),
        listing.both(asked.where, *listing.containing(fields.text(data.q))),
        Page(size=listing.AUTOCOMPLETED_MAX),
    )
    named = _known(call.state, TenantId(tenant), fields.listed(data.ids) or ())
    both = dict.fromkeys((*(role.id for role in named), *(row.id for row in found.rows)))
    first = tuple(both)[: listing.AUTOCOMPLETED_MAX]
    return call.answer(tuple(_summary(call.state, call.state.roles[id_]) for id_ in first))


@post(
    "/{tenant:str}/roles/ids",
    status_code=200,
    opt=READ_LIST,
    operation_id="getRolesByIds",
    summary="The roles of these ids with their permissions; unknown ones are left out",
)
async def by_ids(
    tenant: FromPath[str], data: JSONBody[IdsRequest], call: NamedDependency[Call]
) -> Response[tuple[RoleEntry, ...]]:
    known = _known(call.state, TenantId(tenant), fields.listed(data.ids) or ())
    forms = (role_form(call.state, TenantId(tenant), role.id)[0] for role in known)
    return call.answer(tuple(RoleEntry(**structs.asdict(form)) for form in forms))


def _known(state: State, tenant: TenantId, ids: tuple[str, ...]) -> list[Role]:
    found = (state.roles.get(RoleId(id_)) for id_ in dict.fromkeys(ids))
    return [role for role in found if role is not None and role.tenant == tenant]


# What is known


@get(
    "/{tenant:str}/acls/permissions",
    opt=ACCESS,
    operation_id="listKnownPermissions",
    summary="The known resource types, each with its actions",
)
async def known_permissions(call: NamedDependency[Call]) -> Response[dict[str, tuple[str, ...]]]:
    return call.answer(KNOWN)


@get(
    "/{tenant:str}/acls/templates",
    opt=ACCESS,
    operation_id="listRoleTemplates",
    summary="The permissions of the managed roles",
)
async def templates(call: NamedDependency[Call]) -> Response[dict[str, dict[str, list[str]]]]:
    return call.answer(
        {name.upper(): permissions.to_lists(listed) for name, listed in MANAGED_ROLES.items()}
    )


# READ is generation 1's word, still accepted for every type (kestra-iam 5.3).
_ACTIONS: Final = tuple(dict.fromkeys((*chain.from_iterable(KNOWN.values()), "READ")))


@get(
    "/{tenant:str}/acls/actions",
    opt=ACCESS,
    operation_id="listKnownActions",
    summary="The known actions of all types",
)
async def known_actions(call: NamedDependency[Call]) -> Response[tuple[str, ...]]:
    return call.answer(_ACTIONS)


ROUTES: Final[list[Any]] = [
    create,
    show,
    change,
    remove,
    search,
    autocomplete,
    by_ids,
    known_permissions,
    templates,
    known_actions,
]
