"""Where does a walk through pages stand, and at which one moment are all of them shown?

The first page fixes position and instant, and the cursor carries both on (http-api 5); who asks is
judged anew on each page.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

import msgspec
from msgspec import UNSET, Struct, structs

from api.cursors import Cursor, seal, unseal
from api.request_errors import MalformedError
from domain.errors import FieldFault, InvalidError
from domain.state import State

if TYPE_CHECKING:
    from msgspec import UnsetType

    from api.call import Call

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1_000
WORD_CHARACTERS_MAX: Final = 256

# What may differ from page to page.
_OF_A_PAGE: Final = frozenset({"cursor", "limit", "at_least"})
_NUMBER: Final = re.compile(r"[0-9]{1,4}\Z")


class Walk(Struct, frozen=True):
    """The facts and the clock (Unix seconds) of all pages, and what this one begins after."""

    state: State
    now: float
    last: str
    limit: int


async def walk(call: Call) -> Walk:
    """Begin a walk, or go on with the one of the request's cursor.

    Raises MalformedError `cursor.invalid`, InvalidError `page.invalid`, and UnavailableError
    `position.not_reached` where this process does not know the cursor's facts yet.
    """
    at = await stand(call)
    state = call.state
    if state.position != at.position:
        state = await call.service.state_at(at.position)
    return Walk(state, at.now, at.last, at.limit)


async def stand(call: Call) -> Cursor:
    """Begin a walk or go on with one, as `walk`, for a list that is not made from the state."""
    token, limit = call.parameter("cursor"), _limit(call.parameter("limit"))
    if token is None:
        return Cursor(
            position=call.state.position,
            now=call.clock.timestamp(),
            last="",
            limit=limit or LIMIT_DEFAULT,
        )
    found = unseal(call.service.vault.cursor_key, token, _bound_to(call))
    await call.service.reach(found.position)
    return structs.replace(found, limit=limit or found.limit)


def next_page(call: Call, at: Walk, last: str | None) -> tuple[str | UnsetType, str]:
    """Answer the cursor of the page after the key `last`, and the Link to it; none for no more."""
    if last is None:
        return UNSET, ""
    return going_on(call, Cursor(position=at.state.position, now=at.now, last=last, limit=at.limit))


def going_on(call: Call, cursor: Cursor) -> tuple[str, str]:
    """Answer the token of a page, and the Link to it."""
    token = seal(call.service.vault.cursor_key, cursor, _bound_to(call))
    kept = [(name, value) for name, value in call.query if name != "cursor"]
    query = urlencode([*kept, ("cursor", token)], quote_via=quote, safe="")
    return token, f'<{call.service.settings.public_url}{call.path}?{query}>; rel="next"'


def word(text: str | None, name: str) -> str:
    """Answer a query parameter that must be there and may not be long."""
    if not text:
        raise MalformedError("query.invalid", f"{name} is required")
    if len(text) > WORD_CHARACTERS_MAX:
        raise MalformedError(
            "query.invalid", f"{name} has at most {WORD_CHARACTERS_MAX} characters"
        )
    return text


def _bound_to(call: Call) -> bytes:
    asked = sorted(pair for pair in call.query if pair[0] not in _OF_A_PAGE)
    return msgspec.json.encode((call.caller.principal, call.path, asked))


def page_limit(call: Call) -> int:
    """Answer how many entries a page has at most; InvalidError `page.invalid`."""
    return _limit(call.parameter("limit")) or LIMIT_DEFAULT


def _limit(text: str | None) -> int | None:
    if text is None:
        return None
    number = int(text) if _NUMBER.match(text) else 0
    if not 1 <= number <= LIMIT_MAX:
        fault = FieldFault("limit", f"must be from 1 to {LIMIT_MAX}", "page.invalid")
        raise InvalidError("page.invalid", f"limit {fault.detail}", fields=(fault,))
    return number
