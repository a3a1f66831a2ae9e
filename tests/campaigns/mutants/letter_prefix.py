"""What if a namespace covered all that begins with its letters? (reliability B1)."""

from __future__ import annotations

from projections import access_graph
from tests.campaigns.mutants.start import broken


def letter_ancestors(namespace: str) -> tuple[str, ...]:
    """Every beginning of the text, so that `prod` covers `production`."""
    return tuple(namespace[:end] for end in range(len(namespace), 0, -1))


if __name__ == "__main__":
    broken(access_graph, "ancestors", letter_ancestors)
