"""How are groups and their members managed over HTTP? (kestra-iam 6.3)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from litestar import Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Struct, UnsetType

from api import listing
from api.call import Call, Done, gives, needs
from api.iam import fields, principals
from api.iam.fields import AutocompleteRequest, IdsRequest, Text
from api.iam.principals import VIEW_GROUP, Name
from api.list_fields import GROUPS, MEMBERS
from api.paging import Results
from api.request_errors import MalformedError
from domain import commands, groups
from domain.errors import FieldFault, InvalidError
from domain.groups import (
    AddMember,
    ChangeGroup,
    ChangeMembership,
    CreateGroup,
    DeleteGroup,
    Group,
    GroupCreated,
    RemoveMember,
    ReplaceGroups,
)
from domain.ids import BindingId, GroupId, TenantId, UserId
from domain.permissions import Permission
from domain.principals import Level
from domain.state import State
from projections.directory import groups as directory
from projections.directory import memberships
from projections.directory.memberships import MembershipRow
from projections.filters import Row
from projections.pages import Page

LIST: Final = needs(Permission("GROUP", "LIST"))
READ_LIST: Final = {**LIST, "reads": True}
_MEMBER_ORDERS: Final = memberships.SORTABLE | {"username", "name"}

# Shapes


class CreateRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    name: str
    description: Text = UNSET
    members_id: tuple[str, ...] | UnsetType | None = UNSET


class ChangeRequest(Struct, frozen=True, kw_only=True):
    name: str
    description: Text = UNSET


class MemberRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    membership: Level | UnsetType | None = UNSET
    not_before: datetime | UnsetType | None = UNSET
    expires_at: datetime | UnsetType | None = UNSET


class GroupsRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    group_ids: tuple[str, ...] | None


class GroupForm(Struct, frozen=True, kw_only=True):
    """A group; in lists its summary is the same."""

    id: str
    name: str
    description: str


class MemberGroup(Struct, frozen=True, kw_only=True, rename="camel"):
    """One membership; `external` tells whether an identity provider keeps it."""

    id: str
    name: str
    external: bool = False
    membership: Level
    not_before: datetime | UnsetType
    expires_at: datetime | UnsetType


class Member(Struct, frozen=True, kw_only=True, rename="camel"):
    """A member, with this group first among its groups that the caller may view."""

    id: str
    username: str
    display_name: str
    groups: tuple[MemberGroup, ...]


def group_form(state: State, tenant: TenantId, id_: GroupId) -> tuple[GroupForm, int]:
    """Answer the group, and the position of its last change."""
    group = groups.require(state, tenant, id_)
    return _form(group), commands.changed_at(state, id_) or 0


def _form(group: Group) -> GroupForm:
    return GroupForm(id=group.id, name=group.name, description=group.description)


def is_owners(call: Call) -> bool:
    """Tell whether the caller owns the group of the path: the exception of its routes."""
    group = GroupId(call.parameters["id"])
    return groups.owns(call.service.state, call.tenant, group, principals.context(call))


MEMBERS_READ: Final = needs(VIEW_GROUP, exception=is_owners)

# Groups


@post(
    "/{tenant:str}/groups",
    status_code=200,
    opt=gives(CreateGroup),
    operation_id="createGroup",
    summary="Create a group, perhaps with members",
)
async def create(
    tenant: FromPath[str], data: JSONBody[CreateRequest], call: NamedDependency[Call]
) -> Response[GroupForm]:
    id_ = GroupId(call.service.inputs.id())
    members = tuple(UserId(member) for member in fields.listed(data.members_id) or ())
    done = await call.execute(
        CreateGroup(
            tenant=TenantId(tenant),
            id=id_,
            name=data.name,
            description=fields.text(data.description),
            members=members,
            default_bindings=tuple(BindingId(call.service.inputs.id()) for _ in members),
        )
    )
    made = done.event(GroupCreated)
    return await done.show(
        lambda state: group_form(state, TenantId(tenant), made.id if made else id_)
    )


@get(
    "/{tenant:str}/groups/{id:str}",
    opt=needs(VIEW_GROUP),
    operation_id="getGroup",
    summary="Show a group",
)
async def show(
    tenant: FromPath[str], id: FromPath[str], call: NamedDependency[Call]
) -> Response[GroupForm]:
    return call.entity(*group_form(call.state, TenantId(tenant), GroupId(id)))


@put(
    "/{tenant:str}/groups/{id:str}",
    opt=gives(ChangeGroup),
    operation_id="replaceGroup",
    summary="Replace name and description",
)
async def change(
    tenant: FromPath[str],
    id: FromPath[str],
    data: JSONBody[ChangeRequest],
    call: NamedDependency[Call],
) -> Response[GroupForm]:
    command = ChangeGroup(
        tenant=TenantId(tenant),
        id=GroupId(id),
        name=data.name,
        description=fields.text(data.description),
    )
    done = await call.execute(command, on=id)
    return await done.show(lambda state: group_form(state, TenantId(tenant), GroupId(id)))


@delete(
    "/{tenant:str}/groups/{id:str}",
    status_code=200,
    opt=gives(DeleteGroup),
    operation_id="deleteGroup",
    summary="Delete a group with its bindings; with ifUnused=true only where there are none",
)
async def remove(
    tenant: FromPath[str], id: FromPath[str], call: NamedDependency[Call]
) -> Response[bytes]:
    command = DeleteGroup(tenant=TenantId(tenant), id=GroupId(id), if_unused=call.flag("ifUnused"))
    return (await call.execute(command, on=id)).empty(status=200)


# Lists


@get(
    "/{tenant:str}/groups/search",
    opt=LIST,
    operation_id="searchGroups",
    summary="List the groups of a tenant",
)
async def search(
    tenant: FromPath[str], call: NamedDependency[Call]
) -> Response[Results[GroupForm]]:
    asked = listing.asked(call, GROUPS, directory.SORTABLE)
    found = await listing.ask(
        call, directory.search, call.state.position, TenantId(tenant), asked.where, asked.page
    )
    rows = [GroupForm(id=row.id, name=row.name, description=row.description) for row in found.rows]
    return listing.answer(call, asked.page, rows, found.total)


@post(
    "/{tenant:str}/groups/autocomplete",
    status_code=200,
    opt=READ_LIST,
    operation_id="autocompleteGroups",
    summary="The groups of these ids, then those that a text finds; at most 50",
)
async def autocomplete(
    tenant: FromPath[str], data: JSONBody[AutocompleteRequest], call: NamedDependency[Call]
) -> Response[tuple[GroupForm, ...]]:
    named = _known(call.state, TenantId(tenant), fields.listed(data.ids) or ())
    asked = listing.asked(call, GROUPS, directory.SORTABLE)
    found = await listing.ask(
        call,
        directory.search,
        call.state.position,
        TenantId(tenant),
        listing.both(asked.where, *listing.containing(fields.text(data.q))),
        Page(size=listing.AUTOCOMPLETED_MAX),
    )
    matches = (groups.require(call.state, TenantId(tenant), GroupId(row.id)) for row in found.rows)
    both = {group.id: _form(group) for group in (*named, *matches)}
    return call.answer(tuple(both.values())[: listing.AUTOCOMPLETED_MAX])


@post(
    "/{tenant:str}/groups/ids",
    status_code=200,
    opt=READ_LIST,
    operation_id="getGroupsByIds",
    summary="The groups of these ids; unknown ones are left out",
)
async def by_ids(
    tenant: FromPath[str], data: JSONBody[IdsRequest], call: NamedDependency[Call]
) -> Response[tuple[GroupForm, ...]]:
    known = _known(call.state, TenantId(tenant), fields.listed(data.ids) or ())
    return call.answer(tuple(_form(group) for group in known))


def _known(state: State, tenant: TenantId, ids: tuple[str, ...]) -> list[Group]:
    found = (state.groups.get(GroupId(id_)) for id_ in dict.fromkeys(ids))
    return [group for group in found if group is not None and group.tenant == tenant]


# Members


@get(
    "/{tenant:str}/groups/{id:str}/members",
    opt=MEMBERS_READ,
    operation_id="listGroupMembers",
    summary="List the members of a group",
)
async def members(
    tenant: FromPath[str], id: FromPath[str], call: NamedDependency[Call]
) -> Response[Results[Member]]:
    groups.require(call.state, TenantId(tenant), GroupId(id))
    asked = listing.asked(call, MEMBERS, _MEMBER_ORDERS)
    position, at = call.state.position, listing.moment(call)
    group = TenantId(tenant), GroupId(id), at
    held = await listing.ask(call, memberships.everyone_of_group, position, *group)
    joined: dict[str, datetime] = {}
    if asked.names("created"):
        joined = await listing.ask(call, memberships.joined_of_group, position, *group)
    names = await principals.names(call, call.state, (row.principal for row in held))
    rows = [(row, names[row.principal], joined.get(row.principal)) for row in held]
    found, total = await listing.pick(rows, asked, _value, "name")
    others = principals.may(call, VIEW_GROUP)
    shown = [
        _member(call.state, TenantId(tenant), GroupId(id), name, at, others=others)[0]
        for _, name, _ in found
    ]
    return listing.answer(call, asked.page, shown, total)


def _value(row: tuple[MembershipRow, Name, datetime | None]) -> Row:
    held, name, joined = row
    return principals.value_of(
        {
            "q": (name.username, name.display_name, name.id),
            "id": name.id,
            "username": name.username,
            "name": name.display_name,
            "type": name.type,
            "created": joined,
            "updated": held.updated,
        }
    )


@put(
    "/{tenant:str}/groups/{id:str}/members/{user_id:str}",
    opt=gives(AddMember, is_owners),
    operation_id="addGroupMember",
    summary="Add a member, perhaps as an owner, perhaps for a time",
)
async def add_member(
    tenant: FromPath[str],
    id: FromPath[str],
    user_id: FromPath[str],
    call: NamedDependency[Call],
    data: JSONBody[MemberRequest | None] = None,
) -> Response[Member]:
    asked = data or MemberRequest()
    command = AddMember(
        tenant=TenantId(tenant),
        group=GroupId(id),
        principal=UserId(user_id),
        default_binding=BindingId(call.service.inputs.id()),
        level=asked.membership or "MEMBER",
        not_before=fields.given(asked.not_before),
        expires_at=fields.given(asked.expires_at),
    )
    return await _shown(call, await call.execute(command, on=user_id), command)


@delete(
    "/{tenant:str}/groups/{id:str}/members/{user_id:str}",
    status_code=200,
    opt=gives(RemoveMember, is_owners),
    operation_id="removeGroupMember",
    summary="Remove a member; the answer shows what it is still in",
)
async def remove_member(
    tenant: FromPath[str], id: FromPath[str], user_id: FromPath[str], call: NamedDependency[Call]
) -> Response[Member]:
    command = RemoveMember(tenant=TenantId(tenant), group=GroupId(id), principal=UserId(user_id))
    return await _shown(call, await call.execute(command, on=user_id), command)


@put(
    "/{tenant:str}/groups/{id:str}/members/membership/{user_id:str}",
    opt=gives(ChangeMembership, is_owners),
    operation_id="changeGroupMembership",
    summary="Make a member an owner of the group, or a plain member",
)
async def change_membership(
    tenant: FromPath[str], id: FromPath[str], user_id: FromPath[str], call: NamedDependency[Call]
) -> Response[Member]:
    command = ChangeMembership(
        tenant=TenantId(tenant),
        group=GroupId(id),
        principal=UserId(user_id),
        level=_level(call.parameter("membership")),
    )
    return await _shown(call, await call.execute(command, on=user_id), command)


def _level(text: str | None) -> Level:
    if text is None:
        raise MalformedError("query.invalid", "the parameter membership is missing")
    if text == "OWNER":
        return "OWNER"
    if text == "MEMBER":
        return "MEMBER"
    fault = FieldFault("membership", "must be OWNER or MEMBER", "field.invalid")
    raise InvalidError("field.invalid", "membership must be OWNER or MEMBER", fields=(fault,))


@put(
    "/{tenant:str}/users/{id:str}/groups",
    status_code=204,
    opt=gives(ReplaceGroups),
    operation_id="replaceUserGroups",
    summary="Replace the groups of this tenant that a user is in",
)
async def replace(
    tenant: FromPath[str],
    id: FromPath[str],
    data: JSONBody[GroupsRequest],
    call: NamedDependency[Call],
) -> Response[None]:
    command = ReplaceGroups(
        tenant=TenantId(tenant),
        principal=UserId(id),
        groups=tuple(GroupId(group) for group in data.group_ids or ()),
    )
    return (await call.execute(command, on=id)).empty()


async def _shown(
    call: Call, done: Done, command: AddMember | RemoveMember | ChangeMembership
) -> Response[Member]:
    """Answer the member as the command left it."""
    others = principals.may(call, VIEW_GROUP)

    async def view(state: State) -> tuple[Member, int]:
        name = await principals.name(call, state, command.principal)
        at = listing.moment(call, state)
        return _member(state, command.tenant, command.group, name, at, others=others)

    return await done.show_named(view)


def _member(
    state: State, tenant: TenantId, group: GroupId, name: Name, at: datetime, *, others: bool
) -> tuple[Member, int]:
    """Answer one principal as a member, and the last change of all that is shown.

    After the removal from `group` it is shown with what is left; `others` tells whether the
    caller may view groups besides this one.
    """
    held = [
        one
        for one in principals.held(state, tenant, UserId(name.id), at)
        if others or one.group == group
    ]
    held.sort(key=lambda one: one.group != group)
    changes = [commands.changed_at(state, name.id) or 0]
    for one in held:
        changes += (one.changed, state.groups[one.group].changed)
    member = Member(
        id=name.id,
        username=name.username,
        display_name=name.display_name,
        groups=tuple(
            MemberGroup(
                id=one.group,
                name=state.groups[one.group].name,
                membership=one.level,
                not_before=one.not_before,
                expires_at=one.expires_at,
            )
            for one in held
        ),
    )
    return member, max(changes)


ROUTES: Final[list[Any]] = [
    create,
    show,
    change,
    remove,
    search,
    autocomplete,
    by_ids,
    members,
    add_member,
    remove_member,
    change_membership,
    replace,
]
