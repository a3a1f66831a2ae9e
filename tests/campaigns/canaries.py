"""Where do planted secrets turn up, in whatever coding? (security 4.5)."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote


def codings(secret: bytes) -> dict[str, bytes]:
    """The ways in which bytes are written down: as they are, base64, hex, percent, UTF-16."""
    found = {
        "raw": secret,
        "hex": secret.hex().encode(),
        "HEX": secret.hex().upper().encode(),
        "percent": quote(secret, safe="").encode(),
        "reversed": secret[::-1],
    }
    # Inside a longer text base64 depends on where the secret begins; ends mix with neighbours.
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + secret)
        inner = text[-(-8 * shift // 6) : (8 * (shift + len(secret))) // 6]
        found[f"base64 at {shift}"] = inner
        found[f"base64url at {shift}"] = inner.translate(bytes.maketrans(b"+/", b"-_"))
    with suppress(UnicodeDecodeError):  # no text, so nobody would write it as such
        found["UTF-16"] = secret.decode().encode("utf-16-le")
    return found


def hits(secrets: Mapping[str, bytes], places: Iterable[tuple[str, bytes]]) -> list[str]:
    """Which secret stands in which place, and how it is coded."""
    wanted = [
        (name, coding, pattern)
        for name, secret in secrets.items()
        for coding, pattern in codings(secret).items()
    ]
    return [
        f"{name} ({coding}) in {place}"
        for place, content in places
        for name, coding, pattern in wanted
        if pattern in content
    ]


def files(directory: Path) -> list[tuple[str, bytes]]:
    """Every file under a directory, with what it holds now."""
    return [
        (path.relative_to(directory).as_posix(), path.read_bytes())
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    ]
