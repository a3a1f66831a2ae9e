"""Who may see how the process fares, in the form in which a Prometheus server asks? (operations 1).

What is told names no tenant, principal or resource; still it tells an outsider how busy a house
is, so it needs a right, which is judged in the tenant `main`.
"""

from __future__ import annotations

import asyncio
from typing import Final

from litestar import Response, get
from litestar.di import NamedDependency

from api.call import POSITION_HEADER, Call, needs_in
from api.request_errors import MalformedError
from domain.ids import MAIN
from domain.permissions import Permission

VIEW: Final = Permission("METRICS", "VIEW")

_MEDIA_TYPE: Final = "text/plain; version=0.0.4"


@get(
    "/metrics",
    opt={**needs_in(MAIN, VIEW), "answers": ("text/plain",), "bare": True},
    operation_id="getMetrics",
    summary="How this process fares, for Prometheus",
    tags=["health"],
)
async def scrape(call: NamedDependency[Call]) -> Response[bytes]:
    """Tell the metrics of this process; of several, each is asked for itself."""
    if call.query:
        raise MalformedError("query.invalid", "metrics are of now, and take no parameters")
    page = await asyncio.to_thread(call.service.metrics)
    headers = {POSITION_HEADER: str(call.state.position)}
    return Response(page, media_type=_MEDIA_TYPE, headers=headers)
