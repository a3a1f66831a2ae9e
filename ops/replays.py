"""What does a log amount to at a moment, folded anew and apart from all that is served?

The records come from a store, which may be served meanwhile, or from an export of the whole log.
"""

from __future__ import annotations

from datetime import datetime
from itertools import islice, takewhile
from typing import IO, TYPE_CHECKING, Final

from domain.events import decode
from domain.state import Draft, State, apply
from ops.collection import collection_off
from projections import export_lines
from projections.transparency import leaf
from projections.verifier import ProofError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from domain.events import Fact, Record

# A position, an instant of which the last event not after it is meant, or the head.
Moment = int | datetime | None

# A page of SQLite is cheap whatever its size, a round trip to PostgreSQL is not.
PAGE_RECORDS: Final = 5_000
STEP_EVENTS: Final = 1_000


class NoSuchMomentError(Exception):
    """The log does not reach to a moment, or began after it; `code` is stable."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def replay(
    records: Iterable[Record],
    moment: Moment,
    on_progress: Callable[[int], None],
    log_id: str | None = None,
) -> State:
    """Answer the state at a moment, folded from the first event.

    `on_progress` is told every thousand events how many more there were. Raises
    NoSuchMomentError, UnknownTopicError and UnreadableEventError; and ProofError `log.gap` for
    records that do not stand at 1, 2, 3 …, `log.foreign` where they are not those of `log_id`.
    """
    draft = Draft(State())
    with collection_off():
        facts = _facts(records, moment)
        while step := [*islice(facts, STEP_EVENTS)]:
            for position, fact in enumerate(step, draft.position + 1):
                if fact.position != position:
                    raise ProofError("log.gap", f"position {position} is missing")
                apply(draft, fact)
            if log_id not in {None, draft.log_id}:
                raise ProofError("log.foreign", f"this is the log {draft.log_id}, not {log_id}")
            on_progress(len(step))
        state = draft.finish()
    _require_there(state, moment)
    return state


def _facts(records: Iterable[Record], moment: Moment) -> Iterator[Fact]:
    if isinstance(moment, datetime):
        # Instants never run backwards along positions.
        return takewhile(lambda fact: fact.envelope.at <= moment, map(decode, records))
    return map(decode, islice(records, moment))


def _require_there(state: State, moment: Moment) -> None:
    if isinstance(moment, datetime):
        if state.position == 0:
            raise NoSuchMomentError("position.before_first", "that is before the first event")
    elif moment is not None and state.position != moment:
        raise NoSuchMomentError("position.future", f"the log ends at {state.position}")


def exported(file: IO[bytes], on_read: Callable[[int], None]) -> Iterator[Record]:
    """Yield the records of an export; `on_read` is told how many bytes more were read.

    Raises ProofError `export.malformed` and `export.untrue` with the place, and `export.digest`
    for a line whose leaf is not that of its bytes.
    """
    position = 0
    while line := file.readline(export_lines.LINE_BYTES_MAX):
        try:
            record, named = export_lines.read(line)
        except ProofError as refusal:
            raise ProofError(refusal.code, f"{refusal.detail}, after position {position}") from None
        position = record.position
        if named is not None and named != leaf(record):
            raise ProofError("export.digest", f"position {position} is not what its leaf says")
        yield record
        on_read(len(line))
