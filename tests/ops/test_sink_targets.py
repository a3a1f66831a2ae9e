"""Does a batch arrive signed and whole, only where it may, and never twice in half?"""

from __future__ import annotations

import hmac
import http.server
import ipaddress
import socket
import ssl
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from domain.sealed import Secret
from ops import sink_targets
from ops.inputs import SystemInputs
from ops.sink_targets import Files, Network, NoFiles, SinkError, Webhook

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LOOPBACK: Network = ipaddress.ip_network("127.0.0.0/8")
LINES = b'{"id":"1"}\n{"id":"2"}\n'
SECRET = Secret("a secret")


class Receiver(http.server.ThreadingHTTPServer):
    """A receiver that keeps what it gets and answers `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 204
        self.drips = False
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}/in"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.got.append((self.path, dict(self.headers), body))
        with suppress(OSError):
            while server.drips:
                self.wfile.write(b"H")
                time.sleep(0.02)
        self.send_response(server.status)
        if server.status == 307:
            self.send_header("Location", server.url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Yield a receiver on this machine."""
    found = Receiver()
    yield found
    found.shutdown()
    found.server_close()


def webhook(url: str, *allowed: Network) -> Webhook:
    """Return a webhook to an address."""
    return Webhook("sink-1", url, SECRET, allowed=allowed, now=lambda: NOW)


def refused(target: Webhook | Files | NoFiles) -> str:
    """Return the code with which a batch is refused."""
    with pytest.raises(SinkError) as refusal:
        target.take(LINES)
    return refusal.value.code


def test_webhook_sends_a_signed_batch(receiver: Receiver) -> None:
    """Audit-export 5: a JSON array of CloudEvents, signed with timestamp and body."""
    webhook(receiver.url, LOOPBACK).take(LINES)

    ((path, headers, body),) = receiver.got
    assert (path, headers["Content-Type"]) == ("/in", "application/cloudevents-batch+json")
    assert msgspec.json.decode(body) == [{"id": "1"}, {"id": "2"}]
    timestamp = headers["X-Muniment-Timestamp"]
    signed = hmac.digest(b"a secret", timestamp.encode() + b"." + body, "sha256").hex()
    assert timestamp == str(int(NOW.timestamp()))
    assert headers["X-Muniment-Signature"] == f"v1={signed}"
    assert headers["X-Muniment-Sink"] == "sink-1"


@pytest.mark.parametrize("status", [200, 202, 204])
def test_webhook_takes_any_success(receiver: Receiver, status: int) -> None:
    """A batch is there when the receiver says so."""
    receiver.status = status

    webhook(receiver.url, LOOPBACK).take(LINES)


@pytest.mark.parametrize("status", [302, 307, 400, 410, 429, 500, 503])
def test_webhook_takes_nothing_else_and_follows_nowhere(receiver: Receiver, status: int) -> None:
    """Security 5.8: no redirects; whatever is no success is tried again."""
    receiver.status = status

    assert refused(webhook(receiver.url, LOOPBACK)) == "sink.refused"
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.9", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1"),
        *("64:ff9b::a00:9", "64:ff9b:1::a00:9", "2002:a00:9::1", "2001::1"),
        *("0.0.0.0", "224.0.0.1", "::1", "fe80::1%eth0", "fc00::1", "::ffff:10.0.0.1"),  # noqa: S104 - to be refused
    ],
)
def test_webhook_reaches_no_inner_address_by_any_name(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """Security 5.8: judged by the address that is connected to, not by the name."""
    connected: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [_found(address)])
    monkeypatch.setattr(socket, "create_connection", lambda *a: connected.append(a))

    assert refused(webhook("https://siem.example/in")) == "sink.address"
    assert connected == []


def test_webhook_connects_to_the_very_address_that_was_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Security 5.8, control: public ones are connected to, by their number, past an inner one."""
    connected: list[object] = []

    def connect(address: object, _timeout: float) -> None:
        connected.append(address)
        raise OSError

    found = [_found("10.0.0.9"), *map(_found, ["93.184.216.34", "93.184.216.34", "1.1.1.1"])]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket, "create_connection", connect)

    assert refused(webhook("https://siem.example/in")) == "sink.unreachable"
    assert connected == [("93.184.216.34", 443), ("1.1.1.1", 443)]


def _found(address: str) -> tuple[int, int, int, str, tuple[str, int]]:
    return (0, 0, 0, "", (address, 443))


def test_webhook_is_not_plain_http_unless_that_network_is_allowed(receiver: Receiver) -> None:
    """Loopback without https is for those who allow it singly."""
    assert refused(webhook(receiver.url)) == "sink.address"
    assert receiver.got == []


def test_webhook_that_speaks_no_tls_is_refused(receiver: Receiver) -> None:
    """A certificate that cannot be verified is no receiver."""
    url = receiver.url.replace("http:", "https:")

    assert refused(webhook(url, LOOPBACK)) == "sink.tls"


def test_webhook_over_tls_reaches_whom_the_certificate_names(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Security 5.8: https is verified by the machine's own authorities, and refused otherwise."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path / "server.pem", "localhost"))
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    url = receiver.url.replace("http://127.0.0.1", "https://localhost")
    networks = (LOOPBACK, ipaddress.ip_network("::1/128"))

    assert refused(webhook(url, *networks)) == "sink.tls"

    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    webhook(url, *networks).take(LINES)
    assert len(receiver.got) == 1
    assert refused(webhook(url.replace("localhost", "127.0.0.1"), *networks)) == "sink.tls"


def certificate(path: Path, name: str) -> Path:
    """Write a key and a certificate that it signed itself, for a name; return the file."""
    key = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = SystemInputs().now()
    made = (
        x509.CertificateBuilder()
        .subject_name(called)
        .issuer_name(called)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    return path


def test_webhook_that_is_away_is_unreachable(receiver: Receiver) -> None:
    """A refused connection is a failure like any other."""
    url = receiver.url
    receiver.shutdown()
    receiver.server_close()

    assert refused(webhook(url, LOOPBACK)) == "sink.unreachable"


def test_webhook_does_not_wait_for_an_answer_that_only_drips(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that sends a byte now and then holds its sink no longer than one exchange."""
    monkeypatch.setattr(sink_targets, "EXCHANGE_SECONDS", 0.3)
    receiver.drips = True

    assert refused(webhook(receiver.url, LOOPBACK)) == "sink.unreachable"
    assert len(receiver.got) == 1


# Files


def test_files_are_appended_to_and_private(tmp_path: Path) -> None:
    """Audit-export 2: lines one after another, in a directory of the sink's own."""
    files = Files(tmp_path / "sink")

    files.take(LINES)
    files.take(b'{"id":"3"}\n')

    (file,) = (tmp_path / "sink").iterdir()
    assert file.read_bytes() == LINES + b'{"id":"3"}\n'
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_full_file_is_followed_by_another(tmp_path: Path) -> None:
    """Rotation by size: no line is cut, and the order of the names is that of the events."""
    files = Files(tmp_path / "sink", bytes_max=15)
    for number in range(5):
        files.take(b'{"id":"%d"}\n' % number)

    found = sorted((tmp_path / "sink").iterdir())

    assert [path.name for path in found] == [f"events-{number:06}.ndjson" for number in (1, 2, 3)]
    assert b"".join(path.read_bytes() for path in found).count(b"\n") == 5


def test_what_a_crash_left_of_a_line_is_cut_off(tmp_path: Path) -> None:
    """One record is one line, also after a kill in the middle of one."""
    Files(tmp_path / "sink").take(LINES)
    (file,) = (tmp_path / "sink").iterdir()
    with file.open("ab") as torn:
        torn.write(b'{"id":"3","ev')

    Files(tmp_path / "sink").take(b'{"id":"3"}\n')

    assert file.read_bytes() == LINES + b'{"id":"3"}\n'


def test_a_torn_line_is_cut_off_before_a_full_file_is_followed(tmp_path: Path) -> None:
    """A crash in the batch that fills a file leaves no half line in it for ever."""
    files = tmp_path / "sink"
    Files(files).take(LINES)
    with (files / "events-000001.ndjson").open("ab") as torn:
        torn.write(b'{"id":"3","ev')

    Files(files, bytes_max=len(LINES)).take(b'{"id":"3"}\n')

    found = [path.read_bytes() for path in sorted(files.iterdir())]
    assert found == [LINES, b'{"id":"3"}\n']


def test_files_that_cannot_be_written_are_a_failure(tmp_path: Path) -> None:
    """A place that is gone takes nothing, and nothing is passed over."""
    assert refused(Files(tmp_path / "gone" / "sink")) == "sink.io"
    assert refused(NoFiles()) == "sink.no_directory"
