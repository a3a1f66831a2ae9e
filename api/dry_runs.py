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
from domain import commands
from domain.ids import CommandId, TenantId
from domain.state import Draft, Recorded, apply
from projections.access_delta import Delta, delta
from projections.shown import shown

if TYPE_CHECKING:
    from api.call import Call
    from domain.events import Fact
    from domain.state import State

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
        facts, after, found = await asyncio.to_thread(_decided, before, command, context)
    access = await access_form(call, (before, after), found, RIGHTS_MAX)
    # Whose rights would change tells what they are.
    await listed(call, access.gains + access.losses)
    is_erased = call.service.vault.is_erased
    return DryRunForm(
        position=before.position,
        events=tuple(
            WouldBeForm(
                topic=fact.envelope.event.topic,
                tenant=fact.envelope.tenant,
                event=shown(fact.envelope.event, is_erased),
            )
            for fact in facts
        ),
        access=access,
    )


def _decided(
    before: State, command: commands.Command, context: commands.Context
) -> tuple[list[Fact], State, Delta]:
    draft = Draft(before)
    events = commands.decide(draft, command, context)
    if isinstance(events, Recorded):
        # Not with an id that was just made.
        return [], before, Delta()
    facts = [*commands.facts_of(command, context, events, before.position)]
    for fact in facts:
        commands.record_of(fact)
        apply(draft, fact)
    after = draft.finish()
    return facts, after, delta(before, after, events, context.at.timestamp())
