"""Is an export with a checkpoint enough, without the store, and is every change of it found?"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
import pytest
from msgspec import structs

from domain.events import Record
from projections import export_lines
from projections.export_lines import read, verify, write
from projections.transparency import leaf
from projections.verifier import Checkpoint, ProofError
from projections.witness import Witness
from tests import naive_tree
from tests.histories import Histories

ORIGIN: Final = "iam.example/log-1"

Lines = list[bytes]


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """A history with people in it, whose names are sealed."""
    histories = Histories(31)
    histories.run(60)
    return histories.records


@pytest.fixture(scope="module")
def lines(records: list[Record]) -> Lines:
    """The export of it."""
    return [*map(write, records)]


def checkpoint(records: Iterable[Record]) -> Checkpoint:
    """What was signed when there were these records."""
    of = [record.topic.encode() + b"\n" + record.state for record in records]
    return Checkpoint(ORIGIN, len(of), naive_tree.root(of))


def refused(check: Callable[..., object], *arguments: object) -> str:
    """Return code and words with which something is refused."""
    with pytest.raises(ProofError) as refusal:
        check(*arguments)
    return f"{refusal.value.code}: {refusal.value.detail}"


def altered(line: bytes, **members: object) -> bytes:
    """Return a line with other members."""
    return msgspec.json.encode({**msgspec.json.decode(line), **members})


# A line


def test_a_line_carries_the_exact_bytes_and_what_they_say(
    records: list[Record], lines: Lines
) -> None:
    """Audit-export 3: envelope, coordinates and leaf; what is sealed is said to be sealed."""
    sealed = 0
    for record, line in zip(records, lines, strict=True):
        told = msgspec.json.decode(line)
        envelope = msgspec.json.decode(record.state)
        assert read(line) == (record, leaf(record))
        assert (told["at"], told["command_id"]) == (envelope["at"], envelope["command_id"])
        assert told["event"].keys() == envelope["event"].keys()
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        sealed += line.count(b'{"sealed":true}')
    assert sealed > 3


def test_an_export_decides_what_is_shown_of_a_sealed_value(records: list[Record]) -> None:
    """Audit-export 2: opened, erased or closed, the line stays that of the stored bytes."""
    asked: set[str] = set()

    def shown(field: str, sealed: dict[str, Any]) -> object:
        asked.add(field)
        return {"erased": True} if sealed["key"] else field

    for record in records:
        assert read(write(record, shown))[0] == record
    assert "email" in asked


def test_a_line_may_hold_no_more_than_is_needed(records: list[Record]) -> None:
    """Position, topic and envelope alone give the leaf."""
    record = records[3]
    bare = {
        "position": record.position,
        "topic": record.topic,
        "envelope": base64.b64encode(record.state).decode(),
    }

    assert read(msgspec.json.encode(bare)) == (record, None)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b"{",
        b'{"position":1,"topic":"a.b.v1"}',
        b'{"position":"1","topic":"a.b.v1","envelope":"e30="}',
        b'{"position":true,"topic":"a.b.v1","envelope":"e30="}',
        b'{"position":1,"topic":1,"envelope":"e30="}',
        b'{"position":1,"topic":"a.b.v1","envelope":"e3"}',
        b'{"position":1,"topic":"a.b.v1","envelope":"\xff"}',
        b'{"position":1,"topic":"a.b.v1","envelope":7}',
        b'{"position":1,"topic":"a.b.v1","envelope":"e30=","leaf_hash":"e3"}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_line_is_refused(line: bytes) -> None:
    """Whatever a file holds, it is an error by its code and never a crash."""
    assert refused(read, line).startswith("export.malformed")


def test_a_line_that_shows_what_is_not_stored_is_refused(
    records: list[Record], lines: Lines
) -> None:
    """No export can show one thing and prove another: values, members, lists and types."""
    number = next(number for number, line in enumerate(lines) if b'"permissions":[' in line)
    line = lines[number]
    told = msgspec.json.decode(line)
    event = told["event"]
    granted = event["permissions"]
    untrue: list[dict[str, Any]] = [
        {"at": "2020-01-01T00:00:00Z"},
        {"reason": "because"},
        {"actor": {**told["actor"], "id": "somebody else"}},
        {"event": {**event, "extra": 1}},
        {"event": {**event, "permissions": granted[:-1]}},
        {"event": {**event, "permissions": [*granted[:-1], {"type": "SECRET", "actions": ["*"]}]}},
        {"event": {**event, "permissions": None}},
        {"event": []},
        {"envelope": base64.b64encode(b"{").decode()},
    ]
    for members in untrue:
        assert refused(read, altered(line, **members)).startswith("export.untrue"), members
    assert read(altered(line, event={}))[0] == records[number]


# A whole export


def test_an_export_is_proved_by_the_checkpoints_it_reaches(
    records: list[Record], lines: Lines
) -> None:
    """Cli 7: without the database; what comes after the last checkpoint is counted apart."""
    some = checkpoint(records[:20])

    assert verify(lines, [checkpoint(records), some]) == (len(records), len(records))
    assert verify(lines, [some]) == (len(records), 20)
    assert verify(lines, []) == (len(records), 0)
    assert verify([], [Checkpoint(ORIGIN, 0, naive_tree.root([]))]) == (0, 0)


def _flipped(records: list[Record], lines: Lines) -> Lines:
    place = 24
    changed = structs.replace(
        records[place], state=records[place].state.replace(b'"at":"2', b'"at":"3', 1)
    )
    return [*lines[:place], write(changed), *lines[place + 1 :]]


CHANGES: Final[dict[str, tuple[Callable[[list[Record], Lines], Lines], str]]] = {
    "newest removed": (lambda _, lines: lines[:-1], "log.cut: position {last} is missing"),
    "one in the middle removed": (
        lambda _, lines: [*lines[:24], *lines[25:]],
        "log.gap: position 25 is missing",
    ),
    "two swapped": (
        lambda _, lines: [*lines[:24], lines[25], lines[24], *lines[26:]],
        "log.gap: position 25 is missing",
    ),
    "one twice": (
        lambda _, lines: [*lines[:25], *lines[24:]],
        "log.gap: position 26 is missing",
    ),
    "a byte changed, and all its hashes with it": (
        _flipped,
        "log.changed: an event from position 21 to {last} is not the one that was signed",
    ),
    "the first left out": (lambda _, lines: lines[1:], "log.gap: position 1 is missing"),
    "cut within a line": (
        lambda _, lines: [*lines[:24], lines[24][:99]],
        "export.malformed: this is no line of an export, after position 24",
    ),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_every_change_of_an_export_is_found_and_named(
    kind: str, records: list[Record], lines: Lines
) -> None:
    """Transparency-log 6: offline as beside the store, with the first position that is wrong."""
    change, said = CHANGES[kind]
    kept = [checkpoint(records[:20]), checkpoint(records)]

    found = refused(verify, change(records, lines), kept)

    assert found.startswith(said.format(last=len(records)))


def test_two_whole_records_that_changed_places_are_found(
    records: list[Record], lines: Lines
) -> None:
    """Swapped with their positions mended, they are still not the leaves that were signed."""
    first, second = (
        structs.replace(records[24], position=26),
        structs.replace(records[25], position=25),
    )
    swapped = [*lines[:24], write(second), write(first), *lines[26:]]

    assert refused(verify, swapped, [checkpoint(records)]).startswith("log.changed")


def test_the_kept_hash_of_a_line_names_the_position(records: list[Record], lines: Lines) -> None:
    """Who changed the bytes and left the hash beside them is told where."""
    honest = base64.b64encode(leaf(records[24])).decode()
    changed = [*lines]
    changed[24] = altered(_flipped(records, lines)[24], leaf_hash=honest)

    by_checkpoint = refused(verify, changed, [checkpoint(records)])
    without = refused(verify, changed, [checkpoint(records[:20])])

    assert by_checkpoint.startswith("log.changed: position 25 is not the event that was signed")
    assert without == "log.changed: position 25 is not the event that was hashed"


def test_a_false_hash_beside_the_right_event_is_named_as_such(
    records: list[Record], lines: Lines
) -> None:
    """The event is the one that was signed; what is wrong is the line."""
    changed = [*lines]
    changed[24] = altered(lines[24], leaf_hash=base64.b64encode(bytes(32)).decode())

    assert refused(verify, changed, [checkpoint(records)]).startswith("leaf.changed: position 25")


def test_a_root_that_is_wrong_at_one_event_after_another_names_it(records: list[Record]) -> None:
    """With a checkpoint at every event the position is known without any kept hash."""
    every = [checkpoint(records[:size]) for size in range(1, 31)]
    changed = [*map(write, records[:24]), _flipped(records, [*map(write, records)])[24]]

    found = refused(verify, changed, every)

    assert found.startswith("log.changed: position 25 is not the event that was signed")


def test_random_changes_of_random_bytes_are_all_found(records: list[Record], lines: Lines) -> None:
    """Reliability D6, offline: whatever byte of an event is changed, with its hash mended."""
    chance = random.Random(4)  # noqa: S311 - nothing is to be secret, all repeatable
    kept = [checkpoint(records)]
    for _ in range(200):
        place = chance.randrange(len(records))
        state = bytearray(records[place].state)
        state[chance.randrange(len(state))] ^= 1 << chance.randrange(8)
        bare = {
            "position": records[place].position,
            "topic": records[place].topic,
            "envelope": base64.b64encode(state).decode(),
        }
        changed = [*lines[:place], msgspec.json.encode(bare), *lines[place + 1 :]]
        assert refused(verify, changed, kept).startswith("log.changed")


# Control


def test_a_witness_that_skips_an_event_or_a_checkpoint_is_caught(
    records: list[Record], lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: one that does not hash the last event, or never compares, lets nothing pass."""
    kept = [checkpoint(records)]
    skipping = [*lines[:-2], lines[-1]]
    assert refused(verify, skipping, kept)

    monkeypatch.setattr(Witness, "_look", lambda _: None)
    with pytest.raises(ProofError):
        # It is left with a checkpoint that it has never met.
        verify(lines, kept)


def test_the_limit_of_a_line_fits_the_largest_event() -> None:
    """An event of 64 KiB, twice and in base64, stays below what is read of a line."""
    state = msgspec.json.encode({"event": {"name": "x" * 65_000}})

    assert len(write(Record(1, "a.b.v1", state))) < export_lines.LINE_BYTES_MAX
