"""What does a lively installation look like, with a year behind it?

The demo of `muniment dev`: the same people, programs and history every time, told by ordinary
commands at instants of the past year. Only secrets and ids differ from start to start.
"""

from __future__ import annotations

from concurrent.futures import Future
from datetime import datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from msgspec import UNSET, Struct, UnsetType, structs

from domain.bindings import Assignment, AssignRole, DeleteBinding
from domain.commands import Command
from domain.events import Actor
from domain.groups import AddMember, CreateGroup, RemoveMember
from domain.ids import (
    MAIN,
    BindingId,
    GroupId,
    RoleId,
    ServiceAccountId,
    TokenId,
    UserId,
)
from domain.permissions import from_lists
from domain.roles import ChangeRole, CreateRole
from domain.scopes import Scope
from domain.sealed import Secret
from domain.service_accounts import CreateServiceAccount
from domain.state import State
from domain.token_text import TokenKind, digest
from domain.tokens import DisableToken, IssueToken
from domain.users import DisableUser
from ops.inputs import SystemInputs
from ops.setup import NewUser, sealed_user, set_up, system_context
from ops.stores import Stores, open_stores
from ops.wiring import replay
from ops.writer import Writer, settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.settings import Settings

OWNER_EMAIL: Final = "ada@example.com"

_ROLES: Final = {
    "deployer": {
        "FLOW": ["VIEW", "LIST", "CREATE", "UPDATE", "EXECUTE"],
        "EXECUTION": ["VIEW", "LIST", "RESTART", "KILL"],
        "NAMESPACE": ["VIEW", "LIST"],
    },
    "operator": {
        "FLOW": ["VIEW", "LIST", "EXECUTE"],
        "EXECUTION": ["VIEW", "LIST", "RESTART", "REPLAY", "ACCESS_LOGS"],
    },
    "secrets-admin": {"SECRET": ["VIEW", "LIST", "CREATE", "UPDATE", "DELETE"]},
    "records-reader": {"record": ["read", "list"]},
    "auditor": {"AUDITLOG": ["VIEW", "LIST", "EXPORT"], "ROLE": ["VIEW", "LIST"]},
}
_GROUPS: Final = {
    "Bots": "Every program that acts on its own",
    "Developers": "Who writes flows",
    "On-call": "Who may restart what runs",
    "Security": "Who looks after secrets and the trail",
    "Data": "Who reads records",
}
# Day of the year's story, first name, last name, groups.
_PEOPLE: Final = (
    (2, "Grace", "Hopper", ("Developers", "On-call")),
    (5, "Alan", "Turing", ("Developers",)),
    (9, "Edsger", "Dijkstra", ("Developers",)),
    (30, "Barbara", "Liskov", ("Developers", "Security")),
    (61, "Donald", "Knuth", ("Data",)),
    (120, "Frances", "Allen", ("On-call",)),
    (200, "Radia", "Perlman", ("Security",)),
)
_PROGRAMS: Final = (
    (3, "ci-bot", "Deploys what has passed", ("Bots",)),
    (4, "nightly-load", "Loads the warehouse at night", ("Bots", "Data")),
    (40, "billing-sync", "Copies invoices to the ledger", ("Bots",)),
    (90, "terraform", "Keeps access as code", ("Bots",)),
    (150, "status-page", "Shows what runs", ()),
    (260, "migration-2025", "Moved the old jobs, once", ()),
)
# Day, subject, role, namespace ("" for the whole tenant), days until it ends (0 for never).
_BINDINGS: Final = (
    (6, "Bots", "operator", "prod", 0),
    (6, "Developers", "deployer", "dev", 0),
    (7, "Developers", "operator", "staging", 0),
    (12, "On-call", "operator", "prod", 0),
    (15, "ci-bot", "deployer", "staging.billing", 0),
    (16, "Alan", "deployer", "dev.sandbox", 0),
    (45, "ci-bot", "deployer", "prod.billing", 0),
    (50, "Security", "secrets-admin", "", 0),
    (50, "Security", "auditor", "", 0),
    (70, "Data", "records-reader", "", 0),
    (110, "billing-sync", "records-reader", "prod.billing", 0),
    (170, "status-page", "operator", "prod.orders", 0),
    (210, "Grace", "secrets-admin", "prod.orders", 30),
    (265, "migration-2025", "deployer", "prod.warehouse", 21),
    (300, "Alan", "deployer", "prod.orders", 0),
)
_MONTHS: Final = 12


class Shown(Struct, frozen=True):
    """What the demo tells the person who started it."""

    email: str
    password: Secret
    token: Secret


class _Story(SystemInputs):
    """A clock that the story sets; randomness is the system's."""

    def __init__(self, begins: datetime) -> None:
        self.begins = self.instant = begins
        self.day(0)

    def day(self, day: int) -> None:
        # Never back: the writer would put all that follows at one instant.
        self.instant = max(self.instant, self.begins + timedelta(days=day, hours=9))

    def now(self) -> datetime:
        self.instant += timedelta(seconds=37)
        return self.instant


class _Teller:
    """Gives commands one after another, at the story's instants."""

    def __init__(self, stores: Stores, story: _Story, owner: UserId) -> None:
        self.story = story
        self.stores = stores
        self.owner = Actor(type="user", id=owner, via="console", address="192.0.2.10")
        self.ids: dict[str, str] = {}
        self._writer = Writer(
            stores.log, story, settle, state=replay(stores.log, State(), lambda _: None)
        )
        self._writer.start()

    def give(self, command: Command, actor: Actor | None = None) -> None:
        context = structs.replace(system_context(self.story), actor=actor or self.owner)
        waiting: Future[object] = Future()
        self._writer.submit(command, context, waiting)
        waiting.result()

    def person(self, first_name: str, last_name: str, password_hash: Secret) -> None:
        context = structs.replace(system_context(self.story), actor=self.owner)
        email = f"{first_name.lower()}@example.com"
        person = NewUser(
            email=email, first_name=first_name, last_name=last_name, password_hash=password_hash
        )
        command = sealed_user(self.stores.vault, self.story, context, person, tenants=(MAIN,))
        waiting: Future[object] = Future()
        self._writer.submit(command, context, waiting)
        waiting.result()
        self.ids[first_name] = command.id

    def token(
        self, owner: str, name: str, kind: TokenKind, max_age: timedelta | None = None
    ) -> Secret:
        secret = self.story.token(kind)
        id_ = TokenId(self.story.id())
        age: int | UnsetType = UNSET if max_age is None else int(max_age.total_seconds())
        self.give(
            IssueToken(
                owner=UserId(self.ids[owner]),
                id=id_,
                name=name,
                digest=digest(secret.reveal()),
                prefix=self.story.token_prefix(),
                max_age_seconds=age,
            )
        )
        self.ids[f"{owner}/{name}"] = id_
        return secret

    def end(self) -> None:
        self._writer.stop()


def seed(settings: Settings, now: datetime, password: Secret, password_hash: Secret) -> Shown:
    """Make the demo installation in an empty store; answer how to sign in.

    The year ends at `now`; every person has the one password given.
    """
    story = _Story(now - timedelta(days=365))
    ada = NewUser(
        email=OWNER_EMAIL, first_name="Ada", last_name="Lovelace", password_hash=password_hash
    )
    owner = set_up(settings, story, ada)
    with open_stores(settings, story) as stores:
        teller = _Teller(stores, story, owner)
        teller.ids["Ada"] = owner
        try:
            token = _tell(teller, now, password_hash)
        finally:
            teller.end()
    return Shown(OWNER_EMAIL, password, token)


def _tell(teller: _Teller, now: datetime, password_hash: Secret) -> Secret:
    teller.story.day(1)
    _make_roles_and_groups(teller)
    steps: list[tuple[int, Callable[[], None]]] = [
        *(
            (day, partial(_person, teller, first_name, last_name, groups, password_hash))
            for day, first_name, last_name, groups in _PEOPLE
        ),
        *(
            (day, partial(_program, teller, name, description, groups))
            for day, name, description, groups in _PROGRAMS
        ),
        *(
            (day, partial(_binding, teller, subject, role, namespace, days))
            for day, subject, role, namespace, days in _BINDINGS
        ),
        *((day, partial(_month, teller, day)) for day in range(20, 360, 360 // _MONTHS)),
        (305, partial(_tokens, teller)),
        (321, partial(_departures, teller)),
        (340, partial(_growth, teller)),
    ]
    for day, act in sorted(steps, key=itemgetter(0)):
        teller.story.day(day)
        act()
    teller.story.instant = now - timedelta(minutes=5)
    return teller.token("Ada", "demo", TokenKind.USER, timedelta(days=1))


def _make_roles_and_groups(teller: _Teller) -> None:
    for name, permissions in _ROLES.items():
        teller.ids[name] = teller.story.id()
        teller.give(
            CreateRole(
                tenant=MAIN,
                id=RoleId(teller.ids[name]),
                name=name,
                permissions=from_lists(permissions),
            )
        )
    for name, description in _GROUPS.items():
        teller.ids[name] = teller.story.id()
        teller.give(
            CreateGroup(
                tenant=MAIN, id=GroupId(teller.ids[name]), name=name, description=description
            )
        )


def _join(teller: _Teller, principal: str, groups: tuple[str, ...]) -> None:
    for group in groups:
        teller.give(
            AddMember(
                tenant=MAIN,
                group=GroupId(teller.ids[group]),
                principal=UserId(teller.ids[principal]),
                default_binding=BindingId(teller.story.id()),
            )
        )


def _person(
    teller: _Teller,
    first_name: str,
    last_name: str,
    groups: tuple[str, ...],
    password_hash: Secret,
) -> None:
    teller.person(first_name, last_name, password_hash)
    _join(teller, first_name, groups)


def _program(teller: _Teller, name: str, description: str, groups: tuple[str, ...]) -> None:
    teller.ids[name] = teller.story.id()
    teller.give(
        CreateServiceAccount(
            tenant=MAIN,
            id=ServiceAccountId(teller.ids[name]),
            name=name,
            description=description,
        )
    )
    _join(teller, name, groups)


def _binding(teller: _Teller, subject: str, role: str, namespace: str, days: int) -> None:
    id_ = BindingId(teller.story.id())
    teller.ids[f"{subject}/{role}@{namespace}"] = id_
    ends = UNSET if not days else teller.story.instant + timedelta(days=days)
    teller.give(
        AssignRole(
            tenant=MAIN,
            assignment=Assignment(
                id=id_,
                default_binding=BindingId(teller.story.id()),
                subject_type="GROUP" if subject in _GROUPS else "PRINCIPAL",
                subject=UserId(teller.ids[subject]),
                role=RoleId(teller.ids[role]),
                scope=Scope(namespace=namespace) if namespace else Scope(),
                expires_at=ends,
            ),
        )
    )


def _month(teller: _Teller, day: int) -> None:
    """On-call goes round: one month on, one month off."""
    if (day // 30) % 2 == 0:
        _join(teller, "Alan", ("On-call",))
    else:
        teller.give(
            RemoveMember(
                tenant=MAIN,
                group=GroupId(teller.ids["On-call"]),
                principal=UserId(teller.ids["Alan"]),
            )
        )


def _tokens(teller: _Teller) -> None:
    """Tokens in every condition: one works, one has expired, one is never used, one is old."""
    service = TokenKind.SERVICE_ACCOUNT
    teller.token("ci-bot", "deploy", service)
    teller.token("migration-2025", "once", service, timedelta(days=14))
    teller.token("status-page", "never-used", service, timedelta(days=365))
    teller.token("nightly-load", "old", service)


def _departures(teller: _Teller) -> None:
    """One person leaves; a token and a binding that nobody needs any more are taken away."""
    teller.give(
        DisableToken(
            owner=ServiceAccountId(teller.ids["nightly-load"]),
            id=TokenId(teller.ids["nightly-load/old"]),
        )
    )
    teller.give(DisableUser(id=UserId(teller.ids["Edsger"])))
    teller.give(
        DeleteBinding(tenant=MAIN, id=BindingId(teller.ids["status-page/operator@prod.orders"]))
    )


def _growth(teller: _Teller) -> None:
    """A role grows."""
    grown = {**_ROLES["operator"], "TRIGGER": ["VIEW", "LIST", "DISABLE", "ENABLE"]}
    teller.give(
        ChangeRole(
            tenant=MAIN,
            id=RoleId(teller.ids["operator"]),
            name="operator",
            description="Runs and restarts, changes nothing",
            permissions=from_lists(grown),
            is_default=False,
        )
    )
