"""Does every page of the trail say how far the log is signed?"""

from __future__ import annotations

from typing import Final

import pytest

from tests.service import Served

PAGES: Final = (
    "main/events?limit=2",
    "events?limit=2",
    "main/events?after=1",
    "main/auditlogs/search?size=2",
    "auditlogs/search?size=2",
)


def seal(http: Served) -> int:
    """Let the whole log be signed; answer how far that is."""
    head = http.log.head()
    assert http.get(f"audit/proofs/inclusion?index=0&size={head}").status_code == 200
    return head


@pytest.mark.parametrize("path", PAGES)
def test_each_page_tells_the_newest_checkpoint(http: Served, path: str) -> None:
    """Transparency-log 4: `sealedThrough` is what the newest checkpoint covers by then."""
    sealed = seal(http)
    http.group("after")

    assert sealed == http.get(path).json()["sealedThrough"] < http.log.head()


def test_a_further_page_tells_it_as_of_then(http: Served) -> None:
    """Transparency-log 4: the walk shows one moment; what is signed of it goes on."""
    sealed = seal(http)
    http.group("after")
    first = http.get("main/events?limit=2").json()
    more = seal(http)

    further = http.get(f"main/events?limit=2&cursor={first['nextCursor']}").json()

    assert sealed < more
    assert (sealed, more) == (first["sealedThrough"], further["sealedThrough"])


def test_lists_that_are_no_trail_tell_nothing_of_it(http: Served) -> None:
    """Kestra-iam 2.2: every other list has the contract's two members and no more."""
    assert {"results", "total"} == set(http.get("main/groups/search").json())
