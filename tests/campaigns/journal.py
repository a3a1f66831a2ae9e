"""What do clients know of the commands they gave, and how much of it is there?"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from msgspec import Struct, field

from tests.campaigns.access import ACCOUNTS
from tests.campaigns.client import Answer, Client, LostError, bearer

GROUPS: Final = ("kept", "whole")
WRITERS: Final = 8
FIRST_ANSWER_SECONDS: Final = 20.0
PAGE: Final = 1_000
PAUSE_SECONDS: Final = 0.02
LISTS_SECONDS: Final = 10.0

# Answers after which the command may be stored or not (event-log 3, the table of faults).
UNKNOWN_CODES: Final = frozenset({"log.unknown", "writer.halted"})


class Journal(Struct):
    """What clients know of their commands, by the names that they gave (reliability 1)."""

    done: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    codes: Counter[str] = field(default_factory=Counter)

    def note(self, name: str, answer: Answer | None) -> None:
        """Write down what became of a command; None where no answer came."""
        if answer is None:
            self.unknown.add(name)
        elif answer.ok:
            self.done.add(name)
        else:
            (self.unknown if answer.code in UNKNOWN_CODES else self.refused).add(name)
            self.codes[answer.code] += 1


class Tally(Struct):
    """How much of a journal is there."""

    acknowledged: int = 0
    unknown: int = 0
    unknown_but_stored: int = 0
    lost: int = 0
    twice: int = 0
    halves: int = 0

    @property
    def faults(self) -> int:
        """How many promises were broken."""
        return self.lost + self.twice + self.halves


def make_groups(url: str, token: str) -> list[str]:
    """Make the groups that every account of `give` becomes a member of; their ids."""
    with Client(url, bearer(token)) as owner:
        return [owner.made("POST", "/api/v1/main/groups", {"name": name})["id"] for name in GROUPS]


def give(client: Client, name: str, groups: Sequence[str], *, key: str = "") -> Answer:
    """Create an account in all the groups: several events, so that a half would be seen."""
    body = {"name": name, "groups": [{"id": group} for group in groups]}
    return client.ask("POST", ACCOUNTS, body, {"Idempotency-Key": key} if key else None)


def tally(url: str, token: str, groups: Sequence[str], journal: Journal) -> Tally:
    """Compare a journal with every account that there is: present once, in all the groups."""
    known = journal.done | journal.refused | journal.unknown
    with Client(url, bearer(token)) as client:
        rows = [row for row in all_accounts(client) if row["username"] in known]
    stored = Counter(row["username"] for row in rows)
    whole = {row["username"] for row in rows if {g["id"] for g in row["groups"]} == set(groups)}
    return Tally(
        acknowledged=len(journal.done),
        unknown=len(journal.unknown),
        unknown_but_stored=len(journal.unknown & stored.keys()),
        lost=len(journal.done - stored.keys()),
        twice=sum(times > 1 for times in stored.values()),
        halves=len(stored.keys() - whole) + len(journal.refused & stored.keys()),
    )


def all_accounts(client: Client) -> list[Any]:
    """Every account, page by page; lists may be behind for a moment after a start or a fault."""
    rows: list[Any] = []
    page = 1
    end = time.monotonic() + LISTS_SECONDS
    while client.ask("GET", f"{ACCOUNTS}?size=1").code == "views.behind":
        assert time.monotonic() < end, "the lists stay behind"
        time.sleep(PAUSE_SECONDS)
    while True:
        found = client.made("GET", f"{ACCOUNTS}?size={PAGE}&page={page}")["results"]
        rows += found
        if len(found) < PAGE:
            return rows
        page += 1


class Load:
    """Writers with a connection each, who give one command after another.

    Each ends at the first answer that does not come, unless they are `patient`.
    """

    def __init__(
        self,
        url: str,
        token: str,
        groups: Sequence[str],
        journal: Journal,
        *,
        label: str,
        patient: bool = False,
    ) -> None:
        self._url = url
        self._token = token
        self._groups = groups
        self._journal = journal
        self._label = label
        self._patient = patient
        self._answered = threading.Event()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)
        ]

    def start(self) -> None:
        """Begin, and wait until there is something to lose, however slow the machine is."""
        for thread in self._threads:
            thread.start()
        assert self._answered.wait(FIRST_ANSWER_SECONDS), "nothing was answered"

    def stop(self) -> None:
        """Let every writer end after the command that it is at."""
        self._stopping.set()
        self.join()

    def newcomer(self, name: str) -> tuple[float, float]:
        """Let somebody new read and write; answer how many seconds each took, in whatever way."""
        began = time.monotonic()
        with Client(self._url, bearer(self._token)) as client:
            client.ask("GET", "/api/v1/me")
            read = time.monotonic()
            self._journal.note(name, give(client, name, self._groups))
        return read - began, time.monotonic() - read

    def join(self) -> None:
        """Wait until every writer has ended."""
        for thread in self._threads:
            thread.join()

    def _write(self, writer: int) -> None:
        number = 0
        with Client(self._url, bearer(self._token)) as client:
            while not self._stopping.is_set():
                number += 1
                name = f"{self._label}-w{writer}-n{number}"
                answer = None
                with suppress(LostError):
                    answer = give(client, name, self._groups)
                self._journal.note(name, answer)
                if answer is not None and answer.ok:
                    self._answered.set()
                elif self._patient:
                    time.sleep(PAUSE_SECONDS)
                elif answer is None:
                    return
