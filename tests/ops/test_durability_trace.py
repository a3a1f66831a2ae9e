"""Is every append synced before it is acknowledged, and is a failed sync the end?"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

from ops import log_readers
from ops.store_errors import UnsafeStoreError
from tests.ops.durable_appender import ACKNOWLEDGEMENT, EXIT_BROKEN
from tests.ops.log_stores import LOG_ID, PostgresStore, SQLiteStore, records
from tests.ops.sync_trace import Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APPENDS = 1000
CALLS = "trace=pwrite64,write,writev,sendto,sendmsg,fdatasync,fsync"
FIRST_FAILED_SYNC = 20


def require_strace() -> None:
    """Skip where system calls cannot be traced."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    probe = subprocess.run(["strace", "-o", os.devnull, "true"], check=False, capture_output=True)
    if probe.returncode != 0:
        pytest.skip("strace may not trace processes here")


@pytest.fixture
def traced_store(sqlite_store: SQLiteStore) -> SQLiteStore:
    """Return a store with one record, where appends can be traced."""
    require_strace()
    log = sqlite_store.open(LOG_ID)
    log.append(1, records(1))
    log.close()
    return sqlite_store


def run_appender(store: SQLiteStore, build: str, *inject: str) -> tuple[int, str, list[str]]:
    """Run the small process under strace; return its status, its output and the trace."""
    trace = store.path.with_name("trace")
    tracer = ["strace", "-f", "--seccomp-bpf", "-y", "-e", CALLS, *inject, "-o", str(trace)]
    program = ["-m", "tests.ops.durable_appender", str(store.path), str(APPENDS), build]
    finished = subprocess.run(
        [*tracer, sys.executable, *program],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=120,
    )
    return finished.returncode, finished.stdout, trace.read_text("utf-8").splitlines()


def judge_sqlite(store: SQLiteStore, build: str) -> Verdict:
    """Judge the acknowledgements of the small process in `build`."""
    status, output, trace = run_appender(store, build)
    assert status == 0
    assert output.count(ACKNOWLEDGEMENT) == APPENDS
    return judge(trace, "log.db-wal", ACKNOWLEDGEMENT)


def test_append_to_a_file_is_synced_before_it_is_acknowledged(traced_store: SQLiteStore) -> None:
    """No acknowledgement leaves before the bytes of its events are on disk (D1)."""
    verdict = judge_sqlite(traced_store, "right")

    assert (verdict.acknowledgements, verdict.early) == (APPENDS, 0)
    assert min(verdict.writes, verdict.syncs) >= APPENDS


@pytest.mark.parametrize("build", ["NORMAL", "OFF"])
def test_trace_notices_appends_that_are_not_synced(traced_store: SQLiteStore, build: str) -> None:
    """Control: with a weaker `synchronous` the same trace shows early acknowledgements (D1)."""
    verdict = judge_sqlite(traced_store, build)

    assert verdict.acknowledgements == APPENDS
    assert verdict.early > APPENDS * 0.9


@contextmanager
def traced(processes: list[int], trace: Path) -> Iterator[None]:
    """Trace running processes while the context lasts."""
    attach = [argument for process in processes for argument in ("-p", str(process))]
    with subprocess.Popen(
        ["strace", "-f", "-y", "-s", "200", "-e", CALLS, "-o", str(trace), *attach],
        stderr=subprocess.PIPE,
        text=True,
    ) as tracer:
        assert tracer.stderr is not None
        for _process in processes:
            line = tracer.stderr.readline()
            if "attached" not in line:
                pytest.skip("strace may not trace the database server here")
        yield
        tracer.send_signal(signal.SIGINT)
        tracer.stderr.read()


def judge_postgres(store: PostgresStore, trace: Path) -> Verdict:
    """Judge the answers of the server to the writing connection."""
    require_strace()
    log = store.open(LOG_ID)
    log.append(1, records(1))
    with psycopg.connect(store.database.owner_url) as connection:
        processes = [
            process
            for (process,) in connection.execute(
                # A checkpoint syncs what a commit then finds synced: all that may sync are traced.
                "SELECT pid FROM pg_stat_activity WHERE backend_type <> 'client backend' OR"
                " datname = current_database() AND query LIKE '%INSERT INTO%'"
                " AND pid <> pg_backend_pid()",
            )
        ]
    if not all(os.path.exists(f"/proc/{process}") for process in processes):  # noqa: PTH110 - a process, not a file
        pytest.skip("the database server runs on another machine")
    with traced(processes, trace):
        for position in range(2, APPENDS + 2):
            log.append(position, records(position))
    log.close()
    return judge(trace.read_text("utf-8").splitlines(), "/pg_wal/", "INSERT 0 1")


def test_append_to_postgres_is_synced_before_it_is_answered(
    postgres_store: PostgresStore,
    tmp_path: Path,
) -> None:
    """The server answers a commit only after its write-ahead log is on disk (D1)."""
    verdict = judge_postgres(postgres_store, tmp_path / "trace")

    assert (verdict.acknowledgements, verdict.early) == (APPENDS, 0)
    assert verdict.writes > 0
    assert verdict.syncs >= APPENDS


def test_trace_notices_commits_that_are_not_synced(
    own_postgres_store: PostgresStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Control: without synchronous commit, which opening refuses, answers come early (D1)."""
    own_postgres_store.as_owner(
        f"ALTER ROLE muniment_app IN DATABASE {own_postgres_store.database.name}"
        " SET synchronous_commit = off",
    )
    with pytest.raises(UnsafeStoreError):
        own_postgres_store.open(LOG_ID)
    monkeypatch.setattr(log_readers, "check_server", lambda _connection: ())

    verdict = judge_postgres(own_postgres_store, tmp_path / "trace")

    assert verdict.acknowledgements == APPENDS
    assert verdict.early > APPENDS * 0.9


def acknowledged_after_the_fault(trace: list[str]) -> int:
    """Return how many acknowledgements follow the first failed sync, which must be there."""
    faults = [number for number, line in enumerate(trace) if "(INJECTED)" in line]
    assert faults, "the fault was not injected"
    return sum(ACKNOWLEDGEMENT in line for line in trace[faults[0] :])


FAIL_SYNCS = (
    "-e",
    f"inject=fdatasync,fsync:error=EIO:when={FIRST_FAILED_SYNC}+",
)


def test_failed_sync_ends_writing(traced_store: SQLiteStore) -> None:
    """After a failed sync nothing is acknowledged or synced again; the next start reads (D4)."""
    status, output, trace = run_appender(traced_store, "right", *FAIL_SYNCS)

    assert status == EXIT_BROKEN
    assert acknowledged_after_the_fault(trace) == 0
    assert sum("(INJECTED)" in line for line in trace) == 1
    last = max(int(position) for position in re.findall(rf"{ACKNOWLEDGEMENT} (\d+)", output))
    log = traced_store.open()
    assert log.head() >= last
    assert log.read(0, last) == records(1, last)
    log.close()


def test_trace_notices_a_build_that_goes_on_after_a_failed_sync(traced_store: SQLiteStore) -> None:
    """Control: a build that swallows the error acknowledges what is not on disk (D4)."""
    _status, _output, trace = run_appender(traced_store, "swallow", *FAIL_SYNCS)

    assert acknowledged_after_the_fault(trace) > 0
