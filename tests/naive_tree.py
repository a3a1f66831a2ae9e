"""What are roots and proofs by the letter of RFC 6962, section 2.1, however slow?

A second implementation, which shares nothing with the product's.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def root(entries: Sequence[bytes]) -> bytes:
    """MTH(D[n])."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\0" + entries[0]).digest()
    middle = _middle(entries)
    return sha256(b"\1" + root(entries[:middle]) + root(entries[middle:])).digest()


def path(index: int, entries: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n])."""
    if len(entries) == 1:
        return []
    middle = _middle(entries)
    if index < middle:
        return [*path(index, entries[:middle]), root(entries[middle:])]
    return [*path(index - middle, entries[middle:]), root(entries[:middle])]


def proof(size: int, entries: Sequence[bytes]) -> list[bytes]:
    """PROOF(m, D[n])."""
    return _subproof(size, entries, complete=True)


def _subproof(size: int, entries: Sequence[bytes], *, complete: bool) -> list[bytes]:
    if size == len(entries):
        return [] if complete else [root(entries)]
    middle = _middle(entries)
    if size <= middle:
        return [*_subproof(size, entries[:middle], complete=complete), root(entries[middle:])]
    rest = _subproof(size - middle, entries[middle:], complete=False)
    return [*rest, root(entries[:middle])]


def _middle(entries: Sequence[bytes]) -> int:
    middle = 1
    while middle * 2 < len(entries):
        middle *= 2
    return middle
