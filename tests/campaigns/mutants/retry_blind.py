"""What if a lost race were appended again, undecided? (reliability 1: `retry_blind`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from ops import stores
from ops.event_log import PostgresLog
from ops.store_errors import PositionTakenError
from tests.campaigns.mutants.start import broken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.events import Record


class BlindLog(PostgresLog):
    """Gives the same events the next free positions."""

    def append(self, position: int, records: Sequence[Record]) -> None:
        """Append until it works."""
        while True:
            try:
                super().append(position, records)
            except PositionTakenError:
                position = self.head() + 1
                records = [
                    replace(record, position=position + number)
                    for number, record in enumerate(records)
                ]
            else:
                return


if __name__ == "__main__":
    broken(stores, "PostgresLog", BlindLog)
