"""What if commits were left to the system to sync some time later? (reliability 1: `sync_normal`).

`synchronous=NORMAL` in SQLite, `synchronous_commit=off` in PostgreSQL, where the server is asked
to refuse neither.
"""

from __future__ import annotations

from ops import event_log, postgres
from tests.campaigns.mutants.start import broken

PRAGMAS = tuple(
    ("synchronous", "NORMAL", 1) if name == "synchronous" else (name, value, expected)
    for name, value, expected in event_log.DURABLE_PRAGMAS
)

if __name__ == "__main__":
    postgres.SESSION_OPTIONS += " -c synchronous_commit=off"
    postgres.REQUIRED_SETTINGS["synchronous_commit"] = ("off",)
    broken(event_log, "DURABLE_PRAGMAS", PRAGMAS)
