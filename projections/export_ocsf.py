"""Which record of OCSF 1.8.0 does an event come to? (audit-export 4).

One row for every topic: class, activity, and what stands in the record besides what stands in
all. A later version of OCSF renames classes, and gets a table of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from domain import (
    aliases,
    erasures,
    groups,
    principals,
    roles,
    service_accounts,
    sinks,
    tenants,
    tokens,
    users,
)
from projections.exporting import Format, one_line

if TYPE_CHECKING:
    from projections.entries import Entry
    from projections.exporting import Telling, Told

VERSION: Final = "1.8.0"
PRODUCT: Final = "Muniment"

ACCOUNT_CHANGE: Final = 3001
ENTITY_MANAGEMENT: Final = 3004
USER_ACCESS: Final = 3005
GROUP_MANAGEMENT: Final = 3006

_CLASSES_A_CATEGORY: Final = 1_000
_ACTIVITIES_A_CLASS: Final = 100
INFORMATIONAL: Final = 1
SUCCESS: Final = 1
UNKNOWN, USER, _ADMIN, _SYSTEM, SERVICE = 0, 1, 2, 3, 4
_OTHER: Final = 99
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)

Members = dict[str, Any]
Objects = Callable[["Entry", "Telling"], Members]


class Row(Struct, frozen=True):
    """The class and the activity of a topic, and the objects of its records."""

    class_uid: int
    activity_id: int
    objects: Objects


# Objects


def named(members: Members, name: str | None) -> Members:
    return members if name is None else {**members, "name": name}


def user_of(id_: str, telling: Telling) -> Members:
    state = telling.state
    type_id = UNKNOWN  # of one that has been deleted since, unless the event tells
    if id_ in state.owners:
        type_id = _ADMIN
    elif id_ in state.service_accounts:
        type_id = SERVICE
    elif id_ in state.users:
        type_id = USER
    return named({"uid": id_, "type_id": type_id}, telling.principal(id_))


_ACTOR_TYPES: Final = {
    "user": USER,
    "service_account": SERVICE,
    "system": _SYSTEM,
    "anonymous": UNKNOWN,
}


def _actor(entry: Entry, telling: Telling) -> Members:
    type_id = _ACTOR_TYPES[entry.actor_type]
    if entry.actor_id in telling.state.owners:
        type_id = _ADMIN
    name = entry.actor_name or telling.principal(entry.actor_id)
    return {"user": named({"uid": entry.actor_id, "type_id": type_id}, name)}


def _account(entry: Entry, telling: Telling) -> Members:
    user = user_of(entry.object_id, telling)
    return {"user": user if user["type_id"] else {**user, "type_id": USER}}


def _group_of(entry: Entry, telling: Telling) -> Members:
    id_ = entry.group_id or entry.object_id
    name = entry.object_name if entry.resource == "GROUP" else None
    return named({"uid": id_}, name or telling.group(id_))


def _group(entry: Entry, telling: Telling) -> Members:
    return {"group": _group_of(entry, telling)}


def _member(entry: Entry, telling: Telling) -> Members:
    return {"group": _group_of(entry, telling), "user": user_of(entry.user_id or "", telling)}


class _Resource(Struct):
    type: str
    id: str


class _Bound(Struct):
    resource: _Resource | None = None


_bound: Final = msgspec.json.Decoder(_Bound).decode


def _grant(entry: Entry, telling: Telling) -> Members:
    """Answer what a binding gives and where, whoever it is for."""
    place = {"uid": entry.tenant or "", "type": "tenant"}
    resource = _bound(entry.after or entry.before or "{}").resource
    if resource is not None:
        place = {"uid": resource.id, "type": resource.type}
    elif entry.namespace is not None:
        place = {"uid": entry.namespace, "type": "namespace"}
    role = telling.role(entry.role_id or "")
    return {"privileges": [f"role:{role}"], "resource": place}


def _grant_to_user(entry: Entry, telling: Telling) -> Members:
    return {"user": user_of(entry.user_id or "", telling), **_grant(entry, telling)}


def _grant_to_group(entry: Entry, telling: Telling) -> Members:
    return {"group": _group_of(entry, telling), **_grant(entry, telling)}


def _entity(entry: Entry, telling: Telling) -> Members:
    uid, type_, data = entry.object_id, entry.resource.lower(), {}
    name = entry.object_name
    if entry.token_id is not None:
        data = {f"{type_}_id": uid}
        uid, type_, name = entry.token_id, "api_token", entry.token_name
    elif entry.alias_type is not None:
        data = {f"{type_}_id": uid, "alias_type": entry.alias_type}
        type_ = "alias"
    elif entry.resource == "USER":
        name = telling.principal(uid)
    entity = named({"uid": uid, "type_id": _OTHER, "type": type_}, name)
    return {"entity": {**entity, "data": data} if data else entity}


# Rows


def _always(class_uid: int, activity_id: int, objects: Objects) -> Callable[[Entry], Row]:
    row = Row(class_uid, activity_id, objects)
    return lambda _: row


def _entities(activity_id: int) -> Callable[[Entry], Row]:
    return _always(ENTITY_MANAGEMENT, activity_id, _entity)


def _accounts(activity_id: int) -> Callable[[Entry], Row]:
    return _always(ACCOUNT_CHANGE, activity_id, _account)


_PASSWORD_CHANGED: Final = Row(ACCOUNT_CHANGE, 3, _account)
_PASSWORD_RESET: Final = Row(ACCOUNT_CHANGE, 4, _account)


def _password(entry: Entry) -> Row:
    return _PASSWORD_CHANGED if entry.actor_id == entry.object_id else _PASSWORD_RESET


def _binding(activity_id: int) -> Callable[[Entry], Row]:
    to_user = Row(USER_ACCESS, activity_id, _grant_to_user)
    to_group = Row(GROUP_MANAGEMENT, activity_id, _grant_to_group)
    return lambda entry: to_user if entry.group_id is None else to_group


_CREATED, _CHANGED, _DELETED = (_entities(activity_id) for activity_id in (1, 3, 4))

TABLE: Final[dict[str, Callable[[Entry], Row]]] = {
    tenants.LogOpened.topic: _CHANGED,
    tenants.TenantCreated.topic: _CREATED,
    tenants.TenantRenamed.topic: _CHANGED,
    tenants.TenantDeleted.topic: _DELETED,
    tenants.ManagedRoleCreated.topic: _CREATED,
    users.UserCreated.topic: _accounts(1),
    users.UserEnabled.topic: _accounts(2),
    users.UserDisabled.topic: _accounts(5),
    users.UserDeleted.topic: _accounts(6),
    erasures.UserErased.topic: _CHANGED,
    users.PasswordSet.topic: _password,
    users.PasswordRehashed.topic: _CHANGED,
    users.PasswordRemoved.topic: _CHANGED,
    users.UserEmailChanged.topic: _CHANGED,
    users.UserRenamed.topic: _CHANGED,
    users.UserRestricted.topic: _CHANGED,
    users.UserUnrestricted.topic: _CHANGED,
    users.SessionsEnded.topic: _CHANGED,
    service_accounts.ServiceAccountCreated.topic: _CREATED,
    service_accounts.ServiceAccountRenamed.topic: _CHANGED,
    service_accounts.ServiceAccountDescribed.topic: _CHANGED,
    service_accounts.ServiceAccountEnabled.topic: _entities(8),
    service_accounts.ServiceAccountDisabled.topic: _entities(9),
    service_accounts.ServiceAccountDeleted.topic: _DELETED,
    principals.TenantAccessGranted.topic: _CHANGED,
    principals.TenantAccessEnded.topic: _CHANGED,
    principals.MemberAdded.topic: _always(GROUP_MANAGEMENT, 3, _member),
    principals.MemberRemoved.topic: _always(GROUP_MANAGEMENT, 4, _member),
    principals.BindingCreated.topic: _binding(1),
    principals.BindingDeleted.topic: _binding(2),
    principals.TokenRevoked.topic: _DELETED,
    principals.InstanceOwnerGranted.topic: _CHANGED,
    principals.InstanceOwnerRevoked.topic: _CHANGED,
    aliases.AliasSet.topic: _CHANGED,
    aliases.AliasRemoved.topic: _CHANGED,
    groups.GroupCreated.topic: _always(GROUP_MANAGEMENT, 6, _group),
    groups.GroupDeleted.topic: _always(GROUP_MANAGEMENT, 5, _group),
    groups.GroupRenamed.topic: _CHANGED,
    groups.GroupDescribed.topic: _CHANGED,
    groups.MembershipChanged.topic: _CHANGED,
    roles.RoleCreated.topic: _CREATED,
    roles.RoleRenamed.topic: _CHANGED,
    roles.RoleDescribed.topic: _CHANGED,
    roles.RolePermissionsSet.topic: _CHANGED,
    roles.RoleMadeDefault.topic: _CHANGED,
    roles.DefaultRoleEnded.topic: _CHANGED,
    roles.RoleDeleted.topic: _DELETED,
    sinks.SinkCreated.topic: _CREATED,
    sinks.SinkPaused.topic: _CHANGED,
    sinks.SinkResumed.topic: _CHANGED,
    sinks.SinkReplayed.topic: _CHANGED,
    sinks.SinkDeleted.topic: _DELETED,
    tokens.TokenIssued.topic: _CREATED,
    tokens.TokenRotated.topic: _CHANGED,
    tokens.TokenDisabled.topic: _CHANGED,
    tokens.TokenEnabled.topic: _CHANGED,
    tokens.TokenExtended.topic: _CHANGED,
}

# Lines


class Place(NamedTuple):
    """Where and when something stands in the log or the journal, and of which request it is."""

    sequence: int
    at: datetime
    tenant: str | None
    correlation: str | None


def milliseconds(instant: datetime) -> int:
    """Answer an instant as OCSF has it: milliseconds since 1970."""
    return (instant - _EPOCH) // _MILLISECOND


def frame(
    class_uid: int, activity_id: int, place: Place, telling: Telling, *, journal: bool = False
) -> Members:
    """Answer what stands in every record; an entry of the journal has not the uid of an event."""
    time = milliseconds(place.at)
    log_id = f"{telling.state.log_id}/journal" if journal else telling.state.log_id
    metadata: Members = {
        "version": VERSION,
        "product": {"name": PRODUCT, "vendor_name": PRODUCT, "version": telling.version},
        "uid": f"{log_id}/{place.sequence}",
        "log_name": "journal" if journal else "audit",
        "sequence": place.sequence,
        "logged_time": time,
    }
    if place.correlation is not None:
        metadata["correlation_uid"] = place.correlation
    if place.tenant is not None:
        metadata["tenant_uid"] = place.tenant
    return {
        "class_uid": class_uid,
        "category_uid": class_uid // _CLASSES_A_CATEGORY,
        "activity_id": activity_id,
        "type_uid": class_uid * _ACTIVITIES_A_CLASS + activity_id,
        "time": time,
        "metadata": metadata,
    }


def ocsf(told: Told, telling: Telling) -> Members:
    """Answer the record of an event."""
    entry = told.entry
    row = TABLE[entry.topic](entry)
    place = Place(entry.position, entry.at, entry.tenant, entry.correlation_id)
    members: Members = {
        **frame(row.class_uid, row.activity_id, place, telling),
        "severity_id": INFORMATIONAL,
        "status_id": SUCCESS,
        "actor": _actor(entry, telling),
        **row.objects(entry, telling),
    }
    if entry.actor_address is not None:
        members["src_endpoint"] = {"ip": entry.actor_address}
    return members


_encode: Final = msgspec.json.Encoder().encode


def line(told: Told, telling: Telling) -> bytes:
    """Answer the line of an event, its end included."""
    return one_line(_encode(ocsf(told, telling))) + b"\n"


OCSF: Final[Format[Told]] = Format(
    name="ocsf", extension="ocsf.ndjson", media_type="application/x-ndjson", line=line
)
