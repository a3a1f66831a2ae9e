"""Does an owner who can sign in remain, whoever removes whom at the same moment?

Security 2.6 and reliability A5: two owners are removed by one another, by themselves and by a
third party at once, on one node or on several.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from typing import Final

from msgspec import Struct, field

from tests.campaigns import access
from tests.campaigns.client import Answer, Client, basic, bearer
from tests.campaigns.crowd import Crowd, Request, crowd
from tests.e2e.node import OWNER_EMAIL, OWNER_PASSWORD

SHORT: Final = 60
LONG: Final = 500
ATTACKERS: Final = 8
SECOND_EMAIL: Final = "bob@example.com"
USERS: Final = "/api/v1/users"
STALE_HEAD: Final = "tests.campaigns.mutants.stale_head"
RETRY_BLIND: Final = "tests.campaigns.mutants.retry_blind"

# What a loser may be told: the rule, that its own right is gone, or that the other is gone.
FAIR: Final = frozenset(
    {
        "409 owner.last",
        "403 privilege.required",
        "403 permission.denied",
        "401 principal.disabled",
        "401 token.revoked",
        "401 auth.invalid",
        "404 user.unknown",
        "404 principal.unknown",
    }
)


class Verdict(Struct):
    """What `rounds` races left: `standing` is the least number of owners who can sign in."""

    rounds: int = 0
    standing: int = 2
    removed: int = 0
    refusals: Counter[str] = field(default_factory=Counter)

    @property
    def unfair(self) -> set[str]:
        """Answers that nobody should have been given."""
        return set(self.refusals) - FAIR


class Arena:
    """Two owners with a password and a token each, and a program that is an owner too."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self.referee_token = access.owner_token(urls[0])
        self.referee = Client(urls[0], bearer(self.referee_token))
        self.emails = (OWNER_EMAIL, SECOND_EMAIL)
        with Client(urls[0], basic(OWNER_EMAIL, OWNER_PASSWORD)) as owner:
            self.ids = [str(owner.made("GET", "/api/v1/me")["id"]), self._create(SECOND_EMAIL)]
        self.tokens = [self._issue(id_) for id_ in self.ids]

    def _create(self, email: str) -> str:
        person = {"email": email, "password": OWNER_PASSWORD, "instanceOwner": True}
        return str(self.referee.made("POST", USERS, person)["id"])

    def _issue(self, id_: str) -> str:
        issued = self.referee.made("POST", f"{USERS}/{id_}/api-tokens", {"name": "own"})
        return str(issued["fullToken"])

    def restore(self) -> None:
        """Make both of them enabled owners again, and let every node know."""
        for number, id_ in enumerate(self.ids):
            found = self.referee.ask("GET", f"{USERS}/{id_}")
            if found.status == 404:
                self.ids[number] = self._create(self.emails[number])
                self.tokens[number] = self._issue(self.ids[number])
                continue
            if not found.body["enabled"]:
                self.referee.made("POST", f"{USERS}/{id_}/enable")
            if not found.body["instanceOwner"]:
                self.referee.made("PATCH", f"{USERS}/{id_}/instanceowner", {"instanceOwner": True})
        at_least = self.referee.ask("GET", f"{USERS}/{self.ids[0]}").position
        for url in self._urls[1:]:
            with Client(url, bearer(self.referee_token)) as client:
                client.made("GET", f"{USERS}/{self.ids[0]}?at_least={at_least}")

    def standing(self, at_least: int) -> int:
        """How many of the two are enabled owners with a password."""
        found = [self.referee.ask("GET", f"{USERS}/{id_}?at_least={at_least}") for id_ in self.ids]
        return sum(
            user.ok
            and user.body["enabled"]
            and user.body["instanceOwner"]
            and any(auth["type"] == "BASIC_AUTH" for auth in user.body["auths"])
            for user in found
        )

    def close(self) -> None:
        """Close the referee's connection."""
        self.referee.close()


def removal(verb: str, id_: str, authorization: str) -> Request:
    """The request of `authorization` that ends the ownership of a user."""
    headers = {"Authorization": authorization}

    def ask(client: Client) -> Answer:
        match verb:
            case "demote":
                body = {"instanceOwner": False}
                return client.ask("PATCH", f"{USERS}/{id_}/instanceowner", body, headers)
            case "disable":
                return client.ask("POST", f"{USERS}/{id_}/disable", None, headers)
            case _:
                return client.ask("DELETE", f"{USERS}/{id_}", None, headers)

    return ask


def run(
    urls: Sequence[str],
    *,
    rounds: int,
    seed: int,
    verbs: Sequence[str] = (),
    pause_seconds: float = 0.0,
) -> Verdict:
    """Let both owners be removed at once, `rounds` times; stops at the first disaster.

    `verbs` are all that are drawn from where they are given; the pause is before each race.
    """
    chance = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    verdict = Verdict()
    with closing(Arena(urls)) as arena, crowd(urls, [""] * ATTACKERS) as attackers:
        for _ in range(rounds):
            arena.restore()
            time.sleep(pause_seconds)
            # Deleting is rarer because making a user anew costs a password hash.
            verb = verbs or chance.choices((("demote", "disable"), ("demote", "delete")), (5, 1))[0]
            _race(arena, attackers, verb, chance, verdict)
            if not verdict.standing:
                break
        if verdict.standing:
            _sign_in(urls, arena)
            arena.restore()
    return verdict


def _race(
    arena: Arena, attackers: Crowd, verbs: Sequence[str], chance: random.Random, verdict: Verdict
) -> None:
    first, second = (bearer(token) for token in arena.tokens)
    referee = bearer(arena.referee_token)
    pairs = chance.choice(
        (
            # One another, themselves, and both by a third.
            [(second, 0), (first, 1)],
            [(first, 0), (second, 1)],
            [(referee, number % 2) for number in range(ATTACKERS)],
        )
    )
    requests = [removal(chance.choice(verbs), arena.ids[id_], who) for who, id_ in pairs]
    answers = attackers.at_once(requests)
    verdict.rounds += 1
    verdict.removed += sum(answer.ok for answer in answers)
    verdict.refusals.update(f"{each.status} {each.code}" for each in answers if not each.ok)
    positions = [answer.position for answer in answers if answer.ok]
    assert positions, f"nobody was removed: {answers}"
    verdict.standing = min(verdict.standing, arena.standing(max(positions)))


def _sign_in(urls: Sequence[str], arena: Arena) -> None:
    """Whoever remains can really sign in, by the password."""
    signed_in = []
    for email in arena.emails:
        with Client(urls[0], basic(email, OWNER_PASSWORD)) as person:
            me = person.ask("GET", "/api/v1/me")
            signed_in.append(me.ok and me.body["instanceOwner"])
    assert any(signed_in), "an owner remains who cannot sign in"
