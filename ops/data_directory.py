"""Is this directory private and local, and are we the only process that writes in it?"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ops.store_errors import StoreInUseError, UnsafeStoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

MOUNTS = Path("/proc/self/mountinfo")

# SQLite's write-ahead log needs shared memory and honest locks, which these do not give.
NETWORK_FILESYSTEMS = frozenset(
    [
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "glusterfs",
        "gfs2",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "smb3",
        "smbfs",
        "fuse.glusterfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
    ],
)


@contextmanager
def lock_data_directory(path: Path) -> Iterator[None]:
    """Hold the data directory `path` for this process; taken before anything in it is opened.

    The lock is `flock` on the file `lock`, which names the holder's process id: the system lets
    go of it when the process ends, however it ends (`event-log.md` 4).
    Raises StoreInUseError when another process holds it, UnsafeStoreError for an unsafe directory.
    """
    check_private(path)
    check_local(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path / "lock", flags, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip()
            raise StoreInUseError(f"process {holder} holds the data directory") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def check_private(path: Path) -> None:
    """Refuse a directory or file that anyone but this user can reach (`security.md` 7.2).

    Raises UnsafeStoreError when it is missing, belongs to another user, or has a mode bit for
    group or others.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise UnsafeStoreError(f"{path.name}: {error.strerror}") from error
    if status.st_uid != os.geteuid():
        raise UnsafeStoreError(f"{path.name} belongs to another user")
    if status.st_mode & 0o077:
        mode = status.st_mode & 0o777
        raise UnsafeStoreError(f"{path.name} is open to others, mode {mode:04o}")


def check_local(path: Path, mounts: Path = MOUNTS) -> None:
    """Refuse a path on a network filesystem, as the mount table `mounts` (proc(5)) tells.

    Raises UnsafeStoreError. Where the system has no such table there is nothing to be learned.
    """
    if not mounts.exists():
        return
    place = os.path.realpath(path)
    found = ("", "")
    for line in mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields = line.split(" ")
        mount_point = _unescaped(fields[4])
        filesystem = fields[fields.index("-") + 1]
        inside = place == mount_point or place.startswith(mount_point.rstrip("/") + "/")
        # A later line covers an earlier one at the same place, hence "not shorter".
        if inside and len(mount_point) >= len(found[0]):
            found = (mount_point, filesystem)
    if found[1] in NETWORK_FILESYSTEMS:
        raise UnsafeStoreError(f"{path.name} is on a network filesystem, {found[1]}")


def _unescaped(mount_point: str) -> str:
    for escape, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        mount_point = mount_point.replace(escape, character)
    return mount_point
