"""Does every event say in a sentence what it did, naming only what may be named?"""

from __future__ import annotations

import pytest
from msgspec import structs

from domain.events import TOPICS
from projections.sentences import TEMPLATES, sentence
from tests.projections.trail_entries import entry


def unknown(_: str) -> None:
    """Know nobody by name."""


@pytest.mark.parametrize("topic", sorted(TOPICS.values()))
def test_every_topic_has_a_sentence(topic: str) -> None:
    """No event is shown without words, and each says who did it."""
    said = sentence(structs.replace(entry(), topic=topic), unknown)

    assert said.startswith("actor-1 ")
    assert "{" not in said
    assert "None" not in said


def test_every_sentence_has_a_topic() -> None:
    """A line for a topic that there is not would be a mistake in writing."""
    assert set(TEMPLATES) == set(TOPICS.values())


def test_names_are_quoted_and_ids_are_not() -> None:
    """A name cannot pass for a part of the sentence."""
    hostile = 'x" deleted the group "y'
    names = {"actor-1": "ci-bot", "role-1": hostile, "user-1": "Ada"}
    bound = structs.replace(entry(), topic="binding.created.v1", namespace="prod")

    assert (
        r'"ci-bot" bound the role "x\" deleted the group \"y" to "Ada" in the namespace "prod"'
    ) == sentence(bound, names.get)
    assert "in the whole tenant" in sentence(structs.replace(bound, namespace=None), names.get)


def test_recorded_names_stand_for_those_that_are_gone() -> None:
    """Who was deleted is called as the event knew it; who never had a name stands by its id."""
    issued = structs.replace(
        entry(), topic="token.issued.v1", object_name="old-bot", token_name="deploy"
    )

    assert 'actor-1 issued the token "deploy" for "old-bot"' == sentence(issued, unknown)
    gone = structs.replace(entry(), topic="binding.deleted.v1", role_id=None)
    assert "the role nobody" in sentence(gone, unknown)
