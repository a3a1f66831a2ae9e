"""Does anyone who names a position ever see less? (reliability B3, the new enemy)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Final

from msgspec import Struct

from tests.campaigns.access import ACCOUNTS, EVALUATION, question
from tests.campaigns.client import Answer, Client, bearer

SHORT: Final = 2_000
LONG: Final = 100_000
THREADS: Final = 4
BINDINGS: Final = "/api/v1/main/bindings"


class Verdict(Struct):
    """What `pairs` of a write and a read elsewhere showed; `unreached` were answered 503."""

    pairs: int = 0
    stale: int = 0
    unreached: int = 0


class Subject(Struct, frozen=True):
    """An account that is given a role, and has it taken away again."""

    account: str
    role: str


def make(owner: Client, label: str) -> Subject:
    """Make an account, and a role for it."""
    body: dict[str, Any] = {"name": f"reader-{label}"}
    account = owner.made("POST", ACCOUNTS, body)["id"]
    body = {"name": f"reader {label}", "permissions": {"FLOW": ["UPDATE"]}}
    return Subject(account, owner.made("POST", "/api/v1/main/roles", body)["id"])


def bind(client: Client, subject: Subject) -> Answer:
    """Give the role."""
    body = {"type": "USER", "externalId": subject.account, "roleId": subject.role}
    return client.ask("POST", BINDINGS, body)


def run(
    writers: Sequence[str], readers: Sequence[str], token: str, *, pairs: int, seed: int
) -> Verdict:
    """Give and take on one node, and ask another, which must have reached it.

    Half are checks, half reads of the binding. Where writers and readers are the same nodes, it
    is never the one that has written. Stops soon after the first stale answer.
    """
    verdict = Verdict()
    with Client(writers[0], bearer(token)) as owner:
        subjects = [make(owner, f"{seed}-{number}") for number in range(THREADS)]
        position = owner.ask("GET", "/api/v1/me").position
    for url in {*writers, *readers}:
        with Client(url, bearer(token)) as client:
            client.ask("GET", f"/api/v1/me?at_least={position}")

    def work(number: int) -> Verdict:
        chance = random.Random(seed + number)  # noqa: S311 - nothing is to be secret, all repeatable
        return _work(writers, readers, token, subjects[number], pairs // THREADS, chance)

    with ThreadPoolExecutor(THREADS) as pool:
        for found in pool.map(work, range(THREADS)):
            verdict.pairs += found.pairs
            verdict.stale += found.stale
            verdict.unreached += found.unreached
    return verdict


def _work(
    writers: Sequence[str],
    readers: Sequence[str],
    token: str,
    subject: Subject,
    pairs: int,
    chance: random.Random,
) -> Verdict:
    verdict = Verdict()
    binding = ""
    with ExitStack() as stack:
        clients = {
            url: stack.enter_context(Client(url, bearer(token))) for url in {*writers, *readers}
        }
        while verdict.pairs < pairs and not verdict.stale:
            writer = chance.choice(writers)
            reader = chance.choice([url for url in readers if url != writer])
            if binding:
                # Taken away by whichever node: it need not have seen that it was given.
                written = clients[writer].ask("DELETE", f"{BINDINGS}/{binding}")
            else:
                written = bind(clients[writer], subject)
            if written.code == "log.contention":
                # Told to come back later, so nothing of it is stored.
                continue
            assert written.ok, written.text
            path = f"{BINDINGS}/{binding or written.body['id']}"
            verdict.pairs += 1
            _look(clients[reader], subject, path, written.position, not binding, chance, verdict)
            binding = "" if binding else written.body["id"]
    return verdict


def _look(
    client: Client,
    subject: Subject,
    path: str,
    position: int,
    given: bool,  # noqa: FBT001 - what is to be seen
    chance: random.Random,
    verdict: Verdict,
) -> None:
    if chance.random() < 1 / 2:
        answer = client.ask("POST", EVALUATION, question(subject.account, at_least=position))
        seen = answer.ok and answer.body["decision"]
    else:
        answer = client.ask("GET", f"{path}?at_least={position}")
        seen = answer.ok
    if answer.status == 503:
        verdict.unreached += 1
    elif seen is not given:
        verdict.stale += 1
