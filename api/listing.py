"""Which part of a list does a request ask for, and how is the page answered?

Most lists are asked of the temporal views. Lists that are searched by what is sealed (people's
names and e-mails) cannot be asked of SQL: their rows are named first and picked in memory, by the
same filters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar, assert_never

from litestar import Response
from msgspec import Struct

from api.paging import Results, Rules, link_header, read_filters, read_page
from api.request_errors import UnavailableError
from projections.filters import IGNORING_CASE, And, Comparison, Leaf, Node, Or, Row, fold, matches
from projections.pages import Page
from projections.views import UnreachableError

if TYPE_CHECKING:
    from api.call import Call
    from domain.state import State

R = TypeVar("R")
T = TypeVar("T")
P = ParamSpec("P")

AUTOCOMPLETED_MAX: Final = 50


class Asked(Struct, frozen=True):
    """The page, and the filter, that a query string asks for."""

    page: Page
    where: Node | None

    def names(self, field: str) -> bool:
        """Tell whether the filter or the order looks at a field."""
        return any(key.field == field for key in self.page.sort) or _names(self.where, field)


def _names(node: Node | None, field: str) -> bool:
    match node:
        case None:
            return False
        case Leaf():
            return node.field == field
        case And() | Or():
            return any(_names(child, field) for child in node.nodes)
        case _:
            assert_never(node)


def asked(call: Call, rules: Rules, sortable: Collection[str]) -> Asked:
    """Read page, order and filters of the request; see `read_page` and `read_filters`."""
    page = read_page(call.query, sortable)
    return Asked(page, read_filters(call.query, rules, call.service.inputs.now()))


def both(one: Node | None, *others: Leaf) -> Node | None:
    """Answer the filter that asks for all of these."""
    nodes = (*(() if one is None else (one,)), *others)
    return And(nodes) if nodes else None


def equals(field: str, *values: str) -> Leaf:
    """Answer the filter for rows whose field is one of the values."""
    return Leaf(field=field, comparison=Comparison.EQUALS, values=values)


def member(name: str, value: str) -> Leaf:
    """Answer the filter for events whose detail has this member."""
    return Leaf(field="details", key=name, comparison=Comparison.EQUALS, values=(value,))


def containing(text: str, field: str = "q") -> tuple[Leaf, ...]:
    """Answer the filter for rows that have the text in a field, or anywhere; none for no text."""
    return (Leaf(field=field, comparison=Comparison.CONTAINS, values=(text,)),) if text else ()


async def ask(
    call: Call, query: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Ask the views, when they have reached what was published as the request came."""
    await call.service.reach_views(call.state.position)
    try:
        return await call.service.views.ask(query, *args, **kwargs)
    except UnreachableError as fault:
        raise UnavailableError("store.unreachable", 1) from fault


def answer(call: Call, page: Page, rows: Sequence[R], total: int) -> Response[Results[R]]:
    """Answer one page in the contract's envelope, with the way to the others."""
    return call.answer(Results(results=tuple(rows), total=total), link=link(call, page, total))


def link(call: Call, page: Page, total: int) -> str:
    """Answer the way from a page to the others."""
    return link_header(call.service.settings.public_url, call.path, call.query, page, total)


def moment(call: Call, state: State | None = None) -> datetime:
    """Answer the instant at which spans are judged: now, or that of the past state shown."""
    shown = state or call.state
    past = call.past or shown.position < call.service.state.position
    return shown.at if past else call.service.inputs.now()


# In memory


async def pick(
    rows: Iterable[R], asked: Asked, value: Callable[[R], Row], default: str
) -> tuple[list[R], int]:
    """Answer the rows of a page and how many there are on all, sorted and filtered off the loop.

    `value(row)(field, key)` is what a filter or an order compares. Without an order the rows
    come by the field `default`; every order ends with the id.
    """
    return await asyncio.to_thread(_pick, rows, asked, value, default)


def _pick(
    rows: Iterable[R], asked: Asked, value: Callable[[R], Row], default: str
) -> tuple[list[R], int]:
    where, page = asked.where, asked.page
    found = [row for row in rows if where is None or matches(where, value(row))]
    found.sort(key=lambda row: _rank(value(row), "id"))
    keys = [(key.field, key.descending) for key in page.sort] or [(default, False)]
    # Sorting is stable, so the last key comes first.
    for field, descending in reversed(keys):
        found.sort(key=_ranked(value, field), reverse=descending)
    return found[page.skipped : page.skipped + page.size], len(found)


def _ranked(value: Callable[[R], Row], field: str) -> Callable[[R], Any]:
    return lambda row: _rank(value(row), field)


def _rank(row: Row, field: str) -> tuple[bool, Any]:
    """Answer what a field is sorted by; what is absent comes first, as in the views."""
    found = row(field, "")
    if isinstance(found, str) and field in IGNORING_CASE:
        return True, (fold(found), found)
    return found is not None, found
