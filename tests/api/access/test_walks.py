"""Do the pages of one walk show one moment, whatever happens in between?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from domain.bindings import DeleteBinding
from domain.ids import MAIN
from domain.scopes import Scope
from tests.answers import problem
from tests.api.checking import Desk, Json
from tests.service import Headers, Served

if TYPE_CHECKING:
    from collections.abc import Callable

WHAT = "main/access/what-can?type=service_account&id=ci-bot"
WHO = "main/access/who-can?resourceType=FLOW&action=VIEW"
ME = "main/access/me?a=b"


@pytest.fixture
def desk(http: Served) -> Desk:
    """Return an installation with much to list: places of one bot, and bots at one place."""
    desk = Desk(http)
    for number in range(6):
        place = Scope(namespace=f"n{number}")
        http.allow(desk.bot, {"FLOW": ["VIEW"]}, place=place)
        http.allow(http.account(f"bot-{number}"), {"FLOW": ["VIEW"]})
    http.allow(desk.bot, {"ACCESS": ["*"]})
    return desk


def pages(
    desk: Desk, path: str, limit: int = 2, between: Callable[[], object] | None = None
) -> list[httpx.Response]:
    """Walk by the Link of each page, with something done after each."""
    found: list[httpx.Response] = []
    target = f"{path}&limit={limit}"
    while target:
        found.append(desk.http.get(target, by=desk.by_bot))
        assert 200 == found[-1].status_code, found[-1].content
        link = found[-1].headers.get("link", "")
        assert bool(link) is ("nextCursor" in found[-1].json())
        if link:
            assert f"cursor={found[-1].json()['nextCursor']}" in link
        target = link.partition(">")[0].removeprefix("<https://iam.example")
        if between is not None:
            between()
    return found


def items(found: list[httpx.Response]) -> list[Json]:
    """Answer the items of all pages."""
    return [item for page in found for item in page.json()["items"]]


def disturb(desk: Desk) -> Callable[[], None]:
    """Answer what takes from the bot, gives to it, and makes another, each time it is called."""
    bindings = iter([*desk.http.state.bindings_of[desk.bot].values()])

    def once() -> None:
        http = desk.http
        http.inputs.advance(1)
        for binding in bindings:
            if "ACCESS" not in str(http.state.roles[binding.role].permissions):
                http.give(DeleteBinding(tenant=MAIN, id=binding.id))
                break
        http.allow(desk.bot, {"APP": ["VIEW"]}, place=Scope(namespace="a"))
        http.allow(http.account("a-new-one"), {"FLOW": ["VIEW"]})

    return once


@pytest.mark.parametrize(("path", "total"), [(WHAT, 8), (ME, 8), (WHO, 7)])
def test_pages_under_writes_are_one_snapshot(desk: Desk, path: str, total: int) -> None:
    """Position and instant are the first page's; nothing is missing and nothing comes twice."""
    if path == WHO:
        desk.http.allow(desk.bot, {"FLOW": ["VIEW"]})
    whole = desk.http.get(path, by=desk.by_bot)
    position = whole.headers["x-muniment-position"]

    found = pages(desk, path, between=disturb(desk))

    assert total == len(whole.json()["items"])
    assert whole.json()["items"] == items(found)
    assert {position} == {page.headers["x-muniment-position"] for page in found}
    assert items(found) != items(pages(desk, path, limit=1_000))
    assert int(position) < desk.http.state.position


@pytest.mark.parametrize("path", [WHAT, ME, WHO])
def test_a_walk_through_the_past_stays_there(desk: Desk, path: str) -> None:
    """With `position` the cursor goes on at that position, and both stand in the Link."""
    position = desk.http.state.position
    disturb(desk)()

    found = pages(desk, f"{path}&position={position}", between=disturb(desk))

    assert {str(position)} == {page.headers["x-muniment-position"] for page in found}
    assert items(pages(desk, f"{path}&position={position}", limit=1_000)) == items(found)


@pytest.mark.parametrize("limit", [1, 3, 7, 8, 9])
def test_pages_of_any_size_make_the_whole(desk: Desk, limit: int) -> None:
    """The last page has no cursor, however the pages are cut."""
    whole = desk.http.get(WHAT, by=desk.by_bot).json()["items"]

    found = pages(desk, WHAT, limit)

    assert whole == items(found)
    assert len(found) == -(-len(whole) // limit)


def first(desk: Desk, path: str, by: Headers | None = None) -> str:
    """Answer the cursor of a first page of two."""
    cursor: str = desk.http.get(f"{path}&limit=2", by=by or desk.by_bot).json()["nextCursor"]
    return cursor


def test_the_limit_holds_until_another_is_given(desk: Desk) -> None:
    """A cursor alone goes on as the first page began; a new limit is taken."""
    cursor = first(desk, WHAT)

    for query, count in (("", 2), ("&limit=3", 3)):
        page = desk.http.get(f"{WHAT}&cursor={cursor}{query}", by=desk.by_bot)
        assert count == len(page.json()["items"])


def test_a_cursor_is_of_one_request_and_one_caller(desk: Desk) -> None:
    """Changed parameters, another path, another caller: refused (http-api 5)."""
    http = desk.http
    cursor = first(desk, WHAT)
    asked = {
        WHAT.replace("ci-bot", desk.bot): desk.by_bot,
        f"{WHAT}&position=1": desk.by_bot,
        ME: desk.by_bot,
        WHO: desk.by_bot,
        WHAT: http.root,
    }

    for path, by in asked.items():
        problem(http.get(f"{path}&cursor={cursor}", by=by), 400, "cursor.invalid")
    assert 200 == http.get(f"{WHAT}&cursor={cursor}", by=desk.by_bot).status_code
    assert 200 == http.get(f"{WHAT}&cursor={cursor}&at_least=1", by=desk.by_bot).status_code


def test_a_damaged_cursor_is_refused(desk: Desk) -> None:
    """Each character counts."""
    cursor = first(desk, WHAT)

    for at in range(len(cursor)):
        damaged = cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1 :]
        problem(desk.http.get(f"{WHAT}&cursor={damaged}", by=desk.by_bot), 400, "cursor.invalid")


@pytest.mark.parametrize("path", [WHAT, WHO])
def test_each_page_is_judged_anew(desk: Desk, path: str) -> None:
    """Who loses the right to ask gets no further page, though the position lies before that."""
    http = desk.http
    if path == WHAT:
        path = path.replace("ci-bot", "bot-1")
        for number in range(3):
            owner = http.state.service_accounts.values()
            (bot,) = (one.id for one in owner if one.name == "bot-1")
            http.allow(bot, {"FLOW": ["VIEW"]}, place=Scope(namespace=f"m{number}"))
    cursor = first(desk, path)
    for binding in [*http.state.bindings_of[desk.bot].values()]:
        if "ACCESS" in str(http.state.roles[binding.role].permissions):
            http.give(DeleteBinding(tenant=MAIN, id=binding.id))

    problem(http.get(f"{path}&cursor={cursor}", by=desk.by_bot), 403, "permission.denied")


def test_a_cursor_of_what_is_not_known_here_yet_waits(desk: Desk) -> None:
    """A process that is behind refuses with 503 instead of showing less."""
    http = desk.http
    behind = http.state
    http.account("late")
    cursor, ahead = first(desk, ME), http.state

    http.service.graph.state = behind
    problem(http.get(f"{ME}&cursor={cursor}", by=desk.by_bot), 503, "position.not_reached")
    http.service.graph.state = ahead
    page = http.get(f"{ME}&cursor={cursor}", by=desk.by_bot)

    assert (200, str(ahead.position)) == (page.status_code, page.headers["x-muniment-position"])
