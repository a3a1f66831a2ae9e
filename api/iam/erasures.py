"""How is a person erased over HTTP, and who has been?"""

from __future__ import annotations

from typing import Any, Final

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from api import listing
from api.call import OWNER, Call
from api.paging import Results, read_page
from domain.erasures import EraseUser
from domain.ids import UserId


class Erasure(Struct, frozen=True, kw_only=True):
    """Who was erased, by id alone, and the position of the event that says so."""

    id: str
    position: int


@post(
    "/users/{id:str}/erase",
    status_code=204,
    opt=OWNER,
    operation_id="eraseUser",
    summary="Erase the personal data of a user for good, also of one deleted before",
)
async def erase(id: FromPath[str], call: NamedDependency[Call]) -> Response[None]:
    """Needs X-Muniment-Reason. A user that is still there is deleted as well."""
    return (await call.execute(EraseUser(id=UserId(id)), on=id)).empty()


@get(
    "/erasures",
    opt=OWNER,
    operation_id="listErasures",
    summary="List who has been erased, the last first",
)
async def search(call: NamedDependency[Call]) -> Response[Results[Erasure]]:
    page = read_page(call.query, ())
    erased = sorted(call.state.erased_users.items(), key=lambda one: one[1], reverse=True)
    rows = [Erasure(id=id_, position=position) for id_, position in erased]
    shown = rows[page.skipped : page.skipped + page.size]
    return listing.answer(call, page, shown, len(rows))


ROUTES: Final[list[Any]] = [erase, search]
