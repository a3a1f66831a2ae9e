"""Which rows of the lists may an event change?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from domain.aliases import AliasRemoved, AliasSet
from domain.erasures import UserErased
from domain.groups import (
    GroupCreated,
    GroupDeleted,
    GroupDescribed,
    GroupRenamed,
    MembershipChanged,
)
from domain.ids import ServiceAccountId
from domain.principals import (
    BindingCreated,
    BindingDeleted,
    InstanceOwnerGranted,
    InstanceOwnerRevoked,
    MemberAdded,
    MemberRemoved,
    TenantAccessEnded,
    TenantAccessGranted,
    TokenRevoked,
)
from domain.roles import (
    DefaultRoleEnded,
    RoleCreated,
    RoleDeleted,
    RoleDescribed,
    RoleMadeDefault,
    RolePermissionsSet,
    RoleRenamed,
)
from domain.service_accounts import (
    ServiceAccountCreated,
    ServiceAccountDeleted,
    ServiceAccountDescribed,
    ServiceAccountDisabled,
    ServiceAccountEnabled,
    ServiceAccountRenamed,
)
from domain.sinks import SinkCreated, SinkDeleted, SinkPaused, SinkReplayed, SinkResumed
from domain.tenants import (
    LogOpened,
    ManagedRoleCreated,
    TenantCreated,
    TenantDeleted,
    TenantRenamed,
)
from domain.tokens import (
    TokenDisabled,
    TokenEnabled,
    TokenExtended,
    TokenIssued,
    TokenRotated,
)
from domain.users import (
    PasswordRehashed,
    PasswordRemoved,
    PasswordSet,
    SessionsEnded,
    UserCreated,
    UserDeleted,
    UserDisabled,
    UserEmailChanged,
    UserEnabled,
    UserRenamed,
    UserRestricted,
    UserUnrestricted,
)
from projections.directory import (
    bindings,
    groups,
    memberships,
    roles,
    service_accounts,
    tenant_access,
    tenants,
    tokens,
    users,
)
from projections.directory.temporal import Touched, View

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domain.events import Event
    from domain.state import Facts
    from projections.views import Key

Row = tuple[View[Any], "Key"]


def touched(facts: Facts, event: Event) -> list[Touched]:
    """Answer the rows that an event may change, as they are on the facts before it."""
    return [Touched(view, key, view.read(facts, key)) for view, key in _rows(facts, event)]


def _rows(facts: Facts, event: Event) -> Iterable[Row]:  # noqa: C901, PLR0911, PLR0912 - one branch an effect
    # The commonest events stand first: a class pattern costs a look at the event.
    match event:
        case TenantAccessGranted() | TenantAccessEnded():
            access: Row = (tenant_access.VIEW, (event.tenant, event.principal))
            if event.principal not in facts.service_accounts:
                return [access]
            return [access, (service_accounts.VIEW, (event.tenant, event.principal))]
        case GroupCreated() | GroupRenamed() | GroupDescribed() | GroupDeleted():
            return [(groups.VIEW, (event.id,))]
        case MemberAdded() | MemberRemoved() | MembershipChanged():
            return [(memberships.VIEW, (event.group, event.principal))]
        case BindingCreated() | BindingDeleted():
            return [(bindings.VIEW, (event.id,))]
        case TokenIssued() | TokenDisabled() | TokenEnabled() | TokenExtended() | TokenRevoked():
            return [(tokens.VIEW, (event.id,))]
        case TokenRotated():
            return [(tokens.VIEW, (event.id,)), (tokens.VIEW, (event.new_id,))]
        case (
            UserCreated()
            | UserEmailChanged()
            | UserRenamed()
            | PasswordSet()
            | PasswordRehashed()
            | PasswordRemoved()
            | UserRestricted()
            | UserUnrestricted()
            | UserDisabled()
            | UserEnabled()
            | SessionsEnded()
            | UserDeleted()
        ):
            return [(users.VIEW, (event.id,))]
        case (
            ServiceAccountCreated()
            | ServiceAccountRenamed()
            | ServiceAccountDescribed()
            | ServiceAccountDisabled()
            | ServiceAccountEnabled()
            | ServiceAccountDeleted()
        ):
            return _account(facts, event.id)
        case InstanceOwnerGranted() | InstanceOwnerRevoked():
            if event.principal in facts.users:
                return [(users.VIEW, (event.principal,))]
            return _account(facts, event.principal)
        case (
            RoleCreated()
            | ManagedRoleCreated()
            | RoleRenamed()
            | RoleDescribed()
            | RolePermissionsSet()
            | DefaultRoleEnded()
            | RoleDeleted()
        ):
            return [(roles.VIEW, (event.id,))]
        case RoleMadeDefault():
            earlier = facts.default_roles.get(event.tenant)
            changed = {event.id, earlier or event.id}
            return [(roles.VIEW, (id_,)) for id_ in sorted(changed)]
        case TenantCreated() | TenantRenamed() | TenantDeleted():
            return [(tenants.VIEW, (event.tenant,))]
        case LogOpened() | AliasSet() | AliasRemoved() | UserErased():
            return []
        case SinkCreated() | SinkPaused() | SinkResumed() | SinkReplayed() | SinkDeleted():
            return []
        case _:
            assert_never(event)


def _account(facts: Facts, id_: str) -> list[Row]:
    account = ServiceAccountId(id_)
    return [(service_accounts.VIEW, key) for key in service_accounts.keys(facts, account)]
