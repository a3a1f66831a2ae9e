"""Who is signed in, and which accounts and networks have failed too often to try again?

Two tables that all processes share, so that neither a restart nor another process makes a session
longer or a count shorter (security 3.4 and 3.6). Nothing in them opens anything: of a session only
SHA-256 of its cookie is kept, of an account only the keyed index of its e-mail.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    LargeBinary,
    MetaData,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateSchema

from api.request_errors import UnavailableError
from api.service import Session
from domain.ids import UserId
from domain.sealed import Secret
from domain.token_text import base62
from ops.postgres import ROLE

if TYPE_CHECKING:
    from ops.inputs import Inputs

SCHEMA: Final = "muniment"

IDLE: Final = timedelta(minutes=30)
AGE_MAX: Final = timedelta(hours=12)
# Use is written down at most this often, so a session may idle out so much early, never late.
USE_STEP: Final = timedelta(minutes=1)

LOCK_FAILURES: Final = 10
LOCK_WINDOW: Final = timedelta(minutes=5)
LOCK: Final = timedelta(minutes=30)
COUNTED: Final = timedelta(hours=1)
ACCOUNT_FAILURES_MAX: Final = 20
NETWORK_FAILURES_MAX: Final = 100
WAITING_MAX: Final = 32
RETRY_AFTER_SECONDS: Final = 1.0

_COOKIE_BYTES: Final = 32
_COOKIE_LENGTH: Final = 43
_IPV4_PREFIX: Final = 24
_IPV6_PREFIX: Final = 56
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

T = TypeVar("T")

_METADATA: Final = MetaData()
# Instants are microseconds since 1970.
_SESSIONS: Final = Table(
    "sessions",
    _METADATA,
    Column("digest", LargeBinary, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("begun", BigInteger, nullable=False),
    Column("used", BigInteger, nullable=False, index=True),
)
_FAILURES: Final = Table(
    "sign_in_failures",
    _METADATA,
    Column("id", Text, primary_key=True),
    Column("account", LargeBinary, nullable=False, index=True),
    Column("network", Text, nullable=False, index=True),
    Column("at", BigInteger, nullable=False, index=True),
)


def create(engine: Engine) -> None:
    """Make the tables that are missing; on PostgreSQL it is the owner's to do.

    There the log's schema, and with it the runtime role, is made before; the role may then use
    the tables.
    """
    translated = _translated(engine)
    with translated.begin() as connection:
        if _is_postgresql(engine):
            connection.execute(CreateSchema(SCHEMA, if_not_exists=True))
        _METADATA.create_all(connection)
        if _is_postgresql(engine):
            for table in _METADATA.sorted_tables:
                connection.execute(
                    text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {SCHEMA}.{table.name} TO {ROLE}")
                )


class StoredSessions:
    """The sessions of all processes; used from one event loop, `close` it at the end."""

    def __init__(self, engine: Engine, inputs: Inputs) -> None:
        self._inputs = inputs
        self._store = _Store(engine, "sessions")

    async def begin(self, user: UserId, position: int) -> tuple[Secret, Session]:
        """Open a session with a new id: its cookie's text, 256 random bits, and the session.

        What has ended by itself is swept out. Raises UnavailableError.
        """
        cookie = base62(int.from_bytes(self._inputs.random_bytes(_COOKIE_BYTES)), _COOKIE_LENGTH)
        now = self._inputs.now()
        row = {
            "digest": _digest(cookie),
            "user_id": user,
            "position": position,
            "begun": _number(now),
            "used": _number(now),
        }

        def write(connection: Connection) -> None:
            connection.execute(
                delete(_SESSIONS).where(
                    (_SESSIONS.c.used <= _number(now - IDLE))
                    | (_SESSIONS.c.begun <= _number(now - AGE_MAX))
                )
            )
            connection.execute(insert(_SESSIONS).values(row))

        await self._store.run(write)
        return Secret(cookie), _session(cookie, user, position)

    async def find(self, cookie: Secret) -> Session | None:
        """The session of a cookie, None when there is none that lives; finding it is use.

        It ends when it idled for 30 minutes, and after 12 hours. Raises UnavailableError.
        """
        text_ = cookie.reveal()
        digest = _digest(text_)
        now = self._inputs.now()

        found = await self._store.run(
            lambda connection: connection.execute(
                select(_SESSIONS).where(
                    _SESSIONS.c.digest == digest,
                    _SESSIONS.c.used > _number(now - IDLE),
                    _SESSIONS.c.begun > _number(now - AGE_MAX),
                )
            ).one_or_none()
        )
        if found is None:
            return None
        if found.used <= _number(now - USE_STEP):
            # Apart from the question: a transaction that reads before it writes may be refused.
            await self._store.run(
                lambda connection: connection.execute(
                    update(_SESSIONS)
                    .where(_SESSIONS.c.digest == digest, _SESSIONS.c.used < _number(now))
                    .values(used=_number(now))
                )
            )
        return _session(text_, UserId(found.user_id), found.position)

    async def end(self, cookie: Secret) -> None:
        """End the session of a cookie, if there is one. Raises UnavailableError."""
        digest = _digest(cookie.reveal())
        await self._store.run(
            lambda connection: connection.execute(
                delete(_SESSIONS).where(_SESSIONS.c.digest == digest)
            )
        )

    def close(self) -> None:
        """End the thread."""
        self._store.close()


class StoredFailures:
    """The failed sign-ins of all processes; used from one event loop, `close` it at the end.

    A failure counts for an hour and is never forgotten before: if a success took it back, whoever
    guesses while the owner signs in every minute could guess for ever.
    """

    def __init__(self, engine: Engine, inputs: Inputs) -> None:
        self._inputs = inputs
        self._store = _Store(engine, "failures")
        self._turns: dict[bytes, _Turn] = {}
        self._judging: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, account: bytes, address: str) -> AsyncIterator[bool]:
        """Wait for the turn to judge a password for this e-mail index; whether it may be at all.

        Tries of one account come one after another, and tries under way count for their network,
        so that many at once are no more than many in a row. At most 32 wait for one account:
        UnavailableError `sign_in.busy`.
        """
        turn = self._turns.setdefault(account, _Turn())
        if turn.taken > WAITING_MAX:
            raise UnavailableError("sign_in.busy", RETRY_AFTER_SECONDS)
        turn.taken += 1
        try:
            async with turn.lock, self._under_way(network_of(address)) as network:
                yield await self._may_try(account, network)
        finally:
            turn.taken -= 1
            if not turn.taken:
                del self._turns[account]

    @asynccontextmanager
    async def _under_way(self, network: str) -> AsyncIterator[str]:
        self._judging[network] += 1
        try:
            yield network
        finally:
            self._judging[network] -= 1
            if not self._judging[network]:
                del self._judging[network]

    async def failed(self, account: bytes, address: str) -> bool:
        """Count a failure, durably, before it is told; whether it locks the account.

        Raises UnavailableError.
        """
        now = self._inputs.now()
        row = {
            "id": self._inputs.id(),
            "account": account,
            "network": network_of(address),
            "at": _number(now),
        }

        def write(connection: Connection) -> bool:
            connection.execute(insert(_FAILURES).values(row))
            connection.execute(delete(_FAILURES).where(_FAILURES.c.at <= _number(now - COUNTED)))
            return _locks(_times(connection, account, now), now)

        return await self._store.run(write)

    async def locked(self) -> frozenset[bytes]:
        """The e-mail indexes of all accounts whose passwords are not judged now."""
        now = self._inputs.now()

        def read(connection: Connection) -> frozenset[bytes]:
            failures: dict[bytes, list[int]] = {}
            rows = connection.execute(
                select(_FAILURES.c.account, _FAILURES.c.at)
                .where(_FAILURES.c.at > _number(now - COUNTED))
                .order_by(_FAILURES.c.at.desc())
            )
            for account, at in rows:
                failures.setdefault(account, []).append(at)
            return frozenset(account for account, times in failures.items() if _locks(times, now))

        return await self._store.run(read)

    def close(self) -> None:
        """End the thread."""
        self._store.close()

    async def _may_try(self, account: bytes, network: str) -> bool:
        now = self._inputs.now()
        under_way = self._judging[network]
        counted = _FAILURES.c.at > _number(now - COUNTED)

        def read(connection: Connection) -> bool:
            if _locks(_times(connection, account, now), now):
                return False
            failures = connection.scalar(
                select(func.count())
                .select_from(_FAILURES)
                .where(_FAILURES.c.network == network, counted)
            )
            return (failures or 0) + under_way <= NETWORK_FAILURES_MAX

        return await self._store.run(read)


class _Turn:
    """The tries of one account in this process: one is judged, `taken` counts the others too."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.taken = 0


class _Store:
    """One thread that speaks to the database, so that the event loop never waits for it."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = _translated(engine)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Answer what the work answers, in one transaction; UnavailableError where it fails."""

        def begun() -> T:
            with self._engine.begin() as connection:
                return work(connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, begun)
        except SQLAlchemyError as error:
            # Without a count nothing is judged, and without a session nobody is signed in.
            raise UnavailableError("store.unreachable", RETRY_AFTER_SECONDS) from error

    def close(self) -> None:
        self._pool.shutdown()


def network_of(address: str) -> str:
    """The network whose failures are counted together: /24, or /56 of IPv6.

    What is no address, as from a Unix socket, is one network.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            return str(ipaddress.IPv6Network((int(found), _IPV6_PREFIX), strict=False))
        found = found.ipv4_mapped
    return str(ipaddress.IPv4Network((int(found), _IPV4_PREFIX), strict=False))


def _times(connection: Connection, account: bytes, now: datetime) -> Sequence[int]:
    """The instants of an account's failures that still count, newest first."""
    counted = _FAILURES.c.at > _number(now - COUNTED)
    found = select(_FAILURES.c.at).where(_FAILURES.c.account == account, counted)
    return connection.scalars(found.order_by(_FAILURES.c.at.desc())).all()


def _locks(times: Sequence[int], now: datetime) -> bool:
    """Whether failures at these instants, newest first and of the last hour, lock an account."""
    if len(times) >= ACCOUNT_FAILURES_MAX:
        return True
    # While an account is locked nothing is judged: its newest failure is the one that locked it.
    return (
        len(times) >= LOCK_FAILURES
        and times[0] - times[LOCK_FAILURES - 1] <= LOCK_WINDOW // _MICROSECOND
        and times[0] > _number(now - LOCK)
    )


def _digest(cookie: str) -> bytes:
    return sha256(cookie.encode()).digest()


def _session(cookie: str, user: UserId, position: int) -> Session:
    # The token follows from the cookie, so there is nothing more to keep; not the other way round.
    csrf = base62(int.from_bytes(sha256(b"csrf " + cookie.encode()).digest()), _COOKIE_LENGTH)
    return Session(user=user, position=position, csrf_token=csrf)


def _number(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND


def _is_postgresql(engine: Engine) -> bool:
    return engine.dialect.name == "postgresql"


def _translated(engine: Engine) -> Engine:
    """The engine, finding the tables in their schema where the database has schemas."""
    if _is_postgresql(engine):
        return engine.execution_options(schema_translate_map={None: SCHEMA})
    return engine
