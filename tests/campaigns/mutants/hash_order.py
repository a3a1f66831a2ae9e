"""What if the fold went through a set? (reliability 1: `hash_order`)."""

from __future__ import annotations

from msgspec.structs import replace

from domain.events import Fact
from domain.roles import RoleCreated
from domain.state import Draft, apply
from ops import replays
from tests.campaigns.mutants.start import broken


def apply_in_any_order(draft: Draft, fact: Fact) -> None:
    """Fold, and describe each new role in the order of a hash table."""
    apply(draft, fact)
    event = fact.envelope.event
    if isinstance(event, RoleCreated):
        words = {event.name, event.id, event.tenant, event.topic}
        role = replace(draft.roles[event.id], description=" ".join(words))
        draft.roles[event.id] = role


if __name__ == "__main__":
    broken(replays, "apply", apply_in_any_order)
