"""What does the caller learn about itself, and what may it change of itself? (kestra-iam 6.6)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from litestar import Response, get, patch, put
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import UNSET, Struct, structs

from api import listing
from api.call import SELF, Call, Done, Gate
from api.credentials import Sealer, judge_password, stored_hash
from api.iam import principals
from api.iam.principals import Auth
from api.iam.service_accounts import TenantReference
from api.iam.tokens import refuse_restricted
from api.iam.user_forms import ProfileRequest, tenants_of
from api.iam.users import change_person
from domain import access, commands, users
from domain import principals as rules
from domain.commands import Expectation
from domain.errors import FieldFault, ForbiddenError, InvalidError, StaleError
from domain.ids import CommandId, TenantId, UserId
from domain.principals import Membership
from domain.sealed import Secret
from domain.service_accounts import ServiceAccount
from domain.state import State
from domain.users import ChangeOwnPassword, ChangeOwnProfile, User

_ATTEMPTS: Final = 3

# Shapes


class OwnPasswordRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    old_password: Secret
    new_password: Secret


class Profile(Struct, frozen=True, kw_only=True, rename="camel"):
    email: str
    first_name: str
    last_name: str
    username: str


class OwnedGroup(Struct, frozen=True, kw_only=True, rename="camel"):
    tenant_id: str
    id: str


class Me(Struct, frozen=True, kw_only=True, rename="camel"):
    """The caller itself; a token that works in some tenants only names only those."""

    id: str
    instance_owner: bool
    super_admin: bool
    restricted: bool
    profile: Profile
    auths: tuple[Auth, ...]
    tenants: tuple[TenantReference, ...]
    owned_groups: tuple[OwnedGroup, ...]


async def me(call: Call, state: State) -> tuple[Me, int]:
    """Answer the caller as of a state, and the position of the last change of what is shown."""
    id_, at = call.caller.principal, listing.moment(call, state)
    found = rules.require(state, id_)
    owner = id_ in state.owners
    token = call.caller.token
    tenants = [
        tenant
        for tenant in tenants_of(state, id_)
        if token is None or access.works_in(token, TenantId(tenant.id))
    ]
    shown = {tenant.id for tenant in tenants}
    profile = await _profile(call, found)
    form = Me(
        id=id_,
        instance_owner=owner,
        super_admin=owner,
        restricted=isinstance(found, User) and found.restricted,
        profile=profile,
        auths=principals.auths(state, UNSET, found, profile.username, at),
        tenants=tuple(tenants),
        owned_groups=tuple(
            OwnedGroup(tenant_id=one.tenant, id=one.group)
            for one in principals.held(state, UNSET, id_, at)
            if one.level == "OWNER" and one.tenant in shown and _has_begun(one, at)
        ),
    )
    renamed = (state.tenants[tenant].changed for tenant in state.access.get(id_, ()))
    return form, max(commands.changed_at(state, id_) or 0, *renamed, 0)


def _has_begun(one: Membership, at: datetime) -> bool:
    return one.not_before is UNSET or at >= one.not_before


async def _profile(call: Call, found: User | ServiceAccount) -> Profile:
    if isinstance(found, ServiceAccount):
        return Profile(email="", first_name="", last_name="", username=found.name)
    person = await call.service.people.of(found)
    return Profile(
        email=person.email,
        first_name=person.first_name,
        last_name=person.last_name,
        username=person.email,
    )


# Routes


@get("/me", opt=SELF, operation_id="getMe", summary="Show the caller")
async def show(call: NamedDependency[Call]) -> Response[Me]:
    return call.entity(*await me(call, call.state))


def refuse_account(call: Call) -> None:
    """Refuse a service account, which has neither profile nor password, and a restricted user.

    Also a narrowed token: with another e-mail or password its holder would have more.
    """
    if call.caller.actor.type != "user":
        raise ForbiddenError("permission.denied", "only a user has a profile and a password")
    if access.is_narrowed(call.service.state, principals.context(call)):
        raise ForbiddenError("permission.denied", "a narrowed token may not do this")
    refuse_restricted(call)


OWN: Final = {"gate": Gate(own=True, refuse=refuse_account)}


@patch("/me", opt=OWN, operation_id="changeMe", summary="Change one's own names and e-mail")
async def change(data: JSONBody[ProfileRequest], call: NamedDependency[Call]) -> Response[Me]:
    done = await change_person(call, UserId(call.caller.principal), data, ChangeOwnProfile)
    return await done.show_named(lambda state: me(call, state))


@put(
    "/me/password",
    status_code=200,
    opt=OWN,
    operation_id="changeMyPassword",
    summary="Change one's own password, which ends one's sessions",
)
async def change_password(
    data: JSONBody[OwnPasswordRequest], call: NamedDependency[Call]
) -> Response[bytes]:
    for _ in range(_ATTEMPTS - 1):
        with suppress(StaleError):
            return await _change_password(call, data)
    return await _change_password(call, data)


async def _change_password(call: Call, data: OwnPasswordRequest) -> Response[bytes]:
    """Judge the old password and set the new one, if nothing has changed the user in between.

    Otherwise whoever knows a password that was just replaced could set it back.
    """
    state = call.service.state
    user = users.require(state, UserId(call.caller.principal))
    context = call.context(user.id)
    judged = commands.changed_at(state, user.id) or 0
    asked = judged if context.expects is UNSET else context.expects.position
    expects = Expectation(user.id, judged if asked is None else min(asked, judged))
    await _require_right(call, user, data.old_password, context.command_id)
    person = await call.service.people.of(user)
    own_words = (person.email, person.first_name, person.last_name)
    judge_password(call.service, data.new_password, own_words, "newPassword")
    hashed = await call.service.passwords.hash(data.new_password)
    sealer = Sealer(call.service, structs.replace(context, expects=expects), user.id, call.perform)
    command = ChangeOwnPassword(id=user.id, password=await sealer.password(hashed))
    return Done(call, await sealer.execute(command)).empty(status=200)


async def _require_right(call: Call, user: User, old: Secret, command_id: CommandId) -> None:
    """Refuse a wrong old password, which counts as a failed sign-in (security 3.4).

    A repeat of the request that changed it is let through: it is answered from the log.
    """
    service = call.service
    address = call.caller.actor.address or ""
    async with service.failures.turn(user.email_index, address) as may_try:
        stored = await asyncio.to_thread(stored_hash, service, user if may_try else None)
        right = await service.passwords.verify(stored, old)
        if right or command_id in service.state.recorded:
            return
        if may_try:
            await service.failures.failed(user.email_index, address)
    fault = FieldFault("oldPassword", "is wrong", "password.wrong")
    raise InvalidError("user.invalid", "oldPassword is wrong", fields=(fault,))


ROUTES: Final[list[Any]] = [show, change, change_password]
