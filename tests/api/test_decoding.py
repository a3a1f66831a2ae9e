"""Does the decode guard of security 6.1 let through exactly what is safe to parse?"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.decoding import (
    BODY_BYTES_MAX,
    DEPTH_MAX,
    NODES_MAX,
    BodyError,
    guard_json,
    too_complex,
)

DOCUMENTS = 3_000


class Typed(msgspec.Struct):
    name: str
    free: Any = None


def scan(body: bytes) -> tuple[int, int]:
    """Depth and number of values of valid JSON, one character at a time."""
    depth = deepest = nodes = 0
    inside = escaped = False
    for character in body.decode():
        if inside:
            inside = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            inside = True
        elif character in "[{":
            depth += 1
            nodes += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
        elif character == ",":
            nodes += 1
    assert depth == 0
    assert not inside
    return deepest, nodes


def document(chance: random.Random, depth: int) -> object:
    """A random value with hostile strings: brackets, quotes, commas and backslashes."""
    kind = chance.random()
    if depth == 0 or kind < 0.25:
        text = "".join(chance.choice('[]{}",\\/u0é:\n') for _ in range(chance.randrange(12)))
        return chance.choice([text, text, 1, -0.5, True, None])
    size = chance.randrange(4) + (kind > 0.6)
    if kind < 0.6:
        return [document(chance, depth - 1) for _ in range(size)]
    return {chance.choice('ab"\\[{,') * (n + 1): document(chance, depth - 1) for n in range(size)}


def documents() -> Iterable[bytes]:
    """The same 3,000 documents in every run, compact, spaced and escaped to ASCII or not."""
    chance = random.Random(61)  # noqa: S311 no secret, but the same in every run
    for _ in range(DOCUMENTS):
        value = document(chance, 6)
        for _ in range(chance.randrange(12)):
            value = chance.choice([[value], {"a": value}, [value, "]"], {'"': value}])
        yield json.dumps(
            value,
            ensure_ascii=chance.random() < 0.5,
            separators=chance.choice([(",", ":"), (", ", ": ")]),
        ).encode()


Judge = Callable[[bytes, int, int], bool]


def disagreements(judge: Judge) -> tuple[int, int]:
    """On how many documents the guard lets through what is too much, or refuses what is not.

    Commas and brackets inside strings count as values by the guard's own rule.
    """
    open_doors = closed_doors = 0
    for number, body in enumerate(documents()):
        exact_depth, exact_nodes = scan(body)
        counted = sum(body.count(mark) for mark in (b"[", b"{", b","))
        depth_limit, node_limit = number % 16, 20 + number % 100
        refused = judge(body, depth_limit, node_limit)
        must = exact_depth > depth_limit or exact_nodes > node_limit
        may = exact_depth > depth_limit or counted > node_limit
        open_doors += must and not refused
        closed_doors += refused and not may
    return open_doors, closed_doors


def test_the_guard_agrees_with_an_exact_scanner() -> None:
    """Security 6.1: verified on 3,000 random documents, 0 let through, 0 refused wrongly."""
    assert disagreements(too_complex) == (0, 0)


def naive(body: bytes, depth: int, nodes: int) -> bool:
    """A guard that forgets strings and escapes."""
    marks = body.translate(bytes.maketrans(b"[]", b"{}"))
    level = deepest = 0
    for byte in marks:
        level += (byte == ord("{")) - (byte == ord("}"))
        deepest = max(deepest, level)
    return deepest > depth or body.count(b",") > nodes


def test_the_scanner_notices_a_broken_guard() -> None:
    """Security 6.1, the control: guards that are off, or that forget strings, disagree."""
    assert disagreements(lambda *_: False)[0] > 100
    assert disagreements(lambda *_: True)[1] > 100
    assert min(disagreements(naive)) > 0


def test_the_documents_try_what_matters() -> None:
    """Security 6.1: there are deep and shallow, large and small ones, or agreement says little."""
    scans = [scan(body) for body in documents()]

    assert {depth > 8 for depth, _ in scans} == {nodes > 60 for _, nodes in scans} == {True, False}
    assert len(scans) == DOCUMENTS


@pytest.mark.parametrize(
    ("opening", "closing", "levels"),
    [
        (b"[", b"]", 1),
        (b'{"a":', b"}", 1),
        (b'[{"a":', b"}]", 2),
        (b'["[",', b',"]"]', 1),
        (b'{"\\"":[],"b":', b"}", 1),
        (b"[[],{},", b",[[]]]", 1),
    ],
    ids=["arrays", "objects", "both", "brackets in strings", "quotes in keys", "siblings"],
)
def test_the_depth_limit_is_exact(opening: bytes, closing: bytes, levels: int) -> None:
    """Security 6.1: depth 32 passes, 33 does not."""
    repeats = DEPTH_MAX // levels
    fits = opening * repeats + b"1" + closing * repeats
    while scan(fits)[0] > DEPTH_MAX:  # siblings inside may reach deeper than the nesting itself
        repeats -= 1
        fits = opening * repeats + b"1" + closing * repeats

    assert scan(fits)[0] == DEPTH_MAX
    assert not too_complex(fits)
    assert too_complex(b"[" + fits + b"]")


def test_the_node_limit_is_exact() -> None:
    """Security 6.1: 10,000 brackets and commas pass, one more does not; nesting is not needed."""
    fits = b"[" + b",".join([b"1"] * NODES_MAX) + b"]"

    assert not too_complex(fits)
    assert too_complex(fits[:-1] + b",1]")
    assert too_complex(b"[" + b"[]," * NODES_MAX + b"1]")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * BODY_BYTES_MAX,
        b'{"a":' * 200_000,
        b"[" * 5_000 + b"]" * 5_000 + b'"' * 1_000_000,
        b"[" * 1_200 + b'"\\"' + b"]" * 1_200,
        b'\\"' + b"[" * 1_200 + b"]" * 1_200,
        b'"' + b"[" * 1_200 + b"]" * 1_200,
        b'["' + b"\\" * 1_000_001 + b'"' + b"[" * 9_000,
        b"]" * 9_000 + b"[" * 9_000,
    ],
    ids=["open", "objects", "quotes", "cut", "backslash", "odd quote", "backslashes", "reversed"],
)
def test_hostile_bodies_are_refused_by_guard_or_parser_without_a_crash(body: bytes) -> None:
    """Security 6.1: what the guard passes as shallow cannot exhaust the parser's stack."""
    decoder = msgspec.json.Decoder(Typed)

    if not too_complex(body):
        with pytest.raises(msgspec.DecodeError):
            decoder.decode(body)


def test_without_the_guard_the_parser_runs_out_of_stack() -> None:
    """Security 6.6, the control: deep nesting reaches the recursion limit in msgspec itself."""
    body = b'{"name":"a","free":' + b"[" * 5_000 + b"]" * 5_000 + b"}"

    with pytest.raises(RecursionError):
        msgspec.json.Decoder(Typed).decode(body)
    assert too_complex(body)


def test_the_work_is_linear_in_the_body() -> None:
    """Security 6.1: a hostile 1 MiB costs a small multiple of one pass, by processor time."""

    def seconds(work: Callable[[], object]) -> float:
        before = time.process_time()
        for _ in range(5):
            work()
        return time.process_time() - before

    nested = b"[" * 4_999 + b"]" * 4_999
    hostile = [
        nested + b'"' * 1_000_000,
        nested + b'"' + b"\\" * 1_000_000,
        nested + b"]" * 990_000,
    ]
    plain = b'"' + b"x" * BODY_BYTES_MAX + b'"'
    one_pass = seconds(lambda: plain.replace(b"\\", b"").translate(None, b"[]"))

    for body in hostile:
        assert seconds(partial(too_complex, body)) < 100 * one_pass + 0.2


# Strings


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"name":"\xff"}', "body.not_utf8"),
        (b'{"name":"a","ignored":"\xc3"}', "body.not_utf8"),
        (b'{"name":"a","ignored":"\xed\xa0\x80"}', "body.not_utf8"),
        (b'{"name":"\\u0000"}', "body.control_character"),
        (b'{"name":"a","ignored":"\\u0000"}', "body.control_character"),
        (b'{"name":"\\\\\\u0000"}', "body.control_character"),
        (b'{"\\u0000":1}', "body.control_character"),
        (b'{"name":"\x00"}', "body.control_character"),
        (b'{"name":"a"}\x00', "body.control_character"),
        (b'{"name":"\x1b[31m"}', "body.control_character"),
        (b'{"name":"\x7f"}', "body.control_character"),
        (b"\x01{}", "body.control_character"),
        (b"[" * 33 + b"]" * 33, "body.too_complex"),
    ],
    ids=range(13),
)
def test_what_must_not_reach_a_parser_is_refused(body: bytes, code: str) -> None:
    """Security 6.1: invalid UTF-8 and NUL anywhere, control characters, too much: 400 by code."""
    with pytest.raises(BodyError) as refusal:
        guard_json(body)

    assert (400, code) == (refusal.value.status, refusal.value.code)


def test_without_the_guard_they_pass_the_parser() -> None:
    """Security 6.1, the control: msgspec alone takes NUL and passes over invalid UTF-8."""
    decoder = msgspec.json.Decoder(Typed)

    assert decoder.decode(b'{"name":"\\u0000"}').name == "\0"
    assert decoder.decode(b'{"name":"a","ignored":"\xff"}').name == "a"
    assert decoder.decode(b'{"name":"\x7f"}').name == "\x7f"


@pytest.mark.parametrize(
    "body",
    [
        b'{"name":"a"}',
        b'{\r\n\t"name": "a"\r\n}',
        '{"name":"é🗝"}'.encode(),
        b'{"name":"\\\\u0000"}',
        b'{"name":"\\u00001"}'.replace(b"\\u00001", b"\\u0001"),
        b'{"name":"a\\nb\\u007f"}',
        b"",
        b"not json",
    ],
    ids=range(8),
)
def test_everything_else_is_left_to_the_parser(body: bytes) -> None:
    """Security 6.1: escapes other than NUL are the business of each field's pattern."""
    guard_json(body)


@pytest.mark.parametrize("place", ["name", "ignored", "free"])
@pytest.mark.parametrize("byte", range(32))
def test_no_raw_control_character_gets_into_a_string(byte: int, place: str) -> None:
    """Security 6.1: guard and parser together; the three that stand between values as well."""
    body = b'{"name":"a","%s":"x%sy"}' % (place.encode(), bytes([byte]))

    def read_both() -> None:
        guard_json(body)
        msgspec.json.decode(body, type=Typed)

    with pytest.raises((BodyError, msgspec.DecodeError)):
        read_both()


@given(st.binary())
def test_any_bytes_are_judged(body: bytes) -> None:
    """Security 6.6: the guard refuses or passes; it never fails otherwise."""
    assert outcome(guard_json, body) in {
        "",
        "body.not_utf8",
        "body.control_character",
        "body.too_complex",
    }


def outcome(judge: Callable[..., object], *values: object) -> str:
    """The code of the refusal, or an empty text."""
    try:
        judge(*values)
    except BodyError as refusal:
        return refusal.code
    return ""


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_a_text_has_no_nul_once_guarded(value: object) -> None:
    """Security 6.1: whatever passes decodes to strings without NUL; nothing else is refused."""
    body = json.dumps(value, ensure_ascii=False).encode()

    # What is written as \u0000 is the only escape that is refused; DEL is written as it is.
    expected = "body.control_character" if has_refused(value) else ""
    assert expected == outcome(guard_json, body)


def has_refused(value: object) -> bool:
    """Whether a NUL or DEL is anywhere in it, found by walking."""
    match value:
        case str():
            return "\0" in value or "\x7f" in value
        case list():
            return any(has_refused(item) for item in value)
        case dict():
            return any(has_refused(item) for pair in value.items() for item in pair)
        case _:
            return False


def test_a_refusal_shows_nothing_of_the_body() -> None:
    """Security 4.5 and 7.8: a body may hold a password."""
    canary = b"correct horse"
    for body in (b'"%s\0"' % canary, b'"%s\xff"' % canary, b"[" * 33 + canary):
        with pytest.raises(BodyError) as refusal:
            guard_json(body)
        assert canary.decode() not in repr(refusal.value) + refusal.value.detail
