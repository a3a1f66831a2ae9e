"""Does every format tell each event truly, on one line, and nothing that it must not tell?"""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.events import TOPICS, Actor, Envelope, Event, Record, decode, encode
from domain.groups import GroupCreated
from domain.ids import MAIN, CommandId, GroupId, UserId
from domain.principals import BindingCreated
from domain.sealed import Sealed
from domain.state import State
from domain.tokens import TokenIssued
from domain.users import PasswordSet, UserCreated
from projections import export_lines, export_ocsf, exporting, views
from projections.audit import EVERYWHERE
from projections.entries import Entry
from projections.export_cloudevents import CLOUDEVENTS
from projections.export_csv import COLUMNS, CSV, harmless, row
from projections.export_ndjson import NDJSON
from projections.export_ocsf import OCSF
from projections.exporting import CLOSED, GONE, Format, Records, Telling, Told, Wanted
from projections.filters import Comparison, Leaf
from projections.runner import ViewRunner
from projections.verifier import Checkpoint
from tests import naive_tree
from tests.fixed_inputs import START
from tests.histories import Histories
from tests.memory_log import MemoryLog
from tests.ocsf_schema import faults
from tests.projections.view_rows import log_of

FORMATS: Final = (NDJSON, CSV, OCSF, CLOUDEVENTS)


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
        form: Format,
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


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield one world for all tests: nothing changes it."""
    made = World(tmp_path_factory.mktemp("export"))
    yield made
    made.engine.dispose()


def lines(export: bytes) -> list[dict[str, Any]]:
    """Return the lines of an export of JSON."""
    return [msgspec.json.decode(line) for line in export.splitlines()]


def table(export: bytes) -> list[dict[str, str]]:
    """Return the rows of an export as CSV."""
    return [*csv.DictReader(io.StringIO(export.decode(), newline=""))]


# What is exported


def test_every_topic_is_told_in_every_format(world: World) -> None:
    """Audit-export 2.5: the history has all topics, and no format leaves one event out."""
    assert {record.topic for record in world.records} == {*TOPICS.values()}
    for form in FORMATS:
        written = world.export(form).removeprefix(form.header)
        assert len(written.splitlines()) == world.head, form.name


def test_an_export_is_exactly_the_filtered_view_in_its_order(world: World) -> None:
    """Audit-export 1: scope, positions and filter together, oldest first, nothing twice."""
    where = Leaf(field="event", comparison=Comparison.STARTS_WITH, values=("binding.",))
    expected = [
        one.entry.position
        for one in world.told
        if one.entry.tenant == MAIN
        and one.entry.topic.startswith("binding.")
        and 40 < one.entry.position <= 900
    ]

    found = lines(world.export(NDJSON, scope=MAIN, after=40, until=900, where=where))

    assert len(expected) > 10
    assert [one["position"] for one in found] == expected


def test_records_are_read_in_runs(world: World) -> None:
    """What stands side by side is read at once; no position is left out or read twice."""
    asked: list[tuple[int, int]] = []

    class Counting:
        def read(self, after: int, limit: int) -> list[Record]:
            asked.append((after, limit))
            return world.log.read(after, limit)

    found = Records(Counting()).at([3, 4, 5, 9, 11, 12])

    assert [record.position for record in found] == [3, 4, 5, 9, 11, 12]
    assert asked == [(2, 3), (8, 1), (10, 2)]
    assert Records(Counting()).at([]) == []


# NDJSON


def test_ndjson_proves_itself(world: World) -> None:
    """Audit-export 3: each line gives its leaf, and the whole export a signed root."""
    entries = [record.topic.encode() + b"\n" + record.state for record in world.records]
    signed = Checkpoint("iam.example/log-1", len(entries), naive_tree.root(entries))

    for shown in (CLOSED, GONE, "ada@example.com"):
        export = world.export(NDJSON, world.telling(shown))
        assert export_lines.verify(export.splitlines(), [signed]) == (world.head, world.head)


def test_ndjson_is_the_line_that_the_verifier_defines(world: World) -> None:
    """Where nothing is hidden, byte by byte; else all but the hashes."""
    same = 0
    for told in world.told:
        line, defined = NDJSON.line(told, world.telling()), export_lines.write(told.record)
        same += line == defined
        if told.record.topic in exporting.HIDDEN:
            event = msgspec.json.decode(defined)["event"]
            for name in exporting.HIDDEN[told.record.topic]:
                del event[name]
            assert msgspec.json.decode(line) == {**msgspec.json.decode(defined), "event": event}
        else:
            assert msgspec.json.decode(line) == msgspec.json.decode(defined)
    assert same > 500


# What is never told


def test_no_format_shows_a_hash_a_password_or_what_is_sealed(world: World) -> None:
    """Audit-export 2.4: digests, keyed indexes and ciphertexts are in no member that is read."""
    secrets: set[str] = set()
    for record in world.records:
        event: Any = msgspec.to_builtins(decode(record).envelope.event)
        for name in ("digest", "email_index", "index"):
            secrets |= {event[name]} if name in event else set()
        for value in event.values():
            if isinstance(value, dict) and "commit" in value:
                secrets |= {value["text"], value["commit"]}

    shown = {
        form.name: world.export(form, world.telling("in the clear")).decode() for form in FORMATS
    }
    for one in lines(shown["ndjson"].encode()):
        shown["ndjson"] = shown["ndjson"].replace(one["envelope"], "")

    assert len(secrets) > 100
    for name, text in shown.items():
        assert not [secret for secret in secrets if secret in text], name


def test_a_password_stays_closed_whoever_asks(world: World) -> None:
    """Audit-export 2.4: not even its hash; but that it was erased is told."""
    passwords = [one for one in world.told if one.record.topic == PasswordSet.topic]

    for form, place in ((NDJSON, "event"), (CLOUDEVENTS, "data")):
        line = form.line(passwords[0], world.telling("in the clear"))
        assert msgspec.json.decode(line)[place]["password"] == CLOSED
        line = form.line(passwords[0], world.telling(GONE))
        assert msgspec.json.decode(line)[place]["password"] == GONE


def test_what_is_sealed_is_asked_for_by_its_subject_and_field(world: World) -> None:
    """A value is opened for the place that it was sealed for, an alias for its carrier."""
    asked: set[tuple[str, str]] = set()

    def shown(subject: str, field: str, _: Sealed) -> object:
        asked.add((subject, field))
        return "open"

    told = msgspec.structs.replace(world.telling(), shown=shown)
    export = lines(world.export(CLOUDEVENTS, told))

    created = [one["data"] for one in export if one["type"] == "muniment.user.created.v1"]
    assert {one["email"] for one in created} == {"open"}
    assert {(one["id"], "email") for one in created} <= asked
    sealed_aliases = [
        one["data"]["principal"]
        for one in export
        if one["type"] == "muniment.alias.set.v1" and one["data"]["text"] == "open"
    ]
    assert sealed_aliases
    assert {(principal, "alias") for principal in sealed_aliases} <= asked


# CSV


def test_csv_has_the_columns_of_the_specification(world: World) -> None:
    """Audit-export 3: one row an event, the event as JSON in the last column."""
    rows = table(world.export(CSV))
    told = next(one for one in world.told if one.record.topic == TokenIssued.topic)

    assert [*rows[0]] == COLUMNS
    found = rows[told.entry.position - 1]
    assert found["at"] == msgspec.json.decode(told.record.state)["at"]
    assert (found["topic"], found["actor_type"], found["actor_id"]) == (
        told.entry.topic,
        told.entry.actor_type,
        told.entry.actor_id,
    )
    assert (found["subject_type"], found["subject_id"]) == ("token", told.entry.token_id)
    assert found["summary"] == f"token issued: {told.entry.token_name}"
    assert msgspec.json.decode(found["event"])["owner"] == told.entry.object_id


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\u200b", "\u2028"])
def test_csv_defuses_what_a_spreadsheet_would_run(begin: str) -> None:
    """Audit-export 3: a formula, or what hides one, gets an apostrophe in front."""
    cell = f'{begin}HYPERLINK("https://evil.example")'

    assert harmless(cell) == f"'{cell}"
    assert row([cell]).startswith(("'", "\"'"))
    assert harmless(f"a{cell}") == f"a{cell}"
    assert harmless("") == ""


# Hostile text

HOSTILE = st.text(
    st.sampled_from("=+-@\t\r\n\0\x0b\x0c\x1b\x85\u2028\u2029\u202e\ufeff'\",;{}\\é字\U0001f600a"),
    max_size=20,
)


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


@given(HOSTILE)
def test_one_record_is_one_line_whatever_anybody_wrote(text: str) -> None:
    """Audit-export 2.3: for readers that break lines at the end of a line, and where Unicode does.

    And what was written comes back as it was, but in CSV, where no control character does.
    """
    told, said = hostile(text), telling(State())
    written = {form.name: form.line(told, said) for form in FORMATS}

    for line in written.values():
        assert len(line.decode().splitlines()) == 1
        assert line.endswith(b"\n")
    assert msgspec.json.decode(written["ndjson"])["event"]["name"] == text
    assert export_lines.read(written["ndjson"])[0] == told.record
    assert msgspec.json.decode(written["cloudevents"])["data"]["description"] == text
    assert msgspec.json.decode(written["ocsf"])["metadata"]["correlation_uid"] == text
    (cells,) = csv.reader(io.StringIO(written["csv"].decode(), newline=""))
    assert len(cells) == len(COLUMNS)
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
    assert msgspec.json.decode(cells[-1].replace("'{", "{"))["id"] == "g1"


# CloudEvents


def test_cloudevents_carry_the_envelope_of_the_specification(world: World) -> None:
    """Audit-export 5: the same source for a tenant's event, whoever exports it."""
    told = next(one for one in world.told if one.record.topic == BindingCreated.topic)
    position = str(told.entry.position)

    found = msgspec.json.decode(CLOUDEVENTS.line(told, world.telling()))

    stored = msgspec.json.decode(told.record.state)
    assert found == {
        "specversion": "1.0",
        "id": position,
        "source": f"https://iam.example/api/v1/{told.entry.tenant}",
        "type": "muniment.binding.created.v1",
        "time": stored["at"],
        "subject": f"binding/{told.entry.object_id}",
        "datacontenttype": "application/json",
        "sequence": position,
        "data": stored["event"],
    }
    first = msgspec.json.decode(CLOUDEVENTS.line(world.told[0], world.telling()))
    assert first["source"] == "https://iam.example/api/v1"


def test_cloudevents_are_unique_by_source_and_id(world: World) -> None:
    """Audit-export 5: so a receiver removes doubles by them."""
    export = lines(world.export(CLOUDEVENTS))

    assert len({(one["source"], one["id"]) for one in export}) == world.head


# OCSF


def test_every_topic_has_its_row() -> None:
    """Audit-export 2.5: a topic without a row fails here, and so does a row without a topic."""
    assert {*export_ocsf.TABLE} == {*TOPICS.values()}


def test_every_record_keeps_the_schema(world: World) -> None:
    """Audit-export 4: with people named and without, and after what is named is gone."""
    tellings = (
        world.telling(),
        world.telling(person="Ada Lovelace"),
        telling(State()),
    )
    for told in tellings:
        for one in lines(world.export(OCSF, told)):
            assert not faults(one), (one, faults(one))


def test_a_record_that_breaks_the_schema_is_noticed(world: World) -> None:
    """Control: unknown, missing, mistyped, not of the class, wrong sums."""
    told = next(one for one in world.told if one.record.topic == BindingCreated.topic)
    sound = export_ocsf.ocsf(told, world.telling())
    broken: dict[str, dict[str, Any]] = {
        "unknown": {**sound, "colour": "red"},
        "missing": {name: value for name, value in sound.items() if name != "metadata"},
        "no int": {**sound, "time": 1.5},
        "no str": {**sound, "privileges": [7]},
        "no list": {**sound, "privileges": "role:viewer"},
        "no object": {**sound, "actor": "ada"},
        "none of": {**sound, "actor": {"user": {"type_id": 1}}},
        "not one of its values": {**sound, "severity_id": 7},
        "not of this class": {**sound, "activity_id": 57},
        "not class and activity": {**sound, "type_uid": 1},
        "not that of the class": {**sound, "category_uid": 6},
    }

    assert faults(sound) == []
    assert faults({**sound, "class_uid": 1001}) == ["class_uid: unknown"]
    for said, record in broken.items():
        assert any(said in fault for fault in faults(record)), said


def test_records_are_those_of_the_specification(world: World) -> None:
    """Audit-export 4: the row of each topic, its class and activity."""
    expected = {
        "user.created.v1": {(3001, 1)},
        "user.enabled.v1": {(3001, 2)},
        "user.disabled.v1": {(3001, 5)},
        "user.deleted.v1": {(3001, 6)},
        "binding.created.v1": {(3005, 1), (3006, 1)},
        "binding.deleted.v1": {(3005, 2), (3006, 2)},
        "group.created.v1": {(3006, 6)},
        "group.deleted.v1": {(3006, 5)},
        "group.member_added.v1": {(3006, 3)},
        "group.member_removed.v1": {(3006, 4)},
        "token.issued.v1": {(3004, 1)},
        "token.revoked.v1": {(3004, 4)},
        "service_account.enabled.v1": {(3004, 8)},
        "service_account.disabled.v1": {(3004, 9)},
        "role.renamed.v1": {(3004, 3)},
        "tenant.deleted.v1": {(3004, 4)},
    }
    found: dict[str, set[tuple[int, int]]] = {}
    for told in world.told:
        one = export_ocsf.ocsf(told, world.telling())
        found.setdefault(told.record.topic, set()).add((one["class_uid"], one["activity_id"]))

    assert {topic: found[topic] for topic in expected} == expected


def test_a_password_set_by_oneself_is_a_change_and_by_another_a_reset(world: World) -> None:
    """Audit-export 4: activities 3 and 4 of class 3001."""
    told = next(one for one in world.told if one.record.topic == PasswordSet.topic)
    own = msgspec.structs.replace(told.entry, actor_id=told.entry.object_id)

    reset = export_ocsf.ocsf(told, world.telling())
    change = export_ocsf.ocsf(Told(own, told.record), world.telling())

    assert (reset["activity_id"], change["activity_id"]) == (4, 3)


def test_a_binding_tells_role_and_place(world: World) -> None:
    """Audit-export 4: `privileges` by the role's name, `resource` for the scope."""
    places: dict[str, str] = {}
    for told in world.told:
        if told.record.topic == BindingCreated.topic:
            one = export_ocsf.ocsf(told, world.telling())
            event: Any = decode(told.record).envelope.event
            role = world.state.roles.get(event.role)
            assert one["privileges"] == [f"role:{event.role if role is None else role.name}"]
            kind = {"tenant", "namespace"} & {one["resource"]["type"]}
            places["".join(kind) or "resource"] = one["resource"]["uid"]

    assert {*places} == {"tenant", "namespace", "resource"}


def test_names_are_told_of_programs_and_groups_and_of_people_if_asked(world: World) -> None:
    """Audit-export 4: a person's name only with `personal=include`, everybody's id always."""
    created = next(one for one in world.told if one.record.topic == UserCreated.topic)
    added = next(
        one
        for one in world.told
        if one.record.topic == "group.member_added.v1"
        and one.entry.user_id in world.state.service_accounts
    )
    renamed = next(one for one in world.told if one.record.topic == "user.renamed.v1")
    alias = next(one for one in world.told if one.record.topic == "alias.set.v1")
    named = world.telling(person="Ada Lovelace")

    account = world.state.service_accounts[UserId(str(added.entry.user_id))]
    record = export_ocsf.ocsf(added, world.telling())
    assert record["user"] == {
        "uid": account.id,
        "type_id": 2 if account.id in world.state.owners else 4,
        "name": account.name,
    }
    assert record["group"] == {"uid": added.entry.group_id, "name": added.entry.object_name}
    assert "name" not in export_ocsf.ocsf(created, world.telling())["user"]
    assert export_ocsf.ocsf(created, named)["user"]["name"] == "Ada Lovelace"
    assert export_ocsf.ocsf(renamed, named)["entity"]["name"] == "Ada Lovelace"
    assert export_ocsf.ocsf(alias, named)["entity"]["data"]["alias_type"] == alias.entry.alias_type


def test_everybody_has_the_type_of_what_they_are(world: World) -> None:
    """Audit-export 4: 1 user, 2 instance owner, 4 service account; 0 where nobody knows now."""
    state = world.state
    expected = dict.fromkeys(state.users, 1) | dict.fromkeys(state.service_accounts, 4)
    expected |= dict.fromkeys(state.owners, 2)
    removed = next(one for one in world.told if one.record.topic == "group.member_removed.v1")

    for id_, type_id in (*expected.items(), (UserId("gone"), 0)):
        entry = msgspec.structs.replace(removed.entry, user_id=id_)
        record = export_ocsf.ocsf(Told(entry, removed.record), world.telling())
        assert record["user"]["type_id"] == type_id
    assert {*expected.values()} == {1, 2, 4}
    system = msgspec.structs.replace(removed.entry, actor_type="system", actor_id="system")
    record = export_ocsf.ocsf(Told(system, removed.record), world.telling())
    assert record["actor"] == {"user": {"uid": "system", "type_id": 3}}
    owner = msgspec.structs.replace(system, actor_type="user", actor_id=min(state.owners))
    record = export_ocsf.ocsf(Told(owner, removed.record), world.telling())
    assert record["actor"]["user"]["type_id"] == 2


def test_a_token_is_an_entity_with_its_owner(world: World) -> None:
    """Audit-export 4: uid and name are the token's, the owner stands in `data`."""
    told = next(one for one in world.told if one.record.topic == TokenIssued.topic)
    entry = told.entry

    entity = export_ocsf.ocsf(told, world.telling())["entity"]

    assert entity == {
        "uid": entry.token_id,
        "name": entry.token_name,
        "type_id": 99,
        "type": "api_token",
        "data": {f"{entry.resource.lower()}_id": entry.object_id},
    }


def test_an_address_is_the_source_endpoint() -> None:
    """Audit-export 4: `src_endpoint.ip` is where the act came from, absent where unknown."""
    told = hostile("x")
    from_there = msgspec.structs.replace(told.entry, actor_address="10.0.0.9")

    assert "src_endpoint" not in export_ocsf.ocsf(told, telling(State()))
    record = export_ocsf.ocsf(Told(from_there, told.record), telling(State()))
    assert record["src_endpoint"] == {"ip": "10.0.0.9"}
    assert record["metadata"]["tenant_uid"] == "main"
    assert base64.b64decode(msgspec.json.decode(NDJSON.line(told, telling(State())))["envelope"])
