"""Which entries of the journal does the audit trail show beside the events, and as what?

Sign-ins, their failures and locks, readings and exports of the trail, and whatever was refused to
one who is known (kestra-iam 6.8). An entry stands behind the event at whose position it was noted,
so the two are one order without a look at any clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    literal_column,
    not_,
    null,
    or_,
    select,
)

from projections import filters
from projections.audit import EVERYWHERE, Scope
from projections.filters import any_of, comparison_of
from projections.journal import ENTRIES, SHOWN, Kept, entry_of, selection

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from projections.filters import Column, Dialect, Leaf, Node
    from projections.pages import Sort

Act = Literal[
    "CREATE", "READ", "UPDATE", "DELETE", "LOGIN", "LOGOUT", "LOGIN_FAILURE", "ACCOUNT_LOCKED"
]

# The act that a refused one would have been, by the permission or the method that it needed.
TRIED: Final[dict[str, Act]] = {
    "CREATE": "CREATE",
    "POST": "CREATE",
    "DELETE": "DELETE",
    "VIEW": "READ",
    "LIST": "READ",
    "GET": "READ",
    "EXPORT": "READ",
    "CHECK": "READ",
    "SEARCH": "READ",
    "EXPLAIN": "READ",
}
_ACTS: Final[dict[str, Act]] = {
    "sign_in": "LOGIN",
    "sign_out": "LOGOUT",
    "sign_in_failure": "LOGIN_FAILURE",
    "account_locked": "ACCOUNT_LOCKED",
    "audit_read": "READ",
    "audit_export": "READ",
}


class Shown(NamedTuple):
    """An entry as the trail shows it: what kind of act, on what."""

    kept: Kept
    type: Act
    resource: str
    object_id: str


class Until(NamedTuple):
    """Up to which positions entries are shown, and readings of the trail.

    A reading that is shown at once would push every following page of a reader by one entry.
    """

    position: int
    reading: int


class Rank(NamedTuple):
    """Where an entry stands in the trail: by what is asked for, then newest first.

    `sequence` is 0 for an event.
    """

    values: tuple[Any, ...]
    position: int
    sequence: int


_ENTRY: Final = ENTRIES.c
_READINGS: Final = ("audit_read", "audit_export")
_SIGN_INS: Final = ("sign_in", "sign_out", "sign_in_failure", "account_locked")
_TYPE: Final = case(
    *((_ENTRY.kind == kind, act) for kind, act in _ACTS.items()),
    *((_ENTRY.action == tried, act) for tried, act in TRIED.items()),
    else_="UPDATE",
)
_RESOURCE: Final = case(
    (_ENTRY.kind.in_(_SIGN_INS), "USER"), else_=func.coalesce(_ENTRY.resource_type, "")
)
_OBJECT: Final = case(
    (_ENTRY.kind.in_(_SIGN_INS), func.coalesce(_ENTRY.principal, "")),
    else_=func.coalesce(_ENTRY.resource_id, ""),
)
_EVENT: Final = literal("journal.").concat(_ENTRY.kind)
_ACTOR: Final = func.coalesce(_ENTRY.principal, "")
_DETAIL: Final[dict[str, ColumnElement[Any]]] = {
    "type": _RESOURCE,
    "resource": _RESOURCE,
    "id": _OBJECT,
    "namespace": _ENTRY.namespace,
}


def detail(shown: Shown) -> dict[str, str]:
    """Answer the contract's `detail` of an entry; the code of a refusal and the route beside."""
    entry = shown.kept.entry
    held = {
        "type": shown.resource,
        "resource": shown.resource,
        "id": shown.object_id,
        "namespace": entry.namespace,
        "code": entry.code,
        "operation": entry.operation,
    }
    return {member: value for member, value in held.items() if value is not None}


def event_of(shown: Shown) -> str:
    """Answer the name under which an entry stands where events have their topic."""
    return f"journal.{shown.kept.entry.kind}"


def _in_detail(leaf: Leaf, dialect: Dialect) -> ColumnElement[bool]:
    column = _DETAIL.get(leaf.key)
    return comparison_of(leaf, cast(null(), Text) if column is None else column, dialect)


_COLUMNS: Final[dict[str, Column]] = {
    "q": any_of(_ACTOR, _RESOURCE, _OBJECT, _EVENT, _ENTRY.namespace, _ENTRY.token),
    "id": any_of(literal("j").concat(cast(_ENTRY.sequence, Text))),
    "created": any_of(_ENTRY.at),
    "updated": any_of(_ENTRY.at),
    "date": any_of(_ENTRY.at),
    "type": any_of(_TYPE),
    "action": any_of(_TYPE),
    "resources": any_of(_RESOURCE),
    "userId": any_of(_ACTOR),
    "details": _in_detail,
    "event": any_of(_EVENT),
    "tokenId": any_of(_ENTRY.token),
    "ipAddress": any_of(_ENTRY.address),
    "position": any_of(_ENTRY.position),
    "outcome": any_of(_ENTRY.outcome),
}

_WHEN: Final = (_ENTRY.position, _ENTRY.sequence)
_ORDER: Final[dict[str, tuple[ColumnElement[Any], ...]]] = {
    "id": _WHEN,
    "date": _WHEN,
    "created": _WHEN,
    "updated": _WHEN,
    "position": _WHEN,
    "type": (_TYPE,),
    "resources": (_RESOURCE,),
    "userId": (_ACTOR,),
    "event": (_EVENT,),
}


def _matching(
    connection: Connection, until: Until, scope: Scope, node: Node | None
) -> ColumnElement[bool]:
    shown: ColumnElement[bool] = literal_column(SHOWN)
    reading = _ENTRY.kind.in_(_READINGS)
    conditions = [
        shown,
        _ENTRY.position <= until.position,
        or_(_ENTRY.position <= until.reading, not_(reading)),
    ]
    if scope is not EVERYWHERE:
        conditions.append(_ENTRY.tenant == scope)
    if node is not None:
        dialect: Any = connection.dialect.name
        conditions.append(filters.condition(node, _COLUMNS, dialect))
    return and_(*conditions)


def ranks(
    connection: Connection,
    until: Until,
    scope: Scope,
    node: Node | None,
    sort: tuple[Sort, ...],
    limit: int,
) -> tuple[list[Rank], int]:
    """Answer the first ranks of the matching entries, and how many match in all."""
    matching = _matching(connection, until, scope, node)
    keys = [(_ORDER[key.field], key.descending) for key in sort]
    order = [
        column.desc() if descending else column.asc()
        for columns, descending in [*keys, (_WHEN, True)]
        for column in columns
    ]
    values = [columns[0] for columns, _ in keys]
    statement = select(*_WHEN, *values).where(matching).order_by(*order).limit(limit)
    rows = [tuple(row) for row in connection.execute(statement)]
    found = [Rank(row[2:], row[0], row[1]) for row in rows]
    counting = select(func.count()).select_from(ENTRIES).where(matching)
    return found, connection.execute(counting).scalar_one()


def entries(connection: Connection, sequences: Collection[int]) -> dict[int, Shown]:
    """Answer the entries of these numbers."""
    statement = select(_TYPE, _RESOURCE, _OBJECT, *selection()).where(
        _ENTRY.sequence.in_(sequences)
    )
    found = [tuple(row) for row in connection.execute(statement)]
    return {row[3]: Shown(Kept(row[3], entry_of(row[4:])), *row[:3]) for row in found}


def page(ranked: Iterable[Rank], sort: tuple[Sort, ...], skipped: int, size: int) -> list[Rank]:
    """Answer one page of the ranks of both, of which each has at least its first `skipped + size`.

    In time an event comes before the entries that were noted at its position.
    """
    ordered = sorted(ranked, key=_when, reverse=True)
    # Sorting is stable, so the last key comes first.
    for number, key in reversed([*enumerate(sort)]):
        by_time = _ORDER[key.field] is _WHEN
        ordered.sort(key=_when if by_time else _nth(number), reverse=key.descending)
    return ordered[skipped : skipped + size]


def _when(rank: Rank) -> tuple[int, int]:
    return rank.position, rank.sequence


def _nth(number: int) -> Callable[[Rank], Any]:
    return lambda rank: rank.values[number]
