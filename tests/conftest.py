"""What holds for every test, and what did this run leave out?"""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.postgres"]

# Time never decides a test: a slow machine may not make a property fail.
settings.register_profile(
    "muniment", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("muniment")


@pytest.hookimpl(tryfirst=True)
def pytest_report_to_serializable(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Make captured output fit to travel between test processes: hostile text may not be UTF-8."""
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]


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
