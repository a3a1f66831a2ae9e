"""What is written to the log, so that it tells what happened and gives nothing away?

JSON, one line a record, to standard output (operations 3); `dev` gets readable text. Our own
records and those of the libraries, warnings among them, pass the same last processors: secrets are
blotted out, control and deceptive characters escaped, fields cut to 1 KiB (security 4.5, 4.6).
"""

from __future__ import annotations

import logging
import re
import sys
import unicodedata
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, TextIO

import msgspec

from domain.sealed import REDACTED
from domain.token_text import redact

FIELD_BYTES_MAX: Final = 1_024
REQUEST_ID_CHARACTERS_MAX: Final = 128
FIELDS_MAX: Final = 64
DEPTH_MAX: Final = 8

TRACE_LINES_MAX: Final = 60

_CUT: Final = "…"
# Nearly every value there is, ids and templates of routes: too short for a token, without spaces
# before a credential, without a host behind a password, and printable.
_HARMLESS: Final = re.compile(r"[A-Za-z0-9_./{}+-]{0,40}\Z")
_NUMBER_MAX: Final = 2**63
_CREDENTIALS: Final = re.compile(r"(?i)\b(basic|bearer)\s+[\w+/=.~-]+")
_URL_PASSWORD: Final = re.compile(r"(://[^\s:/@]*:)[^\s/@]+@")
# In any spelling: `oldPassword`, `old_password` and `Old-Password` are one.
SECRET_FIELDS: Final = frozenset(
    {
        "authorization",
        "proxyauthorization",
        "xmunimentproxyauthorization",
        "cookie",
        "setcookie",
        "token",
        "apitoken",
        "fulltoken",
        "subjecttoken",
        "accesstoken",
        "clientsecret",
        "password",
        "oldpassword",
        "newpassword",
    }
)
# Control, format (bidirectional marks, zero width), surrogates, and what ends a line.
_ESCAPED: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# What the library and we put into every record; everything else in it was given as `extra`.
_EVERY: Final = frozenset(vars(logging.makeLogRecord({}))).union(
    ("message", "asctime", "taskName", "timestamp", "level", "event")
)

_encode: Final = msgspec.json.Encoder().encode


def configure(*, level: str = "INFO", readable: bool = False, stream: TextIO | None = None) -> None:
    """Send every record of this process to `stream`, by default standard output.

    `readable` is for `dev`; it escapes and redacts alike. A second call replaces the first.
    """
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(_Readable() if readable else _Json())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    # A record that cannot be put into its form is dropped; the library would print it as it is.
    logging.raiseExceptions = False
    # Nobody reads which thread or process it was, and each request would pay for finding out.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


class _Json(logging.Formatter):
    """One line of JSON a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Answer the line, without its end."""
        return _encode(_fields(self, record)).decode()


class _Readable(logging.Formatter):
    """One line of text a record, with the trace beneath it."""

    def format(self, record: logging.LogRecord) -> str:
        """Answer the lines, without the last one's end."""
        fields = _fields(self, record)
        first = "{} [{}] {}".format(*(fields.pop(name) for name in ("timestamp", "level", "event")))
        trace = fields.pop("exception", [])
        return "\n    ".join(
            [" ".join([first, *(f"{name}={value}" for name, value in fields.items())]), *trace]
        )


def _fields(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, Any]:
    """Answer what is written of a record, safe whatever its fields hold."""
    given = {name: value for name, value in vars(record).items() if name not in _EVERY}
    fields: dict[str, object] = {"event": record.getMessage(), **given}
    request_id = fields.get("request_id")
    if isinstance(request_id, str):
        fields["request_id"] = request_id[:REQUEST_ID_CHARACTERS_MAX]
    if record.exc_info:
        # Line by line, because a field is too short for a trace; its end says what happened.
        trace = formatter.formatException(record.exc_info)
        fields["exception"] = trace.splitlines()[-TRACE_LINES_MAX:]
    written = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
    return {
        "timestamp": written.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        **_safe_members(fields, DEPTH_MAX),
    }


def is_secret(name: str) -> bool:
    """Whether the value of a field with this name is never written."""
    return name.lower().replace("-", "").replace("_", "") in SECRET_FIELDS


@lru_cache(maxsize=256)
def _spelled(name: str) -> tuple[str, bool]:
    """Answer how a field's name is written, and whether its value is not."""
    return escape(name), is_secret(name)


def escape(text: str) -> str:
    """Answer the text without tokens of ours and without raw control or deceptive characters.

    It is cut to 1 KiB of UTF-8 after that, so that escapes cannot make it longer.
    """
    if _HARMLESS.match(text) and "mun" not in text:
        return text
    # A prefix that surely fills the field is enough: a megabyte is not scanned to be cut.
    blotted = redact(text[: 8 * FIELD_BYTES_MAX])
    blotted = _CREDENTIALS.sub(rf"\1 {REDACTED}", blotted)
    blotted = _URL_PASSWORD.sub(rf"\1{REDACTED}@", blotted)
    if not blotted.isprintable():
        blotted = "".join(
            character.encode("unicode_escape").decode()
            if unicodedata.category(character) in _ESCAPED
            else character
            for character in blotted
        )
    encoded = blotted.encode()
    if len(encoded) <= FIELD_BYTES_MAX:
        return blotted
    return encoded[: FIELD_BYTES_MAX - len(_CUT.encode())].decode(errors="ignore") + _CUT


def _safe_members(members: dict[Any, Any], depth: int) -> dict[str, Any]:
    safe: dict[str, Any] = {}
    for name, member in list(members.items())[:FIELDS_MAX]:
        spelled, secret = _spelled(str(name))
        safe[spelled] = REDACTED if secret else _safe(member, depth - 1)
    return safe


def _safe(value: object, depth: int) -> object:
    if isinstance(value, str):
        return escape(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        # JSON has neither infinity nor, for its readers, numbers of any length.
        return value if -_NUMBER_MAX < value < _NUMBER_MAX else "a number out of range"
    if isinstance(value, dict) and depth:
        return _safe_members(value, depth)
    if isinstance(value, list | tuple | set | frozenset) and depth:
        return [_safe(member, depth - 1) for member in list(value)[:FIELDS_MAX]]
    return escape(str(value))
