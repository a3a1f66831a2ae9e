"""What if the fold read the clock? (reliability 1: `wall_clock`)."""

from __future__ import annotations

import time

from msgspec.structs import replace

from domain.events import Fact
from domain.roles import RoleCreated
from domain.state import Draft, apply
from ops import replays
from tests.campaigns.mutants.start import broken


def apply_by_the_clock(draft: Draft, fact: Fact) -> None:
    """Fold, and describe each new role by the moment of the folding."""
    apply(draft, fact)
    event = fact.envelope.event
    if isinstance(event, RoleCreated):
        role = replace(draft.roles[event.id], description=time.strftime("%c %Z"))
        draft.roles[event.id] = role


if __name__ == "__main__":
    broken(replays, "apply", apply_by_the_clock)
