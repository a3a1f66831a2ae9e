"""How does an event stand in the envelope of CloudEvents 1.0? (audit-export 5)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct, UnsetType

from projections.exporting import Format, event_of, one_line, subject_of

if TYPE_CHECKING:
    from projections.exporting import Telling, Told


class CloudEvent(Struct, frozen=True, kw_only=True):
    """One event; `source` and `id` together are unique, also over installations."""

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    time: datetime
    subject: str | UnsetType
    datacontenttype: str = "application/json"
    sequence: str
    data: object


def cloud_event(told: Told, telling: Telling) -> CloudEvent:
    """Answer the envelope of an event, the same whichever tenant's export it stands in."""
    entry = told.entry
    position = str(entry.position)
    tenant = "" if entry.tenant is None else f"/{entry.tenant}"
    return CloudEvent(
        id=position,
        source=f"{telling.public_url}/api/v1{tenant}",
        type=f"muniment.{entry.topic}",
        time=entry.at,
        subject="/".join(subject_of(entry)),
        sequence=position,
        data=event_of(told.record, telling),
    )


_encode: Final = msgspec.json.Encoder().encode


def line(told: Told, telling: Telling) -> bytes:
    """Answer the line of an event, its end included."""
    return one_line(_encode(cloud_event(told, telling))) + b"\n"


CLOUDEVENTS: Final[Format[Told]] = Format(
    name="cloudevents",
    extension="cloudevents.ndjson",
    media_type="application/x-ndjson",
    line=line,
)
