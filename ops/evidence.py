"""What can the routes be told of the checkpoints, without the event loop waiting for a disk?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from api.request_errors import UnavailableError
from ops.store_errors import StoreSlowError, StoreUnreachableError

if TYPE_CHECKING:
    from api.evidence import Origin, Signed, SigningKey
    from domain.events import Record
    from ops.checkpoints import Checkpoints
    from ops.sealing import Sealer

T = TypeVar("T")

WAIT_SECONDS: Final = 1.0


class StoredEvidence:
    """Reads what was signed, and the log, each off the loop."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        sealer: Sealer,
        *,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._checkpoints = checkpoints
        self._sealer = sealer
        self._wait_seconds = wait_seconds

    @property
    def sealed_through(self) -> int:
        """The last position that a signed checkpoint covers, as far as this process knows."""
        return self._sealer.sealed_through

    async def last(self, origin: str | None = None) -> Signed | None:
        """Answer the newest checkpoint of an origin, by default the present one."""
        return await _ask(lambda: self._checkpoints.last(origin))

    async def covering(self, size: int) -> Signed | None:
        """Answer the newest checkpoint, signed now where the last one covers less than this."""
        last = await self.last()
        if (last is None or last.size < size) and await self._sealer.wait_for(
            size, self._wait_seconds
        ):
            return await self.last()
        return last

    async def of_size(self, size: int) -> Signed | None:
        """Answer the checkpoint of the present origin that has exactly this size."""
        return await _ask(lambda: self._checkpoints.of_size(size))

    async def listed(self, before: int | None, limit: int) -> tuple[Signed, ...]:
        """Answer checkpoints of every origin, newest first, from before this number on."""
        return await _ask(lambda: self._checkpoints.listed(before, limit))

    async def origins(self) -> tuple[Origin, ...]:
        """Answer every origin, the present one last."""
        return await _ask(self._checkpoints.origins)

    async def keys(self) -> tuple[SigningKey, ...]:
        """Answer every key of every origin, in the order of their coming."""
        return await _ask(self._checkpoints.signing_keys)

    async def note(self, text: str) -> str:
        """Answer the text as a note, signed by every key that signs now."""
        return await _ask(lambda: self._sealer.note(text))

    async def record(self, position: int) -> Record | None:
        """Answer the record at a position, exactly as it is stored."""
        return await _ask(lambda: self._sealer.record(position))


async def _ask(question: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(question)
    except (SQLAlchemyError, StoreUnreachableError, StoreSlowError) as fault:
        raise UnavailableError("store.unreachable", 1) from fault
