"""Which page, which order and which filter does a query string ask for?

The grammar is the contract's (kestra-iam 2.2, 2.3).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Generic, TypeVar
from urllib.parse import quote, urlencode

from msgspec import Struct

from api.query import Query
from api.request_errors import MalformedError
from domain import durations
from domain.errors import FieldFault, InvalidError
from projections.filters import IGNORING_CASE, And, Comparison, Leaf, Node, Or, Value, pattern
from projections.pages import Page, Sort

T = TypeVar("T")

SIZE_MAX: Final = 1_000
SORT_KEYS_MAX: Final = 4
LEAVES_MAX: Final = 50

_NUMBER: Final = re.compile(r"[0-9]{1,9}\Z")
_POSITION: Final = re.compile(r"[0-9]{1,18}\Z")
_INDEX: Final = re.compile(r"[0-9]{1,3}\Z")
_FILTER: Final = re.compile(r"filters(?:\[[^\[\]]*\])+\Z")
_SEGMENT: Final = re.compile(r"\[([^\[\]]*)\]")
_UNDERSCORE: Final = re.compile(r"(?<=[a-z0-9])_([a-z0-9])")
_FLAGS: Final = {"true": True, "false": False}
_GROUPS: Final = frozenset({"and", "or"})
# Two spellings of one field, of Kestra's two generations.
_ALIASES: Final = {"superAdmin": "instanceOwner"}

_ORDER: Final = frozenset(
    {
        Comparison.EQUALS,
        Comparison.GREATER_THAN,
        Comparison.GREATER_THAN_OR_EQUAL_TO,
        Comparison.LESS_THAN,
        Comparison.LESS_THAN_OR_EQUAL_TO,
        Comparison.PRESENT,
    }
)
_TEXT: Final = frozenset(
    {
        Comparison.EQUALS,
        Comparison.CONTAINS,
        Comparison.STARTS_WITH,
        Comparison.ENDS_WITH,
        Comparison.REGEX,
        Comparison.PRESENT,
    }
)

# What stands on the wire: the comparison, and whether it is negated.
_OPERATORS: Final[dict[str, tuple[Comparison, bool]]] = {
    comparison.value: (comparison, False)
    for comparison in Comparison
    if comparison is not Comparison.PRESENT
} | {
    "NOT_EQUALS": (Comparison.EQUALS, True),
    "IN": (Comparison.EQUALS, False),
    "NOT_IN": (Comparison.EQUALS, True),
    "NOT_CONTAINS": (Comparison.CONTAINS, True),
    "IS_NULL": (Comparison.PRESENT, True),
    "IS_NOT_NULL": (Comparison.PRESENT, False),
}
_LIST_OPERATORS: Final = frozenset({"IN", "NOT_IN"})


class Kind(StrEnum):
    """What the values of a field are, and so which operators it takes."""

    TEXT = "text"
    NAMESPACE = "namespace"
    FLAG = "flag"
    NUMBER = "number"
    INSTANT = "instant"
    AGO = "ago"
    MAP = "map"
    ANYWHERE = "anywhere"


_TAKEN: Final[dict[Kind, frozenset[Comparison]]] = {
    Kind.TEXT: _TEXT,
    Kind.NAMESPACE: _TEXT | {Comparison.PREFIX},
    Kind.FLAG: frozenset({Comparison.EQUALS, Comparison.PRESENT}),
    Kind.NUMBER: _ORDER,
    Kind.INSTANT: _ORDER,
    Kind.AGO: frozenset({Comparison.EQUALS}),
    Kind.MAP: _TEXT | {Comparison.PREFIX},
    Kind.ANYWHERE: frozenset(Comparison),
}


class Rule(Struct, frozen=True):
    """A field of a list: the kind of its values, and what it reads where that has another name."""

    kind: Kind
    reads: str = ""
    key: str = ""


# By name in camel case.
Rules = Mapping[str, Rule]


class Results(Struct, Generic[T], frozen=True, kw_only=True):
    """The envelope of every list of the contract; `total` counts all pages."""

    results: tuple[T, ...]
    total: int


def read_page(query: Query, sortable: Collection[str]) -> Page:
    """Read `page`, `size` and `sort` (kestra-iam 2.2).

    `sortable` names fields in camel case. Raises InvalidError `page.invalid` or `sort.invalid`
    naming the parameter; nothing is clamped.
    """
    parameters = dict(query)
    sort = tuple(_sort(value, sortable) for name, value in query if name == "sort")
    if len(sort) > SORT_KEYS_MAX:
        raise _bad_parameter("sort", f"has at most {SORT_KEYS_MAX} keys", "sort.invalid")
    return Page(
        page=_number(parameters.get("page", "1"), "page", 10**9),
        size=_number(parameters.get("size", "10"), "size", SIZE_MAX),
        sort=sort,
    )


def read_filters(query: Query, rules: Rules, now: datetime) -> Node | None:
    """Read all `filters[...]` into one tree, None when there are none (kestra-iam 2.3).

    `now` is where a `timeRange` counts back from. Raises MalformedError `filters.invalid`, whose
    detail begins with the filter at fault.
    """
    given = [(name, value) for name, value in query if name.startswith("filters")]
    if not given:
        return None
    if len(given) > LEAVES_MAX:
        raise _bad_filter("filters", f"at most {LEAVES_MAX} may stand together")
    top = _Branch()
    for name, value in given:
        if not _FILTER.match(name):
            raise _bad_filter(name, "is not of the form filters[field][OPERATOR]")
        branch, segments = _walk(top, name, _SEGMENT.findall(name))
        branch.leaves.append(_leaf(name, segments, value, rules, now))
    return top.node()


def link_header(base_url: str, path: str, query: Query, page: Page, total: int) -> str:
    """Answer the Link header (RFC 8288) to the first, previous, next and last page.

    `base_url` is the public one, `path` is as sent; the request's other parameters are kept.
    """
    last = max(1, -(-total // page.size))
    targets = {"first": 1, "last": last}
    if page.page > 1:
        targets["prev"] = min(page.page - 1, last)
    if page.page < last:
        targets["next"] = page.page + 1
    kept = [(name, value) for name, value in query if name != "page"]
    return ", ".join(
        f'<{base_url}{path}?{_encoded([*kept, ("page", str(number))])}>; rel="{relation}"'
        for relation, number in targets.items()
    )


class _Branch:
    """One level of the tree while it is read: leaves, and branches by group and index."""

    def __init__(self) -> None:
        self.leaves: list[Leaf] = []
        self.branches: dict[tuple[str, int], _Branch] = {}

    def node(self) -> Node:
        """Answer what has been read: all side by side, the members of `or` as one of them."""
        ordered = sorted(self.branches.items(), key=lambda item: item[0])
        parts: list[Node] = [*self.leaves]
        parts += [branch.node() for (group, _), branch in ordered if group == "and"]
        either = tuple(branch.node() for (group, _), branch in ordered if group == "or")
        if either:
            parts.append(Or(either))
        return parts[0] if len(parts) == 1 else And(tuple(parts))


def _walk(top: _Branch, name: str, segments: list[str]) -> tuple[_Branch, list[str]]:
    branch = top
    above: set[str] = set()
    while segments and segments[0] in _GROUPS:
        group, *rest = segments
        if group in above:
            raise _bad_filter(name, "nests deeper than one group of the other kind in a group")
        if not rest or not _INDEX.match(rest[0]):
            raise _bad_filter(name, f"{group} needs an index")
        branch = branch.branches.setdefault((group, int(rest[0])), _Branch())
        above.add(group)
        segments = rest[1:]
    return branch, segments


def _leaf(name: str, segments: list[str], value: str, rules: Rules, now: datetime) -> Leaf:
    if not 2 <= len(segments) <= 3:  # noqa: PLR2004 - the member of a map comes third
        raise _bad_filter(name, "is not of the form filters[field][OPERATOR]")
    spelled, operator, *member = segments
    field, rule = _field(name, spelled, rules)
    comparison, negated = _OPERATORS.get(operator, (None, False))
    if comparison is None or comparison not in _TAKEN[rule.kind]:
        raise _bad_filter(name, f"{field} does not take the operator {operator}")
    if (rule.kind is Kind.MAP) is not bool(member):
        raise _bad_filter(name, "a map names one of its members, and nothing else does")
    reads = rule.reads or field
    if rule.kind is Kind.ANYWHERE:
        return Leaf(field=reads, comparison=Comparison.CONTAINS, values=(value,))
    texts = value.split(",") if operator in _LIST_OPERATORS else [value]
    try:
        values = tuple(_value(text, comparison, rule.kind, reads, now) for text in texts)
    except ValueError as refusal:
        raise _bad_filter(name, str(refusal)) from None
    return Leaf(
        field=reads,
        comparison=Comparison.GREATER_THAN_OR_EQUAL_TO if rule.kind is Kind.AGO else comparison,
        values=() if comparison is Comparison.PRESENT else values,
        key=member[0] if member else rule.key,
        negated=negated,
    )


def _field(name: str, spelled: str, rules: Rules) -> tuple[str, Rule]:
    camel = _camel_case(spelled)
    field = _ALIASES.get(camel, camel)
    rule = rules.get(field)
    if rule is None:
        raise _bad_filter(name, f"there is no field {spelled}")
    return field, rule


def _value(text: str, comparison: Comparison, kind: Kind, reads: str, now: datetime) -> Value:
    if comparison is Comparison.PRESENT:
        return text
    if comparison is Comparison.REGEX:
        pattern(text, ignore_case=reads in IGNORING_CASE)
    match kind:
        case Kind.FLAG:
            return _flag(text)
        case Kind.NUMBER:
            return _position(text)
        case Kind.INSTANT:
            return read_instant(text)
        case Kind.AGO:
            return _before(now, text)
        case _:
            return text


def _flag(text: str) -> bool:
    if text not in _FLAGS:
        msg = "must be true or false"
        raise ValueError(msg)
    return _FLAGS[text]


def _position(text: str) -> int:
    if not _POSITION.match(text):
        msg = "must be a number"
        raise ValueError(msg)
    return int(text)


def read_instant(text: str) -> datetime:
    """Answer the instant of a text, in UTC where it names no zone; else ValueError with why."""
    try:
        instant = datetime.fromisoformat(text)
        # Clients send instants without a zone, and days; both are meant in UTC.
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):
        msg = "must be an instant such as 2026-01-31T12:00:00Z"
        raise ValueError(msg) from None


def _before(now: datetime, text: str) -> datetime:
    duration = durations.parse(text)
    try:
        return now - duration
    except OverflowError:
        msg = "must not reach back before the year 1"
        raise ValueError(msg) from None


def _sort(value: str, sortable: Collection[str]) -> Sort:
    spelled, _, direction = value.partition(":")
    camel = _camel_case(spelled)
    field = _ALIASES.get(camel, camel)
    if field not in sortable:
        raise _bad_parameter("sort", f"cannot be by {spelled}", "sort.invalid")
    if direction not in {"", "asc", "desc"}:
        raise _bad_parameter("sort", "must be field:asc or field:desc", "sort.invalid")
    return Sort(field=field, descending=direction == "desc")


def _number(text: str, name: str, largest: int) -> int:
    number = int(text) if _NUMBER.match(text) else 0
    if not 1 <= number <= largest:
        raise _bad_parameter(name, f"must be from 1 to {largest}", "page.invalid")
    return number


def _camel_case(name: str) -> str:
    return _UNDERSCORE.sub(lambda found: found[1].upper(), name)


def _encoded(parameters: list[tuple[str, str]]) -> str:
    return urlencode(parameters, quote_via=quote, safe="")


def _bad_parameter(name: str, fault: str, code: str) -> InvalidError:
    return InvalidError(code, f"{name} {fault}", fields=(FieldFault(name, fault, code),))


def _bad_filter(name: str, fault: str) -> MalformedError:
    return MalformedError("filters.invalid", f"{name}: {fault}")
