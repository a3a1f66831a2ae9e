"""How are people managed over HTTP? (kestra-iam 6.6).

What is personal is sealed here, at the edge; the commands carry ciphertext.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from litestar import Response, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, UnsetType

from api import listing
from api.call import OWNER, Call, Done
from api.credentials import Sealer, judge_password
from api.iam import fields, user_lists
from api.iam.service_accounts import PrivilegeRequest
from api.iam.user_forms import (
    PasswordRequest,
    ProfileRequest,
    RestrictedRequest,
    UserForm,
    UserRequest,
    UserSummary,
    auths_of,
    email_index,
    judged,
    news,
    tenants_of,
    user_form,
)
from api.iam.user_lists import Candidate
from api.list_fields import USERS
from api.paging import Results
from domain import names
from domain.errors import NotFoundError
from domain.ids import BindingId, GroupId, TenantId, UserId
from domain.owners import GrantInstanceOwner, RevokeInstanceOwner
from domain.sealed import Sealed, Secret
from domain.state import State
from domain.users import (
    ChangeOwnProfile,
    ChangeUser,
    CreateUser,
    DeleteUser,
    DisableUser,
    EnableUser,
    EndSessions,
    RemovePassword,
    UserCreated,
)
from projections.directory import users as directory

# What is personal


async def _password(
    call: Call, sealer: Sealer, password: Secret | UnsetType | None, own_words: Iterable[str]
) -> Sealed | UnsetType:
    if not password:
        return UNSET
    judge_password(call.service, password, own_words)
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
async def create(data: JSONBody[UserRequest], call: NamedDependency[Call]) -> Response[UserForm]:
    id_ = UserId(call.service.inputs.id())
    person = judged(data.email, data.first_name, data.last_name)
    privilege = fields.privilege(data.instance_owner, data.super_admin)
    tenants, groups = fields.listed(data.tenants) or (), fields.listed(data.groups) or ()
    sealer = Sealer(call.service, call.context(), id_, call.perform)
    password = await _password(call, sealer, data.password, person.values())
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
    user = call.state.users.get(UserId(id))
    if user is None:
        # Unknown, unless it is a repeat of a request about one who has been deleted since.
        return await _shown(call, await call.execute(ChangeUser(id=UserId(id)), on=id), UserId(id))
    sealer = Sealer(call.service, call.context(id), user.id, call.perform)
    password = await _password(call, sealer, data.password, given.values())
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


@patch(
    "/users/{id:str}",
    opt=OWNER,
    operation_id="changeUser",
    summary="Change names and e-mail, as far as given",
)
async def change(
    id: FromPath[str], data: JSONBody[ProfileRequest], call: NamedDependency[Call]
) -> Response[UserForm]:
    done = await change_person(call, UserId(id), data, ChangeUser)
    return await _shown(call, done, UserId(id))


async def change_person(
    call: Call,
    id_: UserId,
    data: ProfileRequest,
    command: type[ChangeUser | ChangeOwnProfile],
) -> Done:
    """Give the command that changes what a request names of a person."""
    given = judged(fields.given(data.email), data.first_name, data.last_name)
    user = call.state.users.get(id_)
    if user is None:
        return await call.execute(command(id=id_), on=id_)
    sealer = Sealer(call.service, call.context(id_), id_, call.perform)
    changed = news(await call.service.people.of(user), given)
    sealed = await sealer.person(changed, user.email.key)
    outcome = await sealer.execute(
        command(
            id=id_,
            email=sealed.get("email", UNSET),
            email_index=email_index(call, changed),
            first_name=sealed.get("first_name", UNSET),
            last_name=sealed.get("last_name", UNSET),
        )
    )
    return Done(call, outcome)


@delete(
    "/users/{id:str}",
    status_code=204,
    opt=OWNER,
    operation_id="deleteUser",
    summary="Delete a user with its tokens, sessions, memberships and bindings",
)
async def remove(id: FromPath[str], call: NamedDependency[Call]) -> Response[None]:
    return (await call.execute(DeleteUser(id=UserId(id)), on=id)).empty()


# Passwords, privileges, sessions


@patch(
    "/users/{id:str}/password",
    opt=OWNER,
    operation_id="setUserPassword",
    summary="Set a user's password, which ends its sessions",
)
async def set_password(
    id: FromPath[str], data: JSONBody[PasswordRequest], call: NamedDependency[Call]
) -> Response[UserForm]:
    user = call.state.users.get(UserId(id))
    if user is None:
        judge_password(call.service, data.password, ())
        return await _shown(call, await call.execute(ChangeUser(id=UserId(id)), on=id), UserId(id))
    person = await call.service.people.of(user)
    own_words = (person.email, person.first_name, person.last_name)
    sealer = Sealer(call.service, call.context(id), user.id, call.perform)
    command = ChangeUser(
        id=user.id, password=await _password(call, sealer, data.password, own_words)
    )
    return await _shown(call, Done(call, await sealer.execute(command)), user.id)


@patch(
    ["/users/{id:str}/instanceowner", "/users/{id:str}/superadmin"],
    status_code=200,
    opt=OWNER,
    operation_id="setUserPrivilege",
    summary="Give or take the privilege of an instance owner",
)
async def set_privilege(
    id: FromPath[str], data: JSONBody[PrivilegeRequest], call: NamedDependency[Call]
) -> Response[bytes]:
    owner = fields.new_privilege(data.instance_owner, data.super_admin)
    user = _not_an_account(call, id)
    command = (GrantInstanceOwner if owner else RevokeInstanceOwner)(principal=user)
    return (await call.execute(command, on=id)).empty(status=200)


@patch(
    "/users/{id:str}/restricted",
    status_code=200,
    opt=OWNER,
    operation_id="setUserRestricted",
    summary="Keep a user from changing its own details and making tokens, or no longer",
)
async def set_restricted(
    id: FromPath[str], data: JSONBody[RestrictedRequest], call: NamedDependency[Call]
) -> Response[bytes]:
    command = ChangeUser(id=UserId(id), restricted=data.restricted)
    return (await call.execute(command, on=id)).empty(status=200)


@post(
    "/users/{id:str}/disable",
    status_code=200,
    opt=OWNER,
    operation_id="disableUser",
    summary="Refuse the user, its sessions and tokens from the next request on",
)
async def disable(id: FromPath[str], call: NamedDependency[Call]) -> Response[UserForm]:
    return await _shown(call, await call.execute(DisableUser(id=UserId(id)), on=id), UserId(id))


@post(
    "/users/{id:str}/enable",
    status_code=200,
    opt=OWNER,
    operation_id="enableUser",
    summary="Let the user act again",
)
async def enable(id: FromPath[str], call: NamedDependency[Call]) -> Response[UserForm]:
    return await _shown(call, await call.execute(EnableUser(id=UserId(id)), on=id), UserId(id))


@delete(
    "/users/{id:str}/refresh-token",
    status_code=204,
    opt=OWNER,
    operation_id="endUserSessions",
    summary="End all sessions of a user",
)
async def end_sessions(id: FromPath[str], call: NamedDependency[Call]) -> Response[None]:
    return (await call.execute(EndSessions(id=UserId(id)), on=id)).empty()


@delete(
    "/users/{id:str}/auths/{auth:str}",
    status_code=200,
    opt=OWNER,
    operation_id="removeUserAuth",
    summary="Take away a way to sign in, by its id or type, which ends the user's sessions",
)
async def remove_auth(
    id: FromPath[str], auth: FromPath[str], call: NamedDependency[Call]
) -> Response[UserForm]:
    # A password is the only way there is; it bears the id of its user.
    if auth not in {id, "BASIC_AUTH"}:
        raise NotFoundError("user.auth_unknown", f"no way to sign in {auth}")
    return await _shown(call, await call.execute(RemovePassword(id=UserId(id)), on=id), UserId(id))


# The list


@get("/users", opt=OWNER, operation_id="listUsers", summary="List all users")
async def search(call: NamedDependency[Call]) -> Response[Results[UserSummary]]:
    asked = listing.asked(call, USERS, user_lists.ORDERS)
    rows = await listing.ask(call, directory.everyone, call.state.position)
    candidates = await user_lists.candidates(call, asked, rows)
    found, total = await listing.pick(candidates, asked, user_lists.value, "name")
    return listing.answer(call, asked.page, [_summary(call.state, one) for one in found], total)


def _summary(state: State, one: Candidate) -> UserSummary:
    id_, username = one.row.id, one.name.username
    return UserSummary(
        id=id_,
        username=username,
        display_name=one.name.display_name,
        tenants=tenants_of(state, id_),
        auths=auths_of(state.users[id_], username),
        instance_owner=one.row.instance_owner,
        super_admin=one.row.instance_owner,
    )


ROUTES: Final[list[Any]] = [
    create,
    show,
    replace,
    change,
    remove,
    set_password,
    set_privilege,
    set_restricted,
    disable,
    enable,
    end_sessions,
    remove_auth,
    search,
]
