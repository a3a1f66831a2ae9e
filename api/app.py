"""How do the routes become one application, behind authentication and a gate each?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
from litestar import Litestar, Request, Response, Router
from litestar.di import Provide
from litestar.routes import HTTPRoute
from msgspec import UNSET

from api import audit_export, documents, health, metrics, proofs, sign_in, sinks, system
from api.access import blame, check_bulk, compare, evidence, simulate, what_can, who_can
from api.authentication import authenticate, require_still
from api.call import POSITION_HEADER, Call, Gate, position_parameter
from api.decoding import CONTRACT, OWN, read_body, replaying
from api.iam import (
    aliases,
    auditlogs,
    bindings,
    erasures,
    groups,
    me,
    roles,
    service_accounts,
    tenant_access,
    tenants,
    tokens,
    users,
)
from api.journal import refused
from api.problems import answer_error
from api.query import Query, refuse_token
from api.request_errors import (
    DryRun,
    MalformedError,
    UnavailableError,
    UnknownTokenError,
)
from api.trail import events, journal, tail
from domain import access, commands
from domain.ids import CommandId, TenantId
from domain.permissions import Permission
from domain.sealed import Secret, decode_secret

if TYPE_CHECKING:
    from litestar.types import (
        ASGIApp,
        HTTPReceiveMessage,
        HTTPScope,
        Receive,
        Scope,
        Send,
        WebSocketReceiveMessage,
    )

    from api.service import Service
    from api.simulation import Simulation

BASE: Final = "/api/v1"


class UndeclaredRouteError(Exception):
    """A route handler does not say who may use it, so the application does not start."""


Hook = Callable[[], Awaitable[None]]


def create_app(
    service: Service, *, on_startup: Hook | None = None, on_shutdown: Hook | None = None
) -> Litestar:
    """Answer the application of all routes but the hot ones, which stand in front of it."""
    app = Litestar(
        route_handlers=[
            *health.routes(service),
            *documents.routes(service),
            *sign_in.root_routes(service),
            metrics.scrape,
            Router(
                BASE,
                route_handlers=[
                    *_contract(),
                    *sign_in.routes(service),
                    *proofs.routes(service),
                    *tenants.open_routes(service),
                ],
            ),
        ],
        middleware=[_Authentication(service).around],
        dependencies={"call": Provide(provide_call, sync_to_thread=False)},
        exception_handlers={Exception: _noting(service)},
        type_decoders=[(lambda kind: kind is Secret, decode_secret)],
        on_startup=[on_startup] if on_startup else [],
        on_shutdown=[on_shutdown] if on_shutdown else [],
        openapi_config=None,
        logging_config=None,  # else it would put its own handlers in the place of the process's
        request_max_body_size=None,  # the decode guard counts while it reads
        debug=False,
    )
    require_gates(app)
    return app


def _noting(service: Service) -> Callable[[Request[Any, Any, Any], Exception], Response[bytes]]:
    """Answer the handler of every error, which passes refusals to the journal and counts them."""

    def handle(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        if isinstance(error, DryRun):
            return Response(
                msgspec.json.encode(error.answer),
                headers={POSITION_HEADER: str(error.answer.position)},
                media_type="application/json",
            )
        refused(service, request.scope, error)
        simulation: Simulation | None = request.scope["state"].get("simulation")
        if simulation is not None:
            # It tells of this one for all of them.
            simulation.refused = error
        service.measures.refused(error, request.scope["state"].get("call"))
        return answer_error(request, error)

    return handle


def _contract() -> list[Any]:
    nouns = (
        aliases,
        audit_export,
        check_bulk,
        blame,
        compare,
        evidence,
        what_can,
        who_can,
        auditlogs,
        bindings,
        erasures,
        events,
        groups,
        journal,
        me,
        roles,
        service_accounts,
        simulate,
        sinks,
        system,
        tail,
        tenant_access,
        tenants,
        tokens,
        users,
    )
    return [route for noun in nouns for route in noun.ROUTES]


def require_gates(app: Litestar) -> None:
    """Refuse an application with a route that declares no gate (security 2.4)."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                if not isinstance(handler.opt.get("gate"), Gate) and "OPTIONS" not in (
                    handler.http_methods
                ):
                    raise UndeclaredRouteError(f"{handler} on {route.path}")


class _Authentication:
    """Authenticates every request that a gate does not leave open, then lets its body be read.

    The gate is judged here and not as a Litestar guard, which copies its whole handler to be asked.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    def around(self, app: ASGIApp) -> ASGIApp:
        """Answer the middleware around an application."""

        async def authenticated(scope: Scope, receive: Receive, send: Send) -> None:
            http = cast("HTTPScope", scope)
            gate = _gate_of(http["route_handler"].opt)
            simulation: Simulation | None = http["state"].get("simulation")
            if simulation is not None and not _gives_a_command(http, gate):
                raise MalformedError("simulation.unsupported", "no command is given by this route")
            if gate is not None and not gate.open:
                self._service.require_ready()
                scope["state"]["call"] = call = await self._call(http)
                await _judge(call, gate)
            elif http["method"] == "POST" and dict(http["state"]["query"]).get("dryRun"):
                raise MalformedError("dry_run.unsupported", "no command is given by this route")
            await app(scope, _guarded(http, receive), send)

        return authenticated

    async def _call(self, scope: HTTPScope) -> Call:
        """Authenticate, wait for `at_least` (http-api 6), and judge anew by what came meanwhile."""
        service, state = self._service, scope["state"]
        simulation: Simulation | None = state.get("simulation")
        if simulation is not None:
            # Whoever tries changes out has signed in, and is judged by what they leave of that.
            simulated = cast("Service", simulation)
            require_still(simulated, simulation.caller, simulation.before, scope)
            return Call(simulated, simulation.caller, scope, state["query"], state["request_id"])
        try:
            caller = await authenticate(service, scope)
        except UnknownTokenError as refusal:
            # What is waited for may be what another process issued the token by.
            await self._reach_as_stranger(state["query"], refusal)
            caller = await authenticate(service, scope)
        parameters = dict(state["query"])
        service.require_own(parameters.get("log"))
        judged_at = service.state
        await service.reach(position_parameter(state["query"], "at_least") or 0)
        if service.state is not judged_at:
            service.require_ready()
            caller = await authenticate(service, scope)
        return Call(service, caller, scope, state["query"], state["request_id"])

    async def _reach_as_stranger(self, query: Query, refusal: UnknownTokenError) -> None:
        """Wait for `at_least`; where it is not reached, the refusal stands."""
        try:
            await self._service.reach(position_parameter(query, "at_least") or 0, stranger=True)
        except (MalformedError, UnavailableError):
            raise refusal from None


def _gives_a_command(scope: HTTPScope, gate: Gate | None) -> bool:
    reads = scope["method"] in {"GET", "HEAD"} or scope["route_handler"].opt.get("reads")
    return gate is not None and not gate.open and not reads


def _gate_of(options: Mapping[str, object]) -> Gate | None:
    gate = options.get("gate")
    return gate if isinstance(gate, Gate) else None


def _guarded(scope: HTTPScope, receive: Receive) -> Receive:
    """Answer a `receive` that reads and judges the whole body at its first use.

    So a body is read only after credentials, tenant and permission have been judged. A route that
    streams gets the pieces as they come, and guards them itself.
    """
    again: Receive | None = None

    async def guarded() -> HTTPReceiveMessage | WebSocketReceiveMessage:
        nonlocal again
        if "streams" in scope["state"]:
            return await receive()
        if again is None:
            call: Call | None = scope["state"].get("call")
            by_cookie = call is not None and call.caller.cookie is not None
            # A page of another site can make a browser send text, or a body without a type.
            rule = OWN if by_cookie else scope["route_handler"].opt.get("media", CONTRACT)
            body = await read_body(receive, scope["headers"], rule=rule)
            if call is not None:
                # It would be stored in a name, for ever and for everyone who may read the log.
                refuse_token(body.decode("latin-1") if b"mun" in body else "")
            scope["state"]["body"] = body
            again = replaying(body, receive)
        return await again()

    return guarded


async def _judge(call: Call, gate: Gate) -> None:
    """Judge the caller by the route's gate, on the live state, before the body is read."""
    await call.settle()
    state = call.service.state
    context = commands.Context(
        at=call.service.inputs.now(),
        actor=call.caller.actor,
        command_id=CommandId(""),
        correlation_id=call.request_id,
    )
    if "tenant" in call.parameters:
        access.require_tenant(state, context, call.tenant, past=call.looks_back)
    if gate.exception is not None and gate.exception(call):
        return
    if gate.needs is not None:
        tenant = call.tenant if gate.tenant is UNSET else gate.tenant
        if not _holds(call, tenant, gate.needs, context.at):
            commands.require_permission(state, context, tenant, gate.needs, gate.or_needs)
    if gate.owner:
        commands.require_owner(state, context)
    if gate.refuse is not None:
        gate.refuse(call)


def _holds(call: Call, tenant: TenantId, needed: Permission, at: datetime) -> bool:
    """Tell whether the caller surely holds a permission in the tenant, by what is compiled.

    No is only "not surely": a token may be narrowed, and an instance owner holds more.
    """
    token = call.caller.token
    return (token is None or token.narrowing is UNSET) and call.service.graph.check(
        tenant, call.caller.principal, needed.type, needed.action, None, None, at.timestamp()
    )


def provide_call(scope: Scope) -> Call:
    """Hand the call of this request to its handler."""
    call: Call = scope["state"]["call"]
    return call
