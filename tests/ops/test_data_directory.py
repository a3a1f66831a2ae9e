"""Are an open directory, a network filesystem and a second process refused?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ops.data_directory import check_local, check_private, lock_data_directory
from ops.store_errors import StoreInUseError, UnsafeStoreError
from tests.ops.log_stores import LOG_ID, SQLiteStore

HOLD = (
    "import pathlib, sys; from ops.data_directory import lock_data_directory\n"
    "with lock_data_directory(pathlib.Path(sys.argv[1])):\n"
    "    print('held', flush=True); sys.stdin.readline()"
)


def hold(directory: Path) -> subprocess.Popen[str]:
    """Start a process that holds `directory` until it gets a line or is killed."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_second_process_is_refused_and_told_who_holds(tmp_path: Path) -> None:
    """One process writes; another one is told which it is."""
    holder = hold(tmp_path)

    with (
        pytest.raises(StoreInUseError, match=f"process {holder.pid} "),
        lock_data_directory(tmp_path),
    ):
        pass

    holder.communicate("\n", timeout=30)
    with lock_data_directory(tmp_path):
        assert (tmp_path / "lock").read_text(encoding="ascii") == f"{os.getpid()}\n"


def test_lock_ends_with_a_killed_process(tmp_path: Path) -> None:
    """A crash leaves no lock in force."""
    holder = hold(tmp_path)

    holder.kill()
    holder.communicate(timeout=30)

    with lock_data_directory(tmp_path):
        pass


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o701, 0o777])
def test_directory_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """A data directory that anyone else can enter is refused (security 7.2)."""
    tmp_path.chmod(mode)

    with pytest.raises(UnsafeStoreError, match="open to others"), lock_data_directory(tmp_path):
        pass

    tmp_path.chmod(0o700)
    with lock_data_directory(tmp_path):
        pass


def test_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    """Its owner could read and change everything in it."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory to another user")
    os.chown(tmp_path, 65534, -1)

    with pytest.raises(UnsafeStoreError, match="another user"):
        check_private(tmp_path)


def test_missing_directory_is_refused(tmp_path: Path) -> None:
    """A data directory is made by `init`, never in passing."""
    with pytest.raises(UnsafeStoreError), lock_data_directory(tmp_path / "absent"):
        pass


def test_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """The lock's file is not followed elsewhere."""
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="symbolic link"), lock_data_directory(tmp_path):
        pass

    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("place", ["log", "directory"])
def test_log_open_to_others_is_refused(sqlite_store: SQLiteStore, place: str) -> None:
    """The log itself is refused when it, or its directory, can be read by others."""
    path = sqlite_store.path if place == "log" else sqlite_store.path.parent
    path.chmod(0o755)

    with pytest.raises(UnsafeStoreError, match="open to others"):
        sqlite_store.open(LOG_ID)

    path.chmod(0o700)


def mounts(directory: Path, filesystem: str) -> Path:
    """Write a mount table in which `directory` is on `filesystem`."""
    table = directory / "mountinfo"
    escaped = str(directory).replace(" ", "\\040")
    table.write_text(
        "22 1 254:0 / / rw,relatime - ext4 /dev/root rw\n"
        f"40 22 0:40 / {escaped} rw shared:7 - {filesystem} server:/share rw\n",
        encoding="ascii",
    )
    return table


@pytest.mark.parametrize("filesystem", ["nfs4", "cifs", "fuse.sshfs"])
def test_network_filesystem_is_refused(tmp_path: Path, filesystem: str) -> None:
    """SQLite's write-ahead log is not safe there (event-log 4)."""
    directory = tmp_path / "with blank"
    directory.mkdir()
    table = mounts(directory, filesystem)

    with pytest.raises(UnsafeStoreError, match=filesystem):
        check_local(directory / "log.db", table)


def test_local_filesystem_below_or_beside_a_network_one_is_accepted(tmp_path: Path) -> None:
    """Only the filesystem that the path itself is on counts."""
    (tmp_path / "share").mkdir()
    table = mounts(tmp_path / "share", "nfs4")

    check_local(tmp_path / "share-like" / "log.db", table)
    check_local(tmp_path / "log.db", table)
    check_local(tmp_path / "log.db", mounts(tmp_path, "ext4"))


def test_system_without_mount_table_is_accepted(tmp_path: Path) -> None:
    """Where nothing can be learned of mounts, nothing is refused."""
    check_local(tmp_path, tmp_path / "absent")
