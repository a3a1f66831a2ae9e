"""Which requests came, by whom, and how did each end?

One record a request (operations 3): the route's template and ids, never a body, a query string,
a name or a path that was sent. The hot check endpoints stand in front of this and are measured,
not logged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast

from api.call import POSITION_HEADER, Call

if TYPE_CHECKING:
    from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

    from api.service import Service

_POSITION: Final = POSITION_HEADER.lower().encode()
_MILLISECONDS: Final = 1_000

_log = logging.getLogger("muniment.requests")


class RequestLog:
    """An ASGI application that passes every request on; it counts and records what is answered."""

    def __init__(self, service: Service, app: ASGIApp) -> None:
        self._service = service
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        kind: str = scope["type"]
        if kind != "http":
            await self._app(scope, receive, send)
            return
        clock = self._service.inputs.monotonic
        began_seconds = clock()
        answered: dict[str, int] = {}

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered.update(_answered(message["status"], message["headers"]))
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            self._tell(cast("HTTPScope", scope), answered, clock() - began_seconds)

    def _tell(self, scope: HTTPScope, answered: dict[str, int], seconds: float) -> None:
        route = _route(scope)
        # Where there is no route, its path is anybody's invention; where no answer, no status.
        if route and "status" in answered:
            self._service.measures.requested(scope["method"], route, answered["status"], seconds)
        if _log.isEnabledFor(logging.INFO):
            took = round(seconds * _MILLISECONDS, 1)
            _log.info("request", extra={**_said(scope), **answered, "duration_ms": took})


def _route(scope: HTTPScope) -> str:
    route: str = cast("dict[str, Any]", scope).get("path_template", "")
    return route


def _answered(status: int, headers: Iterable[tuple[bytes, bytes]]) -> dict[str, int]:
    for name, value in headers:
        if name == _POSITION:
            return {"status": status, "position": int(value)}
    return {"status": status}


def _said(scope: HTTPScope) -> dict[str, Any]:
    """Answer what the request was, as far as it got: a stranger's has no principal."""
    state = scope["state"]
    said = {
        "request_id": state.get("request_id", ""),
        "method": scope["method"],
        "route": _route(scope),
    }
    call: Call | None = state.get("call")
    if call is not None:
        if "tenant" in call.parameters:
            said["tenant"] = call.parameters["tenant"]
        said["principal_id"] = call.caller.principal
        if call.caller.token is not None:
            said["token_id"] = call.caller.token.id
    return said
