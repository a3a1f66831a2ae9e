"""In which form are checkpoints, keys and proofs answered? (transparency-log 4)."""

from __future__ import annotations

from datetime import datetime

from msgspec import UNSET, Struct, UnsetType, field


class CheckpointForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """A signed checkpoint, and what it says."""

    origin: str
    size: int
    root: str
    signed_at: datetime
    checkpoint: str


class CheckpointPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """Some checkpoints, newest first; the last position that one of the present origin covers."""

    items: tuple[CheckpointForm, ...]
    next_cursor: str | UnsetType = UNSET
    sealed_through: int


class KeyForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """A verifier key in the form of C2SP signed-note, and the time in which it signs."""

    verifier_key: str
    since: datetime
    retired: datetime | UnsetType = UNSET


class FormerOriginForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """A tree that was not continued: its last checkpoint, and how far the present one is equal."""

    origin: str
    ended: datetime
    equal_through: int
    checkpoint: str | UnsetType = UNSET


class KeysForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """The present origin, every key, and the origins from before a restore."""

    origin: str
    keys: tuple[KeyForm, ...]
    former: tuple[FormerOriginForm, ...]


class InclusionForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """That a leaf is in a tree; hashes in base64, the leaf's sibling first."""

    index: int
    size: int
    leaf_hash: str
    hashes: tuple[str, ...]
    root: str


class ConsistencyForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """That a tree continues an earlier one; hashes in base64."""

    size_from: int = field(name="from")
    size_to: int = field(name="to")
    hashes: tuple[str, ...]
    root_from: str
    root_to: str
