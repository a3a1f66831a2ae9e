"""Which rows does a filter let through, asked of SQL or of one row at hand?

The tree is made by `api/paging.py`. `condition` and `matches` say the same (kestra-iam 2.3): what
is absent meets no comparison, so it meets every negated one. Text is compared without regard to
case in the fields of `IGNORING_CASE`. PostgreSQL folds the letters that its locale knows, and
counts letters beyond ASCII as word characters where SQLite does not.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from sqlite3 import Connection
from typing import Any, Final, Literal, Protocol, assert_never, cast

import re2
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import ColumnElement, and_, false, func, literal, not_, or_, true

Value = str | bool | int | datetime
Row = Callable[[str, str], Value | tuple[Value, ...] | None]
Dialect = Literal["sqlite", "postgresql"]

REGEX_CHARACTERS_MAX: Final = 256
IGNORING_CASE: Final = frozenset({"name", "username", "email", "description", "q"})

_re2: Final = cast("Any", re2)  # ships no types
_COMPILED_MAX: Final = 64
_MEMORY_BYTES_MAX: Final = 1 << 20


class Comparison(StrEnum):
    """How a value is compared; its negation is a mark on the leaf."""

    EQUALS = "EQUALS"
    GREATER_THAN = "GREATER_THAN"
    GREATER_THAN_OR_EQUAL_TO = "GREATER_THAN_OR_EQUAL_TO"
    LESS_THAN = "LESS_THAN"
    LESS_THAN_OR_EQUAL_TO = "LESS_THAN_OR_EQUAL_TO"
    CONTAINS = "CONTAINS"
    STARTS_WITH = "STARTS_WITH"
    ENDS_WITH = "ENDS_WITH"
    REGEX = "REGEX"
    PREFIX = "PREFIX"
    PRESENT = "PRESENT"


class Leaf(Struct, frozen=True, kw_only=True):
    """One comparison with any of `values`; `key` names a member where the field is a map."""

    field: str
    comparison: Comparison
    values: tuple[Value, ...] = ()
    key: str = ""
    negated: bool = False


class And(Struct, frozen=True):
    """All of these; of none of them it is true."""

    nodes: tuple[Node, ...]


class Or(Struct, frozen=True):
    """At least one of these."""

    nodes: tuple[Node, ...]


Node = Leaf | And | Or

# How a field is looked up in SQL, given the leaf without its negation: most often `any_of` its
# columns, but it may be a list in a table of its own, or a member of a map.
Column = Callable[[Leaf, Dialect], ColumnElement[bool]]


class Pattern(Protocol):
    """A compiled regular expression whose search takes linear time."""

    def search(self, text: str) -> object | None:
        """Answer anything but None where the pattern is found."""
        ...


# What RE2 and PostgreSQL read alike, so that a filter means the same on both databases and none
# of them meets syntax it does not know: no options, no look-around, no word boundaries, a literal
# brace or bracket only after a backslash, a hyphen in a class only as a range or last.
_QUANTIFIER: Final = r"(?:[*+?]|\{[0-9]{1,3}(?:,[0-9]{0,3})?\})\??"
_MARK: Final = r"\\[!-/:-@\[-`{-~]"
_CLASS: Final = rf"(?:\\[dsw]|(?:{_MARK}|[^\\\[\]-])(?:-(?:{_MARK}|[^\\\[\]-]))?)"
_UNDERSTOOD: Final = re.compile(
    rf"(?:\((?:\?:)?|[|^$]|"
    rf"(?:[^\\^$.|?*+()\[\]{{}}]|\.|{_MARK}|\\[dDsSwW]|\[\^?{_CLASS}+-?\]|\))(?:{_QUANTIFIER})?)*\Z",
    re.DOTALL,
)
_REPETITION: Final = re.compile(r"\{([0-9]+)(?:,([0-9]+))?")
_REPETITIONS_MAX: Final = 255  # PostgreSQL's; RE2 limits what nested ones come to


@lru_cache(_COMPILED_MAX)
def pattern(text: str, *, ignore_case: bool) -> Pattern:
    """Compile a filter's REGEX; a new line is a character like any other.

    Raises ValueError with the reason when it is longer than 256 characters, wrong, too costly, or
    uses what the two databases would read differently.
    """
    if len(text) > REGEX_CHARACTERS_MAX:
        msg = f"a REGEX has at most {REGEX_CHARACTERS_MAX} characters"
        raise ValueError(msg)
    bounds = (int(bound) for pair in _REPETITION.findall(text) for bound in pair if bound)
    if not _UNDERSTOOD.match(text) or max(bounds, default=0) > _REPETITIONS_MAX:
        msg = "the REGEX is not one that is evaluated here"
        raise ValueError(msg)
    options = _re2.Options()
    options.dot_nl = True
    options.log_errors = False
    options.case_sensitive = not ignore_case
    options.max_mem = _MEMORY_BYTES_MAX
    try:
        return cast("Pattern", _re2.compile(text, options))
    except _re2.error:
        msg = "the REGEX is wrong or too costly"
        raise ValueError(msg) from None


def fold(text: str) -> str:
    """Answer the form in which text is compared without regard to case."""
    return text.casefold()


# One row at hand


def matches(node: Node, row: Row) -> bool:
    """Tell whether a row passes; `row(field, key)` gives its value, several, or None if absent."""
    match node:
        case And():
            return all(matches(child, row) for child in node.nodes)
        case Or():
            return any(matches(child, row) for child in node.nodes)
        case Leaf():
            found = row(node.field, node.key)
            several = found if isinstance(found, tuple) else (found,)
            present = [value for value in several if value is not None]
            return any(_passes(node, value) for value in present) is not node.negated
        case _:
            assert_never(node)


def _passes(leaf: Leaf, value: Value) -> bool:
    if leaf.comparison is Comparison.PRESENT:
        return True
    return any(_compare(leaf, value, wanted) for wanted in leaf.values)


def _compare(leaf: Leaf, value: Value, wanted: Value) -> bool:
    ignore_case = leaf.field in IGNORING_CASE
    if not isinstance(value, str) or not isinstance(wanted, str):
        # Between other types than texts there is an order and nothing else.
        order = _ORDERS.get(leaf.comparison)
        return order is not None and bool(order(value, wanted))
    if leaf.comparison is Comparison.REGEX:
        return pattern(wanted, ignore_case=ignore_case).search(value) is not None
    compare = _ORDERS.get(leaf.comparison) or _TEXTS[leaf.comparison]
    if ignore_case:
        return bool(compare(fold(value), fold(wanted)))
    return bool(compare(value, wanted))


def _covers(value: str, wanted: str) -> bool:
    return value == wanted or value.startswith(f"{wanted}.")


_ORDERS: Final[dict[Comparison, Callable[[Any, Any], Any]]] = {
    Comparison.EQUALS: operator.eq,
    Comparison.GREATER_THAN: operator.gt,
    Comparison.GREATER_THAN_OR_EQUAL_TO: operator.ge,
    Comparison.LESS_THAN: operator.lt,
    Comparison.LESS_THAN_OR_EQUAL_TO: operator.le,
}
_TEXTS: Final[dict[Comparison, Callable[[str, str], bool]]] = {
    Comparison.CONTAINS: operator.contains,
    Comparison.STARTS_WITH: str.startswith,
    Comparison.ENDS_WITH: str.endswith,
    Comparison.PREFIX: _covers,
}


# SQL


def prepare(connection: Connection) -> None:
    """Give an SQLite connection the functions that `condition` uses."""
    connection.create_function("muniment_fold", 1, _sqlite_fold, deterministic=True)
    connection.create_function("muniment_search", 3, _sqlite_search, deterministic=True)


def condition(node: Node, columns: Mapping[str, Column], dialect: Dialect) -> ColumnElement[bool]:
    """Answer the WHERE clause of a filter; values are always bound, never written into it.

    `columns` has every field that the tree names; KeyError otherwise, since the parser was given
    another table of fields.
    """
    match node:
        case And():
            return and_(true(), *(condition(child, columns, dialect) for child in node.nodes))
        case Or():
            return or_(false(), *(condition(child, columns, dialect) for child in node.nodes))
        case Leaf():
            held = columns[node.field](replace(node, negated=False), dialect)
            # Absent values compare to NULL, which NOT would keep NULL.
            return not_(func.coalesce(held, false())) if node.negated else held
        case _:
            assert_never(node)


def any_of(*columns: ColumnElement[Any]) -> Column:
    """Look a field up in one column, or in several of which any may hold."""

    def held(leaf: Leaf, dialect: Dialect) -> ColumnElement[bool]:
        return or_(false(), *(comparison_of(leaf, column, dialect) for column in columns))

    return held


def comparison_of(leaf: Leaf, column: ColumnElement[Any], dialect: Dialect) -> ColumnElement[bool]:
    """Answer the comparison of one expression with the leaf's values, without its negation."""
    if leaf.comparison is Comparison.PRESENT:
        return column.is_not(None)
    ignore_case = leaf.field in IGNORING_CASE
    wanted: list[ColumnElement[Any]] = [literal(value, column.type) for value in leaf.values]
    if leaf.comparison is Comparison.REGEX:
        found = [_search(column, value, dialect, ignore_case=ignore_case) for value in wanted]
        return or_(false(), *found)
    if ignore_case:
        wanted = [_folded(value, dialect) for value in wanted]
        column = _folded(column, dialect)
    if leaf.comparison is Comparison.EQUALS:
        return column.in_(wanted)
    if leaf.comparison is Comparison.CONTAINS:
        # Not LIKE: on SQLite it ignores the case of some letters even where case counts.
        find = func.instr if dialect == "sqlite" else func.strpos
        return or_(false(), *(find(column, value) > 0 for value in wanted))
    compare = _ORDERS.get(leaf.comparison) or _SQL_TEXTS[leaf.comparison]
    return or_(false(), *(compare(column, value) for value in wanted))


def _starts_with(column: ColumnElement[Any], wanted: ColumnElement[Any]) -> ColumnElement[bool]:
    return func.substr(column, 1, func.length(wanted)) == wanted


def _ends_with(column: ColumnElement[Any], wanted: ColumnElement[Any]) -> ColumnElement[bool]:
    start = func.length(column) - func.length(wanted) + 1
    return and_(start > 0, func.substr(column, start) == wanted)


def _is_covered(column: ColumnElement[Any], wanted: ColumnElement[Any]) -> ColumnElement[bool]:
    return or_(column == wanted, _starts_with(column, wanted.concat(".")))


_SQL_TEXTS: Final[
    dict[Comparison, Callable[[ColumnElement[Any], ColumnElement[Any]], ColumnElement[bool]]]
] = {
    Comparison.STARTS_WITH: _starts_with,
    Comparison.ENDS_WITH: _ends_with,
    Comparison.PREFIX: _is_covered,
}


def _folded(expression: ColumnElement[Any], dialect: Dialect) -> ColumnElement[Any]:
    if dialect == "sqlite":
        return func.muniment_fold(expression)
    return func.lower(expression)


def _search(
    column: ColumnElement[Any], wanted: ColumnElement[Any], dialect: Dialect, *, ignore_case: bool
) -> ColumnElement[bool]:
    if dialect == "sqlite":
        return func.muniment_search(column, wanted, ignore_case) == true()
    return column.regexp_match(wanted, flags="i" if ignore_case else None)


def _sqlite_fold(text: str | None) -> str | None:
    return None if text is None else fold(text)


def _sqlite_search(text: str | None, wanted: str, ignore_case: int) -> bool | None:
    if text is None:
        return None
    return pattern(wanted, ignore_case=bool(ignore_case)).search(text) is not None
