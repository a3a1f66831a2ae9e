"""How do the entries of the journal stand in each format of an export? (audit-export 3 and 5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import UNSET

from projections.export_cloudevents import CLOUDEVENTS, CloudEvent
from projections.export_csv import CSV, row
from projections.export_journal_ocsf import ocsf
from projections.export_ndjson import NDJSON
from projections.export_ocsf import OCSF
from projections.exporting import Format, one_line
from projections.journal_parts import Noted, actor_type, members, subject_of, summary, topic_of

if TYPE_CHECKING:
    from projections.exporting import Telling, Told

_encode: Final = msgspec.json.Encoder().encode


def _line(value: object) -> bytes:
    return one_line(_encode(value)) + b"\n"


def ndjson(noted: Noted, telling: Telling) -> bytes:
    """Answer the line of an entry as it is kept, its place first."""
    del telling
    entry = noted.entry
    place = {"position": noted.sequence, "topic": topic_of(entry.kind), "at": entry.at}
    return _line({**place, **members(noted)})


def cells(noted: Noted, telling: Telling) -> bytes:
    """Answer the record of an entry under the columns that events have."""
    entry = noted.entry
    subject_type, subject_id = subject_of(noted) or ("", "")
    return row(
        (
            str(noted.sequence),
            entry.at.isoformat().replace("+00:00", "Z"),
            entry.tenant or "",
            topic_of(entry.kind),
            actor_type(entry, telling.state) or "",
            entry.principal or "",
            entry.token or "",
            entry.address or "",
            subject_type,
            subject_id,
            summary(noted),
            "",
            entry.request_id or "",
            _encode(members(noted)).decode(),
        )
    ).encode()


def cloud_event(noted: Noted, telling: Telling) -> CloudEvent:
    """Answer the envelope of an entry; its source is not that of any event of the log."""
    entry, place = noted.entry, str(noted.sequence)
    tenant = "" if entry.tenant is None else f"/{entry.tenant}"
    subject = subject_of(noted)
    return CloudEvent(
        id=place,
        source=f"{telling.public_url}/api/v1{tenant}#journal",
        type=f"muniment.{topic_of(entry.kind)}",
        time=entry.at,
        subject=UNSET if subject is None else "/".join(subject),
        sequence=place,
        data=members(noted),
    )


def _formed(form: Format[Told], line: Callable[[Noted, Telling], bytes]) -> Format[Noted]:
    return Format(
        name=form.name,
        extension=form.extension,
        media_type=form.media_type,
        header=form.header,
        line=line,
    )


FORMATS: Final[tuple[Format[Noted], ...]] = (
    _formed(NDJSON, ndjson),
    _formed(CSV, cells),
    _formed(OCSF, lambda noted, telling: _line(ocsf(noted, telling))),
    _formed(CLOUDEVENTS, lambda noted, telling: _line(cloud_event(noted, telling))),
)
