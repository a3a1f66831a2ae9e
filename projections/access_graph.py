"""What may each principal do right now, answered in microseconds?

The graph keeps what `access.compile_subject` made of the published state and drops what an event
makes untrue; it decides nothing itself. It lives in one thread: whoever publishes and whoever asks
are the same, so an answer sees a command whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Final, assert_never

from msgspec import UnsetType

from domain import (
    access,
    aliases,
    erasures,
    groups,
    names,
    principals,
    roles,
    service_accounts,
    tenants,
    tokens,
    users,
)
from domain.ids import GroupId, ServiceAccountId, UserId
from domain.permissions import ANY
from domain.scopes import ancestors
from domain.service_accounts import (
    ServiceAccountCreated,
    ServiceAccountDeleted,
    ServiceAccountRenamed,
)
from domain.sinks import SinkCreated, SinkDeleted, SinkPaused, SinkReplayed, SinkResumed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domain.access import Masks
    from domain.events import Event, Fact
    from domain.ids import PrincipalId, SubjectId, TenantId
    from domain.principals import Binding
    from domain.state import State

Needs = dict[str, tuple[dict[str, int], int]]

# What a subject holds, from when and until when (Unix seconds) that is so.
_Compiled = tuple["Masks", float, float]

AliasIndex = Callable[["TenantId", str, str], bytes]
Resolve = Callable[["TenantId", str, str], "SubjectId | None"]
Check = Callable[
    ["TenantId", "SubjectId", str, str, "str | None", "tuple[str, str] | None", float], bool
]

# An action that no role can name (it is no identifier): what wildcards alone would allow.
_NO_ACTION: Final = ""
_NO_TYPE: Final = ""

# Namespaces come from bindings; so many different ones are not worth keeping.
_NAMESPACES_KEPT_MAX: Final = 500_000


class _Tenant:
    """What has been worked out for one tenant; everything here can be worked out again."""

    def __init__(self, state: State, tenant: TenantId) -> None:
        self.compiled: dict[str, _Compiled] = {}
        self.needs: Needs = {}
        self.needs_other: tuple[dict[str, int], int] = ({}, 0)
        self.ancestors: dict[str, tuple[str, ...]] = {}
        self.learn_vocabulary(state, tenant)

    def learn_vocabulary(self, state: State, tenant: TenantId) -> None:
        """Work out which bits each (type, action) needs, once for all that any role names."""
        pairs = state.vocabulary.get(tenant, ())
        everywhere = {action for type_, action in pairs if type_ == ANY}
        by_type: dict[str, set[str]] = {}
        for type_, action in pairs:
            by_type.setdefault(type_, set(everywhere)).add(action)
        self.needs = {
            type_: _needs_of(state, tenant, type_, actions) for type_, actions in by_type.items()
        }
        self.needs_other = _needs_of(state, tenant, _NO_TYPE, everywhere)

    def learn_namespace(self, namespace: str) -> None:
        """Keep the ancestors of a namespace that a binding names."""
        if namespace in self.ancestors:
            return
        if len(self.ancestors) >= _NAMESPACES_KEPT_MAX:
            self.ancestors.clear()
        for path in ancestors(namespace):
            self.ancestors[path] = ancestors(path)


def _needs_of(
    state: State, tenant: TenantId, type_: str, actions: Iterable[str]
) -> tuple[dict[str, int], int]:
    exact = {action: access.need(state, tenant, type_, action) for action in actions}
    return exact, access.need(state, tenant, type_, _NO_ACTION)


class AccessGraph:
    """The compiled rights of every principal that was asked about, at `state.position`."""

    def __init__(
        self, state: State, email_index: Callable[[str], bytes], alias_index: AliasIndex
    ) -> None:
        """Begin at a state.

        `email_index` gives the keyed index of an e-mail as typed, `alias_index` that of an alias,
        given its tenant, type and id.
        """
        self.state = state
        self._email_index = email_index
        self._alias_index = alias_index
        self._tenants: dict[TenantId, _Tenant] = {}
        self._names: dict[str, dict[ServiceAccountId, None]] = {}
        for account in state.service_accounts.values():
            self._names.setdefault(account.name, {})[account.id] = None
        # Many bindings share a place, and a start waits for this.
        for tenant, namespace in {
            (binding.tenant, binding.scope.namespace) for binding in state.bindings.values()
        }:
            self._learn_place(tenant, namespace)

    def _tenant(self, tenant: TenantId) -> _Tenant:
        graph = self._tenants.get(tenant)
        if graph is None:
            graph = self._tenants[tenant] = _Tenant(self.state, tenant)
        return graph

    def _learn_place(self, tenant: TenantId, namespace: str | UnsetType) -> None:
        if namespace:
            self._tenant(tenant).learn_namespace(namespace)

    def _learn_roles(self, tenant: TenantId) -> _Tenant:
        graph = self._tenant(tenant)
        graph.learn_vocabulary(self.state, tenant)
        return graph

    # Questions

    def check(
        self,
        tenant: TenantId,
        subject: SubjectId,
        type_: str,
        action: str,
        namespace: str | None,
        resource: tuple[str, str] | None,
        now: float,
    ) -> bool:
        """Tell whether the subject may do that there at `now` (Unix seconds).

        `resource` is (type, id). Unknown means no, and asking keeps nothing of the unknown.
        """
        graph = self._tenants.get(tenant)
        if graph is None:
            if tenant not in self.state.tenants:
                return False
            graph = self._tenant(tenant)
        compiled = graph.compiled.get(subject)
        # A clock that was put back finds its earlier limits again.
        if compiled is None or not compiled[1] <= now < compiled[2]:
            found = access.compile_subject(self.state, tenant, subject, now)
            if found is None:
                return False
            compiled = graph.compiled[subject] = (found.masks, now, found.valid_until)
        actions, other = graph.needs.get(type_, graph.needs_other)
        if namespace is None:
            namespaces: tuple[str, ...] = ()
        else:
            namespaces = graph.ancestors.get(namespace) or ancestors(namespace)
        return access.evaluate(compiled[0], actions.get(action, other), namespaces, resource)

    def resolve(self, tenant: TenantId, type_: str, text: str) -> SubjectId | None:
        """Answer the subject of that type and id or name in the tenant, None for none.

        Id first, else alias, else exact name; a name that fits several resolves to none
        (authzen 3).
        """
        return self._resolve(self.state, self._names.get, tenant, type_, text)

    def resolve_in(self, past: State) -> Resolve:
        """Answer `resolve` as of another state; for one request, since it keeps what it meets."""

        @cache
        def named() -> dict[str, list[ServiceAccountId]]:
            found: dict[str, list[ServiceAccountId]] = {}
            for account in past.service_accounts.values():
                found.setdefault(account.name, []).append(account.id)
            return found

        return partial(self._resolve, past, lambda text: named().get(text))

    def check_in(self, past: State) -> Check:
        """Answer `check` as of another state: compiled anew, by the same functions.

        For one request, since it keeps what it meets.
        """
        compiled = cache(partial(access.compile_subject, past))

        def check(
            tenant: TenantId,
            subject: SubjectId,
            type_: str,
            action: str,
            namespace: str | None,
            resource: tuple[str, str] | None,
            now: float,
        ) -> bool:
            found = compiled(tenant, subject, now)
            if found is None:
                return False
            needed = access.need(past, tenant, type_, action)
            namespaces = () if namespace is None else ancestors(namespace)
            return access.evaluate(found.masks, needed, namespaces, resource)

        return check

    def _resolve(
        self,
        state: State,
        named: Callable[[str], Iterable[ServiceAccountId] | None],
        tenant: TenantId,
        type_: str,
        text: str,
    ) -> SubjectId | None:
        if type_ == "service_account":
            if text in state.service_accounts:
                return ServiceAccountId(text)
        elif type_ == "user":
            if text in state.users:
                return UserId(text)
        elif type_ == "group":
            return _resolve_group(state, tenant, text)
        # The index costs a hash, which nobody pays where there is nothing to find.
        carriers = state.aliases.get((tenant, type_))
        found: PrincipalId | None = None
        if carriers is not None:
            found = carriers.get(self._alias_index(tenant, type_, text))
        if found is None:
            found = self._resolve_name(state, named, tenant, type_, text)
        return found if found and principals.has_access(state, found, tenant) else None

    def _resolve_name(
        self,
        state: State,
        named: Callable[[str], Iterable[ServiceAccountId] | None],
        tenant: TenantId,
        type_: str,
        text: str,
    ) -> PrincipalId | None:
        if type_ == "service_account":
            found = [
                account
                for account in named(text) or ()
                if principals.has_access(state, account, tenant)
            ]
            return found[0] if len(found) == 1 else None
        if type_ == "user" and "@" in text:
            return state.emails.get(self._email_index(text))
        return None

    # News

    def publish(self, state: State, facts: Iterable[Fact]) -> None:
        """Go on to a new state; `facts` are all that lie between, whole commands only."""
        before, self.state = self.state, state
        for fact in facts:
            self._drop(before, fact.envelope.event)

    # What changes no answer that is kept stands last: nothing is kept of who has no access or is
    # disabled, a deleted role comes with the ends of its bindings, and tokens and aliases are
    # looked up in the state.
    def _drop(self, before: State, event: Event) -> None:  # noqa: C901, PLR0912 - one branch an effect
        match event:
            case principals.MemberAdded() | principals.MemberRemoved():
                self._drop_in(event.tenant, event.principal)
            case principals.TenantAccessEnded():
                self._drop_in(event.tenant, event.principal)
            case groups.GroupDeleted():
                self._drop_in(event.tenant, event.id)
            case principals.BindingCreated():
                self._learn_place(event.tenant, event.scope.namespace)
                self._drop_subject(event.tenant, event.subject)
            case principals.BindingDeleted():
                self._drop_bound(before.bindings.get(event.id))
            case roles.RoleCreated() | tenants.ManagedRoleCreated():
                self._learn_roles(event.tenant)
            case roles.RolePermissionsSet():
                self._learn_roles(event.tenant).compiled.clear()
            case tenants.TenantDeleted():
                self._tenants.pop(event.tenant, None)
            case users.UserDisabled() | users.UserDeleted():
                self._drop_everywhere(before, event.id)
            case service_accounts.ServiceAccountDisabled():
                self._drop_everywhere(before, event.id)
            case ServiceAccountCreated() | ServiceAccountRenamed() | ServiceAccountDeleted():
                self._rename(before, event)
            case SinkCreated() | SinkPaused() | SinkResumed() | SinkReplayed() | SinkDeleted():
                pass
            case (
                aliases.AliasSet()
                | aliases.AliasRemoved()
                | erasures.UserErased()
                | roles.RoleRenamed()
                | roles.RoleDescribed()
                | roles.RoleMadeDefault()
                | roles.DefaultRoleEnded()
                | roles.RoleDeleted()
                | groups.GroupCreated()
                | groups.GroupRenamed()
                | groups.GroupDescribed()
                | groups.MembershipChanged()
                | principals.TenantAccessGranted()
                | principals.TokenRevoked()
                | principals.InstanceOwnerGranted()
                | principals.InstanceOwnerRevoked()
                | service_accounts.ServiceAccountDescribed()
                | service_accounts.ServiceAccountEnabled()
                | tenants.LogOpened()
                | tenants.TenantCreated()
                | tenants.TenantRenamed()
                | tokens.TokenIssued()
                | tokens.TokenRotated()
                | tokens.TokenDisabled()
                | tokens.TokenEnabled()
                | tokens.TokenExtended()
                | users.UserCreated()
                | users.UserEnabled()
                | users.UserEmailChanged()
                | users.UserRenamed()
                | users.PasswordSet()
                | users.PasswordRehashed()
                | users.PasswordRemoved()
                | users.UserRestricted()
                | users.UserUnrestricted()
                | users.SessionsEnded()
            ):
                pass
            case _:
                assert_never(event)

    def _drop_in(self, tenant: TenantId, subject: SubjectId) -> None:
        graph = self._tenants.get(tenant)
        if graph is not None:
            graph.compiled.pop(subject, None)

    def _drop_subject(self, tenant: TenantId, subject: SubjectId) -> None:
        """Drop a subject's entry, and a group's members' too."""
        graph = self._tenants.get(tenant)
        if graph is not None:
            graph.compiled.pop(subject, None)
            for member in self.state.members.get(GroupId(subject), ()):
                graph.compiled.pop(member, None)

    def _drop_bound(self, binding: Binding | None) -> None:
        """Drop whom a binding gave something, unless nobody has seen it yet."""
        if binding is not None:
            self._drop_subject(binding.tenant, binding.subject)

    def _drop_everywhere(self, before: State, principal: PrincipalId) -> None:
        for tenant in before.access.get(principal, ()):
            self._drop_in(tenant, principal)

    def _rename(
        self,
        before: State,
        event: ServiceAccountCreated | ServiceAccountRenamed | ServiceAccountDeleted,
    ) -> None:
        known = before.service_accounts.get(event.id)
        if known is not None:
            named = self._names.get(known.name, {})
            named.pop(event.id, None)
            if not named:
                self._names.pop(known.name, None)
        account = self.state.service_accounts.get(event.id)
        if account is not None:
            self._names.setdefault(account.name, {})[event.id] = None
        self._drop_everywhere(before, event.id)


def _resolve_group(state: State, tenant: TenantId, text: str) -> GroupId | None:
    group = state.groups.get(GroupId(text))
    if group is None:
        found = state.group_names.get((tenant, names.folded(text)))
        group = state.groups[found] if found else None
        if group is None or group.name != text:
            return None
    return group.id if group.tenant == tenant else None
