"""What does the journal of an installation hold, once everything noted before is written?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from ops.journal import COUNTS_SECONDS
from projections.journal import Counted, Entry, Kind, Wanted, counted, following
from tests.service import NOBODY, PASSWORD, ROOT_EMAIL

if TYPE_CHECKING:
    from tests.service import Served

ENTRIES_MAX = 10_000
AGENT = {"User-Agent": "curl/8"}
REQUEST = {"X-Request-ID": "req-1", **AGENT}


def entries(http: Served, *kinds: Kind) -> list[Entry]:
    """Answer the entries of these kinds, of all where none is given, oldest first."""
    http.run(http.journal.settle())
    wanted = Wanted(tenant=None, kinds=kinds or None)
    found = http.run(http.journal.ask(following, wanted, 0, ENTRIES_MAX))
    return [one.entry for one in found]


def counts(http: Served) -> list[tuple[Counted, int]]:
    """Answer everything that is counted, written or not."""
    http.run(http.journal.settle())
    http.inputs.advance(COUNTS_SECONDS)
    http.run(http.journal.settle())
    return [*http.run(http.journal.ask(counted, 0, 2**40))]


def only(found: list[Entry]) -> Entry:
    """Answer the one entry that there is."""
    assert 1 == len(found), found
    return found[0]


def sign_in(http: Served, email: str = ROOT_EMAIL, password: str = PASSWORD) -> httpx.Response:
    """Try to sign in."""
    body = {"username": email, "password": password}
    return http.post("/login", body, by=NOBODY, headers=REQUEST)
