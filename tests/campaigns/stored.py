"""What does a store hold, read beside the server that serves from it?"""

from __future__ import annotations

from pathlib import Path

from domain.events import decode
from domain.state import Draft, State, apply, digest
from ops.settings import read_settings
from ops.stores import open_reader, read_all


def digest_of(data_dir: Path) -> str:
    """The position and the digest of the state at the head, as `muniment digest` prints them."""
    with open_reader(read_settings({}, data_dir=data_dir)) as log:
        draft = Draft(State())
        for record in read_all(log):
            apply(draft, decode(record))
    state = draft.finish()
    return f"{state.position} {digest(state)}"
