"""Which requests came, by whom, and how did each end?

One record a request (operations 3): the route's template and ids, never a body, a query string,
a name or a path that was sent. The hot check endpoints stand in front of this and are measured,
not logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, cast

from api.call import POSITION_HEADER, Call

if TYPE_CHECKING:
    from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

_POSITION: Final = POSITION_HEADER.lower().encode()
_MILLISECONDS: Final = 1_000

_log = logging.getLogger("muniment.requests")


class RequestLog:
    """An ASGI application that passes every request on and writes a record when it is answered.

    `clock` answers seconds from any fixed moment.
    """

    def __init__(self, app: ASGIApp, clock: Callable[[], float]) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        kind: str = scope["type"]
        if kind != "http" or not _log.isEnabledFor(logging.INFO):
            await self._app(scope, receive, send)
            return
        began_seconds = self._clock()
        answered: dict[str, int] = {}

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered.update(_answered(message["status"], message["headers"]))
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            took = round((self._clock() - began_seconds) * _MILLISECONDS, 1)
            said = _said(cast("HTTPScope", scope))
            _log.info("request", extra={**said, **answered, "duration_ms": took})


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
        "route": cast("dict[str, Any]", scope).get("path_template", ""),
    }
    call: Call | None = state.get("call")
    if call is not None:
        if "tenant" in call.parameters:
            said["tenant"] = call.parameters["tenant"]
        said["principal_id"] = call.caller.principal
        if call.caller.token is not None:
            said["token_id"] = call.caller.token.id
    return said
