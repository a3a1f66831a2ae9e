"""What time is it, and which random values does this process use?"""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from typing import Protocol

from domain.sealed import Secret
from domain.token_text import SECRET_BYTES, TokenKind, base62, make

_ID_BYTES = 16
_ID_LENGTH = 22
_LABEL_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LABEL_LENGTH = 6


class Inputs(Protocol):
    """The clock and the randomness; tests give a fixed one."""

    def now(self) -> datetime:
        """The instant, an aware datetime in UTC with microseconds."""
        ...

    def timestamp(self) -> float:
        """The instant in seconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Seconds from any fixed moment, never running backwards."""
        ...

    def random_bytes(self, size: int) -> bytes:
        """That many bytes which nobody can predict."""
        ...

    def id(self) -> str:
        """A new id or command id: 22 characters of base62 over 128 random bits."""
        ...

    def token(self, kind: TokenKind) -> Secret:
        """The text of a new token (security 4.1)."""
        ...

    def token_prefix(self) -> str:
        """The public label of a new token: six upper-case letters or digits (kestra-iam 6.2).

        Made apart from the secret, so that showing it gives none of the 256 bits away.
        """
        ...


class SystemInputs:
    """The machine's clock and the operating system's randomness."""

    # The functions themselves, because every check reads them; `now` takes six times as long.
    monotonic = staticmethod(time.monotonic)
    timestamp = staticmethod(time.time)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def random_bytes(self, size: int) -> bytes:
        return secrets.token_bytes(size)

    def id(self) -> str:
        return base62(int.from_bytes(secrets.token_bytes(_ID_BYTES)), _ID_LENGTH)

    def token(self, kind: TokenKind) -> Secret:
        return Secret(make(kind, secrets.token_bytes(SECRET_BYTES)))

    def token_prefix(self) -> str:
        return "".join(secrets.choice(_LABEL_ALPHABET) for _ in range(_LABEL_LENGTH))
