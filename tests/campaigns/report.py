"""How does a campaign say what it found, with how many tries and which seed?"""

from __future__ import annotations

import sys


def say(name: str, found: object, **tries: object) -> None:
    """Write one line to standard output, where pytest keeps it for a report."""
    told = "".join(f" {key}={value}" for key, value in tries.items())
    sys.stdout.write(f"{name}:{told} {found}\n")
    sys.stdout.flush()
