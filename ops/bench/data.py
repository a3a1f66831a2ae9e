"""Which made-up installation do all benchmarks measure, and which answers are right in it?

Everything follows from the seed, the scale and the shape (performance 5). The rows are the
domain's own events, so they are at once what is appended and what the naive oracle judges by.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import chain, count, cycle
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import UNSET, Struct, UnsetType

from domain.events import Actor, Envelope, Event, Fact, Record, encode
from domain.groups import GroupCreated
from domain.ids import (
    MAIN,
    BindingId,
    CommandId,
    GroupId,
    PrincipalId,
    RoleId,
    ServiceAccountId,
    SubjectId,
    TenantId,
    TokenId,
    UserId,
)
from domain.permissions import TypeActions
from domain.principals import (
    BindingCreated,
    BindingDeleted,
    MemberAdded,
    SubjectType,
    TenantAccessGranted,
)
from domain.roles import RoleCreated
from domain.scopes import Resource, Scope
from domain.sealed import KeyId, Sealed
from domain.service_accounts import ServiceAccountCreated
from domain.tenants import LogOpened, TenantCreated
from domain.token_text import SECRET_BYTES, TokenKind, base62, digest, make
from domain.tokens import TokenIssued
from domain.users import UserCreated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

SEED: Final = 7
ACCOUNTS_AT_ONE: Final = 10_000
EVENTS_AT_TEN: Final = 1_000_000
QUESTIONS_MAX: Final = 1_000_000
TOKENS_MAX: Final = 10_000

LOG_ID: Final = "6f1d9a52-0c7e-4b0e-9a56-7f0c2b9d4e11"
# The benchmarks' "now": spans of the rich shape lie around it.
NOW: Final = datetime(2026, 6, 1, tzinfo=UTC)

TYPES: Final = tuple(f"TYPE{number}" for number in range(20))
ACTIONS: Final = tuple(f"ACTION{number}" for number in range(10))
ROOTS: Final = ("prod", "staging", "dev")
APPLICATIONS: Final = ("api", "web", "jobs", "data", "edge")

_ANY: Final = "*"

# The shares of performance 5.
_LIMITED: Final = 0.05
_ON_A_RESOURCE: Final = 0.05
_ON_A_ROOT: Final = 0.02
_ON_A_ROOT_OR_TEAM: Final = 0.62
_AIMED: Final = 0.48
_AT_HOME: Final = 0.5

_SYSTEM: Final = Actor(type="system", id="bench")
_DAY: Final = timedelta(days=1)


class Question(NamedTuple):
    """One check; a resource is (type, id)."""

    subject: str
    type: str
    action: str
    namespace: str
    resource: tuple[str, str] | None
    tenant: str


class Token(NamedTuple):
    """A token's event and the text that no event holds."""

    issued: TokenIssued
    text: str


class World(Struct, frozen=True, kw_only=True):
    """The installation, as the events that make it; tokens are apart, because of their texts."""

    scale: float
    seed: int
    tenants: tuple[TenantId, ...]
    namespaces: tuple[str, ...]
    roles: tuple[RoleCreated, ...]
    accounts: tuple[ServiceAccountCreated, ...]
    users: tuple[UserCreated, ...]
    access: tuple[TenantAccessGranted, ...]
    groups: tuple[GroupCreated, ...]
    members: tuple[MemberAdded, ...]
    bindings: tuple[BindingCreated, ...]
    tokens: tuple[Token, ...]

    def events(self) -> Iterator[Event]:
        """Yield what makes the installation, in the order of performance 5."""
        issued = (token.issued for token in self.tokens)
        tenants = (TenantCreated(tenant=tenant, name=tenant) for tenant in self.tenants)
        return chain(tenants, self.additions(), issued)

    def additions(self) -> Iterator[Event]:
        """Yield what an installation that has its tenants still lacks, without the tokens."""
        return chain(
            self.roles,
            self.accounts,
            self.users,
            self.access,
            self.groups,
            self.members,
            self.bindings,
        )


class _Maker:
    """Draws every random value of a world from one seeded source."""

    def __init__(self, scale: float, seed: int, *, rich: bool) -> None:
        self.random = Random(seed)  # noqa: S311 - nothing is guarded by it, all repeatable
        self.rich = rich
        self.accounts = max(20, round(ACCOUNTS_AT_ONE * scale))
        self.tenants = (MAIN, TenantId("second"), TenantId("third")) if rich else (MAIN,)

    def id(self) -> str:
        """Answer an id of the shape of ours."""
        return base62(self.random.getrandbits(128), 22)

    def namespaces(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Answer the teams' and the applications' namespaces."""
        teams = tuple(
            f"{root}.team{number}"
            for root in ROOTS
            for number in range(max(10, self.accounts // 100))
        )
        return teams, tuple(f"{team}.{app}" for team in teams for app in APPLICATIONS)

    def roles(self) -> Iterator[RoleCreated]:
        """Yield 100 roles a tenant, each with 5 to 30 of the 200 permissions."""
        pairs = [(type_, action) for type_ in TYPES for action in ACTIONS]
        for tenant in self.tenants:
            for number in range(100):
                held: dict[str, list[str]] = {}
                for type_, action in self.random.sample(pairs, self.random.randint(5, 30)):
                    held.setdefault(type_, []).append(action)
                if self.rich and number == 0:
                    held[TYPES[0]] = [_ANY]
                if self.rich and number == 1:
                    held[_ANY] = [ACTIONS[0]]
                yield RoleCreated(
                    tenant=tenant,
                    id=RoleId(self.id()),
                    name=f"role-{number}",
                    permissions=tuple(TypeActions(type_, tuple(held[type_])) for type_ in held),
                )

    def user(self) -> UserCreated:
        """Answer a user whose e-mail is sealed under a key that nobody has."""
        sealed = Sealed(
            key=KeyId(self.id()),
            command_id=CommandId(self.id()),
            text=self.random.randbytes(76),
            commit=self.random.randbytes(32),
        )
        index = self.random.randbytes(32)
        return UserCreated(id=UserId(self.id()), email=sealed, email_index=index)

    def span(self) -> tuple[datetime | UnsetType, datetime | UnsetType]:
        """Answer begin and end of a binding or membership; the plain shape has none."""
        if not self.rich or self.random.random() >= _LIMITED:
            return UNSET, UNSET
        begins = NOW + self.random.uniform(-3, 1) * _DAY
        return begins, begins + self.random.uniform(0.5, 4) * _DAY

    def token(self, account: ServiceAccountId) -> Token:
        """Answer a token of the account."""
        text = make(TokenKind.SERVICE_ACCOUNT, self.random.randbytes(SECRET_BYTES))
        issued = TokenIssued(
            id=TokenId(self.id()),
            owner=account,
            name="bench",
            digest=digest(text),
            prefix=text[5:11].upper(),
        )
        return Token(issued, text)


def alias_index(tenant: TenantId, type_: str, text: str) -> bytes:
    """Answer what stands for the keyed index of an alias, by which no question here asks."""
    return f"{tenant}/{type_}/{text}".encode()


def make_world(scale: float, seed: int = SEED, *, rich: bool = False) -> World:
    """Answer the installation of that scale: 1 is 10,000 service accounts."""
    maker = _Maker(scale, seed, rich=rich)
    teams, applications = maker.namespaces()
    roles = tuple(maker.roles())
    accounts = tuple(
        ServiceAccountCreated(id=ServiceAccountId(maker.id()), name=f"bot-{number}")
        for number in range(maker.accounts)
    )
    users = tuple(maker.user() for _ in range(maker.accounts // 10))
    principals: tuple[PrincipalId, ...] = (
        *(account.id for account in accounts),
        *(user.id for user in users),
    )
    groups = tuple(
        GroupCreated(tenant=tenant, id=GroupId(maker.id()), name=f"group-{number}")
        for number, tenant in zip(
            range(max(5, maker.accounts // 20)), cycle(maker.tenants), strict=False
        )
    )
    return World(
        scale=scale,
        seed=seed,
        tenants=maker.tenants,
        namespaces=(*ROOTS, *teams, *applications),
        roles=roles,
        accounts=accounts,
        users=users,
        access=tuple(
            TenantAccessGranted(tenant=tenant, principal=principal)
            for principal in principals
            for tenant in maker.tenants
        ),
        groups=groups,
        members=tuple(_members(maker, principals, groups)),
        bindings=tuple(_bindings(maker, principals, groups, roles, (teams, applications))),
        tokens=tuple(maker.token(account.id) for account in accounts[:TOKENS_MAX]),
    )


def _members(
    maker: _Maker, principals: Sequence[PrincipalId], groups: Sequence[GroupCreated]
) -> Iterator[MemberAdded]:
    for principal in principals:
        for group in maker.random.sample(groups, maker.random.randint(1, 5)):
            not_before, expires_at = maker.span()
            yield MemberAdded(
                tenant=group.tenant,
                group=group.id,
                principal=principal,
                not_before=not_before,
                expires_at=expires_at,
            )


def _bindings(
    maker: _Maker,
    principals: Sequence[PrincipalId],
    groups: Sequence[GroupCreated],
    roles: Sequence[RoleCreated],
    places: tuple[Sequence[str], Sequence[str]],
) -> Iterator[BindingCreated]:
    random = maker.random
    by_tenant = {
        tenant: [role.id for role in roles if role.tenant == tenant] for tenant in maker.tenants
    }
    own: Iterable[tuple[SubjectType, SubjectId, TenantId]] = (
        ("PRINCIPAL", principal, random.choice(maker.tenants))
        for principal in principals
        for _ in range(random.randint(0, 2))
    )
    shared: Iterable[tuple[SubjectType, SubjectId, TenantId]] = (
        ("GROUP", group.id, group.tenant) for group in groups for _ in range(random.randint(1, 4))
    )
    for subject_type, subject, tenant in chain(own, shared):
        not_before, expires_at = maker.span()
        yield BindingCreated(
            tenant=tenant,
            id=BindingId(maker.id()),
            subject_type=subject_type,
            subject=subject,
            role=random.choice(by_tenant[tenant]),
            scope=_scope(maker, *places),
            not_before=not_before,
            expires_at=expires_at,
        )


def _scope(maker: _Maker, teams: Sequence[str], applications: Sequence[str]) -> Scope:
    """Answer 2 % a root, 60 % a team, 38 % an application; rich: 5 % one resource."""
    random = maker.random
    if maker.rich and random.random() < _ON_A_RESOURCE:
        return Scope(resource=Resource(random.choice(TYPES), f"object-{random.randrange(1000)}"))
    draw = random.random()
    if draw < _ON_A_ROOT:
        return Scope(namespace=random.choice(ROOTS))
    return Scope(namespace=random.choice(teams if draw < _ON_A_ROOT_OR_TEAM else applications))


# History


def history(world: World, events: int) -> Iterator[Event]:
    """Yield exactly so many events: the installation, then bindings that come and go."""
    made = chain((LogOpened(log_id=LOG_ID),), world.events(), churn(world))
    return (event for event, _ in zip(made, range(events), strict=False))


def churn(world: World) -> Iterator[Event]:
    """Yield without end bindings like those that there are, each ended by the next event."""
    random = Random(world.seed + 1)  # noqa: S311 - nothing is guarded by it, all repeatable
    while True:
        binding = random.choice(world.bindings)
        id_ = BindingId(base62(random.getrandbits(128), 22))
        yield BindingCreated(
            tenant=binding.tenant,
            id=id_,
            subject_type=binding.subject_type,
            subject=binding.subject,
            role=binding.role,
            scope=binding.scope,
        )
        yield BindingDeleted(tenant=binding.tenant, id=id_)


def facts(events: Iterable[Event], after: int = 0) -> Iterator[Fact]:
    """Yield the events in envelopes at the positions that follow `after`, a second apart."""
    begin = NOW - 400 * _DAY
    for position, event in zip(count(after + 1), events, strict=False):
        tenant: TenantId | UnsetType = getattr(event, "tenant", UNSET)
        command_id = CommandId(f"{position:022}")
        envelope: Envelope[Event] = Envelope(
            at=begin + position * timedelta(seconds=1),
            actor=_SYSTEM,
            tenant=tenant,
            command_id=command_id,
            correlation_id=command_id,
            event=event,
        )
        yield Fact(position, envelope)


def records(events: Iterable[Event], after: int = 0) -> Iterator[Record]:
    """Yield the events as they are stored, at the positions that follow `after`."""
    return (encode(fact.position, fact.envelope) for fact in facts(events, after))


# Questions and their right answers


class Oracle:
    """Who may do what, by the plainest loop over everything that somebody holds."""

    def __init__(self, world: World) -> None:
        roles = {role.id: role for role in world.roles}
        self._pairs = {
            id_: frozenset(
                (entry.type, action) for entry in role.permissions for action in entry.actions
            )
            for id_, role in roles.items()
        }
        self._bindings: dict[str, list[BindingCreated]] = {}
        for binding in world.bindings:
            self._bindings.setdefault(binding.subject, []).append(binding)
        self._members: dict[str, list[MemberAdded]] = {}
        for member in world.members:
            self._members.setdefault(member.principal, []).append(member)

    def held(self, subject: str) -> Iterator[BindingCreated]:
        """Yield the bindings, own and the groups', that count for the subject at `NOW`."""
        yield from filter(_counts, self._bindings.get(subject, ()))
        for member in filter(_counts, self._members.get(subject, ())):
            yield from filter(_counts, self._bindings.get(member.group, ()))

    def pairs(self, binding: BindingCreated) -> frozenset[tuple[str, str]]:
        """Answer the (type, action) pairs that the binding's role lists."""
        return self._pairs[binding.role]

    def allows(self, question: Question) -> bool:
        """Answer the question."""
        wanted = {
            (type_, action) for type_ in (question.type, _ANY) for action in (question.action, _ANY)
        }
        return any(
            binding.tenant == question.tenant
            and _covers(binding.scope, question)
            and not wanted.isdisjoint(self._pairs[binding.role])
            for binding in self.held(question.subject)
        )


def _counts(limited: BindingCreated | MemberAdded) -> bool:
    begun = limited.not_before is UNSET or limited.not_before <= NOW
    return begun and (limited.expires_at is UNSET or limited.expires_at > NOW)


def _covers(scope: Scope, question: Question) -> bool:
    if scope.resource is not UNSET:
        return question.resource == (scope.resource.type, scope.resource.id)
    if scope.namespace is UNSET:
        return True
    return f"{question.namespace}.".startswith(f"{scope.namespace}.")


def questions(world: World, oracle: Oracle, number: int) -> list[tuple[Question, bool]]:
    """Answer shuffled questions with their right answers, about half of them allowed.

    48 % aim at what the subject holds, at its place or beneath; the rest are random pairs, half
    of them at a place where the subject holds something (performance 5).
    """
    random = Random(world.seed + 2)  # noqa: S311 - nothing is guarded by it, all repeatable
    principals = [*(account.id for account in world.accounts), *(user.id for user in world.users)]
    beneath: dict[str, list[str]] = {}
    for namespace in world.namespaces:
        parts = namespace.split(".")
        for end in range(1, len(parts) + 1):
            beneath.setdefault(".".join(parts[:end]), []).append(namespace)
    asked: list[tuple[Question, bool]] = []
    while len(asked) < number:
        subject: str = random.choice(principals)
        held = list(oracle.held(subject))
        aims = random.random() < _AIMED
        if aims and not held:
            continue
        question = _question(random, world, oracle, (subject, held), beneath, aims=aims)
        asked.append((question, oracle.allows(question)))
    random.shuffle(asked)
    return asked


def _question(
    random: Random,
    world: World,
    oracle: Oracle,
    holder: tuple[str, list[BindingCreated]],
    beneath: dict[str, list[str]],
    *,
    aims: bool,
) -> Question:
    subject, held = holder
    type_, action = random.choice(TYPES), random.choice(ACTIONS)
    namespace, tenant = random.choice(world.namespaces), random.choice(world.tenants)
    resource: tuple[str, str] | None = None
    if held and (aims or random.random() < _AT_HOME):
        binding = random.choice(held)
        tenant = binding.tenant
        if binding.scope.resource is not UNSET:
            resource = (binding.scope.resource.type, binding.scope.resource.id)
        elif binding.scope.namespace is not UNSET:
            namespace = random.choice(beneath[binding.scope.namespace])
        if aims:
            listed = random.choice(sorted(oracle.pairs(binding)))
            type_ = type_ if listed[0] == _ANY else listed[0]
            action = action if listed[1] == _ANY else listed[1]
    return Question(subject, type_, action, namespace, resource, tenant)
