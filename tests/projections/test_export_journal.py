"""Does every kind of the journal stand truly in every format, on one line, and by the schema?"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from hypothesis import given
from msgspec import structs

from domain.ids import MAIN
from domain.state import State
from projections import export_cloudevents, export_journal_ocsf
from projections.export_csv import COLUMNS
from projections.export_journal import FORMATS
from projections.export_journal_ocsf import ocsf
from projections.journal_parts import KINDS, Noted, of_count, told
from tests.ocsf_schema import faults
from tests.projections.export_world import World, lines, telling
from tests.projections.journal_entries import COUNTS, DECISION, EMAIL, ENTRIES, INDEX
from tests.projections.test_exporting import HOSTILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from projections.exporting import Telling
    from projections.journal import Entry, Kind

NDJSON, CSV, OCSF, CLOUDEVENTS = FORMATS
NOWHERE: Final = telling(State())
NOTED: Final = (
    *(Noted(number, told(entry)) for number, entry in enumerate(ENTRIES, 1)),
    *(of_count(number, one, 3) for number, one in enumerate(COUNTS, len(ENTRIES) + 1)),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield an installation whose people and programs the entries may name."""
    made = World(tmp_path_factory.mktemp("export"))
    yield made
    made.engine.dispose()


def first(kind: Kind, **members: Any) -> dict[str, Any]:  # noqa: ANN401 - the members of an entry
    """Answer the record of the first entry of a kind."""
    entry = next(one.entry for one in NOTED if one.entry.kind == kind)
    return ocsf(Noted(1, structs.replace(entry, **members)), NOWHERE)


def test_every_kind_has_its_row_and_its_example() -> None:
    """Audit-export 2.5: a kind without a row fails here, and so does one without an example."""
    assert {*export_journal_ocsf.TABLE} == {*KINDS}
    assert {one.kind for one in ENTRIES} == {*KINDS}


def test_every_kind_is_told_in_every_format() -> None:
    """One line each, and no keyed index, no e-mail of somebody who mistyped."""
    for form in FORMATS:
        for noted in NOTED:
            line = form.line(noted, NOWHERE).decode()
            assert len(line.splitlines()) == 1, form.name
            assert INDEX not in line
            assert EMAIL not in line or noted.entry.operation == "access.evaluate"


# NDJSON and CSV


def test_ndjson_begins_with_place_and_name() -> None:
    """Audit-export 1: positions are the journal's own; those of the log have another name."""
    (found,) = lines(NDJSON.line(NOTED[0], NOWHERE))

    assert [*found][:3] == ["position", "topic", "at"]
    assert (found["position"], found["topic"], found["log_position"]) == (1, "journal.decision", 7)


def test_csv_has_the_columns_of_the_log() -> None:
    """Audit-export 3: with what applies; a journal has no reasons."""
    written = CSV.header + b"".join(CSV.line(noted, NOWHERE) for noted in NOTED)
    rows = [*csv.DictReader(io.StringIO(written.decode(), newline=""))]

    assert [*rows[0]] == COLUMNS
    event = rows[0].pop("event")
    assert rows[0] == {
        "position": "1",
        "at": "2026-01-01T00:00:00Z",
        "tenant": "main",
        "topic": "journal.decision",
        "actor_type": "service_account",
        "actor_id": "bot",
        "token_id": "t1",
        "address": "10.0.0.9",
        "subject_type": "user",
        "subject_id": "grace",
        "summary": "decision denied, UPDATE FLOW nightly load, denied",
        "reason": "",
        "correlation_id": "req-1",
    }
    assert msgspec.json.decode(event)["subject"] == "grace"
    unknown = rows[3]
    assert (unknown["actor_type"], unknown["actor_id"], unknown["subject_id"]) == ("", "", "")


# CloudEvents


def test_cloudevents_name_kind_source_and_subject() -> None:
    """Audit-export 5: `muniment.journal.<kind>`, under a source that no event of the log has."""
    (found,) = lines(CLOUDEVENTS.line(NOTED[6], NOWHERE))
    (nobody,) = lines(CLOUDEVENTS.line(NOTED[3], NOWHERE))

    data = found.pop("data")
    assert found == {
        "specversion": "1.0",
        "id": "7",
        "source": "https://iam.example/api/v1/main#journal",
        "type": "muniment.journal.token_failure",
        "time": "2026-01-01T00:03:00Z",
        "subject": "token/t1",
        "datacontenttype": "application/json",
        "sequence": "7",
    }
    assert data["code"] == "token.expired"
    assert nobody["source"] == "https://iam.example/api/v1#journal"
    assert "subject" not in nobody


def test_source_and_id_are_of_one_record_only(world: World) -> None:
    """Audit-export 5: also beside the log, whose positions are the same numbers."""
    of_log = lines(world.export(export_cloudevents.CLOUDEVENTS))
    of_journal = [msgspec.json.decode(CLOUDEVENTS.line(noted, world.telling())) for noted in NOTED]

    both = [*of_log, *of_journal]
    assert len({(one["source"], one["id"]) for one in both}) == len(both)
    uids = [ocsf(noted, NOWHERE)["metadata"]["uid"] for noted in NOTED]
    assert len({*uids}) == len(NOTED)
    assert all("/journal/" in uid for uid in uids)


# OCSF


def test_every_record_keeps_the_schema(world: World) -> None:
    """Audit-export 4: known or not, named or not, one or counted."""
    people: tuple[Telling, ...] = (
        NOWHERE,
        world.telling(),
        world.telling(person="Ada Lovelace"),
    )
    for said in people:
        for noted in NOTED:
            record = msgspec.json.decode(OCSF.line(noted, said))
            assert faults(record) == [], (record, faults(record))


def test_a_record_that_breaks_the_schema_is_noticed() -> None:
    """Control: what the classes of the journal require is missed where it is missing."""
    required: tuple[tuple[Kind, str], ...] = (
        ("sign_in", "user"),
        ("decision", "api"),
        ("search", "src_endpoint"),
    )
    for kind, name in required:
        record = first(kind)
        del record[name]
        assert faults(record) == [f"{name}: missing"]
    assert faults({**first("decision"), "user": {"uid": "x"}}) == ["user: unknown"]
    assert faults({**first("sign_in"), "auth_protocol_id": 57})


def test_records_are_those_of_the_specification() -> None:
    """Audit-export 4: class, activity, severity, status and code of each kind."""
    found = {
        one.entry.kind: (
            *(record[name] for name in ("type_uid", "severity_id", "status_id")),
            record.get("status_detail"),
        )
        for one in reversed(NOTED[: len(ENTRIES)])
        for record in [ocsf(one, NOWHERE)]
    }

    assert found == {
        "decision": (600302, 2, 2, "denied"),
        "search": (600302, 1, 1, None),
        "sign_in": (300201, 1, 1, None),
        "sign_in_failure": (300201, 2, 2, "auth.invalid"),
        "sign_out": (300202, 1, 1, None),
        "account_locked": (300109, 3, 2, "account.locked"),
        "token_failure": (300201, 2, 2, "token.expired"),
        "token_leak": (300201, 2, 2, "token.misplaced"),
        "refusal": (600301, 3, 2, "role.escalation"),
        "audit_read": (600302, 1, 1, None),
        "audit_export": (600302, 1, 1, None),
    }


def test_a_failed_token_is_the_example_of_the_specification() -> None:
    """Audit-export 4: an expired token of a program."""
    record = first("token_failure")

    metadata, unmapped = record.pop("metadata"), record.pop("unmapped")
    assert record == {
        "class_uid": 3002,
        "category_uid": 3,
        "activity_id": 1,
        "type_uid": 300201,
        "time": 1767225780000,
        "severity_id": 2,
        "status_id": 2,
        "status_detail": "token.expired",
        "src_endpoint": {"ip": "10.0.0.9"},
        "user": {"uid": "bot", "type_id": 4},
        "service": {"name": "Muniment"},
        "auth_protocol_id": 99,
        "auth_protocol": "api_token",
    }
    assert (metadata["log_name"], metadata["tenant_uid"], metadata["correlation_uid"]) == (
        "journal",
        "main",
        "req-1",
    )
    assert unmapped == {"token": "t1", "agent": "curl/8"}
    assert first("sign_in_failure")["auth_protocol"] == "password"
    assert "auth_protocol" not in first("token_failure", code="csrf")


def test_a_check_is_the_example_of_the_specification() -> None:
    """Audit-export 4: the denied one is answered with 200; whom it is about is not left out."""
    record = first("decision")

    assert record["actor"] == {"user": {"uid": "bot", "type_id": 4}}
    assert record["api"] == {
        "operation": "access.evaluate",
        "request": {"uid": "req-1"},
        "response": {"code": 200},
    }
    assert record["resources"] == [{"uid": "nightly load", "type": "FLOW"}]
    assert record["unmapped"]["subject"] == "grace"
    assert record["unmapped"]["detail"] == {"token": "t2"}
    assert first("decision", resource_type=None)["resources"] == [{"uid": "nightly load"}]
    assert "response" not in first("refusal")["api"]
    assert first("audit_export", address=None)["src_endpoint"] == {"name": "unknown"}


@pytest.mark.parametrize(
    ("action", "activity"),
    [("CREATE", 1), ("POST", 1), ("EXPORT", 2), ("UPDATE", 3), (None, 3), ("DELETE", 4)],
)
def test_a_refused_act_is_that_act(action: str | None, activity: int) -> None:
    """Class 6003 has an activity for each; it failed."""
    record = first("refusal", action=action)

    assert (record["activity_id"], record["status_id"]) == (activity, 2)


def test_a_count_tells_how_often_in_which_minute() -> None:
    """One record for many acts: `count` between `start_time` and `end_time`."""
    allowed, failed = (ocsf(of_count(9, one, 41), NOWHERE) for one in COUNTS[:2])

    assert (allowed["count"], allowed["api"]["operation"]) == (41, "access.evaluate")
    assert allowed["end_time"] - allowed["start_time"] == 60_000
    assert failed["unmapped"] == {"network": "192.0.2.0/24"}
    assert failed["user"] == {"uid": "unknown", "type_id": 0}


def test_people_are_named_if_asked_and_programs_always(world: World) -> None:
    """Audit-export 4: an id stands alone otherwise; who is gone has the type that was kept."""
    program, person = min(world.state.service_accounts), min(world.state.users)

    def user(principal: str, said: Telling, type_: str | None = None) -> dict[str, Any]:
        entry: Entry = structs.replace(DECISION, principal=principal, principal_type=type_)
        found: dict[str, Any] = ocsf(Noted(1, told(entry)), said)["actor"]["user"]
        return found

    assert user(program, world.telling())["name"] == world.state.service_accounts[program].name
    assert "name" not in user(person, world.telling())
    assert user(person, world.telling(person="Ada Lovelace"))["name"] == "Ada Lovelace"
    assert user("gone", NOWHERE, "user") == {"uid": "gone", "type_id": 1}
    assert user("gone", NOWHERE) == {"uid": "gone", "type_id": 0}
    table = [
        CSV.line(of_count(1, one._replace(principal=who), 1), world.telling()).decode()
        for one in COUNTS[-1:]
        for who in (program, person, "gone")
    ]
    types = [next(csv.reader(io.StringIO(row, newline="")))[4] for row in table]
    assert types == ["service_account", "user", ""]


# Hostile text


@given(HOSTILE)
def test_one_entry_is_one_line_whatever_anybody_wrote(text: str) -> None:
    """Audit-export 2.3: everything that a caller chooses, in every format, defused in CSV."""
    written = structs.replace(
        DECISION,
        tenant=str(MAIN),
        **dict.fromkeys(
            ("agent", "request_id", "subject_asked", "subject_type", "subject", "action"), text
        ),
        **dict.fromkeys(("resource_type", "resource_id", "namespace", "code"), text),
    )
    noted = Noted(1, told(written))

    for form in FORMATS:
        line = form.line(noted, NOWHERE)
        assert len(line.decode().splitlines()) == 1
        assert line.endswith(b"\n")
    (cells,) = csv.reader(io.StringIO(CSV.line(noted, NOWHERE).decode(), newline=""))
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
    assert msgspec.json.decode(NDJSON.line(noted, NOWHERE))["agent"] == text
    assert faults(msgspec.json.decode(OCSF.line(noted, NOWHERE))) == []
