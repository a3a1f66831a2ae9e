"""What if a follower dropped an event now and then? (reliability 1: `skip_one`).

One in a thousand, because the short form has few events.
"""

from __future__ import annotations

import itertools
from typing import Final

from domain.events import Fact
from domain.state import Draft, apply
from ops import writer
from ops.writer import Writer
from tests.campaigns import witness

ONE_IN: Final = 1_000

_READ = itertools.count(1)
_FOLLOWS = [False]
_GO_ON = Writer._go_on  # noqa: SLF001 - the part that is broken


def follow(self: Writer, facts: list[Fact]) -> None:
    """Go on as a follower, which drops some."""
    _FOLLOWS[0] = True
    try:
        _GO_ON(self, facts)
    finally:
        _FOLLOWS[0] = False


def apply_nearly_all(draft: Draft, fact: Fact) -> None:
    """Fold, but of one event keep only the position."""
    if _FOLLOWS[0] and next(_READ) % ONE_IN == 0:
        draft.position, draft.at = fact.position, fact.envelope.at
        return
    apply(draft, fact)


if __name__ == "__main__":
    setattr(Writer, "_go_on", follow)  # noqa: B010 - the part that is broken
    setattr(writer, "apply", apply_nearly_all)  # noqa: B010 - as above
    witness.start()
