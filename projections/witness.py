"""Does a log, read from its beginning, still have every root that was signed of it?

Whoever reads it, beside a running server or from an export, tells each event; the first that is
wrong is named where that can be known.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from projections.verifier import Checkpoint, ProofError, Tree, entry_of, leaf_of

CHANGED: Final = "log.changed"


class Witness:
    """Makes the tree anew, and holds it against checkpoints and against hashes kept elsewhere."""

    def __init__(self, checkpoints: Iterable[Checkpoint]) -> None:
        """The signatures of the checkpoints have been judged already."""
        # The nearest one comes last, where it is taken from.
        self._ahead = sorted(checkpoints, key=lambda one: one.size, reverse=True)
        self._tree = Tree()
        self._proved = 0
        # The first position whose event is not what was hashed of it.
        self.suspect: int | None = None
        # How many checkpoints held so far.
        self.compared = 0
        self._look()

    @property
    def size(self) -> int:
        """How many events have been told."""
        return self._tree.size

    def tell(
        self, position: int, topic: str, envelope: bytes, kept_leaf: bytes | None = None
    ) -> None:
        """Take the next event as it is stored; `kept_leaf` is what somebody once hashed of it.

        Raises ProofError `log.gap`, and `log.changed` where a checkpoint says otherwise.
        """
        if position != self._tree.size + 1:
            raise ProofError("log.gap", f"position {self._tree.size + 1} is missing")
        leaf = leaf_of(entry_of(topic, envelope))
        if kept_leaf is not None and kept_leaf != leaf and self.suspect is None:
            self.suspect = position
        self._tree.push(leaf)
        if self._ahead and self._ahead[-1].size == position:
            self._look()

    def close(self) -> None:
        """Say that there are no more events.

        Raises ProofError `log.cut` where there were more when a checkpoint was signed, and
        `log.changed` where an event is not what somebody once hashed.
        """
        if self._ahead:
            size = self._ahead[0].size
            raise ProofError(
                "log.cut", f"position {self.size + 1} is missing: {size} events were signed"
            )
        if self.suspect is None:
            return
        if self.suspect <= self._proved:
            raise ProofError(
                "leaf.changed",
                f"position {self.suspect} is the event that was signed, but its kept hash is not",
            )
        raise ProofError(CHANGED, f"position {self.suspect} is not the event that was hashed")

    def _look(self) -> None:
        """Hold the tree against the checkpoints of its size."""
        while self._ahead and self._ahead[-1].size == self._tree.size:
            checkpoint = self._ahead.pop()
            self.compared += 1
            if self._tree.root() != checkpoint.root:
                raise ProofError(CHANGED, f"{self._where()} (checkpoint of {checkpoint.origin})")
        self._proved = self._tree.size

    def _where(self) -> str:
        """Name the first position that is wrong, or where it lies."""
        if self.suspect is not None and self.suspect > self._proved:
            return f"position {self.suspect} is not the event that was signed"
        first = self._proved + 1
        if first >= self._tree.size:
            return f"position {self._tree.size} is not the event that was signed"
        return f"an event from position {first} to {self._tree.size} is not the one that was signed"
