"""Does exactly one of many win, where only one may? (reliability A2 and A4)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol

from msgspec import Struct, field

from tests.campaigns.client import Answer, Client, bearer
from tests.campaigns.crowd import Request, crowd

SHORT: Final = 25
LONG: Final = 1_000
CLIENTS: Final = 32
RIVALS: Final = 8
ACCOUNTS: Final = "/api/v1/main/service-accounts"
GROUPS: Final = "/api/v1/main/groups"


class Verdict(Struct):
    """The statuses of `rounds` races, and in how many not exactly one had won."""

    rounds: int = 0
    unfair: int = 0
    statuses: Counter[str] = field(default_factory=Counter)

    def add(self, answers: Sequence[Answer], *, fair: bool) -> None:
        """Count a race."""
        self.rounds += 1
        self.unfair += not fair
        self.statuses.update(f"{answer.status} {answer.code}".strip() for answer in answers)


def same_tag(urls: Sequence[str], token: str, *, rounds: int) -> Verdict:
    """Many replace one object with the same If-Match: one wins, the others are stale (A2)."""
    verdict = Verdict()
    with (
        Client(urls[0], bearer(token)) as owner,
        crowd(urls, [bearer(token)] * CLIENTS) as clients,
    ):
        account = owner.made("POST", ACCOUNTS, {"name": "contested"})["id"]
        for _ in range(rounds):
            tag = owner.ask("GET", f"{ACCOUNTS}/{account}").headers["etag"]

            def replace(client: Client, text: str, tag: str = tag) -> Answer:
                body = {"name": "contested", "description": text}
                return client.ask("PUT", f"{ACCOUNTS}/{account}", body, {"If-Match": tag})

            requests = [_told(replace, f"by {number} at {tag}") for number in range(CLIENTS)]
            answers = clients.at_once(requests)
            verdict.add(answers, fair=sum(answer.ok for answer in answers) == 1)
    return verdict


def same_name(urls: Sequence[str], token: str, *, rounds: int, seed: int) -> Verdict:
    """Many make a group of one name: one wins, the others are told that it is taken (A2)."""
    verdict = Verdict()
    with crowd(urls, [bearer(token)] * RIVALS) as clients:
        for number in range(rounds):

            def create(client: Client, name: str) -> Answer:
                return client.ask("POST", GROUPS, {"name": name})

            # Names compare without case.
            names = [f"Race {seed} {number}", f"RACE {seed} {number}"] * (RIVALS // 2)
            answers = clients.at_once([_told(create, name) for name in names])
            verdict.add(answers, fair=sum(answer.ok for answer in answers) == 1)
    return verdict


def same_key(urls: Sequence[str], token: str, *, rounds: int, seed: int) -> Verdict:
    """Many send one command with one Idempotency-Key: it happens once, all get its answer (A4)."""
    chance = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    verdict = Verdict()
    with crowd(urls, [bearer(token)] * RIVALS) as clients:
        for _ in range(rounds):

            def create(client: Client, key: str) -> Answer:
                body = {"name": "once", "description": key}
                return client.ask("POST", ACCOUNTS, body, {"Idempotency-Key": key})

            key = f"{chance.getrandbits(64):016x}"
            answers = clients.at_once([_told(create, key)] * RIVALS)
            first = [answer for answer in answers if "idempotency-replayed" not in answer.headers]
            same = {(answer.text, answer.headers.get("x-muniment-position")) for answer in answers}
            verdict.add(answers, fair=len(first) == 1 and len(same) == 1)
    return verdict


def _told(send: _Sending, text: str) -> Request:
    return lambda client: send(client, text)


class _Sending(Protocol):
    """A request that is told a text."""

    def __call__(self, client: Client, text: str, /) -> Answer: ...
