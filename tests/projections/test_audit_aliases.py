"""What does the trail tell of aliases, and of whose not which?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from domain.aliases import RemoveAlias, SetAlias
from domain.ids import MAIN, BindingId, PrincipalId, ServiceAccountId, UserId
from domain.sealed import Secret
from domain.service_accounts import CreateServiceAccount, DeleteServiceAccount
from domain.users import CreateUser
from projections import audit
from tests.histories import Histories, alias_index
from tests.projections.view_rows import all_rows, rebuild

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from projections.entries import Entry

SEALED = {"sealed": True}


class World:
    """A program and a person, each with two aliases of one type, of which one has ended."""

    def __init__(self) -> None:
        self.histories = histories = Histories(21)
        self.bot = ServiceAccountId(histories.inputs.id())
        histories.give(CreateServiceAccount(tenant=MAIN, id=self.bot, name="ci-bot"))
        self.ada = UserId(histories.inputs.id())
        created = CreateUser(
            id=self.ada,
            email=histories.sealed(),
            email_index=b"index",
            tenants=(MAIN,),
            default_bindings=(BindingId(histories.inputs.id()),),
        )
        histories.give(created)
        for carrier in (self.bot, self.ada):
            self.set(carrier, f"{carrier}-one")
            self.set(carrier, f"{carrier}-two")
            index = alias_index(MAIN, "identity", f"{carrier}-two")
            histories.give(
                RemoveAlias(tenant=MAIN, principal=carrier, type="identity", index=index)
            )

    def set(self, carrier: PrincipalId, text: str) -> None:
        """Set an alias."""
        command = SetAlias(
            tenant=MAIN,
            principal=carrier,
            type="identity",
            id=Secret(text),
            index=alias_index(MAIN, "identity", text),
            sealed=self.histories.sealed(),
        )
        self.histories.give(command)


def told(world: World, engine: Engine, carrier: PrincipalId) -> list[Entry]:
    """Answer the entries about a carrier's aliases, oldest first."""
    head = rebuild(engine, world.histories.records)
    with engine.connect() as connection:
        found = audit.history(connection, head, MAIN, carrier)
    return [entry for entry in found[::-1] if entry.topic.startswith("alias.")]


def ids(document: str | None) -> object:
    """Answer the ids that an object tells of, None where there is no object."""
    return None if document is None else msgspec.json.decode(document)["ids"]


def test_aliases_of_a_service_account_are_told(engine: Engine) -> None:
    """The entries are their carrier's, name the type, and show what was set and what is left."""
    world = World()
    one, two = f"{world.bot}-one", f"{world.bot}-two"

    entries = told(world, engine, world.bot)

    assert ["CREATE", "CREATE", "DELETE"] == [entry.type for entry in entries]
    assert [(None, [one]), ([one], [one, two]), ([one, two], [one])] == [
        (ids(entry.before), ids(entry.after)) for entry in entries
    ]
    assert {
        "type": "SERVICE_ACCOUNT",
        "resource": "SERVICE_ACCOUNT",
        "id": world.bot,
        "name": "ci-bot",
        "aliasType": "identity",
    } == audit.detail(entries[0])


def test_aliases_of_a_user_only_show_that_they_are_there(engine: Engine) -> None:
    """Like its e-mail: nothing personal comes into the trail (security 4.7)."""
    world = World()

    entries = told(world, engine, world.ada)

    assert [(None, [SEALED]), ([SEALED], [SEALED, SEALED]), ([SEALED, SEALED], [SEALED])] == [
        (ids(entry.before), ids(entry.after)) for entry in entries
    ]
    assert {"USER"} == {entry.resource for entry in entries}
    assert f"{world.ada}-one" not in repr(all_rows(engine))


def test_deletion_tells_which_aliases_ended(engine: Engine) -> None:
    """What ends with its carrier has an entry of its own."""
    world = World()
    world.histories.give(DeleteServiceAccount(id=world.bot))

    ended = told(world, engine, world.bot)[-1]

    assert ("DELETE", [f"{world.bot}-one"], None) == (
        ended.type,
        ids(ended.before),
        ids(ended.after),
    )


def test_aliases_are_compared_with_their_own_type(engine: Engine) -> None:
    """What came before an alias's entry is about aliases, not about the account itself."""
    world = World()
    first, second, _ = told(world, engine, world.bot)

    with engine.connect() as connection:
        assert audit.previous(connection, MAIN, second) == first
        assert audit.previous(connection, MAIN, first) is None
