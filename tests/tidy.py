"""Which rules of the house style does a tree of sources break? (specs style 7)."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parents[1]
PACKAGES = ("domain", "projections", "api", "ops")
TOP_LEVEL = frozenset(
    {".ci", ".gitignore", "README.md", "api", "domain", "ops", "projections", "pyproject.toml"}
    | {"tests"}
)
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500

_TYPES_SILENCED = re.compile(r"#\s*(?:type|pyright):\s*ignore(\[[\w-]+(?:,\s*[\w-]+)*\])?")
_LINT_SILENCED = re.compile(r"#\s*noqa")
_LINT_SILENCED_WITH_REASON = re.compile(r"#\s*noqa: [A-Z]+\d+(?:, ?[A-Z]+\d+)*\W+\w+ \w+")
_COVERAGE_SILENCED = re.compile(r"#\s*pragma:\s*no\s*(?:cover|branch)")

# The brackets keep each pattern from finding itself.
_UNFINISHED = re.compile(r"\b(?:TOD[O]|FIXM[E]|XX[X]|HAC[K]|NotImplementedErro[r])\b")
_INDEX_ADDRESS = re.compile(
    r"https?://[^\s\"'/]*(?:py[p]i|pythonhoste[d])[^\s\"']*"
    r"|https?://[^\s\"']*/simpl[e]\b"
    r"|(?<![\w-])--(?:extra-)?index-ur[l]\b|(?<![\w-])--(?:find-link[s]|trusted-hos[t])\b"
)
_MACHINE_PATH = re.compile(
    r"(?<![\w.})/-])/(?:wor[k]|hom[e]|roo[t]|User[s]|tm[p]|opt/wheel[s])/\w+"
)

# Where a hash or a recorded value may spell anything.
_RECORDED = ("tests/golden/", "ops/requirements")


class Source(Struct, frozen=True):
    """One file of the tree: its path from the root, with slashes, and its text."""

    path: str
    text: str

    @property
    def module(self) -> str:
        """The dotted name under which Python imports it."""
        return self.path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")

    @property
    def is_python(self) -> bool:
        return self.path.endswith(".py")

    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)


def tracked(root: Path = ROOT) -> list[Source]:
    """Every text file that is tracked, or would be were it added now; binary ones are left out.

    Raises CalledProcessError when the root is not a git checkout.
    """
    listing = subprocess.run(  # the owner of a mounted checkout may be somebody else
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    found: list[Source] = []
    for path in sorted(filter(None, listing.stdout.split("\0"))):
        try:
            found.append(Source(path, (root / path).read_text(encoding="utf-8")))
        except (UnicodeDecodeError, FileNotFoundError):
            continue
    return found


def long_functions(sources: Iterable[Source]) -> list[str]:
    """Functions that do not fit one screen."""
    return [
        f"{source.path}:{node.lineno} {node.name} has {lines} lines"
        for source in sources
        if source.is_python
        for node in _functions(source.tree())
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]


def long_files(sources: Iterable[Source]) -> list[str]:
    """Source files that tell more than one story."""
    suffixes = (".py", ".sh", ".js", ".css", ".html", ".sql")
    return [
        f"{source.path} has {lines} lines"
        for source in sources
        if source.path.endswith(suffixes)
        if (lines := source.text.count("\n")) > FILE_LINES_MAX
    ]


def modules_without_question(sources: Iterable[Source]) -> list[str]:
    """Modules that do not begin with the question they answer; empty ones need none."""
    return [
        f"{source.path} does not begin with the question it answers"
        for source in sources
        if source.is_python and source.text.strip()
        if "?" not in (ast.get_docstring(source.tree()) or "").partition("\n\n")[0]
    ]


def tests_without_sentence(sources: Iterable[Source]) -> list[str]:
    """Tests that do not say, in one sentence, the rule that they keep."""
    return [
        f"{source.path}:{node.lineno} {node.name} has no sentence"
        for source in sources
        if source.is_python and source.path.startswith("tests/")
        for node in _functions(source.tree())
        if node.name.startswith("test_")
        if not (ast.get_docstring(node) or "").rstrip().endswith((".", "?", "!"))
    ]


def silent_catch_alls(sources: Iterable[Source]) -> list[str]:
    """Matches in domain and projections that swallow what they do not name."""
    return [
        f"{source.path}:{case.pattern.lineno} catches all without assert_never"
        for source in sources
        if source.is_python and source.path.startswith(("domain/", "projections/"))
        for node in ast.walk(source.tree())
        if isinstance(node, ast.Match)
        for case in node.cases
        if _catches_all(case) and not _asserts_never(case.body)
    ]


def unfinished(sources: Iterable[Source]) -> list[str]:
    """Places that promise work instead of doing it."""
    return _lines_matching(_UNFINISHED, sources)


def index_addresses(sources: Iterable[Source]) -> list[str]:
    """Places that name where packages are fetched from, which is the machine's own affair."""
    return _lines_matching(_INDEX_ADDRESS, sources, recorded=True)


def machine_paths(sources: Iterable[Source]) -> list[str]:
    """Places that name a directory of one machine."""
    return _lines_matching(_MACHINE_PATH, sources, recorded=True)


def clock_readings(sources: Iterable[Source]) -> list[str]:
    """Places that read the clock although they are not `ops/inputs.py`."""
    readings = {"now", "utcnow", "today", "time", "time_ns"}
    found: list[str] = []
    for source in sources:
        if not source.is_python or source.path == "ops/inputs.py":
            continue
        tree = source.tree()
        clocks = set(_names_from(tree, {"datetime", "time"}))
        found += [
            f"{source.path}:{node.lineno} reads the clock by .{node.attr}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr in readings
            if ast.unparse(node.value) in clocks
        ]
    return found


def type_checker_silencing(sources: Iterable[Source]) -> list[str]:
    """Comments that silence a type checker, but for the coded ones in `ops/event_log.py`."""
    return [
        f"{source.path}:{line} silences the type checker"
        for source, line, comment in _comments(sources)
        if (match := _TYPES_SILENCED.search(comment))
        if source.path != "ops/event_log.py" or not match[1]
    ]


def lint_silencing(sources: Iterable[Source]) -> list[str]:
    """Comments that silence the linter without a rule and a reason."""
    return [
        f"{source.path}:{line} silences the linter without a reason"
        for source, line, comment in _comments(sources)
        if _LINT_SILENCED.search(comment) and not _LINT_SILENCED_WITH_REASON.search(comment)
    ]


def coverage_silencing(sources: Iterable[Source]) -> list[str]:
    """Comments that hide a line from coverage."""
    return [
        f"{source.path}:{line} hides from coverage"
        for source, line, comment in _comments(sources)
        if _COVERAGE_SILENCED.search(comment)
    ]


def strangers_at_the_top(sources: Iterable[Source]) -> list[str]:
    """Names beside the given ones at the top of the tree."""
    return sorted({source.path.split("/")[0] for source in sources} - TOP_LEVEL)


def dead_modules(sources: Iterable[Source], entries: Iterable[str]) -> list[str]:
    """Modules that no way leads to from the entry points.

    `entries` are dotted names; each `__main__` is one besides. A way is an import, or a text
    constant that spells the module's or, with a dot behind it, its package's name, because
    commands and benchmarks are found by name.
    """
    modules = {
        source.module: source
        for source in sources
        if source.is_python and source.path.startswith(tuple(f"{name}/" for name in PACKAGES))
    }
    waiting = [name for name in modules if name.endswith(".__main__")] + list(entries)
    alive: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in alive or name not in modules:
            continue
        alive.add(name)
        waiting += [name.rpartition(".")[0], *_ways_from(modules[name], modules)]
    return sorted(name for name in modules if name not in alive and modules[name].text.strip())


def untested(names: Iterable[str], tests: Iterable[Source]) -> list[str]:
    """The names, of commands, that no test of the domain mentions."""
    texts = [source.text for source in tests if source.path.startswith("tests/domain/")]
    return [name for name in names if not any(re.search(rf"\b{name}\b", text) for text in texts)]


def without_golden_line(topics: Iterable[str], golden: Iterable[str]) -> list[str]:
    """The topics of which no stored record is kept among the golden lines."""
    kept = "\n".join(golden)
    return [topic for topic in topics if f'"{topic}"' not in kept]


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _catches_all(case: ast.match_case) -> bool:
    return (
        isinstance(case.pattern, ast.MatchAs)
        and case.pattern.pattern is None
        and case.guard is None
    )


def _asserts_never(body: list[ast.stmt]) -> bool:
    return any(
        isinstance(node, ast.Call) and ast.unparse(node.func).endswith("assert_never")
        for statement in body
        for node in ast.walk(statement)
    )


def _lines_matching(
    pattern: re.Pattern[str], sources: Iterable[Source], *, recorded: bool = False
) -> list[str]:
    return [
        f"{source.path}:{number} {match[0]}"
        for source in sources
        if recorded or not source.path.startswith(_RECORDED)
        for number, line in enumerate(source.text.splitlines(), 1)
        if (match := pattern.search(line))
    ]


def _comments(sources: Iterable[Source]) -> Iterator[tuple[Source, int, str]]:
    for source in sources:
        if source.is_python:
            for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
                if token.type == tokenize.COMMENT:
                    yield source, token.start[0], token.string


def _names_from(tree: ast.Module, libraries: set[str]) -> Iterator[str]:
    """How a module spells what it took from the libraries, itself or a member."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                if name.name in libraries:
                    spelled = name.asname or name.name
                    yield from (spelled, f"{spelled}.datetime", f"{spelled}.date")
        elif isinstance(node, ast.ImportFrom) and node.module in libraries:
            yield from (name.asname or name.name for name in node.names)


def _ways_from(source: Source, modules: dict[str, Source]) -> Iterator[str]:
    for node in ast.walk(source.tree()):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            spelled = node.value
            yield from (
                name
                for name in modules
                if spelled == name or (spelled and spelled == name.rpartition(".")[0] + ".")
            )
