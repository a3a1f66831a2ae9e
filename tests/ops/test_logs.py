"""Does the log tell what happened, once a record, and nothing that is secret?"""

from __future__ import annotations

import base64
import io
import json
import logging
import unicodedata
import warnings
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.sealed import Secret
from domain.token_text import TokenKind, make
from ops.logs import FIELD_BYTES_MAX, SECRET_FIELDS, configure, escape, is_secret

TOKEN = make(TokenKind.SERVICE_ACCOUNT, bytes(range(32)))
LOGGER = logging.getLogger("muniment.test")
SETTINGS = ("raiseExceptions", "logThreads", "logProcesses", "logMultiprocessing")
HOSTILE = 'a\r\n{"event":"forged"}\x1b[31m\u2028\u2029\x85\u202e\u200b\x00\ud800z'


class Log:
    """What has been written so far."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def log() -> Iterator[Log]:
    """Write the log at DEBUG to memory, and put everything back afterwards."""
    root = logging.getLogger()
    before = (root.handlers, root.level)
    settings = {name: getattr(logging, name) for name in SETTINGS}
    written = Log()
    configure(level="DEBUG", stream=written.stream)
    yield written
    root.handlers = before[0]
    root.setLevel(before[1])
    for name, value in settings.items():
        setattr(logging, name, value)
    logging.captureWarnings(capture=False)


def fail(message: str) -> None:
    """Fail as a library does, with a message that quotes what it was given."""
    raise ValueError(message)


def test_a_record_is_one_line_of_json(log: Log) -> None:
    """Fixed text with values beside it, an instant in UTC, and the level (operations 3)."""
    said = {"method": "POST", "status": 200, "duration_ms": 3.1, "at": None}
    LOGGER.info("request", extra=said)

    (record,) = log.records
    assert record.pop("timestamp").endswith("Z")
    assert record == {
        "event": "request",
        "level": "info",
        "method": "POST",
        "status": 200,
        "duration_ms": 3.1,
        "at": None,
    }


def test_a_request_id_is_cut(log: Log) -> None:
    """Operations 3: what the caller sent as its request's id is written up to 128 characters."""
    LOGGER.info("ours", extra={"request_id": "r" * 500})

    assert [record["request_id"] for record in log.records] == ["r" * 128]


def test_what_every_record_has_is_not_overwritten(log: Log) -> None:
    """Operations 3: instant, level and event are the record's own, whatever is given beside it."""
    given = {"event": "canary", "level": "canary", "timestamp": "canary", "more": "told"}
    logging.getLogger("library").warning("theirs %s", "x", extra=given)

    (record,) = log.records
    assert ("theirs x", "warning", "told") == (record["event"], record["level"], record["more"])
    assert "canary" not in log.text


def test_each_secret_field_is_blotted_out_at_any_depth(log: Log) -> None:
    """Security 4.5: the values of these fields are never written, in whatever spelling."""
    for name in SECRET_FIELDS:
        LOGGER.info("x", extra={"headers": [{name: "canary"}], name: "canary"})
    logging.getLogger("library").info("x", extra={"Proxy-Authorization": "canary"})

    assert "canary" not in log.text
    assert len(log.records) == len(SECRET_FIELDS) + 1
    assert is_secret("X-Muniment-Proxy-Authorization")
    assert is_secret("subject_token")
    assert is_secret("oldPassword")
    assert not is_secret("token_id")


@pytest.mark.parametrize(
    "spelled",
    [
        TOKEN,
        f"?token={TOKEN}&x=1",
        TOKEN[:20],
        quote(TOKEN, safe="").replace("_", "%5F"),
        f"Bearer {base64.b64encode(TOKEN.encode()).decode()}",
        "Authorization: Basic YWRhOmh1bnRlcjI=",
        "postgresql://muniment:hunter2@db/muniment",
    ],
)
def test_no_credential_is_written_anywhere(log: Log, spelled: str) -> None:
    """Security 4.5: in text, arguments, extra fields, exceptions and warnings alike."""
    logger = logging.getLogger("library")
    LOGGER.debug(spelled, extra={"field": spelled, "deep": [{"a": (spelled,)}], spelled: 1})
    logger.info("said %s", spelled, extra={"more": spelled})
    try:
        fail(spelled)
    except ValueError:
        logger.exception("failed")
        LOGGER.exception("failed", extra={"more": spelled})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(spelled, stacklevel=1)

    assert len(log.records) == 5
    for secret in (TOKEN[5:20], "YWRhOmh1", "hunter2", base64.b64encode(TOKEN.encode()).decode()):
        assert secret not in log.text


def test_a_credential_would_be_seen(log: Log) -> None:
    """Control of security 4.5: what is no secret is written as it is, and the scan finds it."""
    LOGGER.info("canary", extra={"field": "hunter2"})

    assert "hunter2" in log.text


def test_secrets_show_themselves_to_nobody(log: Log) -> None:
    """Security 4.5: a secret in its own type is stars wherever it is logged."""
    LOGGER.info("x", extra={"field": Secret("canary"), "several": [Secret("canary")]})
    logging.getLogger("library").info("%s %r", Secret("canary"), Secret("canary"))

    assert "canary" not in log.text
    assert log.records[0]["field"] == "***"


def test_a_record_cannot_be_forged(log: Log) -> None:
    """Security 4.6: hostile text in every place leaves the record count exact."""
    LOGGER.info(HOSTILE, extra={"field": HOSTILE, "several": [HOSTILE], HOSTILE: HOSTILE})
    logging.getLogger("library").info("%s", HOSTILE, extra={"field": HOSTILE})
    try:
        fail(HOSTILE)
    except ValueError:
        LOGGER.exception(HOSTILE)

    assert log.text.count("\n") == 3
    assert len(log.records) == 3
    assert all(record["event"] != "forged" for record in log.records)
    raw = {unicodedata.category(character) for character in log.text.replace("\n", "")}
    assert raw.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})


@given(st.text(max_size=3_000))
def test_any_text_is_short_printable_and_encodable(text: str) -> None:
    """Security 4.6: a field is at most 1 KiB of UTF-8 without control characters."""
    escaped = escape(text)

    assert len(escaped.encode()) <= FIELD_BYTES_MAX
    assert not any(
        unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in escaped
    )


def test_a_field_is_cut(log: Log) -> None:
    """Security 4.6: however long, wide or deep a value is, its record stays small."""
    deep: object = "x"
    for _ in range(100):
        deep = [deep]
    LOGGER.info(
        "x",
        extra={
            "long": "é" * 100_000,
            "wide": list(range(10_000)),
            "deep": deep,
            "big": 10**5_000,
            "odd": float("inf"),
        },
    )

    (record,) = log.records
    assert len(record["long"].encode()) <= FIELD_BYTES_MAX
    assert record["long"].endswith("…")
    assert len(record["wide"]) == 64
    assert record["big"] == record["odd"] == "a number out of range"
    assert len(log.text) < 5_000


def test_a_trace_is_kept_by_its_end(log: Log) -> None:
    """The last lines of a trace say what happened; each is a value of one list."""
    try:
        fail("the reason")
    except ValueError:
        logging.getLogger("library").exception("failed")

    (record,) = log.records
    assert record["exception"][0].startswith("Traceback")
    assert record["exception"][-1] == "ValueError: the reason"


def test_a_record_that_cannot_be_written_is_not_written_raw(
    log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    """Security 4.5: a failure to log prints no arguments to standard error."""
    logging.getLogger("library").info("%d", "canary")

    assert log.text == ""
    assert "canary" not in "".join(capsys.readouterr())


def test_dev_is_readable_and_as_careful(log: Log) -> None:
    """`dev` gets text instead of JSON, with the same redaction (operations 3)."""
    configure(level="DEBUG", readable=True, stream=log.stream)

    LOGGER.info("hello", extra={"field": TOKEN, "text": "a\nb"})
    assert log.text.count("\n") == 1

    try:
        fail(f"{TOKEN}\x1b[31m")
    except ValueError:
        LOGGER.exception("failed")

    assert "[info] hello field=muns_***" in log.text
    assert "ValueError: muns_***\\x1b[31m" in log.text
    assert TOKEN[5:] not in log.text
    assert "\x1b" not in log.text


def test_the_level_decides_what_is_written(log: Log) -> None:
    """Below the level nothing is written, of ours or of the libraries."""
    configure(level="WARNING", stream=log.stream)

    LOGGER.info("x")
    logging.getLogger("library").info("x")
    LOGGER.warning("y")

    assert [record["event"] for record in log.records] == ["y"]
