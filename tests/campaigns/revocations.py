"""How long after it was acknowledged does a revocation hold everywhere? (reliability B4)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Final

from msgspec import Struct, field

from tests.campaigns.access import ACCOUNTS, EVALUATION, World, question
from tests.campaigns.client import Answer, Client, basic, bearer
from tests.e2e.node import OWNER_EMAIL, OWNER_PASSWORD

SHORT: Final = 150
# A sign-in costs a password hash.
SHORT_SESSIONS: Final = 10
LONG: Final = 10_000
LIMIT_SECONDS: Final = 1.0
PROBE_SECONDS: Final = 0.002
BINDINGS: Final = "/api/v1/main/bindings"


class Verdict(Struct):
    """Seconds from an acknowledgement to the first denial of the slowest other node.

    `later_allows` are answers of the node itself that came after its acknowledgement.
    """

    changes: int = 0
    later_allows: int = 0
    seconds: list[float] = field(default_factory=list)

    @property
    def worst(self) -> float:
        """The slowest of all."""
        return max(self.seconds)

    def __str__(self) -> str:
        """The latencies that are reported."""
        found = sorted(self.seconds)
        middle, late = found[len(found) // 2], found[len(found) * 99 // 100]
        return (
            f"n={self.changes} p50={middle * 1000:.0f} ms p99={late * 1000:.0f} ms"
            f" at most {self.worst * 1000:.0f} ms, {self.later_allows} later allows"
        )


class Right(Struct, frozen=True):
    """One right that has just been given: what takes it away, and whether a node still knows it."""

    take: Callable[[Client], Answer]
    holds: Callable[[Client, int], bool]


Give = Callable[[Client, World, int], Right]


def _asked(world: World) -> Callable[[Client, int], bool]:
    def holds(client: Client, at_least: int) -> bool:
        answer = client.ask("POST", EVALUATION, question(world.bot, at_least=at_least))
        return bool(answer.ok and answer.body["decision"])

    return holds


def _made(client: Client, method: str, path: str, body: Any = None) -> Answer:  # noqa: ANN401 - any JSON value
    answer = client.ask(method, path, body)
    assert answer.ok, answer.text
    return answer


def _binding(owner: Client, world: World, number: int) -> Right:
    del number
    owner.ask("DELETE", f"{BINDINGS}/{world.binding}")
    body = {"type": "USER", "externalId": world.bot, "roleId": world.role}
    path = f"{BINDINGS}/{_made(owner, 'POST', BINDINGS, body).body['id']}"
    return Right(lambda client: client.ask("DELETE", path), _asked(world))


def _membership(owner: Client, world: World, number: int) -> Right:
    path = f"/api/v1/main/groups/{world.group}/members/{world.bot}"
    if number:
        _made(owner, "PUT", path, {})
    return Right(lambda client: client.ask("DELETE", path), _asked(world))


def _role(owner: Client, world: World, number: int) -> Right:
    del number
    path = f"/api/v1/main/roles/{world.role}"
    name = _made(owner, "GET", path).body["name"]
    _made(owner, "PUT", path, {"name": name, "permissions": {"FLOW": ["UPDATE"]}})
    less = {"name": name, "permissions": {"FLOW": ["VIEW"]}}
    return Right(lambda client: client.ask("PUT", path, less), _asked(world))


def _account(owner: Client, world: World, number: int) -> Right:
    path = f"{ACCOUNTS}/{world.bot}"
    if number:
        _made(owner, "POST", f"{path}/enable")
    return Right(lambda client: client.ask("POST", f"{path}/disable"), _asked(world))


def _token(owner: Client, world: World, number: int) -> Right:
    tokens = f"{ACCOUNTS}/{world.bot}/api-tokens"
    issued = _made(owner, "POST", tokens, {"name": f"short-lived-{number}"}).body
    headers = {"Authorization": bearer(issued["fullToken"])}

    def holds(client: Client, at_least: int) -> bool:
        if at_least:
            client.ask("GET", f"/api/v1/me?at_least={at_least}")
        return client.ask("POST", EVALUATION, question(world.bot), headers).ok

    return Right(lambda client: client.ask("DELETE", f"{tokens}/{issued['id']}"), holds)


def _session(owner: Client, world: World, number: int) -> Right:
    del world, number
    person = {"Authorization": basic(OWNER_EMAIL, OWNER_PASSWORD)}
    me = owner.ask("GET", "/api/v1/me", headers=person).body["id"]
    signed = owner.ask(
        "POST", "/api/v1/login", {"username": OWNER_EMAIL, "password": OWNER_PASSWORD}
    )
    assert signed.ok, signed.text
    cookies = [line.partition(";")[0] for line in signed.headers["set-cookie"].split("\n")]
    headers = {"Cookie": "; ".join(cookies), "Authorization": ""}

    def holds(client: Client, at_least: int) -> bool:
        del at_least
        return client.ask("GET", "/api/v1/me", headers=headers).ok

    path = f"/api/v1/users/{me}/refresh-token"
    return Right(lambda client: client.ask("DELETE", path), holds)


KINDS: Final[dict[str, Give]] = {
    "binding": _binding,
    "membership": _membership,
    "role": _role,
    "account": _account,
    "token": _token,
    "session": _session,
}


def run(urls: Sequence[str], world: World, kind: str, *, changes: int) -> Verdict:
    """Take a right away at the first node, `changes` times, and probe until no node knows it.

    Stops at the first that lasts longer than the limit.
    """
    verdict = Verdict()
    with ExitStack() as stack:
        token = bearer(world.owner_token)
        owner, *others = [stack.enter_context(Client(url, token)) for url in urls]
        for number in range(changes):
            right = KINDS[kind](owner, world, number)
            position = owner.ask("GET", "/api/v1/me").position
            for other in others:
                assert right.holds(other, position), f"{kind} {number} was never known"
            taken = right.take(owner)
            assert taken.ok, taken.text
            began = time.monotonic()
            verdict.later_allows += right.holds(owner, 0)
            for other in others:
                while right.holds(other, 0) and time.monotonic() - began <= LIMIT_SECONDS:
                    time.sleep(PROBE_SECONDS)
            verdict.changes += 1
            verdict.seconds.append(time.monotonic() - began)
            if verdict.worst > LIMIT_SECONDS:
                break
    return verdict
