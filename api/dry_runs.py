"""What would a command do, if it were given now?

It is decided by the very function that the writer calls, on a draft of the published state that is
dropped afterwards. So a refusal is the real one, and an answer tells the events that would be
stored and the rights that they would give and take. Nothing is written.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, Struct, UnsetType, structs

from api.access_forms import AccessForm, access_form
from api.journal import listed
from api.pacing import paced
from domain import commands
from domain.ids import CommandId, TenantId
from domain.state import Draft, Recorded, apply
from projections.access_delta import delta
from projections.shown import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from api.call import Call
    from domain.events import Fact
    from domain.state import State
    from projections.access_delta import Delta, Pace

RIGHTS_MAX: Final = 1_000


class WouldBeForm(Struct, frozen=True, kw_only=True):
    """An event that would be stored."""

    topic: str
    tenant: TenantId | UnsetType
    event: dict[str, Any]


class DryRunForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """What would happen behind `position`; without events there is nothing to do."""

    dry_run: bool = True
    position: int
    events: tuple[WouldBeForm, ...]
    access: AccessForm


async def rehearse(call: Call, command: commands.Command, context: commands.Context) -> DryRunForm:
    """Answer what the command would do now. Raises what it would be refused with."""
    before = call.service.state
    # A key would answer what was done before, which is not what is asked.
    context = structs.replace(
        context,
        at=max(call.service.inputs.now(), before.at),
        command_id=CommandId(call.service.inputs.id()),
        fingerprint=UNSET,
    )
    async with call.service.exports.turn:
        pace = paced(call.service, "simulation.too_large", "change less at a time")
        facts, after, found = await asyncio.to_thread(_rehearsed, before, command, context, pace)
    access = await access_form(call, (before, after), found, RIGHTS_MAX)
    # Whose rights would change tells what they are.
    await listed(call, access.gains + access.losses)
    return DryRunForm(position=before.position, events=would_be(call, facts), access=access)


def _rehearsed(
    before: State, command: commands.Command, context: commands.Context, pace: Pace
) -> tuple[list[Fact], State, Delta]:
    facts, after = decided(before, command, context)
    events = [fact.envelope.event for fact in facts]
    return facts, after, delta(before, after, events, context.at.timestamp(), pace)


def decided(
    before: State, command: commands.Command, context: commands.Context
) -> tuple[list[Fact], State]:
    """Answer what a command would store behind a state, and the state then; raises as it would."""
    draft = Draft(before)
    events = commands.decide(draft, command, context)
    if isinstance(events, Recorded):
        # Not with an id that was just made.
        return [], before
    facts = [*commands.facts_of(command, context, events, before.position)]
    for fact in facts:
        commands.record_of(fact)
        apply(draft, fact)
    return facts, draft.finish()


def would_be(call: Call, facts: Iterable[Fact]) -> tuple[WouldBeForm, ...]:
    """Answer how events are told that would be stored."""
    is_erased = call.service.vault.is_erased
    return tuple(
        WouldBeForm(
            topic=fact.envelope.event.topic,
            tenant=fact.envelope.tenant,
            event=shown(fact.envelope.event, is_erased),
        )
        for fact in facts
    )
