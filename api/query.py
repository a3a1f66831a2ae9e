"""Does the request target have one reading, and what does its query say?

So that a proxy's path rules and ours read the same (security 5.7).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from api.request_errors import MalformedError
from domain import token_text

Query = tuple[tuple[str, str], ...]

# Parameters that may be given more than once.
LISTS: Final = frozenset({"sort"})

# Nearly every path there is: no percent sign, no dot segment, no empty segment but the last.
_PLAIN_PATH: Final = re.compile(rb"/(?:(?!\.{1,2}(?:/|\Z))[\w.~!$&'()*+,;=:@-]+(?:/|\Z))*\Z")
_UNREADABLE: Final = re.compile(rb"[^\x21-\x7e]|\\")
_BAD_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})|%25[0-9A-Fa-f]{2}|%2[Ff]|%5[Cc]")
_BROKEN_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_PREFIX_SHOWN_CHARACTERS: Final = 25
_REMEMBERED_MAX: Final = 256  # paths found good; a few make up nearly all requests
_LINE: Final = frozenset({"Cc", "Zl", "Zp"})


@lru_cache(_REMEMBERED_MAX)
def judge_path(raw_path: bytes) -> None:
    """Refuse a path that a proxy and this server could read differently (security 5.7).

    That is dot segments, backslashes, empty segments but the last, encoded slashes, control
    characters, broken or double percent-encoding and invalid UTF-8. Raises MalformedError
    `route.malformed_path`, and `token.misplaced` where a token stands in the path.
    """
    if _PLAIN_PATH.match(raw_path) is None:
        _judge_unusual(raw_path)
    if b"mun" in raw_path or b"%" in raw_path:
        refuse_token(unquote_to_bytes(raw_path).decode())


def read_query(raw_query: bytes) -> Query:
    """Answer the parameters in their order, percent-decoded once, `+` as a space.

    Raises MalformedError: `query.malformed` for broken percent-encoding, invalid UTF-8, bytes
    that belong into no target and control characters; `query.repeated` for a parameter given
    twice that is no list; `token.misplaced` for a token (security 4.3).
    """
    if not raw_query:
        return ()
    if _BROKEN_PERCENT.search(raw_query) or _UNREADABLE.search(raw_query.replace(b"\\", b"")):
        raise MalformedError("query.malformed", "the query is not percent-encoded ASCII")
    query = tuple(_parameter(part) for part in raw_query.split(b"&") if part)
    names: set[str] = set()
    for name, value in query:
        refuse_token(name)
        refuse_token(value)
        if name in names and name not in LISTS:
            raise MalformedError("query.repeated", f"{name} is given twice")
        names.add(name)
    return query


def refuse_token(text: str) -> None:
    """Raise MalformedError `token.misplaced` where more than a token's public part stands."""
    if "mun" in text and any(
        len(found) >= _PREFIX_SHOWN_CHARACTERS for found in token_text.find(text)
    ):
        raise MalformedError("token.misplaced", "a token that stood here should be revoked")


def _parameter(part: bytes) -> tuple[str, str]:
    name, _, value = part.partition(b"=")
    return _text(name), _text(value)


def _text(encoded: bytes) -> str:
    try:
        text = unquote_to_bytes(encoded.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise MalformedError("query.malformed", "the query is not UTF-8") from None
    if _breaks_lines(text):
        raise MalformedError("query.malformed", "the query contains a control character")
    return text


def _judge_unusual(raw_path: bytes) -> None:
    if not raw_path.startswith(b"/") or _UNREADABLE.search(raw_path):
        raise _malformed("it begins with / and is percent-encoded ASCII without a backslash")
    if _BAD_PERCENT.search(raw_path):
        raise _malformed("it is percent-encoded once, without slashes and backslashes")
    segments = raw_path.split(b"/")[1:]
    if b"" in segments[:-1]:
        raise _malformed("only its last segment may be empty")
    try:
        decoded = [unquote_to_bytes(segment).decode() for segment in segments]
    except UnicodeDecodeError:
        raise _malformed("it is UTF-8") from None
    if any(segment in {".", ".."} or _breaks_lines(segment) for segment in decoded):
        raise _malformed("it has no dot segments and no control characters")


def _breaks_lines(text: str) -> bool:
    return not text.isprintable() and any(
        unicodedata.category(character) in _LINE for character in text
    )


def _malformed(rule: str) -> MalformedError:
    return MalformedError("route.malformed_path", f"a path here is as follows: {rule}")
