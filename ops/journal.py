"""How does what happens reach the journal, when nobody may wait for it and nothing may be lost?

The event loop counts decisions that are only counted, and puts all else into a queue that has an
end; one thread writes both, a batch in one transaction. What cannot be queued or written is
counted, told by `tally` and logged, never passed over in silence. Where records are required, an
answer waits for its batch, and there is none where the batch cannot be written.

An entry is durable a second after its act, a count or a last use ten seconds after it, so a
process that is killed loses so much of either, and nothing of what an answer waited for.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from api.journal import Decisions, Tally, agent_of, decision
from api.request_errors import UnavailableError
from ops.sessions import network_of
from ops.settings import JournalMode
from projections import journal
from projections.folding import Folding, What
from projections.journal import Counted, Entry, LastUse, Outcome, Row

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from api.judging import Asker
    from ops.inputs import Inputs

QUEUE_MAX: Final = 32_768
UNWRITTEN_MAX: Final = 65_536
BATCH_ENTRIES: Final = 4_096
PAUSE_SECONDS: Final = 0.05
ENTRIES_SECONDS: Final = 0.9
COUNTS_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 1.0
SETTLE_SECONDS: Final = 5.0
TOLD_SECONDS: Final = 60.0
PRUNE_SECONDS: Final = 60.0
PRUNE_ENTRIES: Final = 1_000
FORGET_AFTER: Final = timedelta(days=1)

# What says that someone was refused; from one source it may come without end.
_FOLDED: Final = frozenset({"refusal", "token_failure", "sign_in_failure", "token_leak"})

# COPY speaks past the library, in the driver's own errors.
_UNWRITABLE: Final = (SQLAlchemyError, psycopg.Error)

T = TypeVar("T")

_log = logging.getLogger("muniment.journal")


class _Use(NamedTuple):
    principal: str
    token: str
    address: str
    agent: str


class _Waiter:
    """Whoever waits until what was queued before it is durable."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.waiting: asyncio.Future[None] = self.loop.create_future()
        self.refused = False


class StoredJournal:
    """The journal of one process; `start` it once, `stop` it once.

    Without a start, whoever calls `flush` is the thread that writes. `exists` tells whether an id
    is still a token's or a principal's.
    """

    def __init__(
        self,
        engine: Engine,
        inputs: Inputs,
        email_index: Callable[[str], bytes],
        *,
        mode: JournalMode = "denials",
        days: int = 90,
        exists: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._engine = engine
        self._inputs = inputs
        self._email_index = email_index
        self._exists = exists
        self._mode: JournalMode = mode
        self._days = timedelta(days=days)
        self._in_full = mode != "denials"
        self.required = mode == "required"
        # Of both.
        self._folding = Folding(journal.minute_of(inputs.now()))
        # The loop's, which alone appends and adds to `_offered`, `_turned_away` and `_folded`.
        self._noticed: set[tuple[str, str]] = set()
        self._queue: deque[list[Row] | _Use | tuple[Entry, bool] | _Waiter] = deque()
        self._offered = 0
        self._turned_away = 0
        self._folded = 0
        self._ringing = False
        # The thread's.
        self._taken = 0
        self._unwritten: list[Row] = []
        self._latest: dict[str, LastUse] = {}
        self._uses: dict[str, LastUse] = {}
        self._turn = 0
        self._looked_at: list[str] = []
        self._gap = False
        self._written = self._counted = self._lost = self._failures = 0
        self._told_lost = 0
        self._told_at = self._entries_at = self._counts_at = inputs.monotonic()
        self._retry_at = self._prune_at = inputs.monotonic()
        self._bell = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self) -> None:
        """Learn when everything was last used, then begin to write. Raises SQLAlchemyError."""
        self._store([], [], {}, follows=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what there is and end the thread; what cannot be written is told as dropped."""
        self._stopping.set()
        self._bell.set()
        if self._thread.is_alive():
            self._thread.join()
        self._retry_at = self._inputs.monotonic()
        self.flush(everything=True)
        self._lost += len(self._unwritten)
        self._unwritten = []
        self._told_at = self._inputs.monotonic() - TOLD_SECONDS
        self._tell()

    def tally(self) -> Tally:
        """Answer how the journal stands."""
        return Tally(
            mode=self._mode,
            queued=self._offered - self._taken,
            unwritten=len(self._unwritten),
            written=self._written,
            counted=self._counted + self._folded,
            dropped=self._turned_away + self._lost,
            write_failures=self._failures,
        )

    # In the loop

    def used(
        self, principal: str, token: str, address: str, headers: Iterable[tuple[bytes, bytes]]
    ) -> None:
        """Note that a credential was right; where the queue is full, the next use tells it.

        What is used again from the same place is noted again only a while later.
        """
        noticed, seen = self._noticed, (token or principal, address)
        if seen in noticed:
            return
        if self._offered - self._taken < QUEUE_MAX:
            noticed.add(seen)
            self._offered += 1
            self._queue.append(_Use(principal, token, address, agent_of(headers)))

    def decided(self, decisions: Decisions) -> None:
        """Note the answers of a request; UnavailableError `journal.full` where it is required."""
        if not self._in_full:
            decisions = self._fold(decisions)
        number = len(decisions.decided)
        if number and self._has_room(number):
            # Made into rows at once: what is kept for a while costs more than what is used up.
            rows = [decision(decisions, one, self._email_index) for one in decisions.decided]
            self._offered += number
            self._queue.append(rows)

    def _fold(self, decisions: Decisions) -> Decisions:
        """Count what is not written in full, and answer the rest; a flood costs no more."""
        asker, moment, answers = decisions
        allowed = [asked[:4] for asked, _, is_allowed in answers if is_allowed]
        if allowed:
            self._count_decided("ALLOWED", asker, allowed)
        if len(allowed) == len(answers):
            return Decisions(asker, moment, ())
        denied = [one for one in answers if not one[-1]]
        in_full = self._folding.admits(asker.token_id or asker.principal, len(denied))
        folded = [asked[:4] for asked, _, _ in denied[in_full:]]
        if folded:
            self._count_decided("DENIED", asker, folded)
        return Decisions(asker, moment, denied[:in_full])

    def _count_decided(self, outcome: Outcome, asker: Asker, acts: Sequence[What]) -> None:
        principal, token = asker.principal, asker.token_id
        self._folded += len(acts)
        self._folding.count(token or principal, ("decision", outcome, principal, token, ""), acts)

    def noted(self, entry: Entry, *, only_counted: bool = False) -> None:
        """Note anything else; raises as `decided`."""
        if self._has_room(1):
            self._offered += 1
            self._queue.append((entry, only_counted))

    def _has_room(self, number: int) -> bool:
        if self._offered - self._taken + number <= QUEUE_MAX:
            return True
        self._turned_away += number
        if self.required:
            raise UnavailableError("journal.full", 1)
        return False

    async def settle(self) -> None:
        """Wait until everything noted so far is durable.

        Raises UnavailableError `journal.unwritable` where it cannot be, or not in time.
        """
        waiter = _Waiter()
        self._queue.append(waiter)
        if not self._ringing:
            # After all that the loop has at hand, so that they share one batch.
            self._ringing = True
            waiter.loop.call_soon(self._ring)
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await waiter.waiting
        except TimeoutError:
            raise UnavailableError("journal.unwritable", 1) from None

    def _ring(self) -> None:
        self._ringing = False
        self._bell.set()

    async def ask(self, query: Callable[..., T], *args: object) -> T:
        """Answer a query of the journal, off the loop; UnavailableError where it fails."""

        def answer() -> T:
            with self._engine.connect() as connection:
                return query(connection, *args)

        try:
            return await asyncio.to_thread(answer)
        except SQLAlchemyError as fault:
            raise UnavailableError("store.unreachable", 1) from fault

    def last_use(self, id_: str) -> LastUse | None:
        """Answer the last use of a token or a principal, as far as it is known here."""
        return self._latest.get(id_) or self._uses.get(id_)

    # In the thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._bell.wait(PAUSE_SECONDS)
            self._bell.clear()
            try:
                self.flush()
            except Exception as fault:  # noqa: BLE001 - the thread must outlive a fault of one entry
                # What it was about is lost, and told; whoever waits for it is refused.
                self._lose()
                _log.critical("the journal failed at an act", exc_info=fault)

    def flush(self, *, everything: bool = False) -> None:
        """Take what is queued, and write what is due; `everything` is due at the end."""
        waiters = self._take()
        now = self._inputs.monotonic()
        counts_due = everything or now - self._counts_at >= COUNTS_SECONDS
        entries_due = bool(self._unwritten) and (
            now - self._entries_at >= ENTRIES_SECONDS or len(self._unwritten) >= BATCH_ENTRIES
        )
        if counts_due:
            self._noticed = set()
        if now < self._retry_at:
            _answer(waiters, unwritable=True)
        elif waiters or counts_due or entries_due:
            _answer(waiters, unwritable=not self._write(with_counts=counts_due))
        if now >= self._prune_at:
            self._prune()
        self._tell()

    def _take(self) -> list[_Waiter]:
        """Turn what is queued into entries, counts and last uses; answer who waits for them."""
        waiters: list[_Waiter] = []
        now = self._inputs.now()
        self._folding.go_on(journal.minute_of(now))
        queue = self._queue
        for _ in range(len(queue)):
            item = queue.popleft()
            if isinstance(item, _Use):
                self._taken += 1
                self._latest[item.principal] = used = LastUse(now, item.address, item.agent)
                if item.token:
                    self._latest[item.token] = used
            elif isinstance(item, list):
                self._taken += len(item)
                self._keep(item)
            elif isinstance(item, _Waiter):
                # It stands right behind what it waits for.
                item.refused, self._gap = self._gap, False
                waiters.append(item)
            else:
                self._taken += 1
                self._take_entry(*item)
        return waiters

    def _take_entry(self, entry: Entry, only_counted: bool) -> None:  # noqa: FBT001 - a pair of the queue, taken apart
        stranger = entry.principal is None
        network = network_of(entry.address or "") if stranger else ""
        source = network if stranger else entry.token or entry.principal or ""
        if not only_counted and (
            entry.kind not in _FOLDED or self._folding.admits(source, stranger=stranger)
        ):
            self._keep([journal.row_of(entry)])
            return
        who = entry.kind, entry.outcome, entry.principal or "", entry.token or "", network
        self._counted += 1
        what = (
            "",
            entry.resource_type or "",
            entry.action or "",
            entry.tenant or "",
            entry.code or "",
        )
        self._folding.count(source, who, [what])

    def _keep(self, rows: list[Row]) -> None:
        # The oldest are kept: how it began tells more than how it went on.
        kept = rows[: UNWRITTEN_MAX - len(self._unwritten)]
        self._unwritten += kept
        if len(kept) < len(rows):
            self._lose(len(rows) - len(kept))

    def _lose(self, number: int = 1) -> None:
        self._lost += number
        self._gap = True

    def _write(self, *, with_counts: bool) -> bool:
        """Write in one transaction; False where it failed, and all is kept for the next time."""
        entries = self._unwritten
        counts = self._folding.due() if with_counts else []
        uses = dict(self._latest) if with_counts else {}
        now = self._inputs.monotonic()
        try:
            if entries or with_counts:
                self._store(entries, counts, uses, follows=with_counts)
        except _UNWRITABLE as fault:
            self._failures += 1
            self._retry_at = now + RETRY_SECONDS
            # Without its own words, which hold what was to be written.
            _log.error("the journal cannot be written", extra={"fault": type(fault).__name__})
            return False
        self._written += len(entries)
        self._unwritten = []
        self._entries_at = now
        if with_counts:
            self._counts_at = now
            self._folding.settled()
            self._latest = {}
        return True

    def _store(
        self,
        entries: list[Row],
        counts: list[tuple[Counted, int]],
        uses: dict[str, LastUse],
        *,
        follows: bool,
    ) -> None:
        """Write a batch; with counts, take over the last uses that others wrote meanwhile, too."""
        own, turn = 0, self._turn
        others: dict[str, LastUse] = {}
        with self._engine.begin() as connection:
            if entries or counts or uses:
                own = journal.write(connection, entries, counts, uses.items())
            if follows:
                turn, others = journal.last_uses(connection, self._turn, own)
        self._turn = turn
        self._uses.update(uses)
        self._uses.update(others)

    def _tell(self) -> None:
        """Log what was dropped, once a minute at most."""
        dropped = self._turned_away + self._lost
        now = self._inputs.monotonic()
        if dropped > self._told_lost and now - self._told_at >= TOLD_SECONDS:
            _log.error("journal entries were dropped", extra={"dropped": dropped - self._told_lost})
            self._told_lost = dropped
            self._told_at = now

    def _prune(self) -> None:
        """Take away a few of what is too old; a full batch is followed by the next at once."""
        now = self._inputs.now()

        self._looked_at = self._looked_at or [*self._uses]
        ids, self._looked_at = self._looked_at[:PRUNE_ENTRIES], self._looked_at[PRUNE_ENTRIES:]
        # A token may be used here that another process has only just issued.
        old = now - FORGET_AFTER
        gone = [id_ for id_ in ids if self._uses[id_].at < old and not self._exists(id_)]
        pruned = 0
        try:
            with self._engine.begin() as connection:
                pruned = journal.prune(connection, now - self._days, PRUNE_ENTRIES)
                journal.forget(connection, gone)
        except _UNWRITABLE as fault:
            _log.warning("the journal cannot be pruned", extra={"fault": type(fault).__name__})
        for id_ in gone:
            del self._uses[id_]
        pause = 0 if pruned == PRUNE_ENTRIES else PRUNE_SECONDS
        self._prune_at = self._inputs.monotonic() + pause


def _answer(waiters: list[_Waiter], *, unwritable: bool) -> None:
    """Tell those who wait: one call into the loop for all of them."""
    if not waiters:
        return

    def tell() -> None:
        for waiter in waiters:
            if waiter.waiting.done():
                continue
            if unwritable or waiter.refused:
                waiter.waiting.set_exception(UnavailableError("journal.unwritable", 1))
            else:
                waiter.waiting.set_result(None)

    waiters[0].loop.call_soon_threadsafe(tell)
