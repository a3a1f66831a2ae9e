"""How are roles bound to principals and groups over HTTP? (kestra-iam 6.5 and 8)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, Literal

from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Struct, UnsetType

from api import listing
from api.call import Call, Done, gives, needs
from api.iam import fields, principals
from api.iam.fields import Text
from api.list_fields import BINDINGS
from api.paging import Results
from domain import access, bindings, commands
from domain.bindings import Assignment, AssignRole, AssignRoles, DeleteBinding
from domain.errors import FieldFault, InvalidError
from domain.ids import BindingId, RoleId, SubjectId, TenantId, UserId
from domain.permissions import Permission
from domain.principals import Binding, BindingCreated
from domain.scopes import Resource, Scope
from domain.state import State
from projections.directory import bindings as directory

READ: Final = needs(Permission("BINDING", "VIEW"))
LIST: Final = needs(Permission("BINDING", "LIST"))

# The list's own parameters beside `filters` (kestra-iam 6.5), and the fields that they mean.
_PARAMETERS: Final = {"type": "type", "id": "externalId", "namespace": "namespace"}

# Shapes


class ResourceForm(Struct, frozen=True, kw_only=True):
    type: str
    id: str


class BindingRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    type: Literal["USER", "GROUP"]
    external_id: str
    role_id: str
    namespace_id: Text = UNSET
    namespace: Text = UNSET
    resource: ResourceForm | UnsetType | None = UNSET
    not_before: datetime | UnsetType | None = UNSET
    expires_at: datetime | UnsetType | None = UNSET


class RoleName(Struct, frozen=True, kw_only=True):
    id: str
    name: str


class GroupName(Struct, frozen=True, kw_only=True):
    id: str
    name: str


class BindingForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """A binding; `namespace` and `namespaceId` are both there, or neither."""

    id: str
    type: Literal["USER", "GROUP"]
    namespace: str | UnsetType
    namespace_id: str | UnsetType
    resource: ResourceForm | UnsetType
    role: RoleName
    user: principals.Name | UnsetType
    group: GroupName | UnsetType
    not_before: datetime | UnsetType
    expires_at: datetime | UnsetType
    state: Literal["PENDING", "ACTIVE", "EXPIRED"]


async def forms(call: Call, state: State, found: Sequence[Binding]) -> list[BindingForm]:
    """Answer the bindings in the same order, with the names of what they bind."""
    users = (one.subject for one in found if one.subject_type != "GROUP")
    names = await principals.names(call, state, users)
    at = listing.moment(call, state)
    return [_form(state, one, names, at) for one in found]


def _form(
    state: State, binding: Binding, names: dict[SubjectId, principals.Name], at: datetime
) -> BindingForm:
    is_group = binding.subject_type == "GROUP"
    namespace, resource = binding.scope.namespace, binding.scope.resource
    return BindingForm(
        id=binding.id,
        type="GROUP" if is_group else "USER",
        namespace=namespace,
        namespace_id=namespace,
        resource=(UNSET if resource is UNSET else ResourceForm(type=resource.type, id=resource.id)),
        role=RoleName(id=binding.role, name=state.roles[binding.role].name),
        user=UNSET if is_group else names[binding.subject],
        group=(
            GroupName(id=binding.subject, name=state.groups[binding.subject].name)
            if is_group
            else UNSET
        ),
        not_before=binding.not_before,
        expires_at=binding.expires_at,
        state=_state(binding, at),
    )


def _state(binding: Binding, at: datetime) -> Literal["PENDING", "ACTIVE", "EXPIRED"]:
    if access.is_over(binding.expires_at, at):
        return "EXPIRED"
    pending = binding.not_before is not UNSET and at < binding.not_before
    return "PENDING" if pending else "ACTIVE"


async def _shown(
    call: Call, state: State, tenant: TenantId, id_: BindingId
) -> tuple[BindingForm, int]:
    """Answer the binding, and the last change of it or of what it names."""
    binding = bindings.require(state, tenant, id_)
    named = (commands.changed_at(state, id_) or 0 for id_ in (binding.role, binding.subject))
    (form,) = await forms(call, state, (binding,))
    return form, max(binding.changed, *named)


# Requests


def _assignment(call: Call, data: BindingRequest, path: str = "") -> Assignment:
    """Answer what a request asks to be bound; `path` begins the fields that a fault names."""
    inputs = call.service.inputs
    resource = fields.given(data.resource)
    return Assignment(
        id=BindingId(inputs.id()),
        default_binding=BindingId(inputs.id()),
        subject_type="GROUP" if data.type == "GROUP" else "PRINCIPAL",
        subject=UserId(data.external_id),
        role=RoleId(data.role_id),
        scope=Scope(
            namespace=_namespace(data, path),
            resource=UNSET if resource is UNSET else Resource(resource.type, resource.id),
        ),
        not_before=fields.given(data.not_before),
        expires_at=fields.given(data.expires_at),
    )


def _namespace(data: BindingRequest, path: str) -> str | UnsetType:
    """Answer the namespace, which has two spellings; "" stands for none."""
    one, other = fields.text(data.namespace_id), fields.text(data.namespace)
    if one and other and one != other:
        fault = FieldFault(f"{path}namespace", "differs from namespaceId", "binding.scope")
        raise InvalidError("binding.scope", "namespace differs from namespaceId", fields=(fault,))
    return one or other or UNSET


def _made(done: Done, assignments: Iterable[Assignment]) -> list[BindingId]:
    """Answer the ids of the bindings that were asked for, in that order.

    They are taken from the events, because a repeated command asks with new ids. Beside them are
    the bindings of a default role, which came with access to the tenant.
    """
    created = [event for event in done.outcome.events if isinstance(event, BindingCreated)]
    found: list[BindingId] = []
    for assignment in assignments:
        same = next(event for event in created if _answers(event, assignment))
        created.remove(same)
        found.append(same.id)
    return found


def _answers(event: BindingCreated, assignment: Assignment) -> bool:
    return (
        event.subject == assignment.subject
        and event.role == assignment.role
        and event.scope == assignment.scope
        and event.not_before == assignment.not_before
        and event.expires_at == assignment.expires_at
    )


# Bindings


@post(
    "/{tenant:str}/bindings",
    status_code=200,
    opt=gives(AssignRole),
    operation_id="createBinding",
    summary="Bind a role to a principal or group: everywhere, in a namespace, or to one resource",
)
async def create(
    tenant: FromPath[str], data: JSONBody[BindingRequest], call: NamedDependency[Call]
) -> Response[BindingForm]:
    assignment = _assignment(call, data)
    done = await call.execute(AssignRole(tenant=TenantId(tenant), assignment=assignment))
    (id_,) = _made(done, (assignment,))
    return await done.show_named(lambda state: _shown(call, state, TenantId(tenant), id_))


@post(
    "/{tenant:str}/bindings/bulk",
    status_code=200,
    opt=gives(AssignRoles),
    operation_id="createBindings",
    summary="Create up to 1000 bindings, all or none",
)
async def create_all(
    tenant: FromPath[str],
    data: JSONBody[tuple[BindingRequest, ...]],
    call: NamedDependency[Call],
) -> Response[list[BindingForm]]:
    assignments = tuple(_assignment(call, one, f"[{index}].") for index, one in enumerate(data))
    done = await call.execute(AssignRoles(tenant=TenantId(tenant), assignments=assignments))
    made = _made(done, assignments)
    # Right after the command: another one may have deleted some of them since.
    state = await call.service.state_at(done.outcome.position)
    return done.plain(await forms(call, state, [state.bindings[id_] for id_ in made]))


@get(
    "/{tenant:str}/bindings/{id:str}",
    opt=READ,
    operation_id="getBinding",
    summary="Show a binding with its scope, span and state",
)
async def show(
    tenant: FromPath[str], id: FromPath[str], call: NamedDependency[Call]
) -> Response[BindingForm]:
    return call.entity(*await _shown(call, call.state, TenantId(tenant), BindingId(id)))


@delete(
    "/{tenant:str}/bindings/{id:str}",
    status_code=204,
    opt=gives(DeleteBinding),
    operation_id="deleteBinding",
    summary="Delete a binding",
)
async def remove(
    tenant: FromPath[str], id: FromPath[str], call: NamedDependency[Call]
) -> Response[None]:
    command = DeleteBinding(tenant=TenantId(tenant), id=BindingId(id))
    return (await call.execute(command, on=id)).empty()


@get(
    "/{tenant:str}/bindings/search",
    opt=LIST,
    operation_id="searchBindings",
    summary="List the bindings of a tenant, also those whose time is over",
)
async def search(
    tenant: FromPath[str], call: NamedDependency[Call]
) -> Response[Results[BindingForm]]:
    asked = listing.asked(call, BINDINGS, directory.SORTABLE)
    given = ((field, call.parameter(name)) for name, field in _PARAMETERS.items())
    where = listing.both(
        asked.where, *(listing.equals(field, value) for field, value in given if value)
    )
    found = await listing.ask(
        call,
        directory.search,
        call.state.position,
        TenantId(tenant),
        listing.moment(call),
        where,
        asked.page,
    )
    rows = await forms(call, call.state, [call.state.bindings[row.id] for row in found.rows])
    return listing.answer(call, asked.page, rows, found.total)


ROUTES: Final[list[Any]] = [create, create_all, show, remove, search]
