"""Does every node decide as the oracle does, in batches and one by one? (reliability B1)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct

from tests.campaigns.access import EVALUATION
from tests.campaigns.client import Answer, Client, bearer
from tests.campaigns.worlds import CLOCK, Question, World

EVALUATIONS: Final = "/access/v1/evaluations"
SHORT: Final = 20_000
LONG: Final = 1_000_000
BATCH: Final = 100
BATCHES_A_MODEL: Final = 25
CHANGES_BEFORE: Final = 70
CHANGES_BETWEEN: Final = 3
SINGLES: Final = 5


class Verdict(Struct):
    """What was asked of every node; `different` are answers that are not the oracle's.

    `open` were asked while a time limit was crossed, when either answer is right.
    """

    models: int = 0
    checks: int = 0
    allowed: int = 0
    singles: int = 0
    of_the_past: int = 0
    open: int = 0
    different: int = 0
    first: str = ""


def run(writer: str, askers: Sequence[str], token: str, *, checks: int, seed: int) -> Verdict:
    """Change random models at one node and ask all of `askers`, until `checks` were put to each.

    Stops at the first difference, and says it.
    """
    chance = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    verdict = Verdict()
    with ExitStack() as stack:
        owner = stack.enter_context(Client(writer, bearer(token)))
        clients = [stack.enter_context(Client(url, bearer(token))) for url in askers]
        while verdict.checks < checks and not verdict.different:
            world = World(owner, chance, f"{seed % 1000}-{verdict.models}")
            verdict.models += 1
            world.grow(CHANGES_BEFORE)
            for _ in range(BATCHES_A_MODEL):
                world.grow(CHANGES_BETWEEN)
                questions = [world.question() for _ in range(BATCH)]
                _ask(world, clients, questions, verdict)
                if verdict.different or verdict.checks >= checks:
                    break
            _ask_of_the_past(world, clients, questions, chance, verdict)
    return verdict


def _ask(
    world: World, clients: Sequence[Client], questions: Sequence[Question], verdict: Verdict
) -> None:
    """Put a batch to every node, and some of it one by one."""
    context = {"at_least": world.position}
    verdict.checks += len(questions)
    for client in clients:
        began = CLOCK.now().timestamp()
        answer = client.ask("POST", EVALUATIONS, _batch(questions, context))
        _compare(world, questions, answer, (began, CLOCK.now().timestamp()), verdict)
        for question in questions[:SINGLES]:
            began = CLOCK.now().timestamp()
            item = question.item()
            item["context"] = {**item.get("context", {}), **context}
            single = client.ask("POST", EVALUATION, item)
            _judge(
                world, question, single.body["decision"], (began, CLOCK.now().timestamp()), verdict
            )
            verdict.singles += 1


def _ask_of_the_past(
    world: World,
    clients: Sequence[Client],
    questions: Sequence[Question],
    chance: random.Random,
    verdict: Verdict,
) -> None:
    """Put the last batch again, by clocks of the last second: every limit is crossed."""
    if verdict.different:
        return
    for _ in range(SINGLES):
        at = round(CLOCK.now().timestamp() - chance.uniform(0.001, 1.0), 3)
        instant = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
        context = {
            "at_least": world.position,
            "as_of": {"position": world.position, "at": instant},
        }
        for client in clients:
            answer = client.ask("POST", EVALUATIONS, _batch(questions, context))
            _compare(world, questions, answer, (at, at), verdict)
        verdict.of_the_past += len(questions)


def _batch(questions: Sequence[Question], context: dict[str, Any]) -> dict[str, Any]:
    return {"evaluations": [question.item() for question in questions], "context": context}


def _compare(
    world: World,
    questions: Sequence[Question],
    answer: Answer,
    span: tuple[float, float],
    verdict: Verdict,
) -> None:
    assert answer.ok, answer.text
    for question, item in zip(questions, answer.body["evaluations"], strict=True):
        assert item.keys() == {"decision"}, item
        _judge(world, question, item["decision"], span, verdict)


def _judge(
    world: World,
    question: Question,
    decision: bool,  # noqa: FBT001 - an answer
    span: tuple[float, float],
    verdict: Verdict,
) -> None:
    expected = {world.verdict(question, now) for now in span}
    verdict.allowed += decision
    verdict.open += len(expected) > 1
    if decision not in expected:
        verdict.different += 1
        verdict.first = verdict.first or f"{question} is {decision}"
