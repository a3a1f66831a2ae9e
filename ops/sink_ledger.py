"""How far has each sink come, and which process is it that delivers?

A table beside the sessions, not events: it moves with every batch, and whoever loses it only sends
something twice. One process holds a sink for some seconds at a time, so that its events stay in
order; who does not renew is followed by another.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    MetaData,
    Row,
    Table,
    Text,
    delete,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateSchema

from api.deliveries import Ledger
from api.request_errors import UnavailableError
from domain.ids import SinkId
from ops.postgres import ROLE
from ops.sessions import SCHEMA

if TYPE_CHECKING:
    from domain.sinks import Sink
    from ops.inputs import Inputs

LEASE: Final = timedelta(seconds=30)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_METADATA: Final = MetaData()
# Instants are microseconds since 1970.
_TABLE: Final = Table(
    "sink_ledger",
    _METADATA,
    Column("sink_id", Text, primary_key=True),
    Column("begun", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("failures", BigInteger, nullable=False),
    Column("error", Text, nullable=False),
    Column("delivered_at", BigInteger),
    Column("next_try", BigInteger),
    Column("halted", BigInteger),
    Column("holder", Text, nullable=False),
    Column("held_until", BigInteger, nullable=False),
)


def create(engine: Engine) -> None:
    """Make the table if it is missing; on PostgreSQL it is the owner's to do."""
    is_postgresql = engine.dialect.name == "postgresql"
    with _translated(engine).begin() as connection:
        if is_postgresql:
            connection.execute(CreateSchema(SCHEMA, if_not_exists=True))
        _METADATA.create_all(connection)
        if is_postgresql:
            granted = f"GRANT SELECT, INSERT, UPDATE, DELETE ON {SCHEMA}.{_TABLE.name} TO {ROLE}"
            connection.execute(text(granted))


class SinkLedgers:
    """The ledgers of all processes; from any thread. What delivers gets SQLAlchemyError."""

    def __init__(self, engine: Engine, inputs: Inputs) -> None:
        self._engine = _translated(engine)
        self._inputs = inputs
        self._holder = inputs.id()

    def all(self) -> dict[SinkId, Ledger]:
        """Answer every ledger by its sink's id. Raises UnavailableError, for callers who wait."""
        try:
            with self._engine.connect() as connection:
                rows = connection.execute(select(_TABLE)).all()
        except SQLAlchemyError as error:
            raise UnavailableError("store.unreachable", 1) from error
        return {SinkId(row.sink_id): _ledger(row) for row in rows}

    def claim(self, sink: Sink) -> Ledger | None:
        """Hold a sink for a while, and answer its ledger; None where another process holds it.

        A sink that was made or replayed since begins where that said.
        """
        now = self._inputs.now()
        with self._engine.begin() as connection:
            self._insert(connection, sink)
            taken = connection.execute(
                update(_TABLE)
                .where(
                    _TABLE.c.sink_id == sink.id,
                    (_TABLE.c.holder == self._holder) | (_TABLE.c.held_until <= _number(now)),
                )
                .values(holder=self._holder, held_until=_number(now + LEASE))
            )
            if not taken.rowcount:
                return None
            connection.execute(
                update(_TABLE)
                .where(_TABLE.c.sink_id == sink.id, _TABLE.c.begun < sink.begun)
                .values(_fresh(sink))
            )
            row = connection.execute(select(_TABLE).where(_TABLE.c.sink_id == sink.id)).one()
            return _ledger(row)

    def _insert(self, connection: Connection, sink: Sink) -> None:
        known = connection.execute(select(_TABLE.c.begun).where(_TABLE.c.sink_id == sink.id))
        if known.one_or_none() is None:
            values = {**_fresh(sink), "sink_id": sink.id, "holder": "", "held_until": 0}
            connection.execute(insert(_TABLE).values(values))

    def delivered(self, sink: Sink, position: int) -> None:
        """Note that the receiver has everything up to a position."""
        now = self._inputs.now()
        self._note(
            sink,
            position=position,
            failures=0,
            error="",
            next_try=None,
            halted=None,
            delivered_at=_number(now),
        )

    def failed(self, sink: Sink, ledger: Ledger) -> None:
        """Note that the receiver did not take a batch, and when it is tried again."""
        self._note(
            sink,
            failures=ledger.failures,
            error=ledger.error,
            next_try=None if ledger.next_try is None else _number(ledger.next_try),
            halted=ledger.halted,
        )

    def forget(self, sink: SinkId) -> None:
        """Forget a sink that is no more."""
        with self._engine.begin() as connection:
            connection.execute(delete(_TABLE).where(_TABLE.c.sink_id == sink))

    def release(self, *, all_: bool = False) -> None:
        """Hold no sink any more, so that another process need not wait.

        With `all_` nobody does: for who knows that every other process is dead.
        """
        letting_go = update(_TABLE).values(held_until=0)
        if not all_:
            letting_go = letting_go.where(_TABLE.c.holder == self._holder)
        with self._engine.begin() as connection:
            connection.execute(letting_go)

    def _note(self, sink: Sink, **values: str | int | None) -> None:
        with self._engine.begin() as connection:
            connection.execute(
                update(_TABLE)
                .where(
                    _TABLE.c.sink_id == sink.id,
                    # Whoever was overtaken, or asked to begin anew, has nothing to say.
                    _TABLE.c.holder == self._holder,
                    _TABLE.c.begun == sink.begun,
                )
                .values(values)
            )


def _fresh(sink: Sink) -> dict[str, Any]:
    return {
        "begun": sink.begun,
        "position": sink.after,
        "failures": 0,
        "error": "",
        "delivered_at": None,
        "next_try": None,
        "halted": None,
    }


def _ledger(row: Row[Any]) -> Ledger:
    return Ledger(
        position=row.position,
        begun=row.begun,
        failures=row.failures,
        error=row.error,
        delivered_at=_instant(row.delivered_at),
        next_try=_instant(row.next_try),
        halted=row.halted,
    )


def _number(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND


def _instant(number: int | None) -> datetime | None:
    return None if number is None else _EPOCH + number * _MICROSECOND


def _translated(engine: Engine) -> Engine:
    if engine.dialect.name == "postgresql":
        return engine.execution_options(schema_translate_map={None: SCHEMA})
    return engine
