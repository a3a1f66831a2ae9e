"""What can the HTTP server do by itself? An application that answers 60 fixed bytes of JSON.

The limit of everything served over HTTP (performance 4): uvicorn, uvloop, httptools, one process,
no access log; the body is not read. `python -m ops.bench.bare` prints where it listens.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import TYPE_CHECKING, Any, cast

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_BODY = b'{"decision":true,"context":{"reason":"sixty bytes of JSON"}}'
_START: dict[str, Any] = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"60")],
}
_END: dict[str, Any] = {"type": "http.response.body", "body": _BODY}


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer every request alike."""
    del scope, receive
    await send(_START)
    await send(_END)


def main() -> None:
    """Serve on any free port of loopback until told to stop."""
    config = uvicorn.Config(
        cast("Any", application),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
    )
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as bound:
        sys.stdout.write(f"listening on http://127.0.0.1:{bound.getsockname()[1]}\n")
        sys.stdout.flush()
        asyncio.run(uvicorn.Server(config).serve([bound]))


if __name__ == "__main__":
    main()
