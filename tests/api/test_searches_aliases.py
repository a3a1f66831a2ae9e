"""By which of its names does a search tell of whom it found? (authzen 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec import UNSET

from api.searches import SUBJECTS
from tests.api.checking import Desk, question
from tests.api.searching import ids
from tests.api.test_aliases import SPIFFE, place
from tests.service import Served

if TYPE_CHECKING:
    from domain.ids import PrincipalId


@pytest.fixture
def desk(http: Served) -> Desk:
    """Return an installation with a bot that may update flows below `prod`."""
    return Desk(http)


def who(desk: Desk, type_: str, **context: object) -> list[str]:
    """Search for the subjects of a type that may update flows below `prod`."""
    body = question("", type_=type_, context=context or UNSET)
    found = ids(desk.find(SUBJECTS, body))
    for text in found:
        # Whatever a search tells of is answered by the name it is told under.
        assert desk.ask(question(text, type_=type_, context=context)).json()["decision"]
    return found


def ada_who_may(desk: Desk) -> PrincipalId:
    """Make a user who may update flows everywhere."""
    user = desk.http.user("ada@example.com")
    desk.http.allow(user, {"FLOW": ["UPDATE"]})
    return user


def test_a_principal_is_told_by_its_first_alias_of_the_type(desk: Desk) -> None:
    """The first by bytes; else by id; another type's alias counts for that type alone."""
    before = who(desk, "service_account")
    for text in ("zeta", "Beta", "alpha"):
        desk.http.put(place(desk.bot, "service_account", text))
    desk.http.put(place(desk.bot, "identity", "other"))

    assert [desk.bot] == before
    assert ["Beta"] == who(desk, "service_account")
    assert ["other"] == who(desk, "identity")


def test_a_type_that_only_aliases_have_finds_their_carriers(desk: Desk) -> None:
    """Users and programs alike, by alias, in its order; nobody without one."""
    user = ada_who_may(desk)
    idle = desk.http.account("idle")
    desk.http.put(place(desk.bot, "identity", SPIFFE))
    desk.http.put(place(user, "identity", "sub-1"))
    desk.http.put(place(idle, "identity", "idle"))

    assert ["spiffe://example.org/ci/bot", "sub-1"] == who(desk, "identity")
    assert [] == who(desk, "unheard")


def test_the_alias_of_a_past_moment_is_told(desk: Desk) -> None:
    """A removed alias is told as of when it was there."""
    desk.http.put(place(desk.bot, "identity", "old"))
    then = desk.http.state.position
    desk.http.delete(place(desk.bot, "identity", "old"))

    assert ["old"] == who(desk, "identity", as_of={"position": then})
    assert [] == who(desk, "identity")


def test_whose_words_are_erased_is_told_by_id_or_not_at_all(desk: Desk) -> None:
    """With the person's key its alias is gone: by id under its own type, under no other."""
    user = ada_who_may(desk)
    desk.http.put(place(user, "user", "ada"))
    desk.http.put(place(user, "identity", "sub-1"))
    assert (["ada"], ["sub-1"]) == (who(desk, "user"), who(desk, "identity"))
    person = desk.http.state.users[user]

    desk.http.vault.destroy(person.email.key)
    desk.http.service.people.forget(person.id)

    assert ([user], []) == (who(desk, "user"), who(desk, "identity"))
