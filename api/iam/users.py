"""How are people managed over HTTP? (kestra-iam 6.6).

What is personal is sealed here, at the edge; the commands carry ciphertext.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

from litestar import Response, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Struct, UnsetType

from api import listing
from api.call import OWNER, Call, Done
from api.credentials import Sealer, judge_password
from api.iam import fields, principals
from api.iam.fields import Flag, Text
from api.iam.service_accounts import PrivilegeRequest, TenantReference
from api.list_fields import USERS
from api.paging import Results
from api.people import Person
from domain import access, commands, names, users
from domain.errors import Faults, NotFoundError
from domain.ids import BindingId, GroupId, TenantId, UserId
from domain.owners import GrantInstanceOwner, RevokeInstanceOwner
from domain.sealed import Sealed, Secret
from domain.state import State
from domain.users import (
    ChangeUser,
    CreateUser,
    DeleteUser,
    DisableUser,
    EnableUser,
    EndSessions,
    User,
    UserCreated,
)
from projections.directory import users as directory
from projections.directory.users import UserRow
from projections.filters import Row

_ORDERS: Final = frozenset(
    {"id", "name", "username", "email", "enabled", "instanceOwner", "created", "updated"}
)

# Shapes


class UserRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    email: str
    first_name: Text = UNSET
    last_name: Text = UNSET
    password: Secret | UnsetType | None = UNSET
    tenants: tuple[str, ...] | UnsetType | None = UNSET
    groups: tuple[str, ...] | UnsetType | None = UNSET
    instance_owner: Flag = UNSET
    super_admin: Flag = UNSET
    restricted: Flag = UNSET


class ProfileRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    email: Text = UNSET
    first_name: Text = UNSET
    last_name: Text = UNSET


class PasswordRequest(Struct, frozen=True, kw_only=True):
    password: Secret


class RestrictedRequest(Struct, frozen=True, kw_only=True):
    restricted: bool


class UserAuth(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    type: Literal["BASIC_AUTH", "OIDC"]


class UserGroup(Struct, frozen=True, kw_only=True, rename="camel"):
    id: str
    tenant_id: str


class UserForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """A user; its groups stand in the order in which they were last sent."""

    id: str
    username: str
    display_name: str
    first_name: str
    last_name: str
    email: str
    tenants: tuple[TenantReference, ...]
    auths: tuple[UserAuth, ...]
    groups: tuple[UserGroup, ...]
    instance_owner: bool
    super_admin: bool
    restricted: bool
    enabled: bool
    created: datetime


class UserSummary(Struct, frozen=True, kw_only=True, rename="camel"):
    """A user as it is listed."""

    id: str
    username: str
    display_name: str
    tenants: tuple[TenantReference, ...]
    auths: tuple[UserAuth, ...]
    instance_owner: bool
    super_admin: bool


async def user_form(call: Call, state: State, id_: UserId) -> tuple[UserForm, int]:
    """Answer the user as of a state, and the position of the last change of what is shown."""
    user = users.require(state, id_)
    person = await call.service.people.of(user)
    at = listing.moment(call, state)
    held = sorted(access.memberships_of(state, id_), key=lambda membership: membership.ordinal)
    owner = id_ in state.owners
    form = UserForm(
        id=id_,
        username=person.email,
        display_name=person.display_name,
        first_name=person.first_name,
        last_name=person.last_name,
        email=person.email,
        tenants=tenants_of(state, id_),
        auths=_auths(user, person),
        groups=tuple(
            UserGroup(id=one.group, tenant_id=one.tenant)
            for one in held
            if not access.is_over(one.expires_at, at)
        ),
        instance_owner=owner,
        super_admin=owner,
        restricted=user.restricted,
        enabled=user.enabled,
        created=user.created,
    )
    renamed = (state.tenants[tenant].changed for tenant in state.access.get(id_, ()))
    return form, max(commands.changed_at(state, id_) or 0, *renamed, 0)


def tenants_of(state: State, id_: str) -> tuple[TenantReference, ...]:
    """Answer the tenants that a principal has access to, by id."""
    found = (state.tenants[tenant] for tenant in sorted(state.access.get(id_, ())))
    return tuple(TenantReference(id=one.id, name=one.name) for one in found if not one.deleted)


def _auths(user: User, person: Person) -> tuple[UserAuth, ...]:
    if user.password is UNSET:
        return ()
    return (UserAuth(id=user.id, name=person.email, type="BASIC_AUTH"),)


# What is personal


def judged(email: str | UnsetType, first_name: Text, last_name: Text) -> dict[str, str]:
    """Answer the members given, in their normal form and by their sealed fields' names.

    A name may be empty, which is none. Raises InvalidError `user.invalid`.
    """
    faults = Faults()
    found: dict[str, str] = {}
    if email is not UNSET:
        found["email"] = faults.check("email", names.email, email)
    for field, path, value in (
        ("first_name", "firstName", fields.given(first_name)),
        ("last_name", "lastName", fields.given(last_name)),
    ):
        if value is not UNSET:
            found[field] = faults.check(path, names.display_name, value) if value else ""
    faults.refuse("user.invalid")
    return found


def news(person: Person, given: Mapping[str, str]) -> dict[str, str]:
    """Answer what of the members given is new, both names where one of them is.

    Every sealing differs, so the domain cannot tell; and names that go together must not be
    mixed from two requests at once.
    """
    changed = {field for field, value in given.items() if value != getattr(person, field)}
    if changed & {"first_name", "last_name"}:
        changed |= {"first_name", "last_name"}
    return {field: value for field, value in given.items() if field in changed}


def email_index(call: Call, given: Mapping[str, str]) -> bytes | UnsetType:
    """Answer by which an e-mail among the members is found."""
    email = given.get("email")
    if email is None:
        return UNSET
    return call.service.vault.email_index(names.canonical_email(email))


async def _password(
    call: Call, sealer: Sealer, password: Secret | UnsetType | None, own_words: Mapping[str, str]
) -> Sealed | UnsetType:
    if not password:
        return UNSET
    judge_password(call.service, password, own_words.values())
    return await sealer.password(await call.service.passwords.hash(password))


def _not_an_account(call: Call, id_: str) -> UserId:
    """Answer the id as a user's; one of a service account is as unknown as any other."""
    if id_ in call.service.state.service_accounts:
        raise NotFoundError("user.unknown", f"no user {id_}")
    return UserId(id_)


async def _shown(call: Call, done: Done, id_: UserId, *, status: int = 200) -> Response[UserForm]:
    return await done.show_named(lambda state: user_form(call, state, id_), status=status)


# Users


@post(
    "/users",
    status_code=201,
    opt=OWNER,
    operation_id="createUser",
    summary="Create a user, perhaps with a password, access to tenants and groups",
)
async def create(
    data: JSONBody[UserRequest], call: NamedDependency[Call]
) -> Response[UserForm]:
    id_ = UserId(call.service.inputs.id())
    person = judged(data.email, data.first_name, data.last_name)
    privilege = fields.privilege(data.instance_owner, data.super_admin)
    tenants, groups = fields.listed(data.tenants) or (), fields.listed(data.groups) or ()
    context = call.context()
    sealer = Sealer(call.service, context, id_)
    password = await _password(call, sealer, data.password, person)
    kept = {field: value for field, value in person.items() if value}
    sealed = await sealer.person(kept)
    command = CreateUser(
        id=id_,
        email=sealed["email"],
        email_index=call.service.vault.email_index(names.canonical_email(person["email"])),
        first_name=sealed.get("first_name", UNSET),
        last_name=sealed.get("last_name", UNSET),
        password=password,
        tenants=tuple(TenantId(tenant) for tenant in tenants),
        groups=tuple(GroupId(group) for group in groups),
        default_bindings=_spares(call, len(tenants) + len(groups)),
        instance_owner=privilege is True,
        restricted=data.restricted is True,
    )
    done = Done(call, await sealer.execute(command))
    made = done.event(UserCreated)
    return await _shown(call, done, made.id if made else id_, status=201)


def _spares(call: Call, number: int) -> tuple[BindingId, ...]:
    return tuple(BindingId(call.service.inputs.id()) for _ in range(number))


@get("/users/{id:str}", opt=OWNER, operation_id="getUser", summary="Show a user")
async def show(id: FromPath[str], call: NamedDependency[Call]) -> Response[UserForm]:
    return call.entity(*await user_form(call, call.state, UserId(id)))


@put(
    "/users/{id:str}",
    opt=OWNER,
    operation_id="replaceUser",
    summary="Replace e-mail and names, and what else is given",
)
async def replace(
    id: FromPath[str], data: JSONBody[UserRequest], call: NamedDependency[Call]
) -> Response[UserForm]:
    given = judged(data.email, fields.text(data.first_name), fields.text(data.last_name))
    privilege = fields.privilege(data.instance_owner, data.super_admin)
    tenants, groups = fields.listed(data.tenants), fields.listed(data.groups)
    user = users.require(call.state, UserId(id))
    sealer = Sealer(call.service, context := call.context(id), user.id)
    password = await _password(call, sealer, data.password, given)
    changed = news(await call.service.people.of(user), given)
    sealed = await sealer.person(changed, user.email.key)
    command = ChangeUser(
        id=user.id,
        email=sealed.get("email", UNSET),
        email_index=email_index(call, changed),
        first_name=sealed.get("first_name", UNSET),
        last_name=sealed.get("last_name", UNSET),
        password=password,
        tenants=UNSET if tenants is UNSET else tuple(TenantId(one) for one in tenants),
        groups=UNSET if groups is UNSET else tuple(GroupId(one) for one in groups),
        default_bindings=_spares(call, len(tenants or ()) + len(groups or ())),
        instance_owner=privilege,
        restricted=fields.given(data.restricted),
    )
    return await _shown(call, Done(call, await sealer.execute(command)), user.id)
