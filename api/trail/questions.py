"""Which entries of the trail does a request ask for, and from where on?

Filters are plain parameters, each given once; what is malformed or unknown is refused by its name,
so that a misspelt filter never shows more than was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from api.access.walks import WORD_CHARACTERS_MAX
from api.call import position_parameter
from api.paging import read_instant
from api.request_errors import MalformedError
from domain.ids import TenantId
from projections.audit import EVERYWHERE, OUTCOME, Scope
from projections.trail import Sought

if TYPE_CHECKING:
    from api.call import Call

TOPICS_MAX: Final = 50
ORDERS: Final = ("asc", "desc")
OUTCOMES: Final = (OUTCOME, "DENIED")
NAMELESS: Final[Mapping[str, str]] = {}
# What every reading route takes (http-api 6).
_MOMENTS: Final = frozenset({"at_least", "position", "at"})
_TOPIC: Final = re.compile(r"[a-z_]+(?:\.[a-z0-9_]+)*(?:\.\*)?\Z")


def scope(call: Call) -> Scope:
    """Answer the tenant of the path or, for those who see the whole log, of the filter `tenant`."""
    if "tenant" in call.parameters:
        return call.tenant
    tenant = call.parameter("tenant")
    return EVERYWHERE if tenant is None else TenantId(_text("tenant", tenant))


def sought(call: Call, *others: str, called: Mapping[str, str] = NAMELESS) -> Sought:
    """Read the filters of a request; `others` are the parameters that its route has besides.

    `called` are further names that filters have there. Raises MalformedError `filters.invalid`,
    whose detail begins with the filter at fault.
    """
    known = {*others, *_MOMENTS, *(() if "tenant" in call.parameters else ("tenant",))}
    found: dict[str, Any] = {}
    for name, value in call.query:
        if name in known:
            continue
        filter_ = called.get(name, name)
        if filter_ not in _PARAMETERS:
            raise _bad(name, "there is no such filter")
        field, read = _PARAMETERS[filter_]
        if field in found:
            raise _bad(name, f"{filter_} is given already")
        found[field] = read(name, value)
    return Sought(**found)


class Span(NamedTuple):
    """From where on a list is asked for, up to where, and from which end."""

    after: int | None
    before: int | None
    newest_first: bool


def span(call: Call) -> Span:
    """Read `after`, `before` and `order`; with `after` and no order a list is a feed."""
    after = position_parameter(call.query, "after")
    order = call.parameter("order") or ("desc" if after is None else "asc")
    if order not in ORDERS:
        raise _bad("order", "must be asc or desc")
    return Span(after, position_parameter(call.query, "before"), order == "desc")


def _text(name: str, value: str) -> str:
    if not value or len(value) > WORD_CHARACTERS_MAX:
        raise _bad(name, f"must have 1 to {WORD_CHARACTERS_MAX} characters")
    return value


def _topics(name: str, value: str) -> tuple[str, ...]:
    topics = tuple(value.split(","))
    if len(topics) > TOPICS_MAX:
        raise _bad(name, f"names at most {TOPICS_MAX} types")
    if not all(map(_TOPIC.match, topics)):
        raise _bad(name, "must be event types such as token.issued.v1, or token.*")
    return topics


def _instant(name: str, value: str) -> datetime:
    try:
        return read_instant(value)
    except ValueError as refusal:
        raise _bad(name, str(refusal)) from None


def _address(name: str, value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        raise _bad(name, "must be an IP address") from None


def _outcome(name: str, value: str) -> str:
    if value not in OUTCOMES:
        raise _bad(name, f"must be {' or '.join(OUTCOMES)}")
    return value


# Each filter: the member of `Sought` that it is, and how it is read.
_PARAMETERS: Final[dict[str, tuple[str, Callable[[str, str], object]]]] = {
    "actor": ("actor", _text),
    "token": ("token", _text),
    "target": ("target", _text),
    "type": ("topics", _topics),
    "since": ("since", _instant),
    "until": ("until", _instant),
    "address": ("address", _address),
    "correlation": ("correlation", _text),
    "command": ("command", _text),
    "outcome": ("outcome", _outcome),
    "q": ("words", _text),
}
FILTERS: Final = tuple(_PARAMETERS)


def _bad(name: str, fault: str) -> MalformedError:
    return MalformedError("filters.invalid", f"{name}: {fault}")
