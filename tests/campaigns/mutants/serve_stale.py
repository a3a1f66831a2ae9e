"""What if a node cut off from the log went on answering? (reliability 1: `serve_stale`)."""

from __future__ import annotations

from ops.writer import Writer
from tests.campaigns.mutants.start import broken


def always_fresh(_writer: Writer) -> float:
    """How old the facts are, as a node believes that never looks."""
    return 0.0


if __name__ == "__main__":
    broken(Writer, "staleness_seconds", always_fresh)
