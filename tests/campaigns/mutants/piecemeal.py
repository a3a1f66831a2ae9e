"""What if a follower published each event alone? (reliability B9)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ops import wiring
from ops.writer import Writer
from tests.campaigns.mutants.start import broken

if TYPE_CHECKING:
    from domain.events import Fact

BETWEEN_SECONDS: Final = 0.002


class PiecemealWriter(Writer):
    """Goes on event by event, with a moment between."""

    def _go_on(self, facts: list[Fact]) -> None:
        for fact in facts:
            super()._go_on([fact])
            time.sleep(BETWEEN_SECONDS)


if __name__ == "__main__":
    broken(wiring, "Writer", PiecemealWriter)
