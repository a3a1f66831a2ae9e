"""What do API tokens look like in the requests and answers of the contract? (kestra-iam 6.2, 8)."""

from __future__ import annotations

from datetime import datetime

from msgspec import UNSET, Struct, UnsetType, field

from api.call import Call
from api.iam import fields, principals
from api.iam.bindings import ResourceForm
from api.iam.fields import Flag, Text
from api.journal import last_use
from domain import access, durations, permissions
from domain.access import Narrowing
from domain.errors import FieldFault, InvalidError
from domain.ids import TenantId
from domain.scopes import Resource
from domain.tokens import Token


class ScopeRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    permissions: dict[str, tuple[str, ...]] | UnsetType | None = UNSET
    tenants: tuple[str, ...] | UnsetType | None = UNSET
    namespaces: tuple[str, ...] | UnsetType | None = UNSET
    resources: tuple[ResourceForm, ...] | UnsetType | None = UNSET
    instance_owner: bool | UnsetType | None = UNSET


class TokenRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    name: str
    description: Text = UNSET
    max_age: Text = UNSET
    extended: Flag = UNSET
    scope: ScopeRequest | UnsetType | None = UNSET
    allowed_addresses: tuple[str, ...] | UnsetType | None = UNSET


class RotateRequest(Struct, frozen=True, kw_only=True):
    grace: Text = UNSET


class IssuedForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """The one answer that shows the secret; a repeat of the request does not."""

    id: str
    name: str
    full_token: str | UnsetType
    rotated_from: str | UnsetType = UNSET
    grace_until: datetime | UnsetType = UNSET


class ScopeForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """What is left of the owner's rights; what is absent narrows nothing."""

    permissions: dict[str, list[str]] | UnsetType
    tenants: tuple[str, ...] | UnsetType
    namespaces: tuple[str, ...] | UnsetType
    resources: tuple[ResourceForm, ...] | UnsetType
    instance_owner: bool


class TokenItem(Struct, frozen=True, kw_only=True, rename="camel"):
    """A token without its secret."""

    id: str
    name: str
    description: str
    prefix: str
    issued_at: datetime = field(name="iat")
    expires_at: datetime | UnsetType = field(name="exp")
    last_used: datetime | UnsetType
    last_used_address: str | UnsetType
    last_used_agent: str | UnsetType
    extended: bool
    expired: bool
    enabled: bool
    scope: ScopeForm | UnsetType
    allowed_addresses: tuple[str, ...] | UnsetType
    created_by: str
    rotated_from: str | UnsetType
    rotated_to: str | UnsetType
    grace_until: datetime | UnsetType


class RevokedForm(Struct, frozen=True, kw_only=True):
    revoked: int


def item(call: Call, token: Token, at: datetime) -> TokenItem:
    """Answer a token as it is listed and shown, judged at an instant."""
    used = last_use(call, token.id)
    return TokenItem(
        id=token.id,
        name=token.name,
        description=token.description,
        prefix=token.prefix,
        issued_at=token.created,
        expires_at=token.expires_at,
        last_used=UNSET if used is None else used.at,
        last_used_address=UNSET if used is None else used.address or UNSET,
        last_used_agent=UNSET if used is None else used.agent or UNSET,
        extended=token.extended,
        expired=access.is_over(token.expires_at, at),
        enabled=token.enabled,
        scope=UNSET if token.narrowing is UNSET else _scope_form(call, token.narrowing),
        allowed_addresses=token.allowed_addresses or UNSET,
        created_by=token.created_by,
        rotated_from=token.rotated_from,
        rotated_to=token.rotated_to,
        grace_until=token.grace_until,
    )


def _scope_form(call: Call, narrowing: Narrowing) -> ScopeForm:
    tenants, resources = narrowing.tenants, narrowing.resources
    if tenants is not UNSET:
        # Of tenants that the caller has no access to it is not told (security 2.3).
        state, context = call.service.state, principals.context(call)
        tenants = tuple(one for one in tenants if access.sees_tenant(state, context, one))
    listed = narrowing.permissions
    return ScopeForm(
        permissions=UNSET if listed is UNSET else permissions.to_lists(listed),
        tenants=tenants,
        namespaces=narrowing.namespaces,
        resources=UNSET
        if resources is UNSET
        else tuple(ResourceForm(type=one.type, id=one.id) for one in resources),
        instance_owner=narrowing.instance_owner,
    )


def narrowing(asked: ScopeRequest | UnsetType | None) -> Narrowing | UnsetType:
    """Answer what a request narrows a token to; what is absent or null narrows nothing."""
    if not asked:
        return UNSET
    lists, tenants = fields.given(asked.permissions), fields.given(asked.tenants)
    resources = fields.given(asked.resources)
    return Narrowing(
        permissions=UNSET if lists is UNSET else permissions.from_lists(lists),
        tenants=UNSET if tenants is UNSET else tuple(TenantId(one) for one in tenants),
        namespaces=fields.given(asked.namespaces),
        resources=UNSET
        if resources is UNSET
        else tuple(Resource(one.type, one.id) for one in resources),
        instance_owner=asked.instance_owner is True,
    )


def seconds(path: str, text: str) -> int:
    """Answer the whole seconds of a duration; InvalidError `duration.invalid` at the path."""
    try:
        return int(durations.parse(text).total_seconds())
    except ValueError as refusal:
        fault = FieldFault(path, str(refusal), "duration.invalid")
        raise InvalidError("duration.invalid", f"{path} {refusal}", fields=(fault,)) from None
