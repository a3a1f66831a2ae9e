"""How are API tokens managed over HTTP? (kestra-iam 6.2 and 8).

One shape for all owners, in four families of routes: the service accounts of a tenant, service
accounts, users, and one's own.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from msgspec import UNSET, Struct, UnsetType

from api.call import OWNER, SELF, Call, Done, Gate, gives, needs
from api.iam import fields
from api.iam.token_forms import (
    IssuedForm,
    RevokedForm,
    RotateRequest,
    TokenItem,
    TokenRequest,
    item,
    narrowing,
    seconds,
)
from api.listing import moment
from api.paging import Results
from domain import access, principals
from domain.errors import ForbiddenError, NotFoundError
from domain.ids import PrincipalId, TenantId, TokenId, UserId
from domain.permissions import Permission
from domain.principals import TokenRevoked
from domain.sealed import Secret
from domain.state import State
from domain.token_text import TokenKind, digest
from domain.tokens import (
    DisableToken,
    EnableToken,
    IssueToken,
    RevokeAllTokens,
    RevokeToken,
    RotateToken,
    Token,
    TokenIssued,
    TokenRotated,
)

GRACE_DEFAULT_SECONDS: Final = 3_600
_NO_GRACE: Final = frozenset({"PT0S", "PT0M", "PT0H", "P0D"})

# Families


class Family(Struct, frozen=True, kw_only=True):
    """The routes of one kind of owner: where they stand, who may use them, what they answer."""

    base: str
    noun: str
    owners: Literal["service_accounts", "users", "self"]
    make: dict[str, Gate]
    pause: dict[str, Gate]
    read: dict[str, Gate]
    end: dict[str, Gate]
    issued_status: int = 200
    revoked_status: int = 200


def refuse_restricted(call: Call) -> None:
    """Refuse a restricted user, who makes no tokens and changes nothing of its own."""
    user = call.service.state.users.get(call.caller.principal)
    if user is not None and user.restricted:
        raise ForbiddenError("permission.denied", "a restricted user may not do this")


def _tenant(call: Call) -> TenantId | UnsetType:
    return call.tenant if "tenant" in call.parameters else UNSET


def _owner(call: Call, family: Family) -> PrincipalId:
    """Answer whose tokens a command is about.

    A user's id on a path of service accounts, and the reverse, is as unknown as any other. That
    there is such an owner the command itself judges, on the exact head.
    """
    if family.owners == "self":
        return call.caller.principal
    owner = UserId(call.parameters["id"])
    state = call.service.state
    others = state.users if family.owners == "service_accounts" else state.service_accounts
    if owner in others:
        raise _unknown_owner(call, owner)
    return owner


def _unknown_owner(call: Call, owner: PrincipalId) -> NotFoundError:
    if _tenant(call) is UNSET:
        return NotFoundError("principal.unknown", f"no user or service account {owner}")
    return NotFoundError("service_account.unknown", f"no service account {owner}")


def _held(call: Call, family: Family) -> list[Token]:
    """Answer the owner's tokens, newest first; by a tenant route those that work in the tenant."""
    state, owner, tenant = call.state, _owner(call, family), _tenant(call)
    known = (
        principals.find(state, owner) is not None
        if tenant is UNSET
        else principals.has_access(state, owner, tenant)
    )
    if not known:
        raise _unknown_owner(call, owner)
    held = (state.tokens[token] for token in state.tokens_of.get(owner, ()))
    shown = [one for one in held if tenant is UNSET or access.works_in(one, tenant)]
    return sorted(shown, key=lambda token: (token.created, token.id), reverse=True)


def _require(state: State, id_: str) -> Token:
    token = state.tokens.get(id_)
    if token is None:
        raise NotFoundError("token.unknown", f"no token {id_}")
    return token


def _secret(call: Call, owner: PrincipalId) -> Secret:
    is_user = owner in call.service.state.users
    return call.service.inputs.token(TokenKind.USER if is_user else TokenKind.SERVICE_ACCOUNT)


async def _issued(done: Done, id_: str, secret: Secret, status: int) -> Response[IssuedForm]:
    """Answer a new token with its secret, or, to a repeat, without."""

    def view(state: State) -> tuple[IssuedForm, int]:
        token = _require(state, id_)
        old = UNSET if token.rotated_from is UNSET else state.tokens.get(token.rotated_from)
        form = IssuedForm(
            id=token.id,
            name=token.name,
            full_token=UNSET if done.replayed else secret.reveal(),
            rotated_from=token.rotated_from,
            grace_until=old.grace_until if old else UNSET,
        )
        return form, token.changed

    return await done.show(view, status=status)


# Routes, each made once for each family


def _issue(family: Family) -> HTTPRouteHandler:
    @post(
        family.base,
        status_code=family.issued_status,
        opt=family.make,
        operation_id=f"issue{family.noun}",
        summary="Issue a token; its secret is in this answer and nowhere else",
    )
    async def issue(
        data: JSONBody[TokenRequest], call: NamedDependency[Call]
    ) -> Response[IssuedForm]:
        owner = _owner(call, family)
        secret = _secret(call, owner)
        command = IssueToken(
            tenant=_tenant(call),
            owner=owner,
            id=TokenId(call.service.inputs.id()),
            name=data.name,
            description=fields.text(data.description),
            digest=digest(secret.reveal()),
            prefix=call.service.inputs.token_prefix(),
            max_age_seconds=seconds("maxAge", data.max_age) if data.max_age else UNSET,
            extended=data.extended is True,
            narrowing=narrowing(data.scope),
            allowed_addresses=fields.listed(data.allowed_addresses) or (),
        )
        done = await call.execute(command)
        made = done.event(TokenIssued)
        id_ = made.id if made else command.id
        return await _issued(done, id_, secret, family.issued_status)

    return issue


def _list(family: Family) -> HTTPRouteHandler:
    @get(
        family.base,
        opt={**family.read, "whole": True},
        operation_id=f"list{family.noun}s",
        summary="List the tokens of this owner, expired ones too, newest first",
    )
    async def search(call: NamedDependency[Call]) -> Response[Results[TokenItem]]:
        at = moment(call)
        results = tuple(item(call, token, at) for token in _held(call, family))
        return call.answer(Results(results=results, total=len(results)))

    return search


def _show(family: Family) -> HTTPRouteHandler:
    @get(
        f"{family.base}/{{token_id:str}}",
        opt=family.read,
        operation_id=f"get{family.noun}",
        summary="Show a token",
    )
    async def show(call: NamedDependency[Call]) -> Response[TokenItem]:
        id_ = call.parameters["token_id"]
        for token in _held(call, family):
            if token.id == id_:
                return call.entity(item(call, token, moment(call)), token.changed)
        raise NotFoundError("token.unknown", f"no token {id_}")

    return show


def _rotate(family: Family) -> HTTPRouteHandler:
    @post(
        f"{family.base}/{{token_id:str}}/rotate",
        status_code=200,
        opt=family.make,
        operation_id=f"rotate{family.noun}",
        summary="Issue a token in the place of another, which lives on for a grace",
    )
    async def rotate(
        call: NamedDependency[Call], data: JSONBody[RotateRequest | None] = None
    ) -> Response[IssuedForm]:
        owner = _owner(call, family)
        secret = _secret(call, owner)
        grace = data.grace if data else UNSET
        command = RotateToken(
            tenant=_tenant(call),
            owner=owner,
            id=TokenId(call.parameters["token_id"]),
            new_id=TokenId(call.service.inputs.id()),
            digest=digest(secret.reveal()),
            prefix=call.service.inputs.token_prefix(),
            grace_seconds=_grace(grace) if grace else GRACE_DEFAULT_SECONDS,
        )
        done = await call.execute(command, on=command.id)
        made = done.event(TokenRotated)
        return await _issued(done, made.new_id if made else command.new_id, secret, 200)

    return rotate


def _grace(text: str) -> int:
    return 0 if text in _NO_GRACE else seconds("grace", text)


def _disable(family: Family) -> HTTPRouteHandler:
    summary = "Refuse the token from the next request on; nothing is lost"
    return _switch(family, "disable", DisableToken, family.pause, summary)


def _enable(family: Family) -> HTTPRouteHandler:
    return _switch(family, "enable", EnableToken, family.make, "Accept the token again")


def _switch(
    family: Family,
    verb: str,
    command: type[DisableToken | EnableToken],
    gate: dict[str, Gate],
    summary: str,
) -> HTTPRouteHandler:
    @post(
        f"{family.base}/{{token_id:str}}/{verb}",
        status_code=200,
        opt=gate,
        operation_id=f"{verb}{family.noun}",
        summary=summary,
    )
    async def switch(call: NamedDependency[Call]) -> Response[TokenItem]:
        id_ = TokenId(call.parameters["token_id"])
        owner = _owner(call, family)
        done = await call.execute(command(tenant=_tenant(call), owner=owner, id=id_), on=id_)

        def view(state: State) -> tuple[TokenItem, int]:
            token = _require(state, id_)
            return item(call, token, moment(call, state)), token.changed

        return await done.show(view)

    return switch


def _revoke(family: Family) -> HTTPRouteHandler:
    @delete(
        f"{family.base}/{{token_id:str}}",
        status_code=family.revoked_status,
        opt=family.end,
        operation_id=f"revoke{family.noun}",
        summary="Revoke a token for ever, from the next request on",
    )
    async def revoke(call: NamedDependency[Call]) -> Response[None]:
        id_ = TokenId(call.parameters["token_id"])
        command = RevokeToken(tenant=_tenant(call), owner=_owner(call, family), id=id_)
        return (await call.execute(command, on=id_)).empty(status=family.revoked_status)

    return revoke


def _revoke_all(family: Family) -> HTTPRouteHandler:
    @delete(
        family.base,
        status_code=200,
        opt=family.end,
        operation_id=f"revokeAll{family.noun}s",
        summary="Revoke every token of this owner",
    )
    async def revoke_all(call: NamedDependency[Call]) -> Response[RevokedForm]:
        command = RevokeAllTokens(tenant=_tenant(call), owner=_owner(call, family))
        done = await call.execute(command)
        ended = sum(isinstance(event, TokenRevoked) for event in done.outcome.events)
        return done.plain(RevokedForm(revoked=ended))

    return revoke_all


_OWN: Final = {"gate": Gate(own=True, refuse=refuse_restricted)}

FAMILIES: Final = (
    Family(
        base="/{tenant:str}/service-accounts/{id:str}/api-tokens",
        noun="ServiceAccountToken",
        owners="service_accounts",
        make=gives(IssueToken),
        pause=gives(DisableToken),
        read=needs(Permission("SERVICE_ACCOUNT", "VIEW")),
        end=gives(RevokeToken),
    ),
    Family(
        base="/service-accounts/{id:str}/api-tokens",
        noun="InstanceServiceAccountToken",
        owners="service_accounts",
        make=OWNER,
        pause=OWNER,
        read=OWNER,
        end=OWNER,
    ),
    Family(
        base="/users/{id:str}/api-tokens",
        noun="UserToken",
        owners="users",
        make=OWNER,
        pause=OWNER,
        read=OWNER,
        end=OWNER,
        issued_status=201,
        revoked_status=204,
    ),
    Family(
        base="/me/api-tokens",
        noun="OwnToken",
        owners="self",
        make=_OWN,
        pause=SELF,
        read=SELF,
        end=SELF,
    ),
)

ROUTES: Final[list[Any]] = [
    route(family)
    for family in FAMILIES
    for route in (_issue, _list, _show, _rotate, _disable, _enable, _revoke, _revoke_all)
]
