"""How long is a duration in text, and how is one written?"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

_DURATION: Final = re.compile(
    r"P(?=[0-9T])(?:(?P<days>[0-9]{1,9})D)?"
    r"(?:T(?=[0-9])(?:(?P<hours>[0-9]{1,9})H)?(?:(?P<minutes>[0-9]{1,9})M)?"
    r"(?:(?P<seconds>[0-9]{1,9})(?:\.(?P<fraction>[0-9]{1,6}))?S)?)?\Z"
)
_MICROSECOND_DIGITS: Final = 6
_HOUR_SECONDS: Final = 3_600
_MINUTE_SECONDS: Final = 60


def parse(text: str) -> timedelta:
    """Read an ISO 8601 duration of days and time: `P30D`, `PT1H`, `P1DT12H`, `PT0.5S`.

    Raises ValueError for anything else: months and years, whose length depends on when, weeks,
    signs, zero, and more than 999,999,999 days (kestra-iam 2.4).
    """
    found = _DURATION.match(text)
    if found is None:
        msg = "must be a duration of days and time such as P30D or PT1H"
        raise ValueError(msg)
    try:
        duration = timedelta(
            days=int(found["days"] or 0),
            hours=int(found["hours"] or 0),
            minutes=int(found["minutes"] or 0),
            seconds=int(found["seconds"] or 0),
            microseconds=int((found["fraction"] or "").ljust(_MICROSECOND_DIGITS, "0")),
        )
    except OverflowError:
        msg = "must be at most 999999999 days"
        raise ValueError(msg) from None
    if not duration:
        msg = "must be longer than zero"
        raise ValueError(msg)
    return duration


def write(duration: timedelta) -> str:
    """Write a duration that is not negative in its normal form, which `parse` reads back.

    The largest units come first and none is zero: 90 minutes are `PT1H30M`, nothing is `PT0S`.
    """
    hours, rest = divmod(duration.seconds, _HOUR_SECONDS)
    minutes, seconds = divmod(rest, _MINUTE_SECONDS)
    fraction = f".{duration.microseconds:06}".rstrip("0").rstrip(".")
    parts = (
        (hours, f"{hours}H"),
        (minutes, f"{minutes}M"),
        (seconds or duration.microseconds, f"{seconds}{fraction}S"),
    )
    time = "".join(part for amount, part in parts if amount)
    days = f"{duration.days}D" if duration.days else ""
    return f"P{days}T{time}" if time else f"P{days or 'T0S'}"
