"""Do keys of old passwords end, and does a failure to end one stop nobody?"""

from __future__ import annotations

import logging

import pytest
from msgspec import UNSET, structs

from api import credentials
from domain.ids import UserId
from domain.owners import GrantInstanceOwner
from domain.sealed import KeyId, Secret
from domain.users import ChangeUser, DisableUser, PasswordSet
from ops.passwords import PasswordHasher
from ops.setup import system_context
from ops.vault import Vault
from tests.service import CHEAPEST, LOG_ID, MASTER_KEY, Served, basic

ADA = "ada@example.com"
OTHER = "another good long password"


class Stuck(Vault):
    """A vault whose disk takes no deletion."""

    def destroy(self, *keys: KeyId) -> None:
        del keys
        raise OSError


class Forgetting(PasswordHasher):
    """Notes whose remembered success it was told to drop."""

    def __init__(self, http: Served) -> None:
        super().__init__(http.inputs, CHEAPEST)
        self.forgotten: list[UserId] = []

    def forget(self, user: UserId) -> None:
        self.forgotten.append(user)
        super().forget(user)


def test_a_key_that_cannot_be_destroyed_is_an_alarm_and_no_refusal(
    http: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """Security 3.1: the change is durable already; what could not be erased is tried again."""
    id_ = http.user(ADA)
    old = http.state.users[id_].password
    http.service.vault = Stuck(http.vault_engine, MASTER_KEY, LOG_ID, http.inputs)

    with caplog.at_level(logging.ERROR, "muniment.credentials"):
        response = http.patch(f"users/{id_}/password", {"password": OTHER})
        assert old is not UNSET
        assert http.opens(old, id_, "password")
        assert 200 == http.get("me", by=basic(ADA, OTHER)).status_code

    assert 200 == response.status_code
    alarm = "the keys of old passwords and of erased people could not be destroyed"
    assert [alarm] == caplog.messages


def test_what_is_remembered_is_dropped_with_password_privilege_and_user(http: Served) -> None:
    """Security 3.5: dropped at once when the user, password or privilege changes, and only then."""
    id_ = http.user(ADA)
    forgetting = Forgetting(http)
    http.service.passwords = forgetting

    http.give(GrantInstanceOwner(principal=id_))
    http.patch(f"users/{id_}/password", {"password": OTHER})
    http.give(ChangeUser(id=id_, restricted=True))
    http.give(DisableUser(id=id_))
    http.delete(f"users/{id_}")

    # The privilege ends before the user does, in one command.
    assert [id_] * 5 == forgetting.forgotten
    forgetting.close()


def test_events_of_other_processes_end_keys_too(http: Served) -> None:
    """Security 3.1: whoever reads of a new password drops the old one, not only who wrote it."""
    id_ = http.user(ADA)
    context = system_context(http.inputs)
    key = http.vault.create_key(id_)
    old = http.vault.seal(
        key, Secret("a hash"), command_id=context.command_id, subject=id_, field="password"
    )
    state = http.state
    user = structs.replace(state.users[id_], password=old)
    before = structs.replace(state, users=state.users.set(id_, user))
    event = PasswordSet(id=id_, password=http.state.users[http.root_id].email)
    fact = structs.replace(
        http.facts()[-1], envelope=structs.replace(http.facts()[-1].envelope, event=event)
    )

    async def read() -> None:
        credentials.retire(http.service, before, (fact,))

    assert http.opens(old, id_, "password")
    http.run(read())
    assert not http.opens(old, id_, "password")


def test_a_start_ends_what_the_last_process_left(http: Served) -> None:
    """Security 3.1: after a crash between a new password and the old one's end."""
    id_ = http.user(ADA)
    context = system_context(http.inputs)
    key = http.vault.create_key(id_, "password")
    old = http.vault.seal(
        key, Secret("a hash"), command_id=context.command_id, subject=id_, field="password"
    )

    credentials.end_leftovers(http.service)
    assert http.opens(old, id_, "password"), "a key so young may yet come to be used"
    http.inputs.advance(3_700)
    credentials.end_leftovers(http.service)

    assert not http.opens(old, id_, "password")
    user = http.state.users[id_]
    assert http.opens(user.email, id_, "email")
    assert http.get("me", by=basic(ADA)).is_success


def test_a_start_without_the_vaults_database_goes_on(http: Served) -> None:
    """What could not be ended is ended at the start after."""
    with http.vault._engine.begin() as connection:  # noqa: SLF001 - the database that fails
        connection.exec_driver_sql("ALTER TABLE vault_keys RENAME TO away")

    credentials.end_leftovers(http.service)
