"""Which clock and which ids does a test use?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256

from domain.sealed import Secret
from domain.token_text import SECRET_BYTES, TokenKind, make

START = datetime(2026, 1, 1, tzinfo=UTC)


class FixedInputs:
    """A clock that moves only by `advance`, and values that count up: `id` gives 0…01, 0…02.

    The bytes are the same in every run and never repeat within one, so nonces stay unique.
    """

    def __init__(self, at: datetime = START) -> None:
        self._at = at
        self._elapsed_seconds = 0.0
        self._ids = 0
        self._draws = 0

    def advance(self, seconds: float) -> None:
        """Move both clocks on."""
        self._at += timedelta(seconds=seconds)
        self._elapsed_seconds += seconds

    def now(self) -> datetime:
        return self._at

    def timestamp(self) -> float:
        return self._at.timestamp()

    def monotonic(self) -> float:
        return self._elapsed_seconds

    def random_bytes(self, size: int) -> bytes:
        blocks = bytearray()
        while len(blocks) < size:
            self._draws += 1
            blocks += sha256(b"fixed %d" % self._draws).digest()
        return bytes(blocks[:size])

    def id(self) -> str:
        self._ids += 1
        return f"{self._ids:022}"

    def token(self, kind: TokenKind) -> Secret:
        return Secret(make(kind, self.random_bytes(SECRET_BYTES)))

    def token_prefix(self) -> str:
        self._draws += 1
        return f"T{self._draws:05}"
