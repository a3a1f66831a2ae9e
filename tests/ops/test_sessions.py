"""Do sessions end and failures count as security 3.4 and 3.6 say, on both databases?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import StaticPool

from api.request_errors import UnavailableError
from api.service import Session
from domain.ids import UserId
from domain.sealed import Secret
from ops import sessions
from ops.sessions import StoredFailures, StoredSessions, network_of
from ops.vault import sqlite_engine
from tests.fixed_inputs import FixedInputs
from tests.postgres import Database, create_database, drop_database

ADA = UserId("ada")
ADA_INDEX = sha256(b"ada").digest()
GRACE_INDEX = sha256(b"grace").digest()
HERE = "192.0.2.1"
ELSEWHERE = "198.51.100.1"


class Process:
    """One process on the shared tables, with the clock that all share."""

    def __init__(self, engine: Engine, inputs: FixedInputs) -> None:
        self.inputs = inputs
        self.sessions = StoredSessions(engine, inputs)
        self.failures = StoredFailures(engine, inputs)

    def may_try(self, account: bytes = ADA_INDEX, address: str = HERE) -> bool:
        """Ask whether a password may be judged, and judge none."""

        async def ask() -> bool:
            async with self.failures.turn(account, address) as may_try:
                return may_try

        return asyncio.run(ask())

    def fail(self, times: int = 1, account: bytes = ADA_INDEX, address: str = HERE) -> None:
        """Count failures."""
        self.fail_at([(account, address)] * times)

    def fail_at(self, tries: list[tuple[bytes, str]]) -> None:
        """Count failures of several accounts and addresses."""

        async def count() -> None:
            for account, address in tries:
                await self.failures.failed(account, address)

        asyncio.run(count())

    def begin(self, user: UserId = ADA, position: int = 7) -> Secret:
        """Open a session; answer its cookie."""
        return asyncio.run(self.sessions.begin(user, position))[0]

    def find(self, cookie: Secret) -> Session | None:
        """Answer the session of a cookie."""
        return asyncio.run(self.sessions.find(cookie))

    def close(self) -> None:
        """End the threads."""
        self.sessions.close()
        self.failures.close()


@pytest.fixture
def database() -> Iterator[Database]:
    """A PostgreSQL database with the log's schema and the runtime role."""
    database = create_database()
    yield database
    drop_database(database)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """The tables as the runtime role finds them, on each database."""
    if request.param == "sqlite":
        engine = sqlite_engine(tmp_path / "sessions.db")
        sessions.create(engine)
    else:
        database: Database = request.getfixturevalue("database")
        owner = _postgresql(database.owner_url)
        sessions.create(owner)
        owner.dispose()
        engine = _postgresql(database.url)
    yield engine
    engine.dispose()


def _postgresql(url: str) -> Engine:
    return create_engine(
        "postgresql+psycopg://", creator=partial(psycopg.connect, url, autocommit=True)
    )


@pytest.fixture
def process(engine: Engine) -> Iterator[Process]:
    """One process on each database."""
    process = Process(engine, FixedInputs())
    yield process
    process.close()


@pytest.fixture
def single() -> Iterator[Process]:
    """One process on SQLite in memory, for what depends neither on the database nor on the disk."""
    engine = _in_memory()
    process = Process(engine, FixedInputs())
    yield process
    process.close()
    engine.dispose()


def _in_memory() -> Engine:
    engine = create_engine(
        "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
    )
    sessions.create(engine)
    return engine


# Sessions


def test_a_session_is_found_by_its_cookie_in_every_process(
    engine: Engine, process: Process
) -> None:
    """Security 3.6: sessions live in the store that processes share, and survive a restart."""
    cookie = process.begin(position=7)

    other = Process(engine, process.inputs)
    found = other.find(cookie)
    other.close()

    assert found is not None
    assert (ADA, 7) == (found.user, found.position)
    assert found == process.find(cookie)


def test_a_cookie_is_256_random_bits_and_only_its_digest_is_stored(
    engine: Engine, process: Process
) -> None:
    """Security 3.6: new id at each sign-in, stored as SHA-256; the store opens no session."""
    first, second = process.begin(), process.begin()

    assert first != second
    assert 43 == len(first.reveal())
    stored = repr(_rows(engine, "sessions"))
    for cookie in (first, second):
        assert repr(sha256(cookie.reveal().encode()).digest()) in stored
        assert cookie.reveal() not in stored


def test_the_csrf_token_follows_from_the_cookie_and_does_not_give_it_away(single: Process) -> None:
    """Kestra-iam 3: every session has a token of its own, the same for as long as it lives."""
    cookie = single.begin()
    session, again = single.find(cookie), single.find(cookie)

    assert session is not None
    assert again is not None
    assert session.csrf_token == again.csrf_token
    assert session.csrf_token != cookie.reveal()
    assert single.find(Secret(session.csrf_token)) is None
    other = single.find(single.begin())
    assert other is not None
    assert other.csrf_token != session.csrf_token


def test_a_session_idles_out_after_half_an_hour_without_use(process: Process) -> None:
    """Security 3.6: idle 30 minutes; use keeps a session alive."""
    used, idle = process.begin(), process.begin()

    for _ in range(3):
        process.inputs.advance(20 * 60)
        assert process.find(used) is not None

    assert process.find(idle) is None
    process.inputs.advance(30 * 60)
    assert process.find(used) is None


def test_a_session_is_not_ended_early_by_more_than_the_step(single: Process) -> None:
    """Security 3.6: use is written down once a minute, so no session idles out sooner than 29."""
    cookie = single.begin()
    single.inputs.advance(59)
    assert single.find(cookie) is not None

    single.inputs.advance(29 * 60)

    assert single.find(cookie) is not None


def test_a_session_ends_after_twelve_hours_however_it_is_used(process: Process) -> None:
    """Security 3.6: absolute 12 hours."""
    cookie = process.begin()
    for _ in range(28):
        process.inputs.advance(25 * 60)
        assert process.find(cookie) is not None

    process.inputs.advance(20 * 60)

    assert process.find(cookie) is None


def test_an_ended_session_is_gone_and_others_stay(process: Process) -> None:
    """Security 3.6: sign-out ends this session."""
    ended, kept = process.begin(), process.begin()

    asyncio.run(process.sessions.end(ended))
    asyncio.run(process.sessions.end(Secret("never begun")))

    assert process.find(ended) is None
    assert process.find(kept) is not None


def test_what_has_ended_by_itself_is_swept_out(engine: Engine, process: Process) -> None:
    """Security 6.2: sessions that idled out do not pile up."""
    for _ in range(5):
        process.begin()
    process.inputs.advance(31 * 60)

    process.begin()

    assert 1 == len(_rows(engine, "sessions"))


# Failures


def test_ten_failures_in_five_minutes_lock_for_half_an_hour(process: Process) -> None:
    """Security 3.4: the tenth failure locks the account, from wherever; others are not touched."""
    process.fail(9)
    assert process.may_try()

    process.fail()

    assert not process.may_try()
    assert not process.may_try(address=ELSEWHERE)
    assert process.may_try(GRACE_INDEX)
    assert frozenset({ADA_INDEX}) == asyncio.run(process.failures.locked())
    process.inputs.advance(30 * 60 - 1)
    assert not process.may_try()
    process.inputs.advance(1)
    assert process.may_try()
    assert frozenset() == asyncio.run(process.failures.locked())


def test_ten_failures_over_more_than_five_minutes_do_not_lock(single: Process) -> None:
    """Security 3.4: the ten count within five minutes."""
    for _ in range(10):
        assert single.may_try()
        single.fail()
        single.inputs.advance(34)

    assert single.may_try()


def test_twenty_failures_in_an_hour_are_the_most_for_an_account(single: Process) -> None:
    """Security 3.4: slow guessing is counted too, and ends with the hour."""
    for _ in range(20):
        assert single.may_try()
        single.fail()
        single.inputs.advance(120)

    assert not single.may_try()
    single.inputs.advance(20 * 60)
    assert single.may_try()


@pytest.mark.parametrize(
    ("addresses", "outside"),
    [
        ([f"192.0.2.{host}" for host in range(100)], "192.0.3.1"),
        ([f"2001:db8:0:{subnet:x}::1" for subnet in range(100)], "2001:db8:0:100::1"),
        ([f"::ffff:192.0.2.{host}" for host in range(100)], "192.0.3.1"),
    ],
)
def test_a_network_has_a_hundred_failures_an_hour(
    single: Process, addresses: list[str], outside: str
) -> None:
    """Security 3.4: /24 and /56 count as one, whatever accounts are tried from them."""
    tries = [(sha256(address.encode()).digest(), address) for address in addresses]
    single.fail_at(tries[:99])
    assert single.may_try(address=addresses[0])

    single.fail_at(tries[99:])

    assert not single.may_try(address=addresses[0])
    assert single.may_try(address=outside)


def test_failures_count_over_processes_and_restarts(engine: Engine, process: Process) -> None:
    """Security 3.4: over all nodes together; a counter in the process's memory would not do."""
    assert not _may_try_after_failures_elsewhere(process, engine)


def test_counters_of_one_process_would_not_hold(process: Process) -> None:
    """Security 3.4, the control: counters in process memory let a rotation over nodes go on."""
    own = _in_memory()

    assert _may_try_after_failures_elsewhere(process, own)

    own.dispose()


def _may_try_after_failures_elsewhere(process: Process, engine: Engine) -> bool:
    for _ in range(10):
        other = Process(engine, process.inputs)
        other.fail()
        other.close()
    return process.may_try()


def test_a_success_does_not_take_failures_back(single: Process) -> None:
    """Security 3.4: else whoever guesses beside a user that signs in all the time never stops."""
    single.fail(9)
    assert single.may_try()
    single.fail()

    assert not single.may_try()


def test_tries_at_the_same_moment_are_judged_one_after_another(single: Process) -> None:
    """Security 3.4: a hundred tries at once are no more than ten in a row."""
    judged, busy = asyncio.run(_guess(single.failures, [(ADA_INDEX, HERE)] * 30))

    assert (10, 0) == (judged, busy)


class Hasty(StoredFailures):
    """Judges at once whatever comes, as a plain look at the count would."""

    @asynccontextmanager
    async def turn(self, account: bytes, address: str) -> AsyncIterator[bool]:
        yield await self._may_try(account, network_of(address))


def test_tries_at_the_same_moment_without_turns_would_all_be_judged(single: Process) -> None:
    """Security 3.4, the control: a look at the count before each try lets them all through."""
    hasty = Hasty(_in_memory(), single.inputs)

    judged, _ = asyncio.run(_guess(hasty, [(ADA_INDEX, HERE)] * 30))

    assert 30 == judged
    hasty.close()


def test_tries_of_many_accounts_at_the_same_moment_count_for_their_network(single: Process) -> None:
    """Security 3.4: tries under way count, or spraying at once would pass the network's limit."""
    single.fail(95, GRACE_INDEX)
    accounts = [(sha256(b"%d" % number).digest(), HERE) for number in range(30)]

    judged, _ = asyncio.run(_guess(single.failures, accounts))

    assert 5 == judged


def test_at_most_32_wait_for_one_account(single: Process) -> None:
    """Security 3.1 and 6.2: what waits is bounded; more are told to come back."""
    judged, busy = asyncio.run(_guess(single.failures, [(ADA_INDEX, HERE)] * 100))

    assert 10 == judged
    assert 100 - 33 == busy


def test_a_turn_is_given_back_when_judging_fails(single: Process) -> None:
    """Security 3.4: an error on the way neither counts as a failure nor blocks the next try."""

    async def fail() -> None:
        async with single.failures.turn(ADA_INDEX, HERE):
            raise UnavailableError("sign_in.busy", 1)

    for _ in range(40):
        with pytest.raises(UnavailableError):
            asyncio.run(fail())

    assert single.may_try()


def test_old_failures_are_swept_out(engine: Engine, process: Process) -> None:
    """Security 6.2: counters do not grow for ever."""
    process.fail(3)
    process.inputs.advance(3_600)

    process.fail()

    assert 1 == len(_rows(engine, "sign_in_failures"))


def test_no_address_is_one_network() -> None:
    """Security 3.4: what has no address does not escape the count."""
    assert network_of("") == network_of("not an address")


@pytest.mark.parametrize("work", ["find", "may_try", "fail"])
def test_a_store_that_fails_is_told_as_unavailable(single: Process, work: str) -> None:
    """Security 2.1: without its counters nothing is judged, and without its row nobody is in."""
    broken = Process(create_engine("sqlite://"), single.inputs)
    asked: dict[str, Callable[[], object]] = {
        "find": lambda: broken.find(Secret("any")),
        "may_try": broken.may_try,
        "fail": broken.fail,
    }

    with pytest.raises(UnavailableError) as refused:
        asked[work]()

    assert refused.value.code == "store.unreachable"
    broken.close()


def test_making_the_tables_again_changes_nothing(tmp_path: Path) -> None:
    """Design 7: migrate may be repeated."""
    engine = sqlite_engine(tmp_path / "sessions.db")
    sessions.create(engine)
    process = Process(engine, FixedInputs())
    cookie = process.begin()

    sessions.create(engine)

    assert process.find(cookie) is not None
    process.close()
    engine.dispose()


async def _guess(failures: StoredFailures, tries: list[tuple[bytes, str]]) -> tuple[int, int]:
    """Try wrong passwords all at once; answer how many were judged and how many told to wait."""
    judged = 0

    async def guess(account: bytes, address: str) -> None:
        nonlocal judged
        async with failures.turn(account, address) as may_try:
            await asyncio.sleep(0)
            if may_try:
                judged += 1
                await failures.failed(account, address)

    guesses: list[Awaitable[None]] = [guess(*one) for one in tries]
    ended = await asyncio.gather(*guesses, return_exceptions=True)
    busy = [error for error in ended if isinstance(error, UnavailableError)]
    assert [error for error in ended if error is not None] == busy
    return judged, len(busy)


def _rows(engine: Engine, table: str) -> list[tuple[object, ...]]:
    schema = "" if engine.dialect.name == "sqlite" else f"{sessions.SCHEMA}."
    with engine.connect() as connection:
        found = connection.execute(text(f"SELECT * FROM {schema}{table}"))  # noqa: S608 - our names
        return [tuple(row) for row in found]
