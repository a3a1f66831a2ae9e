"""Are the views that are served still what the log amounts to?

Now and then a process of its own, at the lowest priority, makes them anew from the log, compares
every row and puts right what differs. A difference is an alarm: rows do not go wrong by themselves.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from domain.sealed import Secret
from ops.rebuilds import rebuild
from ops.settings import Settings
from projections.rebuilding import TABLES

if TYPE_CHECKING:
    from datetime import datetime
    from multiprocessing.connection import Connection

    from ops.inputs import Inputs

Outcome = Literal["equal", "healed", "failed"]
# Name, position and how many rows differed, of each view.
Found = list[tuple[str, int, int]]

_LOWEST_PRIORITY: Final = 19
_STOP_SECONDS: Final = 5.0

_log = logging.getLogger("muniment.self_check")


class SelfCheck:
    """Looks at the views every so often; `start` it once, `stop` it once."""

    def __init__(self, settings: Settings, inputs: Inputs) -> None:
        self._settings = settings
        self._inputs = inputs
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="self-check", daemon=True)
        self.outcomes: dict[Outcome, int] = {"equal": 0, "healed": 0, "failed": 0}
        self.differing: dict[str, int] = dict.fromkeys(TABLES, 0)
        self.position = 0
        self.checked_at: datetime | None = None

    def start(self) -> None:
        """Begin to look, unless that is turned off."""
        if self._settings.self_check_seconds:
            self._thread.start()

    def stop(self) -> None:
        """End, and whatever is being made anew with it."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._settings.self_check_seconds):
            self.check()

    def check(self) -> None:
        """Look once, in a process of its own, and take note of what it found."""
        spawn = multiprocessing.get_context("spawn")
        here, there = spawn.Pipe(duplex=False)
        url = self._settings.database_url
        # By a pipe, since arguments and the environment of a process can be read by others.
        given = (there, str(self._settings.data_dir), None if url is None else url.reveal())
        process = spawn.Process(target=_look, args=given, daemon=True)
        process.start()
        there.close()
        try:
            while not here.poll(0.2):
                if self._stopping.is_set():
                    return
            with suppress(EOFError):
                self._note(here.recv())
                return
            self._note("the process ended")
        finally:
            here.close()
            process.terminate()
            process.join(_STOP_SECONDS)

    def _note(self, found: Found | str) -> None:
        if isinstance(found, str):
            self.outcomes["failed"] += 1
            _log.error("the views could not be checked", extra={"reason": found})
            return
        wrong = [(view, differing) for view, _, differing in found if differing]
        self.outcomes["healed" if wrong else "equal"] += 1
        self.position = max((position for _, position, _ in found), default=0)
        self.checked_at = self._inputs.now()
        for view, differing in wrong:
            self.differing[view] += differing
            _log.error(
                "a view was not what the log amounts to, and was put right",
                extra={"code": "views.wrong", "view": view, "rows": differing},
            )


def _look(answer: Connection, data_dir: str, database_url: str | None) -> None:
    """Rebuild, compare and put right, in a process that has nothing else to do."""
    os.nice(_LOWEST_PRIORITY)
    url = None if database_url is None else Secret(database_url)
    settings = Settings(data_dir=Path(data_dir), database_url=url)
    try:
        compared = rebuild(settings, tuple(TABLES), lambda _: None, heal=True)
    except Exception as fault:  # noqa: BLE001 - whatever it is, the check has failed
        # What a database or its driver says may quote rows, which belong in no log.
        answer.send(type(fault).__name__)
    else:
        answer.send([(one.view, one.position, one.differing) for one in compared])
