"""Does a request target have one reading, or is it refused?"""

from __future__ import annotations

from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.query import judge_path, read_query
from api.request_errors import MalformedError

TOKEN = "muns_" + "a" * 49


@pytest.mark.parametrize(
    "path",
    [
        b"/",
        b"/ui/",
        b"/api/v1/main/groups/grp_1",
        b"/.well-known/authzen-configuration",
        b"/a/...",
        b"/a/.b",
        b"/a/b%20c",
        b"/a/%C3%A9",
        b"/a/100%25",
        b"/a/[x]",
        b"/munich/munx_short",
    ],
)
def test_an_unambiguous_path_is_let_through(path: bytes) -> None:
    """Security 5.7: what every proxy reads alike is no reason to refuse."""
    judge_path(path)


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"*",
        b"a/b",
        b"http://x/a",
        b"//a",
        b"/a//b",
        b"/a//",
        b"/.",
        b"/..",
        b"/a/../b",
        b"/a/./b",
        b"/a/%2e%2e/b",
        b"/a/.%2E",
        b"/a%2fb",
        b"/a%2Fb",
        b"/a\\b",
        b"/a%5cb",
        b"/a%00",
        b"/a\x00",
        b"/a%0ab",
        b"/a%7f",
        b"/a%C2%85",
        b"/a%E2%80%A8",
        b"/a b",
        b"/\xc3\xa9",
        b"/a%ff",
        b"/a%",
        b"/a%2",
        b"/a%zz",
        b"/a%252e",
        b"/a%2541",
    ],
)
def test_an_ambiguous_path_is_refused(path: bytes) -> None:
    """Security 5.7: dot segments, double encoding, control characters and the like are 400."""
    with pytest.raises(MalformedError) as refused:
        judge_path(path)

    assert refused.value.code == "route.malformed_path"


@given(st.binary(max_size=30) | st.text("/.%25eEfFa\\\0", max_size=12).map(str.encode))
def test_what_is_let_through_reads_the_same_after_decoding(path: bytes) -> None:
    """Security 5.7: normalising or decoding a path again gives no other segments."""
    try:
        judge_path(path)
    except MalformedError:
        return
    segments = path.split(b"/")
    decoded = unquote_to_bytes(path)
    assert len(decoded.split(b"/")) == len(segments)
    assert b"." not in decoded.split(b"/")
    assert b".." not in decoded.split(b"/")
    assert b"" not in decoded.split(b"/")[1:-1]
    assert b"\\" not in decoded
    decoded.decode()


def test_a_query_is_decoded_once() -> None:
    """Percent signs and plus signs are decoded, once, and the order is kept (kestra-iam 2.3)."""
    assert read_query(b"b=1&filters%5Bname%5D%5BEQUALS%5D=a+b%2Bc%2541&a=&flag&") == (
        ("b", "1"),
        ("filters[name][EQUALS]", "a b+c%41"),
        ("a", ""),
        ("flag", ""),
    )
    assert read_query(b"") == ()


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (b"a=%", "query.malformed"),
        (b"a=%g0", "query.malformed"),
        (b"a=%ff", "query.malformed"),
        (b"a=\xff", "query.malformed"),
        (b"a=b c", "query.malformed"),
        (b"a=%00", "query.malformed"),
        (b"a=%0d%0aX", "query.malformed"),
        (b"a=%C2%9B", "query.malformed"),
        (b"a=1&a=2", "query.repeated"),
        (b"a=1&%61=2", "query.repeated"),
        (b"filters[q][EQUALS]=1&filters%5Bq%5D%5BEQUALS%5D=2", "query.repeated"),
    ],
)
def test_a_query_with_two_readings_is_refused(query: bytes, code: str) -> None:
    """Security 5.7: repeated parameters, broken encoding and control characters are 400."""
    with pytest.raises(MalformedError) as refused:
        read_query(query)

    assert refused.value.code == code


def test_lists_may_be_repeated() -> None:
    """`sort` may be given more than once (kestra-iam 2.2)."""
    assert read_query(b"sort=a&sort=b") == (("sort", "a"), ("sort", "b"))


@pytest.mark.parametrize("spelled", [TOKEN, "%6duns%5F" + TOKEN[5:], "x" + TOKEN])
def test_a_token_outside_its_header_is_refused(spelled: str) -> None:
    """Security 4.3: a token in a path or query is refused, however it is spelled."""
    for ask in (
        lambda: judge_path(b"/api/" + spelled.encode()),
        lambda: read_query(b"token=" + spelled.encode()),
        lambda: read_query(spelled.encode()),
    ):
        with pytest.raises(MalformedError) as refused:
            ask()
        assert refused.value.code == "token.misplaced"
        assert TOKEN[5:] not in str(refused.value)


@given(st.lists(st.tuples(st.text(), st.text()), unique_by=lambda pair: pair[0]))
def test_any_query_is_read_back_or_refused(pairs: list[tuple[str, str]]) -> None:
    """Security 6.6: a well-encoded query says what was meant, or is refused by its code."""
    raw = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
    try:
        query = read_query(raw.encode())
    except MalformedError:
        return
    assert list(query) == [pair for pair in pairs if pair != ("", "")] or ("", "") in pairs
