"""With which secrets may programs and people act, for how long, from where, and how narrowly?

Only SHA-256 of a token's text enters an event: 256 random bits cannot be guessed, so a fast hash
is right. Expiry, disabling, addresses and the owner's state are judged at every use.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, assert_never

from msgspec import UNSET, Struct, UnsetType, structs

from domain import access, escalation, names, principals
from domain.access import Narrowing
from domain.errors import ConflictError, Faults, ForbiddenError, NotFoundError
from domain.ids import PrincipalId, TenantId, TokenId
from domain.limits import TOKEN_AGE_SECONDS_MAX, TOKEN_GRACE_SECONDS_MAX, TOKENS_AN_OWNER_MAX
from domain.permissions import Permission
from domain.principals import TokenRevoked

if TYPE_CHECKING:
    from domain.commands import Context
    from domain.state import Draft, Facts

# Commands. With a tenant they come by a tenant route and concern a service account there;
# without one they are an instance owner's or the owner's own.


class IssueToken(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("SERVICE_ACCOUNT", "UPDATE")
    tenant: TenantId | UnsetType = UNSET
    owner: PrincipalId
    id: TokenId
    name: str
    description: str = ""
    digest: bytes
    prefix: str
    max_age_seconds: int | UnsetType = UNSET
    extended: bool = False
    narrowing: Narrowing | UnsetType = UNSET
    allowed_addresses: tuple[str, ...] = ()


class RotateToken(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("SERVICE_ACCOUNT", "UPDATE")
    tenant: TenantId | UnsetType = UNSET
    owner: PrincipalId
    id: TokenId
    new_id: TokenId
    digest: bytes
    prefix: str
    grace_seconds: int


class DisableToken(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("SERVICE_ACCOUNT", "UPDATE")
    tenant: TenantId | UnsetType = UNSET
    owner: PrincipalId
    id: TokenId


class EnableToken(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("SERVICE_ACCOUNT", "UPDATE")
    tenant: TenantId | UnsetType = UNSET
    owner: PrincipalId
    id: TokenId


class RevokeToken(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("SERVICE_ACCOUNT", "DELETE")
    tenant: TenantId | UnsetType = UNSET
    owner: PrincipalId
    id: TokenId


class RevokeAllTokens(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("SERVICE_ACCOUNT", "DELETE")
    tenant: TenantId | UnsetType = UNSET
    owner: PrincipalId


class ExtendToken(Struct, frozen=True, kw_only=True):
    """Use of an extended token moves its expiry; only that token's own use asks for it."""

    owner: PrincipalId
    id: TokenId


Command = (
    IssueToken
    | RotateToken
    | DisableToken
    | EnableToken
    | RevokeToken
    | RevokeAllTokens
    | ExtendToken
)

# Events


class TokenIssued(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "token.issued.v1"
    id: TokenId
    owner: PrincipalId
    name: str
    description: str = ""
    digest: bytes
    prefix: str
    expires_at: datetime | UnsetType = UNSET
    max_age_seconds: int | UnsetType = UNSET
    extended: bool = False
    narrowing: Narrowing | UnsetType = UNSET
    allowed_addresses: tuple[str, ...] = ()


class TokenRotated(Struct, frozen=True, kw_only=True):
    """`new_id` takes over all but the secret; `id` ends at `grace_until`."""

    topic: ClassVar[str] = "token.rotated.v1"
    id: TokenId
    new_id: TokenId
    digest: bytes
    prefix: str
    grace_until: datetime


class TokenDisabled(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "token.disabled.v1"
    id: TokenId


class TokenEnabled(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "token.enabled.v1"
    id: TokenId


class TokenExtended(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "token.extended.v1"
    id: TokenId
    expires_at: datetime


Event = TokenIssued | TokenRotated | TokenDisabled | TokenEnabled | TokenExtended

# State


class Token(Struct, frozen=True, kw_only=True):
    id: TokenId
    owner: PrincipalId
    name: str
    description: str
    digest: bytes
    prefix: str
    created: datetime
    created_by: str
    expires_at: datetime | UnsetType
    max_age_seconds: int | UnsetType
    extended: bool
    enabled: bool
    narrowing: Narrowing | UnsetType
    allowed_addresses: tuple[str, ...]
    rotated_from: TokenId | UnsetType
    rotated_to: TokenId | UnsetType
    grace_until: datetime | UnsetType
    changed: int


# Rules


def decide(state: Facts, command: Command, context: Context) -> tuple[Event | TokenRevoked, ...]:
    match command:
        case IssueToken():
            return _issue_token(state, command, context)
        case RotateToken():
            return _rotate_token(state, command, context)
        case DisableToken():
            token = _require_of(state, command, context)
            return (TokenDisabled(id=token.id),) if token.enabled else ()
        case EnableToken():
            return _enable_token(state, command, context)
        case RevokeToken():
            return (TokenRevoked(id=_require_of(state, command, context).id),)
        case RevokeAllTokens():
            return _revoke_all_tokens(state, command, context)
        case ExtendToken():
            return _extend_token(state, command, context)
        case _:
            assert_never(command)


def is_own(state: Facts, command: Command, context: Context) -> bool:
    """Tell whether a principal acts on its own tokens; a restricted user may only end them."""
    if context.actor.id != command.owner:
        return False
    if isinstance(command, ExtendToken):
        return context.actor.token_id == command.id
    if command.tenant is not UNSET:
        return False
    user = state.users.get(context.caller)
    ends = isinstance(command, DisableToken | RevokeToken | RevokeAllTokens)
    return user is None or not user.restricted or ends


def _require_owner(state: Facts, owner: PrincipalId, tenant: TenantId | UnsetType) -> None:
    if tenant is UNSET:
        principals.require(state, owner)
    elif owner not in state.service_accounts or not principals.has_access(state, owner, tenant):
        raise NotFoundError("service_account.unknown", f"no service account {owner}")


def _require_of(
    state: Facts,
    command: RotateToken | DisableToken | EnableToken | RevokeToken | ExtendToken,
    context: Context,
) -> Token:
    """Answer the token if it is the owner's and, by a tenant route, works in that tenant.

    Raises NotFoundError `token.unknown`, and as `_require_within`.
    """
    tenant = UNSET if isinstance(command, ExtendToken) else command.tenant
    _require_owner(state, command.owner, tenant)
    token = state.tokens.get(command.id)
    if (
        token is None
        or token.owner != command.owner
        or (tenant is not UNSET and not access.works_in(token, tenant))
    ):
        raise NotFoundError("token.unknown", f"no token {command.id}")
    _require_within(state, context, token, tenant)
    return token


def _require_within(
    state: Facts, context: Context, token: Token, tenant: TenantId | UnsetType
) -> None:
    """Leave to the instance owner a token that works in other tenants too (kestra-iam 5.6).

    Other than that of the route; by the owner's own routes, other than those that the caller's
    token is narrowed to: else whoever got it by a tenant route would reach beyond the tenant.
    Raises ConflictError `service_account.shared`, ForbiddenError `token.escalation`.
    """
    own = access.caller_narrowing(state, context)
    tenants = UNSET if own is UNSET else own.tenants
    if tenant is not UNSET:
        tenants = (tenant,)
    if (
        tenants is UNSET
        or escalation.lies_in_tenants(token.narrowing, tenants)
        or not principals.acts_elsewhere(state, token.owner)
        or access.is_unbounded_owner(state, context)
    ):
        return
    detail = f"token {token.id} also works outside tenant {', '.join(tenants)}"
    if tenant is UNSET:
        raise ForbiddenError("token.escalation", detail)
    raise ConflictError("service_account.shared", detail)


def _revoke_all_tokens(
    state: Facts, command: RevokeAllTokens, context: Context
) -> tuple[TokenRevoked, ...]:
    _require_owner(state, command.owner, command.tenant)
    held = [state.tokens[id_] for id_ in state.tokens_of.get(command.owner, ())]
    if command.tenant is not UNSET:
        held = [token for token in held if access.works_in(token, command.tenant)]
    for token in held:
        _require_within(state, context, token, command.tenant)
    return tuple(TokenRevoked(id=token.id) for token in held)


def _issue_token(state: Facts, command: IssueToken, context: Context) -> tuple[Event, ...]:
    _require_owner(state, command.owner, command.tenant)
    faults = Faults()
    faults.check("name", names.label, command.name)
    faults.check("description", names.description, command.description)
    access.judge_addresses(command.allowed_addresses, faults)
    if command.narrowing is not UNSET:
        access.judge_narrowing(state, context, command.narrowing, faults)
    if command.max_age_seconds is not UNSET and not (
        0 < command.max_age_seconds <= TOKEN_AGE_SECONDS_MAX
    ):
        faults.add("maxAge", "must be longer than zero and at most 36500 days", "range")
    faults.refuse("token.invalid")
    if len(state.tokens_of.get(command.owner, ())) >= TOKENS_AN_OWNER_MAX:
        raise ConflictError("token.too_many", f"{command.owner} has too many tokens")
    narrowing = _narrowed(state, command, context)
    escalation.require_as_narrow(state, context, narrowing, command.allowed_addresses)
    escalation.require_may_give_all(state, context, command.owner, narrowing, "token.escalation")
    expires_at: datetime | UnsetType = UNSET
    if command.max_age_seconds is not UNSET:
        expires_at = context.at + timedelta(seconds=command.max_age_seconds)
    return (
        TokenIssued(
            id=command.id,
            owner=command.owner,
            name=command.name,
            description=command.description,
            digest=command.digest,
            prefix=command.prefix,
            expires_at=expires_at,
            max_age_seconds=command.max_age_seconds,
            extended=command.extended and expires_at is not UNSET,
            narrowing=narrowing,
            allowed_addresses=command.allowed_addresses,
        ),
    )


def _narrowed(state: Facts, command: IssueToken, context: Context) -> Narrowing | UnsetType:
    """Keep a token that comes by a tenant route to that tenant (kestra-iam 5.6).

    Raises InvalidError `token.invalid` where it is asked to work in others only.
    """
    if command.tenant is UNSET or access.is_unbounded_owner(state, context):
        return command.narrowing
    if not access.leaves_tenant(command.narrowing, command.tenant):
        faults = Faults()
        faults.add("scope.tenants", f"must name tenant {command.tenant}", "invalid")
        faults.refuse("token.invalid")
    asked = Narrowing() if command.narrowing is UNSET else command.narrowing
    return structs.replace(asked, tenants=(command.tenant,))


def _rotate_token(state: Facts, command: RotateToken, context: Context) -> tuple[Event, ...]:
    token = _require_of(state, command, context)
    faults = Faults()
    if not 0 <= command.grace_seconds <= TOKEN_GRACE_SECONDS_MAX:
        faults.add("grace", "must be at most 7 days", "range")
    faults.refuse("token.invalid")
    expired = access.is_over(token.expires_at, context.at)
    if not token.enabled or expired or token.rotated_to is not UNSET:
        raise ConflictError(
            "token.not_rotatable", f"token {token.id} is disabled, expired or rotated already"
        )
    if len(state.tokens_of.get(command.owner, ())) >= TOKENS_AN_OWNER_MAX:
        raise ConflictError("token.too_many", f"{command.owner} has too many tokens")
    escalation.require_as_narrow(state, context, token.narrowing, token.allowed_addresses)
    escalation.require_may_give_all(
        state, context, token.owner, token.narrowing, "token.escalation"
    )
    grace_until = context.at + timedelta(seconds=command.grace_seconds)
    if token.expires_at is not UNSET:
        grace_until = min(grace_until, token.expires_at)
    return (
        TokenRotated(
            id=token.id,
            new_id=command.new_id,
            digest=command.digest,
            prefix=command.prefix,
            grace_until=grace_until,
        ),
    )


def _enable_token(state: Facts, command: EnableToken, context: Context) -> tuple[Event, ...]:
    token = _require_of(state, command, context)
    if token.enabled:
        return ()
    escalation.require_as_narrow(state, context, token.narrowing, token.allowed_addresses)
    escalation.require_may_give_all(
        state, context, token.owner, token.narrowing, "token.escalation"
    )
    return (TokenEnabled(id=token.id),)


def _extend_token(state: Facts, command: ExtendToken, context: Context) -> tuple[Event, ...]:
    token = _require_of(state, command, context)
    moved = extension(token, context.at)
    return () if moved is None else (TokenExtended(id=token.id, expires_at=moved),)


def extension(token: Token, at: datetime) -> datetime | None:
    """Answer the expiry to which use at this instant moves the token, or None for no move.

    A move is worth an event when a tenth of the maximum age has passed since the last
    (kestra-iam 6.2); a rotated token is never prolonged.
    """
    if (
        not token.extended
        or token.expires_at is UNSET
        or token.max_age_seconds is UNSET
        or token.rotated_to is not UNSET
        or access.is_over(token.expires_at, at)
    ):
        return None
    moved = at + timedelta(seconds=token.max_age_seconds)
    if moved - token.expires_at < timedelta(seconds=token.max_age_seconds / 10):
        return None
    return moved


def refusal(token: Token, at: datetime) -> str | None:
    """Answer the code for which the token is refused at this instant, or None if it is good."""
    if not token.enabled:
        return "token.disabled"
    if access.is_over(token.expires_at, at):
        return "token.expired"
    return None


# Memory


def apply(draft: Draft, event: Event) -> None:
    match event:
        case TokenIssued():
            _token_issued(draft, event)
        case TokenRotated():
            _token_rotated(draft, event)
        case TokenDisabled():
            _replace(draft, event.id, enabled=False)
        case TokenEnabled():
            _replace(draft, event.id, enabled=True)
        case TokenExtended():
            _replace(draft, event.id, expires_at=event.expires_at)
        case _:
            assert_never(event)


def _remember(draft: Draft, token: Token) -> None:
    draft.tokens[token.id] = token
    draft.digests[token.digest] = token.id
    draft.link(draft.tokens_of, token.owner, token.id, None)


def _token_issued(draft: Draft, event: TokenIssued) -> None:
    _remember(
        draft,
        Token(
            id=event.id,
            owner=event.owner,
            name=event.name,
            description=event.description,
            digest=event.digest,
            prefix=event.prefix,
            created=draft.at,
            created_by=draft.actor_id,
            expires_at=event.expires_at,
            max_age_seconds=event.max_age_seconds,
            extended=event.extended,
            enabled=True,
            narrowing=event.narrowing,
            allowed_addresses=event.allowed_addresses,
            rotated_from=UNSET,
            rotated_to=UNSET,
            grace_until=UNSET,
            changed=draft.position,
        ),
    )


def _token_rotated(draft: Draft, event: TokenRotated) -> None:
    old = draft.tokens.get(event.id)
    if old is None:
        return
    _remember(
        draft,
        structs.replace(
            old,
            id=event.new_id,
            digest=event.digest,
            prefix=event.prefix,
            created=draft.at,
            created_by=draft.actor_id,
            rotated_from=event.id,
            changed=draft.position,
        ),
    )
    draft.tokens[event.id] = structs.replace(
        old,
        rotated_to=event.new_id,
        grace_until=event.grace_until,
        expires_at=event.grace_until,
        changed=draft.position,
    )


def _replace(draft: Draft, id_: TokenId, **values: bool | datetime) -> None:
    token = draft.tokens.get(id_)
    if token is not None:
        draft.tokens[id_] = structs.replace(token, changed=draft.position, **values)
