"""What does the contract tell of a user, and which personal data does a request give?"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from api import listing
from api.call import Call
from api.iam import fields, principals
from api.iam.fields import Flag, Text
from api.iam.service_accounts import TenantReference
from api.people import Person
from domain import commands, names, users
from domain.errors import Faults
from domain.ids import PrincipalId, UserId
from domain.sealed import Secret
from domain.state import State
from domain.users import User


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
    held = principals.held(state, UNSET, id_, listing.moment(call, state))
    owner = id_ in state.owners
    form = UserForm(
        id=id_,
        username=person.email,
        display_name=person.display_name,
        first_name=person.first_name,
        last_name=person.last_name,
        email=person.email,
        tenants=tenants_of(state, id_),
        auths=auths_of(user, person.email),
        groups=tuple(UserGroup(id=one.group, tenant_id=one.tenant) for one in held),
        instance_owner=owner,
        super_admin=owner,
        restricted=user.restricted,
        enabled=user.enabled,
        created=user.created,
    )
    renamed = (state.tenants[tenant].changed for tenant in state.access.get(id_, ()))
    return form, max(commands.changed_at(state, id_) or 0, *renamed, 0)


def tenants_of(state: State, id_: PrincipalId) -> tuple[TenantReference, ...]:
    """Answer the tenants that a principal has access to, by id."""
    found = (state.tenants[tenant] for tenant in sorted(state.access.get(id_, ())))
    return tuple(TenantReference(id=one.id, name=one.name) for one in found if not one.deleted)


def auths_of(user: User, email: str) -> tuple[UserAuth, ...]:
    """Answer by what a user can sign in."""
    if user.password is UNSET:
        return ()
    return (UserAuth(id=user.id, name=email, type="BASIC_AUTH"),)


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
