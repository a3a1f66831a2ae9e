"""Is this password the right one, and is it good enough to be one?"""

from __future__ import annotations

import asyncio
import gzip
import hmac
import logging
import os
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import argon2
from msgspec import json

from api.request_errors import UnavailableError
from domain.ids import UserId
from domain.sealed import Secret

if TYPE_CHECKING:
    from ops.inputs import Inputs

LENGTH_DEFAULT: Final = 15
LENGTH_FLOOR: Final = 8
BYTES_MAX: Final = 1_024
THREADS: Final = 2
WAITING_MAX: Final = 32
RETRY_AFTER_SECONDS: Final = 1.0
REMEMBERED_SECONDS: Final = 60.0
REMEMBERED_USERS_MAX: Final = 10_000

_LEAST_PRIORITY: Final = 19
_OWN_WORD_LENGTH_MIN: Final = 4
_COMMON: Final = Path(__file__).parent / "data" / "common-passwords.txt.gz"
_LOG: Final = logging.getLogger(__name__)

T = TypeVar("T")


class Argon2Profile(NamedTuple):
    """The cost of one argon2id hash; salt and hash have always 16 and 32 bytes."""

    memory_kib: int = 19_456
    passes: int = 2
    lanes: int = 1


class PasswordFault(NamedTuple):
    """Why a password is refused; `detail` never quotes it."""

    code: str
    detail: str


class SignInBusyError(UnavailableError):
    """Too many passwords are waiting to be judged: 503 (security 3.1)."""

    def __init__(self) -> None:
        super().__init__("sign_in.busy", RETRY_AFTER_SECONDS)


def check_password(
    password: Secret, *, own_words: Iterable[str], minimum_length: int = LENGTH_DEFAULT
) -> list[PasswordFault]:
    """Every rule of security 3.2 that the new password breaks; empty when it is good.

    `own_words` are the person's names and e-mail address. Lengths are characters after NFC, and
    bytes of UTF-8. Raises ValueError when `minimum_length` is below 8.
    """
    if minimum_length < LENGTH_FLOOR:
        msg = f"the minimum length is never below {LENGTH_FLOOR}"
        raise ValueError(msg)
    normal = _normal(password)
    if normal is None:
        detail = f"must be Unicode text of at most {BYTES_MAX} bytes"
        return [PasswordFault("password.too_long", detail)]
    text = normal.decode()
    faults: list[PasswordFault] = []
    if len(text) < minimum_length:
        detail = f"must have at least {minimum_length} characters"
        faults.append(PasswordFault("password.too_short", detail))
    if text.casefold() in _common():
        faults.append(PasswordFault("password.common", "is one of the most common passwords"))
    if _is_personal(text.casefold(), own_words):
        detail = "consists of little more than your own names or e-mail address"
        faults.append(PasswordFault("password.personal", detail))
    return faults


def _let_others_go_first() -> None:
    """Give this thread what the others leave: who signs in waits anyway, and a check does not.

    Where a system has no priority for a single thread, all stay alike.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LEAST_PRIORITY)


class PasswordHasher:
    """Hashes and verifies in a small pool of threads of its own, never on the event loop.

    One hash costs 19 MiB and some 30 ms and releases the interpreter lock, so nothing but the
    pool's size bounds what a flood of sign-ins takes (security 3.1). Used from one event loop.
    """

    def __init__(
        self,
        inputs: Inputs,
        profile: Argon2Profile | None = None,
        *,
        minimum_length: int = LENGTH_DEFAULT,
    ) -> None:
        profile = profile or Argon2Profile()
        self._inputs = inputs
        self._minimum_length = minimum_length
        self._argon2 = argon2.PasswordHasher(
            time_cost=profile.passes,
            memory_cost=profile.memory_kib,
            parallelism=profile.lanes,
            hash_len=32,
            salt_len=16,
            type=argon2.Type.ID,
        )
        # Verified for the unknown, with today's parameters, so that its time tells nothing.
        self._dummy = self._argon2.hash(inputs.random_bytes(32))
        self._pool = ThreadPoolExecutor(
            THREADS, thread_name_prefix="passwords", initializer=_let_others_go_first
        )
        self._places = BoundedSemaphore(THREADS + WAITING_MAX)
        self._hashes: set[Future[Any]] = set()
        self._memory_key = inputs.random_bytes(32)
        self._memory: OrderedDict[UserId, tuple[bytes, float]] = OrderedDict()

    async def hash(self, password: Secret) -> Secret:
        """The encoded argon2id hash of a password that passed `check_password`, to be sealed.

        Raises SignInBusyError; ValueError for text over 1,024 bytes.
        """
        normal = _normal(password)
        if normal is None:
            msg = f"a password has at most {BYTES_MAX} bytes"
            raise ValueError(msg)
        return Secret(await self._in_pool(lambda: self._argon2.hash(normal)))

    async def verify(
        self, stored: str | None, password: Secret, *, remember: UserId | None = None
    ) -> bool:
        """Whether the password fits the stored hash.

        With None (nobody, locked, without a password) a dummy is verified, so that the answer
        False takes the same time (security 3.3). With `remember` a success for this user is
        answered at once for the next 60 seconds (security 3.5, Basic credentials); failures never
        are. An unreadable hash is an alarm in the log and False. Raises SignInBusyError.
        """
        normal = _normal(password)
        if stored is None or normal is None:
            return await self._in_pool(lambda: self._fits_nobody(normal or b""))
        if remember is None:
            return await self._in_pool(lambda: self._fits(stored, normal))
        seal = hmac.digest(
            self._memory_key, json.encode((remember, stored)) + b"\n" + normal, "sha256"
        )
        if self._remembers(remember, seal):
            return True
        right = await self._in_pool(lambda: self._fits(stored, normal))
        if right:
            self._remember(remember, seal)
        return right

    def faults(self, password: Secret, own_words: Iterable[str]) -> tuple[str, ...]:
        """Why a new password is refused by this installation; empty when it is good."""
        found = check_password(password, own_words=own_words, minimum_length=self._minimum_length)
        return tuple(fault.detail for fault in found)

    def needs_rehash(self, stored: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._argon2.check_needs_rehash(stored)

    @property
    def waiting(self) -> int:
        """How many hashes wait for a thread; from any thread."""
        return max(0, len(self._hashes) - THREADS)

    def forget(self, user: UserId) -> None:
        """Drop a remembered success: the user, the password or a privilege changed."""
        self._memory.pop(user, None)

    def close(self) -> None:
        """Let the running hashes finish, drop the waiting ones, end the threads."""
        self._pool.shutdown(cancel_futures=True)

    async def _in_pool(self, work: Callable[[], T]) -> T:
        if not self._places.acquire(blocking=False):
            raise SignInBusyError
        future = self._pool.submit(work)
        self._hashes.add(future)
        # The place is given back when the work ends, not when the caller stops waiting: a client
        # that hangs up must not make room for another hash beside its own.
        future.add_done_callback(self._give_back)
        return await asyncio.wrap_future(future)

    def _give_back(self, future: Future[T]) -> None:
        self._hashes.discard(future)
        self._places.release()

    def _fits(self, stored: str, password: bytes) -> bool:
        try:
            return self._argon2.verify(stored, password)
        except argon2.exceptions.VerifyMismatchError:
            return False
        except (ValueError, argon2.exceptions.VerificationError):  # InvalidHashError among them
            reason = "password_hash.unreadable"
        # Without the exception: a traceback may show the hash.
        _LOG.error(reason)
        return self._fits_nobody(password)

    def _fits_nobody(self, password: bytes) -> bool:
        with suppress(argon2.exceptions.VerificationError):
            self._argon2.verify(self._dummy, password)
        return False

    def _remembers(self, user: UserId, seal: bytes) -> bool:
        known, until = self._memory.get(user, (b"", 0.0))
        return hmac.compare_digest(known, seal) and self._inputs.monotonic() < until

    def _remember(self, user: UserId, seal: bytes) -> None:
        self._memory.pop(user, None)
        self._memory[user] = (seal, self._inputs.monotonic() + REMEMBERED_SECONDS)
        if len(self._memory) > REMEMBERED_USERS_MAX:
            self._memory.popitem(last=False)


def _normal(password: Secret) -> bytes | None:
    """The password's bytes after NFC, or None when it is too long or no Unicode text."""
    text = password.reveal()
    if len(text) > BYTES_MAX:
        return None
    try:
        normal = unicodedata.normalize("NFC", text).encode()
    except UnicodeEncodeError:
        return None
    return normal if len(normal) <= BYTES_MAX else None


def _is_personal(password: str, own_words: Iterable[str]) -> bool:
    """Whether fewer than 8 characters remain when the person's own words are taken out."""
    words = {
        part
        for text in own_words
        for part in _parts(unicodedata.normalize("NFC", text).casefold())
        if len(part) >= _OWN_WORD_LENGTH_MIN
    }
    rest = password
    for word in sorted(words, key=len, reverse=True):
        rest = rest.replace(word, "")
    return rest != password and len(rest) < LENGTH_FLOOR


def _parts(text: str) -> set[str]:
    words = "".join(letter if letter.isalnum() else " " for letter in text).split()
    return {text, text.partition("@")[0], "".join(words), *words}


@cache
def _common() -> frozenset[str]:
    return frozenset(gzip.decompress(_COMMON.read_bytes()).decode().split())
