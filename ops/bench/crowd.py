"""What does a command cost when many callers give them at once, as in a serving process?

The real writer on a real SQLite log; callers are tasks of one event loop, told by one call into
the loop for a whole batch.
"""

from __future__ import annotations

import asyncio
import gc
from contextlib import contextmanager
from random import Random
from time import perf_counter, process_time, thread_time
from typing import TYPE_CHECKING, Final, NamedTuple

import uvloop
from msgspec import Struct

from domain import commands
from domain.bindings import Assignment, AssignRole, DeleteBinding
from domain.events import Actor, Envelope, Fact
from domain.ids import MAIN, BindingId, CommandId, RoleId
from domain.permissions import ANY, TypeActions
from domain.principals import BindingCreated, BindingDeleted
from domain.roles import RoleCreated
from domain.scopes import WHOLE_TENANT, Resource, Scope
from domain.state import Draft, Recorded, State, apply, evolve
from ops.bench import data, stores
from ops.inputs import SystemInputs
from ops.writer import Outcome, Publication, Writer, settle
from projections.access_graph import AccessGraph

if TYPE_CHECKING:
    from collections.abc import Iterator

    from domain.events import Event
    from ops.bench.data import World
    from ops.event_log import SQLiteLog

# The rules' share is measured on so many commands a round.
_DECIDED: Final = 2_000
_TRIAL: Final = 200
_ADMINISTRATOR: Final = RoleId("benchmark-administrator")


class Sample(Struct, frozen=True):
    """Durable commands of one measurement, its seconds, and the processor's."""

    commands: int
    seconds: float
    cpu_seconds: float

    @property
    def commands_a_second(self) -> float:
        """Commands a second."""
        return self.commands / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of the processor a command, over all threads."""
        return self.cpu_seconds / self.commands * 1e6


class _Given(NamedTuple):
    command: commands.Command
    context: commands.Context


_Pair = tuple[_Given, _Given]


class Crowd:
    """A writer with its callers; the caller is an administrator with rights like any other's."""

    def __init__(self, log: SQLiteLog, state: State, world: World) -> None:
        self._inputs = SystemInputs()
        self._graph = AccessGraph(state, str.encode, data.alias_index)
        self._writer = Writer(log, self._inputs, self._publish, state=state)
        self._world = world
        self._random = Random(world.seed)  # noqa: S311 - nothing is guarded by it, all repeatable
        self._actor = Actor(type="service_account", id=world.accounts[0].id, via="api")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._commands = 0
        self.wrong_answers = 0

    def start(self) -> None:
        """Start the writer's thread."""
        self._writer.start()

    def stop(self) -> None:
        """End the writer's thread."""
        self._writer.stop()

    def measure(self, callers: int, number: int) -> Sample:
        """Let the callers give so many commands, each one after the other.

        Commands, ids and contexts are made before: they are the edge's work, not the writer's.
        """
        pairs = [self._pair() for _ in range(number // 2)]
        gc.collect()
        gc.freeze()
        self._commands = 0
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            begin, cpu = perf_counter(), process_time()
            runner.run(self._callers(callers, iter(pairs)))
            return Sample(self._commands, perf_counter() - begin, process_time() - cpu)

    def number_for(self, callers: int, seconds: float) -> int:
        """Answer how many commands take about so long, by a trial, which is also the warm-up."""
        trial = self.measure(callers, max(_TRIAL, 2 * callers))
        return max(2 * callers, 2 * round(trial.commands_a_second * seconds / 2))

    def rules_us(self) -> float:
        """Answer the microseconds of the processor that `decide` alone takes for a command."""
        draft = Draft(self._graph.state)
        seconds = 0.0
        for given in (one for _ in range(_DECIDED // 2) for one in self._pair()):
            begin = thread_time()
            events = commands.decide(draft, *given)
            seconds += thread_time() - begin
            if isinstance(events, Recorded) or len(events) != 1:
                self.wrong_answers += 1
                continue
            apply(draft, _fact(draft, given.context, events[0]))
        return seconds / _DECIDED * 1e6

    async def _callers(self, callers: int, pairs: Iterator[_Pair]) -> None:
        self._loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(self._call(pairs))

    async def _call(self, pairs: Iterator[_Pair]) -> None:
        for assign, delete in pairs:
            await self._give(assign)
            await self._give(delete)

    async def _give(self, given: _Given) -> None:
        waiting: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._writer.submit(*given, waiting)
        outcome = await waiting
        self._commands += 1
        event = outcome.events[0]
        if not isinstance(event, BindingCreated | BindingDeleted) or (
            isinstance(event, BindingCreated) != (event.id in self._graph.state.bindings)
        ):
            self.wrong_answers += 1

    def _pair(self) -> _Pair:
        """Answer a role's assignment, and the end of its binding."""
        random, world = self._random, self._world
        assignment = Assignment(
            id=BindingId(self._inputs.id()),
            default_binding=BindingId(self._inputs.id()),
            subject_type="PRINCIPAL",
            subject=random.choice(world.accounts).id,
            role=random.choice(world.roles).id,
            # One that no other binding has, so that none is refused as a second one.
            scope=Scope(resource=Resource(data.TYPES[0], self._inputs.id())),
        )
        return (
            _Given(AssignRole(tenant=MAIN, assignment=assignment), self._context()),
            _Given(DeleteBinding(tenant=MAIN, id=assignment.id), self._context()),
        )

    def _context(self) -> commands.Context:
        return commands.Context(
            at=self._inputs.now(),
            actor=self._actor,
            command_id=CommandId(self._inputs.id()),
            correlation_id=self._inputs.id(),
        )

    def _publish(self, publication: Publication) -> None:
        """Hand a batch to the event loop; called in the writer's thread."""
        if self._loop is not None and publication.settled:
            self._loop.call_soon_threadsafe(self._deliver, publication)

    def _deliver(self, publication: Publication) -> None:
        self._graph.publish(publication.state, publication.facts)
        settle(publication)


def _fact(draft: Draft, context: commands.Context, event: Event) -> Fact:
    envelope: Envelope[Event] = Envelope(
        at=draft.at,
        actor=context.actor,
        tenant=MAIN,
        command_id=context.command_id,
        correlation_id=context.correlation_id,
        event=event,
    )
    return Fact(draft.position + 1, envelope)


@contextmanager
def crowd(scale: float, seed: int) -> Iterator[Crowd]:
    """Yield a started writer on a SQLite log that holds an installation of that scale."""
    world = data.make_world(scale, seed)
    administrator = (
        RoleCreated(
            tenant=MAIN,
            id=_ADMINISTRATOR,
            name="administrator",
            permissions=(TypeActions(ANY, (ANY,)),),
        ),
        BindingCreated(
            tenant=MAIN,
            id=BindingId("benchmark-administrator"),
            subject_type="PRINCIPAL",
            subject=world.accounts[0].id,
            role=_ADMINISTRATOR,
            scope=WHOLE_TENANT,
        ),
    )
    total = sum(1 for _ in world.events()) + 1
    state = evolve(State(), data.facts(data.history(world, total)))
    state = evolve(state, data.facts(administrator, state.position))
    with stores.sqlite_store() as store:
        log = store.log()
        try:
            stores.fill(log, data.records(data.history(world, total)))
            stores.fill(log, data.records(administrator, total))
            gathered = Crowd(log, state, world)
            gathered.start()
            try:
                yield gathered
            finally:
                gathered.stop()
        finally:
            log.close()
