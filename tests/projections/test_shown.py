"""Is an event shown whole, but for what nobody may see?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from msgspec import structs

from domain.events import EVENTS, decode
from domain.ids import CommandId, TokenId, UserId
from domain.principals import BindingCreated
from domain.sealed import KeyId, Sealed
from domain.tokens import TokenIssued
from domain.users import UserRenamed
from projections.shown import shown
from tests.histories import Histories

if TYPE_CHECKING:
    from msgspec import Struct

SECRET = b"the-bytes-of-a-digest"


def never(_: KeyId) -> bool:
    """No key was destroyed."""
    return False


def sealed(key: str) -> Sealed:
    """Answer a sealed value."""
    return Sealed(key=KeyId(key), command_id=CommandId("c"), text=SECRET, commit=SECRET)


def test_sealed_values_tell_only_whether_they_are_there() -> None:
    """What was sealed is closed, and what was erased says so."""
    renamed = UserRenamed(id=UserId("u"), first_name=sealed("kept"), last_name=sealed("gone"))

    assert {
        "id": "u",
        "firstName": {"sealed": True},
        "lastName": {"erased": True},
    } == shown(renamed, lambda key: key == "gone")


def test_digests_are_left_out() -> None:
    """The digest of a token's secret is shown to nobody (audit-export 2)."""
    issued = TokenIssued(
        id=TokenId("t"), owner=UserId("u"), name="deploy", digest=SECRET, prefix="ABCDEF"
    )

    told = shown(issued, never)

    assert ("t", "u", "deploy", "ABCDEF") == tuple(
        told[name] for name in ("id", "owner", "name", "prefix")
    )
    assert "digest" not in told


def held_bytes(kind: type[Struct]) -> set[str]:
    """Answer the members of an event that are bytes."""
    return {one.name for one in structs.fields(kind) if one.type is bytes}


@pytest.mark.parametrize("kind", EVENTS)
def test_only_digests_and_indexes_are_bytes(kind: type[Struct]) -> None:
    """So leaving out bytes leaves out nothing that anybody wants to see."""
    assert held_bytes(kind) <= {"digest", "email_index", "index"}


def test_every_event_of_a_history_is_shown_as_json() -> None:
    """Nested values too, absent ones left out, maps with their own keys."""
    histories = Histories(4)
    histories.run(250)
    kinds = set()
    for record in histories.records:
        event = decode(record).envelope.event
        told = msgspec.json.decode(msgspec.json.encode(shown(event, never)))
        kinds.add(type(event))
        assert None not in told.values()
        if isinstance(event, BindingCreated):
            assert event.subject_type == told["subjectType"]
            assert isinstance(told["scope"], dict)
    assert BindingCreated in kinds, "control"
