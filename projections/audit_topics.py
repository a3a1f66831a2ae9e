"""What is each event about, and which kind of act is it? One line for every topic."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, Struct, structs

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
from domain.state import Facts
from projections import audit_shapes as shapes
from projections.audit_shapes import Shape
from projections.entries import Kind

if TYPE_CHECKING:
    from domain.ids import BindingId, PrincipalId, TokenId


class Target(Struct, frozen=True, kw_only=True):
    """The object that an event is about, and the others that it concerns (kestra-iam 6.8)."""

    resource: str
    object_id: str
    object_name: str | None = None
    namespace: str | None = None
    user_id: str | None = None
    group_id: str | None = None
    role_id: str | None = None
    token_id: str | None = None
    token_name: str | None = None
    alias_type: str | None = None


class About(Struct, frozen=True):
    """How events of a topic are read: their kind, their target, and the object as it stands.

    The functions are asked with the facts before or after the event, and the event.
    """

    kind: Kind
    target: Callable[[Facts, Any], Target]
    object: Callable[[Facts, Any], Shape | None]


# Targets


def _name(shape: Shape | None) -> str | None:
    return None if shape is None else shape["name"]


def _service_account(facts: Facts, id_: str) -> Target:
    name = _name(shapes.service_account(facts, id_))
    return Target(resource="SERVICE_ACCOUNT", object_id=id_, object_name=name)


def _user(_facts: Facts, id_: str) -> Target:
    return Target(resource="USER", object_id=id_)


def _principal(facts: Facts, id_: PrincipalId) -> Target:
    return _service_account(facts, id_) if id_ in facts.service_accounts else _user(facts, id_)


def _group(facts: Facts, id_: str, user_id: str | None = None) -> Target:
    name = _name(shapes.group(facts, id_))
    return Target(resource="GROUP", object_id=id_, object_name=name, group_id=id_, user_id=user_id)


def _role(facts: Facts, id_: str) -> Target:
    name = _name(shapes.role(facts, id_))
    return Target(resource="ROLE", object_id=id_, object_name=name, role_id=id_)


def _binding(facts: Facts, id_: BindingId) -> Target:
    binding = facts.bindings.get(id_)
    if binding is None:
        return Target(resource="BINDING", object_id=id_)
    is_group = binding.subject_type == "GROUP"
    return Target(
        resource="BINDING",
        object_id=id_,
        namespace=None if binding.scope.namespace is UNSET else binding.scope.namespace,
        user_id=None if is_group else binding.subject,
        group_id=binding.subject if is_group else None,
        role_id=binding.role,
    )


def _token(facts: Facts, id_: TokenId) -> Target:
    """Answer the owner: a token's entries are its owner's, and name the token beside."""
    token = facts.tokens.get(id_)
    if token is None:
        return Target(resource="USER", object_id=id_, token_id=id_)
    owner = _principal(facts, token.owner)
    return Target(
        resource=owner.resource,
        object_id=owner.object_id,
        object_name=owner.object_name,
        token_id=id_,
        token_name=token.name,
    )


def _alias(facts: Facts, event: aliases.Event) -> Target:
    """Answer the carrier: the entries of its aliases are its own, and name the type beside."""
    return structs.replace(_principal(facts, event.principal), alias_type=event.type)


def _tenant(facts: Facts, id_: str) -> Target:
    name = _name(shapes.tenant(facts, id_))
    return Target(resource="TENANT", object_id=id_, object_name=name)


# Lines


def _of_account(kind: Kind) -> About:
    return About(
        kind,
        lambda facts, event: _service_account(facts, event.id),
        lambda facts, event: shapes.service_account(facts, event.id),
    )


def _of_user(kind: Kind) -> About:
    return About(
        kind,
        lambda facts, event: _user(facts, event.id),
        lambda facts, event: shapes.user(facts, event.id),
    )


def _of_owner(kind: Kind) -> About:
    return About(
        kind,
        lambda facts, event: _principal(facts, event.principal),
        lambda facts, event: shapes.principal(facts, event.principal),
    )


def _of_group(kind: Kind) -> About:
    return About(
        kind,
        lambda facts, event: _group(facts, event.id),
        lambda facts, event: shapes.group(facts, event.id),
    )


def _of_membership(kind: Kind) -> About:
    return About(
        kind,
        lambda facts, event: _group(facts, event.group, event.principal),
        lambda facts, event: shapes.membership(facts, event.group, event.principal),
    )


def _of_role(kind: Kind) -> About:
    return About(
        kind,
        lambda facts, event: _role(facts, event.id),
        lambda facts, event: shapes.role(facts, event.id),
    )


def _of_binding(kind: Kind) -> About:
    return About(
        kind,
        lambda facts, event: _binding(facts, event.id),
        lambda facts, event: shapes.binding(facts, event.id),
    )


def _of_token(kind: Kind) -> About:
    return About(
        kind,
        lambda facts, event: _token(facts, event.id),
        lambda facts, event: shapes.token(facts, event.id),
    )


def _of_tenant(kind: Kind) -> About:
    return About(
        kind,
        lambda facts, event: _tenant(facts, event.tenant),
        lambda facts, event: shapes.tenant(facts, event.tenant),
    )


def _of_sink(kind: Kind) -> About:
    return About(
        kind,
        lambda facts, event: Target(
            resource="SINK", object_id=event.id, object_name=_name(shapes.sink(facts, event.id))
        ),
        lambda facts, event: shapes.sink(facts, event.id),
    )


def _of_access(kind: Kind) -> About:
    return About(
        kind,
        lambda _facts, event: Target(
            resource="TENANT_ACCESS", object_id=event.principal, user_id=event.principal
        ),
        lambda facts, event: shapes.tenant_access(facts, event.tenant, event.principal),
    )


def _of_alias(kind: Kind) -> About:
    return About(
        kind,
        _alias,
        lambda facts, event: shapes.alias(facts, event.principal, event.tenant, event.type),
    )


def _opened(facts: Facts, event: tenants.LogOpened) -> Shape | None:
    return {"logId": event.log_id} if facts.position else None


# What makes, grants or adds is CREATE; deleted, revoked and removed are DELETE; all else UPDATE.
TOPICS: Final[dict[str, About]] = {
    tenants.LogOpened.topic: About(
        "CREATE",
        lambda _facts, event: Target(resource="INSTALLATION", object_id=event.log_id),
        _opened,
    ),
    tenants.TenantCreated.topic: _of_tenant("CREATE"),
    tenants.TenantRenamed.topic: _of_tenant("UPDATE"),
    tenants.TenantDeleted.topic: _of_tenant("DELETE"),
    tenants.ManagedRoleCreated.topic: _of_role("CREATE"),
    users.UserCreated.topic: _of_user("CREATE"),
    users.UserEmailChanged.topic: _of_user("UPDATE"),
    users.UserRenamed.topic: _of_user("UPDATE"),
    users.PasswordSet.topic: _of_user("UPDATE"),
    users.PasswordRehashed.topic: _of_user("UPDATE"),
    users.PasswordRemoved.topic: _of_user("DELETE"),
    users.UserRestricted.topic: _of_user("UPDATE"),
    users.UserUnrestricted.topic: _of_user("UPDATE"),
    users.UserDisabled.topic: _of_user("UPDATE"),
    users.UserEnabled.topic: _of_user("UPDATE"),
    users.SessionsEnded.topic: _of_user("UPDATE"),
    users.UserDeleted.topic: _of_user("DELETE"),
    erasures.UserErased.topic: _of_user("UPDATE"),
    service_accounts.ServiceAccountCreated.topic: _of_account("CREATE"),
    service_accounts.ServiceAccountRenamed.topic: _of_account("UPDATE"),
    service_accounts.ServiceAccountDescribed.topic: _of_account("UPDATE"),
    service_accounts.ServiceAccountDisabled.topic: _of_account("UPDATE"),
    service_accounts.ServiceAccountEnabled.topic: _of_account("UPDATE"),
    service_accounts.ServiceAccountDeleted.topic: _of_account("DELETE"),
    principals.TenantAccessGranted.topic: _of_access("CREATE"),
    principals.TenantAccessEnded.topic: _of_access("UPDATE"),
    principals.MemberAdded.topic: _of_membership("CREATE"),
    principals.MemberRemoved.topic: _of_membership("DELETE"),
    principals.BindingCreated.topic: _of_binding("CREATE"),
    principals.BindingDeleted.topic: _of_binding("DELETE"),
    principals.TokenRevoked.topic: _of_token("DELETE"),
    aliases.AliasSet.topic: _of_alias("CREATE"),
    aliases.AliasRemoved.topic: _of_alias("DELETE"),
    principals.InstanceOwnerGranted.topic: _of_owner("CREATE"),
    principals.InstanceOwnerRevoked.topic: _of_owner("DELETE"),
    groups.GroupCreated.topic: _of_group("CREATE"),
    groups.GroupRenamed.topic: _of_group("UPDATE"),
    groups.GroupDescribed.topic: _of_group("UPDATE"),
    groups.GroupDeleted.topic: _of_group("DELETE"),
    groups.MembershipChanged.topic: _of_membership("UPDATE"),
    roles.RoleCreated.topic: _of_role("CREATE"),
    roles.RoleRenamed.topic: _of_role("UPDATE"),
    roles.RoleDescribed.topic: _of_role("UPDATE"),
    roles.RolePermissionsSet.topic: _of_role("UPDATE"),
    roles.RoleMadeDefault.topic: _of_role("UPDATE"),
    roles.DefaultRoleEnded.topic: _of_role("UPDATE"),
    roles.RoleDeleted.topic: _of_role("DELETE"),
    sinks.SinkCreated.topic: _of_sink("CREATE"),
    sinks.SinkPaused.topic: _of_sink("UPDATE"),
    sinks.SinkResumed.topic: _of_sink("UPDATE"),
    sinks.SinkReplayed.topic: _of_sink("UPDATE"),
    sinks.SinkDeleted.topic: _of_sink("DELETE"),
    tokens.TokenIssued.topic: _of_token("CREATE"),
    tokens.TokenRotated.topic: _of_token("UPDATE"),
    tokens.TokenDisabled.topic: _of_token("UPDATE"),
    tokens.TokenEnabled.topic: _of_token("UPDATE"),
    tokens.TokenExtended.topic: _of_token("UPDATE"),
}
