"""How does an entry of the trail appear in our own answers?

With a sentence, what changed, and the event itself. Programs, groups, roles and tokens are named as
the log names them; people only to those who may see the tenant's users, all others by their ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from api.access_forms import AccessForm
from api.iam import principals
from domain.events import ActorType, decode
from domain.ids import GroupId, RoleId, ServiceAccountId, UserId
from domain.permissions import Permission
from projections.entries import Entry
from projections.sentences import NameOf, sentence
from projections.shown import shown

if TYPE_CHECKING:
    from api.call import Call
    from api.service import Service
    from domain.state import State

_SEES_PEOPLE: Final = Permission("USER", "VIEW")

# Shapes


class Actor(Struct, frozen=True, kw_only=True, rename="camel"):
    """Who acted, with which token, by which way and from where."""

    type: ActorType
    id: str
    name: str | UnsetType
    token_id: str | UnsetType
    via: str | UnsetType
    address: str | UnsetType
    user_agent: str | UnsetType
    impersonator: str | UnsetType


class Target(Struct, frozen=True, kw_only=True, rename="camel"):
    """The object that an event is about, and the others that it concerns."""

    type: str
    id: str
    name: str | UnsetType
    namespace: str | UnsetType
    user_id: str | UnsetType
    group_id: str | UnsetType
    role_id: str | UnsetType
    token_id: str | UnsetType
    token_name: str | UnsetType
    alias_type: str | UnsetType


class TrailEntry(Struct, frozen=True, kw_only=True, rename="camel"):
    """One event: who did what to what, and the object right before and right after it.

    `access` tells whose rights it changed, where that is asked for.
    """

    position: int
    topic: str
    at: datetime
    actor: Actor
    tenant: str | UnsetType
    command_id: str
    correlation_id: str
    reason: str | UnsetType
    target: Target
    sentence: str
    before: dict[str, Any] | UnsetType
    after: dict[str, Any] | UnsetType
    event: dict[str, Any]
    access: AccessForm | UnsetType = UNSET


class RelatedEntry(Struct, frozen=True, kw_only=True):
    """An entry that belongs to another one."""

    position: int
    topic: str
    at: datetime
    sentence: str


# Making them


async def items(call: Call, entries: Iterable[Entry]) -> list[TrailEntry]:
    """Answer how entries appear to the caller; their records are read off the event loop.

    Raises what reading the log raises.
    """
    entries = tuple(entries)
    name_of = await names(call, entries)
    return await asyncio.to_thread(_items, call.service, entries, name_of)


def _items(service: Service, entries: tuple[Entry, ...], name_of: NameOf) -> list[TrailEntry]:
    records = service.records.at([entry.position for entry in entries])
    is_erased = service.vault.is_erased
    return [
        _item(entry, name_of, shown(decode(record).envelope.event, is_erased))
        for entry, record in zip(entries, records, strict=True)
    ]


def _item(entry: Entry, name_of: NameOf, event: dict[str, Any]) -> TrailEntry:
    return TrailEntry(
        position=entry.position,
        topic=entry.topic,
        at=entry.at,
        actor=Actor(
            type=entry.actor_type,
            id=entry.actor_id,
            name=_present(name_of(entry.actor_id) or entry.actor_name),
            token_id=_present(entry.actor_token_id),
            via=_present(entry.actor_via),
            address=_present(entry.actor_address),
            user_agent=_present(entry.actor_user_agent),
            impersonator=_present(entry.actor_impersonator),
        ),
        tenant=_present(entry.tenant),
        command_id=entry.command_id,
        correlation_id=entry.correlation_id,
        reason=_present(entry.reason),
        target=Target(
            type=entry.resource,
            id=entry.object_id,
            name=_present(name_of(entry.object_id) or entry.object_name),
            namespace=_present(entry.namespace),
            user_id=_present(entry.user_id),
            group_id=_present(entry.group_id),
            role_id=_present(entry.role_id),
            token_id=_present(entry.token_id),
            token_name=_present(entry.token_name),
            alias_type=_present(entry.alias_type),
        ),
        sentence=sentence(entry, name_of),
        before=_document(entry.before),
        after=_document(entry.after),
        event=event,
    )


async def related(call: Call, entries: Iterable[Entry]) -> list[RelatedEntry]:
    """Answer how entries appear beside another one."""
    entries = tuple(entries)
    name_of = await names(call, entries)
    return [
        RelatedEntry(
            position=entry.position,
            topic=entry.topic,
            at=entry.at,
            sentence=sentence(entry, name_of),
        )
        for entry in entries
    ]


def _present(text: str | None) -> str | UnsetType:
    return UNSET if text is None else text


def _document(text: str | None) -> dict[str, Any] | UnsetType:
    return UNSET if text is None else msgspec.json.decode(text, type=dict[str, Any])


# Names


async def names(call: Call, entries: Iterable[Entry]) -> NameOf:
    """Answer by which name the caller may know each id in these entries, at the call's moment."""
    ids = {id_ for one in entries for id_ in (one.actor_id, one.object_id, one.user_id)}
    return await names_of(call, ids)


async def names_of(call: Call, ids: Iterable[str | None]) -> NameOf:
    """Answer by which name the caller may know each of these ids, at the call's moment."""
    state = call.state
    sees = _people_seen(call)
    wanted = {UserId(id_) for id_ in ids if id_ is not None}
    people = [user for id_ in wanted if (user := state.users.get(id_)) is not None and sees(id_)]
    found = await call.service.people.of_all(people)
    persons = {
        user.id: person.display_name
        for user, person in zip(people, found, strict=True)
        if person.display_name
    }
    return partial(_name, state, persons)


def _name(state: State, persons: dict[UserId, str], id_: str) -> str | None:
    known = (
        state.service_accounts.get(ServiceAccountId(id_))
        or state.groups.get(GroupId(id_))
        or state.roles.get(RoleId(id_))
    )
    return persons.get(UserId(id_)) if known is None else known.name


def _people_seen(call: Call) -> Callable[[UserId], bool]:
    """Answer which users the caller would find in a list of users, too."""
    if "tenant" not in call.parameters:
        return lambda _: True
    if not principals.may(call, _SEES_PEOPLE):
        return lambda _: False
    access, tenant = call.state.access, call.tenant
    return lambda id_: tenant in access.get(id_, ())
