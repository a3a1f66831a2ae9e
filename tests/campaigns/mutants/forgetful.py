"""What if failed sign-ins were counted in the memory of the process? (security 3.4)."""

from __future__ import annotations

from sqlalchemy import create_engine
from sqlalchemy.engine import Engine
from sqlalchemy.pool import StaticPool

from ops import sessions, wiring
from ops.inputs import Inputs
from ops.sessions import StoredFailures
from tests.campaigns.mutants.start import broken


class RememberedFailures(StoredFailures):
    """Counts as the right one does, in a database that ends with the process."""

    def __init__(self, engine: Engine, inputs: Inputs) -> None:
        del engine
        memory = create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )
        sessions.create(memory)
        super().__init__(memory, inputs)


if __name__ == "__main__":
    broken(wiring, "StoredFailures", RememberedFailures)
