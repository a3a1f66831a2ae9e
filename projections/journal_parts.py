"""What of the journal is exported, in which order, and what of it is never told? (audit-export 1).

An entry stands at its number. A count stands, with the whole number so far, where it was written
last: who asks on behind a position is told again of a count that grew since, and of no other.
Keyed indexes of what may have been an e-mail stay behind, and so does what cannot have been an id
where a route expected one: people mistake their e-mail for it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args

import msgspec
from msgspec import structs
from sqlalchemy import ColumnElement, Connection, Table, and_, false, literal, or_, select

from projections import exporting
from projections.audit import EVERYWHERE
from projections.exporting import Part
from projections.filters import Comparison, Leaf, any_of
from projections.journal import (
    ACCOUNT,
    COUNTS,
    ENTRIES,
    EVALUATE,
    INDEXED,
    MINUTE,
    Counted,
    Entry,
    Kind,
    entry_of,
    minute_of,
    selection,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from domain.state import State
    from projections.exporting import Format, Telling, Wanted

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class Count(NamedTuple):
    """How often something happened in its minute, and from which network, "" if not told."""

    number: int
    network: str


class Noted(NamedTuple):
    """What stands at a place of the journal: an entry, or what is counted together."""

    sequence: int
    entry: Entry
    counted: Count | None = None


def topic_of(kind: Kind) -> str:
    """Answer the name under which a kind stands where events have their topic."""
    return f"journal.{kind}"


def part(connection: Connection, wanted: Wanted, form: Format[Noted], telling: Telling) -> Part:
    """Answer the next lines of an export, all in one piece of bounded size."""
    limit = exporting.PAGE_EVENTS
    found = noted(connection, wanted, limit)
    lines = b"".join(form.line(one, telling) for one in found)
    return Part(lines, found[-1].sequence if len(found) == limit else None)


def noted(
    connection: Connection, wanted: Wanted, limit: int, *, newest: bool = False
) -> list[Noted]:
    """Answer the first of what is wanted by its place, or the last, newest first."""
    both = [
        *_entries(connection, wanted, limit, newest=newest),
        *_counts(connection, wanted, limit, newest=newest),
    ]
    return sorted(both, key=attrgetter("sequence"), reverse=newest)[:limit]


def decision(connection: Connection, tenant: str, number: int) -> Entry | None:
    """Answer the decision that has a number in a tenant's journal."""
    column = ENTRIES.c
    mine = (column.sequence == number, column.tenant == tenant, column.kind == "decision")
    row = connection.execute(select(*selection()).where(*mine)).one_or_none()
    return None if row is None else told(entry_of(row[1:]))


def _entries(
    connection: Connection, wanted: Wanted, limit: int, *, newest: bool
) -> Iterator[Noted]:
    sought, at = wanted.sought, ENTRIES.c.at
    conditions = [*_matching(connection, wanted, ENTRIES)]
    if sought.since is not None:
        conditions.append(at >= sought.since)
    if sought.until is not None:
        conditions.append(at <= sought.until)
    place = ENTRIES.c.sequence
    statement = select(*selection()).where(*conditions)
    for sequence, *values in connection.execute(
        statement.order_by(place.desc() if newest else place).limit(limit)
    ):
        yield Noted(sequence, told(entry_of(values)))


def _counts(connection: Connection, wanted: Wanted, limit: int, *, newest: bool) -> Iterator[Noted]:
    sought, minute = wanted.sought, COUNTS.c.minute
    conditions = [*_matching(connection, wanted, COUNTS)]
    if sought.since is not None:
        conditions.append(minute >= minute_of(sought.since))
    if sought.until is not None:
        conditions.append(minute <= minute_of(sought.until))
    place = COUNTS.c.sequence
    statement = select(COUNTS).where(*conditions)
    for *key, number, sequence in connection.execute(
        statement.order_by(place.desc() if newest else place).limit(limit)
    ):
        yield of_count(sequence, Counted(*key), number)


def of_count(sequence: int, counted: Counted, number: int) -> Noted:
    """Answer a count as an entry of its minute; what it was folded over is None."""
    entry = Entry(
        at=_EPOCH + counted.minute * MINUTE,
        kind=counted.kind,
        outcome=counted.outcome,
        code=counted.code or None,
        position=0,
        tenant=counted.tenant or None,
        principal=counted.principal or None,
        token=counted.token or None,
        operation=EVALUATE if counted.kind == "decision" else None,
        subject=counted.subject or None,
        action=counted.action or None,
        resource_type=counted.resource_type or None,
    )
    return Noted(sequence, entry, Count(number, counted.network))


# Filters

_SAME: Final = {
    "actor": "principal",
    "token": "token",
    "address": "address",
    "correlation": "request_id",
    # Nothing in the journal is the work of a command.
    "command": "command_id",
    "outcome": "outcome",
}
_WORDS: Final = (
    *("code", "operation", "action", "resource_type", "resource_id", "namespace"),
    *("principal", "token", "subject"),
)
# What is about whoever it names.
_ABOUT_ITSELF: Final[tuple[Kind, ...]] = (
    *("sign_in", "sign_in_failure", "sign_out", "account_locked"),
    *("token_failure", "token_leak"),
)


def _matching(
    connection: Connection, wanted: Wanted, table: Table
) -> Iterator[ColumnElement[bool]]:
    """Yield what must hold of a row; what a table does not tell is true of none of its rows."""
    column, sought = table.c, wanted.sought
    yield column.sequence > wanted.after
    yield column.sequence <= wanted.until
    if wanted.scope is not EVERYWHERE:
        yield column.tenant == wanted.scope
    for name, field in _SAME.items():
        value = getattr(sought, name)
        if value is not None:
            yield column[field] == value if field in column else false()
    if sought.topics:
        yield column.kind.in_(kinds_of(sought.topics))
    if sought.target is not None:
        yield _concerns(table, sought.target)
    words = sought.words.split()
    if sought.words and not words:
        yield false()
    dialect: Any = connection.dialect.name
    texts = [column[name] for name in _WORDS if name in column]
    for word in words:
        leaf = Leaf(field="q", comparison=Comparison.CONTAINS, values=(word,))
        yield any_of(literal("journal.").concat(column.kind), *texts)(leaf, dialect)


def kinds_of(topics: Sequence[str]) -> tuple[Kind, ...]:
    """Answer the kinds with any of these names; `journal.*` is all of them."""
    wanted = {*topics}
    return tuple(kind for kind in KINDS if wanted & {"journal.*", topic_of(kind)})


def _concerns(table: Table, id_: str) -> ColumnElement[bool]:
    column = table.c
    objects = [column[name] == id_ for name in ("subject", "resource_id") if name in column]
    itself = or_(column.principal == id_, column.token == id_)
    return or_(*objects, and_(column.kind.in_(_ABOUT_ITSELF), itself))


# What is told

_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}\Z")


def told(entry: Entry) -> Entry:
    """Answer an entry without what might tell of a person by more than an id."""
    asked, id_, detail = entry.subject_asked, entry.resource_id, entry.detail
    if asked is not None and asked.startswith(INDEXED):
        asked = None
    is_typed = entry.kind == "refusal" and entry.operation != EVALUATE
    if is_typed and id_ is not None and not _IDENTIFIER.match(id_):
        id_ = None
    if detail is not None:
        held = msgspec.json.decode(detail, type=dict[str, Any])
        held.pop(ACCOUNT, None)
        detail = msgspec.json.encode(held).decode() if held else None
    return structs.replace(entry, subject_asked=asked, resource_id=id_, detail=detail)


_COORDINATES: Final = frozenset({"at", "kind", "position", "detail"})
_MEMBERS: Final = tuple(name for name in Entry.__struct_fields__ if name not in _COORDINATES)


def members(noted: Noted) -> dict[str, object]:
    """Answer what is told beside place, time and kind, to be encoded as JSON.

    `log_position` are the facts by which it was decided or noted; of a count there are none.
    """
    entry, count = noted.entry, noted.counted
    found: dict[str, object] = {
        name: value for name in _MEMBERS if (value := getattr(entry, name)) is not None
    }
    if entry.detail is not None:
        found["detail"] = msgspec.json.decode(entry.detail)
    if count is None:
        found["log_position"] = entry.position
    else:
        found["count"] = count.number
        found["ends"] = entry.at + MINUTE
        if count.network:
            found["network"] = count.network
    return found


def actor_type(entry: Entry, state: State) -> str | None:
    """Answer what acted, None where that is not known: a count tells no more than its id."""
    if entry.principal_type is not None or entry.principal is None:
        return entry.principal_type
    if entry.principal in state.service_accounts:
        return "service_account"
    return "user" if entry.principal in state.users else None


def subject_of(noted: Noted) -> tuple[str, str] | None:
    """Answer the noun and the id of what an entry is about, None where it names nothing."""
    entry = noted.entry
    if entry.kind in _ABOUT_ITSELF:
        if entry.token is not None:
            return "token", entry.token
        return None if entry.principal is None else ("principal", entry.principal)
    if entry.subject is not None:
        return entry.subject_type or "principal", entry.subject
    if entry.resource_id is not None and entry.kind != "decision":
        return (entry.resource_type or "resource").lower(), entry.resource_id
    return None


def summary(noted: Noted) -> str:
    """Answer in a few words what happened, to what, why, and how often."""
    entry, count = noted.entry, noted.counted
    what = f"{entry.kind.replace('_', ' ')} {entry.outcome.lower()}"
    tried = " ".join(filter(None, (entry.action, entry.resource_type, entry.resource_id)))
    often = "" if count is None else f"{count.number} times"
    return ", ".join(filter(None, (what, tried, entry.code, often)))
