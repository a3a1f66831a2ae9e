"""What if a verifier made the tree and never held its root against what was signed?"""

from __future__ import annotations

from ops import log_check
from projections.witness import Witness
from tests.campaigns.mutants.start import broken


class RootlessWitness(Witness):
    """Reads everything, and asks nothing of it."""

    def _look(self) -> None:
        pass

    def close(self) -> None:
        """Hold whatever was read to be whole."""


if __name__ == "__main__":
    broken(log_check, "Witness", RootlessWitness)
