"""How does a batch reach a receiver, so that it is there for good when this says so?

A webhook is https without redirects, to an address that is judged where it is connected to
(security 5.8), and signed. A file is only ever appended to, and synced.
"""

from __future__ import annotations

import hmac
import http.client
import ipaddress
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from projections.export_cloudevents import CLOUDEVENTS
from projections.export_ndjson import NDJSON

if TYPE_CHECKING:
    from domain.sealed import Secret
    from projections.exporting import Format, Told

TIMEOUT_SECONDS: Final = 5.0
# For one batch from the handshake to the answer's end, well within the time a sink is held.
EXCHANGE_SECONDS: Final = 20.0
ADDRESSES_MAX: Final = 2
ANSWER_BYTES_MAX: Final = 65_536
FILE_BYTES_MAX: Final = 64 * 1_048_576
BATCH_MEDIA_TYPE: Final = "application/cloudevents-batch+json"
TIMESTAMP_HEADER: Final = "X-Muniment-Timestamp"
SIGNATURE_HEADER: Final = "X-Muniment-Signature"
SINK_HEADER: Final = "X-Muniment-Sink"

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_OK: Final = range(200, 300)
_PRIVATE_FILE: Final = 0o600
_PRIVATE_DIRECTORY: Final = 0o700

# Addresses that carry another one inside, and so may lead to an inner one (RFC 6052, 8215, 3056
# and 4380).
_TRANSLATED: Final = tuple(
    ipaddress.ip_network(network)
    for network in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SinkError(Exception):
    """The receiver did not take a batch; `code` is stable and tells nothing of what it said."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Target(Protocol):
    """A receiver; `form` is how it wants its events."""

    form: Format[Told]

    def take(self, lines: bytes) -> None:
        """Hand over whole lines; raises SinkError unless they are there for good."""
        ...


# Webhooks


def signature(secret: Secret, timestamp: str, body: bytes) -> str:
    """Answer what proves that a body comes from here and when: HMAC-SHA256 of both, in hex."""
    signed = timestamp.encode() + b"." + body
    return "v1=" + hmac.digest(secret.reveal().encode(), signed, "sha256").hex()


class Webhook:
    """A receiver over HTTP, which gets batches of CloudEvents."""

    form = CLOUDEVENTS

    def __init__(
        self,
        sink_id: str,
        url: str,
        secret: Secret,
        *,
        allowed: Iterable[Network],
        now: Callable[[], datetime],
    ) -> None:
        """`allowed` are networks that may be reached though they are not public."""
        self._sink_id = sink_id
        self._url = urlsplit(url)
        self._secret = secret
        self._allowed = tuple(allowed)
        self._now = now

    def take(self, lines: bytes) -> None:
        """POST the lines as one batch; anything but a 2xx is a refusal."""
        body = b"[" + b",".join(lines.splitlines()) + b"]"
        timestamp = str(int(self._now().timestamp()))
        headers = {
            "Content-Type": BATCH_MEDIA_TYPE,
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: signature(self._secret, timestamp, body),
            SINK_HEADER: self._sink_id,
        }
        host, port = self._url.hostname or "", self._url.port or _DEFAULT_PORTS[self._url.scheme]
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
        try:
            # Given ready to the client, which would look the name up a second time.
            connection.sock = reached = self._connected(host, port)
            with _ended_in_time(reached):
                if isinstance(reached, ssl.SSLSocket):
                    reached.do_handshake()
                connection.request("POST", self._url.path or "/", body, headers)
                answer = connection.getresponse()
                answer.read(ANSWER_BYTES_MAX)
        except ssl.SSLError:
            raise SinkError("sink.tls") from None
        except (OSError, http.client.HTTPException):
            raise SinkError("sink.unreachable") from None
        finally:
            connection.close()
        if answer.status not in _OK:
            raise SinkError("sink.refused")

    def _connected(self, host: str, port: int) -> socket.socket:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        names = dict.fromkeys(str(address[0]) for *_, address in found)
        reachable = [name for name in names if self._may_reach(name)][:ADDRESSES_MAX]
        if not reachable:
            raise SinkError("sink.address")
        plain = _first_of(reachable, port)
        if self._url.scheme == "http":
            return plain
        try:
            return ssl.create_default_context().wrap_socket(
                plain, server_hostname=host, do_handshake_on_connect=False
            )
        except OSError:
            plain.close()
            raise

    def _may_reach(self, text: str) -> bool:
        address = ipaddress.ip_address(text.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address in network for network in self._allowed):
            return True
        if any(address in network for network in _TRANSLATED):
            return False
        return self._url.scheme == "https" and address.is_global and not address.is_multicast


def _first_of(addresses: list[str], port: int) -> socket.socket:
    """Connect to the first address that answers; raises the OSError of the last."""
    for address in addresses[:-1]:
        with suppress(OSError):
            return socket.create_connection((address, port), TIMEOUT_SECONDS)
    return socket.create_connection((addresses[-1], port), TIMEOUT_SECONDS)


@contextmanager
def _ended_in_time(reached: socket.socket) -> Iterator[None]:
    """End an exchange that takes too long in all, however often a byte of it comes."""

    def end() -> None:
        with suppress(OSError):
            # Past the TLS layer, which its own thread is using.
            socket.socket.shutdown(reached, socket.SHUT_RDWR)

    timer = threading.Timer(EXCHANGE_SECONDS, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


# Files


class NoFiles:
    """What stands for a directory where the operator has given none."""

    form = NDJSON

    def take(self, lines: bytes) -> None:
        """Refuse, so that the events wait."""
        del lines
        raise SinkError("sink.no_directory")


class Files:
    """Files of lines in a directory of the sink's own; a full one is followed by another."""

    form = NDJSON

    def __init__(self, directory: Path, *, bytes_max: int = FILE_BYTES_MAX) -> None:
        self._directory = directory
        self._bytes_max = bytes_max
        self._is_whole = False

    def take(self, lines: bytes) -> None:
        """Append the lines and sync them; what an earlier crash left of a line is cut off."""
        try:
            self._directory.mkdir(mode=_PRIVATE_DIRECTORY, exist_ok=True)
            if not self._is_whole:
                self._cut_off()
            # Until it is synced nobody knows how much of it there is.
            self._is_whole = False
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            with os.fdopen(os.open(self._path(), flags, _PRIVATE_FILE), "ab") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
            self._sync_directory()
            self._is_whole = True
        except OSError:
            raise SinkError("sink.io") from None

    def _cut_off(self) -> None:
        """Take away a line that is not whole, before a full file is followed by another."""
        for path in self._paths()[-1:]:
            with path.open("r+b") as file:
                file.truncate(_end_of_last_line(file.read()))
                os.fsync(file.fileno())

    def _paths(self) -> list[Path]:
        return sorted(self._directory.glob("events-*.ndjson"))

    def _path(self) -> Path:
        paths = self._paths()
        number = int(paths[-1].name[7:13]) if paths else 1
        if paths and paths[-1].stat().st_size >= self._bytes_max:
            number += 1
        return self._directory / f"events-{number:06}.ndjson"

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _end_of_last_line(content: bytes) -> int:
    return content.rfind(b"\n") + 1
