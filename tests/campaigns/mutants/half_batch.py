"""What if a batch were appended in several transactions? (reliability 1: `half_batch`)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ops import stores
from ops.event_log import SQLiteLog
from tests.campaigns.mutants.start import broken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.events import Record

# Long enough for a handful of kills to meet it.
BETWEEN_SECONDS: Final = 0.1


class HalvingLog(SQLiteLog):
    """Appends record by record."""

    def append(self, position: int, records: Sequence[Record]) -> None:
        """Store each record in a transaction of its own."""
        for number, record in enumerate(records):
            super().append(position + number, [record])
            time.sleep(BETWEEN_SECONDS)


if __name__ == "__main__":
    broken(stores, "SQLiteLog", HalvingLog)
