"""Whose request is this, and by which credential?

One function for both worlds, Litestar's routes and the hot endpoints (kestra-iam 3, security 3
and 4). One credential is judged: Bearer, else Basic, else the cookie; a presented one that is
wrong is 401, with no fall-through. Everything is judged from the live state at every use.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from msgspec import UNSET, Struct

from api import credentials
from api.credentials import Sealer
from api.journal import locked
from api.request_errors import (
    AuthenticationError,
    ForeignAddressError,
    MalformedCredentialError,
    MisshapenTokenError,
    UnavailableError,
    UnknownTokenError,
    WrongPasswordError,
)
from domain import commands, names, tokens
from domain.errors import DomainError, ForbiddenError
from domain.events import Actor
from domain.ids import CommandId, PrincipalId
from domain.sealed import Secret
from domain.token_text import digest, well_formed
from domain.tokens import ExtendToken, Token
from domain.users import RehashPassword, User

if TYPE_CHECKING:
    from litestar.types import HTTPScope

    from api.service import Service
    from domain.state import State

_BASIC_BYTES_MAX: Final = 4096
SESSION_COOKIE: Final = "JWT"
CSRF_COOKIE: Final = "csrfToken"
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# What a browser says of its own pages, and of addresses that were typed; nothing else says it.
_OWN_SITES: Final = frozenset({b"", b"same-origin", b"none"})
_AGENT_CHARACTERS_MAX: Final = 256


class Caller(Struct, frozen=True):
    """Who asks: the actor of its events, and the token or session behind it."""

    principal: PrincipalId
    actor: Actor
    token: Token | None = None
    cookie: Secret | None = None


def header(scope: HTTPScope, name: bytes) -> bytes:
    """Answer the value of a header, empty when it is absent."""
    for key, value in scope["headers"]:
        if key == name:
            return value
    return b""


async def authenticate(service: Service, scope: HTTPScope, via: str = "api") -> Caller:
    """Answer the caller of a request.

    Raises AuthenticationError with `auth.required`, `auth.invalid`, and, only when the secret was
    right, `token.expired`, `token.revoked`, `token.disabled` or `principal.disabled`;
    ForbiddenError `token.address`, `csrf` or `impersonation.unsupported`; and as `credential`.
    """
    if header(scope, b"x-kestra-impersonate"):
        # Never ignored: the caller would act with its own, wider rights.
        raise ForbiddenError("impersonation.unsupported", "impersonation is not supported")
    scheme, text = credential(scope)
    if scheme == b"bearer":
        return by_token(service, text.decode("latin-1"), scope, via)
    if scheme == b"basic":
        typed = _basic_credential(text)
        if typed is not None:
            return await by_password(service, *typed, scope, via=via)
    elif scheme:
        raise AuthenticationError("auth.invalid", "unknown scheme", presented=True)
    cookie = cookies(scope).get(SESSION_COOKIE)
    if cookie:
        return await _by_session(service, Secret(cookie), scope, via)
    raise AuthenticationError("auth.required", "no credential arrived", presented=False)


def credential(scope: HTTPScope) -> tuple[bytes, bytes]:
    """Answer the scheme in lower case and what follows it; both are empty where there is none.

    Raises MalformedCredentialError for two headers, of which a proxy may have read the other,
    and for Bearer without a token (oauth 5).
    """
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(given) > 1:
        raise MalformedCredentialError("auth.malformed", "there must be one Authorization header")
    scheme, _, text = given[0].partition(b" ") if given else (b"", b"", b"")
    scheme, text = scheme.lower(), text.strip()
    if scheme == b"bearer" and not text:
        raise MalformedCredentialError("auth.malformed", "there is no token after the scheme")
    return scheme, text


def _actor(type_: str, id_: str, scope: HTTPScope, via: str, token: Token | None) -> Actor:
    agent = header(scope, b"user-agent")[:_AGENT_CHARACTERS_MAX].decode("latin-1")
    return Actor(
        type="user" if type_ == "user" else "service_account",
        id=id_,
        token_id=token.id if token else UNSET,
        via=via,
        address=client_address(scope) or UNSET,
        user_agent=agent or UNSET,
    )


def client_address(scope: HTTPScope) -> str:
    """Answer the address of the client, as the front established it from socket and proxies."""
    address: str = scope["state"].get("address", "")
    return address


def require_still(service: Service, caller: Caller, since: State, scope: HTTPScope) -> None:
    """Refuse a caller whose credential was good at a state and has ended by now.

    A password or session is not judged again, but ends with what ends all of them.
    """
    if caller.token is not None:
        judge_token(service, credential(scope)[1].decode("latin-1"))
        return
    user, before = (state.users.get(caller.principal) for state in (service.state, since))
    if before is None or user is None or not user.enabled:
        raise AuthenticationError("principal.disabled", "the owner is disabled", presented=True)
    if user.sessions_from != before.sessions_from:
        raise AuthenticationError("auth.invalid", "this session has ended", presented=True)


# Tokens


def by_token(service: Service, text: str, scope: HTTPScope, via: str = "api") -> Caller:
    """Answer the caller that a token's text stands for; see `authenticate`."""
    token = bearer(service, text, scope, via)
    return Caller(token.owner, _token_actor(service, token, scope, via), token)


def bearer(service: Service, text: str, scope: HTTPScope, via: str = "api") -> Token:
    """Answer the live token of this text, judged for the address that it came from."""
    token = judge_token(service, text)
    address = client_address(scope)
    if not comes_from(token, address):
        raise ForeignAddressError(token.id, token.owner)
    service.journal.used(token.owner, token.id, address, scope["headers"])
    if token.extended and tokens.extension(token, service.inputs.now()) is not None:
        # Use moves the expiry; nobody waits for the event.
        actor = _token_actor(service, token, scope, via)
        service.give(ExtendToken(owner=token.owner, id=token.id), actor)
    return token


def judge_token(service: Service, text: str) -> Token:
    """Answer the live token of this text, judged at this moment."""
    if not well_formed(text):
        raise MisshapenTokenError
    state = service.graph.state
    token_id = state.digests.get(digest(text))
    if token_id is None:
        raise UnknownTokenError
    token = state.tokens.get(token_id)
    if token is None:
        said = "this token was revoked"
        raise AuthenticationError("token.revoked", said, presented=True, token=token_id)
    owner = state.service_accounts.get(token.owner) or state.users.get(token.owner)
    if owner is None or not owner.enabled:
        raise _unusable(token, "principal.disabled", "the owner is disabled")
    if not token.enabled or token.expires_at is not UNSET:
        code = tokens.refusal(token, service.inputs.now())
        if code is not None:
            raise _unusable(token, code, "this token is not usable")
    return token


def _unusable(token: Token, code: str, said: str) -> AuthenticationError:
    return AuthenticationError(code, said, presented=True, token=token.id, principal=token.owner)


def _token_actor(service: Service, token: Token, scope: HTTPScope, via: str) -> Actor:
    owned = token.owner in service.graph.state.service_accounts
    return _actor("service_account" if owned else "user", token.owner, scope, via, token)


def comes_from(token: Token, address: str) -> bool:
    """Tell whether a token may be used from an address; text that is no address is nowhere."""
    return not token.allowed_addresses or _is_allowed(address, token.allowed_addresses)


@lru_cache(maxsize=4096)
def _is_allowed(address: str, allowed: tuple[str, ...]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in ipaddress.ip_network(network) for network in allowed)


# Passwords


def _basic_credential(encoded: bytes) -> tuple[str, Secret] | None:
    """Answer user and password; None for the empty credential, which Terraform always sends."""
    if len(encoded) > _BASIC_BYTES_MAX:
        raise AuthenticationError("auth.invalid", "the credential is too long", presented=True)
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise AuthenticationError(
            "auth.invalid", "the Basic credential is malformed", presented=True
        ) from None
    name, _, password = text.partition(":")
    return (name, Secret(password)) if name or password else None


async def by_password(
    service: Service, email: str, password: Secret, scope: HTTPScope, *, via: str = "api"
) -> Caller:
    """Answer the user of an e-mail and password; everyone else is `auth.invalid`, alike.

    Known, unknown, locked, disabled, without password, a service account's name: the same
    answer in the same time, because a dummy hash is verified (security 3.3). Failures count over
    all processes; a locked account's password is not judged at all (security 3.4).
    """
    index = service.vault.email_index(names.canonical_email(email))
    address = client_address(scope)
    async with service.failures.turn(index, address) as may_try:
        known = _user_of(service, index)
        user = known if may_try else None
        # Nobody's hash is read by the same road, so that the time tells nothing.
        stored = await asyncio.to_thread(credentials.stored_hash, service, user)
        remember = user.id if user is not None and via == "api" else None
        right = await service.passwords.verify(stored, password, remember=remember)
        if not right or stored is None or user is None or not _still_signs_in(service, user):
            who = "" if known is None else known.id
            if may_try and await service.failures.failed(index, address):
                locked(service, scope, index, who)
            raise WrongPasswordError(index, who, locked=not may_try)
        actor = _actor("user", user.id, scope, via, None)
        if service.passwords.needs_rehash(stored):
            await _rehash(service, user, password, actor)
    service.journal.used(user.id, "", address, scope["headers"])
    return Caller(user.id, actor)


def _user_of(service: Service, index: bytes) -> User | None:
    state = service.state
    found = state.emails.get(index)
    return None if found is None else state.users.get(found)


def _still_signs_in(service: Service, judged: User) -> bool:
    """Tell whether the user whose password was judged is still enabled and has no newer one."""
    user = service.state.users.get(judged.id)
    return user is not None and user.enabled and user.sessions_from == judged.sessions_from


async def _rehash(service: Service, user: User, password: Secret, actor: Actor) -> None:
    """Keep the password under today's parameters; where that fails, the old hash stays good.

    Nothing may have changed the user by then: else a password replaced meanwhile would be back.
    """
    context = commands.Context(
        at=service.inputs.now(),
        actor=actor,
        command_id=CommandId(service.inputs.id()),
        correlation_id=service.inputs.id(),
        expects=commands.Expectation(user.id, service.state.position),
    )
    with suppress(DomainError, UnavailableError):
        hashed = await service.passwords.hash(password)
        sealer = Sealer(service, context, user.id)
        sealed = await sealer.password(hashed)
        await sealer.execute(RehashPassword(id=user.id, password=sealed))


# Sessions


def cookies(scope: HTTPScope) -> dict[str, str]:
    """Answer the cookies of a request; the first of a name counts."""
    found: dict[str, str] = {}
    for part in header(scope, b"cookie").decode("latin-1").split(";"):
        name, _, value = part.strip().partition("=")
        found.setdefault(name, value)
    return found


async def _by_session(service: Service, cookie: Secret, scope: HTTPScope, via: str) -> Caller:
    session = await service.sessions.find(cookie)
    state = service.state
    user = state.users.get(session.user) if session else None
    if session is None or user is None or not user.enabled:
        raise AuthenticationError("auth.invalid", "no such session", presented=True)
    # A new privilege needs a new session (security 3.6).
    begins = max(user.sessions_from, state.owners.get(user.id, 0))
    if session.position < begins:
        raise AuthenticationError("auth.invalid", "this session has ended", presented=True)
    if scope["method"] not in _SAFE_METHODS:
        require_no_forgery(service, scope, session.csrf_token)
    service.journal.used(user.id, "", client_address(scope), scope["headers"])
    return Caller(user.id, _actor("user", user.id, scope, via, None), None, cookie)


def require_no_forgery(service: Service, scope: HTTPScope, csrf_token: str) -> None:
    """Refuse a change by cookie that a browser may have been made to send (security 5.2).

    What has neither `Origin` nor `Sec-Fetch-Site` was sent by no browser (kestra-iam 3).
    """
    if not require_same_site(service, scope):
        return
    sent = header(scope, b"x-csrf-token").decode("latin-1")
    if not sent or Secret(sent) != Secret(csrf_token):
        raise ForbiddenError("csrf", "the X-CSRF-TOKEN header does not fit the session")


def require_same_site(service: Service, scope: HTTPScope) -> bool:
    """Tell whether a browser sent this; refuse what it sent for another site."""
    site, origin = header(scope, b"sec-fetch-site"), header(scope, b"origin")
    host = header(scope, b"host").decode("latin-1")
    public = "/".join(service.settings.public_url.split("/")[:3])
    own = {public, f"https://{host}", f"http://{host}"}
    if site not in _OWN_SITES or (origin and origin.decode("latin-1") not in own):
        raise ForbiddenError("csrf", "this was sent for another site")
    return bool(site or origin)
