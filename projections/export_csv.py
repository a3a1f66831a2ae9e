"""How does an event stand in a table that no spreadsheet runs? (audit-export 3)."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from projections.exporting import Format, event_of, subject_of, summary

if TYPE_CHECKING:
    from projections.exporting import Telling, Told

COLUMNS: Final = (
    "position at tenant topic actor_type actor_id token_id address subject_type subject_id "
    "summary reason correlation_id event"
).split()

# What a spreadsheet would run, or not show (kestra-iam 6.8).
_FORMULA: Final = frozenset("=+-@")
_UNSEEN: Final = frozenset({"Cc", "Cf", "Zl", "Zp"})
_BREAKING: Final = frozenset({"Cc", "Zl", "Zp"})


def harmless(cell: str) -> str:
    """Answer a cell that no spreadsheet takes for a formula (audit-export 3)."""
    if cell and (cell[0] in _FORMULA or _is_unseen(cell[0])):
        return f"'{cell}"
    return cell


def _is_unseen(character: str) -> bool:
    return not character.isprintable() and unicodedata.category(character) in _UNSEEN


class _Echo:
    """A file that answers what is written to it."""

    def write(self, text: str) -> str:
        return text


def row(cells: Iterable[str]) -> str:
    """Answer one record (RFC 4180) of harmless cells, which is one line whatever is in them."""
    shown = [
        harmless(cell) if cell.isprintable() else _on_one_line(harmless(cell)) for cell in cells
    ]
    written: Any = csv.writer(_Echo()).writerow(shown)
    return str(written)


def _on_one_line(cell: str) -> str:
    return "".join(
        f"\\u{ord(character):04x}" if unicodedata.category(character) in _BREAKING else character
        for character in cell
    )


def line(told: Told, telling: Telling) -> bytes:
    """Answer the record of an event, its end included."""
    entry = told.entry
    subject_type, subject_id = subject_of(entry)
    cells = (
        str(entry.position),
        entry.at.isoformat().replace("+00:00", "Z"),
        entry.tenant or "",
        entry.topic,
        entry.actor_type,
        entry.actor_id,
        entry.actor_token_id or "",
        entry.actor_address or "",
        subject_type,
        subject_id,
        summary(entry),
        entry.reason or "",
        entry.correlation_id,
        msgspec.json.encode(event_of(told.record, telling)).decode(),
    )
    return row(cells).encode()


CSV: Final[Format[Told]] = Format(
    name="csv",
    extension="csv",
    media_type="text/csv; charset=utf-8",
    line=line,
    header=row(COLUMNS).encode(),
)
