"""What do the views hold, whole, and how are they brought up to a log?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from domain.state import State, evolve
from projections import views
from projections.directory import (
    bindings,
    groups,
    memberships,
    roles,
    service_accounts,
    tenant_access,
    tenants,
    tokens,
    users,
)
from projections.directory.temporal import View
from projections.runner import ViewRunner
from tests.histories import LOG_ID
from tests.memory_log import MemoryLog

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Engine

    from domain.events import Fact, Record

VIEWS: tuple[View[Any], ...] = (
    bindings.VIEW,
    groups.VIEW,
    memberships.VIEW,
    roles.VIEW,
    service_accounts.VIEW,
    tenant_access.VIEW,
    tenants.VIEW,
    tokens.VIEW,
    users.VIEW,
)

Rows = dict[str, list[tuple[Any, ...]]]


def log_of(records: Sequence[Record], log_id: str = LOG_ID) -> MemoryLog:
    """Return a log that holds these records."""
    log = MemoryLog(log_id)
    if records:
        log.append(1, records)
    return log


def clear(engine: Engine, log_id: str = LOG_ID) -> None:
    """Leave no row, as before the first event."""
    with engine.begin() as connection:
        views.begin(connection, log_id)


def rebuild(engine: Engine, records: Sequence[Record]) -> int:
    """Make the views anew from these records; return the position."""
    clear(engine)
    return ViewRunner(log_of(records), engine).catch_up()


def all_rows(engine: Engine) -> Rows:
    """Return every row of every table, in one order."""
    with engine.connect() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for table in views.METADATA.sorted_tables
        }


def states(facts: Sequence[Fact]) -> Iterator[State]:
    """Yield the fold right after each fact."""
    state = State()
    for fact in facts:
        state = evolve(state, (fact,))
        yield state
