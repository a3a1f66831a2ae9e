"""How do secrets and personal data travel, and what stands for them inside an event?"""

from __future__ import annotations

from enum import Enum
from hmac import compare_digest
from typing import Final, NewType, NoReturn

from msgspec import Struct

from domain.ids import CommandId

KeyId = NewType("KeyId", str)

REDACTED: Final = "***"


class Sealed(Struct, frozen=True, kw_only=True):
    """A value under a key that only the vault holds (transparency-log 5).

    It names the command it was sealed for, because that belongs to the authenticated data: so a
    state or a view that keeps the field can have it opened without keeping the envelope.
    """

    key: KeyId
    command_id: CommandId
    text: bytes  # 12 bytes of nonce, then AES-256-GCM of 32 bytes of salt and the value
    commit: bytes  # HMAC-SHA256(salt, value), 32 bytes


class Erased(Enum):
    """What stands in the place of a value whose key was destroyed."""

    ERASED = "erased"


ERASED: Final = Erased.ERASED


class DestroyedKeyError(Exception):
    """The key that is to seal something has been destroyed."""


class Secret:
    """A text that shows itself only to `reveal`: not to repr, str, format, logs or encoders.

    Not a subclass of str, so msgspec refuses to encode it and every accidental use is a type error.
    """

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        """The text itself."""
        return self.__value

    def __repr__(self) -> str:
        return f"Secret({REDACTED!r})"

    def __str__(self) -> str:
        return REDACTED

    def __format__(self, _specification: str) -> str:
        return REDACTED

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return compare_digest(self.__value.encode(), other.__value.encode())

    def __hash__(self) -> int:
        return hash(self.__value)

    def __reduce__(self) -> NoReturn:
        msg = "a secret is never pickled or copied"
        raise TypeError(msg)


def decode_secret(kind: type, value: object) -> Secret:
    """A `dec_hook` for msgspec: a JSON string for a field of type Secret.

    Raises TypeError otherwise, which msgspec reports as a ValidationError at the field's place.
    """
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    msg = "Expected `str`"
    raise TypeError(msg)


def encode_secret(value: object) -> str:
    """An `enc_hook` for msgspec in logs and answers: stars for a secret, TypeError else."""
    if isinstance(value, Secret):
        return REDACTED
    msg = f"no encoding for {type(value).__name__}"
    raise TypeError(msg)
