"""Are passwords judged as security 3.1 to 3.5 say?"""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from threading import Event, Semaphore

import argon2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import problems
from domain.ids import UserId
from domain.sealed import Secret
from ops.inputs import SystemInputs
from ops.passwords import (
    Argon2Profile,
    PasswordHasher,
    SignInBusyError,
    check_password,
)
from tests.fixed_inputs import FixedInputs

CHEAPEST = Argon2Profile(memory_kib=8, passes=1)
GOOD = Secret("umbrella-quartz-lantern")
WRONG = Secret("umbrella-quartz-lanterm")
ADA = UserId("ada")


@pytest.fixture
def inputs() -> FixedInputs:
    """A clock that the test moves."""
    return FixedInputs()


@pytest.fixture
def hasher(inputs: FixedInputs) -> Iterator[PasswordHasher]:
    """A hasher with the cheapest profile."""
    hasher = PasswordHasher(inputs, CHEAPEST)
    yield hasher
    hasher.close()


def hashed(hasher: PasswordHasher, password: Secret = GOOD) -> str:
    return asyncio.run(hasher.hash(password)).reveal()


def test_the_right_password_fits_and_another_does_not(hasher: PasswordHasher) -> None:
    """Security 3.1: argon2id decides."""
    stored = hashed(hasher)

    assert asyncio.run(hasher.verify(stored, GOOD))
    assert not asyncio.run(hasher.verify(stored, WRONG))


def test_a_hash_waits_for_everything_else(hasher: PasswordHasher) -> None:
    """Performance 1: 32 sign-ins at once leave the processor to checks whenever these want it."""
    hashed(hasher)

    working = [one.native_id or 0 for one in threading.enumerate() if "passwords" in one.name]
    assert {19} == {os.getpriority(os.PRIO_PROCESS, thread) for thread in working}
    assert os.getpriority(os.PRIO_PROCESS, 0) < 19


def test_the_parameters_are_those_of_the_page() -> None:
    """Security 3.1: argon2id, 19,456 KiB, two passes, one lane, salt of 16 and hash of 32 bytes."""
    hasher = PasswordHasher(SystemInputs())
    stored = hashed(hasher)
    hasher.close()

    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    parameters = argon2.extract_parameters(stored)
    assert (16, 32) == (parameters.salt_len, parameters.hash_len)


def test_equal_passwords_have_different_hashes(hasher: PasswordHasher) -> None:
    """Security 3.1: every hash has a salt of its own."""
    assert hashed(hasher) != hashed(hasher)


def test_a_hash_is_a_secret(hasher: PasswordHasher) -> None:
    """Security 4.5: a hash is shown in no log and encoded in no event unsealed."""
    assert "argon2" not in repr(asyncio.run(hasher.hash(GOOD)))


def test_spellings_of_one_text_are_one_password(hasher: PasswordHasher) -> None:
    """Security 3.2: NFC, so that keyboards that compose differently agree."""
    composed, decomposed = Secret("caf\u00e9-umbrella-quartz"), Secret("cafe\u0301-umbrella-quartz")

    assert asyncio.run(hasher.verify(hashed(hasher, composed), decomposed))
    assert asyncio.run(hasher.verify(hashed(hasher, decomposed), composed))


def test_nothing_is_cut(hasher: PasswordHasher) -> None:
    """Security 3.2: a password counts to its last of 1,024 bytes, and no further is taken."""
    longest = Secret("x" * 1_024)
    stored = hashed(hasher, longest)

    assert asyncio.run(hasher.verify(stored, longest))
    assert not asyncio.run(hasher.verify(stored, Secret("x" * 1_023 + "y")))
    assert not asyncio.run(hasher.verify(stored, Secret("x" * 1_025)))
    for impossible in ("x" * 1_025, "é" * 513, "\ud800" * 20):
        with pytest.raises(ValueError, match="at most 1024 bytes"):
            asyncio.run(hasher.hash(Secret(impossible)))
        assert not asyncio.run(hasher.verify(stored, Secret(impossible)))


def test_nobody_has_a_password_that_fits(hasher: PasswordHasher) -> None:
    """Security 3.3: unknown, locked or without a password: the answer is no, whatever is typed."""
    for typed in (GOOD, Secret(""), Secret("x" * 5_000)):
        assert not asyncio.run(hasher.verify(None, typed))


class TellingHasher(PasswordHasher):
    """A hasher without the dummy."""

    def _fits_nobody(self, password: bytes) -> bool:
        del password
        return False


def cost(hasher: PasswordHasher, stored: str | None, password: Secret) -> float:
    """Seconds of processor time for ten answers."""

    async def ask() -> None:
        for _ in range(10):
            assert not await hasher.verify(stored, password)

    before = time.process_time()
    asyncio.run(ask())
    return time.process_time() - before


@pytest.mark.parametrize(
    "password", [WRONG, Secret("x" * 5_000), Secret("")], ids=["wrong", "too long", "empty"]
)
def test_the_unknown_costs_as_much_as_the_known(password: Secret) -> None:
    """Security 3.3: the time does not tell whether the user exists.

    Processor time, not the clock on the wall, so a busy machine does not decide. The control
    without the dummy answers in less than a quarter of it.
    """
    profile = Argon2Profile(memory_kib=4_096)
    hasher, telling = (
        PasswordHasher(SystemInputs(), profile),
        TellingHasher(SystemInputs(), profile),
    )
    stored = hashed(hasher)
    known = cost(hasher, stored, WRONG)

    assert known / 2 < cost(hasher, None, password) < known * 2
    assert cost(telling, None, password) < known / 4
    hasher.close()
    telling.close()


def test_an_unreadable_hash_is_an_alarm_and_a_refusal(
    hasher: PasswordHasher, caplog: pytest.LogCaptureFixture
) -> None:
    """Security 8: a damaged hash lets nobody in, is noticed, and is not shown."""
    stored = hashed(hasher)
    damaged = ["", "plain", "é", "$argon2id$v=19$m=8,t=1,p=1$c2FsdA$", stored[:30], stored * 2]

    for hash_text in damaged:
        caplog.clear()
        with caplog.at_level(logging.ERROR):
            assert not asyncio.run(hasher.verify(hash_text, GOOD))
        assert caplog.messages == ["password_hash.unreadable"]
        assert caplog.records[0].exc_info is None

    # The control: a wrong password is no alarm.
    caplog.clear()
    assert not asyncio.run(hasher.verify(stored, WRONG))
    assert caplog.messages == []


def test_a_hash_with_old_parameters_is_renewed(hasher: PasswordHasher) -> None:
    """Security 3.1: after a success the hash is made again when today's parameters are others."""
    other = PasswordHasher(FixedInputs(), Argon2Profile(memory_kib=16, passes=1))

    stored = hashed(hasher)

    assert not hasher.needs_rehash(stored)
    assert other.needs_rehash(stored)
    assert asyncio.run(other.verify(stored, GOOD))
    other.close()


# The pool


class HeldHasher(PasswordHasher):
    """A hasher whose threads wait for the test."""

    held = Event()

    def __init__(self, inputs: FixedInputs, profile: Argon2Profile) -> None:
        super().__init__(inputs, profile)
        self.begun = Semaphore(0)

    def _fits(self, stored: str, password: bytes) -> bool:
        self.begun.release()
        self.held.wait(30)
        return super()._fits(stored, password)


def test_only_so_many_wait(inputs: FixedInputs) -> None:
    """Security 3.1: two are hashed, 32 wait, the next gets `sign_in.busy`; then there is room.

    A dummy takes a place like any other, or a flood of unknown users would be unbounded.
    """
    hasher = HeldHasher(inputs, CHEAPEST)
    stored = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(GOOD.reveal())

    async def flood() -> list[bool]:
        hasher.held.clear()
        waiting = [asyncio.create_task(hasher.verify(stored, GOOD)) for _ in range(34)]
        await asyncio.sleep(0)
        assert hasher.waiting == 32
        for refused in (hasher.verify(stored, GOOD), hasher.verify(None, GOOD), hasher.hash(GOOD)):
            with pytest.raises(SignInBusyError) as refusal:
                await refused
            assert refusal.value.retry_after_seconds == 1
            assert problems.refusal(refusal.value).status == 503
        hasher.held.set()
        answers = await asyncio.gather(*waiting)
        return [*answers, await hasher.verify(stored, GOOD)]

    assert [True] * 35 == asyncio.run(flood())
    assert hasher.waiting == 0
    hasher.close()


def test_hanging_up_frees_no_running_place(inputs: FixedInputs) -> None:
    """Security 6.5: callers that give up cannot have more than two hashes run at once."""
    hasher = HeldHasher(inputs, CHEAPEST)
    stored = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(GOOD.reveal())

    async def hang_up() -> int:
        hasher.held.clear()
        tasks = [asyncio.create_task(hasher.verify(stored, GOOD)) for _ in range(34)]
        await asyncio.sleep(0)
        for _ in range(2):
            assert hasher.begun.acquire(timeout=30)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # The 32 that waited are gone, the two that run are not.
        admitted = [asyncio.create_task(hasher.verify(stored, GOOD)) for _ in range(32)]
        await asyncio.sleep(0)
        with pytest.raises(SignInBusyError):
            await hasher.verify(stored, GOOD)
        hasher.held.set()
        return sum(await asyncio.gather(*admitted))

    assert asyncio.run(hang_up()) == 32
    hasher.close()


def test_the_loop_is_free_while_hashing(inputs: FixedInputs) -> None:
    """Security 3.1: never on the event loop; checks go on during a sign-in."""
    hasher = HeldHasher(inputs, CHEAPEST)

    async def other_work() -> bool:
        hasher.held.clear()
        task = asyncio.create_task(hasher.verify(hasher._dummy, GOOD))  # noqa: SLF001 any hash
        for _ in range(100):
            await asyncio.sleep(0)
        free = not task.done()
        hasher.held.set()
        await task
        return free

    assert asyncio.run(other_work())
    hasher.close()


# Remembered successes


class CountingHasher(PasswordHasher):
    """A hasher that counts its hashes."""

    hashes = 0

    def _fits(self, stored: str, password: bytes) -> bool:
        self.hashes += 1
        return super()._fits(stored, password)


@pytest.fixture
def counting(inputs: FixedInputs) -> Iterator[CountingHasher]:
    """A counting hasher with the cheapest profile."""
    hasher = CountingHasher(inputs, CHEAPEST)
    yield hasher
    hasher.close()


def hashes_of(hasher: CountingHasher, stored: str, password: Secret, user: UserId) -> int:
    """How many hashes one more question costs; the answer must be right."""
    before = hasher.hashes
    answer = asyncio.run(hasher.verify(stored, password, remember=user))
    assert (password is GOOD) == answer
    return hasher.hashes - before


def test_a_success_is_remembered_for_a_minute(
    counting: CountingHasher, inputs: FixedInputs
) -> None:
    """Security 3.5: Basic credentials cost a hash a minute, not one a request."""
    stored = hashed(counting)

    assert hashes_of(counting, stored, GOOD, ADA) == 1
    inputs.advance(59.9)
    assert hashes_of(counting, stored, GOOD, ADA) == 0
    inputs.advance(0.2)
    assert hashes_of(counting, stored, GOOD, ADA) == 1


def test_a_failure_is_never_remembered(counting: CountingHasher) -> None:
    """Security 3.5: a wrong password is judged each time, also beside a remembered right one."""
    stored = hashed(counting)

    for password in (WRONG, WRONG, GOOD, WRONG, WRONG):
        assert hashes_of(counting, stored, password, ADA) == 1
    assert hashes_of(counting, stored, GOOD, ADA) == 0


def test_a_remembered_success_is_of_one_user_and_one_hash(counting: CountingHasher) -> None:
    """Security 3.5: neither another user nor a changed password profits from it."""
    stored, changed = hashed(counting), hashed(counting, WRONG)
    assert hashes_of(counting, stored, GOOD, ADA) == 1

    assert hashes_of(counting, stored, GOOD, UserId("grace")) == 1
    assert not asyncio.run(counting.verify(changed, GOOD, remember=ADA))


def test_a_forgotten_success_is_judged_anew(counting: CountingHasher) -> None:
    """Security 3.5: dropped at once when the user, the password or a privilege changes."""
    stored = hashed(counting)
    assert hashes_of(counting, stored, GOOD, ADA) == 1

    counting.forget(ADA)
    counting.forget(UserId("never seen"))

    assert hashes_of(counting, stored, GOOD, ADA) == 1


def test_the_form_remembers_nothing(counting: CountingHasher) -> None:
    """Security 3.5 is for Basic credentials: a sign-in by the form always costs its hash."""
    stored = hashed(counting)
    for _ in range(3):
        assert asyncio.run(counting.verify(stored, GOOD))

    assert counting.hashes == 3


def test_what_is_remembered_is_no_password(counting: CountingHasher) -> None:
    """Security 4.5: the memory holds a keyed digest, neither the password nor the hash."""
    stored = hashed(counting)
    assert hashes_of(counting, stored, GOOD, ADA) == 1

    memory = repr(counting._memory)  # noqa: SLF001 it must not be seen from outside
    assert ADA in memory
    assert GOOD.reveal() not in memory
    assert stored not in memory


def test_the_memory_is_bounded(counting: CountingHasher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Security 6.2: what callers can make grow has a limit; the oldest goes first."""
    monkeypatch.setattr("ops.passwords.REMEMBERED_USERS_MAX", 3)
    stored = hashed(counting)
    users = [UserId(str(number)) for number in range(5)]
    for user in users:
        assert hashes_of(counting, stored, GOOD, user) == 1

    assert [0, 0, 0] == [hashes_of(counting, stored, GOOD, user) for user in users[2:]]
    assert hashes_of(counting, stored, GOOD, users[0]) == 1


# The policy


def codes(password: str, *own_words: str, minimum_length: int = 15) -> list[str]:
    """The codes of the faults."""
    faults = check_password(Secret(password), own_words=own_words, minimum_length=minimum_length)
    return [fault.code for fault in faults]


@pytest.mark.parametrize(
    ("password", "expected"),
    [
        ("umbrella-quartz", []),
        ("umbrella quartz lantern, dusk", []),
        ("umbrella-quart", ["password.too_short"]),
        ("", ["password.too_short"]),
        ("é" * 15, []),
        ("e\u0301" * 14, ["password.too_short"]),
        ("🗝" * 64, []),
        ("x" * 1_024, []),
        ("x" * 1_025, ["password.too_long"]),
        ("é" * 513, ["password.too_long"]),
        ("x" * 1_000_000, ["password.too_long"]),
        ("\ud800" * 20, ["password.too_long"]),
        ("qwerty123456789", ["password.common"]),
        ("QWERTY123456789", ["password.common"]),
        ("password", ["password.too_short", "password.common"]),
    ],
    ids=range(15),
)
def test_a_new_password_is_judged(password: str, expected: list[str]) -> None:
    """Security 3.2: 15 characters, at most 1,024 bytes, NFC, not common; no composition rules."""
    assert expected == codes(password)


@pytest.mark.parametrize(
    "password",
    [
        "ada.lovelace@example.com",
        "Ada.Lovelace@Example.com",
        "ada.lovelace@example.com1",
        "adalovelaceadalovelace",
        "Ada Lovelace Ada Lovelace 1",
        "1234567lovelace",
        "ada.lovelace.1815",
    ],
)
def test_a_password_of_own_names_is_refused(password: str) -> None:
    """Security 3.2: the user's own names and e-mail, repeated or dressed up, are refused."""
    own_words = ("ada.lovelace@example.com", "Ada", "Lovelace", "Ada Lovelace")

    assert codes(password, *own_words) == ["password.personal"]
    # The control: for somebody else the same text is no fault.
    assert codes(password, "grace@navy.example", "Grace", "Hopper") == []


def test_a_long_password_may_contain_an_own_name() -> None:
    """Security 3.2: what remains beside the names counts."""
    assert codes("lovelace-umbrella-quartz", "Ada", "Lovelace") == []
    assert codes("umbrella-quartz-lantern", "", " ", "@", "a", "umb") == []


def test_the_minimum_is_a_setting_with_a_floor() -> None:
    """Security 3.2: a setting, never below 8."""
    assert codes("umbrelly", minimum_length=8) == []
    assert codes("umbrelly", minimum_length=9) == ["password.too_short"]
    with pytest.raises(ValueError, match="never below 8"):
        codes("umbrelly", minimum_length=7)


def test_the_shipped_list_is_the_one_described() -> None:
    """Security 3.2: 10,000 different common passwords, each refused, whatever its case."""
    data = Path(__file__).parents[2] / "ops" / "data" / "common-passwords.txt.gz"
    words = gzip.decompress(data.read_bytes()).decode().splitlines()

    assert len(words) == len(set(words)) == 10_000
    assert words[:3] == ["password", "12345678", "123456789"]
    assert all(len(word) >= 8 for word in words)
    for word in words:
        assert "password.common" in codes(word, minimum_length=8)
        assert "password.common" in codes(word.upper(), minimum_length=8)


def test_a_fault_does_not_quote_the_password() -> None:
    """Security 4.5: what is said about a password may be logged and shown."""
    for refused in ("hunter2", "1234567890qwerty", "Lovelace-Lovelace", "canary" * 200):
        faults = check_password(Secret(refused), own_words=["Lovelace"])
        assert faults
        assert refused not in repr(faults)


@given(password=st.text(), words=st.lists(st.text(), max_size=4))
def test_every_text_is_judged(password: str, words: list[str]) -> None:
    """Security 6.6: no text makes the judgement fail, and a text over the limit is refused."""
    found = codes(password, *words)

    assert ("password.too_short" in found) or len(password) >= 15 or "password.too_long" in found


def test_judging_is_cheap_for_any_length() -> None:
    """Security 3.2: judged before hashing, and the work grows with the limit, not the input."""
    costs: list[float] = []
    for length in (1_024, 1_000_000):
        before = time.process_time()
        for _ in range(50):
            codes("é" * length)
        costs.append(time.process_time() - before)

    assert all(later < 5 * earlier + 0.05 for earlier, later in pairwise(costs))
