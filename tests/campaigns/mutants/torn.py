"""What if a sink's files took a batch in two parts, the second so late that a kill comes first?

Nothing is wrong with that but the pause. What is left of a line is for the next start to mend.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from ops.sink_targets import Files
from tests.campaigns.mutants.start import broken

if TYPE_CHECKING:
    from pathlib import Path

PAUSE_SECONDS: Final = 60.0
# So much is taken at once before the one that is torn.
WHOLE_BYTES: Final = 20_000

_TAKE = Files.take


def take_in_two(self: Files, lines: bytes) -> None:
    """Append whole lines at first, then half a line, and wait."""
    directory: Path = self._directory
    written = sum(path.stat().st_size for path in directory.glob("*"))
    if written < WHOLE_BYTES:
        _TAKE(self, lines)
        return
    path = max(directory.glob("*"))
    with path.open("ab") as file:
        file.write(lines[: lines.find(b"\n") // 2])
        file.flush()
        os.fsync(file.fileno())
    time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    broken(Files, "take", take_in_two)
