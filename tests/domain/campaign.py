"""Which rights do random commands by random principals give, and does anyone get too many?

After each accepted command the rights of every holder (a principal, a token) must lie within what
it had before and what the caller effectively held (security 2.2). Rights are judged by the oracle.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import product
from random import Random
from typing import Any, Final, TypeVar

from msgspec import UNSET, UnsetType

from domain import bindings, groups, owners, roles, service_accounts, tenants, tokens, users
from domain.access import Narrowing
from domain.commands import Command, Context, decide
from domain.errors import DomainError
from domain.events import Event
from domain.ids import MAIN, BindingId, GroupId, RoleId, ServiceAccountId, TenantId, TokenId, UserId
from domain.permissions import Permissions, from_lists
from domain.principals import InstanceOwnerGranted
from domain.roles import RoleMadeDefault
from domain.scopes import WHOLE_TENANT, Resource, Scope
from domain.service_accounts import ServiceAccountDisabled
from domain.state import State, evolve
from domain.tokens import Token, TokenDisabled
from domain.users import PasswordSet
from tests import oracle
from tests.domain.model import Question, leaves, model_of, timeless
from tests.domain.world import (
    ADA,
    BETA,
    BOT,
    BOTS,
    CAL,
    CREW,
    DAN,
    DRONE,
    EVE,
    EVENTS,
    HOUR,
    MANAGER,
    OPERATOR,
    PROD,
    ROOT,
    SHARED,
    bound,
    digest_of,
    group,
    index,
    managed_ids,
    member,
    prefix_of,
    role,
    sealed,
    token,
    user,
)
from tests.fixed_inputs import START
from tests.spec import context, facts, given

T = TypeVar("T")
Right = tuple[str, Question] | str
Rights = set[Right]
TENANTS = (MAIN, BETA)
INSTANCE: Final = "instance"
ASKED: tuple[Question, ...] = tuple(
    (type_, action, *place)
    for type_, action, place in product(
        ("FLOW", "GROUP", "SECRET", "UNHEARD"),
        ("VIEW", "UPDATE"),
        (("", ""), ("prod", ""), ("prod.billing", ""), ("", "record/r-17")),
    )
)

FAY = UserId("usr_fay")
TEAM = GroupId("grp_team")
SECRETS = RoleId("rol_secrets")
WELCOME = RoleId("rol_welcome")
IAM_ONLY = Narrowing(
    permissions=from_lists({"GROUP": ["*"], "SERVICE_ACCOUNT": ["*"], "BINDING": ["*"]})
)

# Who may do something, but not all, gives most of the commands.
BUSY = (ADA, CAL, CAL, CAL, DAN, FAY, EVE, SHARED)

# CAL administers without holding FLOW; FAY only welcomes; DAN owns groups whose rights it holds.
BEGUN: tuple[Event, ...] = (
    *EVENTS,
    *user(FAY, MAIN),
    *user(UserId("usr_two"), MAIN, BETA, owner=True),
    role(SECRETS, from_lists({"SECRET": ["*"], "FLOW": ["READ"]})),
    role(WELCOME, from_lists({"USER": ["CREATE", "DELETE"], "GROUP": ["VIEW"]})),
    group(TEAM, "Team"),
    member(BOTS, DAN, "OWNER"),
    member(TEAM, DAN, "OWNER"),
    bound(BOTS, OPERATOR, PROD),
    bound(TEAM, SECRETS, not_before=START + 400 * HOUR),
    bound(FAY, WELCOME),
    bound(SHARED, OPERATOR),
    bound(DRONE, RoleId("rol_beta"), tenant=BETA),
    RoleMadeDefault(tenant=MAIN, id=OPERATOR),
    ServiceAccountDisabled(id=BOT),
    token(TokenId("tok_dan"), DAN, Narrowing(permissions=from_lists({"GROUP": ["*"]}))),
    token(TokenId("tok_dan_wide"), DAN),
    token(TokenId("tok_cal"), CAL, IAM_ONLY),
    token(TokenId("tok_root"), ROOT, Narrowing(tenants=(MAIN,), instance_owner=True)),
    token(TokenId("tok_shared"), SHARED, Narrowing(tenants=(MAIN,))),
    token(TokenId("tok_shared_off"), SHARED, Narrowing(tenants=(MAIN,))),
    TokenDisabled(id=TokenId("tok_shared_off")),
)
FIRST = given(*BEGUN).state

PERMISSIONS = tuple(
    from_lists(lists)
    for lists in (
        {"GROUP": ["VIEW"]},
        {"FLOW": ["VIEW"], "SECRET": ["READ"]},
        {"*": ["VIEW"]},
        {"GROUP": ["*"], "FLOW": ["*"]},
    )
)
SCOPES = (WHOLE_TENANT, PROD, Scope(namespace="prod.billing"), Scope(resource=Resource("record", "r-17")))
NARROWINGS = (
    UNSET,
    UNSET,
    Narrowing(),
    Narrowing(instance_owner=True),
    Narrowing(permissions=PERMISSIONS[0]),
    Narrowing(tenants=(MAIN,), instance_owner=True),
    Narrowing(namespaces=("prod",)),
    IAM_ONLY,
)


class Campaign:
    """One installation under random commands; every choice follows from the seed."""

    def __init__(self, seed: int, kinds: tuple[type, ...] = ()) -> None:
        self.random = Random(seed)  # noqa: S311 - choices of a test, repeatable by their seed
        self.kinds = kinds or (*MAKERS, *ROADS, *ROADS)
        self.state = FIRST
        self.at = START
        self.accepted = 0
        self._made = 0
        self._potential = potential(FIRST, START)

    def step(self) -> list[str]:
        """Give one random command; answer the escalations that it brought about."""
        self.at += timedelta(minutes=self.random.randrange(90))
        command = MAKERS[self.pick(self.kinds)](self)
        caller, used = self._credential()
        circumstances = context(caller, at=self.at, token=used)
        try:
            events = decide(self.state, command, circumstances)
        except DomainError:
            return []
        if not isinstance(events, tuple) or not events:
            return []
        self.accepted += 1
        before, held = self._potential, effective(self.state, circumstances)
        self.state = evolve(self.state, facts(self.state, events, self.at))
        self._potential = potential(self.state, self.at)
        own = before.get(used or caller, set())
        found: list[str] = []
        for holder, rights in self._potential.items():
            given_back = own if owner_of(self.state, holder) == caller else set()
            excess = rights - before.get(holder, set()) - held - given_back
            if excess:
                found.append(f"{command} by {caller} {used} gave {holder} {sorted(excess, key=str)}")
        for event in events:
            if isinstance(event, PasswordSet):
                excess = before.get(event.id, set()) - held - own
                if excess:
                    found.append(f"{command} by {caller} {used} opened {event.id}")
        return found

    def run(self, steps: int) -> list[str]:
        """Give so many commands; answer the escalations of the first that brought any."""
        for _ in range(steps):
            found = self.step()
            if found:
                return found
        return []

    def _credential(self) -> tuple[str, str | UnsetType]:
        somebody = (*sorted(self.state.users), *sorted(self.state.service_accounts))
        caller = self.pick((*somebody, *(who for who in BUSY if who in somebody)))
        held: list[str] = sorted(self.state.tokens_of.get(caller, ()))
        return caller, self.pick([UNSET, *held]) if held else UNSET

    # Choices

    def pick(self, options: Any) -> Any:
        """Choose one."""
        return self.random.choice(options)

    def some(self, options: Any) -> tuple[Any, ...]:
        """Choose up to two."""
        known = sorted(options)
        return tuple(self.random.sample(known, min(len(known), self.random.randrange(3))))

    def fresh(self, kind: Callable[[str], T], prefix: str) -> T:
        """Make a new id."""
        self._made += 1
        return kind(f"{prefix}_{self._made}")

    def spares(self) -> tuple[BindingId, ...]:
        return tuple(self.fresh(BindingId, "bnd") for _ in range(4))

    def tenant(self) -> TenantId:
        return TENANTS[self.random.random() < 0.2]

    def principal(self) -> Any:
        return self.pick([*sorted(self.state.users), *sorted(self.state.service_accounts)])

    def account(self) -> Any:
        return self.pick(sorted(self.state.service_accounts) or [BOT])

    def user(self) -> Any:
        return self.pick(sorted(self.state.users))

    def group(self) -> Any:
        return self.pick(sorted(self.state.groups) or [TEAM])

    def role(self) -> Any:
        return self.pick([*(OPERATOR, MANAGER, SECRETS, WELCOME), *sorted(self.state.roles)])

    def token(self) -> Token:
        held = sorted(self.state.tokens)
        return self.state.tokens[self.pick(held)] if held else FIRST.tokens[TokenId("tok_dan")]

    def span(self) -> tuple[datetime | UnsetType, datetime | UnsetType]:
        begins = self.at + self.random.randrange(9) * HOUR
        ends = begins + self.random.randrange(1, 99) * HOUR
        return self.pick([UNSET, UNSET, begins]), self.pick([UNSET, UNSET, ends])

    def route(self, owner: str) -> TenantId | UnsetType:
        is_account = owner in self.state.service_accounts
        return self.tenant() if is_account and self.random.random() < 0.7 else UNSET


def owner_of(state: State, holder: str) -> str:
    """Answer the owner of a token, or the principal itself."""
    held = state.tokens.get(holder)
    return holder if held is None else held.owner


def instance_rights(narrowing: Narrowing | UnsetType) -> Rights:
    """Answer what an instance owner's credential holds beyond all questions."""
    if narrowing is UNSET:
        return {INSTANCE, *TENANTS}
    if not narrowing.instance_owner:
        return set()
    left: Rights = {one for one in TENANTS if narrowing.tenants is UNSET or one in narrowing.tenants}
    lists = (narrowing.permissions, narrowing.tenants, narrowing.namespaces, narrowing.resources)
    return left | {INSTANCE} if all(one is UNSET for one in lists) else left


def effective(state: State, circumstances: Context) -> Rights:
    """Answer what the caller holds at this instant through its credential."""
    caller, model = circumstances.actor.id, model_of(state)
    used = state.tokens.get(str(circumstances.actor.token_id))
    narrowing = UNSET if used is None else used.narrowing
    everything = instance_rights(narrowing) if caller in state.owners else set()
    now = circumstances.at.timestamp()
    rights: Rights = {
        (tenant, asked)
        for tenant in TENANTS
        for asked in ASKED
        if leaves(narrowing, tenant, asked)
        and (everything or oracle.allowed(model, tenant, caller, asked, now))
    }
    return rights | everything


def potential(state: State, at: datetime) -> dict[str, Rights]:
    """Answer what every principal and every token holds, now or later."""
    model, now = timeless(model_of(state), at.timestamp()), at.timestamp()
    answers = {
        who: {
            (tenant, asked)
            for tenant in TENANTS
            if (who, tenant) in model["access"]
            for asked in ASKED
            if oracle.allowed(model, tenant, who, asked, now)
        }
        for who, enabled in model["enabled"].items()
        if enabled
    }
    found: dict[str, Rights] = {
        who: held | (instance_rights(UNSET) if who in state.owners else set())
        for who, held in answers.items()
    }
    for used in state.tokens.values():
        over = used.expires_at is not UNSET and used.expires_at <= at
        if used.owner in answers and used.enabled and not over:
            left = {one for one in answers[used.owner] if leaves(used.narrowing, *one)}
            privilege = used.owner in state.owners
            found[used.id] = left | (instance_rights(used.narrowing) if privilege else set())
    return found


# How a random command of each kind is made


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
    found: Permissions = one.pick(PERMISSIONS)
    return found


def _change_account(one: Campaign) -> service_accounts.ChangeServiceAccount:
    id_ = one.account()
    return service_accounts.ChangeServiceAccount(
        tenant=one.route(id_),
        id=id_,
        name="bot",
        groups=one.pick([UNSET, one.some(one.state.groups)]),
        instance_owner=one.pick([UNSET, UNSET, True, False]),
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
        max_age_seconds=one.pick([UNSET, 86_400]),
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
        password=one.pick([UNSET, sealed(id_)]),
        tenants=one.some(TENANTS),
        groups=one.some(one.state.groups),
        default_bindings=one.spares(),
        instance_owner=one.random.random() < 0.3,
    )


def _change_user(one: Campaign) -> users.ChangeUser:
    return users.ChangeUser(
        id=one.user(),
        password=one.pick([UNSET, sealed("other")]),
        tenants=one.pick([UNSET, one.some(TENANTS)]),
        groups=one.pick([UNSET, one.some(one.state.groups)]),
        default_bindings=one.spares(),
        instance_owner=one.pick([UNSET, UNSET, True, False]),
        restricted=one.pick([UNSET, UNSET, True, False]),
    )


def _new_tenant(one: Campaign) -> tenants.CreateTenant:
    id_ = one.fresh(TenantId, "t")
    return tenants.CreateTenant(id=id_, name="Tenant", managed_roles=managed_ids(id_))


MAKERS: Final[dict[type, Callable[[Campaign], Command]]] = {
    bindings.AssignRole: lambda one: bindings.AssignRole(
        tenant=one.tenant(), assignment=_assignment(one)
    ),
    bindings.AssignRoles: lambda one: bindings.AssignRoles(
        tenant=one.tenant(), assignments=(_assignment(one), _assignment(one))
    ),
    bindings.DeleteBinding: lambda one: bindings.DeleteBinding(
        tenant=one.tenant(), id=one.pick(sorted(one.state.bindings) or [BindingId("none")])
    ),
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
        tenant=one.tenant(), principal=one.principal(), groups=one.some(one.state.groups)
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
        tenant=one.pick([UNSET, one.tenant()]),
        id=one.fresh(ServiceAccountId, "sa"),
        name="bot",
        groups=one.some(one.state.groups),
        instance_owner=one.random.random() < 0.2,
    ),
    service_accounts.ChangeServiceAccount: _change_account,
    service_accounts.DisableServiceAccount: _of_account(service_accounts.DisableServiceAccount),
    service_accounts.EnableServiceAccount: _of_account(service_accounts.EnableServiceAccount),
    service_accounts.DeleteServiceAccount: _of_account(service_accounts.DeleteServiceAccount),
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
    users.DisableUser: lambda one: users.DisableUser(id=one.user()),
    users.EnableUser: lambda one: users.EnableUser(id=one.user()),
    users.EndSessions: lambda one: users.EndSessions(id=one.user()),
    users.DeleteUser: lambda one: users.DeleteUser(id=one.user()),
}

# The commands that can give a right, which a campaign gives more often than the others.
ROADS: Final[tuple[type, ...]] = (
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
