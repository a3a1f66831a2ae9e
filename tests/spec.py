"""What follows when a command is given to an installation with this history?

`given(*events).when(command, by=who).then(*events)`, or `.refuses(code)`, or `.records_nothing()`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import UNSET, Struct, UnsetType

from domain.commands import Context, Expectation, decide
from domain.errors import DomainError
from domain.events import Actor, Envelope, Event, Fact, decode, encode, tenant_of
from domain.ids import CommandId
from domain.state import Draft, Recorded, State, apply, evolve
from tests.fixed_inputs import START

if TYPE_CHECKING:
    from domain.commands import Command

SYSTEM = Actor(type="system", id="system")
COMMAND_ID = CommandId("cmd_now")


def facts(state: State, events: tuple[Event, ...], at: datetime = START) -> tuple[Fact, ...]:
    """Answer the events as facts that follow the state, recorded by the installation itself."""
    return tuple(
        Fact(
            position,
            Envelope(
                at=at,
                actor=SYSTEM,
                tenant=tenant_of(event),
                command_id=CommandId(f"cmd_{position}"),
                correlation_id="given",
                event=event,
            ),
        )
        for position, event in enumerate(events, state.position + 1)
    )


def actor(id_: str, token: str | UnsetType = UNSET) -> Actor:
    """Answer the actor of a principal's id, with the token that it uses."""
    is_account = id_.startswith("sa_")
    return Actor(type="service_account" if is_account else "user", id=id_, token_id=token)


def context(
    by: str | Actor,
    *,
    at: datetime = START,
    token: str | UnsetType = UNSET,
    command_id: CommandId = COMMAND_ID,
    fingerprint: str | UnsetType = UNSET,
    expects: Expectation | UnsetType = UNSET,
    reason: str | UnsetType = UNSET,
) -> Context:
    """Answer the circumstances of a command that a principal gives, perhaps with a token."""
    return Context(
        at=at,
        actor=by if isinstance(by, Actor) else actor(by, token),
        command_id=command_id,
        correlation_id="test",
        fingerprint=fingerprint,
        expects=expects,
        reason=reason,
    )


class Outcome(Struct, frozen=True):
    """What was decided: events, the record of an earlier time, or a refusal."""

    state: State
    at: datetime
    verdict: tuple[Event, ...] | Recorded | DomainError

    @property
    def events(self) -> tuple[Event, ...]:
        """The events, where the command was accepted."""
        assert isinstance(self.verdict, tuple), self.verdict
        return self.verdict

    @property
    def refusal(self) -> DomainError:
        """The refusal, where there is one."""
        assert isinstance(self.verdict, DomainError), self.verdict
        return self.verdict

    def then(self, *expected: Event) -> None:
        """Exactly these events follow, in this order; each survives the log and is folded."""
        assert expected == self.events
        draft = Draft(self.state)
        for fact in facts(self.state, self.events, self.at):
            stored = encode(fact.position, fact.envelope)
            assert fact == decode(stored)
            apply(draft, fact)

    def refuses(self, code: str) -> DomainError:
        """Refused with this code; answers the refusal."""
        assert code == self.refusal.code, self.refusal.detail
        return self.refusal

    def records_nothing(self) -> None:
        """Accepted, and there is nothing to do."""
        assert () == self.events


class History(Struct, frozen=True):
    """An installation after some events, at an instant."""

    state: State
    at: datetime = START

    def and_then(self, *events: Event) -> History:
        """Answer the history that goes on with these events."""
        return History(evolve(self.state, facts(self.state, events, self.at)), self.at)

    def later(self, at: datetime) -> History:
        """Answer the same history at another instant."""
        return History(self.state, at)

    def when(
        self,
        command: Command,
        *,
        by: str | Actor,
        token: str | UnsetType = UNSET,
        fingerprint: str | UnsetType = UNSET,
        expects: Expectation | UnsetType = UNSET,
        reason: str | UnsetType = UNSET,
    ) -> Outcome:
        """Decide the command on a draft, as the writer does; deciding never writes."""
        circumstances = context(
            by,
            at=self.at,
            token=token,
            fingerprint=fingerprint,
            expects=expects,
            reason=reason,
        )
        draft = Draft(self.state)
        verdict: tuple[Event, ...] | Recorded | DomainError
        try:
            verdict = decide(draft, command, circumstances)
        except DomainError as refusal:
            verdict = refusal
        assert self.state == draft.finish()
        return Outcome(self.state, self.at, verdict)


def given(*events: Event) -> History:
    """Answer the installation in which exactly these events have happened."""
    return History(State()).and_then(*events)
