"""Which bytes have broken servers before? (security 9)."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

HANG_SECONDS: Final = 5.0
GROUPS: Final = "/api/v1/main/groups"
CHECK: Final = "/access/v1/evaluation"
UNKNOWN_ROLE: Final = "/api/v1/main/roles/unknown"

# Stand for the server's own host and for a credential that is right.
HOST: Final = b"@host@"
TOKEN: Final = b"@token@"


def request(
    method: str = "POST",
    target: bytes = CHECK.encode(),
    body: bytes = b"",
    *,
    headers: tuple[bytes, ...] = (b"Content-Type: application/json",),
    length: bool = True,
) -> bytes:
    """A request of the right credential, with exactly these headers besides."""
    lines = [
        method.encode() + b" " + target + b" HTTP/1.1",
        b"Host: " + HOST,
        b"Authorization: Bearer " + TOKEN,
        *headers,
    ]
    if length:
        lines.append(b"Content-Length: " + str(len(body)).encode())
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def bodies() -> Iterator[bytes]:
    """Bodies that are JSON by a hair, or by nobody's account."""
    for depth in (33, 1_200, 100_000):
        yield b"[" * depth + b"]" * depth
        yield b'{"a":' * depth + b"1" + b"}" * depth
        yield b'{"context":' + b"[" * depth + b"]" * depth + b"}"
        yield b'{"unknown":' + b'{"a":' * depth + b"1" + b"}" * (depth + 1)
        yield b"[" * depth
    for text in (
        rb'"\u0000"',
        b'"\x00"',
        b'"\x1f"',
        b'"\x7f"',
        rb'"\ud800"',
        rb'"\udfff\ud800"',
        b'"\xff"',
        b'"\xc0\xaf"',
        b'"\xed\xa0\x80"',
        b"9" * 5_000,
        b"-" + b"9" * 5_000,
        b"1e400",
        b"-0",
        b"NaN",
        b"Infinity",
        b"0x10",
        b"01",
        b"1.",
        b"[1,]",
        b"nul",
    ):
        yield b'{"name":' + text + b"}"
        yield b'{"unknown":' + text + b"}"
        yield b'{"subject":{"type":"user","id":' + text + b'},"context":{"x":' + text + b"}}"
        yield text
    yield b'{"name":"a","name":{}}'
    yield b'\xef\xbb\xbf{"name":{}}'
    yield b'{"name":{}} trailing'
    yield b'{"name":{}}{"name":{}}'
    yield b""
    yield b" "
    yield b"null"
    yield b"[]"
    yield json.dumps("x" * 1_200_000).encode()
    yield b'{"a":' + b"[" + b"1," * 20_000 + b"1]}"
    yield b'"' * 100_001
    yield b"\\" * 100_001


def requests() -> Iterator[bytes]:
    """Every request of the corpus, on typed and on free members."""
    for body in bodies():
        yield request(body=body)
        yield request("PUT", UNKNOWN_ROLE.encode(), body)
    yield from _types()
    yield from _lengths()
    yield from _headers()
    yield from _targets()
    yield from _protocols()
    yield from _credentials()


def _types() -> Iterator[bytes]:
    for content_type in (
        b"",
        b"text/plain",
        b"application/json; charset=utf-16",
        b"application/json; charset=bogus",
        b"application/json; charset",
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b"application/x-www-form-urlencoded",
        b"\xff\xfe",
    ):
        for target in (GROUPS, CHECK):
            for body in (b"{}", b"--x\r\nbroken", b"a=%zz&b", b"\xff"):
                headers = (b"Content-Type: " + content_type,)
                yield request("POST", target.encode(), body, headers=headers)
    twice = (b"Content-Type: application/json", b"Content-Type: text/plain")
    yield request(body=b"{}", headers=twice)
    bomb = gzip.compress(b"[" * 1_000_000)
    yield request(body=bomb, headers=(b"Content-Type: application/json", b"Content-Encoding: gzip"))


def _lengths() -> Iterator[bytes]:
    json_type = b"Content-Type: application/json"
    for given in (b"+4", b"-1", b"4, 4", b"0x4", b"", b"9" * 30, b"1e3", b"4 4", b"\xb2"):
        headers = (json_type, b"Content-Length: " + given)
        yield request(body=b"{}  ", headers=headers, length=False)
    twice = (json_type, b"Content-Length: 2", b"Content-Length: 4")
    yield request(body=b"{}  ", headers=twice, length=False)
    chunked = b"2\r\n{}\r\n0\r\n\r\n"
    for coding in (b"chunked", b"xchunked", b"chunked, identity", b"gzip, chunked", b""):
        headers = (json_type, b"Transfer-Encoding: " + coding)
        yield request(body=chunked, headers=headers, length=False)
        yield request(body=chunked, headers=headers)
    headers = (json_type, b"Transfer-Encoding: chunked")
    for chunks in (b"zz\r\n{}\r\n", b"-2\r\n{}\r\n", b"f" * 20 + b"\r\n", b"2;" + b"x" * 70_000):
        yield request(body=chunks, headers=headers, length=False)
    large = b"".join(b"10000\r\n" + b" " * 65_536 + b"\r\n" for _ in range(20)) + b"0\r\n\r\n"
    yield request(body=large, headers=headers, length=False)
    trailer = b"2\r\n{}\r\n0\r\nHost: other\r\nX-Trailer: " + b"x" * 40_000 + b"\r\n\r\n"
    yield request(body=trailer, headers=headers, length=False)
    # The body is shorter than its length, and the client hangs up.
    headers = (json_type, b"Content-Length: 400")
    yield request(body=b"{", headers=headers, length=False)


def _headers() -> Iterator[bytes]:
    yield b"POST " + CHECK.encode() + b" HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    for host in (b"evil.example", b"", b"@host@\r\nHost: @host@", b"@host@, evil.example", b"\xff"):
        yield b"GET /livez HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
    for headers in (
        tuple(b"X-%d: 1" % number for number in range(200)),
        tuple(b"X-%d: 1" % number for number in range(5_000)),
        (b"X-Large: " + b"x" * 1_000_000,),
        (b"X-Folded: a\r\n b",),
        (b"X-Space : a",),
        (b": a",),
        (b"X-Nul: a\x00b",),
        (b"X-Bytes: \xff\xfe",),
        (b"Cookie: JWT=\xff; \xff=1",),
        (b"Cookie: JWT=" + b"x" * 5_000,),
        (b"If-Match: \xff",),
        (b'If-Match: "99999999999999999999999"',),
        (b"Idempotency-Key: " + b"k" * 300,),
        (b"Idempotency-Key: \xff",),
        (b"X-Muniment-Reason: \xff",),
        (b"X-Request-Id: \xff" + b"r" * 500,),
        (b"X-HTTP-Method-Override: DELETE",),
        (b"X-Forwarded-For: 1.2.3.4, " * 100,),
        (b"X-Kestra-Impersonate: ada@example.com",),
        (b"Expect: 100-continue",),
        (b"Expect: nonsense",),
        (b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AA"),
        (
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Protocol: \xff,,",
        ),
    ):
        yield request(body=b"{}", headers=(b"Content-Type: application/json", *headers))
    yield request(body=b"{}").replace(b"\r\n", b"\n")


def _targets() -> Iterator[bytes]:
    for target in (
        b"/api/v1/main/groups/../roles",
        b"/api/v1/main/groups/%2e%2e/roles",
        b"/api/v1//main/groups",
        b"/api/v1/main/groups/%00",
        b"/api/v1/main/groups/%ff",
        b"/api/v1/main/groups/\xff",
        b"/api/v1/main/groups/%252e%252e",
        b"/api/v1/main/groups/a%2Fb",
        b"/api/v1/main/groups/a\\b",
        b"/api/v1/main/groups/%",
        b"/api/v1/main/groups/%zz",
        b"/api/v1/main/groups/" + b"x" * 5_000,
        b"/api/v1/" + b"x" * 100_000,
        b"http://evil.example/livez",
        b"//evil.example/livez",
        b"*",
        b"livez",
        b"/livez#fragment",
        b"/api/v1/main/groups/search?page=1&page=2",
        b"/api/v1/main/groups/search?page=" + b"9" * 5_000,
        b"/api/v1/main/groups/search?size=-1",
        b"/api/v1/main/groups/search?size=NaN",
        b"/api/v1/main/groups/search?sort=%ff:desc",
        b"/api/v1/main/groups/search?%ff=%00",
        b"/api/v1/main/groups/search?filters[name][EQUALS]=%ff",
        b"/api/v1/main/groups/search?filters[name][REGEX]=(a%2B)%2B%24",
        b"/api/v1/main/groups/search?filters[name][REGEX]=(",
        b"/api/v1/main/groups/search?filters[",
        b"/api/v1/main/groups/search?filters[or][99999999999999999999][q][EQUALS]=a",
        b"/api/v1/main/groups/search?" + b"&".join([b"filters[or][0][q][EQUALS]=a"] * 200),
        b"/api/v1/main/groups/search?position=-1",
        b"/api/v1/main/groups/search?position=" + b"9" * 40,
        b"/api/v1/main/groups/search?at=0001-01-01T00:00:00%2B23:59",
        b"/api/v1/main/groups/search?at=9999-12-31T23:59:59-23:59",
        b"/api/v1/main/groups/search?at=1970-01-01",
        b"/api/v1/main/groups/search?at_least=" + b"9" * 18,
        b"/api/v1/main/auditlogs/search?filters[timeRange][EQUALS]=P99999999999D",
        b"/api/v1/main/auditlogs/search?filters[startDate][EQUALS]=0000",
    ):
        yield request("GET", target, headers=(), length=False)


def _protocols() -> Iterator[bytes]:
    for method in ("CONNECT", "TRACE", "PROPFIND", "OPTIONS", "HEAD", "BREW", "get", "PATCH"):
        yield request(method, GROUPS.encode(), headers=())
        yield request(method, CHECK.encode(), headers=())
    yield bytes.fromhex("16030100a5010000a10303") + bytes(160)
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield b"\x00" * 1_000
    yield b"\r\n" * 1_000
    yield b"GET /livez HTTP/9.9\r\nHost: @host@\r\n\r\n"
    yield b"GET /livez HTTP/1.0\r\n\r\n"
    yield b"GET /livez\r\n\r\n"
    yield b"GET /livez HTTP/1.1\r\nHost: @host@\r\n\r\n" * 50
    # Requests behind an error, in the same packet.
    yield request(body=b"[" * 2_000) + request("GET", b"/livez", headers=()) * 3
    yield request("GET", b"/api/v1/../x", headers=()) + request("GET", b"/livez", headers=())


def _credentials() -> Iterator[bytes]:
    plain = b"GET /api/v1/me HTTP/1.1\r\nHost: @host@\r\n%b\r\n\r\n"
    for value in (
        b"Bearer",
        b"Bearer ",
        b"Bearer  @token@ x",
        b"Bearer \xff\xfe",
        b"Bearer " + b"x" * 30_000,
        b"Bearer munu_" + b"0" * 49,
        b"Bearer munx_" + b"\xff" * 49,
        b"Basic",
        b"Basic Og==",
        b"Basic ////",
        b"Basic " + b"QQ" * 10_000,
        b"Basic /zr/",
        b"Digest username=x",
        b"Bearer @token@\r\nAuthorization: Bearer @token@",
        b"\xff",
        b"",
    ):
        yield plain % (b"Authorization: " + value)
    for secret in (b"@token@", b"munu_x"):
        yield b"GET /api/v1/me?token=" + secret + b" HTTP/1.1\r\nHost: @host@\r\n\r\n"
        yield b"GET /api/v1/" + secret + b" HTTP/1.1\r\nHost: @host@\r\n\r\n"


def token_variants(token: str) -> Iterator[bytes]:
    """Requests with every single-character change of a token; none of them is a token."""
    for place in range(len(token)):
        changed = token[:place] + ("1" if token[place] != "1" else "2") + token[place + 1 :]
        yield (
            b"GET /api/v1/me HTTP/1.1\r\nHost: @host@\r\nConnection: close\r\n"
            b"Authorization: Bearer " + changed.encode() + b"\r\n\r\n"
        )


def send(url: str, payload: bytes, token: str) -> list[int]:
    """Send bytes on a connection of their own, then say no more; the statuses that came back.

    Raises TimeoutError when the server neither answers nor hangs up.
    """
    where = urlsplit(url)
    payload = payload.replace(HOST, where.netloc.encode()).replace(TOKEN, token.encode())
    received = b""
    with socket.create_connection((where.hostname, where.port), timeout=HANG_SECONDS) as opened:
        try:
            # The server may have said what it had to say and not want the rest.
            with suppress(ConnectionError):
                opened.sendall(payload)
            with suppress(OSError):  # not connected any more
                opened.shutdown(socket.SHUT_WR)
            while chunk := opened.recv(65_536):
                received += chunk
        except ConnectionError:
            pass
    return [
        int(line[9:12])
        for line in received.split(b"\r\n")
        if line.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")) and line[9:12].isdigit()
    ]
