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
from functools import lru_cache
from typing import Any, Final, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

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


def configure(*, level: str = "INFO", readable: bool = False, stream: TextIO | None = None) -> None:
    """Send every record of this process to `stream`, by default standard output.

    `readable` is for `dev`; it escapes and redacts alike. A second call replaces the first.
    """
    ours: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _lines_of_trace,
        guard,
    ]
    render: Processor = (
        structlog.dev.ConsoleRenderer(colors=False)
        if readable
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=ours,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    # A record that cannot be put into its form is dropped; the library would print it as it is.
    logging.raiseExceptions = False
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *ours,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def guard(_logger: WrappedLogger, _method: str, record: EventDict) -> EventDict:
    """Make a record safe to be written, whatever its fields hold; it comes last before the form."""
    kept = {name: value for name, value in record.items() if name in {"_record", "_from_structlog"}}
    request_id = record.get("request_id")
    if isinstance(request_id, str):
        record["request_id"] = request_id[:REQUEST_ID_CHARACTERS_MAX]
    fields = {name: value for name, value in record.items() if name not in kept}
    return {**cast("dict[str, Any]", _safe(fields, DEPTH_MAX)), **kept}


@lru_cache(maxsize=256)
def is_secret(name: str) -> bool:
    """Whether the value of a field with this name is never written."""
    return name.lower().replace("-", "").replace("_", "") in SECRET_FIELDS


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


def _lines_of_trace(_logger: WrappedLogger, _method: str, record: EventDict) -> EventDict:
    # Line by line, because a field is too short for a trace; its end says what happened.
    trace = record.get("exception")
    if isinstance(trace, str):
        record["exception"] = trace.splitlines()[-TRACE_LINES_MAX:]
    return record


def _safe(value: object, depth: int) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        # JSON has neither infinity nor, for its readers, numbers of any length.
        return value if -_NUMBER_MAX < value < _NUMBER_MAX else "a number out of range"
    if isinstance(value, dict) and depth:
        return {
            escape(str(name)): REDACTED if is_secret(str(name)) else _safe(member, depth - 1)
            for name, member in list(value.items())[:FIELDS_MAX]
        }
    if isinstance(value, list | tuple | set | frozenset) and depth:
        return [_safe(member, depth - 1) for member in list(value)[:FIELDS_MAX]]
    return escape(value if isinstance(value, str) else str(value))
