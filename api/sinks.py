"""How does an instance owner say where the trail is delivered to, and see how far it is?"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Struct, UnsetType

from api.call import OWNER, Call
from api.decoding import OWN
from api.request_errors import PreconditionRequiredError
from domain import commands, sinks
from domain.errors import FieldFault, InvalidError
from domain.ids import SinkId
from domain.sinks import CreateSink, DeleteSink, Kind, PauseSink, ReplaySink, ResumeSink

if TYPE_CHECKING:
    from api.deliveries import Ledger
    from domain.sinks import Sink
    from domain.state import State

OWN_OWNER: Final = {**OWNER, "media": OWN}

# Shapes


class CreateSinkRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`types` are event types or `token.*`, none for all; without `after` only what is to come."""

    name: str
    kind: Kind
    url: str | UnsetType = UNSET
    types: tuple[str, ...] = ()
    after: int | UnsetType = UNSET


class ReplayRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What follows this position is sent, again or for the first time."""

    after: int


class Delivery(Struct, frozen=True, kw_only=True, rename="camel"):
    """How far a sink has come; everything up to `position` has been taken."""

    position: int
    lag: int
    failures: int
    halted: bool
    error: str | UnsetType = UNSET
    delivered_at: datetime | UnsetType = UNSET
    next_try: datetime | UnsetType = UNSET


class SinkForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """A sink; `secret` signs what is sent, and is shown once."""

    id: str
    name: str
    kind: Kind
    url: str | UnsetType
    types: tuple[str, ...]
    after: int
    paused: bool
    created: datetime
    delivery: Delivery
    secret: str | UnsetType = UNSET


class SinkList(Struct, frozen=True, kw_only=True):
    items: tuple[SinkForm, ...]


def _form(sink: Sink, head: int, ledger: Ledger | None, secret: str | UnsetType) -> SinkForm:
    return SinkForm(
        id=sink.id,
        name=sink.name,
        kind=sink.kind,
        url=sink.url,
        types=sink.types,
        after=sink.after,
        paused=sink.paused,
        created=sink.created,
        delivery=delivery(sink, head, ledger),
        secret=secret,
    )


def delivery(sink: Sink, head: int, ledger: Ledger | None) -> Delivery:
    """Answer how far a sink has come towards the head of the log."""
    if ledger is None or ledger.begun != sink.begun:
        # Nobody has begun yet with what was asked for last.
        return Delivery(position=sink.after, lag=head - sink.after, failures=0, halted=False)
    return Delivery(
        position=ledger.position,
        lag=max(0, head - ledger.position),
        failures=ledger.failures,
        halted=ledger.halted is not None and sink.changed <= ledger.halted,
        error=ledger.error or UNSET,
        delivered_at=ledger.delivered_at or UNSET,
        next_try=ledger.next_try or UNSET,
    )


async def _ledgers(call: Call) -> dict[SinkId, Ledger]:
    return await asyncio.to_thread(call.service.ledgers.all)


async def _shown(
    call: Call, id_: str, state: State, secret: str | UnsetType = UNSET
) -> tuple[SinkForm, int]:
    sink = sinks.require(state, SinkId(id_))
    ledger = (await _ledgers(call)).get(sink.id)
    changed = commands.changed_at(state, sink.id) or 0
    return _form(sink, state.position, ledger, secret), changed


# Routes


@post(
    "/audit/sinks",
    status_code=201,
    opt={**OWN_OWNER, "creates": True},
    operation_id="createSink",
    summary="Deliver the trail to a webhook, or to files",
    tags=["audit"],
)
async def create(
    data: JSONBody[CreateSinkRequest], call: NamedDependency[Call]
) -> Response[SinkForm]:
    """Begin to deliver: at least once, in order, signed with the secret that is shown here."""
    service = call.service
    if data.kind == "file" and not service.settings.takes_files:
        fault = FieldFault("kind", "needs a directory, which the operator sets", "sink.files_off")
        raise InvalidError("sink.files_off", f"kind {fault.detail}", fields=(fault,))
    given = CreateSink(
        id=SinkId(service.inputs.id()),
        name=data.name,
        kind=data.kind,
        url=data.url,
        types=data.types,
        after=call.state.position if data.after is UNSET else data.after,
    )
    done = await call.execute(given)
    event = done.event(sinks.SinkCreated)
    id_ = given.id if event is None else event.id
    is_shown = data.kind == "webhook" and not done.replayed
    secret = service.vault.sink_secret(id_).reveal() if is_shown else UNSET
    return await done.show_named(
        lambda state: _shown(call, id_, state, secret),
        status=201,
        more=((b"location", f"{call.path}/{id_}".encode()),),
    )


@get(
    "/audit/sinks",
    opt=OWNER,
    operation_id="listSinks",
    summary="List the sinks, and how far each has come",
    tags=["audit"],
)
async def show_all(call: NamedDependency[Call]) -> Response[SinkList]:
    ledgers, state = await _ledgers(call), call.state
    found = sorted(state.sinks.values(), key=lambda one: (one.created, one.id))
    items = tuple(_form(one, state.position, ledgers.get(one.id), UNSET) for one in found)
    return call.answer(SinkList(items=items))


@get(
    "/audit/sinks/{id:str}",
    opt=OWNER,
    operation_id="getSink",
    summary="Show a sink, and how far it has come",
    tags=["audit"],
)
async def show(id: FromPath[str], call: NamedDependency[Call]) -> Response[SinkForm]:
    """Show a sink; its version tells of what was asked for, not of how far it has come."""
    return call.entity(*await _shown(call, id, call.state))


@delete(
    "/audit/sinks/{id:str}",
    status_code=204,
    opt=OWN_OWNER,
    operation_id="deleteSink",
    summary="Deliver to a sink no more",
    tags=["audit"],
)
async def remove(id: FromPath[str], call: NamedDependency[Call]) -> Response[None]:
    """Needs If-Match: whoever deletes a sink has seen it."""
    context = call.context(id)
    if context.expects is UNSET:
        raise PreconditionRequiredError("etag.required", "If-Match must name the sink's version")
    return (await call.execute(DeleteSink(id=SinkId(id)), context=context)).empty()


@post(
    "/audit/sinks/{id:str}/pause",
    status_code=200,
    opt=OWN_OWNER,
    operation_id="pauseSink",
    summary="Let a sink wait; nothing is lost",
    tags=["audit"],
)
async def pause(id: FromPath[str], call: NamedDependency[Call]) -> Response[SinkForm]:
    return await _commanded(call, PauseSink(id=SinkId(id)), id)


@post(
    "/audit/sinks/{id:str}/resume",
    status_code=200,
    opt=OWN_OWNER,
    operation_id="resumeSink",
    summary="Let a sink go on that was paused or halted",
    tags=["audit"],
)
async def resume(id: FromPath[str], call: NamedDependency[Call]) -> Response[SinkForm]:
    return await _commanded(call, ResumeSink(id=SinkId(id)), id)


@post(
    "/audit/sinks/{id:str}/replay",
    status_code=200,
    opt=OWN_OWNER,
    operation_id="replaySink",
    summary="Send again what follows a position",
    tags=["audit"],
)
async def replay(
    id: FromPath[str], data: JSONBody[ReplayRequest], call: NamedDependency[Call]
) -> Response[SinkForm]:
    return await _commanded(call, ReplaySink(id=SinkId(id), after=data.after), id)


async def _commanded(
    call: Call, command: PauseSink | ResumeSink | ReplaySink, id_: str
) -> Response[SinkForm]:
    done = await call.execute(command, on=id_)
    return await done.show_named(lambda state: _shown(call, id_, state))


ROUTES: Final[list[Any]] = [create, show_all, show, remove, pause, resume, replay]
