"""Does the past give the very decisions that were given then, with the same reasons?

10,000 random commands are given to a running installation, which is asked in between. Afterwards
the same is asked as of the position and instant of each answer (design 5, authzen 6).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import pytest
from msgspec import UNSET, Struct, UnsetType

from domain.commands import Context
from domain.ids import CommandId
from projections.history import History
from tests.histories import NAMESPACES, SYSTEM, WORDS, Histories
from tests.service import Served, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from domain.commands import Command
    from domain.events import Actor, Fact

Json = dict[str, Any]

COMMANDS: Final = 10_000
DECISIONS: Final = 1_000
SEED: Final = 11
PATH: Final = "/access/v1/evaluation"


class Lived(Histories):
    """Random commands that a running installation is given, save those against who asks."""

    def __init__(self, http: Served, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
        self.inputs = http.inputs
        self.records = []
        self.state = http.state
        self._http = http

    def give(
        self,
        command: Command,
        *,
        actor: Actor = SYSTEM,
        fingerprint: str | UnsetType = UNSET,
        reason: str | UnsetType = UNSET,
    ) -> tuple[Fact, ...]:
        """Give one command; raises what the domain refuses with."""
        named = {getattr(command, name, None) for name in ("id", "principal", "owner")}
        if self._http.root_id in named:
            raise LookupError
        context = Context(
            at=self.inputs.now(),
            actor=actor,
            command_id=CommandId(self.inputs.id()),
            correlation_id=self.inputs.id(),
            fingerprint=fingerprint,
            reason=reason,
        )
        self._http.give(command, context)
        self.state = self._http.state
        return ()


class Told(Struct, frozen=True):
    """A question, the moment at which it was asked, and the answer."""

    question: Json
    position: int
    at: str
    answer: Json


class Lifetime(Struct):
    """An installation with a long past, and what it said on the way."""

    http: Served
    told: list[Told]


@pytest.fixture(scope="module")
def lifetime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lifetime]:
    """Let an installation live through random commands, asking it now and then."""
    directory: Path = tmp_path_factory.mktemp("lifetime")
    with served(directory) as http:
        lived = Lived(http, SEED)
        told: list[Told] = []
        for _ in range(DECISIONS):
            lived.run(COMMANDS // DECISIONS)
            question = drawn(lived)
            answer = ask(http, question, {})
            told.append(Told(question, http.state.position, http.inputs.now().isoformat(), answer))
        yield Lifetime(http, told)


def drawn(lived: Lived) -> Json:
    """Draw a question about somebody who is, was, or never was."""
    state, chance = lived.state, lived.random
    kinds: dict[str, Mapping[Any, Any]] = {
        "user": state.users,
        "service_account": state.service_accounts,
        "group": state.groups,
    }
    type_ = chance.choice(sorted(kinds))
    known = sorted(kinds[type_]) or ["nobody"]
    tenants = sorted(one.id for one in state.tenants.values() if not one.deleted)
    tenant, namespace = chance.choice(tenants), chance.choice(NAMESPACES)
    open_ = (one for one in state.bindings.values() if one.tenant in tenants)
    held = sorted(open_, key=lambda one: one.id)
    binding = chance.choice(held) if held and chance.random() < 0.5 else None
    subject = chance.choice(known)
    if binding is not None:
        tenant, subject = binding.tenant, binding.subject
        type_ = next(kind for kind, table in kinds.items() if subject in table)
        namespace = namespace if binding.scope.namespace is UNSET else binding.scope.namespace
    return {
        "subject": {"type": type_, "id": subject},
        "action": {"name": chance.choice(("VIEW", "READ", "record:write", "DELETE"))},
        "resource": {
            "type": chance.choice(("FLOW", "record")),
            "id": chance.choice(("*", *WORDS)),
            "properties": {"tenant": tenant, "namespace": namespace},
        },
    }


def ask(http: Served, question: Json, context: Json) -> Json:
    """Ask for the decision and the reasons."""
    answer = http.post(PATH, {**question, "context": {"explain": True, **context}})
    assert answer.status_code == 200, answer.content
    found: Json = answer.json()
    return found


def unlike(lifetime: Lifetime) -> Iterator[Told]:
    """Yield what the past's answers are that are not what was said then."""
    for one in lifetime.told:
        context = {"as_of": {"position": one.position, "at": one.at}}
        if ask(lifetime.http, one.question, context) != one.answer:
            yield one


def test_every_decision_of_then_is_given_again_with_its_reasons(lifetime: Lifetime) -> None:
    """Issue 5: as-of gives the identical decision and explanation, 1,000 of 1,000."""
    decisions = [one.answer["decision"] for one in lifetime.told]

    assert [] == [*unlike(lifetime)]
    assert len(decisions) == DECISIONS
    # Enough of both kinds that they could have been mistaken for one another.
    assert DECISIONS // 10 < sum(decisions) < DECISIONS - DECISIONS // 10


@pytest.mark.parametrize("away", [1, 40])
def test_a_past_that_is_beside_the_moment_is_noticed(
    lifetime: Lifetime, monkeypatch: pytest.MonkeyPatch, away: int
) -> None:
    """Positive control: some answers rest on the very last events, and more on the last forty."""
    right: Callable[[History, int], Any] = History.at
    monkeypatch.setattr(History, "at", lambda self, at: right(self, max(0, at - away)))

    assert any(True for _ in unlike(lifetime))
