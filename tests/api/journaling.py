"""What does the journal of an installation hold, once everything noted before is written?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from projections.journal import Entry, Kind, Wanted, following

if TYPE_CHECKING:
    from tests.service import Served

ENTRIES_MAX = 10_000


def entries(http: Served, *kinds: Kind) -> list[Entry]:
    """Answer the entries of these kinds, of all where none is given, oldest first."""
    http.run(http.journal.settle())
    wanted = Wanted(tenant=None, kinds=kinds or None)
    found = http.run(http.journal.ask(following, wanted, 0, ENTRIES_MAX))
    return [one.entry for one in found]
