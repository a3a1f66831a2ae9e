"""Which commands about sinks does a random history give?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

from domain import sinks
from domain.ids import SinkId
from domain.state import State

Make = Callable[[], sinks.Command]


def sink_makers(
    random: Random, state: Callable[[], State], new_id: Callable[[], str]
) -> tuple[Make, ...]:
    """Answer makers of commands about the sinks that there are, and one of another."""

    def one() -> SinkId:
        found: Iterable[SinkId] = state().sinks
        return random.choice(sorted(found))

    return (
        lambda: sinks.CreateSink(
            id=SinkId(new_id()),
            name=random.choice(("SIEM", "archive")),
            kind="webhook",
            url="https://siem.example/in",
            types=random.choice(((), ("token.*",))),
            after=random.randint(0, state().position),
        ),
        lambda: sinks.PauseSink(id=one()),
        lambda: sinks.ResumeSink(id=one()),
        lambda: sinks.ReplaySink(id=one(), after=random.randint(0, state().position)),
        lambda: sinks.DeleteSink(id=one()),
    )
