"""What if a commit whose answer is lost were taken for done? (reliability A3)."""

from __future__ import annotations

from ops.event_log import PostgresLog
from tests.campaigns.mutants.start import broken


def hope(_log: PostgresLog, _position: int, *_records: object) -> None:
    """Look for nothing."""


if __name__ == "__main__":
    broken(PostgresLog, "_settle", hope)
