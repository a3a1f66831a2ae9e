"""How is a random command of each kind made?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from msgspec import UNSET, UnsetType

from domain import (
    aliases,
    bindings,
    erasures,
    groups,
    owners,
    roles,
    service_accounts,
    sinks,
    tenants,
    tokens,
    users,
)
from domain.access import Narrowing
from domain.commands import Command
from domain.ids import (
    MAIN,
    BindingId,
    GroupId,
    RoleId,
    ServiceAccountId,
    SinkId,
    TenantId,
    TokenId,
    UserId,
)
from domain.permissions import Permissions, from_lists
from domain.scopes import WHOLE_TENANT, Resource, Scope
from domain.sealed import Secret
from tests.domain.world import (
    BETA,
    PROD,
    alias_index,
    digest_of,
    index,
    managed_ids,
    prefix_of,
    sealed,
)

if TYPE_CHECKING:
    from tests.domain.campaign import Campaign

TENANTS = (MAIN, BETA)
ALIAS_IDS = ("alice", "spiffe://example/bot", "4711", "0815")
IAM_ONLY = Narrowing(
    permissions=from_lists({"GROUP": ["*"], "SERVICE_ACCOUNT": ["*"], "BINDING": ["*"]})
)
PERMISSIONS = tuple(
    from_lists(lists)
    for lists in (
        {"GROUP": ["VIEW"]},
        {"FLOW": ["VIEW"], "SECRET": ["READ"]},
        {"*": ["VIEW"]},
        {"GROUP": ["*"], "FLOW": ["*"]},
    )
)
SCOPES = (
    WHOLE_TENANT,
    PROD,
    Scope(namespace="prod.billing"),
    Scope(resource=Resource("record", "r-17")),
)
NARROWINGS: tuple[Narrowing | UnsetType, ...] = (
    UNSET,
    UNSET,
    Narrowing(),
    Narrowing(instance_owner=True),
    Narrowing(permissions=PERMISSIONS[0]),
    Narrowing(tenants=(MAIN,), instance_owner=True),
    Narrowing(namespaces=("prod",)),
    Narrowing(resources=(Resource("record", "r-17"),), namespaces=("prod.billing",)),
    IAM_ONLY,
)


def _assignment(one: Campaign) -> bindings.Assignment:
    to_group = one.random.random() < 0.4
    begins, ends = one.span()
    return bindings.Assignment(
        id=one.fresh(BindingId, "bnd"),
        default_binding=one.fresh(BindingId, "bnd"),
        subject_type="GROUP" if to_group else "PRINCIPAL",
        subject=one.group() if to_group else one.principal(),
        role=one.role(),
        scope=one.pick(SCOPES),
        not_before=begins,
        expires_at=ends,
    )


def _sink(one: Campaign) -> SinkId:
    return min(one.state.sinks, default=SinkId("snk_none"))


def _set_alias(one: Campaign) -> aliases.SetAlias:
    tenant, type_ = one.tenant(), one.pick(["user", "service_account", "identity"])
    text = one.pick(ALIAS_IDS)
    return aliases.SetAlias(
        tenant=tenant,
        principal=one.principal(),
        type=type_,
        id=Secret(text),
        index=alias_index(tenant, type_, text),
        sealed=sealed(text),
    )


def _remove_alias(one: Campaign) -> aliases.RemoveAlias:
    """Take one that there is away, as a rule."""
    tenant, principal = one.tenant(), one.principal()
    known = sorted(
        (held for found in one.state.aliases_of.values() for held in found.values()),
        key=lambda held: (held.principal, held.key),
    )
    if not known or one.random.random() < 0.2:
        index_ = alias_index(tenant, "user", ALIAS_IDS[0])
        return aliases.RemoveAlias(tenant=tenant, principal=principal, type="user", index=index_)
    held = one.pick(known)
    return aliases.RemoveAlias(
        tenant=held.tenant, principal=held.principal, type=held.type, index=held.index
    )


def _add_member(one: Campaign) -> groups.AddMember:
    begins, ends = one.span()
    return groups.AddMember(
        tenant=one.tenant(),
        group=one.group(),
        principal=one.principal(),
        default_binding=one.fresh(BindingId, "bnd"),
        level=one.pick(["MEMBER", "OWNER"]),
        not_before=begins,
        expires_at=ends,
    )


def _change_role(one: Campaign) -> roles.ChangeRole:
    return roles.ChangeRole(
        tenant=one.tenant(),
        id=one.role(),
        name="role",
        description="",
        permissions=_permissions(one),
        is_default=one.random.random() < 0.3,
    )


def _permissions(one: Campaign) -> Permissions:
    return one.pick(PERMISSIONS)


def _change_account(one: Campaign) -> service_accounts.ChangeServiceAccount:
    id_ = one.account()
    return service_accounts.ChangeServiceAccount(
        tenant=one.route(id_),
        id=id_,
        name="bot",
        groups=one.maybe(one.some(one.groups())),
        instance_owner=one.maybe(one.pick([True, False])),
    )


def _issue(one: Campaign) -> tokens.IssueToken:
    owner, id_ = one.principal(), one.fresh(TokenId, "tok")
    return tokens.IssueToken(
        tenant=one.route(owner),
        owner=owner,
        id=id_,
        name="token",
        digest=digest_of(id_),
        prefix=prefix_of(id_),
        max_age_seconds=one.maybe(86_400),
        narrowing=one.pick(NARROWINGS),
    )


def _rotate(one: Campaign) -> tokens.RotateToken:
    old, id_ = one.token(), one.fresh(TokenId, "tok")
    return tokens.RotateToken(
        tenant=one.route(old.owner),
        owner=old.owner,
        id=old.id,
        new_id=id_,
        digest=digest_of(id_),
        prefix=prefix_of(id_),
        grace_seconds=3600,
    )


def _of_token(kind: Callable[..., Command]) -> Callable[[Campaign], Command]:
    def make(one: Campaign) -> Command:
        held = one.token()
        return kind(tenant=one.route(held.owner), owner=held.owner, id=held.id)

    return make


def _of_account(kind: Callable[..., Command]) -> Callable[[Campaign], Command]:
    def make(one: Campaign) -> Command:
        id_ = one.account()
        return kind(tenant=one.route(id_), id=id_)

    return make


def _revoke_all(one: Campaign) -> tokens.RevokeAllTokens:
    owner = one.principal()
    return tokens.RevokeAllTokens(tenant=one.route(owner), owner=owner)


def _extend(one: Campaign) -> tokens.ExtendToken:
    held = one.token()
    return tokens.ExtendToken(owner=held.owner, id=held.id)


def _new_user(one: Campaign) -> users.CreateUser:
    id_ = one.fresh(UserId, "usr")
    return users.CreateUser(
        id=id_,
        email=sealed(id_),
        email_index=index(id_),
        password=one.maybe(sealed(id_)),
        tenants=one.some(TENANTS),
        groups=one.some(one.groups()),
        default_bindings=one.spares(),
        instance_owner=one.random.random() < 0.3,
    )


def _change_user(one: Campaign) -> users.ChangeUser:
    return users.ChangeUser(
        id=one.user(),
        password=one.maybe(sealed("other")),
        tenants=one.maybe(one.some(TENANTS)),
        groups=one.maybe(one.some(one.groups())),
        default_bindings=one.spares(),
        instance_owner=one.maybe(one.pick([True, False])),
        restricted=one.maybe(one.pick([True, False])),
    )


def _new_tenant(one: Campaign) -> tenants.CreateTenant:
    id_ = one.fresh(TenantId, "t")
    return tenants.CreateTenant(id=id_, name="Tenant", managed_roles=managed_ids(id_))


MAKERS: Final[dict[type, Callable[[Campaign], Command]]] = {
    aliases.SetAlias: _set_alias,
    aliases.RemoveAlias: _remove_alias,
    bindings.AssignRole: lambda one: bindings.AssignRole(
        tenant=one.tenant(), assignment=_assignment(one)
    ),
    bindings.AssignRoles: lambda one: bindings.AssignRoles(
        tenant=one.tenant(), assignments=(_assignment(one), _assignment(one))
    ),
    bindings.DeleteBinding: lambda one: bindings.DeleteBinding(
        tenant=one.tenant(), id=one.pick(sorted(one.state.bindings) or [BindingId("none")])
    ),
    erasures.EraseUser: lambda one: erasures.EraseUser(id=one.user()),
    groups.CreateGroup: lambda one: groups.CreateGroup(
        tenant=one.tenant(),
        id=one.fresh(GroupId, "grp"),
        name=f"Group {one.at}",
        members=(one.principal(),),
        default_bindings=one.spares(),
    ),
    groups.ChangeGroup: lambda one: groups.ChangeGroup(
        tenant=one.tenant(), id=one.group(), name=f"Group {one.at}", description=""
    ),
    groups.DeleteGroup: lambda one: groups.DeleteGroup(tenant=one.tenant(), id=one.group()),
    groups.AddMember: _add_member,
    groups.RemoveMember: lambda one: groups.RemoveMember(
        tenant=one.tenant(), group=one.group(), principal=one.principal()
    ),
    groups.ChangeMembership: lambda one: groups.ChangeMembership(
        tenant=one.tenant(),
        group=one.group(),
        principal=one.principal(),
        level=one.pick(["MEMBER", "OWNER"]),
    ),
    groups.ReplaceGroups: lambda one: groups.ReplaceGroups(
        tenant=one.tenant(), principal=one.principal(), groups=one.some(one.groups())
    ),
    owners.GrantInstanceOwner: lambda one: owners.GrantInstanceOwner(principal=one.principal()),
    owners.RevokeInstanceOwner: lambda one: owners.RevokeInstanceOwner(principal=one.principal()),
    roles.CreateRole: lambda one: roles.CreateRole(
        tenant=one.tenant(),
        id=one.fresh(RoleId, "rol"),
        name="role",
        permissions=_permissions(one),
        is_default=one.random.random() < 0.3,
    ),
    roles.ChangeRole: _change_role,
    roles.DeleteRole: lambda one: roles.DeleteRole(tenant=one.tenant(), id=one.role()),
    service_accounts.CreateServiceAccount: lambda one: service_accounts.CreateServiceAccount(
        tenant=one.maybe(one.tenant()),
        id=one.fresh(ServiceAccountId, "sa"),
        name="bot",
        groups=one.some(one.groups()),
        instance_owner=one.random.random() < 0.2,
    ),
    service_accounts.ChangeServiceAccount: _change_account,
    service_accounts.DisableServiceAccount: _of_account(service_accounts.DisableServiceAccount),
    service_accounts.EnableServiceAccount: _of_account(service_accounts.EnableServiceAccount),
    service_accounts.DeleteServiceAccount: _of_account(service_accounts.DeleteServiceAccount),
    sinks.CreateSink: lambda one: sinks.CreateSink(
        id=one.fresh(SinkId, "snk"), name="SIEM", kind="webhook", url="https://siem.example/in"
    ),
    sinks.PauseSink: lambda one: sinks.PauseSink(id=_sink(one)),
    sinks.ResumeSink: lambda one: sinks.ResumeSink(id=_sink(one)),
    sinks.ReplaySink: lambda one: sinks.ReplaySink(id=_sink(one), after=0),
    sinks.DeleteSink: lambda one: sinks.DeleteSink(id=_sink(one)),
    tenants.OpenLog: lambda _: tenants.OpenLog(log_id="again", managed_roles=managed_ids(MAIN)),
    tenants.CreateTenant: _new_tenant,
    tenants.RenameTenant: lambda one: tenants.RenameTenant(id=one.tenant(), name=f"{one.at}"),
    tenants.DeleteTenant: lambda one: tenants.DeleteTenant(id=one.tenant()),
    tenants.GrantTenantAccess: lambda one: tenants.GrantTenantAccess(
        tenant=one.tenant(),
        principal=one.principal(),
        default_binding=one.fresh(BindingId, "bnd"),
    ),
    tenants.EndTenantAccess: lambda one: tenants.EndTenantAccess(
        tenant=one.tenant(), principal=one.principal()
    ),
    tokens.IssueToken: _issue,
    tokens.RotateToken: _rotate,
    tokens.DisableToken: _of_token(tokens.DisableToken),
    tokens.EnableToken: _of_token(tokens.EnableToken),
    tokens.RevokeToken: _of_token(tokens.RevokeToken),
    tokens.RevokeAllTokens: _revoke_all,
    tokens.ExtendToken: _extend,
    users.CreateUser: _new_user,
    users.ChangeUser: _change_user,
    users.ChangeOwnProfile: lambda one: users.ChangeOwnProfile(
        id=one.user(), first_name=sealed("first")
    ),
    users.ChangeOwnPassword: lambda one: users.ChangeOwnPassword(
        id=one.user(), password=sealed("own")
    ),
    users.RehashPassword: lambda one: users.RehashPassword(id=one.user(), password=sealed("own")),
    users.RemovePassword: lambda one: users.RemovePassword(id=one.user()),
    users.DisableUser: lambda one: users.DisableUser(id=one.user()),
    users.EnableUser: lambda one: users.EnableUser(id=one.user()),
    users.EndSessions: lambda one: users.EndSessions(id=one.user()),
    users.DeleteUser: lambda one: users.DeleteUser(id=one.user()),
}

# The commands that can give a right, which a campaign gives more often than the others.
ROADS: Final[tuple[type, ...]] = (
    aliases.SetAlias,
    bindings.AssignRole,
    bindings.AssignRoles,
    groups.AddMember,
    groups.ReplaceGroups,
    roles.CreateRole,
    roles.ChangeRole,
    service_accounts.CreateServiceAccount,
    service_accounts.ChangeServiceAccount,
    service_accounts.EnableServiceAccount,
    tenants.GrantTenantAccess,
    tokens.IssueToken,
    tokens.RotateToken,
    tokens.EnableToken,
    owners.GrantInstanceOwner,
)
