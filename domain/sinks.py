"""Where is the trail delivered to, and from which position on?

What a sink is and whether it runs are acts, and so events. How far it has come is none: that is
kept beside, and losing it only sends something twice.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Final, Literal, assert_never
from urllib.parse import urlsplit

from msgspec import UNSET, Struct, UnsetType, structs

from domain import names
from domain.errors import ConflictError, Faults, InvalidError, NotFoundError
from domain.ids import SinkId
from domain.limits import SINKS_MAX

if TYPE_CHECKING:
    from domain.commands import Context
    from domain.state import Draft, Facts

Kind = Literal["webhook", "file"]

URL_CHARACTERS_MAX: Final = 500
TYPES_MAX: Final = 20

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+\Z")
_TYPE: Final = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*(?:\.\*)?\Z")

# Commands


class CreateSink(Struct, frozen=True, kw_only=True):
    """`types` are whole event types or `token.*`, none for all; what follows `after` is sent."""

    id: SinkId
    name: str
    kind: Kind
    url: str | UnsetType = UNSET
    types: tuple[str, ...] = ()
    after: int = 0


class PauseSink(Struct, frozen=True, kw_only=True):
    id: SinkId


class ResumeSink(Struct, frozen=True, kw_only=True):
    id: SinkId


class ReplaySink(Struct, frozen=True, kw_only=True):
    """Send again, or for the first time, everything that follows a position."""

    id: SinkId
    after: int


class DeleteSink(Struct, frozen=True, kw_only=True):
    id: SinkId


Command = CreateSink | PauseSink | ResumeSink | ReplaySink | DeleteSink

# Events


class SinkCreated(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "sink.created.v1"
    id: SinkId
    name: str
    kind: Kind
    url: str | UnsetType = UNSET
    types: tuple[str, ...] = ()
    after: int = 0


class SinkPaused(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "sink.paused.v1"
    id: SinkId


class SinkResumed(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "sink.resumed.v1"
    id: SinkId


class SinkReplayed(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "sink.replayed.v1"
    id: SinkId
    after: int


class SinkDeleted(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "sink.deleted.v1"
    id: SinkId


Event = SinkCreated | SinkPaused | SinkResumed | SinkReplayed | SinkDeleted

# State


class Sink(Struct, frozen=True, kw_only=True):
    """What follows `after` is sent; that was said at the position `begun`."""

    id: SinkId
    name: str
    kind: Kind
    url: str | UnsetType
    types: tuple[str, ...]
    after: int
    begun: int
    paused: bool
    created: datetime
    changed: int


# Rules


def decide(state: Facts, command: Command, context: Context) -> tuple[Event, ...]:
    del context
    match command:
        case CreateSink():
            return _create_sink(state, command)
        case PauseSink():
            return () if require(state, command.id).paused else (SinkPaused(id=command.id),)
        case ResumeSink():
            # Also where it is not paused: so one that halted by itself is told to go on.
            return (SinkResumed(id=require(state, command.id).id),)
        case ReplaySink():
            return _replay_sink(state, command)
        case DeleteSink():
            return (SinkDeleted(id=require(state, command.id).id),)
        case _:
            assert_never(command)


def require(state: Facts, id_: SinkId) -> Sink:
    """Answer the sink; NotFoundError `sink.unknown`."""
    sink = state.sinks.get(id_)
    if sink is None:
        raise NotFoundError("sink.unknown", f"no sink {id_}")
    return sink


def _create_sink(state: Facts, command: CreateSink) -> tuple[Event, ...]:
    faults = Faults()
    name = faults.check("name", names.display_name, command.name)
    if command.kind == "webhook":
        faults.check("url", _url, "" if command.url is UNSET else command.url)
    elif command.url is not UNSET:
        faults.add("url", "a file has none", "invalid")
    if len(command.types) > TYPES_MAX:
        faults.add("types", f"must be at most {TYPES_MAX}", "too_many")
    for type_ in command.types:
        faults.check("types", _event_type, type_)
    faults.refuse("sink.invalid")
    _require_reached(state, command.after)
    if len(state.sinks) >= SINKS_MAX:
        raise ConflictError("sink.too_many", f"there are {SINKS_MAX} sinks")
    return (
        SinkCreated(
            id=command.id,
            name=name,
            kind=command.kind,
            url=command.url,
            types=command.types,
            after=command.after,
        ),
    )


def _replay_sink(state: Facts, command: ReplaySink) -> tuple[Event, ...]:
    require(state, command.id)
    _require_reached(state, command.after)
    return (SinkReplayed(id=command.id, after=command.after),)


def _require_reached(state: Facts, position: int) -> None:
    if not 0 <= position <= state.position:
        raise InvalidError("sink.position", f"position {position} has not been reached")


def _url(text: str) -> str:
    """Answer an address that is https, or http on this machine; no secret has a place in it."""
    if len(text) > URL_CHARACTERS_MAX or not _VISIBLE.match(text):
        raise ValueError(f"must be an address of at most {URL_CHARACTERS_MAX} characters")
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        raise ValueError("must be an address") from None
    safe = url.scheme == "https" or (url.scheme == "http" and host in _LOOPBACK)
    if not safe or not host or port == 0:
        raise ValueError("must be https")
    if url.query or url.fragment or "@" in url.netloc:
        raise ValueError("must have no query, no fragment and no user")
    return text


def _event_type(text: str) -> str:
    if not _TYPE.match(text) or len(text) > names.NAME_CHARACTERS_MAX:
        raise ValueError("must be event types such as token.*")
    return text


# Memory


def apply(draft: Draft, event: Event) -> None:
    match event:
        case SinkCreated():
            sink = Sink(
                id=event.id,
                name=event.name,
                kind=event.kind,
                url=event.url,
                types=event.types,
                after=event.after,
                begun=draft.position,
                paused=False,
                created=draft.at,
                changed=draft.position,
            )
            draft.sinks = draft.sinks.set(event.id, sink)
        case SinkPaused():
            _replace(draft, event.id, paused=True)
        case SinkResumed():
            _replace(draft, event.id, paused=False)
        case SinkReplayed():
            _replace(draft, event.id, after=event.after, begun=draft.position)
        case SinkDeleted():
            if event.id in draft.sinks:
                draft.sinks = draft.sinks.delete(event.id)
        case _:
            assert_never(event)


def _replace(draft: Draft, id_: SinkId, **values: int | bool) -> None:
    sink = draft.sinks.get(id_)
    if sink is not None:
        changed = structs.replace(sink, changed=draft.position, **values)
        draft.sinks = draft.sinks.set(id_, changed)
