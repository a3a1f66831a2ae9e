"""Does every benchmark end, answer rightly and print its figures? How fast it was is no test."""

from __future__ import annotations

import gc
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import msgspec
import pytest

from ops.bench import __main__ as bench
from ops.bench import check, data, peers, report
from ops.bench.report import Figure, Line, Options, absolute, at_least, at_most, compared
from projections.access_graph import AccessGraph
from tests.postgres import server_url
from tests.tidy import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALLEST = ("--scale", "0.003", "--rounds", "1", "--seconds", "0.1")

# Every figure that has a goal, of the goals of performance 1 that are built so far.
PROMISED: Final = {
    "append": (
        "SQLite, 1 event an append",
        "PostgreSQL, 1 event an append",
        "SQLite, 32 callers, beside one",
    ),
    "replay": (
        "SQLite, 300 events, absolute",
        "PostgreSQL, 300 events, absolute",
        "SQLite, 300 events replayed to their state, with progress, absolute",
        "PostgreSQL, 300 events replayed to their state, with progress, absolute",
    ),
    "merkle": (
        "an event hashed into the tree, absolute",
        "inclusion proof and checkpoint, 300 events, absolute",
        "verify, tree, roots and fold, absolute",
    ),
    "start": (
        "300 events on disk to ready, absolute",
        "snapshot to ready, absolute",
        "of that, the access graph, absolute",
    ),
    "commands": ("CPU a command beside the rules, absolute",),
    "check": (
        "p50 warm",
        "p50 warm, absolute",
        "p99 warm, absolute",
        "rate, absolute",
        "p50 cold, absolute",
    ),
    "http": ("evaluation, requests a CPU second",),
    "endpoints": (
        "GET roles/{id}, requests a CPU second",
        "GET groups/{id}, requests a CPU second",
        "GET bindings/{id}, requests a CPU second",
        "GET service-accounts/{id}, requests a CPU second",
    ),
    "journal": (
        "every decision kept, requests a CPU second",
        "entries written in the process, absolute",
        "no answer before its record, p99 of 64 callers, absolute",
    ),
    "tokens": ("token to principal, p50, absolute",),
    "login": ("check p99 while 32 sign in, beside idle",),
    "batch": (
        "checks a CPU second, in batches, absolute",
        "CPU a check, in batches, absolute",
    ),
    "audit-search": tuple(
        f"by {name}, p95, absolute"
        for name in (
            *("actor", "token", "target", "address", "correlation", "command"),
            *("type", "prefix", "word", "time", "nothing"),
        )
    ),
    "growth": ("p50 warm, 100 times the accounts",),
    "peers": ("rate beside pycasbin", "rate beside cedarpy"),
    "invalidate": ("a group's binding to the last member's answer, p99, absolute",),
    "catchup": (
        "state and graph from events, absolute",
        "580,000 events to a graph, at that rate, absolute",
    ),
    "audit-export": (
        "first export, memory added, absolute",
        *(
            f"{name}, {figure}, absolute"
            for name in ("ndjson", "csv", "ocsf", "cloudevents")
            for figure in ("whole log", "memory added")
        ),
    ),
    "cli": (
        "muniment --help, beyond an empty start, absolute",
        "muniment sa list --help, beyond an empty start, absolute",
        "muniment config show, beyond an empty start, absolute",
        "muniment whoami, with its answer, beyond an empty start, absolute",
        "audit export of the whole log",
    ),
    "memory": (
        "a binding or membership, absolute",
        "a principal with everything compiled, absolute",
    ),
    "asof": (
        "as-of check anywhere, p95, absolute",
        "as-of check within the last 10,000, p95, absolute",
        *(
            f"{name} as of a position, beside live"
            for name in ("service accounts", "groups", "roles", "trail")
        ),
    ),
    "delta": ("30 principals touched, absolute",),
    "gc": ("longest pause, absolute",),
}
NEEDS_POSTGRES: Final = ("append", "replay")
# In requirements of their own: no test of the product needs them.
NEEDS: Final = {"peers": tuple(peers.PACKAGES.values())}


@pytest.fixture
def thawed() -> Iterator[None]:
    """Give back to the collector what a benchmark in this process has frozen."""
    yield
    gc.unfreeze()


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "ops.bench", name, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", PROMISED)
def test_benchmark_ends_answers_rightly_and_prints_its_figures(tmp_path: Path, name: str) -> None:
    """A benchmark at its smallest ends soundly, and each goal has its figure (performance 6.8)."""
    missing = [package for package in NEEDS.get(name, ()) if not find_spec(package)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")
    file = tmp_path / "figures.jsonl"
    database = ("--database-url", server_url()) if name in NEEDS_POSTGRES else ()

    finished = run(name, *SMALLEST, "--json", str(file), *database)

    assert finished.returncode == 0, finished.stderr
    lines = msgspec.json.Decoder(Line).decode_lines(file.read_bytes())
    with_goal = [line.figure.name for line in lines if line.figure.goal is not msgspec.UNSET]
    assert sorted(PROMISED[name]) == sorted(with_goal)
    assert {0} == {line.wrong_answers for line in lines}
    assert all(line.figure.name in finished.stdout for line in lines)
    assert "not run" not in finished.stdout


def test_every_benchmark_is_promised_something() -> None:
    """No benchmark can be added without a word here about what it has to print."""
    assert set(PROMISED) == set(bench.BENCHMARKS)


def test_list_names_every_benchmark() -> None:
    """Who asks is told what there is."""
    finished = run("list")

    assert finished.returncode == 0
    assert set(PROMISED) == {line.split()[0] for line in finished.stdout.splitlines()}


@pytest.mark.usefixtures("thawed")
@pytest.mark.parametrize("name", ["check", "growth", "peers", "catchup", "memory", "gc"])
def test_wrong_answer_fails_the_run_whatever_its_speed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """An engine that allows everything is found out, counted, and fails the run (control)."""
    monkeypatch.setattr(check.Ours, "answers", lambda _, rows: [True for _ in rows])

    status = bench.main([name, *SMALLEST])

    assert status == 1
    assert "wrong answers 0" not in capsys.readouterr().out


@pytest.mark.usefixtures("thawed")
def test_binding_that_takes_no_effect_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A graph that keeps what an event has made untrue is found out (control)."""
    monkeypatch.setattr(AccessGraph, "_drop_subject", lambda *_: None)

    status = bench.main(["invalidate", *SMALLEST])

    assert status == 1
    assert "wrong answers 0" not in capsys.readouterr().out


def test_answers_of_a_batch_are_compared_with_the_oracle(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that decides otherwise than the oracle fails the run (control)."""
    monkeypatch.setattr(data.Oracle, "allows", lambda *_: True)

    status = bench.main(["batch", *SMALLEST])

    assert status == 1
    assert "wrong answers 0" not in capsys.readouterr().out


@pytest.mark.usefixtures("thawed")
def test_check_of_the_rich_shape_answers_rightly(capsys: pytest.CaptureFixture[str]) -> None:
    """Wildcards, spans, resources and three tenants are judged as the naive oracle judges them."""
    status = bench.main(["check", *SMALLEST, "--rich"])

    assert status == 0
    assert "wrong answers 0" in capsys.readouterr().out


@pytest.mark.usefixtures("thawed")
def test_peers_that_are_not_installed_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever lacks the other engines still gets our own figures, and is told what is missing."""
    for module in peers.PACKAGES.values():
        monkeypatch.setitem(sys.modules, module, None)

    status = bench.main(["peers", *SMALLEST])

    printed = capsys.readouterr().out
    assert status == 0
    assert "not run: pycasbin missing" in printed
    assert "not run: cedarpy missing" in printed
    assert "ours, p50" in printed


# The data


def test_world_follows_from_its_seed_alone() -> None:
    """Two runs with the same seed measure the same installation and ask the same questions."""
    one, same, other = (data.make_world(0.003, seed) for seed in (1, 1, 2))

    assert one == same
    assert one != other
    assert data.questions(one, data.Oracle(one), 50) == data.questions(same, data.Oracle(same), 50)


def test_world_has_the_sizes_of_the_specification() -> None:
    """At a tenth of scale 1 the sizes are those of performance 5."""
    world = data.make_world(0.1)
    answers = [answer for _, answer in data.questions(world, data.Oracle(world), 2_000)]

    assert (1_000, 100, 50) == (len(world.accounts), len(world.users), len(world.groups))
    assert len(world.namespaces) == 3 + 3 * 10 + 3 * 10 * 5
    assert 2.8 < len(world.members) / 1_100 < 3.2
    assert 0.9 < len(world.bindings) / (1_100 + 50 * 2.5) < 1.1
    assert 0.45 < sum(answers) / len(answers) < 0.56


@pytest.mark.parametrize("events", [1, 200, 5_000])
def test_history_has_exactly_so_many_events(events: int) -> None:
    """A history is cut, or goes on with bindings that come and go, until it is as long as asked."""
    world = data.make_world(0.003)

    facts = list(data.facts(data.history(world, events)))

    assert [*range(1, events + 1)] == [fact.position for fact in facts]


# The report


def test_compared_takes_each_ratio_within_its_round() -> None:
    """A machine that slows down between two rounds changes no ratio."""
    figure = compared("rate", "/s", [90.0, 9.0, 45.0], [100.0, 10.0, 100.0], at_least(0.7))

    assert figure.ratio == pytest.approx(0.9)
    assert figure.ratio_least == pytest.approx(0.45)
    assert figure.ratio_greatest == pytest.approx(0.9)
    assert figure.is_met


@pytest.mark.parametrize(
    ("figure", "is_met"),
    [
        (absolute("p50", "µs", [2.5], at_most(2.5)), True),
        (absolute("p50", "µs", [2.6], at_most(2.5)), False),
        (absolute("rate", "/s", [250.0], at_least(250)), True),
        (absolute("rate", "/s", [249.0], at_least(250)), False),
        (absolute("rate", "/s", [249.0]), None),
    ],
)
def test_goal_is_judged_by_its_own_bound(figure: Figure, is_met: bool | None) -> None:  # noqa: FBT001 - a case's expectation
    """The bound itself still keeps the promise; a figure without one is not judged."""
    assert is_met == figure.is_met


def test_goal_of_a_larger_scale_is_shown_and_not_judged() -> None:
    """A run at a smaller scale neither meets nor misses what is promised for a larger one."""
    found = report.Report(figures=[absolute("p50", "µs", [9.0], at_most(2.5, scale=10))])

    small = report.table("check", Options(scale=1), found, {})
    large = report.table("check", Options(scale=10), found, {})

    assert "at scale 10" in small
    assert "MISSED" not in small
    assert "MISSED" in large
