"""How does a file come to be, whole or not at all, and never in the place of another?"""

from __future__ import annotations

from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from ops.cli.failures import Failure
from ops.cli.main import INVALID

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def require_new(path: Path) -> None:
    """Refuse to write over a file that is there."""
    if path.exists():
        raise Failure(f"{path} is there already", INVALID)


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that has its name only when it is whole and synced, and is gone if it is not."""
    import os
    import tempfile
    from pathlib import Path as File

    begin = f".{path.name}."
    descriptor, name = tempfile.mkstemp(prefix=begin, suffix=".unfinished", dir=path.parent)
    unfinished = File(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        # Where it is whole it has another name by now.
        unfinished.unlink(missing_ok=True)
