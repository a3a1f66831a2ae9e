"""How soon do all members of a group have what a binding gives to the group?

Timed is everything that the process does for it: the fold of the event, the graph's news of it,
and the first check of every member, which has to be compiled anew.
"""

from __future__ import annotations

import gc
from itertools import cycle
from statistics import quantiles
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Final, NamedTuple

from domain.ids import MAIN, BindingId, GroupId, PrincipalId, RoleId
from domain.permissions import TypeActions
from domain.principals import BindingCreated, BindingDeleted
from domain.roles import RoleCreated
from domain.scopes import Scope
from domain.state import State, evolve
from ops.bench import data
from ops.bench.check import NOW
from ops.bench.report import Options, Report, absolute, at_most
from ops.collection import collection_off
from projections.access_graph import AccessGraph

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domain.events import Event
    from ops.bench.data import World

SCALE: Final = 10
MEMBERS: Final = 66
_GROUPS_MAX: Final = 1_000
_TRIALS_MIN: Final = 2

# What nobody else holds, so that nothing but the binding can allow it.
_ROLE: Final = RoleId("benchmark-role")
_TYPE: Final = "BENCHMARK"
_ACTION: Final = "TRY"
_ROOT: Final = data.ROOTS[0]


class _Group(NamedTuple):
    """A group, its members, and somebody who is none of them."""

    id: GroupId
    members: tuple[PrincipalId, ...]
    outsider: PrincipalId


class _Taken(NamedTuple):
    """Milliseconds until the graph knew, until every member was answered, and the processor's."""

    known_ms: float
    answered_ms: float
    cpu_ms: float


class _Trials:
    """Bindings that come and go, each judged by the answers before, during and after."""

    def __init__(self, world: World) -> None:
        role = RoleCreated(
            tenant=MAIN,
            id=_ROLE,
            name="benchmark",
            permissions=(TypeActions(_TYPE, (_ACTION,)),),
        )
        state = evolve(State(), data.facts(world.events()))
        state = evolve(state, data.facts([role], state.position))
        self.groups = _groups(world, state)
        self._graph = AccessGraph(state, str.encode, data.alias_index)
        self._place = world.namespaces[-1].replace(world.namespaces[-1].split(".")[0], _ROOT, 1)
        self.wrong_answers = 0

    def bind(self, group: _Group, number: int) -> _Taken:
        """Give the group the role, ask for all its members, and take the role away again."""
        id_ = BindingId(f"benchmark-{number}")
        given = BindingCreated(
            tenant=MAIN,
            id=id_,
            subject_type="GROUP",
            subject=group.id,
            role=_ROLE,
            scope=Scope(namespace=_ROOT),
        )
        self._expect(self._answers(group.members), allowed=False)
        begin, cpu = perf_counter(), thread_time()
        self._publish(given)
        known = perf_counter()
        answers = self._answers(group.members)
        taken = _Taken(
            (known - begin) * 1e3, (perf_counter() - begin) * 1e3, (thread_time() - cpu) * 1e3
        )
        self._expect(answers, allowed=True)
        self._expect(self._answers([group.outsider]), allowed=False)
        self._publish(BindingDeleted(tenant=MAIN, id=id_))
        self._expect(self._answers(group.members), allowed=False)
        return taken

    def _publish(self, event: Event) -> None:
        facts = tuple(data.facts([event], self._graph.state.position))
        self._graph.publish(evolve(self._graph.state, facts), facts)

    def _answers(self, principals: Iterable[PrincipalId]) -> list[bool]:
        check, place = self._graph.check, self._place
        return [
            check(MAIN, principal, _TYPE, _ACTION, place, None, NOW) for principal in principals
        ]

    def _expect(self, answers: list[bool], *, allowed: bool) -> None:
        self.wrong_answers += sum(answer is not allowed for answer in answers)


def run(options: Options) -> Report:
    """Bind to groups of about 66 members, one after another, for so long."""
    with collection_off():
        trials = _Trials(data.make_world(options.scale, options.seed))
    groups = cycle(trials.groups)
    rounds: list[list[_Taken]] = []
    for _ in range(options.rounds):
        gc.collect()
        gc.freeze()
        taken: list[_Taken] = []
        until = perf_counter() + options.seconds
        while len(taken) < _TRIALS_MIN or perf_counter() < until:
            taken.append(trials.bind(next(groups), len(taken)))
        rounds.append(taken)
    answered = [_percentiles([one.answered_ms for one in taken]) for taken in rounds]
    known = [_percentiles([one.known_ms for one in taken]) for taken in rounds]
    cpu = [_percentiles([one.cpu_ms for one in taken]) for taken in rounds]
    sizes = [len(group.members) for group in trials.groups]
    return Report(
        figures=[
            absolute(
                "a group's binding to the last member's answer, p99",
                "ms",
                [percentiles[98] for percentiles in answered],
                at_most(1, scale=SCALE),
            ),
            absolute("the same, p50", "ms", [percentiles[49] for percentiles in answered]),
            absolute("the same, p99 of the processor's time", "ms", [one[98] for one in cpu]),
            absolute("of that, fold and graph, p99", "ms", [one[98] for one in known]),
            absolute("of that, fold and graph, p50", "ms", [one[49] for one in known]),
        ],
        wrong_answers=trials.wrong_answers,
        notes=(f"{len(sizes):,} groups of {min(sizes)} to {max(sizes)} members.",),
    )


def _groups(world: World, state: State) -> list[_Group]:
    """Answer the groups whose size is nearest to the goal's."""
    known = [(group.id, state.members.get(group.id)) for group in world.groups]
    held = [(group, tuple(members)) for group, members in known if members]
    held.sort(key=lambda one: abs(len(one[1]) - MEMBERS))
    return [
        _Group(group, members, next(one.id for one in world.accounts if one.id not in members))
        for group, members in held[:_GROUPS_MAX]
    ]


def _percentiles(samples: list[float]) -> list[float]:
    return quantiles(samples, n=100, method="inclusive")
