"""What if a node heard of nothing and looked for nothing? (reliability 1: `deaf`)."""

from __future__ import annotations

from ops import writer
from ops.wiring import Installation
from tests.campaigns.mutants.start import broken


def listen_to_nothing(_installation: Installation) -> None:
    """End at once."""


if __name__ == "__main__":
    # Long enough for no poll to come, and staleness is not what is broken here.
    setattr(writer, "POLL_SECONDS", 3_600.0)  # noqa: B010 - a constant, which is Final
    setattr(writer.Writer, "staleness_seconds", lambda _writer: 0.0)  # noqa: B010 - as above
    broken(Installation, "_listen", listen_to_nothing)
