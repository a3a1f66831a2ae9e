"""How does an event stand in an export that proves itself? (audit-export 3).

The line is that of `projections.export_lines`. Its envelope holds the bytes as they are stored,
digests included, because the leaf in the log's tree follows from them alone; what a reader is
shown beside them leaves the digests out. A part of the log proves nothing as a whole, so there an
event that holds digests or sealed values comes without those bytes.
"""

from __future__ import annotations

from binascii import b2a_base64
from typing import TYPE_CHECKING, Any, Final

import msgspec

from projections import export_lines
from projections.exporting import CLOSED, HIDDEN, Format, is_guarded, one_line, opened
from projections.transparency import leaf

if TYPE_CHECKING:
    from domain.events import Record
    from projections.exporting import Telling, Told


def line(told: Told, telling: Telling) -> bytes:
    """Answer the line of an event, its end included."""
    record = told.record
    if not is_guarded(record):
        return one_line(_as_stored(record)) + b"\n"
    shown = opened(record, telling)
    written = export_lines.write(record, lambda name, _: shown.get(name, CLOSED))
    members: dict[str, Any] = msgspec.json.decode(written)
    for name in HIDDEN.get(record.topic, ()):
        del members["event"][name]
    if not telling.proves:
        del members["envelope"]
    return one_line(msgspec.json.encode(members)) + b"\n"


def _as_stored(record: Record) -> bytes:
    """Answer what `export_lines.write` does where nothing is sealed, at a fifth of its cost.

    The envelope is an object that msgspec has written, so its members can stand as they are.
    """
    return b'{"position":%d,"topic":"%s",%s,"leaf_hash":"%s","envelope":"%s"}' % (
        record.position,
        record.topic.encode(),
        record.state[1:-1],
        b2a_base64(leaf(record), newline=False),
        b2a_base64(record.state, newline=False),
    )


NDJSON: Final[Format[Told]] = Format(
    name="ndjson", extension="ndjson", media_type="application/x-ndjson", line=line
)
