"""Which instant or duration does somebody mean on a client's command line? (cli 2.2)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import click

_AGO: Final = re.compile(r"(\d{1,6})([mhd])")
_ISO: Final = re.compile(r"P(?=.)(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+S)?)?")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
_DAY_CHARACTERS: Final = len("2026-03-31")


def instant(text: str, option: str) -> str:
    """Answer RFC 3339 in UTC of an instant, a day (its end), or `24h` for that long ago."""
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            from ops.inputs import SystemInputs

            found = SystemInputs().now() - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        else:
            found = datetime.fromisoformat(text)
            if len(text) == _DAY_CHARACTERS:
                found += timedelta(days=1, microseconds=-1)
    except (ValueError, OverflowError):
        raise click.UsageError(f"{option} {text} is no instant of RFC 3339, day or 24h") from None
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found
    return found.astimezone(UTC).isoformat().replace("+00:00", "Z")


def duration(text: str, option: str) -> str | None:
    """Answer ISO 8601 of `30m`, `12h`, `90d` or `P90D`; None for `never`."""
    if text == "never":
        return None
    short = _AGO.fullmatch(text)
    if short:
        return f"P{short[1]}D" if short[2] == "d" else f"PT{short[1]}{short[2].upper()}"
    if not _ISO.fullmatch(text):
        raise click.UsageError(f"{option} {text} is no duration such as 12h, 90d, P90D or never")
    return text
