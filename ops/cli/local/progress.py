"""How does long work say how far it is, to people and to machines? (cli 6)."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Form = Literal["auto", "json", "none"]
FORMS: Final = ("auto", "json", "none")

_EVERY_SECONDS: Final = 0.5


@contextmanager
def progress(
    label: str, length: int, unit: str = "events", form: Form = "auto"
) -> Iterator[Callable[[int], None]]:
    """Yield what is to be told how much more is done; standard error says done, rate and left.

    A bar on a terminal and nothing off one; with `json` a line each half second and at the end.
    """
    if form == "json":
        lines = _Lines(length, unit)
        yield lines.advance
        lines.write()
        return
    with click.progressbar(
        length=length,
        label=f"{label}, {unit}",
        show_pos=True,
        file=sys.stderr,
        hidden=form == "none" or not sys.stderr.isatty(),
        update_min_steps=max(1, length // 200),
    ) as bar:
        yield bar.update


class _Lines:
    """One JSON object a line: `done` of `of`, `rate` a second, `left` in seconds."""

    def __init__(self, length: int, unit: str) -> None:
        self._length = length
        self._unit = unit
        self._done = 0
        self._begun = self._written = time.monotonic()

    def advance(self, more: int) -> None:
        """Take note of what was done, and say it now and then."""
        self._done += more
        if time.monotonic() - self._written >= _EVERY_SECONDS:
            self.write()

    def write(self) -> None:
        """Say how far it is."""
        self._written = time.monotonic()
        seconds = max(self._written - self._begun, 1e-9)
        rate = self._done / seconds
        left = max(self._length - self._done, 0) / rate if rate else None
        said = {
            "unit": self._unit,
            "done": self._done,
            "of": self._length,
            "rate": round(rate),
            "left": None if left is None else round(left, 1),
        }
        click.echo(json.dumps(said), err=True)
