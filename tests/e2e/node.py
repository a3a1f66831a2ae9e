"""How does a test start, ask, kill and restart a real server process?"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx

# As long as a slow machine may take; what is promised of either is held by a test of its own.
START_SECONDS: Final = 120.0
STOP_SECONDS: Final = 60.0
OWNER_EMAIL: Final = "ada@example.com"
OWNER_PASSWORD: Final = "correct horse battery staple"
PROGRAM: Final = "ops.cli.main"


def muniment(
    *arguments: str,
    data_dir: Path | None = None,
    settings: Mapping[str, str] | None = None,
    program: str = PROGRAM,
) -> subprocess.CompletedProcess[str]:
    """Run a command of the command line to its end and answer what it printed."""
    where = () if data_dir is None else ("--data-dir", str(data_dir))
    return subprocess.run(
        (sys.executable, "-m", program, *arguments, *where),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=_environment(settings),
    )


def _environment(settings: Mapping[str, str] | None) -> dict[str, str]:
    """The environment with these settings, without those of a Muniment that a developer may run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MUNIMENT_")}
    return {**kept, **(settings or {})}


class Node:
    """A `muniment serve` process; its store is embedded and its own unless settings name one."""

    def __init__(
        self,
        data_dir: Path,
        prefix: tuple[str, ...] = (),
        *,
        program: str = PROGRAM,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare a node; `prefix` stands before its command line, as a tracer does.

        `program` is the module that is run, another one for a broken build; `settings` are
        variables of its environment.
        """
        self.data_dir = data_dir
        self.url = ""
        self._prefix = prefix
        self._program = program
        self._settings = settings
        self._process: subprocess.Popen[str] | None = None

    def init(self) -> None:
        """Make the installation with its first owner."""
        password = self.data_dir.with_suffix(".password")
        password.write_text(OWNER_PASSWORD)
        done = muniment(
            "init",
            "--admin-email",
            OWNER_EMAIL,
            "--password-file",
            str(password),
            data_dir=self.data_dir,
            settings=self._settings,
        )
        assert done.returncode == 0, done.stderr

    def start(self, port: int = 0) -> None:
        """Serve on a port, 0 for any free one, and wait until it listens."""
        self._process = subprocess.Popen(
            (
                *self._prefix,
                sys.executable,
                "-m",
                self._program,
                "serve",
                "--port",
                str(port),
                "--data-dir",
                str(self.data_dir),
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=_environment(self._settings),
        )
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.output: list[str] = []
        self._reader = threading.Thread(target=self._read, args=(self._process, lines), daemon=True)
        self._reader.start()
        while not self.url_of(line := lines.get(timeout=START_SECONDS)):
            assert line, "the server ended: " + "".join(self.output)
        self.url = self.url_of(line)

    def _read(self, process: subprocess.Popen[str], lines: queue.SimpleQueue[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.output.append(line)
            lines.put(line)
        lines.put("")

    @staticmethod
    def url_of(line: str) -> str:
        """The URL of the line that says it, empty for any other line."""
        said, _, url = line.strip().partition("listening on ")
        return "" if said else url

    def kill(self) -> None:
        """End the whole process group at once, as `kill -9` does."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._ended(self._process)

    @property
    def pid(self) -> int:
        """The process that was started, which leads a group of its own."""
        assert self._process is not None
        return self._process.pid

    def terminate(self) -> None:
        """Ask it to end, as an operator does."""
        assert self._process is not None
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)

    def wait(self) -> int:
        """Wait until it has ended; answer its exit code."""
        assert self._process is not None
        return self._ended(self._process)

    def stop(self) -> int:
        """Ask it to end and wait; answer its exit code."""
        self.terminate()
        return self.wait()

    def _ended(self, process: subprocess.Popen[str]) -> int:
        code = process.wait(STOP_SECONDS)
        self._reader.join(STOP_SECONDS)
        if process.stdout is not None:
            process.stdout.close()
        return code

    def client(
        self, token: str | None = None, basic: tuple[str, str] | None = None
    ) -> httpx.Client:
        """A client of this node with a token, with a user's password, or with nothing."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, auth=basic, timeout=20)

    def owner(self) -> httpx.Client:
        """A client that acts as the first owner."""
        return self.client(basic=(OWNER_EMAIL, OWNER_PASSWORD))
