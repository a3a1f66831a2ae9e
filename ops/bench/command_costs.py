"""What does a command cost beside its own rules, when many are given at once?"""

from __future__ import annotations

from typing import Final

from ops.bench.crowd import crowd
from ops.bench.report import Options, Report, absolute, at_most

CALLERS: Final = 128


def run(options: Options) -> Report:
    """Measure the processor's time of all threads a command, and take the rules' own away."""
    rates: list[float] = []
    totals: list[float] = []
    rules: list[float] = []
    with crowd(options.scale, options.seed) as gathered:
        number = gathered.number_for(CALLERS, options.seconds)
        for _ in range(options.rounds):
            sample = gathered.measure(CALLERS, number)
            rates.append(sample.commands_a_second)
            totals.append(sample.cpu_us)
            rules.append(gathered.rules_us())
        wrong = gathered.wrong_answers
    beside = [total - rule for total, rule in zip(totals, rules, strict=True)]
    return Report(
        figures=[
            absolute("CPU a command beside the rules", "µs", beside, at_most(60)),
            absolute("CPU a command", "µs", totals),
            absolute("CPU of the rules", "µs", rules),
            absolute(f"durable commands, {CALLERS} callers", "/s", rates),
        ],
        wrong_answers=wrong,
        notes=("Commands: a role assigned and its binding deleted, by an administrator.",),
    )
