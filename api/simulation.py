"""What would a list of changes do, each on what the ones before it leave?

A change is a request of this very API. It goes through the routes, gates and rules by which it
would really be judged, for the caller itself; only what stands behind them is a draft of the
published state, which is dropped in the end. So whatever can be done can be tried out together
with other things, and nobody learns or gains more than by doing it.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final, TypeGuard, cast
from urllib.parse import unquote

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from api.dry_runs import decided
from api.people import People
from api.problems import Refusal, refusal
from api.query import judge_path, read_query
from api.request_errors import ChangeRefusedError, MalformedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from litestar.types import ASGIApp, HTTPScope, Message

    from api.call import Call
    from api.service import Vault
    from domain import commands
    from domain.events import Event, Fact
    from domain.sealed import KeyId
    from domain.state import State
    from projections.access_graph import Check, Resolve

# What a request says for itself alone, and not for the changes in it.
_OWN_HEADERS: Final = frozenset(
    (
        *(b"content-length", b"content-type", b"transfer-encoding", b"expect"),
        *(b"idempotency-key", b"if-match", b"if-none-match"),
    )
)
_OF_A_MOMENT: Final = frozenset({"dryRun", "position", "at", "at_least", "log"})
_ERROR: Final = 400
_REFERENCE: Final = re.compile(r"\{([A-Za-z][\w-]{0,63})\}\Z")


class Asked(Struct, frozen=True, kw_only=True):
    """One request: method, target as it is sent, the body and If-Match, UNSET for none."""

    method: str
    target: str
    body: Any
    if_match: str | UnsetType = UNSET


class Made(Struct, frozen=True, kw_only=True):
    """What a change would store, and the id of what it makes, empty where it makes nothing."""

    facts: tuple[Fact, ...]
    id: str


class _Done(Struct, frozen=True, kw_only=True):
    """As the writer answers."""

    position: int
    events: tuple[Event, ...]
    replayed: bool = False


class _Graph(Struct, frozen=True, kw_only=True):
    """The access graph of a state that is not published."""

    state: State
    check: Check
    resolve: Resolve
    check_in: Callable[[State], Check]
    resolve_in: Callable[[State], Resolve]


class _Keys:
    """The vault, which notes the keys that are made, so that they can be taken back."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self.made: list[KeyId] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the vault has
        return getattr(self._vault, name)

    def create_key(self, *subject: Any) -> KeyId:  # noqa: ANN401 - as the vault's own
        key = self._vault.create_key(*subject)
        self.made.append(key)
        return key


class Simulation:
    """Stands in the place of the service for the changes; whoever makes one calls `end`."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._service = call.service
        self._keys = _Keys(call.service.vault)
        self.vault = cast("Vault", self._keys)
        self.people = People(self.vault)
        self.caller = call.caller
        self.before = call.service.state
        self.state = self.before
        self.facts: list[Fact] = []
        self.refused: Exception | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the service has
        return getattr(self._service, name)

    @property
    def graph(self) -> _Graph:
        """The graph by which callers are judged: of what the changes so far leave."""
        graph = self._service.graph
        return _Graph(
            state=self.state,
            check=graph.check_in(self.state),
            resolve=graph.resolve_in(self.state),
            check_in=graph.check_in,
            resolve_in=graph.resolve_in,
        )

    async def execute(self, command: commands.Command, context: commands.Context) -> _Done:
        """Carry a command out on the draft; raises what it would be refused with."""
        context = structs.replace(context, at=max(context.at, self.state.at))
        facts, self.state = await asyncio.to_thread(decided, self.state, command, context)
        self.facts += facts
        events = tuple(fact.envelope.event for fact in facts)
        return _Done(position=self.state.position, events=events)

    async def state_at(self, position: int) -> State:
        """Answer the draft, or what the service answers of what is published."""
        if position == self.state.position:
            return self.state
        return await self._service.state_at(position)

    async def change(self, number: int, asked: Asked) -> Made:
        """Make one change on what those before it left.

        Raises ChangeRefusedError with the refusal that the same request would get then.
        """
        known = len(self.facts)
        status, body = await self._answer(number, asked)
        if self.refused is not None or status >= _ERROR:
            raise ChangeRefusedError(_told(number, self.refused, status))
        return Made(facts=tuple(self.facts[known:]), id=_id_in(body))

    async def end(self) -> None:
        """Take back the keys that were made for what would have been sealed."""
        if self._keys.made:
            await asyncio.to_thread(self._service.vault.destroy, *self._keys.made)

    async def _answer(self, number: int, asked: Asked) -> tuple[int, bytes]:
        """Answer what the application answers to the request, on the draft."""
        body = b"" if asked.body is UNSET else msgspec.json.encode(asked.body)
        scope = self._scope(number, asked, len(body))
        status = 500
        parts: list[bytes] = []

        async def receive() -> Any:  # noqa: ANN401 - a message of ASGI
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                parts.append(message["body"])

        app = cast("ASGIApp", self._call.scope["litestar_app"])
        await app(scope, receive, send)
        return status, b"".join(parts)

    def _scope(self, number: int, asked: Asked, length: int) -> HTTPScope:
        outer = self._call.scope
        path, _, query = asked.target.partition("?")
        try:
            raw_path, raw_query = path.encode("ascii"), query.encode("ascii")
            judge_path(raw_path)
            parameters = read_query(raw_query)
        except (MalformedError, UnicodeError) as fault:
            raise ChangeRefusedError(_told(number, fault, _ERROR)) from None
        if not _OF_A_MOMENT.isdisjoint(dict(parameters)):
            raise _unsupported(number, "a change is about no other moment")
        headers = [one for one in outer["headers"] if one[0] not in _OWN_HEADERS]
        if asked.if_match is not UNSET:
            # What is no version is refused as malformed, in whatever characters.
            headers.append((b"if-match", asked.if_match.encode("ascii", "replace")))
        if length:
            headers += [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % length),
            ]
        shared = {name: outer["state"][name] for name in ("request_id", "address")}
        scope: dict[str, Any] = {
            name: outer[name]
            for name in ("type", "asgi", "http_version", "server", "client", "scheme", "root_path")
            if name in outer
        }
        scope |= {
            "method": asked.method,
            "path": unquote(path),
            "raw_path": raw_path,
            "query_string": raw_query,
            "headers": headers,
            "state": {**shared, "query": parameters, "simulation": self},
        }
        return cast("HTTPScope", scope)


def _told(number: int, error: Exception | None, status: int) -> Refusal:
    """Answer a refusal with the change that it is of; its fields lie in the change's body."""
    said = Refusal(status=status, code="internal") if error is None else refusal(error)
    place = f"changes[{number}]"
    fields = tuple(
        structs.replace(one, path=f"{place}.body.{one.path}" if one.path else f"{place}.body")
        for one in said.fields
    )
    return structs.replace(said, detail=f"{place}: {said.detail}", fields=fields, headers=())


def _unsupported(number: int, detail: str) -> ChangeRefusedError:
    return ChangeRefusedError(
        _told(number, MalformedError("simulation.unsupported", detail), _ERROR)
    )


class _Identified(Struct):
    id: str = ""


_WITH_ID: Final = msgspec.json.Decoder(_Identified)
_WITH_IDS: Final = msgspec.json.Decoder(list[_Identified])


def _id_in(body: bytes) -> str:
    """Answer the id in an answer, of one object or of a list of one."""
    try:
        told = _WITH_IDS.decode(body) if body[:1] == b"[" else [_WITH_ID.decode(body)]
    except msgspec.DecodeError:
        return ""
    return told[0].id if len(told) == 1 else ""


# What stands for the id of something that an earlier change makes


def filled(value: object, made: Mapping[str, str]) -> object:
    """Answer a body with ids in the places of the strings `{name}` of what was made."""
    if _is_object(value):
        return {name: filled(one, made) for name, one in value.items()}
    if _is_list(value):
        return [filled(one, made) for one in value]
    if not isinstance(value, str):
        return value
    found = _REFERENCE.match(value)
    return made.get(found[1], value) if found else value


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def filled_path(path: str, made: Mapping[str, str]) -> str:
    """Answer a path with ids in the places of segments `{name}`."""
    place, question, query = path.partition("?")
    segments = [str(filled(segment, made)) for segment in place.split("/")]
    return "/".join(segments) + question + query
