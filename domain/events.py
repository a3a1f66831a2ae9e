"""Which events can stand in the log, and how are they written down and read?

The evolution law (event-log 2): a field is never renamed, retyped or removed; a new one comes
last with a default; anything else, and every field that narrows a right, is a new topic `.v2`
with a pure upcast beside the old class. Stored bytes are never rewritten.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Protocol, TypeVar, get_args

import msgspec
from msgspec import UNSET, Struct, UnsetType

from domain import (
    erasures,
    groups,
    principals,
    roles,
    service_accounts,
    sinks,
    tenants,
    tokens,
    users,
)
from domain.ids import CommandId, TenantId

if TYPE_CHECKING:
    from collections.abc import Sequence

Event = (
    erasures.Event
    | groups.Event
    | principals.Event
    | roles.Event
    | service_accounts.Event
    | sinks.Event
    | tenants.Event
    | tokens.Event
    | users.Event
)

EVENTS: Final[tuple[type[Struct], ...]] = get_args(Event)

E_co = TypeVar("E_co", covariant=True)

ActorType = Literal["user", "service_account", "system", "anonymous"]


class Actor(Struct, frozen=True, kw_only=True):
    """Who acted, with which token, by which way, from where; never a secret."""

    type: ActorType
    id: str
    token_id: str | UnsetType = UNSET
    via: str | UnsetType = UNSET
    address: str | UnsetType = UNSET
    user_agent: str | UnsetType = UNSET
    impersonator: str | UnsetType = UNSET


class Envelope(Struct, Generic[E_co], frozen=True, kw_only=True):
    """An event with its circumstances; the order of the fields is the order on the wire."""

    at: datetime
    actor: Actor
    tenant: TenantId | UnsetType = UNSET
    command_id: CommandId
    fingerprint: str | UnsetType = UNSET
    correlation_id: str
    reason: str | UnsetType = UNSET
    event: E_co


class Record(Struct, frozen=True):
    """One row of the log, exactly as stored: these bytes are the evidence."""

    position: int
    topic: str
    state: bytes


class Fact(Struct, frozen=True):
    """An event at its place in the one order."""

    position: int
    envelope: Envelope[Event]


class LogReader(Protocol):
    """The one stream of an installation; positions are 1, 2, 3 … without gaps."""

    @property
    def log_id(self) -> str:
        """The id that the installation was opened with."""
        ...

    def head(self) -> int:
        """Answer the position of the last event, 0 when there is none."""
        ...

    def read(self, after: int, limit: int) -> list[Record]:
        """Answer at most `limit` records that follow the position `after`, in order."""
        ...

    def wait(self, timeout_seconds: float) -> None:
        """Return when the head may have moved, at the latest after the time-out."""
        ...


class Log(LogReader, Protocol):
    """The stream as its writer sees it."""

    def append(self, position: int, records: Sequence[Record]) -> None:
        """Store the records at `position` and the following ones durably, all or none."""
        ...


class UnknownTopicError(Exception):
    """The log holds an event that this release does not know: whoever reads it must halt."""

    def __init__(self, position: int, topic: str) -> None:
        super().__init__(f"unknown topic {topic} at position {position}")
        self.position = position
        self.topic = topic


class UnreadableEventError(Exception):
    """The stored bytes are not an envelope of their topic: whoever reads them must halt."""

    def __init__(self, position: int, topic: str) -> None:
        super().__init__(f"unreadable {topic} at position {position}")
        self.position = position
        self.topic = topic


class UnfaithfulEventError(Exception):
    """The event would not come back from the log as it went in, so it is not written."""


def topic_of(event: object) -> str:
    """Answer the written-out tag of an event."""
    return TOPICS[type(event)]


TOPICS: Final[dict[type, str]] = {cls: cls.__dict__["topic"] for cls in EVENTS}

_ENCODER = msgspec.json.Encoder()
# The element type is the union of all envelopes, which no static type says for a built class.
_ENVELOPE: Final[Any] = Envelope
_DECODERS: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    topic: msgspec.json.Decoder(_ENVELOPE[cls]) for cls, topic in TOPICS.items()
}


def encode(position: int, envelope: Envelope[Event]) -> Record:
    """Answer the record of an envelope; it is decoded and compared before it is for ever.

    Constructors do not validate, so a wrong type, a lone surrogate or a mutable value would only
    be noticed by the readers: UnfaithfulEventError.
    """
    topic = topic_of(envelope.event)
    try:
        state = _ENCODER.encode(envelope)
        faithful = _DECODERS[topic].decode(state) == envelope
    except (msgspec.MsgspecError, UnicodeError, TypeError, ValueError) as error:
        raise UnfaithfulEventError(topic) from error
    if not faithful:
        raise UnfaithfulEventError(topic)
    return Record(position, topic, state)


def decode(record: Record) -> Fact:
    """Answer the event of a record; raises UnknownTopicError and UnreadableEventError."""
    decoder = _DECODERS.get(record.topic)
    if decoder is None:
        raise UnknownTopicError(record.position, record.topic)
    try:
        envelope: Envelope[Event] = decoder.decode(record.state)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise UnreadableEventError(record.position, record.topic) from error
    return Fact(record.position, envelope)


def tenant_of(event: Event) -> TenantId | UnsetType:
    """Answer the tenant that an event belongs to by itself, UNSET for one of the installation."""
    tenant: TenantId | UnsetType = getattr(event, "tenant", UNSET)
    return tenant
