"""What if a node answered at once, however little it knew? (reliability 1: `ignore_at_least`)."""

from __future__ import annotations

from api.service import Service
from tests.campaigns.mutants.start import broken


async def reach_nothing(_service: Service, _position: int, *, stranger: bool = False) -> None:
    """Wait for nothing."""
    del stranger


if __name__ == "__main__":
    broken(Service, "reach", reach_nothing)
