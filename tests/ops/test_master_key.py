"""Is the master key read from where it should be, and from nowhere else?"""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from domain.sealed import Secret
from ops.inputs import SystemInputs
from ops.vault import MasterKeyError, create_master_key, read_master_key

MASTER = bytes(range(32))


def test_the_master_key_is_made_once_and_read_again(tmp_path: Path) -> None:
    """Issue item 4: a 0600 file in base64; never overwritten."""
    path = tmp_path / "master.key"

    made = create_master_key(path, SystemInputs())

    assert made == read_master_key(None, path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        create_master_key(path, SystemInputs())
    assert made == read_master_key(None, path)


def test_the_master_key_of_the_environment_needs_no_file(tmp_path: Path) -> None:
    """Issue item 4: from the environment as well, and then the file is not asked."""
    encoded = Secret(base64.b64encode(MASTER).decode())

    assert MASTER == read_master_key(encoded, tmp_path / "none")


@pytest.mark.parametrize(
    ("content", "mode", "code"),
    [
        (None, 0o600, "master_key.missing"),
        (base64.b64encode(MASTER), 0o640, "master_key.unsafe"),
        (base64.b64encode(MASTER), 0o604, "master_key.unsafe"),
        (base64.b64encode(MASTER[1:]), 0o600, "master_key.malformed"),
        (b"", 0o600, "master_key.malformed"),
        (b"\xff not base64", 0o600, "master_key.malformed"),
    ],
    ids=["absent", "group", "others", "short", "empty", "binary"],
)
def test_a_bad_master_key_is_a_clear_refusal(
    tmp_path: Path, content: bytes | None, mode: int, code: str
) -> None:
    """Issue item 4: each kind of fault has its code, and the key itself is in no message."""
    path = tmp_path / "master.key"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)

    with pytest.raises(MasterKeyError) as refusal:
        read_master_key(None, path)

    assert code == refusal.value.code
    assert base64.b64encode(MASTER).decode() not in repr(refusal.value)


def test_a_directory_is_no_master_key(tmp_path: Path) -> None:
    """Issue item 4: a wrong mount is told as such."""
    with pytest.raises(MasterKeyError, match="must be a file"):
        read_master_key(None, tmp_path)
