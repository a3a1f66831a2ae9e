"""Are lines cut rightly, wherever the pieces of the body end, and is little of them held?"""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.access.lines import LINE_BYTES_MAX, LineReader, Lines
from api.decoding import BodyError
from api.request_errors import AuthenticationError
from domain.errors import ForbiddenError
from tests.api.test_body_reading import Client

LONG = b"x" * (LINE_BYTES_MAX + 1)


def read(*pieces: bytes) -> list[bytes | None]:
    """Answer the lines of a body that comes in these pieces."""

    async def all_of() -> list[bytes | None]:
        reader = LineReader(Client(*pieces).receive)
        return [line async for lines in reader.pieces() for line in lines]

    return asyncio.run(all_of())


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([b"a\nb\n"], [b"a", b"b"]),
        ([b"a\nb"], [b"a", b"b"]),
        ([b"a\r\nb\r\n"], [b"a\r", b"b\r"]),
        ([b"a", b"b\nc", b"", b"d"], [b"ab", b"cd"]),
        ([b"\n\n a\n \t\n\r\n"], [b" a"]),
        ([b""], []),
        ([LONG[1:] + b"\na"], [LONG[1:], b"a"]),
        ([LONG + b"\na"], [None, b"a"]),
        ([LONG], [None]),
        ([LONG[1:], b"x", b"xx\n", b"a\n"], [None, b"a"]),
        ([b"a\n" + LONG[9:], b"x" * 10_000, b"\n" + LONG[1:] + b"\n"], [b"a", None, LONG[1:]]),
    ],
    ids=range(11),
)
def test_lines_are_cut_wherever_pieces_end(pieces: list[bytes], lines: list[bytes | None]) -> None:
    """Line ends of both kinds, none at the end, blank lines, and lines that are too long."""
    assert lines == read(*pieces)


@given(st.lists(st.sampled_from([b"a", b"\n", b"bb", b"\n\n", b" ", LONG, b""])), st.data())
def test_pieces_do_not_matter(parts: list[bytes], data: st.DataObject) -> None:
    """Any way to cut a body gives the lines of the whole."""
    body = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=5)))
    pieces = [body[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    expected = [
        None if len(line) > LINE_BYTES_MAX else line for line in body.split(b"\n") if line.strip()
    ]

    assert expected == read(*pieces)


def test_a_line_without_end_is_not_held() -> None:
    """64 MiB of one line cost no more than a piece."""
    taken = 0

    async def receive() -> Any:  # noqa: ANN401 - a message of ASGI
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": b"x" * 65_536, "more_body": taken < 1_024}

    async def all_of() -> list[bytes | None]:
        return [line async for lines in LineReader(receive).pieces() for line in lines]

    tracemalloc.start()
    try:
        assert [None] == asyncio.run(all_of())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_a_caller_that_goes_away_ends_the_reading() -> None:
    """What came is not taken for the whole."""

    async def until_gone() -> None:
        async for _ in LineReader(Client(b"a\n", cut=True).receive).pieces():
            pass

    with pytest.raises(BodyError, match=r"body\.incomplete"):
        asyncio.run(until_gone())


def send(*parts: bytes | Exception) -> list[Any]:
    """Answer what is sent where the answers are these, up to a fault."""
    sent: list[Any] = []

    async def answers() -> Any:  # noqa: ANN401 - an async generator
        for part in parts:
            if isinstance(part, Exception):
                raise part
            yield part

    async def keep(message: Any) -> None:  # noqa: ANN401 - a message of ASGI
        sent.append(message)

    async def nothing() -> Any:  # noqa: ANN401 - never called
        raise AssertionError

    asyncio.run(Lines(answers(), ((b"x-a", b"b"),))(None, nothing, keep))
    return sent


def test_answers_are_sent_as_they_are_made() -> None:
    """A start, each part for itself, and an end without more."""
    start, one, two, end = send(b"1\n", b"2\n")

    assert {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b")]} == start
    assert (b"1\n", True, b"2\n", True) == (
        one["body"],
        one["more_body"],
        two["body"],
        two["more_body"],
    )
    assert (b"", False) == (end["body"], end["more_body"])


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (
            AuthenticationError("token.revoked", "this token was revoked", presented=True),
            b'{"error":{"status":401,"code":"token.revoked","message":"this token was revoked"}}\n',
        ),
        (
            ForbiddenError("permission.denied", "no"),
            b'{"error":{"status":403,"code":"permission.denied","message":"no"}}\n',
        ),
        (
            BodyError(408, "body.too_slow", "late"),
            b'{"error":{"status":408,"code":"body.too_slow","message":"late"}}\n',
        ),
    ],
)
def test_a_refusal_on_the_way_is_the_last_line(fault: Exception, line: bytes) -> None:
    """It is no decision, and nothing comes after it."""
    *_, end = send(b"1\n", fault, b"2\n")

    assert (line, False) == (end["body"], end["more_body"])


def test_an_unforeseen_fault_ends_without_an_end() -> None:
    """The server cuts the connection, so that nobody takes the answers for all of them."""
    with pytest.raises(ZeroDivisionError):
        send(b"1\n", ZeroDivisionError())
