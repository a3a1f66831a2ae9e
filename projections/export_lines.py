"""How does an event stand in a line of an export, so that its leaf follows from the line alone?

A line is one JSON object. `position`, `topic` and `envelope` are always there, and enough for the
tree: `envelope` is base64 (RFC 4648, section 4) of the bytes exactly as they are stored, and
SHA-256 of 0x00, topic, 0x0A and those bytes is the leaf. What stands beside them is for whoever
reads it (audit-export 3): the members of the envelope under their own names, a sealed value as
`{"sealed": true}` or as the export shows it, and `leaf_hash`, base64. It may be left out; where it
is there it has to say what the envelope says, so that no export can show one thing and prove
another.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeGuard

import msgspec

from domain.events import Record
from projections.transparency import leaf
from projections.verifier import Checkpoint, ProofError
from projections.witness import Witness

LINE_BYTES_MAX: Final = 1_048_576

# The members of a value that only the vault opens (domain.sealed).
_SEALED: Final = frozenset({"key", "command_id", "text", "commit"})
_COORDINATES: Final = frozenset({"position", "topic", "leaf_hash", "envelope"})

Shown = Callable[[str, dict[str, Any]], object]


def closed(field: str, sealed: dict[str, Any]) -> object:
    """Answer what stands for a sealed value of a field that is not shown."""
    del field, sealed
    return {"sealed": True}


def write(record: Record, shown: Shown = closed) -> bytes:
    """Answer the line of a record, its end included; `shown` answers for each sealed value.

    Raises msgspec.DecodeError for a record whose bytes are no envelope.
    """
    envelope: dict[str, Any] = msgspec.json.decode(record.state, type=dict[str, Any])
    members = {name: _open(name, value, shown) for name, value in envelope.items()}
    line = {
        "position": record.position,
        "topic": record.topic,
        **members,
        "leaf_hash": _base64(leaf(record)),
        "envelope": _base64(record.state),
    }
    return msgspec.json.encode(line) + b"\n"


def read(line: bytes) -> tuple[Record, bytes | None]:
    """Answer the record of a line, and the leaf that the line names, None where it names none.

    Raises ProofError `export.malformed`, and `export.untrue` where what is shown is not what is
    stored.
    """
    try:
        members = msgspec.json.decode(line, type=dict[str, Any])
        position, topic = members["position"], members["topic"]
        state = base64.b64decode(members["envelope"], validate=True)
        leaf_hash = members.get("leaf_hash")
        named = None if leaf_hash is None else base64.b64decode(leaf_hash, validate=True)
    except (msgspec.DecodeError, UnicodeError, KeyError, TypeError, ValueError, RecursionError):
        raise ProofError("export.malformed", "this is no line of an export") from None
    if type(position) is not int or type(topic) is not str:
        raise ProofError("export.malformed", "this is no line of an export")
    shown = {name: value for name, value in members.items() if name not in _COORDINATES}
    if shown and not _is_told(shown, _stored(state, position)):
        raise ProofError("export.untrue", f"position {position} shows what is not stored")
    return Record(position, topic, state), named


def verify(lines: Iterable[bytes], checkpoints: Iterable[Checkpoint]) -> tuple[int, int]:
    """Hold an export from the first event on against checkpoints whose signatures were judged.

    Answers how many events there are, and how many of them the checkpoints cover. Raises
    ProofError as `read` and `Witness`.
    """
    kept = [*checkpoints]
    witness = Witness(kept)
    for line in lines:
        try:
            record, named = read(line)
        except ProofError as refusal:
            place = f"after position {witness.size}"
            raise ProofError(refusal.code, f"{refusal.detail}, {place}") from None
        witness.tell(record.position, record.topic, record.state, named)
    witness.close()
    return witness.size, max((one.size for one in kept), default=0)


def _open(name: str, value: object, shown: Shown) -> object:
    if _is_list(value):
        return [_open(name, one, shown) for one in value]
    if not _is_object(value):
        return value
    if value.keys() == _SEALED:
        return shown(name, value)
    return {inner: _open(inner, one, shown) for inner, one in value.items()}


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _stored(state: bytes, position: int) -> object:
    try:
        return msgspec.json.decode(state)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        detail = f"position {position} holds no envelope"
        raise ProofError("export.untrue", detail) from None


def _is_told(shown: object, stored: object) -> bool:
    """Tell whether a shown value is the stored one, but for what is sealed."""
    if _is_object(stored):
        if stored.keys() == _SEALED:
            return True
        return (
            _is_object(shown)
            and shown.keys() <= stored.keys()
            and all(_is_told(value, stored[name]) for name, value in shown.items())
        )
    if _is_list(stored):
        return _is_list(shown) and len(shown) == len(stored) and all(map(_is_told, shown, stored))
    return type(shown) is type(stored) and shown == stored


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
