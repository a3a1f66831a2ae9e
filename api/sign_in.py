"""How does a user get a session, and how does it end? (kestra-iam 3, security 3.6).

Only users sign in, with e-mail and password. The session's cookie opens `/api/v1` only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import parse_qsl

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import Cookie
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta, Struct

from api.authentication import (
    CSRF_COOKIE,
    SESSION_COOKIE,
    by_password,
    cookies,
    require_no_forgery,
    require_same_site,
)
from api.call import OPEN
from api.decoding import FORM, SIGN_IN, media_type
from api.journal import signed_in, signed_out
from api.request_errors import AuthenticationError, MalformedError
from domain.names import EMAIL_CHARACTERS_MAX
from domain.sealed import Secret, decode_secret

if TYPE_CHECKING:
    from litestar.types import HTTPScope

    from api.service import Service

SESSION_PATH: Final = "/api/v1"
_OPTIONS: Final = {**OPEN, "media": SIGN_IN}
_FIELDS_MAX: Final = 10


class Credentials(Struct, frozen=True, kw_only=True):
    """What a user types; other members are ignored."""

    username: Annotated[str, Meta(max_length=EMAIL_CHARACTERS_MAX)]
    password: Secret


_decode: Final = msgspec.json.Decoder(Credentials, dec_hook=decode_secret).decode


def root_routes(service: Service) -> list[Any]:
    """Answer the route at the root, where Kestra's browser clients sign in."""
    return [_login(service, "/login", "signInAtRoot")]


def routes(service: Service) -> list[Any]:
    """Answer the routes below the base path."""
    return [_login(service, "/login", "signIn"), _logout(service)]


def _login(service: Service, path: str, operation_id: str) -> HTTPRouteHandler:
    @post(
        path,
        status_code=200,
        opt=_OPTIONS,
        operation_id=operation_id,
        summary="Sign in with e-mail and password; answers two cookies",
        tags=["sign-in"],
    )
    async def login(request: Request[Any, Any, Any]) -> Response[bytes]:
        scope = request.scope
        service.require_ready()
        require_same_site(service, scope)
        credentials = _read(await request.body(), scope)
        # From before the password is judged: what ends sessions meanwhile ends this one too.
        position = service.state.position
        caller = await by_password(
            service, credentials.username, credentials.password, scope, via="sign_in"
        )
        user = service.state.users.get(caller.principal)
        if user is None:
            raise AuthenticationError("auth.invalid", "wrong e-mail or password", presented=True)
        # Recorded first: where records are required, nobody is in of whom none tells.
        signed_in(service, scope, caller)
        if service.journal.required:
            await service.journal.settle()
        old = cookies(scope).get(SESSION_COOKIE)
        if old:
            await service.sessions.end(Secret(old))
        cookie, session = await service.sessions.begin(user.id, position)
        service.measures.sign_ins["success"] += 1
        return _answer(cookie.reveal(), session.csrf_token)

    return login


def _logout(service: Service) -> HTTPRouteHandler:
    @post(
        "/logout",
        status_code=200,
        opt=_OPTIONS,
        operation_id="signOut",
        summary="End the session of the cookie, if there is one",
        tags=["sign-in"],
    )
    async def logout(request: Request[Any, Any, Any]) -> Response[bytes]:
        scope = request.scope
        cookie = Secret(cookies(scope).get(SESSION_COOKIE, ""))
        session = await service.sessions.find(cookie)
        if session is not None:
            require_no_forgery(service, scope, session.csrf_token)
            await service.sessions.end(cookie)
            signed_out(service, scope, session.user)
        return _answer("", "", max_age=0)

    return logout


def _answer(session: str, csrf_token: str, max_age: int | None = None) -> Response[bytes]:
    """Set both cookies; the page's own scripts must read the second, and no script the first."""

    def cookie(name: str, value: str, path: str, *, httponly: bool) -> Cookie:
        # Lax, so that whoever follows a link into the application is still signed in.
        return Cookie(
            name, path, value, max_age=max_age, httponly=httponly, secure=True, samesite="lax"
        )

    return Response(
        b"{}",
        media_type="application/json",
        cookies=[
            cookie(SESSION_COOKIE, session, SESSION_PATH, httponly=True),
            cookie(CSRF_COOKIE, csrf_token, "/", httponly=False),
        ],
    )


def _read(body: bytes, scope: HTTPScope) -> Credentials:
    """Read the credentials from JSON or a form.

    Raises MalformedError for a form that is none, ValidationError for a member that is missing.
    """
    if not body:
        raise MalformedError("body.missing", "username and password are required")
    if media_type(scope["headers"], SIGN_IN) != FORM:
        return _decode(body)
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_FIELDS_MAX,
        )
    except ValueError:
        raise MalformedError("body.malformed", "the body is not a form") from None
    return msgspec.convert(dict(pairs), Credentials, dec_hook=decode_secret)
