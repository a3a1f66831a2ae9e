"""From which files can a process know a state again, without replaying the log that led to it?

A snapshot is disposable: whatever does not fit (another log, another history, another release's
shape, a damaged byte) is discarded, and the log is replayed. The last one spares a start the
replay; older ones, far apart, spare it whoever asks about the past.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
from array import array
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin

import msgspec
from msgspec import Struct, structs

from domain.state import State
from ops.packed_state import NUMBER, POSITION, PackedState, pack
from ops.store_errors import StoreError
from ops.unpacked_state import unpack
from projections import transparency
from projections.history import SAVED_POSITIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from domain.events import LogReader, Record

# The first number is to be raised when the same fields are written in another way; the rest is
# what the bytes of a column mean on this machine.
_LAYOUT: Final = (2, sys.byteorder, array(NUMBER).itemsize, array(POSITION).itemsize)
_MODE: Final = 0o600
_DIRECTORY_MODE: Final = 0o700

# A replay of so many events is not felt at a start.
SPARED_POSITIONS: Final = 10_000

_NAME: Final = re.compile(r"state-([0-9]{1,18})\.snapshot\Z")

_log = logging.getLogger("muniment.snapshots")


class Header(Struct, frozen=True, kw_only=True):
    """What must fit before a byte of the body is believed."""

    format: str
    log_id: str
    position: int
    leaf_hash: bytes
    body_sha256: bytes


class _File(Struct, array_like=True):
    header: Header
    body: memoryview


_FILE_DECODER: Final = msgspec.msgpack.Decoder(_File)
_BODY_DECODER: Final = msgspec.msgpack.Decoder(PackedState)


def leaf_hash(record: Record) -> bytes:
    """Answer the record's leaf in the transparency log: it stands for the whole history's end."""
    return transparency.leaf(record)


def save(path: Path, state: State, leaf: bytes) -> None:
    """Write the state; `leaf` is `leaf_hash` of the record at its position.

    The file appears whole or not at all. It is not synced: damage is noticed by its hash.
    """
    body = msgspec.msgpack.encode(pack(state))
    header = Header(
        format=FORMAT,
        log_id=state.log_id,
        position=state.position,
        leaf_hash=leaf,
        body_sha256=hashlib.sha256(body).digest(),
    )
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.msgpack.encode(_File(header, memoryview(body))))
    unfinished.replace(path)


def load(path: Path, log: LogReader) -> State | None:
    """Answer the state of the file, None where there is none or it does not fit the log.

    It fits when format, log id and body's hash are right, and the log's record at the position
    is the one that the state was saved at. A caller in a hurry turns the collector off before.
    """
    try:
        written = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        file = _FILE_DECODER.decode(written)
        if not _fits(file, log):
            return None
        return unpack(_BODY_DECODER.decode(file.body))
    except msgspec.DecodeError:
        return None


def _fits(file: _File, log: LogReader) -> bool:
    header = file.header
    if header.format != FORMAT or header.log_id != log.log_id or header.position < 1:
        return False
    if hashlib.sha256(file.body).digest() != header.body_sha256:
        return False
    records = log.read(header.position - 1, 1)
    return bool(records) and leaf_hash(records[0]) == header.leaf_hash


class Snapshots:
    """The snapshots of one log in a directory; for one thread at a time, as its reader is."""

    def __init__(self, directory: Path, log: LogReader) -> None:
        self._directory = directory
        self._log = log

    def last(self) -> State | None:
        """Answer the state that is furthest on, if any fits."""
        return self.between(0, sys.maxsize)

    def between(self, after: int, position: int) -> State | None:
        """Answer the last state behind the one position and not behind the other, if any fits.

        What does not fit is removed.
        """
        for found, path in reversed(self._paths()):
            if after < found <= position:
                state = load(path, self._log)
                if state is not None and state.position == found:
                    return state
                path.unlink(missing_ok=True)
        return None

    def save(self, state: State) -> None:
        """Write a state that some way has come to, and remove what it makes needless.

        A disk that is full or broken, or a log out of reach, costs the snapshot and nothing else.
        """
        paths = dict(self._paths())
        if state.position - max((one for one in paths if one <= state.position), default=0) < (
            SPARED_POSITIONS
        ):
            return
        path = self._directory / f"state-{state.position}.snapshot"
        try:
            self._directory.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
            (record,) = self._log.read(state.position - 1, 1)
            save(path, state, leaf_hash(record))
        except (OSError, StoreError) as fault:
            _log.warning("a snapshot was not written", extra={"reason": type(fault).__name__})
            return
        for needless in _needless([*paths, state.position]):
            paths[needless].unlink(missing_ok=True)

    def _paths(self) -> list[tuple[int, Path]]:
        """Answer the snapshots by position; files of former names are removed."""
        found: list[tuple[int, Path]] = []
        for path in self._directory.glob("*.snapshot"):
            name = _NAME.match(path.name)
            if name is None:
                path.unlink(missing_ok=True)
            else:
                found.append((int(name[1]), path))
        return sorted(found)


def _needless(positions: Iterable[int]) -> Iterator[int]:
    """Yield which positions are too near to the one before, the last apart."""
    kept = 0
    *earlier, _ = sorted(positions)
    for position in earlier:
        if position // SAVED_POSITIONS > kept // SAVED_POSITIONS:
            kept = position
        else:
            yield position


# The format


def described(hint: Any) -> str:  # noqa: ANN401 - any annotation
    """Answer a text that changes whenever the annotation, or a field of a Struct in it, does."""
    if isinstance(hint, type) and issubclass(hint, Struct):
        fields = (f"{field.name}:{described(field.type)}" for field in structs.fields(hint))
        return f"{hint.__qualname__}({','.join(fields)})"
    inner = get_args(hint)
    if not inner:
        return repr(hint)
    return f"{get_origin(hint)!r}[{','.join(described(one) for one in inner)}]"


def format_of(state: type[Struct]) -> str:
    """Answer the version of the format: the hash of the shape of everything in the state."""
    return hashlib.sha256(f"{_LAYOUT} {described(state)}".encode()).hexdigest()


FORMAT: Final = format_of(State)
