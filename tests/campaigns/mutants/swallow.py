"""What if an I/O error of the log were passed over? (reliability D4: the error is swallowed)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops import stores
from ops.event_log import SQLiteLog
from ops.store_errors import StoreBrokenError
from tests.campaigns.mutants.start import broken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.events import Record


class SwallowingLog(SQLiteLog):
    """Calls stored what may not be."""

    def append(self, position: int, records: Sequence[Record]) -> None:
        """Append, and say that it went well."""
        try:
            super().append(position, records)
        except StoreBrokenError:
            return


if __name__ == "__main__":
    broken(stores, "SQLiteLog", SwallowingLog)
