"""What does an export tell of one event, whatever its format, and what never? (audit-export 2).

Hashes of secrets and keyed indexes are left out, passwords stay closed whoever asks, and of what
else is sealed the export decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Protocol, TypeVar, get_args

import msgspec
from msgspec import Raw, Struct, to_builtins
from msgspec.structs import fields

from domain import aliases
from domain.events import TOPICS, Record, decode
from domain.ids import GroupId, RoleId, ServiceAccountId, UserId
from domain.sealed import Sealed
from domain.state import State
from projections import trail
from projections.trail import EVERYTHING, Sought

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from projections.audit import Scope
    from projections.entries import Entry
    from projections.trail import Records

PAGE_EVENTS: Final = 500
CLOSED: Final = {"sealed": True}
GONE: Final = {"erased": True}

# What is shown of a value that was sealed for a subject and a field: the value, CLOSED or GONE.
Shown = Callable[[str, str, Sealed], object]


class Told(NamedTuple):
    """One event, as the trail tells it and as it is stored."""

    entry: Entry
    record: Record


class Telling(Struct, frozen=True, kw_only=True):
    """What an export tells besides its events.

    Names are those of `state`; `person` answers a person's, None where it is not to be told. One
    that `proves` itself holds every event exactly as it is stored, closed values and all.
    """

    public_url: str
    version: str
    state: State
    shown: Shown
    person: Callable[[UserId], str | None]
    proves: bool = True

    def principal(self, id_: str) -> str | None:
        """Answer the name of a user or service account, None where there is none to tell."""
        account = self.state.service_accounts.get(ServiceAccountId(id_))
        return self.person(UserId(id_)) if account is None else account.name

    def group(self, id_: str) -> str | None:
        """Answer the name of a group, None where there is none any more."""
        group = self.state.groups.get(GroupId(id_))
        return None if group is None else group.name

    def role(self, id_: str) -> str:
        """Answer the name of a role, its id where there is none any more."""
        role = self.state.roles.get(RoleId(id_))
        return id_ if role is None else role.name


T = TypeVar("T")


class Format(Struct, Generic[T], frozen=True, kw_only=True):
    """How things are written: `line` answers one with its end, `header` stands before them."""

    name: str
    extension: str
    media_type: str
    line: Callable[[T, Telling], bytes]
    header: bytes = b""


class Wanted(Struct, frozen=True, kw_only=True):
    """What is exported: what stands behind `after`, up to and with `until`."""

    scope: Scope
    after: int
    until: int
    sought: Sought = EVERYTHING


# Reading


class Reader(Protocol):
    """A way to read the log that is used by nobody else."""

    def read(self, after: int, limit: int) -> list[Record]: ...


class Part(NamedTuple):
    """Some whole lines of an export, and the position behind which it goes on, None at the end."""

    lines: bytes
    after: int | None


def part(
    connection: Connection, records: Records, wanted: Wanted, form: Format[Told], telling: Telling
) -> Part:
    """Answer the next lines of an export, all in one piece of bounded size."""
    found = trail.part(
        connection, wanted.scope, wanted.sought, wanted.after, wanted.until, PAGE_EVENTS
    )
    stored = records.at([entry.position for entry in found.entries])
    lines = b"".join(map(form.line, map(Told, found.entries, stored), [telling] * len(stored)))
    return Part(lines, None if found.is_last else found.through)


# What is told


class _Stored(Struct):
    event: Raw


class _Guarded(NamedTuple):
    """The members of an event that are not told as they are stored."""

    hidden: tuple[str, ...]
    sealed: tuple[str, ...]


def _guarded(kind: type[Struct]) -> _Guarded:
    hidden = tuple(field.name for field in fields(kind) if field.type is bytes)
    sealed = tuple(
        field.name for field in fields(kind) if Sealed in {field.type, *get_args(field.type)}
    )
    return _Guarded(hidden, sealed)


# By topic; bytes are digests of secrets and keyed indexes, there are no others.
_GUARDED: Final = {
    topic: guarded for kind, topic in TOPICS.items() if any(guarded := _guarded(kind))
}
HIDDEN: Final = {topic: guarded.hidden for topic, guarded in _GUARDED.items() if guarded.hidden}

# Under which field a member was sealed, where that has another name.
_FIELDS: Final = {"text": aliases.FIELD}
_PASSWORD: Final = "password"  # noqa: S105 - the name of a member

_decode: Final = msgspec.json.Decoder(_Stored).decode


def is_guarded(record: Record) -> bool:
    """Tell whether something in a record's event is not told as it is stored."""
    return record.topic in _GUARDED


def event_of(record: Record, telling: Telling) -> object:
    """Answer the event of a record, to be encoded as JSON."""
    if not is_guarded(record):
        return _decode(record.state).event
    members: dict[str, Any] = to_builtins(decode(record).envelope.event)
    for name in HIDDEN.get(record.topic, ()):
        del members[name]
    return members | opened(record, telling)


def opened(record: Record, telling: Telling) -> dict[str, object]:
    """Answer what is told of each sealed member of a guarded record's event, by its name."""
    guarded = _GUARDED[record.topic]
    if not guarded.sealed:
        return {}
    event: Any = decode(record).envelope.event
    subject = event.principal if isinstance(event, aliases.AliasSet) else event.id
    told: dict[str, object] = {}
    for name in guarded.sealed:
        value = getattr(event, name)
        if isinstance(value, Sealed):
            shown = telling.shown(subject, _FIELDS.get(name, name), value)
            told[name] = CLOSED if name == _PASSWORD and isinstance(shown, str) else shown
    return told


def subject_of(entry: Entry) -> tuple[str, str]:
    """Answer the noun and the id of what an event is about: a token's is the token."""
    if entry.token_id is not None:
        return "token", entry.token_id
    return entry.resource.lower(), entry.object_id


def summary(entry: Entry) -> str:
    """Answer in a few words what happened, and to what: by its name, where it has one."""
    noun, act, _ = entry.topic.split(".")
    name = entry.token_name if entry.token_id is not None else entry.object_name
    words = f"{noun} {act}".replace("_", " ")
    return f"{words}: {name or subject_of(entry)[1]}"


_LINE_BREAKS: Final = (
    ("\u0085".encode(), b"\\u0085"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)


def one_line(json: bytes) -> bytes:
    """Answer JSON as one line, also for readers that break lines where Unicode does."""
    if not json.isascii():
        for character, escaped in _LINE_BREAKS:
            json = json.replace(character, escaped)
    return json
