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
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from projections.export_cloudevents import CLOUDEVENTS
from projections.export_ndjson import NDJSON

if TYPE_CHECKING:
    from domain.sealed import Secret
    from projections.exporting import Format

TIMEOUT_SECONDS: Final = 5.0
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

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SinkError(Exception):
    """The receiver did not take a batch; `code` is stable and tells nothing of what it said."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Target(Protocol):
    """A receiver; `form` is how it wants its events."""

    form: Format

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
            connection.sock = self._connected(host, port)
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
        reachable = [address[0] for *_, address in found if self._may_reach(str(address[0]))]
        if not reachable:
            raise SinkError("sink.address")
        plain = socket.create_connection((str(reachable[0]), port), TIMEOUT_SECONDS)
        if self._url.scheme == "http":
            return plain
        try:
            return ssl.create_default_context().wrap_socket(plain, server_hostname=host)
        except OSError:
            plain.close()
            raise

    def _may_reach(self, text: str) -> bool:
        address = ipaddress.ip_address(text.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address in network for network in self._allowed):
            return True
        return self._url.scheme == "https" and address.is_global and not address.is_multicast


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
