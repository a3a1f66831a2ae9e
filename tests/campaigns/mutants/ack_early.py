"""What if callers were told before their events are appended? (reliability 1: `ack_early`)."""

from __future__ import annotations

import time
from typing import Final

from ops import wiring
from ops.writer import Pending, Writer
from tests.campaigns.mutants.start import broken

# Long enough for a handful of kills to meet it.
LATE_SECONDS: Final = 0.15


class EarlyWriter(Writer):
    """Decides and tells, and appends some time later."""

    def _write(self, pending: list[Pending]) -> int:
        batch = self._decided(pending)
        publication = batch.publication()
        self._state = publication.state
        self._publish(publication)
        time.sleep(LATE_SECONDS)
        if batch.records:
            self._log.append(batch.records[0].position, batch.records)
        return len(batch.settled)


if __name__ == "__main__":
    broken(wiring, "Writer", EarlyWriter)
