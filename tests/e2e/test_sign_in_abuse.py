"""Does guessing, flooding or probing the sign-in lead anywhere? (security 3.3 to 3.5)."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.campaigns import access
from tests.campaigns.access import EVALUATION, World, question
from tests.campaigns.client import Answer, Client, basic, bearer
from tests.campaigns.report import say
from tests.e2e.node import OWNER_EMAIL, OWNER_PASSWORD, Node

API = "/api/v1"
WRONG = "not the password at all"
KNOWN = "eve@example.com"
# More than the 34 that are hashed or wait.
FLOOD = 60
# Fewer than lock a network.
GUESSES_MAX = 90
CHECKS = 20
FORGETFUL = "tests.campaigns.mutants.forgetful"

# The same account, however it is typed (security 3.4).
SPELLINGS = (
    KNOWN,
    "EVE@EXAMPLE.COM",
    "Eve@Example.com",
    " eve@example.com",
    "eve@example.com ",
    "\uff45ve@example.com",
    "EVE@example.com",
    "eve@EXAMPLE.com",
    "eVe@example.com",
    "evE@example.com",
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A server that the tests share; failures count for an hour, so each has its own networks."""
    node = Node(tmp_path_factory.mktemp("sign-in") / "data")
    node.init()
    node.start()
    yield node
    node.stop()


@pytest.fixture(scope="module")
def world(served: Node) -> World:
    """An owner's token, and a program that asks."""
    return access.build(served.url)


def user(url: str, token: str, email: str, **changes: Any) -> str:  # noqa: ANN401 - any JSON value
    """Make a user with the usual password; its id."""
    person = {"email": email, "password": OWNER_PASSWORD, "tenants": ["main"], **changes}
    with Client(url, bearer(token)) as owner:
        return str(owner.made("POST", f"{API}/users", person)["id"])


def sign_in(
    url: str, email: str, password: str, *, source: str = "127.0.0.1", forwarded: str = ""
) -> Answer:
    """Ask by Basic from an address."""
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    with Client(url, basic(email, password), source=source) as client:
        return client.ask("GET", f"{API}/me", headers=headers)


def by_form(url: str, email: str, password: str, source: str = "127.0.0.1") -> Answer:
    """Sign in by the route for it."""
    with Client(url, source=source) as client:
        return client.ask("POST", f"{API}/login", {"username": email, "password": password})


def told(answer: Answer) -> tuple[int, tuple[str, ...], bytes]:
    """Status, names of headers in their order, and the body without the request's own id."""
    body = re.sub(rb'"requestId":"[^"]*"', b"", answer.text)
    return answer.status, tuple(answer.headers), body


def lock(url: str, email: str, source: str) -> None:
    """Fail until the account is locked."""
    for _ in range(10):
        sign_in(url, email, WRONG, source=source)


def test_nobody_can_tell_which_accounts_there_are(served: Node, world: World) -> None:
    """Security 3.3, 3.8: known, unknown, locked, disabled, without password, a program: alike."""
    user(served.url, world.owner_token, "known@example.com")
    user(served.url, world.owner_token, "locked@example.com")
    disabled = user(served.url, world.owner_token, "disabled@example.com")
    with Client(served.url, bearer(world.owner_token)) as owner:
        owner.made("POST", f"{API}/users", {"email": "open@example.com", "tenants": ["main"]})
        owner.made("POST", f"{API}/users/{disabled}/disable")
    lock(served.url, "locked@example.com", "127.0.9.1")
    names = (
        "known@example.com",
        "nobody@example.com",
        "locked@example.com",
        "disabled@example.com",
        "open@example.com",
        "ci-bot",
        world.bot,
        "",
        "no e-mail",
    )

    answers = [
        told(ask(served.url, name, password, source="127.0.8.1"))
        for ask in (sign_in, by_form)
        for name in names
        for password in (WRONG, OWNER_PASSWORD)
        # The known one's own password is no guess.
        if (name, password) != ("known@example.com", OWNER_PASSWORD)
    ]

    by_basic, by_login = answers[: len(answers) // 2], answers[len(answers) // 2 :]
    say("security 3.3", Counter(status for status, _, _ in answers), n=len(answers))
    assert len(set(by_basic)) == 1
    assert len(set(by_login)) == 1
    assert by_basic[0][0] == by_login[0][0] == 401
    assert b'"auth.invalid"' in by_basic[0][2]
    assert "set-cookie" not in by_login[0][1]


def test_a_guessed_account_is_locked_however_it_is_spelled(served: Node, world: World) -> None:
    """Security 3.4: ten failures lock it, over forwarded addresses, spellings, and a restart."""
    id_ = user(served.url, world.owner_token, KNOWN)
    with Client(served.url, bearer(world.owner_token)) as owner:
        tokens = f"{API}/users/{id_}/api-tokens"
        token = owner.made("POST", tokens, {"name": "own"})["fullToken"]
    session = by_form(served.url, KNOWN, OWNER_PASSWORD, "127.0.7.1")
    cookie = session.headers["set-cookie"].partition("JWT=")[2].partition(";")[0]
    assert sign_in(served.url, KNOWN, OWNER_PASSWORD).ok

    for number, spelling in enumerate(SPELLINGS):
        failed = sign_in(
            served.url,
            spelling,
            WRONG,
            source=f"127.0.{number}.1",
            forwarded=f"10.{number}.0.1, 192.0.2.{number}",
        )
        assert failed.status == 401

    assert sign_in(served.url, KNOWN, OWNER_PASSWORD, source="127.0.99.1").status == 401
    assert by_form(served.url, KNOWN, OWNER_PASSWORD, "127.0.98.1").status == 401
    served.kill()
    served.start()
    assert sign_in(served.url, "EVE@example.com", OWNER_PASSWORD, source="127.0.97.1").status == 401
    with Client(served.url, bearer(token)) as eve:
        assert eve.ask("GET", f"{API}/me").ok, "a lock cut a live token"
    with Client(served.url) as browser:
        assert browser.ask("GET", f"{API}/me", headers={"Cookie": f"JWT={cookie}"}).ok
    assert sign_in(served.url, OWNER_EMAIL, OWNER_PASSWORD, source="127.0.96.1").ok


def test_a_network_that_fails_too_often_is_judged_no_more(served: Node, world: World) -> None:
    """Security 3.4: of many names from one network at most 100 an hour are judged."""
    user(served.url, world.owner_token, "ned@example.com")

    def guess(number: int) -> int:
        """Try until it is judged: a flood of another test may still be busy."""
        for _ in range(100):
            status = sign_in(
                served.url,
                f"guess-{number}@example.com",
                WRONG,
                source=f"127.0.50.{number % 200 + 1}",
                forwarded=f"198.51.100.{number}",
            ).status
            if status != 503:
                return status
            time.sleep(0.1)
        return 503

    with ThreadPoolExecutor(2) as pool:
        statuses = list(pool.map(guess, range(100)))
    # One by one: two that are under way together count for one another, so neither is judged.
    statuses += [guess(number) for number in range(100, 105)]

    assert [401] * 105 == statuses
    assert (
        sign_in(served.url, "ned@example.com", OWNER_PASSWORD, source="127.0.50.250").status == 401
    )
    assert sign_in(served.url, "ned@example.com", OWNER_PASSWORD, source="127.0.51.1").ok


def test_a_build_that_counts_in_its_memory_is_noticed(tmp_path: Path) -> None:
    """Control of security 3.4: counters in the process are forgotten by a restart."""
    broken = Node(tmp_path / "data", program=FORGETFUL)
    broken.init()
    broken.start()
    lock(broken.url, OWNER_EMAIL, "127.0.1.1")
    locked = sign_in(broken.url, OWNER_EMAIL, OWNER_PASSWORD, source="127.0.2.1").status

    broken.kill()
    broken.start()

    assert locked == 401
    assert sign_in(broken.url, OWNER_EMAIL, OWNER_PASSWORD, source="127.0.2.1").ok
    broken.stop()


def check(url: str, world: World, seconds: list[float]) -> int:
    """Ask one check, note how long it took, and answer its status."""
    with Client(url, bearer(world.bot_token)) as bot:
        began = time.monotonic()
        status = bot.ask("POST", EVALUATION, question(world.bot)).status
        seconds.append(time.monotonic() - began)
    return status


def test_a_flood_of_sign_ins_is_turned_away_while_checks_go_on(served: Node, world: World) -> None:
    """Security 3.1, 6.5: two are hashed at a time, 32 wait, the others hear 503 at once."""
    idle: list[float] = []
    busy: list[float] = []
    for _ in range(CHECKS):
        check(served.url, world, idle)
    answers: list[Answer] = []
    is_over = Event()

    def guess(number: int) -> None:
        """Guess again and again, from a network of one's own, another account each time."""
        for again in count():
            email = f"guess-{number}-{again}@example.com"
            answers.append(sign_in(served.url, email, WRONG, source=f"127.1.{number}.1"))
            if is_over.is_set() or again == GUESSES_MAX:
                return

    with ThreadPoolExecutor(FLOOD) as pool:
        guesses = [pool.submit(guess, number) for number in range(FLOOD)]
        try:
            # Where one is turned away, as many as fit are waiting: the flood is at its height.
            while not any(answer.status == 503 for answer in list(answers)):
                assert not all(one.done() for one in guesses), "nobody was turned away"
                time.sleep(0.01)
            checks = [check(served.url, world, busy) for _ in range(CHECKS)]
        finally:
            is_over.set()
    for one in guesses:
        one.result()

    statuses = Counter(f"{answer.status} {answer.code}" for answer in answers)
    slowest = f"checks {max(idle) * 1000:.0f} ms idle, {max(busy) * 1000:.0f} ms in the flood"
    say("security 6.5", f"{dict(statuses)}, {slowest}", n=len(answers), checks=len(checks))
    assert set(statuses) == {"401 auth.invalid", "503 sign_in.busy"}
    assert all("retry-after" in one.headers for one in answers if one.status == 503)
    assert set(checks) == {200}
    assert sign_in(served.url, OWNER_EMAIL, OWNER_PASSWORD, source="127.0.95.1").ok
