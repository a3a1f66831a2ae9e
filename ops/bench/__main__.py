"""How fast is it, beside what, and does it reach its goals? `python -m ops.bench NAME`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Struct

from ops.bench import (
    append,
    asof,
    audit_search,
    batches,
    catch_up,
    check,
    command_costs,
    command_line,
    deltas,
    endpoints,
    export_rates,
    growth,
    http_checks,
    invalidation,
    journal_costs,
    memory_use,
    merkle,
    pauses,
    peers,
    replay,
    sign_ins,
    start,
    token_costs,
)
from ops.bench.report import Options, Report, environment, lines, table


class Benchmark(Struct, frozen=True):
    """One benchmark, and the scales that its goals name."""

    run: Callable[[Options], Report]
    question: str
    scales: tuple[float, ...] = (1,)


BENCHMARKS: Final = {
    "append": Benchmark(append.run, "durable appends beside the bare driver"),
    "replay": Benchmark(
        replay.run, "1,000,000 events read, decoded and folded beside bare SQL", (10,)
    ),
    "merkle": Benchmark(merkle.run, "the tree over 1,000,000 events: hash, prove, verify", (10,)),
    "start": Benchmark(start.run, "a start by replay of 1,000,000 events, by snapshot", (10,)),
    "commands": Benchmark(command_costs.run, "processor time a command beside its rules"),
    "http": Benchmark(http_checks.run, "an evaluation over HTTP beside a bare server"),
    "endpoints": Benchmark(endpoints.run, "other routes over HTTP beside a bare server"),
    "tokens": Benchmark(token_costs.run, "from a token's text to its live principal"),
    "login": Benchmark(sign_ins.run, "a check over HTTP while 32 people sign in"),
    "batch": Benchmark(batches.run, "checks over HTTP, 100 in a request"),
    "journal": Benchmark(journal_costs.run, "an evaluation with its record beside one without"),
    "check": Benchmark(check.run, "a check in the process beside the bare mask loop", (10,)),
    "growth": Benchmark(growth.run, "a check in the process with 100 times the accounts"),
    "peers": Benchmark(peers.run, "a check in the process beside pycasbin and cedarpy"),
    "invalidate": Benchmark(invalidation.run, "from a group's binding to its effect", (10,)),
    "catchup": Benchmark(catch_up.run, "from events in memory to the access graph", (10,)),
    "audit-export": Benchmark(export_rates.run, "the whole trail over HTTP, in each format", (10,)),
    "cli": Benchmark(
        command_line.run, "commands beside an empty start, an export beside a bare read", (10,)
    ),
    "memory": Benchmark(memory_use.run, "memory a right, memory a compiled principal", (10,)),
    "audit-search": Benchmark(
        audit_search.run, "the trail's first page by each filter, among 1,000,000 events"
    ),
    "asof": Benchmark(asof.run, "a check and lists about the past of 1,000,000 events", (10,)),
    "delta": Benchmark(deltas.run, "whose rights a role edit for 10,000 principals changes"),
    "gc": Benchmark(pauses.run, "the longest pause of the collector while serving", (10,)),
}


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; 0 when it was sound, 1 for a wrong answer or a failed part."""
    chosen = _parser().parse_args(arguments)
    if chosen.name == "list":
        for name, listed in BENCHMARKS.items():
            print(f"{name:12} {listed.question}")
        return 0
    if chosen.name == "all":
        return _run_all(sys.argv[1:] if arguments is None else arguments)
    benchmark: Benchmark = BENCHMARKS[chosen.name]
    written: Path | None = chosen.json
    wrong = 0
    for scale in (chosen.scale,) if chosen.scale else benchmark.scales:
        options = Options(
            scale=scale,
            rounds=chosen.rounds,
            seconds=chosen.seconds,
            seed=chosen.seed,
            rich=chosen.rich,
            database_url=chosen.database_url,
            client=chosen.client,
        )
        started = environment()
        report = benchmark.run(options)
        print(table(chosen.name, options, report, started), flush=True)
        if written is not None:
            with written.open("ab") as file:
                file.write(lines(chosen.name, options, report, started))
        wrong += report.wrong_answers
    return 1 if wrong else 0


def _run_all(arguments: list[str]) -> int:
    """Run each benchmark in a process of its own, so that none inherits another's memory."""
    failed = [
        name
        for name in BENCHMARKS
        if subprocess.run(  # noqa: S603 - this very program, with the caller's own arguments
            [
                sys.executable,
                "-m",
                "ops.bench",
                *(name if argument == "all" else argument for argument in arguments),
            ],
            check=False,
        ).returncode
    ]
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.bench", description=__doc__)
    parser.add_argument("name", choices=["list", "all", *BENCHMARKS])
    parser.add_argument("--scale", type=float, help="1 is 10,000 service accounts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rich", action="store_true", help="wildcards, spans, resources, tenants")
    parser.add_argument("--json", type=Path, help="a file that gets one line a figure")
    parser.add_argument("--database-url", help="a superuser's URL; databases are made and dropped")
    parser.add_argument("--client", choices=["own", "wrk"], default="own")
    return parser


if __name__ == "__main__":
    sys.exit(main())
