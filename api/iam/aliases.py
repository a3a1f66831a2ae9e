"""How are the names by which applications know a principal managed over HTTP? (authzen 3).

An alias may hold what no path can, such as the slashes of a SPIFFE id, because a slash that is
encoded is refused (security 5.7). So it is given as the last part of the path or, always, in the
query. A person's alias is sealed here, at the edge.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from litestar import Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import UNSET, Struct, UnsetType

from api.call import Answer, Call, Done, gives, needs
from api.credentials import Sealer
from api.iam import principals
from api.request_errors import MalformedError
from domain import aliases
from domain.aliases import AliasSet, RemoveAlias, SetAlias
from domain.ids import TenantId, UserId
from domain.permissions import Permission
from domain.sealed import Sealed, Secret

_BASE: Final = "/{tenant:str}/principals/{id:str}/aliases"
_VIEW: Final = needs(Permission("SERVICE_ACCOUNT", "VIEW"), Permission("USER", "VIEW"))
_SET: Final = {**gives(SetAlias), "creates": True}
_REMOVE: Final = gives(RemoveAlias)


class AliasForm(Struct, frozen=True, kw_only=True):
    """A subject type and a subject id, by which a check may name the principal."""

    type: str
    id: str


class AliasList(Struct, frozen=True, kw_only=True):
    """All aliases of a principal in a tenant, by type and id."""

    items: tuple[AliasForm, ...]


@get(
    _BASE,
    opt=_VIEW,
    operation_id="listAliases",
    summary="List the aliases of a user or service account in a tenant",
)
async def search(
    tenant: FromPath[str], id: FromPath[str], call: NamedDependency[Call]
) -> Response[AliasList]:
    """Those of a user need USER:VIEW, those of a service account SERVICE_ACCOUNT:VIEW.

    What was erased is not shown, nor in the past.
    """
    state, principal = call.state, UserId(id)
    aliases.require_carrier(state, principals.rights(call), principal, "VIEW")
    held = aliases.held(state, TenantId(tenant), principal)
    ids = await call.service.people.alias_ids(held)
    items = sorted((one.type, text) for one, text in ids.items())
    return call.answer(
        AliasList(items=tuple(AliasForm(type=type_, id=id_) for type_, id_ in items))
    )


@put(
    f"{_BASE}/{{type:str}}/{{alias_id:str}}",
    opt=_SET,
    operation_id="setAlias",
    summary="Let checks in a tenant know a user or service account by another name",
)
async def set_(
    tenant: FromPath[str],
    id: FromPath[str],
    type: FromPath[str],
    alias_id: FromPath[str],
    call: NamedDependency[Call],
) -> Response[AliasForm]:
    """201 where it is new, 200 where it was there.

    It lets whoever an application knows by this name act with the principal's rights in the
    tenant, so the caller must hold these itself.
    """
    alias = AliasForm(type=type, id=alias_id)
    return await _set(call, TenantId(tenant), UserId(id), alias, call.path)


@put(
    f"{_BASE}/{{type:str}}",
    opt=_SET,
    operation_id="setAliasByQuery",
    summary="The same for an alias that a path cannot hold, such as a SPIFFE id",
)
async def set_by_query(
    tenant: FromPath[str],
    id: FromPath[str],
    type: FromPath[str],
    call: NamedDependency[Call],
) -> Response[AliasForm]:
    """201 where it is new, 200 where it was there."""
    alias = AliasForm(type=type, id=_in_query(call))
    place = f"{call.path}?alias={quote(alias.id, safe=':/')}"
    return await _set(call, TenantId(tenant), UserId(id), alias, place)


@delete(
    f"{_BASE}/{{type:str}}/{{alias_id:str}}",
    status_code=204,
    opt=_REMOVE,
    operation_id="removeAlias",
    summary="Take an alias away",
)
async def remove(
    tenant: FromPath[str],
    id: FromPath[str],
    type: FromPath[str],
    alias_id: FromPath[str],
    call: NamedDependency[Call],
) -> Response[None]:
    return await _remove(call, TenantId(tenant), UserId(id), AliasForm(type=type, id=alias_id))


@delete(
    f"{_BASE}/{{type:str}}",
    status_code=204,
    opt=_REMOVE,
    operation_id="removeAliasByQuery",
    summary="Take away an alias that a path cannot hold",
)
async def remove_by_query(
    tenant: FromPath[str],
    id: FromPath[str],
    type: FromPath[str],
    call: NamedDependency[Call],
) -> Response[None]:
    alias = AliasForm(type=type, id=_in_query(call))
    return await _remove(call, TenantId(tenant), UserId(id), alias)


def _in_query(call: Call) -> str:
    alias = call.parameter("alias")
    if alias is None:
        raise MalformedError("query.invalid", "the parameter alias is missing")
    return alias


async def _set(
    call: Call, tenant: TenantId, principal: UserId, alias: AliasForm, place: str
) -> Response[AliasForm]:
    service, state = call.service, call.service.state
    sealer = Sealer(service, call.context(principal), principal, call.perform)
    sealed: Sealed | UnsetType = UNSET
    user = state.users.get(principal)
    # A stranger's key is left alone: it would take longer than for nobody (security 2.3).
    if user is not None and tenant in state.access.get(principal, ()):
        sealed = (await sealer.person({aliases.FIELD: alias.id}, user.email.key))[aliases.FIELD]
    command = SetAlias(
        tenant=tenant,
        principal=principal,
        type=alias.type,
        id=Secret(alias.id),
        index=service.vault.alias_index(tenant, alias.type, alias.id),
        sealed=sealed,
    )
    done = Done(call, await sealer.execute(command))
    if done.event(AliasSet) is None:
        return done.plain(alias)
    return Answer(alias, 201, (*done.headers(), (b"location", place.encode())))


async def _remove(
    call: Call, tenant: TenantId, principal: UserId, alias: AliasForm
) -> Response[None]:
    index = call.service.vault.alias_index(tenant, alias.type, alias.id)
    command = RemoveAlias(tenant=tenant, principal=principal, type=alias.type, index=index)
    return (await call.execute(command, on=principal)).empty()


ROUTES: Final[list[Any]] = [search, set_, set_by_query, remove, remove_by_query]
