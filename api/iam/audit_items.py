"""How does an entry of the audit trail appear in answers, and who was its actor?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType

from api import listing
from api.call import Call
from api.iam import principals
from domain.ids import ServiceAccountId, UserId
from domain.state import State
from projections import audit, export_csv, journal_trail
from projections.entries import Entry, Kind
from projections.journal_trail import Act, Shown

CSV_COLUMNS: Final = (
    "date type event resource resourceId namespace userId username userType tokenId ipAddress "
    "impersonatedBy tenantId position outcome details"
).split()

# Shapes


class GroupId(Struct, frozen=True, kw_only=True, rename="camel"):
    tenant_id: str
    group_id: str


class Actor(Struct, frozen=True, kw_only=True, rename="camel"):
    """Who did it, as known now; `email` is empty for programs and for erased people.

    The installation itself appears as a program, because clients know no third type.
    """

    id: str
    type: Literal["STANDARD", "SERVICE_ACCOUNT"]
    username: str
    email: str
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    first_name: str | UnsetType = UNSET
    last_name: str | UnsetType = UNSET
    group_list: tuple[GroupId, ...] = ()
    instance_owner: bool = False
    super_admin: bool = False


class AuditLog(Struct, frozen=True, kw_only=True, rename="camel"):
    """One event, or an entry of the journal.

    The patches are JSON Patches (RFC 6902) of the object, forward and back; without a change there
    is nothing in them.
    """

    id: str
    tenant_id: str | UnsetType
    type: Kind | Act
    date: datetime
    user_id: str
    ip_address: str | UnsetType
    impersonated_by: str | UnsetType
    detail: dict[str, str]
    applied_patch: list[dict[str, Any]]
    revert_patch: list[dict[str, Any]]
    position: int
    event: str
    token_id: str | UnsetType
    user_agent: str | UnsetType
    reason: str | UnsetType
    request_id: str
    outcome: str


class Item(Struct, frozen=True, kw_only=True, rename="camel"):
    audit_log: AuditLog
    user: Actor


class HistoryEntry(Struct, frozen=True, kw_only=True):
    id: str
    date: datetime
    username: str


class Difference(Struct, frozen=True, kw_only=True):
    """An object as JSON text at two moments; "" where it did not exist."""

    before: str
    after: str


def entry_id(entry: Entry) -> str:
    """Answer the id by which the contract names an entry."""
    return f"e{entry.position}"


def journal_item(shown: Shown, actors: dict[str, Actor]) -> Item:
    """Answer an entry of the journal with its actor, who may be nobody that is known."""
    sequence, entry = shown.kept
    actor = entry.principal or ""
    log = AuditLog(
        id=f"j{sequence}",
        tenant_id=_present(entry.tenant),
        type=shown.type,
        date=entry.at,
        user_id=actor,
        ip_address=_present(entry.address),
        impersonated_by=UNSET,
        detail=journal_trail.detail(shown),
        applied_patch=[],
        revert_patch=[],
        position=entry.position,
        event=journal_trail.event_of(shown),
        token_id=_present(entry.token),
        user_agent=_present(entry.agent),
        reason=UNSET,
        request_id=entry.request_id or "",
        outcome=entry.outcome,
    )
    nobody = Actor(id="", type="STANDARD", username="", email="")
    return Item(audit_log=log, user=actors.get(actor, nobody))


def item(entry: Entry, actors: dict[str, Actor]) -> Item:
    """Answer an entry with its actor."""
    log = AuditLog(
        id=entry_id(entry),
        tenant_id=_present(entry.tenant),
        type=entry.type,
        date=entry.at,
        user_id=entry.actor_id,
        ip_address=_present(entry.actor_address),
        impersonated_by=_present(entry.actor_impersonator),
        detail=audit.detail(entry),
        applied_patch=audit.patch(entry.before, entry.after),
        revert_patch=audit.patch(entry.after, entry.before),
        position=entry.position,
        event=entry.topic,
        token_id=_present(entry.actor_token_id),
        user_agent=_present(entry.actor_user_agent),
        reason=_present(entry.reason),
        request_id=entry.correlation_id,
        outcome=audit.OUTCOME,
    )
    return Item(audit_log=log, user=actors[entry.actor_id])


def _present(text: str | None) -> str | UnsetType:
    return UNSET if text is None else text


# Actors


class _Acted(NamedTuple):
    """Who acted, by what name if it is a program, and the last position before."""

    id: str
    type: str
    name: str | None
    before: int


async def actors(
    call: Call, entries: Iterable[Entry], shown: Iterable[Shown] = ()
) -> dict[str, Actor]:
    """Answer the actors of these events and entries of the journal by their ids.

    One who has been deleted since is looked up in the state in which it acted.
    """
    first: dict[str, _Acted] = {}
    for entry in entries:
        acted = _Acted(entry.actor_id, entry.actor_type, entry.actor_name, entry.position - 1)
        first.setdefault(acted.id, acted)
    for one in shown:
        noted = one.kept.entry
        if noted.principal is not None:
            acted = _Acted(noted.principal, noted.principal_type or "", None, noted.position)
            first.setdefault(acted.id, acted)
    return {id_: await _actor(call, acted) for id_, acted in first.items()}


async def _actor(call: Call, acted: _Acted) -> Actor:
    id_ = acted.id
    if acted.type == "user":
        state = call.state
        if UserId(id_) not in state.users:
            state = await call.service.state_at(acted.before)
        return await _person(call, state, UserId(id_))
    account = call.state.service_accounts.get(ServiceAccountId(id_))
    name = acted.name or id_ if account is None else account.name
    return Actor(
        id=id_,
        type="SERVICE_ACCOUNT",
        username=name,
        email="",
        name=name,
        description=UNSET if account is None else account.description,
        **_standing(call, ServiceAccountId(id_)),
    )


async def _person(call: Call, state: State, id_: UserId) -> Actor:
    person = await call.service.people.of(state.users[id_])
    return Actor(
        id=id_,
        type="STANDARD",
        username=person.email,
        email=person.email,
        name=person.display_name,
        first_name=person.first_name or UNSET,
        last_name=person.last_name or UNSET,
        **_standing(call, id_),
    )


def _standing(call: Call, id_: UserId | ServiceAccountId) -> dict[str, Any]:
    # A tenant's trail tells nothing of its actors' groups in others (security 2.3).
    tenant = call.tenant if "tenant" in call.parameters else UNSET
    owner = id_ in call.state.owners
    groups = tuple(
        GroupId(tenant_id=one.tenant, group_id=one.group)
        for one in principals.held(call.state, tenant, id_, listing.moment(call))
    )
    return {"group_list": groups, "instance_owner": owner, "super_admin": owner}


# CSV


async def csv_lines(call: Call, entries: AsyncIterator[Entry]) -> AsyncIterator[str]:
    """Yield the trail as CSV (RFC 4180), the header first; each actor is named once."""
    known: dict[str, Actor] = {}
    yield export_csv.row(CSV_COLUMNS)
    async for entry in entries:
        if entry.actor_id not in known:
            known |= await actors(call, (entry,))
        yield export_csv.row(_cells(entry, known[entry.actor_id]))


def _cells(entry: Entry, actor: Actor) -> list[str]:
    detail = audit.detail(entry)
    return [
        entry.at.isoformat().replace("+00:00", "Z"),
        entry.type,
        entry.topic,
        entry.resource,
        entry.object_id,
        entry.namespace or "",
        entry.actor_id,
        actor.username,
        actor.type,
        entry.actor_token_id or "",
        entry.actor_address or "",
        entry.actor_impersonator or "",
        entry.tenant or "",
        str(entry.position),
        audit.OUTCOME,
        msgspec.json.encode(detail).decode(),
    ]
