"""What can a client read about this service itself: description, error codes, where checks are?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from litestar import Request, Response, get
from litestar.params import FromPath
from msgspec import Struct

from api import checks, openapi, problems, searches
from api.call import OPEN
from domain.errors import NotFoundError

if TYPE_CHECKING:
    from api.service import Service

WELL_KNOWN: Final = "/.well-known/authzen-configuration"


class AuthzenConfiguration(Struct, frozen=True, kw_only=True):
    """Where a client finds the check API, in the words of AuthZEN 1.0."""

    policy_decision_point: str
    access_evaluation_endpoint: str
    access_evaluations_endpoint: str
    search_subject_endpoint: str
    search_resource_endpoint: str
    search_action_endpoint: str


def routes(service: Service) -> list[Any]:
    """Answer the open routes; none of them says anything of what is stored."""
    making: asyncio.Task[bytes] | None = None

    @get("/openapi.json", opt=OPEN, operation_id="getOpenApi", summary="This document")
    async def description(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
        # Made at the first request and off the loop; those who come meanwhile wait for the same.
        nonlocal making
        settings = service.settings
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
        opt={**OPEN, "answers": ("text/plain",)},
        operation_id="getProblem",
        summary="What a code of an error means",
    )
    async def explanation(code: FromPath[str]) -> Response[bytes]:
        text = problems.page(code)
        if text is None:
            raise NotFoundError("object.unknown", "there is no such code")
        return Response(text, media_type="text/plain; charset=utf-8")

    # The well-known part goes between the host and what follows it (authzen 8).
    beneath = unquote(urlsplit(service.settings.public_url).path)

    @get(
        WELL_KNOWN + beneath,
        opt=OPEN,
        sync_to_thread=False,
        operation_id="getAuthzenConfiguration",
        summary="Where the check API is",
    )
    def configuration() -> AuthzenConfiguration:
        """Tell the addresses by the public one, whatever Host the request came to."""
        public_url = service.settings.public_url
        return AuthzenConfiguration(
            policy_decision_point=public_url,
            access_evaluation_endpoint=public_url + checks.EVALUATION,
            access_evaluations_endpoint=public_url + checks.EVALUATIONS,
            search_subject_endpoint=public_url + searches.SUBJECTS,
            search_resource_endpoint=public_url + searches.RESOURCES,
            search_action_endpoint=public_url + searches.ACTIONS,
        )

    return [description, explanation, configuration]
