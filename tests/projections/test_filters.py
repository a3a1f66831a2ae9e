"""Do SQL and the evaluator let the same rows through, and only those meant?"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from projections.filters import (
    And,
    Comparison,
    Dialect,
    Leaf,
    Node,
    Or,
    Value,
    any_of,
    comparison_of,
    condition,
    matches,
    pattern,
    prepare,
)
from tests.postgres import create_database, drop_database

START = datetime(2026, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
POSTGRESQL = sa.make_url("postgresql+psycopg://").get_dialect()()

Held = dict[str, Any]


class Instant(sa.TypeDecorator[datetime]):
    """An instant as microseconds, so that SQLite orders it."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: sa.Dialect) -> int | None:
        return None if value is None else (value - START) // MICROSECOND


ROWS = sa.Table(
    "rows",
    sa.MetaData(),
    sa.Column("row", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text),
    sa.Column("name", sa.Text),
    sa.Column("email", sa.Text),
    sa.Column("namespace", sa.Text),
    sa.Column("position", sa.Integer),
    sa.Column("enabled", sa.Boolean),
    sa.Column("created", Instant),
    sa.Column("details", sa.JSON),
)


def _member(leaf: Leaf, dialect: Dialect) -> sa.ColumnElement[bool]:
    return comparison_of(leaf, ROWS.c.details[leaf.key].as_string(), dialect)


FIELD_NAMES = ("id", "name", "email", "namespace", "position", "enabled", "created")
COLUMNS = {
    "q": any_of(ROWS.c.name, ROWS.c.email),
    "details": _member,
} | {name: any_of(ROWS.c[name]) for name in FIELD_NAMES}


def row_of(held: Held) -> Callable[[str, str], Value | tuple[Value, ...] | None]:
    """Look a field of one row up as the evaluator does."""

    def look_up(field: str, key: str) -> Value | tuple[Value, ...] | None:
        if field == "q":
            return tuple(text for text in (held["name"], held["email"]) if text is not None)
        if field == "details":
            member: Value | None = held["details"].get(key)
            return member
        value: Value | None = held[field]
        return value

    return look_up


def found_by_sql(node: Node, rows: list[Held]) -> list[int]:
    """Answer which rows SQLite lets through."""
    engine = sa.create_engine("sqlite://")
    sa.event.listen(engine, "connect", lambda connection, _record: prepare(connection))
    with engine.connect() as connection:
        ROWS.metadata.create_all(connection)
        found = _found(connection, node, rows, "sqlite")
    engine.dispose()
    return found


def _found(connection: sa.Connection, node: Node, rows: list[Held], dialect: Dialect) -> list[int]:
    if rows:
        connection.execute(
            ROWS.insert(), [row | {"row": number} for number, row in enumerate(rows)]
        )
    query = sa.select(ROWS.c.row).where(condition(node, COLUMNS, dialect)).order_by("row")
    return list(connection.scalars(query))


def found_by_rows(node: Node, rows: list[Held]) -> list[int]:
    """Answer which rows the evaluator lets through."""
    return [number for number, row in enumerate(rows) if matches(node, row_of(row))]


def held(**values: object) -> Held:
    """Make a row in which all else is absent."""
    return dict.fromkeys(FIELD_NAMES) | {"details": {}} | values


def leaf(field: str, comparison: Comparison, *values: Value, **marks: Any) -> Leaf:  # noqa: ANN401 - the members of Leaf
    """Make a leaf as the parser does."""
    return Leaf(field=field, comparison=comparison, values=values, **marks)


C = Comparison
WORDS = st.sampled_from(["prod", "prod.x", "production", ""])
TEXTS = st.text("aAbB.%_*ßẞéÉ0", max_size=4) | WORDS
# PostgreSQL folds the letters that its locale knows, so only these are compared there.
PLAIN_TEXTS = st.text("aAbB.%_*0", max_size=4) | WORDS
INSTANTS = st.integers(0, 3).map(lambda hours: START + timedelta(hours=hours))
POSITIONS = st.integers(0, 4)
KEYS = st.sampled_from(["namespace", "flowId"])


def _rows(texts: st.SearchStrategy[str]) -> st.SearchStrategy[list[Held]]:
    values: dict[str, st.SearchStrategy[Any]] = {
        name: st.none() | texts for name in ("id", "name", "email", "namespace")
    }
    row = st.builds(
        held,
        **values,
        position=st.none() | POSITIONS,
        enabled=st.none() | st.booleans(),
        created=st.none() | INSTANTS,
        details=st.dictionaries(KEYS, texts),
    )
    return st.lists(row, max_size=6)


ORDERS = st.sampled_from(
    [
        C.EQUALS,
        C.GREATER_THAN,
        C.GREATER_THAN_OR_EQUAL_TO,
        C.LESS_THAN,
        C.LESS_THAN_OR_EQUAL_TO,
        C.PRESENT,
    ]
)
TEXT_COMPARISONS = st.sampled_from(
    [C.EQUALS, C.CONTAINS, C.STARTS_WITH, C.ENDS_WITH, C.PREFIX, C.PRESENT]
)
REGEXES = st.sampled_from(["a", "^A", "b$", "a.b", "[a-b]+", "(a|B){2}", r"\.", r"^\d*$", ""])


def _leaves(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Leaf]:
    choices: list[st.SearchStrategy[Leaf]] = []
    for field in ("id", "name", "email", "namespace", "q"):
        choices.append(_leaf(field, TEXT_COMPARISONS, texts))
        choices.append(_leaf(field, st.just(C.REGEX), REGEXES))
    choices.append(_leaf("position", ORDERS, POSITIONS))
    choices.append(_leaf("created", ORDERS, INSTANTS))
    choices.append(_leaf("enabled", st.sampled_from([C.EQUALS, C.PRESENT]), st.booleans()))
    choices.append(_leaf("details", TEXT_COMPARISONS, texts, key=KEYS))
    return st.one_of(choices)


def _leaf(
    field: str,
    comparisons: st.SearchStrategy[Comparison],
    values: st.SearchStrategy[Any],
    **marks: st.SearchStrategy[str],
) -> st.SearchStrategy[Leaf]:
    return st.builds(
        Leaf,
        field=st.just(field),
        comparison=comparisons,
        values=st.lists(values, min_size=1, max_size=3).map(tuple),
        negated=st.booleans(),
        **marks,
    )


def _nodes(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Node]:
    return st.recursive(
        _leaves(texts),
        lambda nodes: (
            st.lists(nodes, max_size=3)
            .map(tuple)
            .flatmap(lambda children: st.sampled_from([And(children), Or(children)]))
        ),
        max_leaves=6,
    )


@given(_nodes(TEXTS), _rows(TEXTS))
def test_sqlite_and_the_evaluator_agree(node: Node, rows: list[Held]) -> None:
    """A list equals all objects filtered one by one (security 2.12)."""
    assert found_by_rows(node, rows) == found_by_sql(node, rows)


def test_postgresql_and_the_evaluator_agree() -> None:
    """The same on the other database, for letters that every locale knows (security 2.12)."""
    database = create_database(migrated=False)
    engine = sa.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(database.owner_url)
    )
    with engine.begin() as connection:
        ROWS.metadata.create_all(connection)

    @given(_nodes(PLAIN_TEXTS), _rows(PLAIN_TEXTS))
    def agree(node: Node, rows: list[Held]) -> None:
        with engine.connect() as connection:
            assert found_by_rows(node, rows) == _found(connection, node, rows, "postgresql")

    agree()
    engine.dispose()
    drop_database(database)


def test_a_disagreement_would_be_seen() -> None:
    """Control: where SQL is asked the opposite, the two differ."""
    rows = [held(name="a"), held()]

    assert found_by_rows(leaf("name", C.EQUALS, "a"), rows) != found_by_sql(
        leaf("name", C.EQUALS, "a", negated=True), rows
    )


def names(*texts: str | None) -> list[Held]:
    """Make rows that differ by name."""
    return [held(name=text) for text in texts]


@pytest.mark.parametrize(
    ("node", "rows", "expected"),
    [
        (leaf("name", C.EQUALS, "CI-Bot"), names("ci-bot", "ci-bots", None), [0]),
        (leaf("name", C.EQUALS, "a", "b"), names("A", "B", "c"), [0, 1]),
        (leaf("name", C.EQUALS, "a", negated=True), names("a", "b", None), [1, 2]),
        (leaf("name", C.CONTAINS, "É"), names("café", "cafe"), [0]),
        (leaf("name", C.CONTAINS, "%"), names("50%", "50"), [0]),
        (leaf("name", C.STARTS_WITH, "_"), names("_x", "ax"), [0]),
        (leaf("name", C.ENDS_WITH, "OT"), names("ci-bot", "bottle", "t"), [0]),
        (leaf("name", C.REGEX, "^CI-.*t$"), names("ci-bot", "x-ci-bot"), [0]),
        (leaf("id", C.EQUALS, "A"), [held(id="A"), held(id="a")], [0]),
        (leaf("id", C.CONTAINS, "b"), [held(id="abc"), held(id="ABC")], [0]),
        (leaf("id", C.REGEX, "b"), [held(id="abc"), held(id="ABC")], [0]),
        (
            leaf("namespace", C.PREFIX, "prod"),
            [held(namespace=text) for text in ("prod", "prod.x", "production", "Prod", None)],
            [0, 1],
        ),
        (leaf("namespace", C.PRESENT), [held(namespace=""), held()], [0]),
        (leaf("namespace", C.PRESENT, negated=True), [held(namespace=""), held()], [1]),
        (leaf("position", C.GREATER_THAN, 2), [held(position=2), held(position=3)], [1]),
        (leaf("enabled", C.EQUALS, *(False,)), [held(enabled=False), held(enabled=True)], [0]),
        (
            leaf("created", C.LESS_THAN_OR_EQUAL_TO, START),
            [held(created=START), held(created=START + MICROSECOND)],
            [0],
        ),
        (leaf("q", C.CONTAINS, "ADA"), [held(email="ada@x"), held(name="Ada"), held()], [0, 1]),
        (
            leaf("details", C.EQUALS, "prod", key="namespace"),
            [held(details={"namespace": "prod"}), held(details={"flowId": "prod"})],
            [0],
        ),
        (And(()), names("a"), [0]),
        (Or(()), names("a"), []),
    ],
)
def test_a_comparison_means_what_the_contract_says(
    node: Node, rows: list[Held], expected: list[int]
) -> None:
    """Case counts in ids, not in names, and what is absent meets negations (kestra-iam 2.3)."""
    assert found_by_rows(node, rows) == expected
    assert found_by_sql(node, rows) == expected


def test_only_texts_can_be_searched() -> None:
    """A comparison of texts with a value that is none lets nothing through."""
    assert found_by_rows(leaf("position", C.CONTAINS, 1), [held(position=1)]) == []


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "^ci-[a-z0-9_-]+$",
        "(?:a|b){1,3}",
        r"\d+\.\d",
        "a*?",
        "[^x]",
        "",
        r"\[x\]",
        "é",
        r"[\w.-]",
    ],
)
def test_an_ordinary_regex_is_evaluated(text: str) -> None:
    """REGEX takes the syntax that both databases read alike (kestra-iam 2.3)."""
    assert pattern(text, ignore_case=False) is pattern(text, ignore_case=False)


@pytest.mark.parametrize(
    "text",
    [
        "(",
        "a)",
        "*a",
        "[",
        "a**",
        "^*",
        "(?i)a",
        "(?=a)",
        r"(a)\1",
        r"\b",
        r"\z",
        r"\p{L}",
        "[[:alpha:]]",
        "[z-a]",
        "[]a]",
        "a{256}",
        "a{1,1001}",
        "a{5",
        "(a{200}){200}",
        "a" * 257,
    ],
)
def test_a_regex_that_is_wrong_costly_or_ambiguous_is_refused(text: str) -> None:
    """Security 6.2: a REGEX is linear, at most 256 characters, and means one thing."""
    with pytest.raises(ValueError, match="REGEX"):
        pattern(text, ignore_case=False)


@given(st.text("ab()[]{}^$|*+?\\.-,0123dwsDW: ", max_size=20), st.booleans())
def test_any_text_is_a_regex_or_refused(text: str, ignore_case: bool) -> None:  # noqa: FBT001 - given by hypothesis
    """Security 6.6: no text makes the compiler fail in any other way."""
    try:
        compiled = pattern(text, ignore_case=ignore_case)
    except ValueError:
        return
    compiled.search("abab 01")


def test_a_regex_made_to_explode_is_linear() -> None:
    """Security 6.2: nested repetition over a long text is found absent without backtracking."""
    assert pattern("(a*)*b", ignore_case=False).search("a" * 100_000) is None


def test_values_are_bound_never_written_into_sql() -> None:
    """Security 6.6: no value becomes part of a statement, on either database."""
    hostile = "'; DROP TABLE rows; --"
    node = And(
        tuple(
            leaf(field, comparison, hostile)
            for field in ("name", "id")
            for comparison in (C.EQUALS, C.CONTAINS, C.STARTS_WITH, C.ENDS_WITH, C.PREFIX, C.REGEX)
        )
    )
    dialects: list[Dialect] = ["sqlite", "postgresql"]
    for dialect in dialects:
        text = str(condition(node, COLUMNS, dialect).compile(dialect=POSTGRESQL))
        assert "DROP" not in text


def test_postgresql_is_asked_in_its_own_words() -> None:
    """PostgreSQL has other names for the same comparisons, and its own regular expressions."""
    node = And(
        (leaf("name", C.REGEX, "a"), leaf("id", C.CONTAINS, "a"), leaf("name", C.EQUALS, "a"))
    )

    text = str(condition(node, COLUMNS, "postgresql").compile(dialect=POSTGRESQL))

    assert "~*" in text
    assert "strpos(" in text
    assert "lower(" in text


def test_a_field_without_a_column_is_a_fault_of_ours() -> None:
    """A tree that names a field which the view does not know stops instead of letting all pass."""
    with pytest.raises(KeyError):
        condition(leaf("nothing", C.PRESENT), COLUMNS, "sqlite")


def test_the_functions_pass_over_what_is_absent() -> None:
    """NULL stays NULL in the functions given to SQLite."""
    connection = sqlite3.connect(":memory:")
    prepare(connection)
    with connection:
        row = connection.execute(
            "SELECT muniment_fold(NULL), muniment_search(NULL, 'a', 0)"
        ).fetchone()
    connection.close()

    assert row == (None, None)
