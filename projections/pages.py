"""Which part of a list is asked for, and in what order?"""

from __future__ import annotations

from msgspec import Struct


class Sort(Struct, frozen=True, kw_only=True):
    """One key of an order; `field` in camel case, as the contract spells it."""

    field: str
    descending: bool = False


class Page(Struct, frozen=True, kw_only=True):
    """A page from 1, of `size` rows; without `sort` the list has its own order.

    Every order ends with the id, so that it is total (http-api 5).
    """

    page: int = 1
    size: int = 10
    sort: tuple[Sort, ...] = ()

    @property
    def skipped(self) -> int:
        """How many rows stand before this page."""
        return (self.page - 1) * self.size
