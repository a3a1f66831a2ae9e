"""What has been signed of the log, under which origins, and by which keys?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from domain.events import Record
    from projections.verifier import VerifierKey


class Signed(Struct, frozen=True, kw_only=True):
    """A checkpoint that was signed, and is never signed otherwise.

    `number` counts all of an installation, whatever their origin; `size` is the position of the
    last event that it covers.
    """

    number: int
    origin: str
    size: int
    root: bytes
    note: str
    at: datetime


class SigningKey(Struct, frozen=True, kw_only=True):
    """A key that signs, or has signed, the notes of an origin; from `retired` on it signs none."""

    verifier: VerifierKey
    since: datetime
    retired: datetime | None


class Origin(Struct, frozen=True, kw_only=True):
    """The name under which a tree is published.

    A log that was restored to less than was published goes on under a new one: its tree is equal
    to the former origin's up to `continues_from`, and not beyond.
    """

    number: int
    name: str
    begun: datetime
    continues_from: int


class Evidence(Protocol):
    """What the routes ask of the signer."""

    @property
    def sealed_through(self) -> int:
        """The last position that a signed checkpoint covers, as far as this process knows."""
        ...

    async def last(self, origin: str | None = None) -> Signed | None:
        """The newest checkpoint of an origin, by default the present one; None before the first."""
        ...

    async def covering(self, size: int) -> Signed | None:
        """The newest checkpoint; signed now, within a bound, where it covers less than that."""
        ...

    async def of_size(self, size: int) -> Signed | None:
        """The checkpoint of the present origin that has exactly this size."""
        ...

    async def listed(self, before: int | None, limit: int) -> tuple[Signed, ...]:
        """Checkpoints of every origin, newest first, from before this number on."""
        ...

    async def origins(self) -> tuple[Origin, ...]:
        """Every origin, the present one last."""
        ...

    async def keys(self) -> tuple[SigningKey, ...]:
        """Every key of every origin, in the order of their coming."""
        ...

    async def note(self, text: str) -> str:
        """The text with a signature by every key that signs now: it must be no checkpoint's."""
        ...

    async def record(self, position: int) -> Record | None:
        """The record at a position, exactly as it is stored."""
        ...
