"""Where do checkpoints leave the house, so that whoever rewrites the log here is found out there?

Each is given at least once and in order (transparency-log 4). A place that cannot take one is
asked again and never passed over.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from ops.settings import SettingsError

if TYPE_CHECKING:
    from api.evidence import Signed
    from ops.checkpoints import Checkpoints

OUTPUT: Final = "-"
PAGE: Final = 100

_LAST: Final = "last"


class Sink(Protocol):
    """A place for checkpoints."""

    def last(self) -> int:
        """Answer the number of the last checkpoint that it has, 0 for none."""
        ...

    def write(self, signed: Signed) -> None:
        """Take a checkpoint for good; raises OSError where it cannot."""
        ...


class Directory:
    """A file for each note, and in the file `last` the number of the last one."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def last(self) -> int:
        """Answer the number of the last checkpoint that it has, 0 for none."""
        try:
            return int((self._path / _LAST).read_text(encoding="ascii"))
        except FileNotFoundError:
            return 0

    def write(self, signed: Signed) -> None:
        """Write the note, whole or not at all and synced, and then its number."""
        self._put(f"{signed.number:012}-{signed.size}.checkpoint", signed.note)
        self._put(_LAST, f"{signed.number}\n")

    def _put(self, name: str, content: str) -> None:
        unfinished = self._path / f".{name}.unfinished"
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._path / name)


class Output:
    """A line of JSON on standard output for each note, among the lines of the log."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints

    def last(self) -> int:
        """Answer the number of the last checkpoint that was written."""
        return self._checkpoints.shipped(OUTPUT)

    def write(self, signed: Signed) -> None:
        """Write the line, and note that it was written."""
        line = msgspec.json.encode({"checkpoint": signed.note}).decode()
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        self._checkpoints.ship(OUTPUT, signed.number)


def open_sink(setting: str, checkpoints: Checkpoints) -> Sink | None:
    """Answer the sink of a setting: a directory, `-` for standard output, empty for none.

    Raises SettingsError for what is no directory.
    """
    if not setting:
        return None
    if setting == OUTPUT:
        return Output(checkpoints)
    if not Path(setting).is_dir():
        raise SettingsError(f"CHECKPOINT_SINK: {setting} is no directory")
    return Directory(Path(setting))


def ship(sink: Sink, checkpoints: Checkpoints, after: int) -> int:
    """Give a sink what follows a number, oldest first; answer the number it has come to."""
    while page := checkpoints.following(after, PAGE):
        for signed in page:
            sink.write(signed)
            after = signed.number
    return after
