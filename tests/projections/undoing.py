"""Is an answer another one when what is blamed for it is undone?"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, cast

from domain.access import Question, allows
from domain.events import Fact, decode
from domain.state import State, evolve
from projections.blame import Edge, Interval, concerning, intervals
from projections.runner import ViewRunner
from tests.domain.test_explaining_histories import drawn
from tests.histories import Histories
from tests.memory_log import MemoryLog

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from domain.ids import PrincipalId, SubjectId

SHORT: Final = 120
LONG: Final = 1_000
COMMANDS: Final = 250
QUESTIONS: Final = 60
LONGEST_COMMAND: Final = 60
EVERYTHING: Final = 1_000_000


def undone(
    engine: Engine, seed: int, blamed: Callable[..., list[Interval]] = intervals
) -> Iterator[bool]:
    """Leave out of a random history what is blamed for a yes, and tell whether that flips it.

    For the begin of every interval of some questions that an event began: it is undone with what
    follows it in its command, at the instant at which it was done.
    """
    history = Histories(seed)
    history.run(COMMANDS)
    recorded = [decode(record) for record in history.records]
    log = MemoryLog(f"log-{seed}")
    log.append(1, history.records)
    ViewRunner(log, engine).catch_up()
    now = history.inputs.now().timestamp()
    chance = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    for _ in range(QUESTIONS):
        subject, question = drawn(history.state, chance)
        if subject in history.state.groups:
            continue
        principal = cast("PrincipalId", subject)
        with engine.connect() as connection:
            positions = concerning(
                connection, question.tenant, principal, len(recorded), EVERYTHING
            )
        concerned = [recorded[one - 1] for one in positions]
        for begin, _ in blamed(concerned, principal, question, now):
            if not begin.by_clock:
                yield _is_flipped(recorded, begin, subject, question)


def _is_flipped(recorded: list[Fact], begin: Edge, subject: SubjectId, question: Question) -> bool:
    without = evolve(State(), recorded[: begin.position - 1])
    command = recorded[begin.position - 1].envelope.command_id
    following = [*recorded[begin.position - 1 : begin.position + LONGEST_COMMAND]]
    done = evolve(without, [one for one in following if one.envelope.command_id == command])
    asked = subject, question, begin.at.timestamp()
    return allows(done, *asked) and not allows(without, *asked)
