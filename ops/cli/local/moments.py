"""Which moment of a log does somebody mean on the command line? (cli 2.2)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import click

_DAY_CHARACTERS: Final = len("2026-03-31")
_DIGITS_MAX: Final = 18


def moment(text: str, option: str) -> int | datetime:
    """Answer a position, or what `instant` answers."""
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX:
        return int(text)
    return instant(text, option)


def instant(text: str, option: str) -> datetime:
    """Answer an instant of RFC 3339; a day is meant to its end in UTC. UsageError otherwise."""
    try:
        found = datetime.fromisoformat(text)
        if len(text) == _DAY_CHARACTERS:
            found += timedelta(days=1, microseconds=-1)
    except (ValueError, OverflowError):
        raise click.UsageError(f"{option} {text} is no instant of RFC 3339") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found
