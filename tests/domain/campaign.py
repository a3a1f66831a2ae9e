"""Which rights do random commands by random principals give, and does anyone get too many?

After each accepted command the rights of every holder (a principal, a token, an alias) must lie
within what it had before and what the caller effectively held (security 2.2). Rights are judged by
the oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import product
from random import Random
from typing import Final, TypeVar

from msgspec import UNSET, UnsetType

from domain.access import Narrowing
from domain.aliases import Alias
from domain.commands import Context, decide
from domain.errors import DomainError
from domain.events import Event
from domain.ids import (
    MAIN,
    BindingId,
    GroupId,
    PrincipalId,
    RoleId,
    ServiceAccountId,
    TenantId,
    TokenId,
    UserId,
)
from domain.permissions import from_lists
from domain.roles import RoleMadeDefault
from domain.service_accounts import ServiceAccountDisabled
from domain.state import State, evolve
from domain.tokens import Token, TokenDisabled
from domain.users import PasswordSet
from tests import oracle
from tests.domain.makers import IAM_ONLY, MAKERS, ROADS, TENANTS
from tests.domain.model import Question, leaves, model_of, timeless
from tests.domain.world import (
    ADA,
    BETA,
    BOT,
    BOTS,
    CAL,
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
    group,
    member,
    role,
    token,
    user,
)
from tests.fixed_inputs import START
from tests.spec import context, facts, given

T = TypeVar("T")
Right = tuple[str, Question] | str
Rights = set[Right]
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

# Who may do something, but not all, gives most of the commands.
BUSY: tuple[PrincipalId, ...] = (ADA, CAL, CAL, CAL, DAN, FAY, EVE, SHARED)

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
    token(TokenId("tok_cal_people"), CAL, Narrowing(permissions=from_lists({"USER": ["*"]}))),
    token(TokenId("tok_root"), ROOT, Narrowing(tenants=(MAIN,), instance_owner=True)),
    token(TokenId("tok_shared"), SHARED, Narrowing(tenants=(MAIN,))),
    token(TokenId("tok_shared_off"), SHARED, Narrowing(tenants=(MAIN,))),
    TokenDisabled(id=TokenId("tok_shared_off")),
)
FIRST = given(*BEGUN).state


class Campaign:
    """One installation under random commands; every choice follows from the seed."""

    def __init__(self, seed: int, kinds: tuple[type, ...] = ()) -> None:
        self.random: Random = Random(seed)  # noqa: S311 - choices of a test, repeatable by their seed
        self.kinds = kinds or (*MAKERS, *ROADS, *ROADS)
        self.state: State = FIRST
        self.at: datetime = START
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
                found.append(
                    f"{command} by {caller} {used} gave {holder} {sorted(excess, key=str)}"
                )
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
        somebody: list[PrincipalId] = [*self.users(), *self.accounts()]
        caller = self.pick([*somebody, *(who for who in BUSY if who in somebody)])
        held: list[TokenId | UnsetType] = [UNSET, *sorted(self.state.tokens_of.get(caller, ()))]
        return caller, self.pick(held)

    # Choices

    def pick(self, options: Sequence[T]) -> T:
        """Choose one."""
        return self.random.choice(options)

    def maybe(self, value: T) -> T | UnsetType:
        """Leave it out half of the time."""
        return value if self.random.random() < 0.5 else UNSET

    def some(self, options: Sequence[T]) -> tuple[T, ...]:
        """Choose up to two."""
        return tuple(self.random.sample(options, min(len(options), self.random.randrange(3))))

    def fresh(self, kind: Callable[[str], T], prefix: str) -> T:
        """Make a new id."""
        self._made += 1
        return kind(f"{prefix}_{self._made}")

    def spares(self) -> tuple[BindingId, ...]:
        return tuple(self.fresh(BindingId, "bnd") for _ in range(4))

    def tenant(self) -> TenantId:
        return TENANTS[self.random.random() < 0.2]

    def accounts(self) -> list[ServiceAccountId]:
        return sorted(one.id for one in self.state.service_accounts.values())

    def users(self) -> list[UserId]:
        return sorted(one.id for one in self.state.users.values())

    def groups(self) -> list[GroupId]:
        return sorted(one.id for one in self.state.groups.values())

    def principal(self) -> PrincipalId:
        everybody: list[PrincipalId] = [*self.users(), *self.accounts()]
        return self.pick(everybody)

    def account(self) -> ServiceAccountId:
        return self.pick(self.accounts() or [BOT])

    def user(self) -> UserId:
        return self.pick(self.users())

    def group(self) -> GroupId:
        return self.pick(self.groups() or [TEAM])

    def role(self) -> RoleId:
        return self.pick([*(OPERATOR, MANAGER, SECRETS, WELCOME), *sorted(self.state.roles)])

    def token(self) -> Token:
        held = sorted(self.state.tokens)
        return self.state.tokens[self.pick(held)] if held else FIRST.tokens[TokenId("tok_dan")]

    def span(self) -> tuple[datetime | UnsetType, datetime | UnsetType]:
        begins = self.at + self.random.randrange(9) * HOUR
        ends = begins + self.random.randrange(1, 99) * HOUR
        return self.maybe(begins), self.maybe(ends)

    def route(self, owner: str) -> TenantId | UnsetType:
        is_account = owner in self.state.service_accounts
        return self.tenant() if is_account and self.random.random() < 0.7 else UNSET


def owner_of(state: State, holder: str) -> str:
    """Answer the owner of a token, the carrier of an alias, or the principal itself."""
    held = state.tokens.get(holder)
    return holder.partition(" as ")[0] if held is None else held.owner


def instance_rights(narrowing: Narrowing | UnsetType) -> Rights:
    """Answer what an instance owner's credential holds beyond all questions."""
    if narrowing is UNSET:
        return {INSTANCE, *TENANTS}
    if not narrowing.instance_owner:
        return set()
    left: Rights = {
        one for one in TENANTS if narrowing.tenants is UNSET or one in narrowing.tenants
    }
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
    """Answer what every principal, token and alias holds, now or later."""
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
    # Whoever an application knows by an alias may do there what its carrier may.
    for alias in aliases_in(state):
        lent = answers.get(alias.principal, set())
        found[name_of(alias)] = {one for one in lent if one[0] == alias.tenant}
    return found


def aliases_in(state: State) -> list[Alias]:
    """Answer all aliases."""
    return [alias for held in state.aliases_of.values() for alias in held.values()]


def name_of(alias: Alias) -> str:
    """Answer as which holder an alias counts."""
    return f"{alias.principal} as {alias.key}"
