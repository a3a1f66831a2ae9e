"""Is the stored log whole, in order, foldable, and still the one that was signed?

It reads beside a running server and changes nothing. Checkpoints are read before the log: what is
signed meanwhile can only be longer.
"""

from __future__ import annotations

import gc
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from msgspec import Struct
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DatabaseError

from domain.events import UnknownTopicError, UnreadableEventError, decode
from domain.state import Draft, State, apply
from ops.checkpoints import Checkpoints
from ops.store_errors import StoreBrokenError
from ops.stores import VAULT_FILE, VIEWS_FILE, open_reader, postgres_engine, read_all
from projections import transparency, views
from projections.verifier import Checkpoint, ProofError, Tree, VerifierKey, open_checkpoint
from projections.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from api.evidence import Signed
    from domain.events import LogReader, Record
    from ops.settings import Settings

PAGE: Final = 1_000


class Places(Struct, frozen=True):
    """The log, what was signed of it, and the views with their hashes; None where there is none."""

    log: LogReader
    checkpoints: Checkpoints | None
    tree: Engine | None


class Findings(Struct, frozen=True):
    """What was found right: the fold, how many signed checkpoints, and which were given up.

    `given_up` are those of former origins, from before the log was restored to less.
    """

    state: State
    compared: int
    given_up: tuple[Signed, ...]


@contextmanager
def open_places(settings: Settings) -> Iterator[Places]:
    """Open everything for reading, beside a running server. Raises StoreError."""
    with ExitStack() as stack:
        log = stack.enter_context(open_reader(settings))
        if settings.database_url is None:
            kept = _file(settings, VAULT_FILE)
            tree = _file(settings, VIEWS_FILE)
        else:
            kept = postgres_engine(settings.database_url)
            tree = views.open_postgresql(kept)
        for engine in (kept, tree):
            if engine is not None:
                stack.callback(engine.dispose)
        yield Places(log, None if kept is None else Checkpoints(kept), tree)


def _file(settings: Settings, name: str) -> Engine | None:
    path = settings.data_dir / name
    if not path.exists():
        return None
    # Not `ro`: what a crash left behind has to be rolled back before it can be read.
    return create_engine(f"sqlite:///file:{quote(str(path))}?mode=rw&uri=true")


def check(
    places: Places,
    since: Iterable[Checkpoint],
    on_progress: Callable[[int], None],
) -> Findings:
    """Read the whole log and hold it against every checkpoint, `since` among them.

    `on_progress` is told how many events more have been read. Raises ProofError with the first
    position that is wrong, UnknownTopicError and UnreadableEventError.
    """
    signed, given_up = _signed(places.checkpoints)
    witness = Witness(chain(signed, since))
    kept = _kept_leaves(places.tree)
    draft = Draft(State())
    with _collection_off():
        while page := places.log.read(draft.position, PAGE):
            for record in page:
                witness.tell(record.position, record.topic, record.state, next(kept, None))
                _fold(draft, record, witness)
            on_progress(len(page))
    witness.close()
    state = draft.finish()
    if state.log_id != places.log.log_id:
        raise ProofError("log.foreign", "position 1 opens another log")
    return Findings(state, witness.compared, given_up)


def _fold(draft: Draft, record: Record, witness: Witness) -> None:
    """Apply the next record; one that was changed may do anything to the fold but pass unseen."""
    try:
        fact = decode(record)
        is_later = fact.envelope.at >= draft.at
        apply(draft, fact)
    except (UnknownTopicError, UnreadableEventError) as fault:
        raise ProofError("log.unreadable", str(fault)) from fault
    except Exception as fault:
        position = witness.suspect or record.position
        raise ProofError("log.unfoldable", f"position {position} cannot be folded") from fault
    if not is_later:
        position = witness.suspect or record.position
        raise ProofError("log.time", f"position {position} is where time runs backwards")


def equal_through(log: LogReader, checkpoints: Checkpoints) -> int:
    """Answer the size of the last checkpoint of the present origin that the log still continues."""
    present = checkpoints.origins()[-1].name
    signed = {one.size: one.root for one in _every(checkpoints) if one.origin == present}
    tree = Tree()
    held = 0
    for record in read_all(log):
        tree.push(transparency.leaf(record))
        if tree.size in signed:
            if signed[tree.size] != tree.root():
                break
            held = tree.size
    return held


def _every(checkpoints: Checkpoints) -> Iterator[Signed]:
    number = 0
    while page := checkpoints.following(number, PAGE):
        yield from page
        number = page[-1].number


def known_keys(checkpoints: Checkpoints | None) -> tuple[VerifierKey, ...]:
    """Answer the keys that the installation lists."""
    return () if checkpoints is None else tuple(key.verifier for key in checkpoints.signing_keys())


def _signed(checkpoints: Checkpoints | None) -> tuple[list[Checkpoint], tuple[Signed, ...]]:
    """Answer the checkpoints that must hold, their signatures judged, and those given up."""
    if checkpoints is None:
        return [], ()
    try:
        return _held(checkpoints)
    except DatabaseError as fault:
        raise StoreBrokenError("the place of what was signed cannot be read") from fault


def _held(checkpoints: Checkpoints) -> tuple[list[Checkpoint], tuple[Signed, ...]]:
    keys = known_keys(checkpoints)
    ends = _ends(checkpoints)
    hold: list[Checkpoint] = []
    given_up: list[Signed] = []
    for signed in _every(checkpoints):
        checkpoint = _judged(signed, keys)
        end = ends.get(signed.origin)
        if end is not None and signed.size > end:
            given_up.append(signed)
        else:
            hold.append(checkpoint)
    return hold, tuple(given_up)


def _judged(signed: Signed, keys: tuple[VerifierKey, ...]) -> Checkpoint:
    try:
        checkpoint = open_checkpoint(signed.note, keys)
    except ProofError as refusal:
        detail = f"checkpoint {signed.number}, of size {signed.size}: {refusal.detail}"
        raise ProofError(refusal.code, detail) from refusal
    if (checkpoint.origin, checkpoint.size, checkpoint.root) != (
        signed.origin,
        signed.size,
        signed.root,
    ):
        raise ProofError(
            "checkpoint.changed", f"checkpoint {signed.number} is not what its note says"
        )
    return checkpoint


def _ends(checkpoints: Checkpoints) -> dict[str, int]:
    """Answer up to where each former origin's tree is the present one's."""
    ends: dict[str, int] = {}
    origins = checkpoints.origins()
    for place, origin in enumerate(origins[:-1]):
        ends[origin.name] = min(later.continues_from for later in origins[place + 1 :])
    return ends


def _kept_leaves(tree: Engine | None) -> Iterator[bytes]:
    """Yield the leaves that the views keep, from the first event on, as far as they go."""
    position = 0
    while page := _leaves(tree, position):
        if [here for here, _ in page] != [*range(position + 1, position + 1 + len(page))]:
            # They are being made anew: there is nothing to compare with.
            return
        yield from (leaf for _, leaf in page)
        position += len(page)


def _leaves(tree: Engine | None, after: int) -> list[tuple[int, bytes]]:
    if tree is None:
        return []
    try:
        with tree.connect() as connection:
            return transparency.leaves(connection, after, PAGE)
    except DatabaseError:
        # Views of another release, or damaged ones: they are no evidence, and are made again.
        return []


@contextmanager
def _collection_off() -> Iterator[None]:
    """Keep the collector from walking through a state that only grows."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
