"""How do users and service accounts appear in the lists and answers of a tenant?"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

from msgspec import UNSET, Struct, UnsetType

from domain import access, commands, tokens
from domain.errors import NotFoundError
from domain.ids import CommandId, PrincipalId, ServiceAccountId, SubjectId, TenantId
from domain.permissions import Permission
from domain.principals import Membership
from domain.service_accounts import ServiceAccount
from domain.state import State
from domain.users import User
from projections.filters import Row, Value

if TYPE_CHECKING:
    from api.call import Call

VIEW_GROUP: Final = Permission("GROUP", "VIEW")


class GroupName(Struct, frozen=True, kw_only=True):
    """`external` tells whether an identity provider keeps the membership."""

    id: str
    name: str
    external: bool = False


class Auth(Struct, frozen=True, kw_only=True):
    name: str
    type: Literal["API_TOKEN", "BASIC_AUTH", "OIDC"]


class AccessRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """One who has access to the tenant; only service accounts have a description."""

    id: str
    username: str
    display_name: str
    description: str | UnsetType = UNSET
    groups: tuple[GroupName, ...]
    auths: tuple[Auth, ...]


class Name(Struct, frozen=True, kw_only=True, rename="camel"):
    """How a principal is called: a person by its e-mail, a program by its name."""

    id: str
    username: str
    display_name: str
    type: Literal["STANDARD", "SERVICE_ACCOUNT"]


def context(call: Call) -> commands.Context:
    """Answer the circumstances in which the caller's rights are asked for beside a gate."""
    return commands.Context(
        at=call.service.inputs.now(),
        actor=call.caller.actor,
        command_id=CommandId(""),
        correlation_id=call.request_id,
    )


def rights(call: Call) -> access.Rights:
    """Answer what the caller holds in the tenant of the path, now."""
    return access.rights(call.service.state, context(call), call.tenant)


def may(call: Call, permission: Permission) -> bool:
    """Tell whether the caller holds a permission in the tenant of the path, now."""
    return rights(call).passes(permission)


# Names


async def names(call: Call, state: State, principals: Iterable[SubjectId]) -> dict[SubjectId, Name]:
    """Answer how each of the principals is called; one that does not exist is left out."""
    found: dict[SubjectId, Name] = {}
    people: list[User] = []
    for id_ in principals:
        account = state.service_accounts.get(id_)
        if account is not None:
            found[id_] = Name(
                id=id_, username=account.name, display_name=account.name, type="SERVICE_ACCOUNT"
            )
        elif (user := state.users.get(id_)) is not None:
            people.append(user)
    for user, person in zip(people, await call.service.people.of_all(people), strict=True):
        found[user.id] = Name(
            id=user.id, username=person.email, display_name=person.display_name, type="STANDARD"
        )
    return found


async def name(call: Call, state: State, principal: PrincipalId) -> Name:
    """Answer how a principal is called; NotFoundError `principal.unknown`."""
    found = await names(call, state, (principal,))
    if principal not in found:
        raise NotFoundError("principal.unknown", f"no user or service account {principal}")
    return found[principal]


# What they hold


def held(
    state: State, tenant: TenantId | UnsetType, principal: PrincipalId, at: datetime
) -> list[Membership]:
    """Answer the memberships that are not over, in the order they were made.

    With `tenant` only those in it.
    """
    found = [
        one
        for one in access.memberships_of(state, principal)
        if tenant in (UNSET, one.tenant) and not access.is_over(one.expires_at, at)
    ]
    return sorted(found, key=lambda one: one.ordinal)


def group_names(
    state: State, tenant: TenantId, principal: PrincipalId, at: datetime
) -> tuple[GroupName, ...]:
    """Answer the groups of a principal in a tenant."""
    memberships = held(state, tenant, principal, at)
    return tuple(GroupName(id=one.group, name=state.groups[one.group].name) for one in memberships)


def auths(
    state: State,
    tenant: TenantId | UnsetType,
    principal: User | ServiceAccount,
    username: str,
    at: datetime,
) -> tuple[Auth, ...]:
    """Answer by what a principal authenticates: a person's password, a program's live tokens.

    With `tenant` only tokens that work in it are told of.
    """
    if isinstance(principal, User):
        return () if principal.password is UNSET else (Auth(name=username, type="BASIC_AUTH"),)
    issued = [state.tokens[token] for token in state.tokens_of.get(principal.id, ())]
    return tuple(
        Auth(name=token.name, type="API_TOKEN")
        for token in sorted(issued, key=lambda token: (token.name, token.id))
        if tokens.refusal(token, at) is None and (tenant is UNSET or access.works_in(token, tenant))
    )


def account_row(state: State, tenant: TenantId, id_: ServiceAccountId, at: datetime) -> AccessRow:
    """Answer a service account as a row of a tenant's list."""
    account = state.service_accounts[id_]
    return AccessRow(
        id=account.id,
        username=account.name,
        display_name=account.name,
        description=account.description,
        groups=group_names(state, tenant, account.id, at),
        auths=auths(state, tenant, account, account.name, at),
    )


def value_of(fields: dict[str, Value | tuple[Value, ...] | None]) -> Row:
    """Answer the look-up of a row whose fields are at hand, without maps among them."""
    return lambda field, _: fields[field]
