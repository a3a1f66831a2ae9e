"""From which file can a process know a state again, without replaying the log that led to it?

A snapshot is disposable: whatever does not fit (another log, another history, another release's
shape, a damaged byte) is discarded, and the log is replayed.
"""

from __future__ import annotations

import hashlib
import os
import sys
from array import array
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin

import msgspec
from msgspec import Struct, structs

from domain.state import State
from ops.packed_state import NUMBER, POSITION, PackedState, pack
from ops.unpacked_state import unpack
from projections import transparency

if TYPE_CHECKING:
    from pathlib import Path

    from domain.events import LogReader, Record

# The first number is to be raised when the same fields are written in another way; the rest is
# what the bytes of a column mean on this machine.
_LAYOUT: Final = (2, sys.byteorder, array(NUMBER).itemsize, array(POSITION).itemsize)
_MODE: Final = 0o600


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
