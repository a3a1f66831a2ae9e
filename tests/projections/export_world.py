"""Which history do the tests of the export tell, and how do they tell it?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from domain.events import Actor, Envelope, Event, encode
from domain.groups import GroupCreated
from domain.ids import MAIN, CommandId, GroupId
from domain.state import State
from projections import exporting, views
from projections.audit import EVERYWHERE
from projections.entries import Entry
from projections.exporting import CLOSED, Format, Telling, Told, Wanted
from projections.runner import ViewRunner
from projections.trail import Records
from tests.fixed_inputs import START
from tests.histories import Histories
from tests.memory_log import MemoryLog
from tests.projections.view_rows import log_of


class World:
    """A history with an event of every topic, and the trail of it."""

    def __init__(self, directory: Path) -> None:
        histories = Histories(3)
        histories.run(1_200)
        self.records = histories.records
        self.state = histories.state
        self.log: MemoryLog = log_of(self.records)
        self.engine = views.open_sqlite(directory / "views.db")
        self.head = ViewRunner(self.log, self.engine).catch_up()
        self.told = self._told()

    def _told(self) -> list[Told]:
        kept: list[Told] = []

        def line(told: Told, _: Telling) -> bytes:
            kept.append(told)
            return b"."

        self.export(Format(name="", extension="", media_type="", line=line))
        return kept

    def export(
        self,
        form: Format[Told],
        telling: Telling | None = None,
        **wanted: Any,  # noqa: ANN401 - members of Wanted
    ) -> bytes:
        """Return a whole export."""
        asked = Wanted(**{"scope": EVERYWHERE, "after": 0, "until": self.head, **wanted})
        written = form.header
        records = Records(self.log)
        with self.engine.connect() as connection:
            while True:
                part = exporting.part(connection, records, asked, form, telling or self.telling())
                written += part.lines
                if part.after is None:
                    return written
                asked = msgspec.structs.replace(asked, after=part.after)

    def telling(self, shown: object = CLOSED, person: str | None = None) -> Telling:
        """Return what is told: `shown` for whatever is sealed, `person` for each."""
        return telling(self.state, shown, person)


def telling(state: State, shown: object = CLOSED, person: str | None = None) -> Telling:
    """Return what an export of this state tells."""
    return Telling(
        public_url="https://iam.example",
        version="1.0.0",
        state=state,
        shown=lambda *_: shown,
        person=lambda _: person,
    )


def lines(export: bytes) -> list[dict[str, Any]]:
    """Return the lines of an export of JSON."""
    return [msgspec.json.decode(line) for line in export.splitlines()]


def hostile(text: str) -> Told:
    """Return an event in which every text that somebody could choose is this one."""
    actor = Actor(type="user", id="u1", token_id="t1", address="10.0.0.9", user_agent=text)
    envelope: Envelope[Event] = Envelope(
        at=START,
        actor=actor,
        tenant=MAIN,
        command_id=CommandId("c1"),
        correlation_id=text,
        reason=text,
        event=GroupCreated(tenant=MAIN, id=GroupId("g1"), name=text, description=text),
    )
    record = encode(1, envelope)
    entry = {
        **dict.fromkeys(Entry.__struct_fields__),
        "position": 1,
        "at": START,
        "tenant": MAIN,
        "topic": record.topic,
        "type": "CREATE",
        "resource": "GROUP",
        "object_id": "g1",
        "object_name": text,
        "group_id": "g1",
        "actor_type": "user",
        "actor_id": "u1",
        "actor_name": text,
        "actor_user_agent": text,
        "command_id": "c1",
        "correlation_id": text,
        "reason": text,
    }
    return Told(msgspec.convert(entry, type=Entry), record)
