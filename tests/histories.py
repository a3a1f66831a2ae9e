"""Which valid histories could an installation have? Random ones, the same for the same seed.

Commands are decided by the domain itself, with the installation as the actor, so that every rule
holds in what comes out.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from msgspec import UNSET, UnsetType

from domain import (
    aliases,
    bindings,
    erasures,
    groups,
    owners,
    roles,
    service_accounts,
    tenants,
    tokens,
    users,
)
from domain.access import Narrowing
from domain.commands import Command, Context, decide, facts_of, record_of
from domain.errors import DomainError
from domain.events import Actor, Fact, Record, decode
from domain.ids import (
    MAIN,
    BindingId,
    CommandId,
    GroupId,
    PrincipalId,
    RoleId,
    ServiceAccountId,
    TenantId,
    TokenId,
    UserId,
)
from domain.permissions import MANAGED_ROLES, from_lists
from domain.scopes import Resource, Scope
from domain.sealed import KeyId, Sealed, Secret
from domain.state import Draft, Recorded, State, apply
from tests.fixed_inputs import FixedInputs
from tests.sink_makers import sink_makers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

T = TypeVar("T")

LOG_ID = "3b1f0a52-9c55-4c0e-8a3c-5f6b7a8c9d01"
WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")
NAMES = (*WORDS, "Ops Team", "ÉQUIPE", "naïve ~ /slash", 'quoted "name"')
NAMESPACES = ("prod", "prod.billing", "production", "dev", "dev.a.b")
SYSTEM = Actor(type="system", id="system", via="test")


class Histories:
    """A log that grows by random commands; `records` and `state` always agree."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
        self.inputs = FixedInputs()
        self.records: list[Record] = []
        self.state = State()
        self.give(tenants.OpenLog(log_id=LOG_ID, managed_roles=self.role_ids()))

    def give(
        self,
        command: Command,
        *,
        actor: Actor = SYSTEM,
        fingerprint: str | UnsetType = UNSET,
        reason: str | UnsetType = UNSET,
    ) -> tuple[Fact, ...]:
        """Decide one command and append its events; raises what the domain refuses with."""
        context = Context(
            at=self.inputs.now(),
            actor=actor,
            command_id=CommandId(self.inputs.id()),
            correlation_id=f"request-{len(self.records)}",
            fingerprint=fingerprint,
            reason=reason,
        )
        draft = Draft(self.state)
        events = decide(draft, command, context)
        assert not isinstance(events, Recorded)
        facts: list[Fact] = []
        for made in facts_of(command, context, events, len(self.records)):
            self.records.append(record_of(made))
            facts.append(decode(self.records[-1]))
            apply(draft, facts[-1])
        self.state = draft.finish()
        return tuple(facts)

    def run(self, commands: int) -> None:
        """Give so many random commands; those that the domain refuses leave nothing."""
        makers: Sequence[Callable[[], Command]] = self._makers()
        for _ in range(commands):
            self.inputs.advance(self.random.choice((0.0, 0.5, 61.0, 90_000.0)))
            fingerprint = self.random.choice((UNSET, UNSET, "f" * 8))
            try:
                command = self.random.choice(makers)()
                self.give(command, actor=self._actor(), fingerprint=fingerprint, reason="random")
            except (DomainError, LookupError):
                # A LookupError is a command for which there is nothing to choose from yet.
                continue

    # Choices

    def _one(self, values: Iterable[T]) -> T:
        """Choose by an order that does not depend on hashes."""
        return self.random.choice(sorted(values, key=str))

    def _some(self, values: Iterable[T], most: int = 2) -> tuple[T, ...]:
        ordered = sorted(values, key=str)
        return tuple(
            self.random.sample(ordered, min(len(ordered), self.random.randrange(most + 1)))
        )

    def _maybe(self, value: T) -> T | UnsetType:
        return value if self.random.random() < 0.5 else UNSET

    def _tenant(self) -> TenantId:
        return self._one(self.state.tenants)

    def _group(self, tenant: TenantId) -> GroupId:
        return self._one(group.id for group in self.state.groups.values() if group.tenant == tenant)

    def _role(self, tenant: TenantId) -> RoleId:
        return self._one(role.id for role in self.state.roles.values() if role.tenant == tenant)

    def _account(self) -> ServiceAccountId:
        return self._one(account.id for account in self.state.service_accounts.values())

    def _user(self) -> UserId:
        return self._one(user.id for user in self.state.users.values())

    def _principals(self) -> tuple[PrincipalId, ...]:
        accounts = (account.id for account in self.state.service_accounts.values())
        return (*(user.id for user in self.state.users.values()), *accounts)

    def _principal(self) -> PrincipalId:
        return self._one(self._principals())

    def _groups(self, tenant: TenantId | UnsetType = UNSET) -> tuple[GroupId, ...]:
        return self._some(
            group.id
            for group in self.state.groups.values()
            if tenant is UNSET or group.tenant == tenant
        )

    def _actor(self) -> Actor:
        """Answer the installation, with other circumstances each time."""
        return Actor(
            type="system",
            id="system",
            via=self._maybe("test"),
            address=self._maybe("10.0.0.9"),
            user_agent=self._maybe("agent/1"),
        )

    def _later(self) -> datetime:
        return self.inputs.now() + timedelta(seconds=self.random.choice((30, 4_000, 200_000)))

    def _span(self) -> tuple[datetime | UnsetType, datetime | UnsetType]:
        return self._maybe(self._later()), self._maybe(self._later() + timedelta(days=2))

    def _scope(self) -> Scope:
        namespace = Scope(namespace=self.random.choice(NAMESPACES))
        resource = Scope(resource=Resource("record", self.random.choice(WORDS)))
        return self.random.choice((Scope(), namespace, resource))

    def role_ids(self) -> tuple[RoleId, ...]:
        return tuple(RoleId(self.inputs.id()) for _ in MANAGED_ROLES)

    def _spares(self) -> tuple[BindingId, ...]:
        return tuple(BindingId(self.inputs.id()) for _ in range(8))

    def sealed(self) -> Sealed:
        return Sealed(
            key=KeyId(self.inputs.id()),
            command_id=CommandId("0" * 22),
            text=self.inputs.random_bytes(48),
            commit=self.inputs.random_bytes(32),
        )

    # Commands

    def _makers(self) -> tuple[Callable[[], Command], ...]:
        return (
            *self._tenant_makers(),
            *self._user_makers(),
            *self._account_makers(),
            *self._group_makers(),
            *self._role_makers(),
            *self._binding_makers(),
            *self._token_makers(),
            *self._alias_makers(),
            *sink_makers(self.random, lambda: self.state, self.inputs.id),
        )

    def _tenant_makers(self) -> tuple[Callable[[], Command], ...]:
        return (
            lambda: tenants.CreateTenant(
                id=TenantId(self._one(WORDS)),
                name=self._one(NAMES),
                managed_roles=self.role_ids(),
            ),
            lambda: tenants.RenameTenant(id=self._tenant(), name=self._one(NAMES)),
            lambda: tenants.DeleteTenant(id=TenantId(self._one(WORDS[:2]))),
            lambda: tenants.GrantTenantAccess(
                tenant=self._tenant(),
                principal=self._principal(),
                default_binding=BindingId(self.inputs.id()),
            ),
            lambda: tenants.EndTenantAccess(tenant=self._tenant(), principal=self._principal()),
            lambda: owners.GrantInstanceOwner(principal=self._principal()),
            lambda: owners.RevokeInstanceOwner(principal=self._principal()),
        )

    def _user_makers(self) -> tuple[Callable[[], Command], ...]:
        return (
            self._create_user,
            self._create_user,
            lambda: users.ChangeUser(
                id=self._user(),
                email=self.sealed(),
                email_index=self.inputs.random_bytes(8),
                first_name=self._maybe(self.sealed()),
                last_name=self._maybe(self.sealed()),
                password=self._maybe(self.sealed()),
                tenants=self._maybe((MAIN,)),
                groups=self._maybe(self._groups()),
                default_bindings=self._spares(),
                instance_owner=self._maybe(self.random.random() < 0.8),
                restricted=self._maybe(self.random.random() < 0.5),
            ),
            lambda: users.ChangeOwnPassword(id=self._user(), password=self.sealed()),
            lambda: users.RehashPassword(id=self._user(), password=self.sealed()),
            lambda: users.RemovePassword(id=self._user()),
            lambda: users.DisableUser(id=self._user()),
            lambda: users.EnableUser(id=self._user()),
            lambda: users.EndSessions(id=self._user()),
            self._end_user,
        )

    def _end_user(self) -> Command:
        # By turns, and not by chance: so every other choice of a seed stays what it was.
        ends = (erasures.EraseUser, users.DeleteUser, users.DeleteUser)[len(self.records) % 3]
        return ends(id=self._user())

    def _create_user(self) -> Command:
        return users.CreateUser(
            id=UserId(self.inputs.id()),
            email=self.sealed(),
            email_index=self.inputs.random_bytes(8),
            first_name=self._maybe(self.sealed()),
            last_name=self._maybe(self.sealed()),
            password=self._maybe(self.sealed()),
            tenants=self._some(self.state.tenants),
            groups=self._groups(),
            default_bindings=self._spares(),
            instance_owner=self.random.random() < 0.2,
            restricted=self.random.random() < 0.2,
        )

    def _account_makers(self) -> tuple[Callable[[], Command], ...]:
        return (
            self._create_account,
            self._create_account,
            lambda: service_accounts.ChangeServiceAccount(
                tenant=MAIN,
                id=self._account(),
                name=self._one(WORDS),
                description=self._maybe(self._one(NAMES)),
                groups=self._maybe(self._groups(MAIN)),
                instance_owner=self._maybe(self.random.random() < 0.5),
            ),
            lambda: service_accounts.DisableServiceAccount(id=self._account()),
            lambda: service_accounts.EnableServiceAccount(id=self._account()),
            lambda: service_accounts.DeleteServiceAccount(id=self._account()),
        )

    def _create_account(self) -> Command:
        tenant = self._maybe(MAIN)
        return service_accounts.CreateServiceAccount(
            tenant=tenant,
            id=ServiceAccountId(self.inputs.id()),
            name=self._one(WORDS),
            description=self._one(("", *NAMES)),
            groups=self._groups(tenant),
            tenants=self._some(self.state.tenants),
            instance_owner=self.random.random() < 0.1,
        )

    def _group_makers(self) -> tuple[Callable[[], Command], ...]:
        return (
            lambda: groups.CreateGroup(
                tenant=self._tenant(),
                id=GroupId(self.inputs.id()),
                name=self._one(NAMES),
                description=self._one(("", *WORDS)),
                members=self._some(self._principals()),
                default_bindings=self._spares(),
            ),
            lambda: groups.ChangeGroup(
                tenant=(tenant := self._tenant()),
                id=self._group(tenant),
                name=self._one(NAMES),
                description=self._one(WORDS),
            ),
            lambda: groups.DeleteGroup(tenant=(tenant := self._tenant()), id=self._group(tenant)),
            self._add_member,
            self._add_member,
            lambda: groups.RemoveMember(
                tenant=(tenant := self._tenant()),
                group=(group := self._group(tenant)),
                principal=self._one(self.state.members.get(group, ())),
            ),
            lambda: groups.ChangeMembership(
                tenant=(tenant := self._tenant()),
                group=(group := self._group(tenant)),
                principal=self._one(self.state.members.get(group, ())),
                level=self._one(("MEMBER", "OWNER")),
            ),
            lambda: groups.ReplaceGroups(
                tenant=MAIN,
                principal=self._principal(),
                groups=self._groups(MAIN),
            ),
        )

    def _add_member(self) -> Command:
        tenant = self._tenant()
        not_before, expires_at = self._span()
        return groups.AddMember(
            tenant=tenant,
            group=self._group(tenant),
            principal=self._principal(),
            default_binding=BindingId(self.inputs.id()),
            level=self._one(("MEMBER", "OWNER")),
            not_before=not_before,
            expires_at=expires_at,
        )

    def _role_makers(self) -> tuple[Callable[[], Command], ...]:
        def permissions() -> tuple[str, ...]:
            return self._some(("VIEW", "READ", "*", "record:write"), 3)

        return (
            lambda: roles.CreateRole(
                tenant=self._tenant(),
                id=RoleId(self.inputs.id()),
                name=self._one(NAMES),
                description=self._one(("", *WORDS)),
                permissions=from_lists({"FLOW": permissions(), "record": permissions()}),
                is_default=self.random.random() < 0.3,
            ),
            lambda: roles.ChangeRole(
                tenant=(tenant := self._tenant()),
                id=self._role(tenant),
                name=self._one(NAMES),
                description=self._one(WORDS),
                permissions=from_lists({"FLOW": permissions()}),
                is_default=self.random.random() < 0.5,
            ),
            lambda: roles.DeleteRole(tenant=(tenant := self._tenant()), id=self._role(tenant)),
        )

    def _binding_makers(self) -> tuple[Callable[[], Command], ...]:
        return (
            lambda: bindings.AssignRole(
                tenant=(tenant := self._tenant()), assignment=self._assignment(tenant)
            ),
            lambda: bindings.AssignRoles(
                tenant=(tenant := self._tenant()),
                assignments=(self._assignment(tenant), self._assignment(tenant)),
            ),
            lambda: bindings.DeleteBinding(
                tenant=(binding := self.state.bindings[self._one(self.state.bindings)]).tenant,
                id=binding.id,
            ),
        )

    def _assignment(self, tenant: TenantId) -> bindings.Assignment:
        not_before, expires_at = self._span()
        to_group = self.random.random() < 0.5
        return bindings.Assignment(
            id=BindingId(self.inputs.id()),
            default_binding=BindingId(self.inputs.id()),
            subject_type="GROUP" if to_group else "PRINCIPAL",
            subject=self._group(tenant) if to_group else self._principal(),
            role=self._role(tenant),
            scope=self._scope(),
            not_before=not_before,
            expires_at=expires_at,
        )

    def _token_makers(self) -> tuple[Callable[[], Command], ...]:
        return (
            self._issue_token,
            self._issue_token,
            lambda: tokens.RotateToken(
                owner=(token := self.state.tokens[self._one(self.state.tokens)]).owner,
                id=token.id,
                new_id=TokenId(self.inputs.id()),
                digest=self.inputs.random_bytes(32),
                prefix=self.inputs.token_prefix(),
                grace_seconds=3_600,
            ),
            lambda: tokens.DisableToken(
                owner=(token := self.state.tokens[self._one(self.state.tokens)]).owner, id=token.id
            ),
            lambda: tokens.EnableToken(
                owner=(token := self.state.tokens[self._one(self.state.tokens)]).owner, id=token.id
            ),
            lambda: tokens.ExtendToken(
                owner=(token := self.state.tokens[self._one(self.state.tokens)]).owner, id=token.id
            ),
            lambda: tokens.RevokeToken(
                owner=(token := self.state.tokens[self._one(self.state.tokens)]).owner, id=token.id
            ),
            lambda: tokens.RevokeAllTokens(owner=self._principal()),
        )

    def _issue_token(self) -> Command:
        narrowing = Narrowing(
            permissions=self._maybe(from_lists({"FLOW": ("VIEW",)})),
            tenants=self._maybe((MAIN,)),
            namespaces=self._maybe(("prod",)),
            resources=self._maybe((Resource("record", "r-1"),)),
        )
        return tokens.IssueToken(
            owner=self._principal(),
            id=TokenId(self.inputs.id()),
            name=self._one(WORDS),
            description=self._one(("", *WORDS)),
            digest=self.inputs.random_bytes(32),
            prefix=self.inputs.token_prefix(),
            max_age_seconds=self._maybe(864_000),
            extended=self.random.random() < 0.7,
            narrowing=self._maybe(narrowing),
            allowed_addresses=self._some(("10.0.0.0/8", "2001:db8::/32")),
        )

    def _alias_makers(self) -> tuple[Callable[[], Command], ...]:
        return (self._set_alias, self._set_alias, self._remove_alias)

    def _set_alias(self) -> Command:
        principal = self._principal()
        own = "user" if principal in self.state.users else "service_account"
        tenant, type_ = self._one(self.state.access[principal]), self._one((own, "identity"))
        id_ = self._one(NAMES)
        return aliases.SetAlias(
            tenant=tenant,
            principal=principal,
            type=type_,
            id=Secret(id_),
            index=alias_index(tenant, type_, id_),
            sealed=self.sealed(),
        )

    def _remove_alias(self) -> Command:
        held = self._one(one for found in self.state.aliases_of.values() for one in found.values())
        return aliases.RemoveAlias(
            tenant=held.tenant, principal=held.principal, type=held.type, index=held.index
        )


def alias_index(tenant: TenantId, type_: str, id_: str) -> bytes:
    """Answer what stands for the keyed index of an alias."""
    return f"{tenant}/{type_}/{id_}".encode()
