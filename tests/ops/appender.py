"""How does one of several processes append to a log that all of them share?

Run as a program: `python -m tests.ops.appender URL_OR_PATH MARK COUNT`, after a line on standard
input; it prints how many conflicts it met.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ops.event_log import PostgresLog, SQLiteLog
from ops.store_errors import PositionTakenError, StoreSlowError
from tests.ops.log_stores import records


def append_all(log: SQLiteLog | PostgresLog, mark: str, count: int) -> int:
    """Append `count` records one by one at whatever is the head; return the conflicts met."""
    conflicts = done = 0
    while done < count:
        with log.turn():
            position = log.head() + 1
            try:
                log.append(position, records(position, 1, f"{mark}.{done}"))
            except (PositionTakenError, StoreSlowError):
                conflicts += 1
                continue
        done += 1
    return conflicts


def main() -> None:
    """Open the log that the arguments name and append to it when told to."""
    place, mark, count = sys.argv[1:]
    log = SQLiteLog(Path(place)) if place.startswith("/") else PostgresLog(place)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    sys.stdout.write(f"{append_all(log, mark, int(count))}\n")
    log.close()


if __name__ == "__main__":
    main()
