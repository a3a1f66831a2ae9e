"""What holds for every test, and what did this run leave out?"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["tests.postgres"]

# Time never decides a test: a slow machine may not make a property fail.
settings.register_profile(
    "muniment", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("muniment")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print each reason for skipping, with the tests it left out, whatever flags were given."""
    reports: list[pytest.TestReport | pytest.CollectReport] = terminalreporter.stats.get(
        "skipped", []
    )
    if not reports:
        return
    left_out: defaultdict[str, list[str]] = defaultdict(list)
    for report in reports:
        place = report.longrepr
        reason = place[2] if isinstance(place, tuple) else report.longreprtext
        left_out[reason.removeprefix("Skipped: ")].append(report.nodeid)
    terminalreporter.section("left out")
    for reason, tests in sorted(left_out.items()):
        terminalreporter.line(f"{reason}: {', '.join(sorted(tests))}")
