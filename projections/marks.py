"""By which marks is an entry of the trail found, whatever it is asked for by?

A mark is one thing that is true of an entry: who acted, what it is about, a word in it. All marks
of an entry stand in one text, and the databases' own inverted indexes find the texts that have
several of them, newest or oldest first: FTS5 in SQLite, GIN in PostgreSQL. An index for each
column would halve how fast the views catch up, and find nothing by two of them at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Index,
    Table,
    Text,
    and_,
    cast,
    func,
    literal,
    literal_column,
    or_,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateTable

from projections.filters import fold
from projections.views import FULL_TEXT, METADATA, TEXT, versioned

if TYPE_CHECKING:
    from projections.filters import Dialect
    from projections.views import Values

# `rowid` is the position: SQLite knows its full-text tables' key by no other name.
TABLE: Final = Table(
    versioned("marks"),
    METADATA,
    Column("rowid", BigInteger, primary_key=True, autoincrement=False),
    Column("marks", TEXT, nullable=False),
    info={FULL_TEXT: True},
)
# The very expression that is indexed, its blank no parameter, or PostgreSQL would not know it.
_LISTED: Final = func.string_to_array(TABLE.c.marks, literal_column("' '"))
Index(versioned("marks_listed"), _LISTED, postgresql_using="gin").ddl_if(dialect="postgresql")

# The concerned objects of an entry, of which any may be its target.
TARGETS: Final = ("object_id", "user_id", "group_id", "role_id", "token_id")

_NAMES: Final = ("actor_name", "object_name", "token_name", "namespace", "alias_type", "reason")
_SINGLE: Final = {
    "actor_id": "a",
    "actor_token_id": "k",
    "actor_address": "d",
    "correlation_id": "c",
    "command_id": "m",
    "tenant": "n",
}
_KINDS: Final = (*_SINGLE.items(), *((name, "o") for name in TARGETS))
_WORD: Final = re.compile(r"\w+")

# Any of these; several such stand for all of them.
AnyOf = tuple[str, ...]


@compiles(CreateTable, "sqlite")
def _create(element: CreateTable, compiler: Any, **options: Any) -> str:  # noqa: ANN401 - the library's own
    """Make a full-text table of a kind that keeps only which row has which mark."""
    table: Any = element.element
    if FULL_TEXT not in table.info:
        return str(compiler.visit_create_table(element, **options))
    kind = "detail=none, columnsize=0, tokenize=\"ascii tokenchars '%:_.~-'\""
    return f"CREATE VIRTUAL TABLE {table.name} USING fts5(marks, {kind})"


# Writing


def of_entry(row: Values) -> str:
    """Answer the marks of an entry's row, as they are stored."""
    found = [*_of_topic(row["topic"])]
    for name, kind in _KINDS:
        value = row[name]
        if value is not None:
            found.append(_mark(kind, value))
    said = " ".join([value for name in _NAMES if (value := row[name])])
    if said:
        found += [_mark("w", word) for word in _WORD.findall(fold(said))]
    return " ".join(found)


@lru_cache(maxsize=1024)
def _of_topic(topic: str) -> tuple[str, ...]:
    """Answer a topic's marks: of itself, of everything that it begins with, and its words."""
    parts = topic.split(".")
    begins = (".".join(parts[: number + 1]) for number in range(len(parts)))
    return (*(_mark("t", begin) for begin in begins), *(_mark("w", part) for part in parts))


def _mark(kind: str, value: str) -> str:
    if value.isascii() and value.isalnum():
        return f"{kind}:{value}"
    return f"{kind}:{quote(value, safe='')}"


# Asking


def single(name: str, value: str) -> AnyOf:
    """Answer the mark of entries whose column has this value, and of hardly any other.

    SQLite ignores the case of ASCII letters: whoever must not compares the column as well.
    """
    return (_mark(_SINGLE[name], value),)


def target(id_: str) -> AnyOf:
    """Answer the mark of entries that concern an object."""
    return (_mark("o", id_),)


def topics(wanted: Iterable[str]) -> AnyOf:
    """Answer the marks of entries of any of these topics; `token.*` is all that begin so."""
    return tuple(_mark("t", topic.removesuffix(".*")) for topic in wanted)


def words(text: str) -> tuple[AnyOf, ...]:
    """Answer what entries have that hold all the words of a text, an object's id being one."""
    pairs = ((word, part) for part in text.split() for word in _WORD.findall(part))
    return tuple((_mark("w", fold(word)), _mark("o", part)) for word, part in pairs)


def condition(wanted: Iterable[AnyOf], dialect: Dialect) -> ColumnElement[bool]:
    """Answer the WHERE clause for the rows of `TABLE` that have one mark of each of these."""
    if dialect == "sqlite":
        listed = (" OR ".join(f'"{mark}"' for mark in either) for either in wanted)
        expression = " AND ".join(f"({either})" for either in listed)
        return literal_column(TABLE.name).op("MATCH", is_comparison=True)(literal(expression))
    return and_(*(or_(*(_has(mark) for mark in either)) for either in wanted))


def _has(mark: str) -> ColumnElement[bool]:
    return _LISTED.op("@>", is_comparison=True)(cast([mark], ARRAY(Text)))
