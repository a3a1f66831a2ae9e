"""What does Python's collector walk through, and when?

A full collection at a hundred thousand principals stops the process for a fifth of a second. So
what stays is frozen: no collection looks at it again, and reference counts free what is dropped
all the same, because it holds no cycles (performance 3).
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# A root of the past is kept about as often.
FREEZE_FACTS: Final = 1_000


@contextmanager
def collection_off() -> Iterator[None]:
    """Let what is made here stay: garbage is collected before, and no collection walks through it.

    Within another one it does nothing.
    """
    if not gc.isenabled():
        yield
        return
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        # A start leaves no cycles behind, so there is nothing to collect: only to leave alone.
        gc.freeze()
        gc.enable()


@contextmanager
def collection_paused() -> Iterator[None]:
    """Let no collection come in between, in whatever thread; for one thread at a time."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Freezer:
    """Leaves what was made since the last time to no collection, whenever that has become much."""

    def __init__(self, *, collects: bool = False) -> None:
        """With `collects` young garbage is taken away first: for a thread that answers nobody."""
        self._collects = collects
        self._facts = 0

    def note(self, facts: int) -> None:
        """Take note of so many events that were folded."""
        self._facts += facts
        if self._facts < FREEZE_FACTS:
            return
        self._facts = 0
        if self._collects:
            gc.collect(1)
        gc.freeze()
