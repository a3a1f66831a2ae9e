"""Is only written what will be read, and nothing read that is not known?"""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from msgspec import UNSET, structs

from domain.events import (
    TOPICS,
    Envelope,
    Event,
    Record,
    UnfaithfulEventError,
    UnknownTopicError,
    UnreadableEventError,
    decode,
    encode,
    tenant_of,
    topic_of,
)
from domain.groups import GroupCreated
from domain.ids import MAIN
from domain.service_accounts import ServiceAccountDisabled
from domain.tokens import TokenIssued
from tests.domain.campaign import FIRST
from tests.domain.examples import EXAMPLES, example_facts
from tests.domain.test_state import history, seeds
from tests.domain.world import BOT, NEW_GROUP, NEW_TOKEN, WORLD, group, token
from tests.spec import facts

ENVELOPE = facts(WORLD.state, (group(NEW_GROUP, "x"),))[0].envelope


@settings(max_examples=20)
@for_all(seed=seeds)
def test_every_recorded_event_comes_back(seed: int) -> None:
    """Style 6.7: round trip of every event."""
    for fact in (*history(seed), *facts(FIRST, EXAMPLES), *example_facts()):
        record = encode(fact.position, fact.envelope)
        assert fact == decode(record)
        assert TOPICS[type(fact.envelope.event)] == record.topic


@for_all(name=st.text(), description=st.text())
def test_any_text_comes_back_or_is_not_written(name: str, description: str) -> None:
    """Style 8.7: what constructors do not validate is noticed before it is for ever."""
    event = GroupCreated(tenant=MAIN, id=NEW_GROUP, name=name, description=description)
    envelope = structs.replace(ENVELOPE, event=event)

    try:
        record = encode(7, envelope)
    except UnfaithfulEventError:
        assert any("\ud800" <= character <= "\udfff" for character in name + description)
        return
    assert envelope == decode(record).envelope


def unfaithful() -> list[Envelope[Event]]:
    """Envelopes whose fields are not what their types claim."""
    issued = token(NEW_TOKEN, BOT)
    return [
        structs.replace(ENVELOPE, event=structs.replace(ENVELOPE.event, name=7)),
        structs.replace(ENVELOPE, event=structs.replace(ENVELOPE.event, name="\ud800")),
        structs.replace(ENVELOPE, event=structs.replace(ENVELOPE.event, name=object())),
        structs.replace(ENVELOPE, event=structs.replace(issued, allowed_addresses=["10.0.0.1"])),
        structs.replace(ENVELOPE, event=structs.replace(issued, max_age_seconds=None)),
        structs.replace(ENVELOPE, at="yesterday"),
        structs.replace(ENVELOPE, command_id=UNSET),
    ]


@pytest.mark.parametrize("envelope", unfaithful())
def test_what_would_not_come_back_is_not_written(envelope: Envelope[Event]) -> None:
    """Style 8.7: encoded, decoded and compared before the append."""
    with pytest.raises(UnfaithfulEventError):
        encode(1, envelope)


def test_an_encoder_alone_would_write_it() -> None:
    """The control: msgspec encodes a list where a tuple is promised."""
    issued = structs.replace(token(NEW_TOKEN, BOT), allowed_addresses=["10.0.0.1"])

    assert msgspec.json.encode(issued)
    assert isinstance(issued, TokenIssued)


def test_an_unknown_topic_halts_the_reader() -> None:
    """Design 1.8: a reader never steps over what it does not know; it may be a revocation."""
    with pytest.raises(
        UnknownTopicError, match=r"unknown topic token\.burnt\.v1 at position 3"
    ) as no:
        decode(Record(3, "token.burnt.v1", b"{}"))

    assert (3, "token.burnt.v1") == (no.value.position, no.value.topic)


@pytest.mark.parametrize("state", [b"", b"{", b"{}", b"[]", b"\xff", b"null"])
def test_unreadable_bytes_halt_the_reader(state: bytes) -> None:
    """Design 1.8: bytes that are no envelope of their topic are not guessed at."""
    with pytest.raises(UnreadableEventError) as no:
        decode(Record(3, "group.deleted.v1", state))

    assert (3, "group.deleted.v1") == (no.value.position, no.value.topic)


def test_an_event_knows_its_topic_and_its_tenant() -> None:
    """Event-log 2: topics are written out, and never derived from a class."""
    assert "group.created.v1" == topic_of(ENVELOPE.event)
    assert MAIN == tenant_of(ENVELOPE.event)
    assert UNSET is tenant_of(ServiceAccountDisabled(id=BOT))
