"""How does an object look in the audit trail, right before and right after an event?

In the contract's form, but flat and without what depends on the time of asking. Digests and
keyed indexes are left out; a sealed value only shows that it is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, to_builtins

from domain import aliases, permissions
from domain.ids import BindingId, GroupId, RoleId, ServiceAccountId, SinkId, TenantId, UserId

if TYPE_CHECKING:
    from domain.access import Narrowing
    from domain.state import Facts

Shape = dict[str, Any]

SEALED: Final = {"sealed": True}


def service_account(facts: Facts, id_: str) -> Shape | None:
    """Answer the service account, None where there is none."""
    account = facts.service_accounts.get(ServiceAccountId(id_))
    if account is None:
        return None
    return {
        "id": id_,
        "name": account.name,
        "description": account.description,
        "enabled": account.enabled,
        "instanceOwner": account.id in facts.owners,
    }


def user(facts: Facts, id_: str) -> Shape | None:
    """Answer the user without anything personal, None where there is none."""
    found = facts.users.get(UserId(id_))
    if found is None:
        return None
    return {
        "id": id_,
        "email": SEALED,
        **({} if found.first_name is UNSET else {"firstName": SEALED}),
        **({} if found.last_name is UNSET else {"lastName": SEALED}),
        **({} if found.password is UNSET else {"password": SEALED}),
        "restricted": found.restricted,
        "enabled": found.enabled,
        "instanceOwner": found.id in facts.owners,
    }


def principal(facts: Facts, id_: str) -> Shape | None:
    """Answer the user or service account, None where there is neither."""
    return user(facts, id_) or service_account(facts, id_)


def group(facts: Facts, id_: str) -> Shape | None:
    """Answer the group without its members, None where there is none."""
    found = facts.groups.get(GroupId(id_))
    if found is None:
        return None
    return {"id": id_, "name": found.name, "description": found.description}


def membership(facts: Facts, group_id: str, principal_id: str) -> Shape | None:
    """Answer the membership of a principal in a group, None where there is none."""
    members = facts.members.get(GroupId(group_id))
    held = None if members is None else members.get(UserId(principal_id))
    if held is None:
        return None
    return _present(
        groupId=group_id,
        userId=principal_id,
        membership=held.level,
        notBefore=held.not_before,
        expiresAt=held.expires_at,
    )


def role(facts: Facts, id_: str) -> Shape | None:
    """Answer the role, None where there is none."""
    found = facts.roles.get(RoleId(id_))
    if found is None:
        return None
    return {
        "id": id_,
        "name": found.name,
        "description": found.description,
        "permissions": permissions.to_lists(found.permissions),
        "isDefault": facts.default_roles.get(found.tenant) == found.id,
        "isManaged": found.is_managed,
    }


def binding(facts: Facts, id_: str) -> Shape | None:
    """Answer the binding, None where there is none."""
    found = facts.bindings.get(BindingId(id_))
    if found is None:
        return None
    return _present(
        id=id_,
        type="GROUP" if found.subject_type == "GROUP" else "USER",
        externalId=found.subject,
        roleId=found.role,
        namespaceId=found.scope.namespace,
        resource=found.scope.resource,
        notBefore=found.not_before,
        expiresAt=found.expires_at,
    )


def token(facts: Facts, id_: str) -> Shape | None:
    """Answer the token without its digest, None where there is none."""
    found = facts.tokens.get(id_)
    if found is None:
        return None
    return _present(
        id=id_,
        name=found.name,
        description=found.description,
        prefix=found.prefix,
        enabled=found.enabled,
        extended=found.extended,
        maxAgeSeconds=found.max_age_seconds,
        exp=found.expires_at,
        scope=UNSET if found.narrowing is UNSET else _scope(found.narrowing),
        allowedAddresses=found.allowed_addresses,
        createdBy=found.created_by,
        rotatedFrom=found.rotated_from,
        rotatedTo=found.rotated_to,
        graceUntil=found.grace_until,
    )


def _scope(narrowing: Narrowing) -> Shape:
    listed = narrowing.permissions
    return _present(
        permissions=UNSET if listed is UNSET else permissions.to_lists(listed),
        tenants=narrowing.tenants,
        namespaces=narrowing.namespaces,
        resources=narrowing.resources,
        instanceOwner=narrowing.instance_owner,
    )


def alias(facts: Facts, principal_id: str, tenant_id: str, type_: str) -> Shape | None:
    """Answer a principal's aliases of one type in a tenant, None where there is none."""
    held = aliases.held(facts, TenantId(tenant_id), UserId(principal_id))
    ids = [one.text for one in held if one.type == type_]
    if not ids:
        return None
    plain = sorted(id_ for id_ in ids if isinstance(id_, str))
    return {"type": type_, "ids": [*plain, *[SEALED] * (len(ids) - len(plain))]}


def tenant(facts: Facts, id_: str) -> Shape | None:
    """Answer the tenant, None where there never was one."""
    found = facts.tenants.get(TenantId(id_))
    return None if found is None else {"id": id_, "name": found.name, "deleted": found.deleted}


def tenant_access(facts: Facts, tenant_id: str, principal_id: str) -> Shape | None:
    """Answer the access of a principal to a tenant, None where there is none."""
    tenants = facts.access.get(UserId(principal_id))
    if tenants is None or TenantId(tenant_id) not in tenants:
        return None
    return {"tenantId": tenant_id, "userId": principal_id}


def sink(facts: Facts, id_: str) -> Shape | None:
    """Answer the sink, None where there is none."""
    found = facts.sinks.get(SinkId(id_))
    if found is None:
        return None
    return _present(
        id=id_,
        name=found.name,
        kind=found.kind,
        url=found.url,
        types=found.types,
        after=found.after,
        paused=found.paused,
    )


def _present(**members: object) -> Shape:
    return {name: to_builtins(value) for name, value in members.items() if value is not UNSET}
