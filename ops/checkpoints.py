"""What was signed, under which origin and by which keys, so that nothing contradicts it?

These tables are as precious as the vault, and lie with it and not with the log: restoring the log
must not restore the memory of what was signed (transparency-log 2).
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Engine,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    inspect,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError

from api.evidence import Origin, Signed, SigningKey
from domain.sealed import KeyId
from ops.postgres import ROLE
from ops.store_errors import SchemaError
from ops.vault import FIRST_SIGNING_KEY, POSTGRESQL_SCHEMA
from projections.verifier import Checkpoint, ProofError, VerifierKey, signature_line
from projections.views import Instant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from ops.inputs import Inputs
    from ops.vault import Vault

# Both keys sign for so long after a rotation, so that every reader has time to learn the new one.
ROTATION: Final = timedelta(days=30)

_LOG_ID_CHARACTERS: Final = 8

_METADATA: Final = MetaData()
# `turns` is counted up by whoever is about to sign: the row's lock is what lets one sign at a time.
_ORIGINS: Final = Table(
    "signed_origins",
    _METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False, unique=True),
    Column("begun", Instant, nullable=False),
    Column("continues_from", BigInteger, nullable=False),
    Column("turns", BigInteger, nullable=False),
)
_KEYS: Final = Table(
    "signing_keys",
    _METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("origin", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("public", LargeBinary, nullable=False),
    Column("since", Instant, nullable=False),
    Column("retired", Instant),
)
_CHECKPOINTS: Final = Table(
    "checkpoints",
    _METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("origin", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("at", Instant, nullable=False),
    UniqueConstraint("origin", "size"),
)
_SHIPPED: Final = Table(
    "checkpoints_shipped",
    _METADATA,
    Column("sink", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
)
# What the runtime role may do: of what was signed nothing is changed or taken away.
_GRANTS: Final = {
    _ORIGINS: "SELECT, INSERT, UPDATE (turns)",
    _KEYS: "SELECT, INSERT, UPDATE (retired)",
    _CHECKPOINTS: "SELECT, INSERT",
    _SHIPPED: "SELECT, INSERT, UPDATE",
}


def create(engine: Engine) -> None:
    """Make the tables that are missing; on PostgreSQL it is the owner's to do, after the vault."""
    with _translated(engine).begin() as connection:
        _METADATA.create_all(connection)
        if engine.dialect.name == "postgresql":
            for table, rights in _GRANTS.items():
                name = f"{POSTGRESQL_SCHEMA}.{table.name}"
                connection.execute(text(f"GRANT {rights} ON {name} TO {ROLE}"))


def drop(engine: Engine) -> None:
    """Take the tables of an installation away that never began."""
    _METADATA.drop_all(_translated(engine))


def origin_of(public_url: str, log_id: str) -> str:
    """Answer the origin of a new installation: host, path, and a short form of the log's id."""
    url = urlsplit(public_url or "//localhost")
    path = quote(url.path.strip("/"), safe="/%~@!$&'()*,;=:")
    return "/".join(part for part in (url.netloc, path, log_id[:_LOG_ID_CHARACTERS]) if part)


class Checkpoints:
    """What was signed; safe to use from several threads.

    Raises SchemaError where the tables are not there.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = _translated(engine)
        schema = POSTGRESQL_SCHEMA if engine.dialect.name == "postgresql" else None
        if not inspect(engine).has_table(_CHECKPOINTS.name, schema=schema):
            raise SchemaError("nothing can be signed here yet: run muniment migrate")

    # Reading

    def origins(self) -> tuple[Origin, ...]:
        """Answer every origin, the present one last."""
        with self._engine.connect() as connection:
            return _origins(connection)

    def signing_keys(self) -> tuple[SigningKey, ...]:
        """Answer every key of every origin, in the order of their coming."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(_KEYS).order_by(_KEYS.c.number)).all()
        return tuple(
            SigningKey(
                verifier=VerifierKey(row.origin, row.public), since=row.since, retired=row.retired
            )
            for row in rows
        )

    def last(self, origin: str | None = None) -> Signed | None:
        """Answer the newest checkpoint of an origin, by default the present one."""
        with self._engine.connect() as connection:
            return _last(connection, _present() if origin is None else literal(origin))

    def of_size(self, size: int) -> Signed | None:
        """Answer the checkpoint of the present origin that has exactly this size."""
        columns = _CHECKPOINTS.c
        query = select(_CHECKPOINTS).where(columns.origin == _present(), columns.size == size)
        with self._engine.connect() as connection:
            return _signed(connection.execute(query).one_or_none())

    def listed(self, before: int | None, limit: int) -> tuple[Signed, ...]:
        """Answer checkpoints of every origin, newest first, from before this number on."""
        query = select(_CHECKPOINTS).order_by(_CHECKPOINTS.c.number.desc()).limit(limit)
        if before is not None:
            query = query.where(_CHECKPOINTS.c.number < before)
        return self._found(query)

    def following(self, number: int, limit: int) -> tuple[Signed, ...]:
        """Answer checkpoints of every origin that follow this number, oldest first."""
        return self._found(
            select(_CHECKPOINTS)
            .where(_CHECKPOINTS.c.number > number)
            .order_by(_CHECKPOINTS.c.number)
            .limit(limit)
        )

    def _found(self, query: Any) -> tuple[Signed, ...]:  # noqa: ANN401 - a select of any shape
        with self._engine.connect() as connection:
            found = map(_signed, connection.execute(query))
            return tuple(one for one in found if one is not None)

    # Writing

    def begin(self, vault: Vault, name: str, inputs: Inputs, continues_from: int = 0) -> None:
        """Begin an origin, signed by the present keys; the first one with the vault's own key.

        Nothing happens where the present origin has this name, as when two processes begin it.
        """
        try:
            with self._engine.begin() as connection:
                _take_turn(connection)
                origins = _origins(connection)
                if origins and origins[-1].name == name:
                    return
                now = inputs.now()
                ids = [row.key_id for row in _signers(connection, inputs)] or [FIRST_SIGNING_KEY]
                connection.execute(update(_KEYS).where(_open(now)).values(retired=now))
                connection.execute(
                    insert(_ORIGINS).values(
                        number=len(origins) + 1,
                        name=name,
                        begun=now,
                        continues_from=continues_from,
                        turns=0,
                    )
                )
                for key_id in ids:
                    _add_key(connection, vault, name, KeyId(key_id), inputs)
        except IntegrityError:
            if self.origins()[-1].name != name:
                raise

    def rotate(self, vault: Vault, inputs: Inputs) -> VerifierKey:
        """Let a new key sign from now on; the former ones sign beside it for `ROTATION`."""
        key_id = vault.create_key("installation", "signing")
        with self._engine.begin() as connection:
            ends = inputs.now() + ROTATION
            columns = _KEYS.c
            connection.execute(update(_KEYS).where(columns.retired.is_(None)).values(retired=ends))
            return _add_key(connection, vault, _origins(connection)[-1].name, key_id, inputs)

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """Hold every other signer off until this one has signed; kept at the end, or not at all."""
        with self._engine.begin() as connection:
            _take_turn(connection)
            yield Turn(connection)

    def note(self, text: str, vault: Vault, inputs: Inputs) -> str:
        """Answer another text than a checkpoint's as a note, signed by every key that signs now.

        Raises ValueError for the text of a checkpoint: those are signed by a turn alone.
        """
        with suppress(ProofError):
            Checkpoint.parse(text)
            raise ValueError(text)
        with self._engine.connect() as connection:
            return _note(connection, text, vault, inputs)

    # Shipping

    def shipped(self, sink: str) -> int:
        """Answer the number of the last checkpoint that a sink was given, 0 for none."""
        query = select(_SHIPPED.c.number).where(_SHIPPED.c.sink == sink)
        with self._engine.connect() as connection:
            return int(connection.execute(query).scalar() or 0)

    def ship(self, sink: str, number: int) -> None:
        """Note that a sink has been given this checkpoint."""
        with self._engine.begin() as connection:
            moved = update(_SHIPPED).where(_SHIPPED.c.sink == sink).values(number=number)
            if not connection.execute(moved).rowcount:
                connection.execute(insert(_SHIPPED).values(sink=sink, number=number))


class Turn:
    """One signer's turn, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.origin = _origins(connection)[-1]
        self.last = _last(connection, _present())

    def sign(self, size: int, root: bytes, vault: Vault, inputs: Inputs) -> Signed:
        """Sign a tree with every key that signs now, and keep the note."""
        checkpoint = Checkpoint(self.origin.name, size, root)
        note = _note(self._connection, checkpoint.text, vault, inputs)
        number = self._connection.execute(select(func.max(_CHECKPOINTS.c.number))).scalar() or 0
        signed = Signed(
            number=number + 1,
            origin=self.origin.name,
            size=size,
            root=root,
            note=note,
            at=inputs.now(),
        )
        self._connection.execute(
            insert(_CHECKPOINTS).values(
                number=signed.number,
                origin=signed.origin,
                size=size,
                root=root,
                note=note,
                at=signed.at,
            )
        )
        return signed


def _take_turn(connection: Connection) -> None:
    """Hold others off until the transaction ends.

    The first statement is a write: on SQLite it takes the file, on PostgreSQL the row.
    """
    present = select(func.max(_ORIGINS.c.number)).scalar_subquery()
    connection.execute(
        update(_ORIGINS).where(_ORIGINS.c.number == present).values(turns=_ORIGINS.c.turns + 1)
    )


def _translated(engine: Engine) -> Engine:
    if engine.dialect.name != "postgresql":
        return engine
    return engine.execution_options(schema_translate_map={None: POSTGRESQL_SCHEMA})


def _origins(connection: Connection) -> tuple[Origin, ...]:
    rows = connection.execute(select(_ORIGINS).order_by(_ORIGINS.c.number))
    return tuple(
        Origin(number=row.number, name=row.name, begun=row.begun, continues_from=row.continues_from)
        for row in rows
    )


def _present() -> ColumnElement[str]:
    """Answer the expression for the name of the present origin."""
    return select(_ORIGINS.c.name).order_by(_ORIGINS.c.number.desc()).limit(1).scalar_subquery()


def _last(connection: Connection, origin: ColumnElement[str]) -> Signed | None:
    return _signed(
        connection.execute(
            select(_CHECKPOINTS)
            .where(_CHECKPOINTS.c.origin == origin)
            .order_by(_CHECKPOINTS.c.size.desc())
            .limit(1)
        ).one_or_none()
    )


def _signed(row: Any) -> Signed | None:  # noqa: ANN401 - a row of the checkpoints, or none
    if row is None:
        return None
    return Signed(
        number=row.number,
        origin=row.origin,
        size=row.size,
        root=row.root,
        note=row.note,
        at=row.at,
    )


def _signers(connection: Connection, inputs: Inputs) -> Sequence[Any]:
    """Answer the keys of the present origin that sign now."""
    present = select(_ORIGINS.c.name).order_by(_ORIGINS.c.number.desc()).limit(1).scalar_subquery()
    return connection.execute(
        select(_KEYS).where(_KEYS.c.origin == present, _open(inputs.now())).order_by(_KEYS.c.number)
    ).all()


def _note(connection: Connection, text: str, vault: Vault, inputs: Inputs) -> str:
    lines = ""
    for row in _signers(connection, inputs):
        signature = vault.signing_key(KeyId(row.key_id)).sign(text.encode())
        lines += signature_line(VerifierKey(row.origin, row.public), signature)
    return f"{text}\n{lines}"


def _open(now: datetime) -> ColumnElement[bool]:
    return _KEYS.c.retired.is_(None) | (_KEYS.c.retired > now)


def _add_key(
    connection: Connection, vault: Vault, origin: str, key_id: KeyId, inputs: Inputs
) -> VerifierKey:
    number = connection.execute(select(func.max(_KEYS.c.number))).scalar() or 0
    public = vault.signing_key(key_id).public_key().public_bytes_raw()
    connection.execute(
        insert(_KEYS).values(
            number=number + 1, origin=origin, key_id=key_id, public=public, since=inputs.now()
        )
    )
    return VerifierKey(origin, public)
