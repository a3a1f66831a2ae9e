"""How long does it take to tell whose rights a role edit changes that touches 10,000 principals?"""

from __future__ import annotations

from itertools import chain
from time import perf_counter
from typing import TYPE_CHECKING, Final

from domain.access import compile_subject
from domain.groups import GroupCreated
from domain.ids import MAIN, BindingId, GroupId, RoleId, ServiceAccountId
from domain.permissions import TypeActions
from domain.principals import BindingCreated, MemberAdded, TenantAccessGranted
from domain.roles import RoleCreated, RolePermissionsSet
from domain.scopes import Scope
from domain.service_accounts import ServiceAccountCreated
from domain.state import State, evolve
from domain.tenants import LogOpened, TenantCreated
from ops.bench import data
from ops.bench.report import Options, Report, absolute, at_most, compared
from ops.collection import collection_off
from projections.access_delta import delta

if TYPE_CHECKING:
    from collections.abc import Iterator

    from domain.events import Event

PRINCIPALS_AT_ONE: Final = 10_000
_GROUP: Final = GroupId("group")
_ROLE: Final = RoleId("role")
_EDIT: Final = RolePermissionsSet(
    tenant=MAIN, id=_ROLE, permissions=(TypeActions("FLOW", ("VIEW", "UPDATE")),)
)


def run(options: Options) -> Report:
    """Take one action from a role and give another, for everybody in one group."""
    number = max(20, round(PRINCIPALS_AT_ONE * options.scale))
    with collection_off():
        before = evolve(State(), data.facts(_world(number)))
        after = evolve(before, data.facts((_EDIT,), before.position))
    now = data.NOW.timestamp()
    ours: list[float] = []
    bare: list[float] = []
    wrong = 0
    for _ in range(options.rounds):
        begin = perf_counter()
        found = delta(before, after, (_EDIT,), now)
        ours.append(perf_counter() - begin)
        wrong += abs(len(found.gained) - number) + abs(len(found.lost) - number)
        bare.append(_compiled(before, after, number, now))
    return Report(
        figures=[
            absolute(f"{number:,} principals touched", "s", ours, at_most(2, scale=1)),
            compared("beside compiling each of them twice", "s", ours, bare),
        ],
        wrong_answers=wrong,
    )


def _compiled(before: State, after: State, number: int, now: float) -> float:
    begin = perf_counter()
    for state in (before, after):
        for account in range(number):
            compile_subject(state, MAIN, ServiceAccountId(f"bot-{account}"), now)
    return perf_counter() - begin


def _world(number: int) -> Iterator[Event]:
    """Yield accounts in one group that has one role, and little else."""
    permissions = (TypeActions("FLOW", ("VIEW", "DELETE")),)
    bots = [ServiceAccountId(f"bot-{account}") for account in range(number)]
    return chain(
        (
            LogOpened(log_id=data.LOG_ID),
            TenantCreated(tenant=MAIN, name=MAIN),
            RoleCreated(tenant=MAIN, id=_ROLE, name="role", permissions=permissions),
            GroupCreated(tenant=MAIN, id=_GROUP, name="group"),
        ),
        (ServiceAccountCreated(id=bot, name=bot) for bot in bots),
        (TenantAccessGranted(tenant=MAIN, principal=bot) for bot in bots),
        (MemberAdded(tenant=MAIN, group=_GROUP, principal=bot) for bot in bots),
        (
            BindingCreated(
                tenant=MAIN,
                id=BindingId("binding"),
                subject_type="GROUP",
                subject=_GROUP,
                role=_ROLE,
                scope=Scope(namespace="prod"),
            ),
        ),
    )
