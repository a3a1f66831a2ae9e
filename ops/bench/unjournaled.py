"""What would be served if nothing were noted? The baseline of the journal's benchmark.

The real command line, with a journal that takes no decision and no use; the product has no such
setting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops import wiring
from ops.cli.main import main
from ops.journal import StoredJournal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from api.journal import Decisions


class Unheeding(StoredJournal):
    """Takes no note of what the hot endpoints tell it."""

    def used(
        self, principal: str, token: str, address: str, headers: Iterable[tuple[bytes, bytes]]
    ) -> None:
        """Look away."""

    def decided(self, decisions: Decisions) -> None:
        """Look away."""


if __name__ == "__main__":
    setattr(wiring, "StoredJournal", Unheeding)  # noqa: B010 - the type checker need not agree
    main()
