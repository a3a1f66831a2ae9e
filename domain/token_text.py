"""What does the text of an API token look like, and does a given text look like one?"""

from __future__ import annotations

import re
from enum import StrEnum
from hashlib import sha256
from typing import Final
from zlib import crc32

SECRET_BYTES: Final = 32
LENGTH: Final = 54

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# Two characters at a time halves the divisions: every request has an id made of 22.
_PAIRS: Final = tuple(first + second for first in _DIGITS for second in _DIGITS)
_PAIR: Final = len(_PAIRS)
_SECRET_LENGTH: Final = 43
_CHECKED_LENGTH: Final = 48

# Redaction is generous: a cut-off token still gives most of its bits away, and a query string
# may carry the underscore percent-encoded.
_LOOKS_LIKE: Final = re.compile(r"mun[sux](?:_|%5[Ff])[0-9A-Za-z]+")


class TokenKind(StrEnum):
    """Whose token it is; the value is the beginning of the text (security 4.1)."""

    SERVICE_ACCOUNT = "muns_"
    USER = "munu_"
    EXCHANGED = "munx_"


_PREFIXES: Final = frozenset(kind.value for kind in TokenKind)


def base62(number: int, length: int) -> str:
    """The number in base 62, digits before upper case before lower, filled up with zeros.

    Raises ValueError when it is negative or does not fit the length.
    """
    pieces: list[str] = []
    rest = number
    for _ in range(length // 2):
        rest, pair = divmod(rest, _PAIR)
        pieces.append(_PAIRS[pair])
    if length % 2:
        rest, digit = divmod(rest, 62)
        pieces.append(_DIGITS[digit])
    if rest:
        msg = f"the number does not fit into {length} characters"
        raise ValueError(msg)
    pieces.reverse()
    return "".join(pieces)


def make(kind: TokenKind, random_bytes: bytes) -> str:
    """The token's text from exactly 32 random bytes (security 4.1); else ValueError."""
    if len(random_bytes) != SECRET_BYTES:
        msg = f"a token takes {SECRET_BYTES} random bytes"
        raise ValueError(msg)
    checked = kind.value + base62(int.from_bytes(random_bytes), _SECRET_LENGTH)
    return checked + _checksum(checked)


def well_formed(text: str) -> bool:
    """Whether prefix, length, alphabet and checksum are right (security 4.1).

    Says nothing about whether such a token exists; it spares the hash and the look-up.
    """
    return (
        len(text) == LENGTH
        and text[:5] in _PREFIXES
        and text.isascii()
        and text[5:].isalnum()
        and _checksum(text[:_CHECKED_LENGTH]) == text[_CHECKED_LENGTH:]
    )


def digest(text: str) -> bytes:
    """SHA-256 of the whole text, 32 bytes: the only form of a token that is stored."""
    return sha256(text.encode()).digest()


def find(text: str) -> list[str]:
    """Everything in the text that looks like a token of ours, whole or cut, in order."""
    return _LOOKS_LIKE.findall(text)


def redact(text: str) -> str:
    """The text with all that `find` finds replaced by its prefix and three stars."""
    return _LOOKS_LIKE.sub(lambda found: found[0][:4] + "_***", text)


def _checksum(checked: str) -> str:
    number = crc32(checked.encode())
    return (
        _PAIRS[number // (_PAIR * _PAIR)] + _PAIRS[number // _PAIR % _PAIR] + _PAIRS[number % _PAIR]
    )
