"""Whose rights did an event of the trail change, and how?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import structs

from api.access_forms import access_form
from api.pacing import paced
from domain.events import decode
from domain.state import State
from projections.access_delta import delta

if TYPE_CHECKING:
    from api.call import Call
    from api.service import Service
    from api.trail.items import TrailEntry
    from projections.access_delta import Delta, Pace

RIGHTS_MAX = 100
ENTRIES_MAX = 100


async def with_access(call: Call, entries: Sequence[TrailEntry]) -> list[TrailEntry]:
    """Answer the entries with the rights that each one gave and took, as the caller may see them.

    In a tenant's trail those of the tenant. Both states are folded, as any past is.
    """
    positions = [entry.position for entry in entries]
    async with call.service.exports.turn:
        pace = paced(call.service, "comparison.too_large", "ask for fewer events at a time")
        found = await asyncio.to_thread(_deltas, call.service, positions, pace)
    told: list[TrailEntry] = []
    for entry, (states, one) in zip(entries, found, strict=True):
        access = await access_form(call, states, _here(call, one), RIGHTS_MAX)
        told.append(structs.replace(entry, access=access))
    return told


def _deltas(
    service: Service, positions: Sequence[int], pace: Pace
) -> list[tuple[tuple[State, State], Delta]]:
    found: list[tuple[tuple[State, State], Delta]] = []
    for position, record in zip(positions, service.records.at(positions), strict=True):
        before, after = service.past.at(position - 1), service.past.at(position)
        event, now = decode(record).envelope.event, after.at.timestamp()
        found.append(((before, after), delta(before, after, (event,), now, pace)))
    return found


def _here(call: Call, found: Delta) -> Delta:
    if "tenant" not in call.parameters:
        return found
    tenant = call.tenant
    return structs.replace(
        found,
        gained=tuple(right for right in found.gained if right.tenant == tenant),
        lost=tuple(right for right in found.lost if right.tenant == tenant),
        remaining=tuple(right for right in found.remaining if right.tenant == tenant),
    )
