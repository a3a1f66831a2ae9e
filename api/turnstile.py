"""How many long answers are under way, and does another one still fit? (security 6.2 and 6.7)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from api.request_errors import ThrottledError, UnavailableError

if TYPE_CHECKING:
    from domain.ids import PrincipalId

A_PRINCIPAL_MAX: Final = 2
ALL_MAX: Final = 10
WORKING_MAX: Final = 2
RETRY_AFTER_SECONDS: Final = 5.0


class Turnstile:
    """Lets in so many at once; `turn` is the right to work for a moment, which few have."""

    def __init__(self) -> None:
        self.turn = asyncio.Semaphore(WORKING_MAX)
        self._inside: Counter[PrincipalId] = Counter()

    @contextmanager
    def passing(self, principal: PrincipalId) -> Generator[None]:
        """Be inside; raises ThrottledError and UnavailableError `export.too_many`."""
        if self._inside[principal] >= A_PRINCIPAL_MAX:
            raise ThrottledError("export.too_many", RETRY_AFTER_SECONDS)
        if self._inside.total() >= ALL_MAX:
            raise UnavailableError("export.too_many", RETRY_AFTER_SECONDS)
        self._inside[principal] += 1
        try:
            yield
        finally:
            self._inside[principal] -= 1
            if not self._inside[principal]:
                del self._inside[principal]
