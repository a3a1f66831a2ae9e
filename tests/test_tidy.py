"""Does the tree keep the house style, and would each rule notice if it did not?"""

from __future__ import annotations

import tomllib
from typing import get_args

from domain import commands, events
from tests import tidy
from tests.tidy import Source

SOURCES = tidy.tracked()


def entries() -> list[str]:
    """The modules that pyproject.toml names as programs."""
    project = tomllib.loads((tidy.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [target.partition(":")[0] for target in project["project"]["scripts"].values()]


def joined(text: str) -> str:
    """The text without its bars, which keep a control from breaking the rule it controls."""
    return text.replace("|", "")


def golden_lines() -> list[str]:
    """Every line of every file in the golden directory."""
    files = (tidy.ROOT / "tests" / "golden").glob("*.ndjson")
    return [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def test_the_tree_is_found() -> None:
    """The rules judge the files that are there, not an empty list."""
    paths = {source.path for source in SOURCES}

    assert {"pyproject.toml", "domain/state.py", "tests/test_tidy.py", "ops/start"} <= paths


def test_functions_fit_one_screen() -> None:
    """A function has at most 70 lines."""
    assert tidy.long_functions(SOURCES) == []


def test_a_long_function_is_noticed() -> None:
    """Seventy lines pass and seventy-one do not."""
    fits = Source("domain/fits.py", "def fits():\n" + "    pass\n" * 69)
    bursts = Source("domain/bursts.py", "async def bursts():\n" + "    pass\n" * 70)

    assert tidy.long_functions([fits, bursts]) == ["domain/bursts.py:1 bursts has 71 lines"]


def test_files_tell_one_story() -> None:
    """A source file has at most 500 lines."""
    assert tidy.long_files(SOURCES) == []


def test_a_long_file_is_noticed() -> None:
    """Five hundred lines pass and one more does not; recorded data may be longer."""
    fits = Source("api/fits.py", "pass\n" * 500)
    bursts = Source("api/bursts.py", "pass\n" * 501)
    recorded = Source("tests/golden/recorded.ndjson", "{}\n" * 501)

    assert tidy.long_files([fits, bursts, recorded]) == ["api/bursts.py has 501 lines"]


def test_modules_begin_with_their_question() -> None:
    """A reader learns from the first sentence of a module what it answers."""
    assert tidy.modules_without_question(SOURCES) == []


def test_a_module_without_question_is_noticed() -> None:
    """Neither silence nor a heading is a question; an empty package file needs none."""
    asks = Source("domain/asks.py", '"""Who may?"""\n')
    silent = Source("domain/silent.py", "x = 1\n")
    titled = Source("domain/titled.py", '"""Helpers.\n\nWhat for?\n"""\n')
    empty = Source("domain/__init__.py", "")

    assert tidy.modules_without_question([asks, silent, titled, empty]) == [
        "domain/silent.py does not begin with the question it answers",
        "domain/titled.py does not begin with the question it answers",
    ]


def test_tests_say_their_rule() -> None:
    """Every test says in a sentence which rule it keeps."""
    assert tidy.tests_without_sentence(SOURCES) == []


def test_a_test_without_sentence_is_noticed() -> None:
    """A test in a class counts as well; helpers do not."""
    text = (
        "def helper(): ...\n"
        'def test_told():\n    """A rule is kept."""\n'
        "class TestGroup:\n    def test_silent(self): ...\n"
    )

    assert tidy.tests_without_sentence([Source("tests/test_bad.py", text)]) == [
        "tests/test_bad.py:5 test_silent has no sentence"
    ]


def test_matches_name_every_case() -> None:
    """No match in domain or projections swallows an event or command it does not name."""
    assert tidy.silent_catch_alls(SOURCES) == []


def test_a_silent_catch_all_is_noticed() -> None:
    """A wildcard or a bare name catches all; a guard, or assert_never, makes it honest."""
    text = (
        "match event:\n"
        "    case Created(): ...\n"
        "    case _ if event.late: ...\n"
        "    case _: pass\n"
        "match event:\n"
        "    case other: return other\n"
        "match event:\n"
        "    case _: assert_never(event)\n"
    )

    assert tidy.silent_catch_alls([Source("projections/bad.py", text)]) == [
        "projections/bad.py:4 catches all without assert_never",
        "projections/bad.py:6 catches all without assert_never",
    ]
    assert tidy.silent_catch_alls([Source("ops/free.py", text)]) == []


def test_every_command_has_its_tests() -> None:
    """Each command is named by a test of the domain."""
    names = [command.__name__ for command in get_args(commands.Command)]

    assert names
    assert tidy.untested(names, SOURCES) == []


def test_an_untested_command_is_noticed() -> None:
    """Neither a longer name nor a test elsewhere counts for a command."""
    tests = [
        Source("tests/domain/test_tokens.py", "RevokeToken(id=1)\nRevokeTokensOfOwner()\n"),
        Source("tests/api/test_tokens.py", "RevokeTokens\n"),
    ]

    assert tidy.untested(["RevokeToken", "RevokeTokens"], tests) == ["RevokeTokens"]


def test_every_topic_has_its_golden_line() -> None:
    """Of each topic a stored record is kept for ever, so that it is readable for ever."""
    topics = [event.topic for event in get_args(events.Event)]

    assert topics
    assert tidy.without_golden_line(topics, golden_lines()) == []


def test_a_topic_without_golden_line_is_noticed() -> None:
    """A topic that only begins another one is not kept by that one's line."""
    golden = ['{"topic":"token.revoked.v1","state":"{}"}']

    assert tidy.without_golden_line(["token.revoked.v1", "token.revoked"], golden) == [
        "token.revoked"
    ]


def test_no_module_is_dead() -> None:
    """A way leads from the programs to every module."""
    assert tidy.dead_modules(SOURCES, entries()) == []


def test_a_dead_module_is_noticed() -> None:
    """Modules that only import each other are dead; ones found by name are alive."""
    tree = [
        Source("ops/cli/main.py", 'from domain import state\nfind(f"ops.cli.local.{name}")\n'),
        Source("ops/cli/local/init.py", "import api.app\n"),
        Source("domain/state.py", "x = 1\n"),
        Source("api/app.py", "x = 1\n"),
        Source("ops/bench/__main__.py", "import domain.bound\n"),
        Source("domain/bound.py", "x = 1\n"),
        Source("api/left.py", "import api.right\n"),
        Source("api/right.py", "from api import left\n"),
    ]

    assert tidy.dead_modules(tree, ["ops.cli.main"]) == ["api.left", "api.right"]


def test_nothing_is_left_unfinished() -> None:
    """What is in the tree is done; nothing promises to be done later."""
    assert tidy.unfinished(SOURCES) == []


def test_unfinished_work_is_noticed() -> None:
    """Each of the words is found, in prose as in code, but not inside longer words."""
    words = joined("TO|DO FIX|ME X|XX HA|CK NotImpl|ementedError").split()
    text = "\n".join([*words, "HACKNEY NotImplemented"])

    assert tidy.unfinished([Source("README.md", text)]) == [
        f"README.md:{number} {word}" for number, word in enumerate(words, 1)
    ]


def test_only_inputs_reads_the_clock() -> None:
    """The instant comes from `ops/inputs.py` and is a value everywhere else."""
    assert tidy.clock_readings(SOURCES) == []


def test_a_clock_reading_is_noticed() -> None:
    """Another name for the clock does not hide it; asking the inputs is the rule."""
    text = (
        "import datetime as dt, time\n"
        "from datetime import datetime as instant\n"
        "instant.now(UTC), dt.date.today(), time.time(), clock\n"
        "inputs.now(), time.monotonic()\n"
    )

    assert sorted(tidy.clock_readings([Source("api/bad.py", text)])) == [
        "api/bad.py:3 reads the clock by .now",
        "api/bad.py:3 reads the clock by .time",
        "api/bad.py:3 reads the clock by .today",
    ]
    assert tidy.clock_readings([Source("ops/inputs.py", text)]) == []


def test_type_checkers_are_not_silenced() -> None:
    """Only the module that knows the untyped edge of the recorders may, with a code."""
    assert tidy.type_checker_silencing(SOURCES) == []


def test_a_silenced_type_checker_is_noticed() -> None:
    """In `ops/event_log.py` a code makes it right; elsewhere nothing does."""
    text = "x = 1  # type: ignore[assignment]\ny = 2  # type: ignore\nz = '# type: ignore'\n"

    assert tidy.type_checker_silencing([Source("ops/event_log.py", text)]) == [
        "ops/event_log.py:2 silences the type checker"
    ]
    assert len(tidy.type_checker_silencing([Source("api/bad.py", text)])) == 2


def test_the_linter_is_silenced_with_reason_only() -> None:
    """Whoever silences the linter names the rule and says why."""
    assert tidy.lint_silencing(SOURCES) == []


def test_a_silenced_linter_is_noticed() -> None:
    """A bare silence, and one with a rule but no reason, are found."""
    text = "x = 1  # noqa\ny = 2  # noqa: S603\nz = 3  # noqa: S603, S607 - fixed words of ours\n"

    assert tidy.lint_silencing([Source("ops/bad.py", text)]) == [
        "ops/bad.py:1 silences the linter without a reason",
        "ops/bad.py:2 silences the linter without a reason",
    ]


def test_nothing_hides_from_coverage() -> None:
    """What cannot be reached is taken away, not hidden."""
    assert tidy.coverage_silencing(SOURCES) == []


def test_hiding_from_coverage_is_noticed() -> None:
    """The comment that hides a line is found in any case of use."""
    bad = Source("domain/bad.py", "if x:  # pragma: no cover\n    pass\n")

    assert tidy.coverage_silencing([bad]) == ["domain/bad.py:1 hides from coverage"]


def test_nothing_new_stands_at_the_top() -> None:
    """A newcomer sees the given names and no other."""
    assert tidy.strangers_at_the_top(SOURCES) == []


def test_a_stranger_at_the_top_is_noticed() -> None:
    """A file and a directory are found alike."""
    tree = [Source("setup.cfg", ""), Source("scripts/run", ""), Source("api/app.py", "")]

    assert tidy.strangers_at_the_top(tree) == ["scripts", "setup.cfg"]


def test_no_index_address_is_kept() -> None:
    """Where packages come from is said by the machine, never by the tree."""
    assert tidy.index_addresses(SOURCES) == []


def test_an_index_address_is_noticed() -> None:
    """Hosts, simple indexes and installer flags are found; flags that leave them out pass."""
    lines = [
        joined("https://py|pi.example/x"),
        joined("http://mirror.example/root/simp|le/"),
        joined("--index-|url x"),
        joined("--find-|links x"),
        "pip-compile --no-emit-index-url --no-emit-find-links",
    ]

    found = tidy.index_addresses([Source("ops/requirements.txt", "\n".join(lines))])

    assert [fault.split()[0] for fault in found] == [
        f"ops/requirements.txt:{number}" for number in (1, 2, 3, 4)
    ]


def test_no_machine_path_is_kept() -> None:
    """The tree runs from any directory, so it names none."""
    assert tidy.machine_paths(SOURCES) == []


def test_a_machine_path_is_noticed() -> None:
    """A path from the root of a machine is found; a route that ends alike is not."""
    lines = [
        joined("cd /wo|rk/main"),
        joined("open('/t|mp/x')"),
        joined("/v1/ho|me/page"),
        joined("$HOME/wo|rk/x"),
    ]

    assert tidy.machine_paths([Source("ops/start", "\n".join(lines))]) == [
        joined("ops/start:1 /wo|rk/main"),
        joined("ops/start:2 /t|mp/x"),
    ]
