"""Is a request body read only as far, and only as the type, that its route allows?"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar.types import HTTPReceiveMessage, Receive, WebSocketReceiveMessage
from msgspec.structs import replace

from api.decoding import (
    BODY_BYTES_MAX,
    CHECKS,
    CONTRACT,
    FORMS,
    OWN,
    SIGN_IN,
    BodyError,
    MediaRule,
    media_type,
    read_body,
    replaying,
)
from tests.api.test_decoding import outcome

JSON_TYPE = (b"content-type", b"application/json")


# Media types


@pytest.mark.parametrize(
    "value",
    [
        b"application/json",
        b"Application/JSON",
        b"application/json; charset=utf-8",
        b'application/json;charset="UTF-8"',
        b"application/json ; Charset = utf8",
        b"application/json; profile=x; v=1",
        b"application/json;",
    ],
)
@pytest.mark.parametrize("rule", [OWN, CONTRACT, CHECKS, SIGN_IN], ids=range(4))
def test_json_is_read_in_every_spelling(value: bytes, rule: MediaRule) -> None:
    """http-api 1: case and harmless parameters do not matter (RFC 9110 8.3.1)."""
    assert media_type([(b"content-type", value)], rule) == "application/json"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"text/plain", "body.media_type"),
        (b"", "body.media_type"),
        (b"json", "body.media_type"),
        (b"application/jsonp", "body.media_type"),
        (b"application/json, text/plain", "body.media_type"),
        (b"multipart/form-data; boundary=application/json", "body.media_type"),
        (b"\xff", "body.media_type"),
        (b"application/json; charset=latin-1", "body.charset"),
        (b"application/json; charset=", "body.charset"),
        (b"application/json; charset", "body.charset"),
        (b"application/json; charset=utf-8; charset=utf-16", "body.charset"),
        (b"application/json; charset*=utf-16''x", "body.charset"),
        (b"application/json; " + b';"' * 10_000 + b"charset=utf-16", "body.charset"),
    ],
    ids=range(13),
)
@pytest.mark.parametrize(("rule", "status"), [(OWN, 415), (CONTRACT, 415), (CHECKS, 400)])
def test_another_type_is_refused(value: bytes, code: str, rule: MediaRule, status: int) -> None:
    """http-api 1 and authzen 7: 415, on the check routes 400; a bogus charset likewise."""
    with pytest.raises(BodyError) as refusal:
        media_type([(b"content-type", value)], rule)

    assert (status, code) == (refusal.value.status, refusal.value.code)


def test_a_missing_type_is_json_only_on_the_contracts_routes() -> None:
    """kestra-iam 2.5 and security 5.2: a cross-site form or blob can send none."""
    assert media_type([], CONTRACT) == "application/json"
    for rule, status in ((OWN, 415), (SIGN_IN, 415), (FORMS, 415), (CHECKS, 400)):
        with pytest.raises(BodyError) as refusal:
            media_type([], rule)
        assert status == refusal.value.status


def test_two_types_are_refused() -> None:
    """Security 5.7: what a proxy and we might read differently is not read."""
    with pytest.raises(BodyError):
        media_type([JSON_TYPE, (b"content-type", b"text/plain")], CONTRACT)
    with pytest.raises(BodyError):
        media_type([JSON_TYPE, JSON_TYPE], OWN)


def test_a_form_is_read_where_forms_are() -> None:
    """kestra-iam 3: signing in takes a form or JSON, and nothing else does."""
    form = (b"content-type", b"application/x-www-form-urlencoded")

    assert media_type([form], SIGN_IN) == media_type([form], FORMS) == form[1].decode()
    for rule, header in ((OWN, form), (CHECKS, form), (FORMS, JSON_TYPE)):
        with pytest.raises(BodyError):
            media_type([header], rule)


@given(st.lists(st.binary(), max_size=2))
def test_any_header_is_judged(values: list[bytes]) -> None:
    """Security 6.6: no content type makes the judgement fail."""
    for rule in (OWN, CONTRACT, CHECKS):
        headers = [(b"content-type", value) for value in values]
        assert outcome(media_type, headers, rule) in {"", "body.media_type", "body.charset"}


# Reading


class Client:
    """A request body in pieces, and how many of them were taken."""

    def __init__(self, *pieces: bytes, cut: bool = False) -> None:
        self._pieces = list(pieces)
        self._cut = cut
        self.taken = 0

    async def receive(self) -> HTTPReceiveMessage | WebSocketReceiveMessage:
        self.taken += 1
        if not self._pieces:
            return {"type": "http.disconnect"}
        body = self._pieces.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(self._pieces) or self._cut}


def read(
    client: Client, *headers: tuple[bytes, bytes], rule: MediaRule = OWN, bytes_max: int = 100
) -> bytes:
    short = replace(rule, bytes_max=bytes_max)
    return asyncio.run(read_body(client.receive, headers, rule=short))


def refused(
    client: Client, *headers: tuple[bytes, bytes], rule: MediaRule = OWN
) -> tuple[int, str]:
    with pytest.raises(BodyError) as refusal:
        read(client, *headers, rule=rule)
    return refusal.value.status, refusal.value.code


def test_a_body_is_read_whole() -> None:
    """http-api 1: in one piece, in many, with empty ones between, up to the limit exactly."""
    body = b'"' + b"x" * 98 + b'"'

    assert body == read(Client(body), JSON_TYPE)
    assert body == read(Client(*(bytes([byte]) for byte in body), b""), JSON_TYPE)
    assert body == read(Client(b"", body), JSON_TYPE, (b"content-length", b"100"))


def test_a_message_without_members_is_an_empty_body() -> None:
    """ASGI: `body` and `more_body` may be left out."""

    async def receive() -> Any:  # noqa: ANN401 its members are missing on purpose
        return {"type": "http.request"}

    assert asyncio.run(read_body(receive, [])) == b""


def test_a_chunked_body_is_cut_off_at_the_limit() -> None:
    """Security 6.1: the size is judged while reading; an endless body costs the limit only."""
    client = Client(*[b"x" * 40] * 1_000)

    assert refused(client, JSON_TYPE) == (413, "body.too_large")
    assert client.taken == 3


@pytest.mark.parametrize("length", [b"101", b"0000101", b"9" * 5_000])
def test_a_declared_length_over_the_limit_is_refused_unread(length: bytes) -> None:
    """Security 6.1: nothing is read of what is announced as too large."""
    client = Client(b"{}")

    assert refused(client, JSON_TYPE, (b"content-length", length)) == (413, "body.too_large")
    assert client.taken == 0


@pytest.mark.parametrize("length", [b"0", b"00", b"5", b"", b"x", b"+4", b"-1"])
def test_a_declared_length_is_not_believed(length: bytes) -> None:
    """Security 6.1: whatever is announced, what is counted holds."""
    assert refused(Client(b"x" * 101), (b"content-length", length)) == (413, "body.too_large")


def test_the_limit_is_1_mib() -> None:
    """Security 6.2: body 1 MiB unless a route says less."""
    body = b'"' + b"x" * (BODY_BYTES_MAX - 2) + b'"'

    assert BODY_BYTES_MAX == 2**20
    assert body == asyncio.run(read_body(Client(body).receive, [JSON_TYPE]))
    with pytest.raises(BodyError):
        asyncio.run(read_body(Client(body, b"x").receive, [JSON_TYPE]))


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"GZIP", b"identity, gzip", b"x"])
def test_a_compressed_body_is_refused(encoding: bytes) -> None:
    """Security 6.1: a compressed bomb is never unpacked."""
    header = (b"content-encoding", encoding)

    assert refused(Client(b"{}"), JSON_TYPE, header) == (415, "body.encoded")
    assert refused(Client(b"{}"), JSON_TYPE, header, rule=CHECKS) == (400, "body.encoded")
    assert read(Client(b"{}"), JSON_TYPE, (b"content-encoding", b"identity")) == b"{}"


def test_a_body_that_ends_early_is_refused() -> None:
    """Security 9: a body shorter than its length, then close, is not acted on."""
    assert refused(Client(b"{}", cut=True), JSON_TYPE) == (400, "body.incomplete")
    assert refused(Client(), JSON_TYPE) == (400, "body.incomplete")


@pytest.mark.parametrize("rule", [OWN, CONTRACT, CHECKS, FORMS], ids=range(4))
def test_any_type_is_fine_on_an_empty_body(rule: MediaRule) -> None:
    """http-api 1: Terraform sends a type with no body on GET, DELETE and membership PUT."""
    for headers in ((), (JSON_TYPE,), ((b"content-type", b"text/plain"),)):
        assert read(Client(b""), *headers, rule=rule) == b""


def test_what_is_read_is_guarded() -> None:
    """Security 6.1: the guard stands before msgspec for every JSON body, typed or not."""
    deep = b"[" * 33 + b"]" * 33

    assert refused(Client(deep), JSON_TYPE) == (400, "body.too_complex")
    assert refused(Client(deep), rule=CONTRACT) == (400, "body.too_complex")
    assert refused(Client(b'"\xff"'), JSON_TYPE) == (400, "body.not_utf8")
    assert refused(Client(b"{}"), (b"content-type", b"text/plain")) == (415, "body.media_type")


def test_a_guarded_body_is_read_again_by_the_application() -> None:
    """http-api 1: the guard takes the body and gives it on in one piece, then what follows."""
    client = Client(b"{}")

    async def twice() -> list[object]:
        receive: Receive = client.receive
        again = replaying(await read_body(receive, [JSON_TYPE]), receive)
        return [await again(), await again()]

    assert [
        {"type": "http.request", "body": b"{}", "more_body": False},
        {"type": "http.disconnect"},
    ] == asyncio.run(twice())
