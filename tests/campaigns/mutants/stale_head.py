"""What if commands were decided on a state that is 50 ms old? (reliability A5, security 2.6)."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Final

from domain import commands
from domain.bindings import AssignRole
from domain.events import Event
from domain.groups import CreateGroup
from domain.owners import RevokeInstanceOwner
from domain.state import Recorded, State
from ops import wiring
from ops.writer import Pending, Writer
from tests.campaigns.mutants.start import broken

if TYPE_CHECKING:
    from domain.state import Facts

AGE_SECONDS: Final = 0.05
LATE: Final = (AssignRole, CreateGroup, RevokeInstanceOwner)

_HEADS: deque[tuple[float, State]] = deque()
_DECIDE = commands.decide


class RememberingWriter(Writer):
    """Keeps the heads of the last moments."""

    def _write(self, pending: list[Pending]) -> int:
        _HEADS.append((time.monotonic(), self._state))
        settled = super()._write(pending)
        _HEADS.append((time.monotonic(), self._state))
        return settled


def decide_late(
    state: Facts, command: commands.Command, context: commands.Context
) -> tuple[Event, ...] | Recorded:
    """Decide on the newest head that is old enough, where a rule may be raced."""
    if not isinstance(command, LATE):
        return _DECIDE(state, command, context)
    while len(_HEADS) > 1 and _HEADS[1][0] <= time.monotonic() - AGE_SECONDS:
        _HEADS.popleft()
    return _DECIDE(_HEADS[0][1], command, context)


if __name__ == "__main__":
    setattr(commands, _DECIDE.__name__, decide_late)
    broken(wiring, "Writer", RememberingWriter)
