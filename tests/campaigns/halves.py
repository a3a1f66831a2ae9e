"""Does any check see half of a command that takes and gives? (reliability B9)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from msgspec import Struct, field

from tests.campaigns.access import ACCOUNTS
from tests.campaigns.client import Client, bearer

SHORT: Final = 5_000
LONG: Final = 100_000
ASKERS: Final = 2
EVALUATIONS: Final = "/access/v1/evaluations"
ROLES: Final = "/api/v1/main/roles"
SIDES: Final = ("LEFT", "RIGHT")
ACTIONS: Final = (*SIDES, "COMMON")


class Verdict(Struct):
    """What `checks` showed while `changes` were made: which sides were held, and the common right.

    Whole are `left` and `right`; whoever holds none or both has been seen in between.
    """

    checks: int = 0
    changes: int = 0
    seen: Counter[str] = field(default_factory=Counter)

    @property
    def halves(self) -> int:
        """How many answers are neither the model before nor the model after."""
        return sum(times for what, times in self.seen.items() if what not in {"left", "right"})


class Swing(Struct, frozen=True):
    """An account that is moved between two groups, and a role that is edited to and fro."""

    account: str
    groups: tuple[str, str]
    bound: str
    role: str


def make(owner: Client, label: str) -> Swing:
    """Make two groups with a right of their own and one in common, and two accounts."""
    groups = []
    for side in SIDES:
        group = owner.made("POST", "/api/v1/main/groups", {"name": f"{side} {label}"})["id"]
        permissions = {"FLOW": [side, "COMMON"]}
        role = _role(owner, f"{side} {label}", permissions)
        body = {"type": "GROUP", "externalId": group, "roleId": role}
        owner.made("POST", "/api/v1/main/bindings", body)
        groups.append(group)
    body = {"name": f"moved-{label}", "groups": [{"id": groups[0]}]}
    account = owner.made("POST", ACCOUNTS, body)["id"]
    bound = owner.made("POST", ACCOUNTS, {"name": f"bound-{label}"})["id"]
    role = _role(owner, f"edited {label}", {"FLOW": ["LEFT", "COMMON"]})
    body = {"type": "USER", "externalId": bound, "roleId": role}
    owner.made("POST", "/api/v1/main/bindings", body)
    return Swing(account, (groups[0], groups[1]), bound, role)


def _role(owner: Client, name: str, permissions: dict[str, list[str]]) -> str:
    return str(owner.made("POST", ROLES, {"name": name, "permissions": permissions})["id"])


def run(writer: str, askers: Sequence[str], token: str, *, checks: int, label: str) -> Verdict:
    """Move and edit at one node while others are asked; stops at the first half."""
    verdict = Verdict()
    halved = threading.Event()
    with Client(writer, bearer(token)) as owner:
        swing = make(owner, label)
        position = owner.ask("GET", "/api/v1/me").position
        with ThreadPoolExecutor(ASKERS) as pool:
            found = [
                pool.submit(
                    _ask, askers[number % len(askers)], token, swing, position, checks, halved
                )
                for number in range(ASKERS)
            ]
            while not all(one.done() for one in found):
                _change(owner, swing, label, verdict.changes)
                verdict.changes += 1
            for one in found:
                verdict.seen.update(one.result())
    verdict.checks = verdict.seen.total()
    return verdict


def _change(owner: Client, swing: Swing, label: str, number: int) -> None:
    side = 1 - number // 2 % 2
    if number % 2:
        permissions = {"FLOW": [SIDES[side], "COMMON"]}
        body: dict[str, Any] = {"name": f"edited {label}", "permissions": permissions}
        owner.made("PUT", f"{ROLES}/{swing.role}", body)
    else:
        body = {"name": f"moved-{label}", "groups": [{"id": swing.groups[side]}]}
        owner.made("PUT", f"{ACCOUNTS}/{swing.account}", body)


def _ask(
    url: str, token: str, swing: Swing, position: int, checks: int, halved: threading.Event
) -> Counter[str]:
    seen: Counter[str] = Counter()
    with Client(url, bearer(token)) as client:
        assert client.ask("GET", f"/api/v1/me?at_least={position}").ok
        while not halved.is_set() and seen.total() < checks / ASKERS:
            for account in (swing.account, swing.bound):
                seen[_look(client, account)] += len(ACTIONS)
            if set(seen) - {"left", "right"}:
                halved.set()
    return seen


def _look(client: Client, account: str) -> str:
    """What the account holds, asked in one batch, which is judged at one position."""
    items = [{"action": {"name": action}} for action in ACTIONS]
    answer = client.ask(
        "POST",
        EVALUATIONS,
        {
            "subject": {"type": "service_account", "id": account},
            "resource": {"type": "FLOW", "id": "nightly"},
            "evaluations": items,
        },
    )
    assert answer.ok, answer.text
    left, right, common = (item["decision"] for item in answer.body["evaluations"])
    if left is not right and common:
        return "left" if left else "right"
    return f"left {left}, right {right}, common {common}"
