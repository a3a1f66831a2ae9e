"""How did a benchmark go, which figures did it give, and do they reach their goals?"""

from __future__ import annotations

import os
import platform
from importlib import metadata
from statistics import median
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSIONS: Final = ("msgspec", "immutables", "eventsourcing", "psycopg", "uvicorn", "litestar")

_WHOLE_FROM: Final = 100
# Two decimals would show nothing of a ratio below this.
_TINY: Final = 0.1

Judged = Literal["ratio", "ours"]


class Options(Struct, frozen=True, kw_only=True):
    """What the caller of a benchmark may choose; `scale` 1 is 10,000 service accounts."""

    scale: float = 1
    rounds: int = 5
    seconds: float = 3
    seed: int = 7
    rich: bool = False
    database_url: str | None = None
    client: Literal["own", "wrk"] = "own"


class Goal(Struct, frozen=True):
    """A promise of performance 1; below the scale it is made for it is shown, not judged."""

    at_most: bool
    bound: float
    scale: float = 0

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {_short(self.bound)}"

    def is_met(self, value: float) -> bool:
        """Tell whether the value keeps the promise."""
        return value <= self.bound if self.at_most else value >= self.bound


def at_most(bound: float, *, scale: float = 0) -> Goal:
    """Promise no more than the bound at that scale and above."""
    return Goal(at_most=True, bound=bound, scale=scale)


def at_least(bound: float, *, scale: float = 0) -> Goal:
    """Promise no less than the bound at that scale and above."""
    return Goal(at_most=False, bound=bound, scale=scale)


class Figure(Struct, frozen=True, kw_only=True):
    """One line of the table: medians over the rounds, and the ratio's spread."""

    name: str
    unit: str
    ours: float
    baseline: float | UnsetType = UNSET
    ratio: float | UnsetType = UNSET
    ratio_least: float | UnsetType = UNSET
    ratio_greatest: float | UnsetType = UNSET
    goal: Goal | UnsetType = UNSET
    judged: Judged = "ours"

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        value = self.ratio if self.judged == "ratio" else self.ours
        if self.goal is UNSET or value is UNSET:
            return None
        return self.goal.is_met(value)


def absolute(name: str, unit: str, samples: Sequence[float], goal: Goal | None = None) -> Figure:
    """Answer the median of the rounds, judged as it stands: a ceiling, marked as such."""
    marked = f"{name}, absolute" if goal else name
    return Figure(name=marked, unit=unit, ours=median(samples), goal=goal or UNSET)


def compared(
    name: str,
    unit: str,
    ours: Sequence[float],
    baseline: Sequence[float],
    goal: Goal | None = None,
) -> Figure:
    """Answer the median of the ratios, each taken within its own round."""
    ratios = [mine / theirs for mine, theirs in zip(ours, baseline, strict=True)]
    return Figure(
        name=name,
        unit=unit,
        ours=median(ours),
        baseline=median(baseline),
        ratio=median(ratios),
        ratio_least=min(ratios),
        ratio_greatest=max(ratios),
        goal=goal or UNSET,
        judged="ratio",
    )


class Report(Struct, kw_only=True):
    """What a benchmark found; a wrong answer spoils all of it, whatever its speed."""

    figures: list[Figure]
    wrong_answers: int = 0
    not_run: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Line(Struct, frozen=True, kw_only=True):
    """One figure as it is written with `--json`."""

    benchmark: str
    scale: float
    rounds: int
    seconds: float
    seed: int
    figure: Figure
    met: bool | None
    wrong_answers: int
    environment: dict[str, str]


def environment() -> dict[str, str]:
    """Answer the versions and the machine's load, without naming the machine."""
    load = os.getloadavg()[0]
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in VERSIONS},
        "processors": str(os.cpu_count()),
        "load": f"{load:.2f}",
    }


def lines(name: str, options: Options, report: Report, started: dict[str, str]) -> bytes:
    """Answer one JSON object for each figure, each on a line."""
    rows = [
        Line(
            benchmark=name,
            scale=options.scale,
            rounds=options.rounds,
            seconds=options.seconds,
            seed=options.seed,
            figure=figure,
            met=_verdict_of(figure, options.scale),
            wrong_answers=report.wrong_answers,
            environment=started,
        )
        for figure in report.figures
    ]
    return msgspec.json.Encoder().encode_lines(rows)


def table(name: str, options: Options, report: Report, started: dict[str, str]) -> str:
    """Answer the figures as text: ours, baseline, ratio with its spread, goal, verdict."""
    shape = " rich" if options.rich else ""
    head = (
        f"{name:16} scale {_short(options.scale)}{shape}   {options.rounds} rounds   "
        f"seed {options.seed}   wrong answers {report.wrong_answers}"
    )
    place = "   ".join(f"{key} {value}" for key, value in started.items())
    titles = ("figure", "ours", "baseline", "ratio", "least … most", "goal", "")
    rows = [titles, *(_row(figure, options.scale) for figure in report.figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
    body = [
        "  ".join(
            cell.ljust(width) if column in {0, 5, 6} else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    missing = [f"not run: {reason}" for reason in report.not_run]
    return "\n".join([head, place, *body, *report.notes, *missing])


def _row(figure: Figure, scale: float) -> tuple[str, ...]:
    ratio, spread, baseline = "", "", ""
    if figure.ratio is not UNSET and figure.baseline is not UNSET:
        digits = 2 if figure.ratio >= _TINY else 4
        baseline = f"{_short(figure.baseline)} {figure.unit}"
        ratio = f"{figure.ratio:.{digits}f} times"
        spread = f"{figure.ratio_least:.{digits}f} … {figure.ratio_greatest:.{digits}f}"
    goal = "" if figure.goal is UNSET else str(figure.goal)
    if goal and figure.judged == "ours":
        goal += f" {figure.unit}"
    verdict = _verdict_of(figure, scale)
    shown = {None: "", True: "met", False: "MISSED"}[verdict]
    if goal and verdict is None and figure.goal is not UNSET:
        shown = f"at scale {_short(figure.goal.scale)}"
    ours = f"{_short(figure.ours)} {figure.unit}"
    return figure.name, ours, baseline, ratio, spread, goal, shown


def _verdict_of(figure: Figure, scale: float) -> bool | None:
    """Judge a figure, but not at a smaller scale than its goal's."""
    if figure.goal is not UNSET and scale < figure.goal.scale:
        return None
    return figure.is_met


def _short(number: float) -> str:
    """Answer three significant digits, or a whole number with separators."""
    if abs(number) >= _WHOLE_FROM:
        return f"{number:,.0f}"
    return f"{number:.3g}"
