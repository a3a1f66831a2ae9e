"""Who did what, when, with which token, and what changed by it?

The trail is the log: there is an entry for every event, made by the fold that everything else
comes from. Entries never change and are never purged; nothing personal and no secret is in them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType
from sqlalchemy import ColumnElement, Connection, Text, and_, cast, func, literal, null, select

from domain.events import tenant_of, topic_of
from domain.ids import ServiceAccountId, TenantId
from projections import batch, filters, marks
from projections.audit_topics import TOPICS, About, Target
from projections.entries import TABLE, Entry
from projections.filters import any_of, comparison_of

if TYPE_CHECKING:
    from sqlalchemy import Select

    from domain.events import Fact
    from domain.state import Draft, Facts
    from projections.audit_shapes import Shape
    from projections.batch import Batch
    from projections.filters import Column, Dialect, Leaf, Node
    from projections.pages import Page, Sort
    from projections.views import Values, Views

# Refused commands are in the journal: what stands in the log was allowed.
OUTCOME: Final = "ALLOWED"

_EXPORTED_AT_ONCE: Final = 500


class Everywhere(Enum):
    """What an instance owner asks about in the place of one tenant."""

    EVERYWHERE = "everywhere"


EVERYWHERE: Final = Everywhere.EVERYWHERE
Scope = TenantId | Everywhere


class Found(Struct, frozen=True, kw_only=True):
    """One page of the trail, and how many entries match in all."""

    entries: tuple[Entry, ...]
    total: int


# Writing


class Seen(NamedTuple):
    """What an entry needs of the facts before its event."""

    about: About
    target: Target | None
    before: Shape | None


def see(facts: Facts, fact: Fact) -> Seen:
    """Look at the object of an event before the event is applied."""
    event = fact.envelope.event
    about = TOPICS[topic_of(event)]
    # Of what a deletion takes away there is nothing left to name afterwards.
    target = about.target(facts, event) if about.kind == "DELETE" else None
    return Seen(about, target, about.object(facts, event))


def record(changes: Batch, draft: Draft, fact: Fact, seen: Seen) -> None:
    """Note the entry of the event that has just been applied."""
    envelope = fact.envelope
    actor = envelope.actor
    target = seen.target or seen.about.target(draft, envelope.event)
    own = tenant_of(envelope.event)
    tenant = _or_none(envelope.tenant if own is UNSET else own)
    account = draft.service_accounts.get(ServiceAccountId(actor.id))
    topic = topic_of(envelope.event)
    row: Values = {
        "position": fact.position,
        "at": envelope.at,
        "tenant": tenant,
        "topic": topic,
        "type": seen.about.kind,
        **msgspec.structs.asdict(target),
        "actor_type": actor.type,
        "actor_id": actor.id,
        "actor_name": None if account is None else account.name,
        "actor_token_id": _or_none(actor.token_id),
        "actor_via": _or_none(actor.via),
        "actor_address": _or_none(actor.address),
        "actor_user_agent": _or_none(actor.user_agent),
        "actor_impersonator": _or_none(actor.impersonator),
        "command_id": envelope.command_id,
        "correlation_id": envelope.correlation_id,
        "reason": _or_none(envelope.reason),
        "before": _document(seen.before),
        "after": _document(seen.about.object(draft, envelope.event)),
    }
    row["search"] = "\n".join(value for name in _SEARCHED if (value := row[name]) is not None)
    changes.insert(marks.TABLE, {"rowid": fact.position, "marks": marks.of_entry(row)})
    changes.insert(TABLE, row)
    if tenant is not None:
        changes.count(TABLE, tenant, 1, fact.position)


# Actor, target, resource, event and the values of the detail (kestra-iam 9).
_SEARCHED: Final = (
    "actor_id",
    "actor_name",
    "object_id",
    "object_name",
    "resource",
    "topic",
    "namespace",
    "user_id",
    "group_id",
    "role_id",
    "token_id",
    "token_name",
    "alias_type",
)


def _or_none(value: str | UnsetType) -> str | None:
    return None if value is UNSET else value


def _document(shape: Shape | None) -> str | None:
    return None if shape is None else msgspec.json.encode(shape).decode()


# Asking

# The members of an entry's detail (kestra-iam 6.8), and where they are kept.
_DETAIL: Final = {
    "type": "resource",
    "resource": "resource",
    "id": "object_id",
    "name": "object_name",
    "namespace": "namespace",
    "userId": "user_id",
    "groupId": "group_id",
    "roleId": "role_id",
    "tokenId": "token_id",
    "tokenName": "token_name",
    "aliasType": "alias_type",
}


def detail(entry: Entry) -> dict[str, str]:
    """Answer the contract's `detail` of an entry: the members that it has (kestra-iam 6.8)."""
    held = {member: getattr(entry, field) for member, field in _DETAIL.items()}
    return {member: value for member, value in held.items() if value is not None}


def _in_detail(leaf: Leaf, dialect: Dialect) -> ColumnElement[bool]:
    """Look in the detail's member of that name; one that no entry has is absent everywhere."""
    kept = _DETAIL.get(leaf.key)
    column: ColumnElement[Any] = cast(null(), Text) if kept is None else TABLE.c[kept]
    return comparison_of(leaf, column, dialect)


_ID: Final = literal("e").concat(cast(TABLE.c.position, Text))

_COLUMNS: Final[dict[str, Column]] = {
    "q": any_of(TABLE.c.search),
    "id": any_of(_ID),
    "created": any_of(TABLE.c.at),
    "updated": any_of(TABLE.c.at),
    "date": any_of(TABLE.c.at),
    "type": any_of(TABLE.c.type),
    "action": any_of(TABLE.c.type),
    "resources": any_of(TABLE.c.resource),
    "userId": any_of(TABLE.c.actor_id),
    "details": _in_detail,
    "event": any_of(TABLE.c.topic),
    "tokenId": any_of(TABLE.c.actor_token_id),
    "ipAddress": any_of(TABLE.c.actor_address),
    "position": any_of(TABLE.c.position),
    "outcome": any_of(literal(OUTCOME)),
}

# In one order the instants and the positions are the same; so the index of positions serves.
_ORDER: Final[dict[str, ColumnElement[Any]]] = {
    "id": TABLE.c.position,
    "date": TABLE.c.position,
    "created": TABLE.c.position,
    "updated": TABLE.c.position,
    "position": TABLE.c.position,
    "type": TABLE.c.type,
    "resources": TABLE.c.resource,
    "userId": TABLE.c.actor_id,
    "event": TABLE.c.topic,
}
SORTABLE: Final = frozenset(_ORDER)

_FIELDS: Final = Entry.__struct_fields__


def _selection() -> Select[Any]:
    return select(*(TABLE.c[field] for field in _FIELDS))


def _entries(connection: Connection, statement: Select[Any]) -> tuple[Entry, ...]:
    found = connection.execute(statement).all()
    return tuple(Entry(**dict(zip(_FIELDS, values, strict=True))) for values in found)


def _within(position: int, scope: Scope) -> ColumnElement[bool]:
    so_far = TABLE.c.position <= position
    return so_far if scope is EVERYWHERE else and_(TABLE.c.tenant == scope, so_far)


def _matching(
    connection: Connection, position: int, scope: Scope, node: Node | None
) -> ColumnElement[bool]:
    within = _within(position, scope)
    if node is None:
        return within
    dialect: Any = connection.dialect.name
    return and_(within, filters.condition(node, _COLUMNS, dialect))


def search(
    connection: Connection, position: int, scope: Scope, node: Node | None, page: Page
) -> Found:
    """Answer a page of the trail up to a position, newest first unless sorted otherwise.

    A tenant shows the entries of that tenant only.
    """
    matching = _matching(connection, position, scope, node)
    statement = _selection().where(matching).order_by(*_order(page.sort))
    found = _entries(connection, statement.limit(page.size).offset(page.skipped))
    return Found(entries=found, total=_total(connection, position, scope, node))


def ranks(
    connection: Connection,
    position: int,
    scope: Scope,
    node: Node | None,
    sort: tuple[Sort, ...],
    limit: int,
) -> tuple[list[tuple[Any, ...]], int]:
    """Answer what the first entries are ordered by, and how many there are in all.

    Of each its position, and the value of each key of the order.
    """
    matching = _matching(connection, position, scope, node)
    keys = [_ORDER[key.field] for key in sort]
    statement = select(TABLE.c.position, *keys).where(matching).order_by(*_order(sort))
    found = [tuple(row) for row in connection.execute(statement.limit(limit))]
    return found, _total(connection, position, scope, node)


def entries(connection: Connection, positions: Collection[int]) -> dict[int, Entry]:
    """Answer the entries of the events at these positions."""
    found = _entries(connection, _selection().where(TABLE.c.position.in_(positions)))
    return {one.position: one for one in found}


def _order(sort: tuple[Sort, ...]) -> list[ColumnElement[Any]]:
    asked = [
        _ORDER[key.field].desc() if key.descending else _ORDER[key.field].asc() for key in sort
    ]
    return [*asked, TABLE.c.position.desc()]


def _total(connection: Connection, position: int, scope: Scope, node: Node | None) -> int:
    if node is None:
        # Every event has an entry, so in the whole installation there are as many as positions.
        if isinstance(scope, Everywhere):
            return position
        return batch.total(connection, TABLE, scope, position)
    matching = _matching(connection, position, scope, node)
    counting = select(func.count()).select_from(TABLE).where(matching)
    total: int = connection.execute(counting).scalar_one()
    return total


def entry(connection: Connection, position: int, scope: Scope, wanted: int) -> Entry | None:
    """Answer the entry of the event at the position `wanted`, None where the scope has none."""
    one = _selection().where(_within(position, scope), TABLE.c.position == wanted)
    return next(iter(_entries(connection, one)), None)


def history(
    connection: Connection, position: int, scope: Scope, object_id: str
) -> tuple[Entry, ...]:
    """Answer all entries whose detail has this id, newest first."""
    statement = _selection().where(_within(position, scope), TABLE.c.object_id == object_id)
    return _entries(connection, statement.order_by(TABLE.c.position.desc()))


def previous(connection: Connection, scope: Scope, later: Entry) -> Entry | None:
    """Answer the entry before this one that is about the very same object, None for the first.

    A group's memberships, an owner's tokens and the aliases of one type are objects of their own.
    """
    same = (
        TABLE.c[field].is_not_distinct_from(getattr(later, field))
        for field in ("object_id", "resource", "user_id", "token_id", "alias_type")
    )
    statement = _selection().where(_within(later.position - 1, scope), *same)
    found = _entries(connection, statement.order_by(TABLE.c.position.desc()).limit(1))
    return next(iter(found), None)


def following(
    connection: Connection, position: int, scope: Scope, node: Node | None, after: int, limit: int
) -> tuple[Entry, ...]:
    """Answer the next matching entries behind the position `after`, oldest first."""
    matching = _matching(connection, position, scope, node)
    statement = _selection().where(matching, TABLE.c.position > after)
    return _entries(connection, statement.order_by(TABLE.c.position).limit(limit))


async def stream(
    views: Views, position: int, scope: Scope, node: Node | None
) -> AsyncIterator[Entry]:
    """Yield all matching entries up to a position, oldest first, in constant memory.

    Each part is a query of its own, so that a slow receiver holds no transaction open.
    """
    after = 0
    while True:
        part = await views.ask(following, position, scope, node, after, _EXPORTED_AT_ONCE)
        for one in part:
            yield one
        if len(part) < _EXPORTED_AT_ONCE:
            return
        after = part[-1].position


# Differences


def patch(before: str | None, after: str | None) -> list[dict[str, Any]]:
    """Answer the JSON Patch (RFC 6902) from one object to another, both as JSON or None for none.

    By members of the object, in their alphabetical order: a member is added, replaced or removed
    as a whole.
    """
    old, new = _members(before), _members(after)
    operations: list[dict[str, Any]] = []
    for member in sorted({*old, *new}):
        path = "/" + member.replace("~", "~0").replace("/", "~1")
        if member not in new:
            operations.append({"op": "remove", "path": path})
        elif member not in old:
            operations.append({"op": "add", "path": path, "value": new[member]})
        elif old[member] != new[member]:
            operations.append({"op": "replace", "path": path, "value": new[member]})
    return operations


def _members(document: str | None) -> dict[str, Any]:
    return {} if document is None else msgspec.json.decode(document, type=dict[str, Any])


def as_text(document: str | None) -> str:
    """Answer an object for people to compare: keys sorted, two spaces; "" for none."""
    if document is None:
        return ""
    ordered = msgspec.json.encode(msgspec.json.decode(document), order="sorted")
    return msgspec.json.format(ordered, indent=2).decode()
