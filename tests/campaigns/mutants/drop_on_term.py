"""What if SIGTERM ended the process at once? (reliability 1: `drop_on_term`)."""

from __future__ import annotations

import os
from types import FrameType

from ops.serving import Server
from tests.campaigns.mutants.start import broken


def end(_server: Server, _signal: int, _frame: FrameType | None) -> None:
    """Go, whatever is under way."""
    os._exit(0)


if __name__ == "__main__":
    broken(Server, "handle_exit", end)
