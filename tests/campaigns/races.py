"""Does exactly one of many win, where only one may? (reliability A2 and A4)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol

from msgspec import Struct, field

from tests.campaigns import access
from tests.campaigns.client import Answer, Client, bearer
from tests.campaigns.crowd import Crowd, Request, crowd

SHORT: Final = 100
LONG: Final = 1_000
PAIRS_SHORT: Final = 500
PAIRS_AMONG_NODES: Final = 200
PAIRS_LONG: Final = 10_000
PAIRS_AT_ONCE: Final = 4
RESTARTED: Final = 20
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
    """Many replace one object with the same If-Match: one wins, the others are stale (A2).

    Stops at the first race that ended otherwise.
    """
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
            if verdict.unfair:
                break
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


class Pair(Struct, frozen=True):
    """One command that is given twice with one key: where, with which body, and what came."""

    key: str
    path: str
    body: dict[str, str]
    answer: Answer | None = None

    def send(self, client: Client, body: dict[str, str] | None = None) -> Answer:
        """Give the command, or another one with the same key."""
        return client.ask("POST", self.path, body or self.body, {"Idempotency-Key": self.key})


class Callers(Struct, frozen=True):
    """Two programs with equal rights, and an account whose tokens are issued."""

    token: str
    other_token: str
    account: str


def callers(url: str, token: str) -> Callers:
    """Make the other program, and the account whose tokens are issued."""
    with Client(url, bearer(token)) as client:
        account = str(client.made("POST", ACCOUNTS, {"name": "issued-to"})["id"])
    return Callers(token, access.owner_token(url), account)


def same_key(
    urls: Sequence[str], callers: Callers, *, rounds: int, seed: int
) -> tuple[Verdict, list[Pair]]:
    """Give `rounds` commands twice with one Idempotency-Key each, on one node and the next (A4).

    Half of the pairs at the same moment. Both get one answer, the repeat without its secret;
    another body is refused, and another caller's equal key is unrelated. Answers also the last
    pairs, to be repeated after a restart. Stops at the first that ended otherwise.
    """
    chance = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    verdict = Verdict()
    last: list[Pair] = []
    others = [*urls[1:], urls[0]]
    with (
        crowd(_alternating(urls), [bearer(callers.token)] * (2 * PAIRS_AT_ONCE)) as clients,
        Client(others[0], bearer(callers.token)) as again,
        Client(others[0], bearer(callers.other_token)) as stranger,
    ):
        for number in range(0, rounds, PAIRS_AT_ONCE):
            pairs = [_pair(chance, callers) for _ in range(min(PAIRS_AT_ONCE, rounds - number))]
            together = number % (2 * PAIRS_AT_ONCE) == 0
            last = [*last, *_give_twice(clients, pairs, verdict, together=together)][-RESTARTED:]
            _give_otherwise(last[-1], again, stranger, verdict)
            if verdict.unfair:
                break
    return verdict, last


def same_key_again(url: str, token: str, pairs: Sequence[Pair]) -> Verdict:
    """Give commands once more, after a restart: the same answers, and nothing happens (A4)."""
    verdict = Verdict()
    with Client(url, bearer(token)) as client:
        for pair in pairs:
            assert pair.answer is not None
            answer = pair.send(client)
            verdict.add([answer], fair=_is_repeat(pair.answer, answer))
    return verdict


def _alternating(urls: Sequence[str]) -> list[str]:
    """Two nodes in turn, so that the two of a pair ask at different ones."""
    return [urls[0], urls[-1]]


def _pair(chance: random.Random, callers: Callers) -> Pair:
    key = f"{chance.getrandbits(64):016x}"
    if chance.random() < 1 / 10:
        tokens = f"{ACCOUNTS}/{callers.account}/api-tokens"
        return Pair(key, tokens, {"name": f"t{key}", "maxAge": "PT1H"})
    return Pair(key, ACCOUNTS, {"name": "once", "description": key})


def _give_twice(
    clients: Crowd, pairs: Sequence[Pair], verdict: Verdict, *, together: bool
) -> list[Pair]:
    if together:
        found = clients.at_once([pair.send for pair in pairs for _ in range(2)])
        first, second = found[::2], found[1::2]
    else:
        # An idle client's turn is a request that changes nothing.
        first = clients.at_once([ask for pair in pairs for ask in (pair.send, _look)])[::2]
        second = clients.at_once([ask for pair in pairs for ask in (_look, pair.send)])[1::2]
    given = []
    for pair, one, other in zip(pairs, first, second, strict=True):
        made, repeat = (other, one) if "idempotency-replayed" in one.headers else (one, other)
        is_first = made.ok and "idempotency-replayed" not in made.headers
        verdict.add([one, other], fair=is_first and _is_repeat(made, repeat))
        given.append(Pair(pair.key, pair.path, pair.body, made))
    return given


def _is_repeat(made: Answer, repeat: Answer) -> bool:
    """Whether it is the same answer again, without the secret that is shown once."""
    told = dict(made.body)
    told.pop("fullToken", None)
    return (
        repeat.ok
        and "idempotency-replayed" in repeat.headers
        and repeat.body == told
        and repeat.position == made.position
    )


def _give_otherwise(pair: Pair, again: Client, stranger: Client, verdict: Verdict) -> None:
    """The key with another body is refused; as another caller's it is another key."""
    assert pair.answer is not None
    other_body = pair.send(again, {**pair.body, "description": "another"})
    others_key = pair.send(stranger)
    fair = (
        (other_body.status, other_body.code) == (422, "idempotency.mismatch")
        and others_key.ok
        and "idempotency-replayed" not in others_key.headers
        and others_key.position > pair.answer.position
    )
    verdict.add([other_body, others_key], fair=fair)


def _look(client: Client) -> Answer:
    return client.ask("GET", "/livez")


def _told(send: _Sending, text: str) -> Request:
    return lambda client: send(client, text)


class _Sending(Protocol):
    """A request that is told a text."""

    def __call__(self, client: Client, text: str, /) -> Answer: ...
