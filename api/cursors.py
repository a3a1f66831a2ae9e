"""Is this page token ours, undamaged, and for the very request that it comes back with?

A token holds where a walk stands and at which moment it is shown. It is authenticated by HMAC
together with what the walk is bound to: the caller, and everything asked but the page (http-api 5,
authzen 5). It is no secret: it says nothing that its caller was not shown.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Final

import msgspec
from msgspec import Struct

from api.request_errors import MalformedError

_MAC_BYTES: Final = 16
_CHARACTERS_MAX: Final = 2_048


class Cursor(Struct, frozen=True, array_like=True, kw_only=True):
    """Where a walk stands: after the key `last`, at a position and an instant (Unix seconds)."""

    position: int
    now: float
    last: str
    limit: int


_decode: Final = msgspec.msgpack.Decoder(Cursor).decode
_encode: Final = msgspec.msgpack.Encoder().encode


def seal(key: bytes, cursor: Cursor, bound_to: bytes) -> str:
    """Answer the token of a cursor; `bound_to` is what may not differ when it comes back."""
    body = _encode(cursor)
    return urlsafe_b64encode(_mac(key, body, bound_to) + body).rstrip(b"=").decode()


def unseal(key: bytes, token: str, bound_to: bytes) -> Cursor:
    """Answer the cursor of a token; raises MalformedError `cursor.invalid`."""
    try:
        text = token.encode("ascii")
        whole = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except (UnicodeError, binascii.Error):
        raise _invalid() from None
    mac, body = whole[:_MAC_BYTES], whole[_MAC_BYTES:]
    if len(token) > _CHARACTERS_MAX or not hmac.compare_digest(mac, _mac(key, body, bound_to)):
        raise _invalid()
    if seal(key, cursor := _decode(body), bound_to) != token:
        # One text a token: base64 has several spellings of its last bits.
        raise _invalid()
    return cursor


def _mac(key: bytes, body: bytes, bound_to: bytes) -> bytes:
    message = sha256(bound_to).digest() + body
    return hmac.digest(key, message, "sha256")[:_MAC_BYTES]


def _invalid() -> MalformedError:
    return MalformedError("cursor.invalid", "this page token is damaged or of another request")
