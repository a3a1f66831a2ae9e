"""May this subject do that? The hot endpoints of AuthZEN 1.0, in front of Litestar.

One ASGI callable with its own answers for every fault (authzen 7): Litestar's typed handlers
would cost twenty times the check itself. Everything else passes through to the application.
"""

from __future__ import annotations

from datetime import UTC, datetime
from re import compile as pattern
from typing import TYPE_CHECKING, Annotated, Final, Literal, cast

import msgspec
from litestar.enums import ScopeType
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from msgspec.structs import replace

from api.authentication import bearer, credential
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
from domain.tokens import Token, refusal
from projections.access_graph import Check, Resolve

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
_CONTROL: Final = pattern(r"[\x00-\x1f\x7f-\x9f]")

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
    tenant: Word | UnsetType | None = UNSET


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
    """The facts and the clock by which a whole request is judged (authzen 4, rule 7).

    `asked` is the clock of the one who asks, by which its right to ask is judged: now, whatever
    the question is about.
    """

    state: State
    now: float
    asked: float
    resolve: Resolve
    check: Check


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
        batch: Batch | None = None
        if path == EVALUATION:
            question = _decode_evaluation(body)
        else:
            batch = _decode_batch(body)
            question = Evaluation(batch.subject, batch.action, batch.resource, batch.context)
            if batch.evaluations and len(batch.evaluations) > ITEMS_MAX:
                raise MalformedError("batch.too_large", f"at most {ITEMS_MAX} evaluations")
            _refuse_malformed(question)
        judged_at = service.state
        moment = await self._moment(question.context)
        if service.state is not judged_at:
            # What came while the request waited may have ended the caller's right to be here.
            service.require_ready()
            caller = _caller(service, scope)
        if batch is None or not batch.evaluations:
            answer = _ALLOWED if self._judge(caller, question, moment) else _DENIED
        else:
            items = self._judge_all(caller, batch, batch.evaluations, moment)
            answer = b'{"evaluations":[' + b",".join(items) + b"]}"
        return answer, moment.state.position

    async def _moment(self, context: Circumstances | UnsetType) -> Moment:
        """Wait for `at_least`, then answer the facts and the clock of the request."""
        service = self._service
        graph = service.graph
        if context is not UNSET and context.at_least:
            await service.reach(context.at_least)
        if context is UNSET or not context.as_of:
            asked = service.inputs.now().timestamp()
            return Moment(graph.state, asked, asked, graph.resolve, graph.check)
        at, position = context.as_of.at or None, context.as_of.position
        now = service.inputs.now()
        if at is not None and at.tzinfo is None:
            raise MalformedError("context.invalid", "as_of.at needs a time zone")
        if at is not None and at > now:
            raise MalformedError("position.future", "as_of.at lies in the future")
        if position is None or position is UNSET:
            if at is None:
                raise MalformedError("context.invalid", "as_of needs position or at")
            position = await service.position_of(None, at)
        else:
            position = await service.position_of(position, None)
        state = await service.state_at(position or 0)
        return Moment(
            state,
            (at or state.at).timestamp(),
            now.timestamp(),
            graph.resolve_in(state),
            graph.check_in(state),
        )

    def _judge_all(
        self, caller: Token, batch: Batch, items: list[Raw], moment: Moment
    ) -> list[bytes]:
        """Judge the items in their order, each failing alone, until the semantic says stop."""
        stop = _STOPS.get(batch.options.evaluations_semantic) if batch.options else None
        answers: list[bytes] = []
        for item in _decoded(items):
            allowed = False
            try:
                if isinstance(item, msgspec.MsgspecError):
                    raise item
                allowed = self._judge(caller, _with_defaults(item, batch), moment)
                answers.append(_ALLOWED if allowed else _DENIED)
            except (DomainError, RequestError, msgspec.MsgspecError) as error:
                answers.append(_failed(error))
            if allowed is stop:
                break
        return answers

    def _judge(self, caller: Token, question: Evaluation, moment: Moment) -> bool:
        """Answer one question at a moment.

        Raises MalformedError for what is missing or malformed, ForbiddenError for a caller who
        may not ask.
        """
        subject, action, resource = question.subject, question.action, question.resource
        if subject is UNSET or action is UNSET or resource is UNSET:
            raise MalformedError("body.invalid", f"{_missing(question)} is required")
        _refuse_controls(subject.type, subject.id, action.name, resource.type, resource.id)
        tenant, namespace = _place(resource)
        key = None if resource.id == _NO_RESOURCE else (resource.type, resource.id)
        found = moment.resolve(tenant, subject.type, subject.id)
        if found != caller.owner:
            self._require_may_ask(caller, tenant, namespace, key, moment.asked)
        if found is None:
            return False
        token = question.context.token if question.context else UNSET
        if token is not UNSET and token is not None:
            pair = (resource.type, action.name)
            if not _token_leaves(moment, found, TokenId(token), tenant, pair, namespace, key):
                return False
        return moment.check(tenant, found, resource.type, action.name, namespace, key, moment.now)

    def _require_may_ask(
        self,
        caller: Token,
        tenant: TenantId,
        namespace: str | None,
        resource: tuple[str, str] | None,
        now: float,
    ) -> None:
        """Refuse who may not ask about others there: ACCESS:CHECK, judged now (authzen 3).

        A tenant that does not exist gives the same answer.
        """
        graph = self._service.graph
        state = graph.state
        known = state.tenants.get(tenant)
        narrowing = caller.narrowing
        namespaces = () if namespace is None else ancestors(namespace)
        left = narrowing is UNSET or access.narrowing_allows(
            narrowing, tenant, ("ACCESS", "CHECK"), namespaces, resource
        )
        owner = (
            caller.owner in state.owners
            and known is not None
            and not known.deleted
            and (narrowing is UNSET or narrowing.instance_owner)
        )
        if left and (
            owner or graph.check(tenant, caller.owner, "ACCESS", "CHECK", namespace, resource, now)
        ):
            return
        raise ForbiddenError(
            "permission.denied",
            "asking about others needs ACCESS:CHECK there",
            required=(Requirement("ACCESS", "CHECK", namespace or "", resource),),
        )


def _caller(service: Service, scope: HTTPScope) -> Token:
    """Answer the token of the caller, who authenticates a check with that and nothing else."""
    scheme, text = credential(scope)
    if scheme != b"bearer":
        raise AuthenticationError(
            "auth.required", "a check needs an API token", presented=bool(scheme)
        )
    return bearer(service, text.decode("latin-1"), scope)


def _place(resource: Resource) -> tuple[TenantId, str | None]:
    """Answer the tenant and the namespace that a resource names."""
    if resource.properties is UNSET:
        return TenantId(_DEFAULT_TENANT), None
    tenant, namespace = resource.properties.tenant, resource.properties.namespace
    if tenant is UNSET or tenant is None:
        tenant = _DEFAULT_TENANT
    if namespace is UNSET:
        namespace = None
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


def _refuse_malformed(defaults: Evaluation) -> None:
    """Refuse what is malformed in the defaults: a fault of the whole payload (authzen 4, 5)."""
    subject, action, resource = defaults.subject, defaults.action, defaults.resource
    if subject is not UNSET:
        _refuse_controls(subject.type, subject.id)
    if action is not UNSET:
        _refuse_controls(action.name)
    if resource is not UNSET:
        _refuse_controls(resource.type, resource.id)
        _place(resource)


def _refuse_controls(*words: str) -> None:
    """Refuse control characters; escapes and UTF-8 bring them past the guard of the body."""
    for word in words:
        if not word.isprintable() and _CONTROL.search(word):
            raise MalformedError(
                "body.control_character", "types, ids and names hold no control characters"
            )


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
    elif _given(context.at_least) or _given(context.as_of):
        raise MalformedError("context.invalid", "at_least and as_of hold for the whole request")
    return Evaluation(
        batch.subject if item.subject is UNSET else item.subject,
        batch.action if item.action is UNSET else item.action,
        batch.resource if item.resource is UNSET else item.resource,
        context,
    )


def _given(value: object) -> bool:
    """Tell whether a member of a context is there: null is passed over."""
    return value is not UNSET and value is not None


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
