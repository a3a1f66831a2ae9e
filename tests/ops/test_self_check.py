"""Does a self-check say what it could not do, and end when the server ends?"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ops.self_check import SelfCheck
from ops.settings import Settings
from projections.rebuilding import TABLES
from tests.fixed_inputs import FixedInputs

if TYPE_CHECKING:
    from pathlib import Path

EQUAL = [(name, 7, 0) for name in TABLES]


def checking(directory: Path, **more: Any) -> SelfCheck:  # noqa: ANN401 - the members of settings
    """Answer a self-check of what is in a directory."""
    return SelfCheck(Settings(data_dir=directory, **more), FixedInputs())


def test_what_cannot_be_checked_is_told_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Unknown is not equal: where there is no installation the check has failed."""
    check = checking(tmp_path)

    with caplog.at_level(logging.ERROR, "muniment.self_check"):
        check.check()

    assert check.outcomes == {"equal": 0, "healed": 0, "failed": 1}
    assert ["the views could not be checked"] == caplog.messages
    assert check.checked_at is None


def test_a_difference_is_an_alarm_with_its_view(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told which view and how many rows, and nothing of what stood in them."""
    check = checking(tmp_path)
    wrong = [(name, at, 3 if name == "groups" else rows) for name, at, rows in EQUAL]

    with caplog.at_level(logging.ERROR, "muniment.self_check"):
        check._note(EQUAL)  # noqa: SLF001 - what a process answered
        assert caplog.messages == []
        check._note(wrong)  # noqa: SLF001 - what a process answered

    assert check.outcomes == {"equal": 1, "healed": 1, "failed": 0}
    assert (check.position, check.differing["groups"]) == (7, 3)
    (alarm,) = caplog.records
    assert (alarm.__dict__["code"], alarm.__dict__["view"]) == ("views.wrong", "groups")


def test_it_can_be_turned_off_and_ends_with_the_server(tmp_path: Path) -> None:
    """With 0 nothing runs; a stop does not wait for the next look, nor for one under way."""
    off = checking(tmp_path, self_check_seconds=0)
    off.start()
    off.stop()
    waiting = checking(tmp_path, self_check_seconds=3_600)
    waiting.start()
    waiting.stop()
    stopped = checking(tmp_path)
    stopped.stop()
    stopped.check()

    assert not [one for one in threading.enumerate() if one.name == "self-check"]
    assert sum(off.outcomes.values()) == sum(waiting.outcomes.values()) == 0
    assert sum(stopped.outcomes.values()) == 0
