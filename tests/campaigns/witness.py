"""What state does a serving node have at some positions? The real server, with its digests told.

Nothing is broken: whenever a node goes on past another thousand of positions, the digest of what it
publishes is written to its standard output, where the campaign reads it (reliability B2 and B6).
"""

from __future__ import annotations

import sys
from typing import Final

from api.service import Service
from domain.events import Fact
from domain.state import State, digest
from tests.campaigns.mutants.start import broken

STEP: Final = 1_000
MARK: Final = "witness "

_PUBLISH = Service.publish


def publish_and_tell(service: Service, state: State, facts: tuple[Fact, ...]) -> None:
    """Publish, and tell the digest now and then."""
    before = service.state.position
    _PUBLISH(service, state, facts)
    if before // STEP != state.position // STEP:
        sys.stdout.write(f"{MARK}{state.position} {digest(state)}\n")
        sys.stdout.flush()


def start() -> None:
    """Run the command line."""
    broken(Service, "publish", publish_and_tell)


if __name__ == "__main__":
    start()
