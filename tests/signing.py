"""How does a test get a signer, and tell the log it signs to grow, shrink or fork?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ops import checkpoints
from ops.checkpoints import Checkpoints
from ops.sealing import Rhythm, Sealer

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ops.inputs import Inputs
    from ops.stores import Reader
    from ops.vault import Vault
    from projections.runner import ViewRunner

ORIGIN: Final = "iam.example/log-1"
# Signs at once when asked, and of itself only as the test's clock goes.
AT_ONCE: Final = Rhythm(pause_seconds=0)


def new_sealer(
    engines: tuple[Engine, Engine], vault: Vault, log: Reader, inputs: Inputs, runner: ViewRunner
) -> Sealer:
    """Return the signer of a new installation; the engines are the vault's and the views'."""
    kept, views = engines
    checkpoints.create(kept)
    store = Checkpoints(kept)
    store.begin(vault, ORIGIN, inputs)
    return Sealer(store, vault, views, log, inputs, reached=lambda: runner.position, rhythm=AT_ONCE)
