"""May this subject do that? The hot endpoints of AuthZEN 1.0, in front of Litestar.

One ASGI callable with its own answers for every fault (authzen 7): Litestar's typed handlers
would cost twenty times the check itself. Everything else passes through to the application.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final, Literal, cast

import msgspec
from litestar.enums import ScopeType
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from msgspec.structs import replace

from api.authentication import Caller, by_token, header
from api.decoding import CHECKS, BodyError, read_body
from api.problems import (
    AuthenticationError,
    MalformedError,
    Refusal,
    RequestError,
    compose,
)
from api.problems import refusal as refusal_of
from domain import access, names
from domain.errors import DomainError, ForbiddenError, Requirement
from domain.ids import SubjectId, TenantId, TokenId
from domain.scopes import ancestors
from domain.state import State
from domain.tokens import refusal

if TYPE_CHECKING:
    from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

    from api.service import Service

EVALUATION: Final = "/access/v1/evaluation"
EVALUATIONS: Final = "/access/v1/evaluations"
ITEMS_MAX: Final = 1_000
_PATHS: Final = frozenset({EVALUATION, EVALUATIONS})

_ALLOWED: Final = b'{"decision":true}'
_DENIED: Final = b'{"decision":false}'
_NO_RESOURCE: Final = "*"
_DEFAULT_TENANT: Final = "main"

Word = Annotated[str, Meta(max_length=256)]
Semantic = Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"]
# The verdict that ends a batch early.
_STOPS: Final[dict[Semantic, bool]] = {"deny_on_first_deny": False, "permit_on_first_permit": True}

# What is answered with a problem; anything else is a fault of ours and 500 further out.
_REFUSED: Final = (DomainError, RequestError, BodyError, msgspec.MsgspecError, UnicodeError)

# The information model (authzen 2): unknown members are ignored at every level; null in the
# place of an object or text is a fault, null within properties or context is passed over.


class Properties(Struct, frozen=True):
    """Free members that have no effect."""


class ResourceProperties(Struct, frozen=True):
    """The two members of a resource's properties that are read."""

    namespace: str | UnsetType | None = UNSET
    tenant: str | UnsetType | None = UNSET


class Subject(Struct, frozen=True):
    type: Word
    id: Word
    properties: Properties | UnsetType = UNSET


class Action(Struct, frozen=True):
    name: Word
    properties: Properties | UnsetType = UNSET


class Resource(Struct, frozen=True):
    type: Word
    id: Word
    properties: ResourceProperties | UnsetType = UNSET


class AsOf(Struct, frozen=True):
    """A moment of the past: its facts, its clock, or both apart."""

    position: Annotated[int, Meta(ge=0)] | UnsetType | None = UNSET
    at: datetime | UnsetType | None = UNSET


class Circumstances(Struct, frozen=True):
    """The members of a context that are read (authzen 6)."""

    at_least: Annotated[int, Meta(ge=0)] | UnsetType | None = UNSET
    as_of: AsOf | UnsetType | None = UNSET
    token: Word | UnsetType | None = UNSET


class Evaluation(Struct, frozen=True):
    """One question; what is missing in an item of a batch is taken from the request."""

    subject: Subject | UnsetType = UNSET
    action: Action | UnsetType = UNSET
    resource: Resource | UnsetType = UNSET
    context: Circumstances | UnsetType = UNSET


class Options(Struct, frozen=True):
    evaluations_semantic: Semantic = "execute_all"


class Batch(Struct, frozen=True):
    """A request with its items still undecoded, so that a faulty one can fail alone."""

    subject: Subject | UnsetType = UNSET
    action: Action | UnsetType = UNSET
    resource: Resource | UnsetType = UNSET
    context: Circumstances | UnsetType = UNSET
    options: Options | UnsetType = UNSET
    evaluations: list[Raw] | UnsetType = UNSET


class ItemError(Struct, frozen=True):
    status: int
    message: str


class ItemContext(Struct, frozen=True):
    error: ItemError


class FailedItem(Struct, frozen=True, kw_only=True):
    """The deny of an item that could not be judged (authzen 4)."""

    decision: bool = False
    context: ItemContext


_decode_evaluation: Final = msgspec.json.Decoder(Evaluation).decode
_decode_batch: Final = msgspec.json.Decoder(Batch).decode
_decode_items: Final = msgspec.json.Decoder(list[Evaluation]).decode
_encode: Final = msgspec.json.Encoder().encode


class Moment(Struct, frozen=True):
    """The facts and the clock by which a whole request is judged (authzen 4, rule 7)."""

    state: State
    now: float
    live: bool


class Checks:
    """The two evaluation endpoints; `app` answers every other path."""

    def __init__(self, service: Service, app: ASGIApp) -> None:
        self._service = service
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an evaluation, or pass the request on."""
        http = cast("HTTPScope", scope)
        path = http["path"] if http["type"] == ScopeType.HTTP else ""
        if path not in _PATHS:
            await self._app(scope, receive, send)
            return
        try:
            if http["method"] != "POST":
                status, headers, body = _not_allowed(http)
            else:
                body, position = await self._answer(http, receive, path)
                status = 200
                headers = [
                    (b"content-type", b"application/json"),
                    (b"content-length", b"%d" % len(body)),
                    (b"x-muniment-position", b"%d" % position),
                ]
        except _REFUSED as error:
            status, headers, body = _refusal(error, http)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _answer(self, scope: HTTPScope, receive: Receive, path: str) -> tuple[bytes, int]:
        service = self._service
        service.require_ready()
        caller = _caller(service, scope)
        body = await read_body(receive, scope["headers"], rule=CHECKS)
        if not body:
            raise MalformedError("body.missing", "a JSON object is required")
        escaped = b"\\u" in body
        if path == EVALUATION:
            question = _decode_evaluation(body)
            moment = await self._moment(question.context)
            allowed = self._judge(caller, question, moment, escaped=escaped)
            return _ALLOWED if allowed else _DENIED, moment.state.position
        batch = _decode_batch(body)
        moment = await self._moment(batch.context)
        if not batch.evaluations:
            defaults = Evaluation(batch.subject, batch.action, batch.resource, batch.context)
            allowed = self._judge(caller, defaults, moment, escaped=escaped)
            return _ALLOWED if allowed else _DENIED, moment.state.position
        if len(batch.evaluations) > ITEMS_MAX:
            raise MalformedError("batch.too_large", f"at most {ITEMS_MAX} evaluations")
        answers = self._judge_all(caller, batch, moment, escaped=escaped)
        return b'{"evaluations":[' + b",".join(answers) + b"]}", moment.state.position

    async def _moment(self, context: Circumstances | UnsetType) -> Moment:
        """Wait for `at_least`, then answer the facts and the clock of the request."""
        service = self._service
        if context is UNSET:
            return Moment(service.graph.state, service.inputs.now().timestamp(), live=True)
        if context.at_least:
            await service.reach(context.at_least)
        as_of = context.as_of
        if not as_of:
            return Moment(service.graph.state, service.inputs.now().timestamp(), live=True)
        at = as_of.at or None
        if at is not None and at.tzinfo is None:
            raise MalformedError("context.invalid", "as_of.at needs a time zone")
        if as_of.position is None or as_of.position is UNSET:
            if at is None:
                raise MalformedError("context.invalid", "as_of needs position or at")
            position = await service.position_of(None, at)
        else:
            position = await service.position_of(as_of.position, None)
            if at is not None:
                await service.position_of(None, at)
        state = await service.state_at(position or 0)
        return Moment(state, (at or state.at).timestamp(), live=False)

    def _judge_all(
        self, caller: Caller, batch: Batch, moment: Moment, *, escaped: bool
    ) -> list[bytes]:
        """Judge the items in their order, each failing alone, until the semantic says stop."""
        stop = None
        if batch.options:
            stop = _STOPS.get(batch.options.evaluations_semantic)
        answers: list[bytes] = []
        for item in _decoded(batch.evaluations or []):
            allowed = False
            try:
                if isinstance(item, msgspec.MsgspecError):
                    raise item
                question = _with_defaults(item, batch)
                allowed = self._judge(caller, question, moment, escaped=escaped)
                answers.append(_ALLOWED if allowed else _DENIED)
            except (DomainError, RequestError, msgspec.MsgspecError) as error:
                answers.append(_failed(error))
            if allowed is stop:
                break
        return answers

    def _judge(
        self, caller: Caller, question: Evaluation, moment: Moment, *, escaped: bool
    ) -> bool:
        """Answer one question at a moment.

        Raises MalformedError for what is missing or malformed, ForbiddenError for a caller who
        may not ask.
        """
        subject, action, resource = question.subject, question.action, question.resource
        if subject is UNSET or action is UNSET or resource is UNSET:
            raise MalformedError("body.invalid", f"{_missing(question)} is required")
        if escaped:
            _refuse_controls(subject.type, subject.id, action.name, resource.type, resource.id)
        tenant, namespace = _place(resource)
        key = None if resource.id == _NO_RESOURCE else (resource.type, resource.id)
        graph = self._service.graph
        resolve = graph.resolve if moment.live else graph.resolve_in(moment.state)
        found = resolve(tenant, subject.type, subject.id)
        if found != caller.principal:
            self._require_may_ask(caller, tenant, namespace, key)
        if found is None:
            return False
        if question.context and question.context.token:
            token = TokenId(question.context.token)
            pair = (resource.type, action.name)
            if not _token_leaves(moment, found, token, tenant, pair, namespace, key):
                return False
        check = graph.check if moment.live else graph.check_in(moment.state)
        return check(tenant, found, resource.type, action.name, namespace, key, moment.now)

    def _require_may_ask(
        self,
        caller: Caller,
        tenant: TenantId,
        namespace: str | None,
        resource: tuple[str, str] | None,
    ) -> None:
        """Refuse who may not ask about others there: ACCESS:CHECK, judged now (authzen 3).

        A tenant that does not exist gives the same answer.
        """
        graph = self._service.graph
        state = graph.state
        narrowing = caller.token.narrowing if caller.token else UNSET
        namespaces = () if namespace is None else ancestors(namespace)
        left = narrowing is UNSET or access.narrowing_allows(
            narrowing, tenant, ("ACCESS", "CHECK"), namespaces, resource
        )
        owner = (
            caller.principal in state.owners
            and tenant in state.tenants
            and (narrowing is UNSET or narrowing.instance_owner)
        )
        now = self._service.inputs.now().timestamp()
        if left and (
            owner
            or graph.check(tenant, caller.principal, "ACCESS", "CHECK", namespace, resource, now)
        ):
            return
        raise ForbiddenError(
            "permission.denied",
            "asking about others needs ACCESS:CHECK there",
            required=(Requirement("ACCESS", "CHECK", namespace or "", resource),),
        )


def _caller(service: Service, scope: HTTPScope) -> Caller:
    """Answer the caller of a check, who authenticates with an API token and nothing else."""
    presented = header(scope, b"authorization")
    if presented[:7].lower() != b"bearer ":
        raise AuthenticationError(
            "auth.required", "a check needs an API token", presented=bool(presented)
        )
    return by_token(service, presented[7:].strip().decode("latin-1"), scope)


def _place(resource: Resource) -> tuple[TenantId, str | None]:
    """Answer the tenant and the namespace that a resource names."""
    if resource.properties is UNSET:
        return TenantId(_DEFAULT_TENANT), None
    tenant = resource.properties.tenant or _DEFAULT_TENANT
    namespace = resource.properties.namespace or None
    if namespace is not None:
        try:
            names.namespace(namespace)
        except ValueError as fault:
            raise MalformedError("body.invalid", f"namespace {fault}") from None
    return TenantId(tenant), namespace


def _token_leaves(
    moment: Moment,
    subject: SubjectId,
    token_id: TokenId,
    tenant: TenantId,
    pair: tuple[str, str],
    namespace: str | None,
    resource: tuple[str, str] | None,
) -> bool:
    """Tell whether this token of the subject is good at the moment and leaves the right."""
    token = moment.state.tokens.get(token_id)
    if token is None or token.owner != subject:
        return False
    if refusal(token, datetime.fromtimestamp(moment.now, UTC)) is not None:
        return False
    namespaces = () if namespace is None else ancestors(namespace)
    return token.narrowing is UNSET or access.narrowing_allows(
        token.narrowing, tenant, pair, namespaces, resource
    )


def _missing(question: Evaluation) -> str:
    for name in ("subject", "action", "resource"):
        if getattr(question, name) is UNSET:
            return name
    return "nothing"


def _refuse_controls(*words: str) -> None:
    """Refuse control characters, which only an escape could bring this far."""
    if not all(word.isprintable() for word in words):
        raise MalformedError("body.control_character", "types, ids and names are printable")


def _decoded(items: list[Raw]) -> list[Evaluation | msgspec.MsgspecError]:
    """Decode the items in one go, and only when that fails one by one, to place the faults."""
    try:
        return [*_decode_items(b"[" + b",".join(bytes(item) for item in items) + b"]")]
    except msgspec.MsgspecError:
        return [_decoded_item(item) for item in items]


def _decoded_item(item: Raw) -> Evaluation | msgspec.MsgspecError:
    try:
        return _decode_evaluation(item)
    except msgspec.MsgspecError as error:
        return error


def _with_defaults(item: Evaluation, batch: Batch) -> Evaluation:
    """Answer the item with what it lacks from the request: whole objects, nothing is merged."""
    context = item.context
    if context is UNSET:
        context = batch.context
    elif context.at_least is not UNSET or context.as_of is not UNSET:
        raise MalformedError("context.invalid", "at_least and as_of hold for the whole request")
    return Evaluation(
        batch.subject if item.subject is UNSET else item.subject,
        batch.action if item.action is UNSET else item.action,
        batch.resource if item.resource is UNSET else item.resource,
        context,
    )


def _failed(error: Exception) -> bytes:
    status = 403 if isinstance(error, ForbiddenError) else 400
    detail = getattr(error, "detail", "") or "the item is malformed"
    return _encode(FailedItem(context=ItemContext(error=ItemError(status, detail))))


def _not_allowed(scope: HTTPScope) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    said = Refusal(
        status=405, code="method.not_allowed", detail="use POST", headers=((b"allow", b"POST"),)
    )
    return compose(said, path=scope["path"], request_id=_request_id(scope))


def _refusal(error: Exception, scope: HTTPScope) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Answer an error; whatever does not fit the body is 400 here, not 422 (authzen 7)."""
    said = refusal_of(error)
    if said.status == 422:  # noqa: PLR2004 - the status itself is the rule
        said = replace(said, status=400)
    return compose(said, path=scope["path"], request_id=_request_id(scope))


def _request_id(scope: HTTPScope) -> str:
    request_id: str = scope["state"].get("request_id", "")
    return request_id
