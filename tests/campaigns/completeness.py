"""Does the trail hold everything that was done, and nothing else? (security 2.11).

Several threads do everything that the HTTP API offers, at random, and write down what the trail
has to hold of it. Then the trail is read through the public API in each way that there is, and at
the end, the server stopped, the journal's file, which every way must agree with.
"""

from __future__ import annotations

import json
import random
import re
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, field

from tests.campaigns import asking, changing
from tests.campaigns.changing import Objects
from tests.campaigns.staff import first_owner, hire
from tests.campaigns.told import Act, Caller, Clerk, Note
from tests.e2e.node import PROGRAM, Node

SHORT: Final = 600
LONG: Final = 10_000
THREADS: Final = 4
PAGE: Final = 1_000
DOINGS: Final = (*changing.CHANGES, *asking.ASKED)

# What the server makes by itself: the installation before the first request, and a longer life for
# a token that is used, which is the act of its owner.
EXTENDED: Final = "token.extended.v1"
# A password hash under old parameters is made anew; here there are none.
NOT_HERE: Final = frozenset({"user.password_rehashed.v1"})
# These alone the contract's search does not show, by projections/journal_trail.py.
HIDDEN: Final = frozenset({"decision", "search", "token_failure", "token_leak"})

# The same handler stands at the root, too.
TWINS: Final = frozenset({"POST /login"})
# Every kind of entry that there is.
KINDS: Final = HIDDEN | {
    *("sign_in", "sign_in_failure", "sign_out", "account_locked"),
    *("refusal", "audit_read", "audit_export"),
}
MUTANTS: Final = ("lossy_journal", "tacit")

_ENTRIES: Final = (
    "SELECT request_id, kind, outcome, code, principal, token, address FROM journal_entries"
)
_COUNTS: Final = (
    "SELECT kind, outcome, principal, token, network, SUM(number) FROM journal_counters"
    " GROUP BY kind, outcome, principal, token, network"
)


class Event(Struct, frozen=True, kw_only=True):
    """An event as a reader of the trail sees it."""

    position: int
    topic: str
    request: str
    principal: str
    token: str
    address: str
    outcome: str = "ALLOWED"
    about: frozenset[str] = frozenset()


Group = tuple[str, str, str, str, str]


class Trail(Struct):
    """The trail as it was read: by feed, contract's search, export, journal's route, and on disk.

    The reading `last` could not be in its own answer.
    """

    feed: list[Event] = field(default_factory=list)
    searched: list[Event] = field(default_factory=list)
    exported: list[Event] = field(default_factory=list)
    shown: list[Note] = field(default_factory=list)
    listed: list[Note] = field(default_factory=list)
    last: str = ""
    stored: list[Note] = field(default_factory=list)
    counts: Counter[Group] = field(default_factory=Counter)


class Told(Struct):
    """What was done: every request, the last position before them, and the tokens that grew.

    `untouched` are the commands that the server offers and nobody gave.
    """

    acts: list[Act] = field(default_factory=list)
    began: int = 0
    untouched: list[str] = field(default_factory=list)
    extended: list[Caller] = field(default_factory=list)


class Verdict(Struct):
    """What was done and what is there; a wrong member is one entry missing and one invented."""

    requests: int = 0
    changes: int = 0
    notes: int = 0
    by_count: int = 0
    events: int = 0
    by_itself: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    topics: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Figures only; the lists are for whoever looks into a failure."""
        kinds = " ".join(f"{kind}={number}" for kind, number in sorted(self.kinds.items()))
        return (
            f"requests={self.requests} changes={self.changes} events={self.events}"
            f" by_itself={self.by_itself} topics={len(self.topics)} notes={self.notes}"
            f" by_count={self.by_count} {kinds}"
            f" missing={len(self.missing)} invented={len(self.invented)}"
        )


# Doing


def run(directory: Path, *, requests: int, seed: int, program: str = PROGRAM) -> tuple[Told, Trail]:
    """Do so many requests at a new server, read its trail, and stop it."""
    (directory / "sinks").mkdir(mode=0o700)
    settings = {"MUNIMENT_SINK_DIR": str(directory / "sinks")}
    node = Node(directory / "data", program=program, settings=settings)
    node.init()
    node.start()
    try:
        told, reader = _do(node.url, requests, seed)
        trail = _read(node.url, told, reader)
    finally:
        node.stop()
    _read_stored(node.data_dir / "journal.db", trail)
    return told, trail


def _do(url: str, requests: int, seed: int) -> tuple[Told, Caller]:
    told = Told()
    clerk = Clerk(url, "first")
    reader = first_owner(clerk, "127.0.0.1")
    told.began = clerk.quiet(reader, "GET", "/me").position
    shared = threading.Lock()
    doings = _doings(seed)
    done = [0]
    touched: set[tuple[str, str]] = set()

    def work(number: int) -> None:
        worker = Clerk(url, f"w{number}")
        chance = random.Random(f"{seed} {number}")  # noqa: S311 - all repeatable
        staff = hire(worker, f"w{number}", f"127.{number}.0.")
        has = Objects(worker, staff, chance, f"w{number}")
        counted = 0
        while True:
            with shared:
                done[0] += len(worker.acts) - counted
                counted = len(worker.acts)
                if done[0] >= requests and not doings[number]:
                    break
            do = doings[number].pop() if doings[number] else chance.choice(DOINGS)
            do(has)
        with shared:
            touched.update(worker.touched)
            told.acts += worker.acts
            told.extended += has.extended

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(1, THREADS + 1)))
    # Readings are shown once something has come after them.
    clerk.change(reader, "group.created.v1", "POST", "/main/groups", {"name": "the last"})
    offered = clerk.quiet(reader, "GET", "/openapi.json").body["paths"]
    told.untouched = _untouched(offered, touched)
    told.acts += clerk.acts
    return told, reader


def _untouched(offered: dict[str, Any], touched: set[tuple[str, str]]) -> list[str]:
    """Which routes that are no readings were asked by nobody."""
    left: list[str] = []
    for path, methods in offered.items():
        form = re.compile(re.sub(r"\{[^}]*\}", "[^/]+", path))
        given = {method for method, where in touched if form.fullmatch(where)}
        left += [f"{one.upper()} {path}" for one in methods if one.upper() not in {*given, "GET"}]
    return sorted(set(left) - TWINS)


def _doings(seed: int) -> dict[int, list[Any]]:
    """Everything once, shared out among the threads, so that nothing is left to chance."""
    every = [*DOINGS, *asking.ONCE]
    random.Random(seed).shuffle(every)  # noqa: S311 - all repeatable
    return {number: every[number - 1 :: THREADS] for number in range(1, THREADS + 1)}


# Reading


def _read(url: str, told: Told, reader: Caller) -> Trail:
    """Read the trail as an owner does; what the reading itself leaves is told as well."""
    clerk = Clerk(url, "reader")
    trail = Trail()
    for item in _pages(clerk, reader):
        trail.feed.append(_of_feed(item))
    page, found = 0, PAGE
    read = ("audit_read", "ALLOWED", "")
    while found == PAGE:
        page += 1
        path = f"/auditlogs/search?sort=position:asc&size={PAGE}&page={page}"
        rows = clerk.noted(reader, (read,), "GET", path).body["results"]
        found = len(rows)
        for row in rows:
            _of_search(row["auditLog"], trail)
    exported = ("audit_export", "ALLOWED", "")
    answer = clerk.noted(reader, (exported,), "GET", "/audit/export")
    trail.exported += [_of_export(json.loads(line)) for line in answer.text.splitlines()]
    _read_journal(clerk, reader, trail)
    told.acts += clerk.acts
    return trail


def _read_journal(clerk: Clerk, reader: Caller, trail: Trail) -> None:
    """Follow the journal to its end; counts are compared on disk, where they are whole."""
    after, found, read = 0, PAGE, ("audit_read", "ALLOWED", "")
    while found == PAGE:
        path = f"/audit/journal?after={after}&limit={PAGE}"
        page = clerk.noted(reader, (read,), "GET", path).body
        trail.listed += [_of_journal(item) for item in page["items"] if "count" not in item]
        found, after = len(page["items"]), page["nextAfter"]
    trail.last = clerk.acts[-1].request


def _of_journal(item: Any) -> Note:  # noqa: ANN401 - JSON may be anything
    actor, allowed = item["actor"], item["outcome"] == "ALLOWED"
    return Note(
        request=item.get("requestId", ""),
        kind=item["kind"],
        outcome=item["outcome"],
        code="" if allowed else item.get("code", ""),
        principal=actor.get("id", ""),
        token=actor.get("tokenId", ""),
        address=actor.get("address", ""),
    )


def _pages(clerk: Clerk, reader: Caller) -> Iterator[Any]:
    after, read = 0, ("audit_read", "ALLOWED", "")
    while True:
        path = f"/events?after={after}&limit={PAGE}"
        body = clerk.noted(reader, (read,), "GET", path).body
        if not body["items"]:
            return
        yield from body["items"]
        after = body["nextAfter"]


def _of_feed(item: Any) -> Event:  # noqa: ANN401 - JSON may be anything
    about = (*item["target"].values(), *item["event"].values(), item.get("tenant"))
    return Event(
        position=item["position"],
        topic=item["topic"],
        request=item["correlationId"],
        principal=item["actor"]["id"],
        token=item["actor"].get("tokenId", ""),
        address=item["actor"].get("address", ""),
        about=frozenset(value for value in about if isinstance(value, str)),
    )


def _of_search(row: Any, trail: Trail) -> None:  # noqa: ANN401 - JSON may be anything
    kind, is_note = row["event"].removeprefix("journal."), row["event"].startswith("journal.")
    who = {
        "request": row["requestId"],
        "principal": row["userId"],
        "token": row.get("tokenId", ""),
        "address": row.get("ipAddress", ""),
        "outcome": row["outcome"],
    }
    if is_note:
        trail.shown.append(Note(kind=kind, code=row["detail"].get("code", ""), **who))
    else:
        trail.searched.append(Event(position=row["position"], topic=row["event"], **who))


def _of_export(line: Any) -> Event:  # noqa: ANN401 - JSON may be anything
    return Event(
        position=line["position"],
        topic=line["topic"],
        request=line["correlation_id"],
        principal=line["actor"]["id"],
        token=line["actor"].get("token_id", ""),
        address=line["actor"].get("address", ""),
    )


def _read_stored(journal: Path, trail: Trail) -> None:
    """Read the journal's file past the server, without a word of the product's code."""
    with closing(sqlite3.connect(journal)) as connection:
        for row in connection.execute(_ENTRIES):
            request, kind, outcome, code, principal, token, address = (one or "" for one in row)
            trail.stored.append(
                Note(
                    request=request,
                    kind=kind,
                    outcome=outcome,
                    code="" if outcome == "ALLOWED" else code,
                    principal=principal,
                    token=token,
                    address=address,
                )
            )
        trail.counts = Counter({tuple(row[:5]): row[5] for row in connection.execute(_COUNTS)})


# Comparing


def compare(told: Told, trail: Trail) -> Verdict:
    """Hold what was read against what was done."""
    verdict = Verdict(requests=len(told.acts))
    _compare_events(told, trail.feed, verdict)
    for name, read in (("searched", trail.searched), ("exported", trail.exported)):
        _compare_readings(name, trail.feed, read, verdict)
    _compare_notes(told, trail, verdict)
    return verdict


def _compare_events(told: Told, feed: Sequence[Event], verdict: Verdict) -> None:
    """Each event is its request's, by the same caller; each change is there once."""
    acts = {act.request: act for act in told.acts}
    left = Counter({(act.request, one): 1 for act in told.acts for one in act.about})
    grown = [(one.id, one.token, one.address) for one in told.extended]
    last: dict[str, int] = {}
    verdict.changes = left.total()
    verdict.events = len(feed)
    for number, event in enumerate(feed, 1):
        verdict.topics.add(event.topic)
        who = event.principal, event.token, event.address
        act = acts.get(event.request)
        if event.position <= told.began:
            verdict.by_itself += 1
        elif event.topic == EXTENDED and who in grown:
            grown.remove(who)
            verdict.by_itself += 1
        elif act is None or not _fits(act, event, left) or who != _who(act):
            verdict.invented.append(f"{event}")
        else:
            last[act.request] = event.position
        if event.position != number:
            verdict.missing.append(f"position {number}")
    verdict.missing += [f"{key} of {acts[key[0]]}" for key, number in left.items() if number]
    verdict.missing += [f"a longer life of {one}" for one in grown]
    verdict.missing += [
        f"the position of {act}"
        for act in told.acts
        if act.about and last.get(act.request) != act.position
    ]


def _who(act: Act) -> tuple[str, str, str]:
    return act.caller.id, act.caller.token, act.caller.address


def _fits(act: Act, event: Event, left: Counter[tuple[str, str]]) -> bool:
    """Tell whether a request may have made an event, of each only once."""
    if event.topic == act.topic:
        for one in event.about.intersection(act.about):
            if left[act.request, one]:
                left[act.request, one] -= 1
                return True
    return event.topic in act.beside


def _compare_readings(
    name: str, feed: Sequence[Event], read: Sequence[Event], verdict: Verdict
) -> None:
    """Each way to read the trail tells the same events."""

    def bare(event: Event) -> tuple[object, ...]:
        who = event.principal, event.token, event.address
        return event.position, event.topic, event.request, event.outcome, *who

    expected, found = Counter(map(bare, feed)), Counter(map(bare, read))
    verdict.missing += [f"{name}: {one}" for one in (expected - found).elements()]
    verdict.invented += [f"{name}: {one}" for one in (found - expected).elements()]


def _compare_notes(told: Told, trail: Trail, verdict: Verdict) -> None:
    """Each note is an entry, or one of a count of its source; the trail shows what it should."""
    expected = Counter(note for act in told.acts for note in act.notes if not note.counted)
    counted = Counter(_group(n) for act in told.acts for n in act.notes if n.counted)
    found = Counter(trail.stored)
    verdict.notes = expected.total() + counted.total()
    verdict.kinds = Counter(note.kind for act in told.acts for note in act.notes)
    verdict.invented += [f"{one}" for one in (found - expected).elements()]
    # What has no entry has to stand in the counts, one by one.
    unwritten = Counter(_group(note) for note in (expected - found).elements()) + counted
    verdict.by_count = unwritten.total()
    verdict.missing += [f"counted: {one}" for one in (unwritten - trail.counts).elements()]
    verdict.invented += [f"counted: {one}" for one in (trail.counts - unwritten).elements()]
    by_reader = {act.request for act in told.acts if act.request.startswith("reader-")}
    to_show = Counter(
        note for note in trail.stored if note.kind not in HIDDEN and note.request not in by_reader
    )
    listed, stored = Counter(trail.listed), Counter(trail.stored)
    forgotten = [one for one in (stored - listed).elements() if one.request != trail.last]
    verdict.missing += [f"listed: {one}" for one in forgotten]
    verdict.invented += [f"listed: {one}" for one in (listed - stored).elements()]
    shown = Counter(trail.shown)
    verdict.missing += [f"shown: {one}" for one in (to_show - shown).elements()]
    verdict.invented += [f"shown: {one}" for one in (shown - to_show).elements()]


def _group(note: Note) -> Group:
    """Under what a note is counted, where there are too many to tell more of each."""
    network = "" if note.principal else f"{note.address.rpartition('.')[0]}.0/24"
    return note.kind, note.outcome, note.principal, note.token, network
