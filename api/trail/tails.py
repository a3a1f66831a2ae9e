"""Who follows the log live now, and how are all of them told of news at once?

Nothing is queued for anyone: a reader that is told reads on by position. So news cost one call,
however many readers there are, and a slow one costs no memory.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from api.request_errors import ThrottledError, UnavailableError

if TYPE_CHECKING:
    from domain.ids import PrincipalId

# A process has places for so many, and each caller may take so many of them (security 6.2).
TAILS_MAX: Final = 100
TAILS_A_PRINCIPAL_MAX: Final = 5
_RETRY_SECONDS: Final = 5


class Pace(Struct, frozen=True, kw_only=True):
    """How often a silent stream tells how far it is, how often its caller is judged without news.

    A client that takes nothing for `drained_seconds` is cut; `farewell_seconds` are left to tell
    it so, in which the server may close the connection by itself.
    """

    told_seconds: float = 15.0
    judged_seconds: float = 3.0
    drained_seconds: float = 15.0
    farewell_seconds: float = 60.0


class Tails:
    """The places of one process, and the news; used from the event loop only."""

    def __init__(self, pace: Pace | None = None) -> None:
        self.pace = pace or Pace()
        self._taken: Counter[PrincipalId] = Counter()
        self._news: asyncio.Future[None] | None = None

    @contextmanager
    def place(self, principal: PrincipalId) -> Generator[None, None, None]:
        """Hold a place for a caller; ThrottledError or UnavailableError `tail.too_many`."""
        if self._taken[principal] >= TAILS_A_PRINCIPAL_MAX:
            raise ThrottledError("tail.too_many", _RETRY_SECONDS)
        if len(self) >= TAILS_MAX:
            raise UnavailableError("tail.too_many", _RETRY_SECONDS)
        self._taken[principal] += 1
        try:
            yield
        finally:
            self._taken[principal] -= 1
            if not self._taken[principal]:
                del self._taken[principal]

    def __len__(self) -> int:
        """Answer how many places are taken."""
        return self._taken.total()

    def news(self) -> asyncio.Future[None]:
        """Answer what is done at the next news; take it before looking, to miss none."""
        if self._news is None or self._news.done():
            self._news = asyncio.get_running_loop().create_future()
        return self._news

    def wake(self) -> None:
        """Tell every reader that there is something to look at."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
