"""How does a small process acknowledge appends to a log in a file, well built or broken?

Run as a program under strace: `python -m tests.ops.durable_appender PATH COUNT BUILD`. It writes
a line to standard output after each append that returned, and ends with status 10 when the log
breaks. BUILD is `right`, a broken setting of `synchronous`, or `swallow` for one that goes on
after a failed sync.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ops import event_log
from ops.event_log import SQLiteLog
from ops.store_errors import StoreBrokenError
from tests.ops.log_stores import records

ACKNOWLEDGEMENT = "acknowledged"
EXIT_BROKEN = 10


def main() -> None:
    """Append and acknowledge."""
    path, count, build = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    if build in {"NORMAL", "OFF"}:
        values = {"NORMAL": 1, "OFF": 0}
        broken = [pragma for pragma in event_log.DURABLE_PRAGMAS if pragma[0] != "synchronous"]
        event_log.DURABLE_PRAGMAS = (("synchronous", build, values[build]), *broken)
    log = SQLiteLog(path)
    first = log.head() + 1
    for position in range(first, first + count):
        try:
            log.append(position, records(position))
        except StoreBrokenError:
            if build != "swallow":
                attempt_again(log, position)
                # No clean-up: closing would write and sync what nothing is known of.
                os._exit(EXIT_BROKEN)
        os.write(1, f"{ACKNOWLEDGEMENT} {position}\n".encode())
    log.close()


def attempt_again(log: SQLiteLog, position: int) -> None:
    """Append once more, as a writer might that does not know better; it must be in vain."""
    try:
        log.append(position, records(position))
    except StoreBrokenError:
        return
    os.write(1, f"{ACKNOWLEDGEMENT} {position}\n".encode())


if __name__ == "__main__":
    main()
