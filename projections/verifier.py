"""Is this event, or this earlier tree, part of the log that a signed checkpoint stands for?

All that is needed to judge an installation from outside, and nothing else: this module imports
the standard library and `cryptography` only, so it can be read in one sitting and be carried
anywhere. Hashes and proofs are those of RFC 6962, notes and checkpoints those of C2SP signed-note
and tlog-checkpoint (transparency-log 1 to 3).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

HASH_BYTES: Final = 32
SIZE_MAX: Final = 2**63 - 1
# What no text of ours comes near, so that no reader is kept busy by a stranger.
NOTE_CHARACTERS_MAX: Final = 100_000
SIGNATURES_MAX: Final = 100

EMPTY_ROOT: Final = sha256().digest()

_ED25519: Final = b"\x01"
_KEY_ID_BYTES: Final = 4
_SIGNED: Final = "\N{EM DASH} "

_NAME: Final = re.compile(r"[^\s+\x00-\x1f\x7f]+\Z")
_CHECKPOINT: Final = re.compile(
    r"(?P<origin>[^\s+]+)\n(?P<size>0|[1-9][0-9]{0,18})\n(?P<root>[A-Za-z0-9+/]{43}=)\n\Z"
)
_PROOF: Final = re.compile(
    r"c2sp\.org/tlog-proof@v1\nindex (?P<index>0|[1-9][0-9]{0,18})\n"
    r"(?P<hashes>(?:[A-Za-z0-9+/]{43}=\n)*)\n"
)
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


class ProofError(Exception):
    """What was shown does not prove what it should; `code` is stable, the words may change."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{detail} ({code})")
        self.code = code
        self.detail = detail


# The tree (RFC 6962, section 2.1)


def entry_of(topic: str, envelope: bytes) -> bytes:
    """Answer what stands in the tree for an event: its topic and its bytes, as they are stored.

    Raises ProofError `entry.malformed` for a topic with a line feed, which would make one entry
    of two different events.
    """
    if "\n" in topic:
        raise ProofError("entry.malformed", "a topic is one line")
    return topic.encode() + b"\n" + envelope


def leaf_of(entry: bytes) -> bytes:
    """Answer the hash of an entry."""
    return sha256(b"\x00" + entry).digest()


def node_of(left: bytes, right: bytes) -> bytes:
    """Answer the hash of two subtrees side by side."""
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """The right edge of a tree that grows: the roots of its complete subtrees, from the left."""

    def __init__(self, size: int = 0, edge: Iterable[bytes] = ()) -> None:
        self.size = size
        self._edge = [*edge]

    def copy(self) -> Tree:
        """Answer a tree of its own that is equal now."""
        return Tree(self.size, self._edge)

    def push(self, leaf: bytes) -> bytes:
        """Add a leaf; answer it and the roots of the subtrees it completes, from small to large."""
        made = hash_ = leaf
        size = self.size
        while size & 1:
            hash_ = sha256(b"\x01" + self._edge.pop() + hash_).digest()
            made += hash_
            size >>= 1
        self._edge.append(hash_)
        self.size += 1
        return made

    def root(self) -> bytes:
        """Answer the root: at most 63 hashes, whatever the size."""
        return root_of(self._edge)


def root_of(edge: Sequence[bytes]) -> bytes:
    """Answer the root over complete subtrees that stand side by side, the larger ones first."""
    if not edge:
        return EMPTY_ROOT
    root = edge[-1]
    for left in reversed(edge[:-1]):
        root = node_of(left, root)
    return root


def verify_inclusion(
    index: int, size: int, leaf: bytes, hashes: Sequence[bytes], root: bytes
) -> None:
    """Refuse a leaf that is not at this index of the tree (RFC 6962, section 2.1.1).

    Raises ProofError `proof.range`, `proof.malformed` for hashes of another number or length, and
    `proof.mismatch`.
    """
    if not 0 <= index < size <= SIZE_MAX:
        raise ProofError("proof.range", f"there is no index {index} in a tree of {size}")
    first, beyond = 0, size
    is_left: list[bool] = []
    while beyond - first > 1:
        middle = first + split(beyond - first)
        is_left.append(index >= middle)
        first, beyond = (middle, beyond) if index >= middle else (first, middle)
    _require_hashes(hashes, len(is_left))
    found = leaf
    for stands_left, hash_ in zip(reversed(is_left), hashes, strict=True):
        found = node_of(hash_, found) if stands_left else node_of(found, hash_)
    if found != root:
        raise ProofError("proof.mismatch", f"index {index} is not in this tree of {size}")


def verify_consistency(
    size_from: int, size_to: int, root_from: bytes, root_to: bytes, hashes: Sequence[bytes]
) -> None:
    """Refuse a tree that does not continue an earlier one (RFC 6962, section 2.1.2).

    Raises ProofError as `verify_inclusion`, and `proof.from_zero`: whatever a proof from nothing
    holds, it proves nothing, so whoever has no earlier checkpoint has to say so.
    """
    if size_from == 0:
        raise ProofError("proof.from_zero", "nothing can be proved from the empty tree")
    if not 0 < size_from <= size_to <= SIZE_MAX:
        raise ProofError("proof.range", f"no tree of {size_to} continues one of {size_from}")
    first, beyond = 0, size_to
    is_left: list[bool] = []
    while beyond != size_from:
        middle = first + split(beyond - first)
        is_left.append(size_from > middle)
        first, beyond = (middle, beyond) if size_from > middle else (first, middle)
    # The part of the old tree that ends at its edge: the whole old tree, or the first hash.
    is_whole = first == 0
    _require_hashes(hashes, len(is_left) + (0 if is_whole else 1))
    old = new = root_from if is_whole else hashes[0]
    for stands_left, hash_ in zip(reversed(is_left), hashes[0 if is_whole else 1 :], strict=True):
        if stands_left:
            old, new = node_of(hash_, old), node_of(hash_, new)
        else:
            new = node_of(new, hash_)
    if (old, new) != (root_from, root_to):
        raise ProofError("proof.mismatch", f"this tree does not continue the one of {size_from}")


def split(size: int) -> int:
    """Answer where a tree of more than one leaf divides: the largest power of two below it."""
    return 1 << (size - 1).bit_length() - 1


def _require_hashes(hashes: Sequence[bytes], number: int) -> None:
    if len(hashes) != number or any(len(hash_) != HASH_BYTES for hash_ in hashes):
        raise ProofError("proof.malformed", f"the proof must have {number} hashes")


# Notes (C2SP signed-note)


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """What a signature is judged by: the signer's name and its Ed25519 public key."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """What stands before a signature by this key, 4 bytes."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_base64(_ED25519 + self.public)}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read `name+id+key`; raises ProofError `key.malformed`."""
        name, _, rest = text.partition("+")
        id_, _, encoded = rest.partition("+")
        data = _decoded(encoded)
        if data is None or data[:1] != _ED25519 or len(data) != 1 + HASH_BYTES:
            raise ProofError("key.malformed", "this is no Ed25519 verifier key")
        key = cls(name, data[1:])
        if not _NAME.match(name) or id_ != key.id.hex():
            raise ProofError("key.malformed", "the verifier key does not fit its name or id")
        return key


def signature_line(key: VerifierKey, signature: bytes) -> str:
    """Answer the line of a note that carries a signature of its text by this key."""
    return f"{_SIGNED}{key.name} {_base64(key.id + signature)}\n"


def open_note(note: str, keys: Iterable[VerifierKey]) -> tuple[str, tuple[VerifierKey, ...]]:
    """Answer the text of a note and the known keys that have signed it.

    Signatures by unknown keys are passed over. Raises ProofError `note.malformed`, `note.forged`
    for a wrong signature by a known key, and `note.unknown` when no known key has signed.
    """
    text, lines = _divided(note)
    known = {(key.name, key.id): key for key in keys}
    signed: dict[VerifierKey, None] = {}
    for line in lines:
        name, key_id, signature = _signature(line)
        key = known.get((name, key_id))
        if key is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            raise ProofError("note.forged", f"the signature by {name} is wrong") from None
        signed[key] = None
    if not signed:
        raise ProofError("note.unknown", "no known key has signed this")
    return text, tuple(signed)


def _divided(note: str) -> tuple[str, list[str]]:
    """Answer the text with its last newline, and the lines of the signatures."""
    text, blank, signatures = note.rpartition("\n\n")
    lines = signatures.split("\n")
    if (
        len(note) > NOTE_CHARACTERS_MAX
        or _CONTROL.search(note)
        or not blank
        or lines.pop() != ""
        or not 0 < len(lines) <= SIGNATURES_MAX
    ):
        raise ProofError("note.malformed", "this is no signed note")
    return text + "\n", lines


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, _, encoded = line.removeprefix(_SIGNED).partition(" ")
    data = _decoded(encoded)
    if not line.startswith(_SIGNED) or not _NAME.match(name) or not data or len(data) <= 4:  # noqa: PLR2004 - the id of a key
        raise ProofError("note.malformed", "a line of the signatures is none")
    return name, data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:]


# Checkpoints (C2SP tlog-checkpoint)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The log of an origin had this many events, and this root."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{_base64(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the text of a note; raises ProofError `checkpoint.malformed`."""
        found = _CHECKPOINT.match(text)
        root = _decoded(found["root"]) if found else None
        if found is None or root is None or int(found["size"]) > SIZE_MAX:
            raise ProofError("checkpoint.malformed", "this is no checkpoint of a log")
        return cls(found["origin"], int(found["size"]), root)


def open_checkpoint(note: str, keys: Iterable[VerifierKey]) -> Checkpoint:
    """Answer a checkpoint that a key of its own origin has signed; raises as `open_note`."""
    text, signers = open_note(note, keys)
    checkpoint = Checkpoint.parse(text)
    if all(key.name != checkpoint.origin for key in signers):
        raise ProofError("note.unknown", f"no known key of {checkpoint.origin} has signed this")
    return checkpoint


def unsigned_checkpoint(note: str) -> Checkpoint:
    """Answer what a checkpoint says, whoever has signed it; raises ProofError."""
    return Checkpoint.parse(_divided(note)[0])


# Proof files (C2SP tlog-proof)


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """One event's proof as it is kept in a file: its index, its path, and the checkpoint."""

    index: int
    hashes: tuple[bytes, ...]
    note: str

    @property
    def text(self) -> str:
        """The file."""
        lines = ["c2sp.org/tlog-proof@v1", f"index {self.index}", *map(_base64, self.hashes)]
        return "\n".join(lines) + f"\n\n{self.note}"

    @classmethod
    def parse(cls, text: str) -> InclusionProof:
        """Read a file; raises ProofError `proof.malformed`."""
        found = _PROOF.match(text) if len(text) <= NOTE_CHARACTERS_MAX else None
        hashes = [_decoded(line) for line in found["hashes"].split()] if found else [None]
        if found is None or None in hashes:
            raise ProofError("proof.malformed", "this is no proof of an event")
        path = tuple(hash_ for hash_ in hashes if hash_ is not None)
        return cls(int(found["index"]), path, text[found.end() :])


def verify_event(proof: str, entry: bytes, keys: Iterable[VerifierKey]) -> Checkpoint:
    """Refuse an event that a proof file does not prove; answer the checkpoint that it is in."""
    shown = InclusionProof.parse(proof)
    checkpoint = open_checkpoint(shown.note, keys)
    verify_inclusion(shown.index, checkpoint.size, leaf_of(entry), shown.hashes, checkpoint.root)
    return checkpoint


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(text: str) -> bytes | None:
    """Answer the bytes, None where this is not the one way to write them."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if _base64(data) == text else None
