"""Does every format tell each event truly, on one line, and nothing that it must not tell?"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.events import TOPICS, decode
from domain.ids import MAIN
from domain.principals import BindingCreated
from domain.sealed import Sealed
from domain.state import State
from domain.tokens import TokenIssued
from domain.users import PasswordSet
from projections import export_lines, exporting
from projections.export_cloudevents import CLOUDEVENTS
from projections.export_csv import COLUMNS, CSV, harmless, row
from projections.export_ndjson import NDJSON
from projections.export_ocsf import OCSF
from projections.exporting import CLOSED, GONE
from projections.trail import Sought
from projections.verifier import Checkpoint
from tests import naive_tree
from tests.projections.export_world import World, hostile, lines, telling

FORMATS: Final = (NDJSON, CSV, OCSF, CLOUDEVENTS)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield one world for all tests: nothing changes it."""
    made = World(tmp_path_factory.mktemp("export"))
    yield made
    made.engine.dispose()


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
    expected = [
        one.entry.position
        for one in world.told
        if one.entry.tenant == MAIN
        and one.entry.topic.startswith("binding.")
        and 40 < one.entry.position <= 900
    ]

    found = lines(
        world.export(NDJSON, scope=MAIN, after=40, until=900, sought=Sought(topics=("binding.*",)))
    )

    assert len(expected) > 10
    assert [one["position"] for one in found] == expected


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


def test_a_part_of_the_log_carries_no_digest_at_all(world: World) -> None:
    """Audit-export 2.4: only what is proved as a whole needs the very bytes."""
    whole, part = world.telling(), msgspec.structs.replace(world.telling(), proves=False)
    guarded = [one for one in world.told if exporting.is_guarded(one.record)]

    for one in world.told:
        line = msgspec.json.decode(NDJSON.line(one, part))
        assert ("envelope" in line) is not exporting.is_guarded(one.record)
        assert line["leaf_hash"]
    assert guarded
    assert all("envelope" in msgspec.json.decode(NDJSON.line(one, whole)) for one in guarded)


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
