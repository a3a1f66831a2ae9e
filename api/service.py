"""What do the routes need of the installation behind them?

`ops/wiring.py` gives every part; nothing of `ops` is imported here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, Protocol

from msgspec import Struct

from api import credentials
from api.measures import Measures
from api.request_errors import MalformedError, UnavailableError
from api.trail.tails import Tails
from api.turnstile import Turnstile
from domain import commands
from domain.events import Actor, Event, Fact
from domain.ids import CommandId, TenantId, UserId
from domain.sealed import Erased, KeyId, Sealed, Secret
from domain.state import State
from domain.token_text import TokenKind

if TYPE_CHECKING:
    from api.deliveries import Ledgers
    from api.evidence import Evidence
    from api.journal import Journal
    from api.people import People
    from projections.access_graph import AccessGraph
    from projections.trail import Records
    from projections.views import Views

WAITERS_MAX: Final = 1_000
STRANGERS_MAX: Final = WAITERS_MAX // 2
DRAINING: Final = "draining"


class Inputs(Protocol):
    """The clock and the randomness of the process."""

    def now(self) -> datetime: ...
    def timestamp(self) -> float: ...
    def monotonic(self) -> float: ...
    def id(self) -> str: ...
    def token(self, kind: TokenKind) -> Secret: ...
    def token_prefix(self) -> str: ...


class Vault(Protocol):
    """What seals, opens and keys (transparency-log 5)."""

    def create_key(
        self, subject: str, purpose: Literal["person", "password"] = "person"
    ) -> KeyId: ...
    def destroy_unused(
        self, purpose: Literal["person", "password"], used: Container[KeyId]
    ) -> int: ...
    def destroy(self, *keys: KeyId) -> None: ...
    def erase(self, *subjects: str) -> int: ...
    def seal(
        self, key: KeyId, value: Secret, *, command_id: CommandId, subject: str, field: str
    ) -> Sealed: ...
    def open(self, sealed: Sealed, *, subject: str, field: str) -> str | Erased: ...
    def is_erased(self, key: KeyId) -> bool: ...
    def email_index(self, canonical: str) -> bytes: ...
    def alias_index(self, tenant: TenantId, type_: str, text: str) -> bytes: ...
    def command_id_for(self, caller: str, method: str, path: str, key: str) -> CommandId: ...
    def fingerprint(self, key: str, method: str, path: str, query: str, body: bytes) -> str: ...
    def sink_secret(self, sink: str) -> Secret: ...
    @property
    def cursor_key(self) -> bytes: ...


class Passwords(Protocol):
    """What hashes and verifies, in threads of its own (security 3.1)."""

    async def hash(self, password: Secret) -> Secret: ...
    async def verify(
        self, stored: str | None, password: Secret, *, remember: UserId | None = None
    ) -> bool: ...
    def needs_rehash(self, stored: str) -> bool: ...
    def forget(self, user: UserId) -> None: ...
    def faults(self, password: Secret, own_words: Iterable[str]) -> tuple[str, ...]:
        """Why a new password is refused; empty when it is good (security 3.2)."""
        ...


class Session(Struct, frozen=True, kw_only=True):
    """A signed-in user, since the position at which it signed in."""

    user: UserId
    position: int
    csrf_token: str


class Sessions(Protocol):
    """The sessions that all processes share; secrets are kept as SHA-256 (security 3.6)."""

    async def begin(self, user: UserId, position: int) -> tuple[Secret, Session]:
        """Open a session: its cookie's text, and the session."""
        ...

    async def find(self, cookie: Secret) -> Session | None:
        """The session of a cookie, unless it idled out or is too old; counts as use."""
        ...

    async def end(self, cookie: Secret) -> None:
        """End the session of a cookie, if there is one."""
        ...


class Failures(Protocol):
    """The failed sign-ins that all processes count together (security 3.4)."""

    def turn(self, account: bytes, address: str) -> AbstractAsyncContextManager[bool]:
        """Wait for the turn to judge a password for an e-mail index; whether it may be at all."""
        ...

    async def failed(self, account: bytes, address: str) -> bool:
        """Count a failure, within its turn; whether it locks the account."""
        ...

    async def locked(self) -> frozenset[bytes]:
        """The e-mail indexes of the accounts whose passwords are not judged now."""
        ...


class Outcome(Protocol):
    """What the writer answers."""

    @property
    def position(self) -> int: ...
    @property
    def events(self) -> tuple[Event, ...]: ...
    @property
    def replayed(self) -> bool: ...


class Past(Protocol):
    """Earlier states."""

    def at(self, position: int) -> State:
        """The state right after the event at a position; blocks while it reads."""
        ...

    def position_at(self, instant: datetime) -> int:
        """The last position whose event is not later than the instant; 0 for none."""
        ...


class Health(Struct, frozen=True, kw_only=True):
    """How the process stands: `reason` is empty when it is ready (operations 2).

    With `views_halted` it answers checks as ever, but no list: only its probe says no.
    """

    reason: str
    head_position: int
    staleness_seconds: float
    views_halted: bool = False


class Settings(Struct, frozen=True, kw_only=True):
    """What the routes must know of the configuration; times in seconds.

    `takes_files`: the operator has given a directory for sinks of files.
    """

    public_url: str
    version: str
    at_least_bound_seconds: float = 1.0
    staleness_bound_seconds: float = 5.0
    public_checkpoints: bool = False
    takes_files: bool = False


Submit = Callable[[commands.Command, commands.Context, "asyncio.Future[Outcome]"], None]


class ViewsReached(Protocol):
    """Waiting for the views."""

    async def __call__(self, position: int, timeout_seconds: float, /) -> bool:
        """Whether the views show the position before the time is up."""
        ...


class Parts(Struct, frozen=True, kw_only=True):
    """Everything that the composition root puts together for the routes."""

    graph: AccessGraph
    submit: Submit
    inputs: Inputs
    vault: Vault
    people: People
    passwords: Passwords
    sessions: Sessions
    failures: Failures
    journal: Journal
    past: Past
    records: Records
    views: Views
    views_reached: ViewsReached
    ledgers: Ledgers
    health: Callable[[], Health]
    evidence: Evidence
    metrics: Callable[[], bytes]
    settings: Settings


class Service:
    """The live installation as the routes see it; used from the event loop only."""

    def __init__(self, parts: Parts) -> None:
        self.graph = parts.graph
        self.inputs = parts.inputs
        self.vault = parts.vault
        self.people = parts.people
        self.passwords = parts.passwords
        self.sessions = parts.sessions
        self.failures = parts.failures
        self.journal = parts.journal
        self.past = parts.past
        self.records = parts.records
        self.views = parts.views
        self.exports = Turnstile()
        self.measures = Measures()
        self.metrics = parts.metrics
        self.ledgers = parts.ledgers
        self.health = parts.health
        self.evidence = parts.evidence
        self.settings = parts.settings
        self._submit = parts.submit
        self._views_reached = parts.views_reached
        self._waiters: dict[asyncio.Future[None], int] = {}
        self.tails = Tails()

    @property
    def state(self) -> State:
        """The published state: everything acknowledged by this process is in it."""
        return self.graph.state

    def require_ready(self) -> None:
        """Refuse to answer from facts that may be too old: UnavailableError with the reason.

        A process that drains still answers what reaches it; only its probe says no.
        """
        reason = self.health().reason
        if reason and reason != DRAINING:
            raise UnavailableError(f"not_ready.{reason}", 1)

    async def execute(self, command: commands.Command, context: commands.Context) -> Outcome:
        """Give a command and wait until its events are durable and published."""
        waiting: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._submit(command, context, waiting)
        return await waiting

    def give(self, command: commands.Command, actor: Actor) -> None:
        """Give a command for which nobody waits; a full queue drops it."""
        waiting: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        waiting.add_done_callback(_look_away)
        context = commands.Context(
            at=self.inputs.now(),
            actor=actor,
            command_id=CommandId(self.inputs.id()),
            correlation_id=self.inputs.id(),
        )
        with suppress(UnavailableError):
            self._submit(command, context, waiting)

    def publish(self, state: State, facts: tuple[Fact, ...]) -> None:
        """Go on to a new state; called in the event loop, before the callers are told."""
        before = self.state
        self.graph.publish(state, facts)
        credentials.retire(self, before, facts)
        for waiting, position in self._waiters.items():
            if position <= state.position and not waiting.done():
                waiting.set_result(None)
        self.tails.wake()

    async def reach(self, position: int, *, stranger: bool = False) -> None:
        """Wait until the position is applied, at most the bound: 503 `position.not_reached`.

        A `stranger`, whose credential is not known yet, takes no place that callers may need.
        """
        if position <= self.state.position:
            return
        if len(self._waiters) >= (STRANGERS_MAX if stranger else WAITERS_MAX):
            raise UnavailableError("position.not_reached", 1)
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiting] = position
        try:
            await asyncio.wait_for(waiting, self.settings.at_least_bound_seconds)
        except TimeoutError:
            raise UnavailableError("position.not_reached", 1) from None
        finally:
            del self._waiters[waiting]

    async def reach_views(self, position: int) -> None:
        """Wait until the views show the position: one reads one's own writes unasked."""
        if not await self._views_reached(position, self.settings.staleness_bound_seconds):
            raise UnavailableError("views.behind", 1)

    async def state_at(self, position: int) -> State:
        """The state at a past position, read and folded off the loop."""
        if position == self.state.position:
            return self.state
        return await asyncio.to_thread(self.past.at, position)

    def require_own(self, log: str | None) -> None:
        """Refuse positions that were told by another installation: `position.foreign`."""
        if log is not None and log != self.state.log_id:
            raise MalformedError(
                "position.foreign", f"positions of another log; this one is {self.state.log_id}"
            )

    async def position_of(self, position: int | None, instant: datetime | None) -> int | None:
        """Resolve `position=` or `at=`: None for now.

        MalformedError for both, for a future one, and for a time before the first event.
        """
        if position is not None and instant is not None:
            raise MalformedError("position.ambiguous", "position and at exclude each other")
        if instant is not None:
            if instant > self.inputs.now():
                raise MalformedError("position.future", "at lies in the future")
            # What is stored already and not yet published is not shown yet.
            published = self.state.position
            found = min(published, await asyncio.to_thread(self.past.position_at, instant))
            if not found:
                raise MalformedError("position.before_first", "at lies before the first event")
            return found
        if position is not None and position > self.state.position:
            raise MalformedError("position.future", "this position has not been reached")
        return position


def _look_away(waiting: asyncio.Future[Outcome]) -> None:
    """Take note of the outcome, so that asyncio does not report one that nobody asked for."""
    if not waiting.cancelled():
        waiting.exception()
