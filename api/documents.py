"""What can a client read about this service itself: its description, its error codes?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from litestar import Request, Response, get
from litestar.params import FromPath

from api import openapi, problems
from api.call import OPEN
from domain.errors import NotFoundError

if TYPE_CHECKING:
    from api.service import Service


def routes(service: Service) -> list[Any]:
    """Answer the two routes; both are open, and both say nothing of what is stored."""
    settings = service.settings
    making: asyncio.Task[bytes] | None = None

    @get("/openapi.json", opt=OPEN, operation_id="getOpenApi", summary="This document")
    async def description(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
        # Made at the first request and off the loop; those who come meanwhile wait for the same.
        nonlocal making
        if making is None or (making.done() and making.exception() is not None):
            making = asyncio.create_task(
                asyncio.to_thread(
                    openapi.encoded,
                    request.app,
                    version=settings.version,
                    public_url=settings.public_url,
                )
            )
        body: Response[Any] = Response(await asyncio.shield(making), media_type="application/json")
        return body

    @get(
        "/problems/{code:str}",
        opt={**OPEN, "answers": "text/plain"},
        operation_id="getProblem",
        summary="What a code of an error means",
    )
    async def explanation(code: FromPath[str]) -> Response[bytes]:
        text = problems.page(code)
        if text is None:
            raise NotFoundError("object.unknown", "there is no such code")
        return Response(text, media_type="text/plain; charset=utf-8")

    return [description, explanation]
