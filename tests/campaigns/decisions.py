"""Does every node decide as the oracle does, in batches and one by one? (reliability B1)."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from math import ceil
from typing import Any, Final

from msgspec import Struct

from tests.campaigns.access import EVALUATION
from tests.campaigns.client import Answer, Client, bearer
from tests.campaigns.worlds import CLOCK, Question, World

EVALUATIONS: Final = "/access/v1/evaluations"
SHORT: Final = 20_000
LONG: Final = 1_000_000
BATCH: Final = 100
A_MODEL: Final = 2_500
MODELS_AT_ONCE: Final = 4
COUNTED: Final = ("models", "checks", "allowed", "singles", "of_the_past", "open", "different")
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

    def add(self, other: Verdict) -> None:
        """Add what was asked about another model."""
        for name in COUNTED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.first = self.first or other.first


def run(writer: str, askers: Sequence[str], token: str, *, checks: int, seed: int) -> Verdict:
    """Change random models at one node and ask all of `askers`, until `checks` were put to each.

    Several models at once, because a change mostly waits; each has its own chance and objects.
    Stops at the first difference, and says it.
    """
    verdict = Verdict()
    stopping = threading.Event()

    def ask_about(number: int) -> Verdict:
        chance = random.Random(f"{seed} {number}")  # noqa: S311 - nothing is to be secret, all repeatable
        batches = ceil(min(checks - number * A_MODEL, A_MODEL) / BATCH)
        found = Verdict()
        with ExitStack() as stack:
            owner = stack.enter_context(Client(writer, bearer(token)))
            clients = [stack.enter_context(Client(url, bearer(token))) for url in askers]
            if not stopping.is_set():
                world = World(owner, chance, f"{seed % 1000}-{number}")
                _ask_about(world, clients, chance, batches, found)
        if found.different:
            stopping.set()
        return found

    with ThreadPoolExecutor(MODELS_AT_ONCE) as pool:
        for found in pool.map(ask_about, range(ceil(checks / A_MODEL))):
            verdict.add(found)
    return verdict


def _ask_about(
    world: World, clients: Sequence[Client], chance: random.Random, batches: int, verdict: Verdict
) -> None:
    """Change a model again and again, and ask so many batches of questions about it."""
    verdict.models += 1
    world.grow(CHANGES_BEFORE)
    for _ in range(batches):
        world.grow(CHANGES_BETWEEN)
        questions = [world.question() for _ in range(BATCH)]
        _ask(world, clients, questions, verdict)
        if verdict.different:
            return
    _ask_of_the_past(world, clients, questions, chance, verdict)


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
