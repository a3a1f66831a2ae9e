"""What do users and service accounts share: access, memberships, bindings, ownership, an end?

The facts of this module are given and taken by several nouns (a group's end removes members, a
new member may gain access to the tenant), so their events stand here, below all nouns.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Final, Literal, assert_never

from msgspec import UNSET, Struct, UnsetType

from domain import access, aliases, escalation
from domain.errors import ConflictError, Dependent, NotFoundError
from domain.ids import BindingId, GroupId, PrincipalId, RoleId, SubjectId, TenantId, TokenId, UserId
from domain.limits import BINDINGS_A_SUBJECT_MAX, GROUPS_A_PRINCIPAL_MAX, MEMBERS_A_GROUP_MAX
from domain.permissions import Permission
from domain.scopes import WHOLE_TENANT, Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.commands import Context
    from domain.groups import Group
    from domain.roles import Role
    from domain.service_accounts import ServiceAccount
    from domain.state import Draft, Facts
    from domain.users import User

SubjectType = Literal["PRINCIPAL", "GROUP"]
Level = Literal["MEMBER", "OWNER"]

# Events


class TenantAccessGranted(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "tenant_access.granted.v1"
    tenant: TenantId
    principal: PrincipalId


class TenantAccessEnded(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "tenant_access.ended.v1"
    tenant: TenantId
    principal: PrincipalId


class MemberAdded(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "group.member_added.v1"
    tenant: TenantId
    group: GroupId
    principal: PrincipalId
    level: Level = "MEMBER"
    not_before: datetime | UnsetType = UNSET
    expires_at: datetime | UnsetType = UNSET


class MemberRemoved(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "group.member_removed.v1"
    tenant: TenantId
    group: GroupId
    principal: PrincipalId


class BindingCreated(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "binding.created.v1"
    tenant: TenantId
    id: BindingId
    subject_type: SubjectType
    subject: SubjectId
    role: RoleId
    scope: Scope = WHOLE_TENANT
    not_before: datetime | UnsetType = UNSET
    expires_at: datetime | UnsetType = UNSET


class BindingDeleted(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "binding.deleted.v1"
    tenant: TenantId
    id: BindingId


class TokenRevoked(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "token.revoked.v1"
    id: TokenId


class InstanceOwnerGranted(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "instance_owner.granted.v1"
    principal: PrincipalId


class InstanceOwnerRevoked(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "instance_owner.revoked.v1"
    principal: PrincipalId


Event = (
    TenantAccessGranted
    | TenantAccessEnded
    | MemberAdded
    | MemberRemoved
    | BindingCreated
    | BindingDeleted
    | TokenRevoked
    | InstanceOwnerGranted
    | InstanceOwnerRevoked
    | aliases.Event
)

# State


class Access(Struct, frozen=True, gc=False):
    """Since when a principal has had access to a tenant."""

    granted: datetime
    position: int


class Membership(Struct, frozen=True, kw_only=True):
    """`ordinal` is the position at which it began."""

    tenant: TenantId
    group: GroupId
    principal: PrincipalId
    level: Level
    not_before: datetime | UnsetType
    expires_at: datetime | UnsetType
    ordinal: int
    changed: int


class Binding(Struct, frozen=True, kw_only=True):
    id: BindingId
    tenant: TenantId
    subject_type: SubjectType
    subject: SubjectId
    role: RoleId
    scope: Scope
    not_before: datetime | UnsetType
    expires_at: datetime | UnsetType
    created: datetime
    changed: int


_NO_MEMBERS: Final[Mapping[PrincipalId, Membership]] = {}

# Rules


def as_principal(subject_type: SubjectType, subject: SubjectId) -> PrincipalId | None:
    """Answer the subject of a binding as a principal's id, None where it is a group."""
    return None if subject_type == "GROUP" else UserId(subject)


def find(state: Facts, principal: PrincipalId) -> User | ServiceAccount | None:
    """Answer the user or service account of that id, or None."""
    return state.users.get(principal) or state.service_accounts.get(principal)


def require(state: Facts, principal: PrincipalId) -> User | ServiceAccount:
    """Answer the user or service account of that id; NotFoundError `principal.unknown`."""
    found = find(state, principal)
    if found is None:
        raise NotFoundError("principal.unknown", f"no user or service account {principal}")
    return found


def has_access(state: Facts, principal: PrincipalId, tenant: TenantId) -> bool:
    """Tell whether the principal has access to the tenant."""
    return tenant in state.access.get(principal, ())


def require_in_tenant(
    state: Facts, tenant: TenantId, principal: PrincipalId
) -> User | ServiceAccount:
    """As `require`, and alike for one that has no access to the tenant (security 2.3)."""
    if not has_access(state, principal, tenant):
        raise NotFoundError("principal.unknown", f"no user or service account {principal}")
    return require(state, principal)


def gain_access(
    state: Facts,
    context: Context,
    granted: TenantAccessGranted,
    spare: BindingId,
    *,
    is_user: bool,
) -> tuple[Event, ...]:
    """Give access to the tenant, and with it a user's default role, where the caller holds that.

    Whether the caller may give access at all is judged before; `spare` is the default binding's
    id. Raises ForbiddenError `tenant_access.escalation`, ConflictError `binding.too_many`.
    """
    tenant, principal = granted.tenant, granted.principal
    role = state.default_roles.get(tenant)
    if role is None or not is_user:
        return (granted,)
    rights = access.rights(state, context, tenant)
    escalation.require_may_give_role(rights, role, WHOLE_TENANT, "tenant_access.escalation")
    require_room_for_binding(state, principal)
    bound = BindingCreated(
        tenant=tenant, id=spare, subject_type="PRINCIPAL", subject=principal, role=role
    )
    return (granted, bound)


def ensure_access(
    state: Facts, context: Context, tenant: TenantId, principal: PrincipalId, spare: BindingId
) -> tuple[Event, ...]:
    """As `gain_access` for one who exists; nothing where there is access already."""
    require_may_reach(state, context, tenant, principal)
    if has_access(state, principal, tenant):
        return ()
    granted = TenantAccessGranted(tenant=tenant, principal=principal)
    return gain_access(state, context, granted, spare, is_user=principal in state.users)


_GIVES_ACCESS: Final = (Permission("USER", "CREATE"), Permission("TENANT_ACCESS", "CREATE"))
_SEES_BINDINGS: Final = (Permission("BINDING", "VIEW"), Permission("BINDING", "LIST"))


def require_may_reach(
    state: Facts, context: Context, tenant: TenantId, principal: PrincipalId
) -> None:
    """Refuse to name one without access to the tenant, unless the caller may give access.

    ConflictError `tenant_access.missing` (kestra-iam 5.6), alike whether such a principal exists
    elsewhere or not at all (security 2.3).
    """
    if has_access(state, principal, tenant):
        return
    rights = access.rights(state, context, tenant)
    if not any(rights.passes(permission) for permission in _GIVES_ACCESS):
        raise no_access(tenant, principal)


def no_access(tenant: TenantId, principal: PrincipalId) -> ConflictError:
    """Answer the refusal for one who has no access to the tenant."""
    return ConflictError("tenant_access.missing", f"{principal} has no access to tenant {tenant}")


def acts_elsewhere(state: Facts, principal: PrincipalId) -> bool:
    """Tell whether one who has access to a tenant has rights outside of it too."""
    open_ = [one for one in state.access.get(principal, ()) if access.is_open(state, one)]
    return len(open_) > 1 or principal in state.owners


def membership(
    state: Facts, group: GroupId, principal: PrincipalId, at: datetime
) -> Membership | None:
    """Answer the membership unless it is over: an expired one counts as none."""
    found = state.members.get(group, _NO_MEMBERS).get(principal)
    if found is None or access.is_over(found.expires_at, at):
        return None
    return found


def require_may_join(state: Facts, context: Context, added: MemberAdded) -> None:
    """Refuse a membership that gives what the caller lacks, or is one too many.

    Raises ForbiddenError `group.escalation`, ConflictError `group.too_many` or `group.full`.
    """
    rights = access.rights(state, context, added.tenant)
    escalation.require_may_give_bindings(rights, added.group, context.at, "group.escalation")
    if len(state.memberships.get(added.principal, ())) >= GROUPS_A_PRINCIPAL_MAX:
        raise ConflictError("group.too_many", f"{added.principal} is in too many groups")
    if len(state.members.get(added.group, ())) >= MEMBERS_A_GROUP_MAX:
        raise ConflictError("group.full", f"group {added.group} has too many members")


def require_groups(
    state: Facts, groups: tuple[GroupId, ...], tenant: TenantId | UnsetType
) -> tuple[GroupId, ...]:
    """Answer the groups, each once.

    Raises NotFoundError `group.unknown`, also outside `tenant`, ConflictError `group.too_many`.
    """
    if len(groups) > GROUPS_A_PRINCIPAL_MAX:
        raise ConflictError("group.too_many", f"at most {GROUPS_A_PRINCIPAL_MAX} groups at once")
    for group in groups:
        found = state.groups.get(group)
        if found is None or (tenant is not UNSET and found.tenant != tenant):
            raise NotFoundError("group.unknown", f"no group {group}")
    return tuple(dict.fromkeys(groups))


def replace_groups(
    state: Facts,
    context: Context,
    principal: PrincipalId,
    groups: tuple[GroupId, ...],
    tenant: TenantId | UnsetType = UNSET,
) -> tuple[tuple[MemberRemoved, ...], tuple[MemberAdded, ...]]:
    """Answer who leaves and who joins so that the memberships are `groups`, in this order.

    With `tenant` only the memberships there are replaced. Leaving needs no right beyond the
    command's; joining is judged by `require_may_join`. Access to the tenants of the groups is
    the caller's to see to. Raises NotFoundError `group.unknown`.
    """
    wanted = require_groups(state, groups, tenant)
    held = sorted(
        (
            membership
            for membership in access.memberships_of(state, principal)
            if tenant is UNSET or membership.tenant == tenant
        ),
        key=lambda membership: membership.ordinal,
    )
    live = {one.group: one for one in held if not access.is_over(one.expires_at, context.at)}
    # The order is a part of what was sent: what follows the first difference is set anew.
    same = 0
    for before, after in zip(live, wanted, strict=False):
        if before != after:
            break
        same += 1
    stays = set(wanted[:same])
    removed = tuple(
        MemberRemoved(tenant=one.tenant, group=one.group, principal=principal)
        for one in held
        if one.group not in stays
    )
    added: list[MemberAdded] = []
    for group in wanted[same:]:
        old = live.get(group)
        member = MemberAdded(
            tenant=state.groups[group].tenant,
            group=group,
            principal=principal,
            level=old.level if old else "MEMBER",
            not_before=old.not_before if old else UNSET,
            expires_at=old.expires_at if old else UNSET,
        )
        if old is None:
            require_may_join(state, context, member)
        added.append(member)
    return removed, tuple(added)


def unbind(binding: Binding) -> BindingDeleted:
    """End a binding."""
    return BindingDeleted(tenant=binding.tenant, id=binding.id)


def in_use(
    state: Facts, context: Context, named: Group | Role, bindings: tuple[Binding, ...], code: str
) -> ConflictError:
    """Answer the refusal to delete; only one who may see bindings is told which (security 2.12)."""
    rights = access.rights(state, context, named.tenant)
    seen = bindings if any(rights.passes(permission) for permission in _SEES_BINDINGS) else ()
    dependents = tuple(Dependent("BINDING", binding.id) for binding in seen)
    return ConflictError(code, f"bindings name {named.id}", dependents=dependents)


def end_access(state: Facts, tenant: TenantId, principal: PrincipalId) -> tuple[Event, ...]:
    """End the access that there is to the tenant, and all that a principal holds there."""
    return (
        *(
            MemberRemoved(tenant=tenant, group=held.group, principal=principal)
            for held in access.memberships_of(state, principal)
            if held.tenant == tenant
        ),
        *(
            unbind(binding)
            for binding in access.bindings_of(state, principal)
            if binding.tenant == tenant
        ),
        *aliases.ends(state, tenant, principal),
        TenantAccessEnded(tenant=tenant, principal=principal),
    )


def end(state: Facts, principal: PrincipalId) -> tuple[Event, ...]:
    """End everything that a principal holds: tokens, memberships, bindings, access, ownership."""
    tenants = state.access.get(principal, ())
    revoked = (TokenRevoked(id=token) for token in state.tokens_of.get(principal, ()))
    ended = (event for tenant in tenants for event in end_access(state, tenant, principal))
    owner = principal in state.owners
    demoted = (InstanceOwnerRevoked(principal=principal),) if owner else ()
    return (*revoked, *ended, *demoted)


def require_room_for_binding(state: Facts, subject: SubjectId, new: int = 1) -> None:
    """Refuse more bindings of a subject than the limit: ConflictError `binding.too_many`."""
    if len(state.bindings_of.get(subject, ())) + new > BINDINGS_A_SUBJECT_MAX:
        raise ConflictError("binding.too_many", f"{subject} has too many bindings")


# Memory


def apply(draft: Draft, event: Event) -> None:  # noqa: C901 - one branch for each event
    match event:
        case MemberAdded():
            _member_added(draft, event)
        case BindingCreated():
            _binding_created(draft, event)
        case BindingDeleted():
            _binding_deleted(draft, event)
        case TenantAccessGranted():
            draft.touched[event.principal] = draft.position
            granted = Access(draft.at, draft.position)
            draft.link(draft.access, event.principal, event.tenant, granted)
        case TenantAccessEnded():
            draft.touched[event.principal] = draft.position
            draft.unlink(draft.access, event.principal, event.tenant)
        case MemberRemoved():
            draft.touched[event.principal] = draft.position
            draft.unlink(draft.members, event.group, event.principal)
            draft.unlink(draft.memberships, event.principal, event.group)
        case TokenRevoked():
            _token_revoked(draft, event)
        case InstanceOwnerGranted():
            draft.touched[event.principal] = draft.position
            draft.owners = draft.owners.set(event.principal, draft.position)
        case InstanceOwnerRevoked():
            draft.touched[event.principal] = draft.position
            if event.principal in draft.owners:
                draft.owners = draft.owners.delete(event.principal)
        case aliases.AliasSet() | aliases.AliasRemoved():
            aliases.apply(draft, event)
        case _:
            assert_never(event)


def _member_added(draft: Draft, event: MemberAdded) -> None:
    member = Membership(
        tenant=event.tenant,
        group=event.group,
        principal=event.principal,
        level=event.level,
        not_before=event.not_before,
        expires_at=event.expires_at,
        ordinal=draft.position,
        changed=draft.position,
    )
    draft.touched[event.principal] = draft.position
    draft.link(draft.members, event.group, event.principal, member)
    draft.link(draft.memberships, event.principal, event.group, member)


def _binding_created(draft: Draft, event: BindingCreated) -> None:
    binding = Binding(
        id=event.id,
        tenant=event.tenant,
        subject_type=event.subject_type,
        subject=event.subject,
        role=event.role,
        scope=event.scope,
        not_before=event.not_before,
        expires_at=event.expires_at,
        created=draft.at,
        changed=draft.position,
    )
    draft.bindings[event.id] = binding
    draft.link(draft.bindings_of, event.subject, event.id, binding)
    draft.link(draft.bindings_to, event.role, event.id, binding)


def _binding_deleted(draft: Draft, event: BindingDeleted) -> None:
    binding = draft.bindings.pop(event.id, None)
    if binding is not None:
        draft.unlink(draft.bindings_of, binding.subject, event.id)
        draft.unlink(draft.bindings_to, binding.role, event.id)


def _token_revoked(draft: Draft, event: TokenRevoked) -> None:
    token = draft.tokens.pop(event.id, None)
    if token is not None:
        draft.unlink(draft.tokens_of, token.owner, event.id)
