"""How is it told which rights are gained and lost, and to whom?

A right of a tenant is told to those who may ask there what others may do; whom it concerns is
named to those who may see such principals.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from msgspec import UNSET, Struct, UnsetType

from api.access.subjects import Kind, kind_of, names_of
from api.explanations import PlaceForm, ResourcePlace
from api.judging import Judge
from domain.permissions import Permission

if TYPE_CHECKING:
    from api.call import Call
    from domain.ids import PrincipalId, TenantId
    from domain.scopes import ScopeKey
    from domain.state import State
    from projections.access_delta import Delta, Right


class PrincipalForm(Struct, frozen=True, kw_only=True):
    """A user or a service account, by name where the asker sees it."""

    type: Kind
    id: str
    name: str | UnsetType = UNSET


class RightForm(Struct, frozen=True, kw_only=True):
    """That a principal may do something at a place of a tenant."""

    tenant: str
    principal: PrincipalForm
    permission: Permission
    scope: PlaceForm


class AccessForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """Rights gained and lost, and the privilege of an instance owner, which is none in a tenant.

    `gains` and `losses` count them all; of very many the first are listed. `remaining` is what is
    still held below something that is lost. `hidden` tells that there are some in tenants about
    which the asker may not ask.
    """

    gains: int
    losses: int
    hidden: bool
    gained: tuple[RightForm, ...]
    lost: tuple[RightForm, ...]
    remaining: tuple[RightForm, ...]
    owners_gained: tuple[PrincipalForm, ...]
    owners_lost: tuple[PrincipalForm, ...]


async def access_form(
    call: Call, states: tuple[State, State], found: Delta, most: int
) -> AccessForm:
    """Answer a delta between two states as the caller may see it, with at most `most` of a kind."""
    judge, asked = Judge(call.service), call.service.inputs.now().timestamp()
    tenants = {right.tenant for right in (*found.gained, *found.lost)}
    seen = {
        tenant
        for tenant in tenants
        if judge.holds(call.asker, ("ACCESS", "CHECK"), tenant, None, None, asked)
    }
    before, after = states
    gained = [right for right in found.gained if right.tenant in seen]
    lost = [right for right in found.lost if right.tenant in seen]
    remaining = [right for right in found.remaining if right.tenant in seen]
    return AccessForm(
        gains=len(gained),
        losses=len(lost),
        hidden=len(seen) < len(tenants),
        gained=await _rights(call, after, gained[:most]),
        lost=await _rights(call, before, lost[:most]),
        remaining=await _rights(call, after, remaining[:most]),
        owners_gained=tuple(_principal(after, one) for one in found.owners_gained),
        owners_lost=tuple(_principal(before, one) for one in found.owners_lost),
    )


async def _rights(call: Call, state: State, rights: list[Right]) -> tuple[RightForm, ...]:
    concerned: dict[TenantId, dict[PrincipalId, None]] = {}
    for right in rights:
        concerned.setdefault(right.tenant, {})[right.principal] = None
    named = {
        tenant: await names_of(call, state, tenant, principals)
        for tenant, principals in concerned.items()
    }
    return tuple(
        RightForm(
            tenant=right.tenant,
            principal=_principal(state, right.principal, named[right.tenant]),
            permission=Permission(right.type, right.action),
            scope=_place(right.place),
        )
        for right in rights
    )


def _principal(
    state: State, id_: PrincipalId, names: Mapping[str, str] = MappingProxyType({})
) -> PrincipalForm:
    return PrincipalForm(type=kind_of(state, id_), id=id_, name=names.get(id_, UNSET))


def _place(place: ScopeKey) -> PlaceForm:
    if isinstance(place, tuple):
        return PlaceForm(resource=ResourcePlace(*place))
    return PlaceForm(namespace=place or UNSET)
