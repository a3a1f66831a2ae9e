"""Does the process serve, and is it ready? (operations 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import Response, get
from msgspec import UNSET, Struct, UnsetType

from api.call import OPEN

if TYPE_CHECKING:
    from api.service import Service


class Readiness(Struct, frozen=True, kw_only=True):
    """Why the process is or is not ready."""

    ready: bool
    reason: str | UnsetType = UNSET
    applied_position: int
    head_position: int
    staleness_seconds: float


def routes(service: Service) -> list[Any]:
    """Answer the two probes; they write nothing and cost no query of their own."""

    @get(
        "/livez", opt=OPEN, sync_to_thread=False, operation_id="getLiveness", summary="Is it alive?"
    )
    def livez() -> dict[str, bool]:
        """Tell that the process serves."""
        return {"live": True}

    @get(
        "/readyz",
        opt={**OPEN, "also": (503,)},
        sync_to_thread=False,
        operation_id="getReadiness",
        summary="Is it ready?",
    )
    def readyz() -> Response[Readiness]:
        """Tell whether the process is at the head and may answer."""
        health = service.health()
        reason = health.reason or ("halted" if health.views_halted else "")
        body = Readiness(
            ready=not reason,
            reason=reason or UNSET,
            applied_position=service.state.position,
            head_position=health.head_position,
            staleness_seconds=round(health.staleness_seconds, 3),
        )
        return Response(body, status_code=503 if reason else 200)

    return [livez, readyz]
