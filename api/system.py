"""How does this process stand, for its owner to see?"""

from __future__ import annotations

from typing import Any, Final

from litestar import Response, get
from litestar.di import NamedDependency

from api.call import OWNER, Call
from api.journal import Tally


@get(
    "/system/journal",
    opt=OWNER,
    operation_id="getJournalStanding",
    summary="How much this process has written to the journal, only counted, or dropped",
)
async def journal(call: NamedDependency[Call]) -> Response[Tally]:
    return call.answer(call.service.journal.tally())


ROUTES: Final[list[Any]] = [journal]
