"""Where is any error at all caught, and is each such place one that leads to no answer?"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tests.tidy import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PACKAGES = ("domain", "projections", "api", "ops")
BROAD = {"Exception", "BaseException"}

# Every place, with what it does instead of going on. A new one has to be argued here.
ARGUED = {
    "api/front.py Front.__call__": "answers 500",
    "ops/cli/local/verify.py _verify_evidence": "ends with exit code 10: nothing is proved",
    "ops/deliveries.py Deliveries._deliver": "halts that one sink, and nothing is passed over",
    "ops/journal.py StoredJournal._run": "counts what is lost; who waits for its record is refused",
    "ops/log_check.py _fold": "ends with exit code 10, naming the position",
    "ops/log_readers.py PostgresReader.__init__": "raises again after closing",
    "ops/log_readers.py PostgresReader._connected": "raises again after closing",
    "ops/log_readers.py SQLiteReader.__init__": "raises again after closing",
    "ops/self_check.py _look": "counts as a check that failed, and is logged",
    "ops/writer.py Writer._decide": "fails that one command with 500; nothing of it is stored",
    "ops/writer.py Writer._run": "halts the process",
    "projections/evidence_verifier.py main": "ends with exit code 10: nothing is proved",
    "projections/runner.py ViewRunner._run": "halts the views",
}


def broad_excepts(path: str, source: str) -> Iterator[str]:
    """Yield the qualified name of each function with a bare or broad except."""
    yield from (f"{path} {name}" for name in _in_body(ast.parse(source).body, ""))


def _in_body(body: Iterable[ast.AST], name: str) -> Iterator[str]:
    for node in body:
        inner = name
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inner = f"{name}.{node.name}" if name else node.name
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type):
            yield name
        yield from _in_body(ast.iter_child_nodes(node), inner)


def _is_broad(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    return any(isinstance(node, ast.Name) and node.id in BROAD for node in ast.walk(caught))


def test_every_broad_except_is_argued() -> None:
    """No except that catches anything stands where nobody has argued it (security 2.1)."""
    found = [
        place
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for place in broad_excepts(str(path.relative_to(ROOT)), path.read_text())
    ]

    assert sorted(ARGUED) == sorted(found)


def test_a_planted_broad_except_is_found() -> None:
    """Positive control: bare, broad, broad within a tuple; a narrow one is not (security 2.1)."""
    planted = """
class Graph:
    def check(self):
        try:
            return 1
        except {caught}:
            return True
"""
    broad = ("Exception", "BaseException as e", "(ValueError, Exception)")

    assert all(
        ["a.py Graph.check"] == [*broad_excepts("a.py", planted.format(caught=one))]
        for one in broad
    )
    assert ["a.py Graph.check"] == [*broad_excepts("a.py", planted.replace(" {caught}", ""))]
    assert [] == [*broad_excepts("a.py", planted.format(caught="ValueError"))]
