"""Are the stored nodes those of the log, and are the proofs made from them right?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, func, select

from domain.events import Record
from projections import transparency, views
from projections.batch import Batch
from projections.runner import ViewRunner
from projections.transparency import BehindError, TreeWriter
from projections.verifier import (
    ProofError,
    Tree,
    entry_of,
    verify_consistency,
    verify_inclusion,
)
from tests import naive_tree
from tests.histories import LOG_ID, Histories
from tests.projections.view_rows import clear, log_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection, Engine


def records(count: int, mark: str = "") -> list[Record]:
    """Return records that only their bytes tell apart."""
    return [
        Record(position, "test.happened.v1", f"{mark}{position}".encode())
        for position in range(1, count + 1)
    ]


def entries(of: Sequence[Record]) -> list[bytes]:
    """Return what stands in the tree for records."""
    return [entry_of(record.topic, record.state) for record in of]


def store(connection: Connection, of: Sequence[Record]) -> None:
    """Store the rows of these records, in place of whatever is there."""
    views.begin(connection, LOG_ID)
    batch = Batch()
    TreeWriter().add(connection, batch, 0, of)
    batch.write(connection)


def test_every_proof_from_the_stored_nodes_is_that_of_the_second_implementation(
    engine: Engine,
) -> None:
    """Transparency-log 6: every pair of sizes to 64, and they hold before the verifier."""
    of = entries(records(64))
    with engine.begin() as connection:
        store(connection, records(64))
        for size in range(1, 65, 1 if connection.dialect.name == "sqlite" else 7):
            root = naive_tree.root(of[:size])
            for index in range(size):
                path = transparency.inclusion(connection, index, size)
                assert [*path.hashes] == naive_tree.path(index, of[:size])
                verify_inclusion(index, size, path.begin, path.hashes, root)
                proof = transparency.consistency(connection, index + 1, size)
                assert [*proof.hashes] == naive_tree.proof(index + 1, of[:size])
                verify_consistency(index + 1, size, proof.begin, root, proof.hashes)
                assert path.root == proof.root == root


def test_roots_of_random_sizes_are_those_of_the_second_implementation(engine: Engine) -> None:
    """Transparency-log 6: the root of any earlier tree is found from the stored nodes."""
    of = entries(records(3_000))
    with engine.begin() as connection:
        store(connection, records(3_000))
        for size in (0, 1, 255, 256, 257, 1_023, 2_047, 2_999, 3_000):
            assert transparency.root(connection, size) == naive_tree.root(of[:size])


def test_views_that_follow_the_log_keep_its_tree(engine: Engine) -> None:
    """Transparency-log 1: batch by batch, after a restart, and by whoever has the lock."""
    histories = Histories(21)
    log = log_of(histories.records)
    clear(engine)
    here, there = ViewRunner(log, engine), ViewRunner(log, engine)
    for round_ in range(9):
        (here, there)[round_ % 2].catch_up()
        first = len(histories.records)
        histories.run(9)
        if len(histories.records) > first:
            log.append(first + 1, histories.records[first:])
    here.catch_up()
    position = ViewRunner(log, engine).catch_up()

    of = entries(histories.records)
    with engine.connect() as connection:
        assert position == len(of)
        assert transparency.root(connection, position) == naive_tree.root(of)
        assert connection.execute(
            select(func.count()).select_from(transparency.TABLE)
        ).scalar() == (position)
        leaves = transparency.leaves(connection, 3, 2)
    assert leaves == [(4, naive_tree.root(of[3:4])), (5, naive_tree.root(of[4:5]))]


def test_a_tree_of_another_log_is_made_anew_with_the_views(engine: Engine) -> None:
    """Event-log 7: what was restored to less than was known has another tree."""
    histories = Histories(22)
    histories.run(40)
    clear(engine)
    ViewRunner(log_of(histories.records), engine).catch_up()
    fork = Histories(23)
    fork.run(40)

    position = ViewRunner(log_of(fork.records), engine).catch_up()

    with engine.connect() as connection:
        assert transparency.root(connection, position) == naive_tree.root(entries(fork.records))


def test_a_batch_that_is_rolled_back_leaves_the_tree_as_it_was(engine: Engine) -> None:
    """Rows and position are one transaction, and what is remembered follows the rows."""
    writer = TreeWriter()
    with engine.begin() as connection:
        views.begin(connection, LOG_ID)
        batch = Batch()
        writer.keep(writer.add(connection, batch, 0, records(5)))
        batch.write(connection)
    with engine.begin() as connection:
        writer.add(connection, Batch(), 5, records(9, "lost "))
        batch = Batch()
        tree = writer.add(connection, batch, 5, records(9))
        batch.write(connection)
        assert transparency.root(connection, 9) == tree.root()
    assert tree.root() == naive_tree.root(entries(records(9)))


def test_what_is_not_stored_yet_is_no_proof(engine: Engine) -> None:
    """While the views are made anew nobody is shown half a tree."""
    with engine.begin() as connection:
        store(connection, records(7))
        connection.execute(delete(transparency.TABLE).where(transparency.TABLE.c.position == 4))
        with pytest.raises(BehindError):
            transparency.inclusion(connection, 6, 7)
        with pytest.raises(BehindError):
            transparency.root(connection, 8)


@pytest.mark.parametrize(
    ("ask", "first", "size", "code"),
    [
        (transparency.inclusion, 7, 7, "proof.range"),
        (transparency.inclusion, -1, 7, "proof.range"),
        (transparency.consistency, 0, 7, "proof.from_zero"),
        (transparency.consistency, 8, 7, "proof.range"),
        (transparency.consistency, -1, 7, "proof.range"),
    ],
)
def test_a_proof_that_does_not_exist_is_refused(
    ask: Callable[[Connection, int, int], object],
    first: int,
    size: int,
    code: str,
    sqlite_engine: Engine,
) -> None:
    """Transparency-log 3: from nothing, of an index beyond the tree, from more to less."""
    with sqlite_engine.connect() as connection, pytest.raises(ProofError) as refusal:
        ask(connection, first, size)
    assert refusal.value.code == code


def test_a_million_leaves_fit_the_figure_of_the_stored_size() -> None:
    """Transparency-log 1: 64 bytes an event, whatever the size."""
    tree = Tree()

    stored = sum(len(tree.push(bytes(32))) for _ in range(4_096))

    assert stored == 32 * (2 * 4_096 - 1)
