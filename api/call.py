"""What does a route know of the request it answers, and how does it answer?

A `Call` is made for every request behind authentication: who calls, on which tenant, about which
position. Routes read its `state`, give commands with `execute`, and answer with `entity`,
`listing` or `done`, which add the position and the entity tag.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from litestar import Response
from msgspec import UNSET, Struct, UnsetType

from api.authentication import Caller, client_address, header, require_still
from api.dry_runs import rehearse
from api.judging import Asker
from api.request_errors import DryRun, MalformedError
from domain import access, commands, names
from domain.errors import NotFoundError
from domain.ids import CommandId, TenantId
from domain.permissions import Permission

if TYPE_CHECKING:
    from litestar.types import HTTPScope, Receive, Send

    from api.query import Query
    from api.service import Outcome, Service
    from domain.state import State

T = TypeVar("T")

POSITION_HEADER: Final = "X-Muniment-Position"
REPLAYED_HEADER: Final = "Idempotency-Replayed"

_WITHOUT_BODY: Final = frozenset({204, 304})
_POSITION_NAME: Final = POSITION_HEADER.lower().encode()
_REPLAYED: Final = (REPLAYED_HEADER.lower().encode(), b"true")
_encode: Final = msgspec.json.Encoder().encode

_KEY: Final = re.compile(r'"?([\x21\x23-\x7e]{1,255})"?\Z')
_TAG: Final = re.compile(r'"([0-9]{1,18})"\Z')
_POSITION: Final = re.compile(r"[0-9]{1,18}\Z")
_READS: Final = frozenset({"GET", "HEAD"})


Headers = tuple[tuple[bytes, bytes], ...]


class Answer(Response[T]):
    """An answer in JSON that writes itself.

    Litestar would merge headers, cookies and encoders that no route gives: a tenth of a read.
    """

    def __init__(self, body: T, status: int, headers: Headers) -> None:
        """`headers` have lower-case names; a body of bytes is JSON already."""
        self.content = body
        self.status_code = status
        self._prepared = headers

    def to_asgi_response(self, *_: Any, **_options: Any) -> Any:  # noqa: ANN401 - the library's own signature is longer than what is used of it
        """Answer the application that sends this, which it is itself."""
        return self

    async def __call__(self, _: object, __: Receive, send: Send) -> None:
        """Send the answer."""
        content, status, headers = self.content, self.status_code or 200, [*self._prepared]
        body = content if isinstance(content, bytes) else _encode(content)
        if status not in _WITHOUT_BODY:
            headers.append((b"content-type", b"application/json"))
            headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


def _shown(position: int) -> tuple[bytes, bytes]:
    return _POSITION_NAME, b"%d" % position


class Gate(Struct, frozen=True):
    """Who may use a route, judged before the body is read; every route declares one.

    Exactly one of: a permission in the path's tenant (`or_needs` does as well), the instance
    owner, access to the path's tenant, or any authenticated principal. `tenant` is where the
    permission is needed by a route whose path names none. `exception` is the named exception of
    a noun, such as a group's owners; `refuse` raises where this caller may not.
    """

    needs: Permission | None = None
    or_needs: Permission | None = None
    tenant: TenantId | UnsetType = UNSET
    owner: bool = False
    access: bool = False
    own: bool = False
    open: bool = False
    exception: Callable[[Call], bool] | None = None
    refuse: Callable[[Call], None] | None = None


def needs(
    permission: Permission,
    or_needs: Permission | None = None,
    exception: Callable[[Call], bool] | None = None,
) -> dict[str, Gate]:
    """Declare a route that needs a permission in the tenant of its path."""
    return {"gate": Gate(needs=permission, or_needs=or_needs, exception=exception)}


def needs_in(tenant: TenantId, permission: Permission) -> dict[str, Gate]:
    """Declare a route without a tenant in its path that needs a permission in this one."""
    return {"gate": Gate(needs=permission, tenant=tenant)}


def gives(command: type, exception: Callable[[Call], bool] | None = None) -> dict[str, Gate]:
    """Declare a route that needs what the command needs that it gives."""
    members = command.__dict__
    return needs(members["needs"], members.get("or_needs"), exception)


OWNER: Final = {"gate": Gate(owner=True)}
ACCESS: Final = {"gate": Gate(access=True)}
SELF: Final = {"gate": Gate(own=True)}
OPEN: Final = {"gate": Gate(open=True)}


def position_parameter(query: Query, name: str) -> int | None:
    """Answer a query parameter that is a position; raises MalformedError `position.invalid`."""
    text = dict(query).get(name)
    if text is None:
        return None
    if not _POSITION.match(text):
        raise MalformedError("position.invalid", f"{name} must be a position")
    return int(text)


class Call:
    """One request of an authenticated caller."""

    def __init__(
        self, service: Service, caller: Caller, scope: HTTPScope, query: Query, request_id: str
    ) -> None:
        self.service = service
        self.caller = caller
        self.query = query
        self.request_id = request_id
        self.parameters: dict[str, Any] = dict(scope["path_params"])
        self.state: State = service.state
        self.past = False
        self._judged_at = service.state
        self._scope = scope

    # What the request says

    @property
    def tenant(self) -> TenantId:
        """The tenant of the path."""
        return TenantId(self.parameters["tenant"])

    @property
    def path(self) -> str:
        """The path as sent, without the query."""
        return self._scope["raw_path"].partition(b"?")[0].decode("latin-1")

    @property
    def operation(self) -> str:
        """The name under which the route is documented."""
        handler: Any = self._scope["route_handler"]
        operation: str = handler.operation_id
        return operation

    def parameter(self, name: str) -> str | None:
        """Answer a query parameter that may be given once."""
        return dict(self.query).get(name)

    def flag(self, name: str) -> bool:
        """Answer a query parameter that is `true` or `false`, false when it is absent."""
        value = self.parameter(name) or "false"
        if value not in {"true", "false"}:
            raise MalformedError("query.invalid", f"{name} must be true or false")
        return value == "true"

    @property
    def asker(self) -> Asker:
        """The caller, as one who asks about access."""
        address = client_address(self._scope)
        return Asker(
            self.caller.principal,
            self.caller.token,
            address,
            self.request_id,
            looks_back=self.looks_back,
        )

    @property
    def scope(self) -> HTTPScope:
        """The request as ASGI has it."""
        return self._scope

    # Consistency (http-api 6)

    async def settle(self) -> None:
        """Go to the position or instant that the query names."""
        instant = self._instant()
        asked = position_parameter(self.query, "position")
        if asked is None and instant is None:
            self.state = self.service.state
            return
        if not self.reads:
            raise MalformedError("position.on_write", "the past cannot be written")
        position = await self.service.position_of(asked, instant)
        self.past = position is not None
        self.state = (
            self.service.state if position is None else await self.service.state_at(position)
        )

    @property
    def clock(self) -> datetime:
        """The instant by which the state is judged: `at` itself, that of the position, or now."""
        if not self.past:
            return self.service.inputs.now()
        return self._instant() or self.state.at

    def require_still(self) -> None:
        """Refuse to go on where the caller may be here no more: for answers that take long."""
        service = self.service
        service.require_ready()
        require_still(service, self.caller, self._judged_at, self._scope)
        context = commands.Context(
            at=service.inputs.now(),
            actor=self.caller.actor,
            command_id=CommandId(""),
            correlation_id=self.request_id,
        )
        if "tenant" in self.parameters:
            access.require_tenant(service.state, context, self.tenant, past=self.looks_back)

    @property
    def reads(self) -> bool:
        """Whether the request only reads: GET, and the POST routes that say so."""
        return self._scope["method"] in _READS or bool(
            self._scope["route_handler"].opt.get("reads")
        )

    @property
    def looks_back(self) -> bool:
        """Whether the request is about the past, also by moments of its own."""
        return self.past or bool(self._scope["route_handler"].opt.get("looks_back"))

    def _instant(self) -> datetime | None:
        text = self.parameter("at")
        if text is None:
            return None
        try:
            instant = datetime.fromisoformat(text)
        except ValueError:
            raise MalformedError("position.invalid", "at must be an instant") from None
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant

    # Commands

    def context(self, object_id: str | UnsetType = UNSET) -> commands.Context:
        """Answer the circumstances of a command; If-Match concerns the object, if one is given."""
        key = self._idempotency_key()
        command_id = CommandId(self.service.inputs.id())
        fingerprint: str | UnsetType = UNSET
        if key is not None:
            method = self._scope["method"]
            vault = self.service.vault
            command_id = vault.command_id_for(str(self.caller.principal), method, self.path, key)
            body: bytes = self._scope["state"].get("body", b"")
            query = self._scope["query_string"].decode("latin-1")
            fingerprint = vault.fingerprint(key, method, self.path, query, body)
        return commands.Context(
            at=self.service.inputs.now(),
            actor=self.caller.actor,
            command_id=command_id,
            correlation_id=self.request_id,
            fingerprint=fingerprint,
            reason=self._reason(),
            expects=self._expectation(object_id),
        )

    async def execute(
        self,
        command: commands.Command,
        *,
        on: str | UnsetType = UNSET,
        context: commands.Context | None = None,
    ) -> Done:
        """Give the command; `on` is the object that If-Match speaks about."""
        return Done(self, await self.perform(command, context or self.context(on)))

    async def perform(self, command: commands.Command, context: commands.Context) -> Outcome:
        """Give the command; raises DryRun where the request only asks what that would do."""
        if self.flag("dryRun"):
            raise DryRun(await rehearse(self, command, context))
        return await self.service.execute(command, context)

    def _idempotency_key(self) -> str | None:
        value = header(self._scope, b"idempotency-key").decode("latin-1")
        if not value:
            return None
        found = _KEY.match(value)
        if found is None:
            raise MalformedError(
                "idempotency.invalid", "Idempotency-Key must be 1 to 255 visible characters"
            )
        return found[1]

    def _expectation(self, object_id: str | UnsetType) -> commands.Expectation | UnsetType:
        value = header(self._scope, b"if-match").decode("latin-1").strip()
        if not value or object_id is UNSET:
            return UNSET
        if value == "*":
            return commands.Expectation(object_id, None)
        found = _TAG.match(value)
        if found is None:
            raise MalformedError("etag.invalid", 'If-Match must be "<position>" or *')
        return commands.Expectation(object_id, int(found[1]))

    def _reason(self) -> str | UnsetType:
        value = header(self._scope, b"x-muniment-reason")
        if not value:
            return UNSET
        try:
            return names.visible(value.decode(), characters_max=names.REASON_CHARACTERS_MAX)
        except ValueError as refusal:
            raise MalformedError("reason.invalid", f"X-Muniment-Reason {refusal}") from None

    # Answers

    def entity(self, body: T, changed: int, *, status: int = 200) -> Response[T]:
        """Answer one object as of the call's state; `changed` is its entity tag.

        304 without a body when the caller holds this very version.
        """
        tag = b'"%d"' % changed
        headers = ((b"etag", tag), _shown(self.state.position))
        if self.reads and tag in header(self._scope, b"if-none-match"):
            empty: Answer[Any] = Answer(b"", 304, headers)
            return empty
        return Answer(body, status, headers)

    def answer(self, body: T, *, position: int | None = None, link: str = "") -> Response[T]:
        """Answer a list or anything else that has no version."""
        headers = (_shown(self.state.position if position is None else position),)
        return Answer(body, 200, (*headers, (b"link", link.encode())) if link else headers)


class Done:
    """A command that was carried out, now or, for a repeated key, before."""

    def __init__(self, call: Call, outcome: Outcome) -> None:
        self._call = call
        self.outcome = outcome

    @property
    def replayed(self) -> bool:
        """Whether the same command had been given before: no secret is shown again."""
        return self.outcome.replayed

    def event(self, kind: type[T]) -> T | None:
        """Answer the command's first event of a kind; ids are taken from there on a repeat."""
        for event in self.outcome.events:
            if isinstance(event, kind):
                return event
        return None

    def headers(self) -> Headers:
        """Answer the headers that every successful write carries."""
        position = _shown(self.outcome.position)
        return (position, _REPLAYED) if self.outcome.replayed else (position,)

    async def show(
        self, view: Callable[[State], tuple[T, int]], *, status: int = 200
    ) -> Response[T]:
        """Answer the object that the command made or changed.

        A repeat shows it as of the recorded position (http-api 4); so does a first answer whose
        object has been deleted by another command since.
        """

        async def at_once(state: State) -> tuple[T, int]:
            return view(state)

        return await self.show_named(at_once, status=status)

    async def show_named(
        self,
        view: Callable[[State], Awaitable[tuple[T, int]]],
        *,
        status: int = 200,
        more: Headers = (),
    ) -> Response[T]:
        """As `show`, for an object whose answer tells what has to be asked for first."""
        service = self._call.service
        state = service.state
        if self.outcome.replayed:
            state = await service.state_at(self.outcome.position)
        try:
            body, changed = await view(state)
        except NotFoundError:
            body, changed = await view(await service.state_at(self.outcome.position))
        return Answer(body, status, (*self.headers(), (b"etag", b'"%d"' % changed), *more))

    def plain(self, body: T, *, status: int = 200) -> Response[T]:
        """Answer something that has no version of its own."""
        return Answer(body, status, self.headers())

    def empty(self, *, status: int = 204) -> Response[Any]:
        """Answer without a body, or with `{}` for 200 (kestra-iam, rule 6)."""
        body = b"{}" if status == 200 else b""  # noqa: PLR2004 - the status itself is the rule
        return Answer(body, status, self.headers())
