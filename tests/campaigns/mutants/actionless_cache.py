"""What if decisions were kept without their action? (reliability 1: `stale_cache`)."""

from __future__ import annotations

from projections.access_graph import AccessGraph
from tests.campaigns.mutants.stale_cache import kept
from tests.campaigns.mutants.start import broken

if __name__ == "__main__":
    broken(AccessGraph, "check", kept(lambda question: (*question[:3], *question[4:])))
