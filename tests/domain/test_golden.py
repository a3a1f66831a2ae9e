"""Is everything that was ever recorded readable for ever, and does it mean the same?

`golden/events.ndjson` holds one stored record of every topic, with the SHA-256 of its bytes, and is
only ever appended to; `golden/digest.txt` is the digest of the state that they all amount to, which
changes when the state gets a new part.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from domain.events import EVENTS, TOPICS, Record, UnreadableEventError, decode, encode, topic_of
from domain.state import State, digest, evolve
from tests.domain.examples import EXAMPLES, example_facts

GOLDEN = Path(__file__).parents[1] / "golden"


class Golden(Struct, frozen=True, forbid_unknown_fields=True):
    """One line: a record as it was stored, its bytes being UTF-8, and their SHA-256 (hex)."""

    topic: str
    state: str
    sha256: str


def line_of(record: Record) -> str:
    """Answer the line by which a record is kept."""
    text = record.state.decode()
    kept = Golden(record.topic, text, sha256(record.state).hexdigest())
    return msgspec.json.encode(kept).decode()


def kept_lines() -> list[str]:
    """Answer the lines that are kept."""
    return (GOLDEN / "events.ndjson").read_text(encoding="utf-8").splitlines()


def kept() -> list[Golden]:
    """Answer the records that are kept."""
    return [msgspec.json.decode(line, type=Golden) for line in kept_lines()]


def records() -> list[Record]:
    """Answer the records at their positions."""
    return [
        Record(position, one.topic, one.state.encode()) for position, one in enumerate(kept(), 1)
    ]


def test_every_topic_is_kept_once() -> None:
    """Event-log 2: none is missing, none stands twice; a missing line is shown to be appended."""
    topics = [one.topic for one in kept()]
    new = [
        line_of(encode(fact.position, fact.envelope))
        for fact in example_facts()
        if topic_of(fact.envelope.event) not in topics
    ]

    assert [] == new
    assert sorted(TOPICS.values()) == sorted(topics)


def test_no_line_was_edited() -> None:
    """Event-log 2: stored bytes are never rewritten."""
    for one in kept():
        assert one.sha256 == sha256(one.state.encode()).hexdigest()


def test_every_line_is_read_and_written_back_the_same() -> None:
    """Event-log 2: the bytes of today's release are those of the release that wrote them."""
    for record, line in zip(records(), kept_lines(), strict=True):
        fact = decode(record)
        assert record.position == fact.position
        assert record == encode(fact.position, fact.envelope)
        assert line == line_of(record)


def test_all_lines_amount_to_the_same_state() -> None:
    """Event-log 2: an event means today what it meant when it was recorded."""
    state = evolve(State(), [decode(record) for record in records()])

    assert (GOLDEN / "digest.txt").read_text(encoding="utf-8").strip() == digest(state)


def test_there_is_an_example_of_every_event() -> None:
    """Every class of event has one example, and every topic is written out once."""
    assert sorted(map(repr, EVENTS)) == sorted(repr(type(event)) for event in EXAMPLES)
    assert len(TOPICS) == len(set(TOPICS.values()))
    for topic in TOPICS.values():
        noun, _, version = topic.rpartition(".v")
        assert noun.replace("_", "").replace(".", "").isalpha()
        assert version.isdigit()


def test_a_changed_field_is_noticed() -> None:
    """The control: bytes of another shape are not read as this topic."""
    first = records()[0]
    renamed = Record(1, first.topic, first.state.replace(b'"log_id"', b'"id"'))

    with pytest.raises(UnreadableEventError, match=r"unreadable log\.opened\.v1 at position 1"):
        decode(renamed)
