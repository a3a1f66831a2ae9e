"""Is a password's hash made anew under stronger parameters, and never brought back by that?"""

from __future__ import annotations

from msgspec import UNSET

from api.credentials import Sealer
from domain.ids import UserId
from domain.sealed import Secret
from domain.users import ChangeUser, PasswordRehashed
from ops.passwords import Argon2Profile, PasswordHasher, SignInBusyError
from ops.setup import system_context
from tests.answers import problem
from tests.service import Served, basic

ADA = "ada@example.com"
WRONG = "not the right one at all"
OTHER = "another good long password"
STRONGER = Argon2Profile(memory_kib=16, passes=1)


def test_a_hash_of_weaker_parameters_is_made_anew_after_a_success(http: Served) -> None:
    """Security 3.1: a rehash is an event of its own; the old hash's key is destroyed."""
    id_ = http.user(ADA)
    old = http.state.users[id_].password
    stronger = PasswordHasher(http.inputs, STRONGER)
    http.service.passwords = stronger
    problem(http.get("me", by=basic(ADA, WRONG)), 401, "auth.invalid")
    assert old == http.state.users[id_].password

    assert 200 == http.run(http.send("GET", "me", by=basic(ADA))).status_code

    new = http.state.users[id_].password
    assert isinstance(http.events()[-1], PasswordRehashed)
    assert old is not UNSET
    assert new is not UNSET
    assert old.key != new.key
    assert http.opens(new, id_, "password")
    assert not http.opens(old, id_, "password")
    assert 200 == http.get("me", by=basic(ADA)).status_code
    stronger.close()


class Slow(PasswordHasher):
    """Hashes so slowly that meanwhile someone sets another password."""

    def __init__(self, http: Served, user: UserId) -> None:
        super().__init__(http.inputs, STRONGER)
        self._http = http
        self._user = user

    async def hash(self, password: Secret) -> Secret:
        hashed = await super().hash(password)
        context = system_context(self._http.inputs)
        sealer = Sealer(self._http.service, context, self._user)
        sealed = await sealer.password(await super().hash(Secret(OTHER)))
        await sealer.execute(ChangeUser(id=self._user, password=sealed))
        return hashed


def test_a_rehash_brings_no_password_back_that_was_replaced_meanwhile(http: Served) -> None:
    """Security 3.1: else whoever knows a replaced password could make it good again."""
    slow = Slow(http, http.user(ADA))
    http.service.passwords = slow

    assert 200 == http.get("me", by=basic(ADA)).status_code

    problem(http.get("me", by=basic(ADA)), 401, "auth.invalid")
    assert 200 == http.get("me", by=basic(ADA, OTHER)).status_code
    slow.close()


class Tired(PasswordHasher):
    """Verifies, and has no room for another hash."""

    async def hash(self, password: Secret) -> Secret:
        del password
        raise SignInBusyError


def test_a_rehash_that_fails_does_not_fail_the_sign_in(http: Served) -> None:
    """Security 3.1: the old hash stays good."""
    id_ = http.user(ADA)
    old = http.state.users[id_].password
    tired = Tired(http.inputs, STRONGER)
    http.service.passwords = tired

    assert 200 == http.get("me", by=basic(ADA)).status_code

    assert old == http.state.users[id_].password
    tired.close()
