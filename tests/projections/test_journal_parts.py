"""Is the journal read whole, in its own order and by every filter, on both databases?"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from msgspec import structs

from domain.ids import MAIN, TenantId
from domain.state import State
from projections import exporting, journal, journal_parts
from projections.audit import EVERYWHERE
from projections.exporting import Format, Telling, Wanted
from projections.journal import Counted, Entry, row_of
from projections.journal_parts import Count, Noted, kinds_of, members, subject_of, summary, told
from projections.trail import EVERYTHING, Sought
from tests.fixed_inputs import START
from tests.projections.export_world import telling
from tests.projections.journal_entries import COUNTS, DECISION, ENTRIES, INDEX, MINUTE

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from projections.audit import Scope

NOWHERE: Final = telling(State())
PAGE: Final = 4
ITSELF: Final = frozenset(
    {"sign_in", "sign_in_failure", "sign_out", "account_locked", "token_failure", "token_leak"}
)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an export come in pieces of a few lines."""
    monkeypatch.setattr(exporting, "PAGE_EVENTS", PAGE)


def write(engine: Engine, *entries: Entry, counts: tuple[tuple[Counted, int], ...] = ()) -> None:
    """Write a batch in a transaction of its own."""
    with engine.begin() as connection:
        journal.write(connection, [*map(row_of, entries)], counts, ())


def filled(engine: Engine) -> None:
    """Write everything, entries and counts in turn."""
    half = len(ENTRIES) // 2
    write(engine, *ENTRIES[:half], counts=((COUNTS[0], 2),))
    write(engine, *ENTRIES[half:], counts=tuple((one, 1) for one in COUNTS[1:]))


def exported(
    engine: Engine, sought: Sought = EVERYTHING, scope: Scope = EVERYWHERE, **span: int
) -> list[Noted]:
    """Answer what an export holds, page by page."""
    found: list[Noted] = []

    def line(noted: Noted, _: Telling) -> bytes:
        found.append(noted)
        return b"."

    form = Format(name="", extension="", media_type="", line=line)
    with engine.connect() as connection:
        until = span.get("until", journal.head(connection))
        after: int | None = span.get("after", 0)
        while after is not None:
            wanted = Wanted(scope=scope, after=after, until=until, sought=sought)
            part = journal_parts.part(connection, wanted, form, NOWHERE)
            assert len(part.lines) <= PAGE
            after = part.after
    return found


def places(noted: list[Noted]) -> list[int]:
    """Answer the positions."""
    return [one.sequence for one in noted]


def test_entries_and_counts_come_in_one_order_each_once(journal_engine: Engine) -> None:
    """Audit-export 1: by the journal's own sequence, `after` exclusive, `until` inclusive."""
    filled(journal_engine)
    everything = exported(journal_engine)

    number = len(ENTRIES) + len(COUNTS)
    assert places(everything) == [*range(1, number + 1)]
    assert [one.entry for one in everything if one.counted is None] == [*map(told, ENTRIES)]
    assert [one.counted for one in everything if one.counted] == [
        Count(2, ""),
        *([Count(1, "192.0.2.0/24")] + [Count(1, "")] * 3),
    ]
    assert places(exported(journal_engine, after=3, until=9)) == [*range(4, 10)]
    assert exported(journal_engine, after=number) == []


def test_a_count_that_grew_is_told_again_and_no_other_is(journal_engine: Engine) -> None:
    """Whoever goes on behind the last position learns the whole number, whatever grew meanwhile."""
    filled(journal_engine)
    before = exported(journal_engine)
    last = before[-1].sequence

    write(journal_engine, counts=((COUNTS[0], 5),))

    (grown,) = exported(journal_engine, after=last)
    assert (grown.sequence, grown.counted) == (last + 1, Count(7, ""))
    assert len(exported(journal_engine)) == len(before)
    assert len(exported(journal_engine, until=last)) == len(before) - 1


def test_a_tenant_sees_its_own_and_nothing_else(journal_engine: Engine) -> None:
    """Security 2.3: entries and counts alike; what is of no tenant is an instance owner's."""
    filled(journal_engine)
    tenants = {one.sequence: one.entry.tenant for one in exported(journal_engine)}

    for tenant in ("main", "beta", "nowhere"):
        found = exported(journal_engine, scope=TenantId(tenant))
        assert places(found) == [place for place, of in tenants.items() if of == tenant]
    assert {*tenants.values()} == {"main", "beta", None}


# Filters


def holds(noted: Noted, sought: Sought) -> bool:
    """Judge one by itself."""
    entry = noted.entry
    same = (
        (entry.principal, sought.actor),
        (entry.token, sought.token),
        (entry.address, sought.address),
        (entry.request_id, sought.correlation),
        (entry.outcome, sought.outcome),
        (None, sought.command),
    )
    about = {entry.subject, entry.resource_id}
    if entry.kind in ITSELF:
        about |= {entry.principal, entry.token}
    said = (entry.kind, entry.code, entry.operation, entry.action, entry.resource_type)
    ids = (entry.resource_id, entry.namespace, entry.principal, entry.token, entry.subject)
    text = " ".join(["journal.", *(one.lower() for one in (*said, *ids) if one)])
    lasts = timedelta() if noted.counted is None else MINUTE - timedelta(microseconds=1)
    return all(
        (
            all(value is None or held == value for held, value in same),
            sought.target is None or sought.target in about,
            not sought.topics or entry.kind in kinds_of(sought.topics),
            sought.since is None or entry.at + lasts >= sought.since,
            sought.until is None or entry.at <= sought.until,
            all(word.lower() in text for word in sought.words.split()),
        )
    )


ASKED: Final[tuple[dict[str, Any], ...]] = (
    {"actor": "bot"},
    {"actor": "ada"},
    {"token": "t1"},
    {"address": "10.0.0.9"},
    {"correlation": "req-1"},
    {"outcome": "ALLOWED"},
    {"outcome": "DENIED"},
    {"target": "grace"},
    {"target": "bot"},
    {"target": "ada"},
    {"target": "t1"},
    {"target": "nightly load"},
    {"topics": ("journal.sign_in",)},
    {"topics": ("journal.*",)},
    {"topics": ("journal.decision", "journal.refusal")},
    {"words": "flow UPDATE"},
    {"words": "journal"},
    {"words": "gone"},
    {"since": START + 2 * MINUTE},
    {"since": START + 2 * MINUTE + timedelta(seconds=30)},
    {"until": START + 2 * MINUTE},
    {"since": START + MINUTE, "until": START + 3 * MINUTE},
)


def test_entries_and_counts_are_found_by_each_filter(journal_engine: Engine) -> None:
    """Each alone and with each other one finds what one by one is found to hold, and no more."""
    filled(journal_engine)
    everything = exported(journal_engine)

    for one in ASKED:
        sought = Sought(**one)
        assert places(exported(journal_engine, sought)), one
        for other in ASKED:
            both = structs.replace(sought, **other)
            expected = [noted.sequence for noted in everything if holds(noted, both)]
            assert places(exported(journal_engine, both)) == expected, (one, other)


def test_what_no_entry_has_finds_nothing(journal_engine: Engine) -> None:
    """A topic of the log, a command, words without a letter, a name half spelt."""
    filled(journal_engine)

    for asked in (
        Sought(topics=("token.*",)),
        Sought(topics=("sign_in",)),
        Sought(topics=("journal.sign_i",)),
        Sought(command="c1"),
        Sought(words=" "),
        Sought(words="flow nonsense"),
        Sought(actor="BOT"),
    ):
        assert exported(journal_engine, asked) == []


# What is told


def test_what_may_tell_of_a_person_stays_behind() -> None:
    """Audit-export 2.4: no keyed index, and no e-mail that was typed in an id's place."""
    found = [*map(told, ENTRIES)]

    assert INDEX not in repr(found)
    assert INDEX in repr(ENTRIES), "control"
    assert [one.detail for one in found if one.kind == "sign_in_failure"] == [None, None]
    assert found[0].detail == '{"token":"t2"}'
    asked = structs.replace(DECISION, subject_asked="ci-bot")
    assert told(asked).subject_asked == "ci-bot"
    assert told(DECISION).resource_id == "nightly load"
    mistyped = next(one for one in ENTRIES if one.operation == "deleteUser")
    assert told(mistyped).resource_id is None
    assert told(structs.replace(mistyped, resource_id="4by6-x.y")).resource_id == "4by6-x.y"
    # Of what an application asks, the ids are its own.
    asked_about = next(one for one in ENTRIES if one.code == "permission.denied")
    assert told(asked_about) == asked_about


def test_members_are_what_is_kept_and_of_a_count_its_minute() -> None:
    """Absent members are absent; the facts of an entry are told beside its own place."""
    (noted, counted) = Noted(3, told(DECISION)), journal_parts.of_count(4, COUNTS[1], 9)

    assert members(noted) == {
        "outcome": "DENIED",
        "code": "denied",
        "clock": START,
        "tenant": str(MAIN),
        "principal": "bot",
        "principal_type": "service_account",
        "token": "t1",
        "via": "api",
        "address": "10.0.0.9",
        "agent": "curl/8",
        "request_id": "req-1",
        "operation": "access.evaluate",
        "subject_type": "user",
        "subject": "grace",
        "action": "UPDATE",
        "resource_type": "FLOW",
        "resource_id": "nightly load",
        "namespace": "prod",
        "detail": {"token": "t2"},
        "log_position": 7,
    }
    assert members(counted) == {
        "outcome": "DENIED",
        "code": "auth.invalid",
        "count": 9,
        "ends": START + 3 * MINUTE,
        "network": "192.0.2.0/24",
    }
    assert counted.entry.at == START + 2 * MINUTE


@pytest.mark.parametrize(
    ("kind", "changed", "subject"),
    [
        ("decision", {}, ("user", "grace")),
        ("decision", {"subject_type": None}, ("principal", "grace")),
        ("decision", {"subject": None}, None),
        ("search", {"subject": None}, ("flow", "nightly load")),
        ("refusal", {"subject": None, "resource_type": None}, ("resource", "nightly load")),
        ("refusal", {"subject": None, "resource_id": None}, None),
        ("token_failure", {}, ("token", "t1")),
        ("sign_in", {"token": None}, ("principal", "bot")),
        ("sign_in_failure", {"token": None, "principal": None}, None),
    ],
)
def test_an_entry_is_about_what_it_names(
    kind: journal.Kind, changed: dict[str, Any], subject: tuple[str, str] | None
) -> None:
    """The subject of a question, the object of a refused act, or whose credential it was."""
    entry = structs.replace(DECISION, kind=kind, **changed)

    assert subject_of(Noted(1, entry)) == subject


def test_a_summary_says_what_happened_why_and_how_often() -> None:
    """Audit-export 3: a few words for whoever reads a table."""
    assert summary(Noted(1, DECISION)) == "decision denied, UPDATE FLOW nightly load, denied"
    counted = journal_parts.of_count(2, COUNTS[0], 12)
    assert summary(counted) == "decision allowed, VIEW FLOW, 12 times"
