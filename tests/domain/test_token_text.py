"""Is the form of a token written and judged as security 4.1 says?"""

from __future__ import annotations

import string
from hashlib import sha256
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.token_text import (
    LENGTH,
    TokenKind,
    base62,
    digest,
    find,
    make,
    redact,
    well_formed,
)

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
SECRETS = st.binary(min_size=32, max_size=32)
KINDS = st.sampled_from(TokenKind)
TOKEN = make(TokenKind.SERVICE_ACCOUNT, bytes(range(32)))


def number(text: str) -> int:
    """The plain inverse of base 62, one character at a time."""
    value = 0
    for character in text:
        value = value * 62 + ALPHABET.index(character)
    return value


@given(kind=KINDS, secret=SECRETS)
def test_a_token_has_the_form_that_was_agreed(kind: TokenKind, secret: bytes) -> None:
    """Security 4.1: prefix, 43 characters of 256 bits, 6 of the CRC32 of everything before."""
    text = make(kind, secret)

    assert LENGTH == len(text) == 54
    assert kind.value == text[:5]
    assert int.from_bytes(secret) == number(text[5:48])
    assert crc32(text[:48].encode()) == number(text[48:])
    assert well_formed(text)


def test_the_form_never_changes() -> None:
    """Security 4.1: a token written down today is read by every later release."""
    assert "muns_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf0o2vp8" == TOKEN


def test_every_single_changed_character_is_noticed() -> None:
    """Security 4.1: a typing error of one character is refused without hash or look-up."""
    characters = (*ALPHABET, "_", "-", " ", "\n", "\0", "é", "٣")
    changed = {
        TOKEN[:place] + character + TOKEN[place + 1 :]
        for place in range(LENGTH)
        for character in characters
    } - {TOKEN}

    assert LENGTH * (len(characters) - 1) == len(changed)
    assert not any(map(well_formed, changed))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "muns_",
        TOKEN[:-1],
        TOKEN + "0",
        TOKEN + "\n",
        " " + TOKEN[:-1],
        TOKEN.upper(),
        "munt_" + TOKEN[5:],
        "munu_" + TOKEN[5:],
        "munx_" + TOKEN[5:],
        TOKEN * 20_000,
        "muns_" + "٣" * 49,
        "muns_" + "\ud800" * 49,
    ],
    ids=[
        "empty",
        "prefix",
        "short",
        "long",
        "line feed",
        "space",
        "upper case",
        "unknown prefix",
        "prefix of a user",
        "prefix of an exchange",
        "1 MB",
        "foreign digits",
        "surrogates",
    ],
)
def test_what_is_no_token_is_refused(text: str) -> None:
    """Security 4.1: wrong prefix, length, alphabet or checksum is told from the text alone."""
    assert not well_formed(text)


@given(SECRETS)
def test_a_digest_is_that_of_the_whole_text(secret: bytes) -> None:
    """Security 4.2: what is stored is SHA-256 of the whole text."""
    text = make(TokenKind.USER, secret)

    assert sha256(text.encode("ascii")).digest() == digest(text)


@given(kind=KINDS, secret=SECRETS, before=st.text(), after=st.text(alphabet=" .,\"'&\n%{é"))
def test_a_token_is_found_wherever_it_stands(
    kind: TokenKind, secret: bytes, before: str, after: str
) -> None:
    """Security 4.5: anything that looks like a token of ours leaves no record, whole or cut."""
    text = make(kind, secret)

    assert find(before + text + after)[-1].endswith(text[5:])
    for shown in (text, text[:30], text.replace("_", "%5F"), text.replace("_", "%5f")):
        assert shown[10:25] not in redact(before + shown + after)


def test_redaction_leaves_the_rest_alone() -> None:
    """Security 4.5: only the token goes, so that a record stays readable."""
    assert "GET /x?token=muns_***&page=2 by muns" == redact(f"GET /x?token={TOKEN}&page=2 by muns")
    assert [] == find("municipal muns munz_abc mun_abc")


@given(st.integers(min_value=0, max_value=62**6 - 1))
def test_base62_is_one_to_one(value: int) -> None:
    """Ids and tokens that differ in their bits differ in their text."""
    assert value == number(base62(value, 6))


@pytest.mark.parametrize("value", [-1, 62**6])
def test_base62_refuses_what_does_not_fit(value: int) -> None:
    """A number is never cut silently, or two could become one id."""
    with pytest.raises(ValueError, match="does not fit"):
        base62(value, 6)


def test_a_token_takes_neither_more_nor_fewer_bits() -> None:
    """Security 4.1: 256 bits, never fewer by mistake."""
    with pytest.raises(ValueError, match="32 random bytes"):
        make(TokenKind.USER, bytes(31))
