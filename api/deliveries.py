"""How far has each sink come, and how does it fare?"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from msgspec import Struct

from domain.ids import SinkId


class Ledger(Struct, frozen=True, kw_only=True):
    """What is kept of a sink beside the log; the receiver has everything up to `position`.

    `begun` is where in the log the present run was asked for, `halted` the sink's last change
    when it gave up: a later one, such as a resumption, lets it go on.
    """

    position: int
    begun: int
    failures: int = 0
    error: str = ""
    delivered_at: datetime | None = None
    next_try: datetime | None = None
    halted: int | None = None


class Ledgers(Protocol):
    """The ledgers of all sinks."""

    def all(self) -> dict[SinkId, Ledger]:
        """Answer them by the sinks' ids; blocks while it reads."""
        ...
