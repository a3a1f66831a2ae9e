"""How long do appends take, how much is in them, and how often was someone else first?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from api.measures import Histogram
from domain.events import TOPICS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domain.events import Record

# Upper bounds; seconds of a durable append, and how many commands are in one.
SECONDS_BOUNDS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)
COMMANDS_BOUNDS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


class Appends:
    """What the writer has counted since it began; its thread alone adds to it."""

    def __init__(self) -> None:
        self.events = dict.fromkeys(TOPICS.values(), 0)
        self.seconds = Histogram(SECONDS_BOUNDS)
        self.commands = Histogram(COMMANDS_BOUNDS)
        self.conflicts = 0

    def done(self, records: Iterable[Record], commands: int, seconds: float) -> None:
        """Count an append that is durable."""
        for record in records:
            self.events[record.topic] += 1
        self.seconds.add(seconds)
        self.commands.add(commands)
