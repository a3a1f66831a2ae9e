"""What if the log were not synced before it is acknowledged? (reliability 1: `sync_normal`)."""

from __future__ import annotations

from ops import event_log
from tests.campaigns.mutants.start import broken

PRAGMAS = tuple(
    ("synchronous", "OFF", 0) if name == "synchronous" else (name, value, expected)
    for name, value, expected in event_log.DURABLE_PRAGMAS
)

if __name__ == "__main__":
    broken(event_log, "DURABLE_PRAGMAS", PRAGMAS)
