"""What if the journal lost an entry now and then? (reliability E7).

One in a hundred, because the short form has few entries.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from projections import journal
from projections.journal import Counted, LastUse, Row
from tests.campaigns.mutants.start import broken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

ONE_IN: Final = 100

_WRITE = journal.write
_WRITTEN = itertools.count(1)


def write_nearly_all(
    connection: Connection,
    entries: Sequence[Row],
    counts: Sequence[tuple[Counted, int]],
    uses: Sequence[tuple[str, LastUse]],
) -> int:
    """Write a batch, but drop some of it and say nothing."""
    kept = [entry for entry in entries if next(_WRITTEN) % ONE_IN]
    return _WRITE(connection, kept, counts, uses)


if __name__ == "__main__":
    broken(journal, "write", write_nearly_all)
