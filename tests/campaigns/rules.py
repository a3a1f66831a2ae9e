"""Is every rule decided at the head of the log, whoever else is writing? (reliability A5).

Two commands of which the one takes away what the other needs are given at the same moment. Both
may succeed only in the one order in which each was right.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from msgspec import Struct, field

from tests.campaigns.access import ACCOUNTS
from tests.campaigns.client import Answer, Client, bearer
from tests.campaigns.crowd import Crowd, Request, crowd

SHORT: Final = 60
LONG: Final = 1_000
GROUPS: Final = "/api/v1/main/groups"
ROLES: Final = "/api/v1/main/roles"
BINDINGS: Final = "/api/v1/main/bindings"


class Verdict(Struct):
    """How `rounds` races ended; `unfair` counts those that no order of the two explains."""

    rounds: int = 0
    unfair: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)


class Arena:
    """An owner and two who race, at different nodes where there are several."""

    def __init__(
        self,
        urls: Sequence[str],
        token: str,
        clients: Crowd,
        stack: ExitStack,
        pause_seconds: float,
    ) -> None:
        self.owner = stack.enter_context(Client(urls[0], bearer(token)))
        self._others = [stack.enter_context(Client(url, bearer(token))) for url in urls[1:]]
        self._clients = clients
        self._pause_seconds = pause_seconds
        body = {"name": "operator of races", "permissions": {"FLOW": ["VIEW"]}}
        self.role = self.make(ROLES, body)
        self.account = self.make(ACCOUNTS, {"name": "bound-in-races"})

    def make(self, path: str, body: Mapping[str, object]) -> str:
        """Make something, after the pause; its id."""
        time.sleep(self._pause_seconds)
        return str(self.owner.made("POST", path, body)["id"])

    def settle(self) -> None:
        """Let every node know all that the first has acknowledged."""
        position = self.owner.ask("GET", "/api/v1/me").position
        for other in self._others:
            assert other.ask("GET", f"/api/v1/me?at_least={position}").ok

    def race(self, one: Request, other: Request) -> tuple[Answer, Answer]:
        """Let both happen at the same moment."""
        self.settle()
        time.sleep(self._pause_seconds)
        first, second = self._clients.at_once([one, other])
        return first, second


def binding(account: str, role: str) -> dict[str, object]:
    """The body that binds an account everywhere."""
    return {"type": "USER", "externalId": account, "roleId": role}


def grant_while_revoked(arena: Arena, number: int) -> tuple[bool, str]:
    """Whoever loses the right to give roles gives none afterwards."""
    body = {"name": f"granter {number}", "permissions": {"BINDING": ["CREATE"], "FLOW": ["VIEW"]}}
    rights = arena.make(ROLES, body)
    granter = arena.make(ACCOUNTS, {"name": f"granter-{number}"})
    held = arena.make(BINDINGS, binding(granter, rights))
    issued = arena.owner.made("POST", f"{ACCOUNTS}/{granter}/api-tokens", {"name": "grant"})
    headers = {"Authorization": bearer(issued["fullToken"])}
    given = {**binding(arena.account, arena.role), "namespaceId": f"race{number}"}
    granted, revoked = arena.race(
        lambda client: client.ask("POST", BINDINGS, given, headers),
        lambda client: client.ask("DELETE", f"{BINDINGS}/{held}"),
    )
    assert revoked.ok, revoked.text
    outcome = f"{granted.status} {granted.code}".strip()
    return granted.ok and granted.position > revoked.position, outcome


def bind_while_deleted(arena: Arena, number: int) -> tuple[bool, str]:
    """A deleted role is bound to nobody."""
    body = {"name": f"short-lived {number}", "permissions": {"FLOW": ["VIEW"]}}
    role = arena.make(ROLES, body)
    given = binding(arena.account, role)
    bound, deleted = arena.race(
        lambda client: client.ask("POST", BINDINGS, given),
        lambda client: client.ask("DELETE", f"{ROLES}/{role}"),
    )
    assert deleted.ok, deleted.text
    outcome = f"{bound.status} {bound.code}".strip()
    if not bound.ok:
        return False, outcome
    last = max(bound.position, deleted.position)
    left = arena.owner.ask("GET", f"{BINDINGS}/{bound.body['id']}?at_least={last}")
    return bound.position > deleted.position or left.status != 404, outcome


def name_twice(arena: Arena, number: int) -> tuple[bool, str]:
    """A name is given once, whatever its case."""
    one, other = arena.race(
        lambda client: client.ask("POST", GROUPS, {"name": f"Contested {number}"}),
        lambda client: client.ask("POST", GROUPS, {"name": f"CONTESTED {number}"}),
    )
    assert one.ok or other.ok, (one.text, other.text)
    lost = one if other.ok else other
    return one.ok and other.ok, f"{lost.status} {lost.code}".strip()


RACES: Final[dict[str, Callable[[Arena, int], tuple[bool, str]]]] = {
    "grant while revoked": grant_while_revoked,
    "bind while deleted": bind_while_deleted,
    "name twice": name_twice,
}


def run(
    urls: Sequence[str], token: str, name: str, *, rounds: int, pause_seconds: float = 0.0
) -> Verdict:
    """Race `rounds` times; stops at the first that ended as none may."""
    verdict = Verdict()
    with ExitStack() as stack:
        clients = stack.enter_context(crowd([urls[0], urls[-1]], [bearer(token)] * 2))
        arena = Arena(urls, token, clients, stack, pause_seconds)
        for number in range(rounds):
            both, outcome = RACES[name](arena, number)
            verdict.rounds += 1
            # An error of ours is what comes of an event that cannot follow the ones before it.
            verdict.unfair += both or outcome.startswith("5")
            verdict.outcomes[outcome] += 1
            if verdict.unfair:
                break
    return verdict
