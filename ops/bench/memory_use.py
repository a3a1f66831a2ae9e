"""How much memory does it take to know a binding or membership, and what a principal may do?

Each round is a forked child that reads the events as a start does, so ids are as many objects as
they are in a server, and looks at its own resident memory in between.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
from resource import getpagesize
from typing import TYPE_CHECKING, Final, NamedTuple

from domain.events import Fact, decode
from domain.principals import BindingCreated, MemberAdded
from domain.state import State, evolve
from ops.bench import data
from ops.bench.check import Asked, Lane, Ours, asked_from, wrong_answers
from ops.bench.report import Options, Report, absolute, at_most
from ops.collection import collection_off
from projections.access_graph import AccessGraph

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from domain.events import Event, Record
    from ops.bench.data import Question, World

SCALE: Final = 10
_QUESTIONS_A_PRINCIPAL: Final = 10


class _Prepared(NamedTuple):
    """What a child reads: who and what there is, who may what, and a question about each."""

    things: list[Record]
    rights: list[Record]
    asked: list[Asked]
    principals: int


class _Used(NamedTuple):
    """Bytes for all bindings and memberships, for the graph, for all compiled principals."""

    rights: int
    graph: int
    compiled: int
    wrong_answers: int


def run(options: Options) -> Report:
    """Measure what the rights add to a state without them, and what every compiled one adds."""
    # No collection of the parent's may touch what its children share.
    with collection_off():
        prepared = _prepare(data.make_world(options.scale, options.seed, rich=options.rich))
        rounds = [_in_a_child(prepared) for _ in range(options.rounds)]
    return Report(
        figures=[
            absolute(
                "a binding or membership",
                "B",
                [(used.rights + used.graph) / len(prepared.rights) for used in rounds],
                at_most(200, scale=SCALE),
            ),
            absolute(
                "a principal with everything compiled",
                "B",
                [used.compiled / prepared.principals for used in rounds],
                at_most(1_600, scale=SCALE),
            ),
            absolute("the graph before any check", "MB", [used.graph / 1e6 for used in rounds]),
        ],
        wrong_answers=sum(used.wrong_answers for used in rounds),
        notes=("Of the rights are counted: ids, instants, indexes of both directions, graph.",),
    )


def _prepare(world: World) -> _Prepared:
    things: list[Event] = []
    rights: list[Event] = []
    for event in world.events():
        (rights if isinstance(event, MemberAdded | BindingCreated) else things).append(event)
    principals = len(world.accounts) + len(world.users)
    firsts: dict[str, tuple[Question, bool]] = {}
    for drawn in data.questions(world, data.Oracle(world), _QUESTIONS_A_PRINCIPAL * principals):
        firsts.setdefault(drawn[0].subject, drawn)
    return _Prepared(
        list(data.records(things)),
        list(data.records(rights, len(things))),
        asked_from([*firsts.values()]),
        len(firsts),
    )


def _in_a_child(prepared: _Prepared) -> _Used:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_use, args=(sender, prepared))
    child.start()
    sender.close()
    try:
        used: _Used = receiver.recv()
    except EOFError:
        raise RuntimeError("a child ended with an error") from None
    finally:
        child.join()
    return used


def _use(sender: Connection, prepared: _Prepared) -> None:
    """Answer what was used, in the child."""
    # What decoding needs in passing is there before anything is counted.
    prepared.asked[0].rows()
    state = evolve(State(), _facts(prepared.things))
    begin = _resident_bytes()
    state = evolve(state, _facts(prepared.rights))
    held = _resident_bytes()
    graph = AccessGraph(state, str.encode, data.alias_index)
    ready = _resident_bytes()
    wrong = wrong_answers([Lane(Ours(graph), prepared.asked)])
    sender.send(_Used(held - begin, ready - held, _resident_bytes() - ready, wrong))


def _facts(records: Iterable[Record]) -> Iterator[Fact]:
    return (decode(record) for record in records)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize()
