"""Which hashes prove that an event is in the log, or that the log continues an earlier one?

The tree of the log is a function of the log alone, so its nodes are disposable: the views keep
them, with the views' own position, and make them again with the views. An event has one row: its
leaf, and the roots of the subtrees that it completes, so 64 bytes an event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Table, select

from projections.verifier import HASH_BYTES, ProofError, Tree, entry_of, leaf_of, root_of, split
from projections.views import METADATA, versioned

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from domain.events import Record
    from projections.batch import Batch

TABLE: Final = Table(
    versioned("tree"),
    METADATA,
    Column(
        "position",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("hashes", LargeBinary, nullable=False),
)

# Leaves `first` to before `beyond`, which are one subtree of the tree, complete or at its edge.
Span = tuple[int, int]


class BehindError(Exception):
    """The tree that is asked for is not stored, now or yet."""


class TreeProof(Struct, frozen=True):
    """The hashes of a proof, and the roots or leaf that it joins."""

    hashes: tuple[bytes, ...]
    begin: bytes
    root: bytes


def leaf(record: Record) -> bytes:
    """Answer the leaf of a record."""
    return leaf_of(entry_of(record.topic, record.state))


# Following the log


class TreeWriter:
    """Adds the rows of new events, batch by batch; what a batch adds counts when it is kept."""

    def __init__(self) -> None:
        self._tree = Tree()

    def add(
        self, connection: Connection, batch: Batch, stored: int, records: Iterable[Record]
    ) -> Tree:
        """Gather the rows of the records after the stored position; answer the tree with them."""
        tree = self._tree.copy() if self._tree.size == stored else tree_at(connection, stored)
        for record in records:
            if record.position > stored:
                hashes = tree.push(leaf(record))
                batch.insert(TABLE, {"position": record.position, "hashes": hashes})
        return tree

    def keep(self, tree: Tree) -> None:
        """Go on from this tree, whose rows are stored."""
        self._tree = tree


def tree_at(connection: Connection, size: int) -> Tree:
    """Answer the tree of the first events; raises BehindError where it is not stored."""
    spans = [*_complete((0, size))]
    hash_of = _reader(connection, [spans])
    return Tree(size, map(hash_of, spans))


def leaves(connection: Connection, after: int, limit: int) -> list[tuple[int, bytes]]:
    """Answer the positions and leaves that follow a position, as they were stored."""
    query = select(TABLE).where(TABLE.c.position > after).order_by(TABLE.c.position).limit(limit)
    return [(row.position, row.hashes[:HASH_BYTES]) for row in connection.execute(query)]


# Proofs (RFC 6962, sections 2.1.1 and 2.1.2)


def root(connection: Connection, size: int) -> bytes:
    """Answer the root of the tree of the first events; raises BehindError as well."""
    return tree_at(connection, size).root()


def inclusion(connection: Connection, index: int, size: int) -> TreeProof:
    """Answer the proof that a leaf is in the tree of this size; `begin` is the leaf.

    Raises ProofError `proof.range`, and BehindError.
    """
    if not 0 <= index < size:
        raise ProofError("proof.range", f"there is no index {index} in a tree of {size}")
    return _proof(connection, _siblings(index, size), (index, index + 1), size)


def consistency(connection: Connection, size_from: int, size_to: int) -> TreeProof:
    """Answer the proof that a tree continues an earlier one; `begin` is the earlier root.

    Raises ProofError `proof.from_zero` and `proof.range`, and BehindError.
    """
    if size_from == 0:
        raise ProofError("proof.from_zero", "nothing can be proved from the empty tree")
    if not 0 < size_from <= size_to:
        raise ProofError("proof.range", f"no tree of {size_to} continues one of {size_from}")
    return _proof(connection, _differences(size_from, size_to), (0, size_from), size_to)


def _proof(connection: Connection, path: list[Span], begin: Span, size: int) -> TreeProof:
    parts = [[*_complete(span)] for span in (*path, begin, (0, size))]
    hash_of = _reader(connection, parts)
    *hashes, first, whole = (root_of([*map(hash_of, spans)]) for spans in parts)
    return TreeProof(tuple(hashes), first, whole)


def _siblings(index: int, size: int) -> list[Span]:
    """Answer the subtrees beside the way from a leaf up to the root."""
    first, beyond = 0, size
    found: list[Span] = []
    while beyond - first > 1:
        middle = first + split(beyond - first)
        if index >= middle:
            found.append((first, middle))
            first = middle
        else:
            found.append((middle, beyond))
            beyond = middle
    return found[::-1]


def _differences(size_from: int, size_to: int) -> list[Span]:
    """Answer the subtrees of which the two trees are made, without the whole old tree itself."""
    first, beyond = 0, size_to
    found: list[Span] = []
    while beyond != size_from:
        middle = first + split(beyond - first)
        if size_from > middle:
            found.append((first, middle))
            first = middle
        else:
            found.append((middle, beyond))
            beyond = middle
    if first:
        found.append((first, beyond))
    return found[::-1]


def _complete(span: Span) -> Iterator[Span]:
    """Yield the complete subtrees that a subtree is made of, the larger ones first."""
    first, beyond = span
    while first < beyond:
        size = 1 << (beyond - first).bit_length() - 1
        yield first, first + size
        first += size


def _reader(connection: Connection, parts: Sequence[Iterable[Span]]) -> Callable[[Span], bytes]:
    """Read the rows of all these complete subtrees at once; answer how to find their roots."""
    wanted = {span[1] for spans in parts for span in spans}
    query = select(TABLE).where(TABLE.c.position.in_(wanted))
    rows: dict[int, Any] = {row.position: row.hashes for row in connection.execute(query)}
    if len(rows) != len(wanted):
        raise BehindError

    def hash_of(span: Span) -> bytes:
        # The event at the end of a subtree completes it, and the smaller ones that end there.
        first, beyond = span
        begin = HASH_BYTES * ((beyond - first).bit_length() - 1)
        found: bytes = rows[beyond][begin : begin + HASH_BYTES]
        return found

    return hash_of
