"""Is this request body safe to parse: small, flat, valid UTF-8 and of a type we read?

The guard stands before msgspec and in front of both applications (security 6.1, http-api 1).
What it lets through may still be malformed, but parsing it can neither exhaust the stack nor
give two databases different strings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable

    from litestar.types import HTTPReceiveMessage, Receive, WebSocketReceiveMessage

BODY_BYTES_MAX: Final = 1_048_576
OAUTH_BODY_BYTES_MAX: Final = 16_384
DEPTH_MAX: Final = 32
NODES_MAX: Final = 10_000

JSON: Final = "application/json"
LINES: Final = "application/x-ndjson"
FORM: Final = "application/x-www-form-urlencoded"

_NOT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_NOT_SHAPE: Final = bytes(byte for byte in range(256) if byte not in b'[]{}"')
_AS_BRACES: Final = bytes.maketrans(b"[]", b"{}")
# Tab, line feed and carriage return may stand between values,
# and msgspec refuses them inside strings, as JSON does.
_CONTROL: Final = bytes(set(range(32)) - set(b"\t\n\r")) + b"\x7f"
_NOT_CONTROL: Final = bytes(byte for byte in range(256) if byte not in _CONTROL)
# A value has at most a key, and either may be a string.
_QUOTES_A_NODE_MAX: Final = 4
_LENGTH_DIGITS_MAX: Final = 18
_UTF_8: Final = frozenset({"utf-8", "utf8"})
_BAD_REQUEST: Final = 400
_TOO_LARGE: Final = 413
_UNSUPPORTED: Final = 415


class BodyError(Exception):
    """The body cannot be read; `status` is the HTTP status, `code` is stable."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(status, code, detail)
        self.status = status
        self.code = code
        self.detail = detail


class MediaRule(Struct, frozen=True, kw_only=True):
    """Which media types a route reads.

    `assumed` is the type of a body without one, or empty where that is refused;
    `refusal_status` is the answer to any other type, charset or encoding. `bytes_max` and
    `nodes_max` are how much of a body is read at once, and how many values JSON may hold.
    """

    types: frozenset[str] = frozenset({JSON})
    assumed: str = ""
    refusal_status: int = _UNSUPPORTED
    bytes_max: int = BODY_BYTES_MAX
    nodes_max: int = NODES_MAX


# http-api 1: our own routes, and every route when the caller came with a cookie (security 5.2).
OWN: Final = MediaRule()
# kestra-iam 2.5: a body without a type is JSON. Never for callers with a cookie.
CONTRACT: Final = MediaRule(assumed=JSON)
# authzen 7: everything malformed is 400.
CHECKS: Final = MediaRule(refusal_status=_BAD_REQUEST)
# Many questions at once: a larger body, or a line for each, which is read piece by piece.
BULK: Final = MediaRule(
    types=frozenset({JSON, LINES}), bytes_max=4 * BODY_BYTES_MAX, nodes_max=20 * NODES_MAX
)
# kestra-iam 3: signing in takes a form or JSON.
SIGN_IN: Final = MediaRule(types=frozenset({JSON, FORM}))
# Forms only: oauth and the console.
FORMS: Final = MediaRule(types=frozenset({FORM}))


async def read_body(
    receive: Receive,
    headers: Iterable[tuple[bytes, bytes]],
    *,
    rule: MediaRule = OWN,
) -> bytes:
    """The whole body, guarded when it is JSON; empty when there is none.

    `headers` are ASGI's pairs with lower-case names. The size is judged while reading, so a
    chunked body costs at most the rule's. Any type is fine on an empty body. Raises BodyError:
    413 `body.too_large`; the rule's refusal `body.encoded`, `body.media_type`, `body.charset`;
    400 `body.incomplete`, `body.not_utf8`, `body.too_complex`, `body.control_character`.
    """
    fields = [(name, value) for name, value in headers if name.startswith(b"content-")]
    _refuse_encoded(fields, rule)
    _refuse_long(fields, rule.bytes_max)
    body = await _read(receive, rule.bytes_max)
    if body and media_type(fields, rule) == JSON:
        guard_json(body, rule.nodes_max)
    return body


def type_of_pieces(headers: Iterable[tuple[bytes, bytes]], rule: MediaRule) -> str:
    """The media type of a body that its route reads, and guards, piece by piece."""
    fields = [(name, value) for name, value in headers if name.startswith(b"content-")]
    _refuse_encoded(fields, rule)
    return media_type(fields, rule)


def media_type(headers: Iterable[tuple[bytes, bytes]], rule: MediaRule) -> str:
    """The media type of a body, in lower case and without parameters (RFC 9110 8.3).

    Raises BodyError with the rule's status when the type is missing, given twice, not one of the
    rule's, or names a charset other than UTF-8.
    """
    given = [value for name, value in headers if name == b"content-type"]
    if given == [b"application/json"] and JSON in rule.types:
        return JSON  # what nearly every request says, told without a parser
    if not given and rule.assumed:
        return rule.assumed
    expected = " or ".join(sorted(rule.types))
    if len(given) != 1:
        raise BodyError(rule.refusal_status, "body.media_type", f"one Content-Type, {expected}")
    kind, *parameters = given[0].decode("latin-1").lower().split(";")
    if kind.strip() not in rule.types:
        raise BodyError(rule.refusal_status, "body.media_type", f"Content-Type must be {expected}")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if "charset" in name and value.strip(' \t"') not in _UTF_8:
            raise BodyError(rule.refusal_status, "body.charset", "the charset must be utf-8")
    return kind.strip()


def guard_json(body: bytes, nodes: int = NODES_MAX) -> None:
    """Refuse what must not reach a JSON parser (security 6.1), by BodyError 400.

    Invalid UTF-8 anywhere, also in members that are ignored; control characters, raw or NUL as an
    escape (SQLite stores NUL and PostgreSQL refuses it); too deep or too many values.
    """
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            raise BodyError(_BAD_REQUEST, "body.not_utf8", "the body is not valid UTF-8") from None
    if body.translate(None, _NOT_CONTROL) or _escapes_nul(body):
        raise BodyError(
            _BAD_REQUEST, "body.control_character", "the body contains a control character"
        )
    if too_complex(body, nodes=nodes):
        raise BodyError(
            _BAD_REQUEST,
            "body.too_complex",
            f"the body nests deeper than {DEPTH_MAX} or has more than {nodes} values",
        )


def too_complex(body: bytes, depth: int = DEPTH_MAX, nodes: int = NODES_MAX) -> bool:
    """Whether JSON nests deeper than `depth`, or may hold more than `nodes` values.

    The values are counted as brackets and commas wherever they stand, in strings too, so the
    count is never too low. The depth is exact for valid JSON. Linear in the body for each level.
    """
    shape = body.translate(_AS_BRACES, _NOT_SHAPE)
    opening = shape.count(b"{")
    if opening + body.count(b",") > nodes:
        return True
    if opening <= depth:
        return False
    # A string without brackets is two quotes side by side here. Where any other quote is left, a
    # string holds brackets, and where there is a backslash, it may hold quotes.
    outside = shape.replace(b'""', b"")
    if b'"' not in outside and b"\\" not in body:
        return _deeper(outside, depth)
    # Without escapes, every second piece between quotes is a string's inside. A backslash outside
    # of strings shifts that, but there a parser stops, and the part before it is judged rightly.
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if unescaped.count(b'"') > _QUOTES_A_NODE_MAX * (nodes + 1):
        return True  # no JSON: only cheap to say so before the split below
    outside = b"".join(unescaped.split(b'"')[::2])
    return _deeper(outside.translate(_AS_BRACES, _NOT_BRACKETS), depth)


def _deeper(braces: bytes, depth: int) -> bool:
    for _ in range(depth):
        if not braces:
            return False
        braces = braces.replace(b"{}", b"")  # takes exactly the innermost level away
    return bool(braces)


def replaying(body: bytes, receive: Receive) -> Receive:
    """An ASGI `receive` that gives the body once more in one piece, then what comes after it."""
    given = False

    async def again() -> HTTPReceiveMessage | WebSocketReceiveMessage:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _refuse_encoded(headers: list[tuple[bytes, bytes]], rule: MediaRule) -> None:
    for name, value in headers:
        if name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
            raise BodyError(
                rule.refusal_status, "body.encoded", "compressed request bodies are not read"
            )


def _refuse_long(headers: list[tuple[bytes, bytes]], limit_bytes: int) -> None:
    # A length that is no number is the server library's to refuse; the count while reading holds.
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            digits = value.lstrip(b"0")
            if len(digits) > _LENGTH_DIGITS_MAX or int(digits or b"0") > limit_bytes:
                raise _too_large(limit_bytes)


async def _read(receive: Receive, limit_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise BodyError(_BAD_REQUEST, "body.incomplete", "the body ended early")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit_bytes: int) -> BodyError:
    return BodyError(_TOO_LARGE, "body.too_large", f"the body is larger than {limit_bytes} bytes")


def _escapes_nul(body: bytes) -> bool:
    # An escaped backslash before `u0000` makes it five harmless characters.
    return b"\\u0000" in body and b"\\u0000" in body.replace(b"\\\\", b"")
