"""What does the evidence cost: a hash for each event, a proof of one, a look at all of them?"""

from __future__ import annotations

from contextlib import ExitStack, closing
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ops import checkpoints, log_check
from ops.bench import data, stores
from ops.bench.report import Options, Report, absolute, at_least, at_most
from ops.checkpoints import Checkpoints
from ops.collection import collection_off
from ops.inputs import SystemInputs
from ops.log_check import Places
from ops.sealing import Sealer
from ops.vault import Vault, sqlite_engine
from projections import transparency, views
from projections.batch import Batch
from projections.runner import PAGE_RECORDS
from projections.transparency import TreeWriter
from projections.verifier import (
    Checkpoint,
    InclusionProof,
    ProofError,
    Tree,
    VerifierKey,
    signature_line,
    verify_event,
)

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ops.event_log import SQLiteLog

PROOFS: Final = 200
ORIGIN: Final = "bench.example/log"
KEY_BYTES: Final = 32


class _Kept(Struct, frozen=True):
    """The stores of one installation, filled and signed."""

    log: SQLiteLog
    tree: Engine
    vault: Vault
    checkpoints: Checkpoints
    events: int


def run(options: Options) -> Report:
    """Hash, prove and verify 100,000 events a unit of scale, so 1,000,000 at scale 10."""
    events = max(100, round(data.EVENTS_AT_TEN / 10 * options.scale))
    with stores.sqlite_store() as store, ExitStack() as stack:
        inputs = SystemInputs()
        kept = sqlite_engine(store.path.with_name("vault.db"))
        tree = views.open_sqlite(store.path.with_name("views.db"))
        log = stack.enter_context(closing(store.log()))
        stack.callback(kept.dispose)
        stack.callback(tree.dispose)
        vault = Vault.create(kept, inputs.random_bytes(KEY_BYTES), data.LOG_ID, inputs)
        checkpoints.create(kept)
        signed = Checkpoints(kept)
        signed.begin(vault, ORIGIN, inputs)
        with collection_off():
            world = data.make_world(options.scale, options.seed)
            stores.fill(log, data.records(data.history(world, events)))
        place = _Kept(log, tree, vault, signed, events)
        hashed, stored = _follow(place)
        sealed = _seal(place, inputs)
        proofs, wrong = _prove(place, options)
        rates, faults = _verify(place, options)
    return Report(
        figures=[
            absolute("an event hashed into the tree", "µs", hashed, at_most(15)),
            absolute("an event hashed, and its row stored", "µs", stored),
            absolute("a checkpoint signed and kept", "ms", [sealed]),
            absolute(
                f"inclusion proof and checkpoint, {events:,} events",
                "ms",
                proofs,
                at_most(5, scale=10),
            ),
            absolute("verify, tree, roots and fold", "events/s", rates, at_least(50_000, scale=10)),
        ],
        wrong_answers=wrong + faults,
    )


def _follow(place: _Kept) -> tuple[list[float], list[float]]:
    """Hash every event, and store its row, as the views do; µs an event, by the page."""
    hashed: list[float] = []
    stored: list[float] = []
    alone = Tree()
    writer = TreeWriter()
    with place.tree.begin() as connection:
        views.begin(connection, data.LOG_ID)
    while page := place.log.read(alone.size, PAGE_RECORDS):
        begin = perf_counter()
        for record in page:
            alone.push(transparency.leaf(record))
        between = perf_counter()
        with place.tree.begin() as connection:
            batch = Batch()
            tree = writer.add(connection, batch, page[0].position - 1, page)
            batch.write(connection)
        writer.keep(tree)
        hashed.append((between - begin) / len(page) * 1e6)
        stored.append((perf_counter() - between) / len(page) * 1e6)
    return hashed, stored


def _seal(place: _Kept, inputs: SystemInputs) -> float:
    """Sign the whole log; ms, the disk's time included."""
    with closing(place.log.reader()) as reader:
        sealer = Sealer(
            place.checkpoints,
            place.vault,
            place.tree,
            reader,
            inputs,
            reached=lambda: place.events,
        )
        begin = perf_counter()
        sealer.seal()
        return (perf_counter() - begin) * 1e3


def _prove(place: _Kept, options: Options) -> tuple[list[float], int]:
    """Prove random events under a checkpoint signed for each; ms, and how many did not hold."""
    chance = Random(options.seed)  # noqa: S311 - nothing is guarded by it, all repeatable
    private = place.vault.signing_key()
    key = VerifierKey(ORIGIN, private.public_key().public_bytes_raw())
    seconds: list[float] = []
    wrong = 0
    for _ in range(PROOFS):
        index = chance.randrange(place.events)
        begin = perf_counter()
        with place.tree.connect() as connection:
            proved = transparency.inclusion(connection, index, place.events)
        text = Checkpoint(ORIGIN, place.events, proved.root).text
        note = f"{text}\n{signature_line(key, private.sign(text.encode()))}"
        proof = InclusionProof(index, proved.hashes, note).text
        seconds.append((perf_counter() - begin) * 1e3)
        (record,) = place.log.read(index, 1)
        try:
            verify_event(proof, record.topic.encode() + b"\n" + record.state, [key])
        except ProofError:
            wrong += 1
    return seconds, wrong


def _verify(place: _Kept, options: Options) -> tuple[list[float], int]:
    """Verify the whole log as `muniment verify` does; events a second, and how often it failed."""
    rates: list[float] = []
    wrong = 0
    with closing(place.log.reader()) as reader:
        for _ in range(options.rounds):
            begin = perf_counter()
            places = Places(reader, place.checkpoints, place.tree)
            found = log_check.check(places, (), lambda _: None)
            rates.append(place.events / (perf_counter() - begin))
            wrong += (found.state.position, found.compared) != (place.events, 1)
    return rates, wrong
