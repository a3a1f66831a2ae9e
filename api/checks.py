"""May this subject do that? The hot endpoints of AuthZEN 1.0, in front of Litestar.

One ASGI callable with its own answers for every fault (authzen 7): Litestar's typed handlers
would cost twenty times the check itself. Everything else passes through to the application. The
searches stand here for the same answers; what they answer is `api/searches.py`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

import msgspec
from litestar.enums import ScopeType
from msgspec import Struct
from msgspec.structs import replace

from api import measures, searches
from api.authentication import bearer, client_address, credential
from api.decoding import CHECKS, BodyError, read_body
from api.explanations import explain
from api.journal import Decided, Decisions, refused
from api.judging import Asker, Judge
from api.problems import Refusal, compose
from api.problems import refusal as refusal_of
from api.questions import (
    Batch,
    Evaluation,
    Semantic,
    decode_batch,
    decode_evaluation,
    refuse_malformed,
    typed_subject,
    with_defaults,
)
from api.request_errors import (
    AuthenticationError,
    MalformedError,
    RequestError,
)
from api.searches import Searches
from domain.errors import DomainError, ForbiddenError

if TYPE_CHECKING:
    from collections.abc import Collection

    from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

    from api.judging import Asked, Moment
    from api.service import Service
    from domain.state import State

EVALUATION: Final = "/access/v1/evaluation"
EVALUATIONS: Final = "/access/v1/evaluations"
ITEMS_MAX: Final = 1_000
# Working out why takes a thousand times as long as a check, and anyone may ask it of oneself.
EXPLAINED_MAX: Final = 100
# Under which name each path is measured.
_ENDPOINTS: Final[dict[str, str]] = {
    EVALUATION: measures.EVALUATION,
    EVALUATIONS: measures.EVALUATIONS,
    **dict.fromkeys(searches.PATHS, measures.SEARCH),
}
PATHS: Final = frozenset(_ENDPOINTS)

_ALLOWED: Final = b'{"decision":true}'
_DENIED: Final = b'{"decision":false}'
# The verdict that ends a batch early.
_STOPS: Final[dict[Semantic, bool]] = {"deny_on_first_deny": False, "permit_on_first_permit": True}

# What is answered with a problem; anything else is a fault of ours and 500 further out.
_REFUSED: Final = (DomainError, RequestError, BodyError, msgspec.MsgspecError, UnicodeError)


class ItemError(Struct, frozen=True):
    status: int
    message: str


class ItemContext(Struct, frozen=True):
    error: ItemError


class FailedItem(Struct, frozen=True, kw_only=True):
    """The deny of an item that could not be judged (authzen 4)."""

    decision: bool = False
    context: ItemContext


_encode: Final = msgspec.json.Encoder().encode


class Checks:
    """The evaluation and search endpoints; `app` answers every other path."""

    def __init__(self, service: Service, app: ASGIApp) -> None:
        self._service = service
        self._judge = Judge(service)
        self._searches = Searches(service, self._judge)
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an evaluation or a search, or pass the request on."""
        http = cast("HTTPScope", scope)
        path = http["path"] if http["type"] == ScopeType.HTTP else ""
        if path not in PATHS:
            await self._app(scope, receive, send)
            return
        try:
            if http["method"] != "POST":
                status, headers, body = _not_allowed(http)
            else:
                service = self._service
                clock = service.inputs.monotonic
                began_seconds = clock()
                body, position = await self._answer(http, receive, path)
                service.measures.checks[_ENDPOINTS[path]].add(clock() - began_seconds)
                status = 200
                headers = [
                    (b"content-type", b"application/json"),
                    (b"content-length", b"%d" % len(body)),
                    (b"x-muniment-position", b"%d" % position),
                ]
        except _REFUSED as error:
            refused(self._service, http, error)
            self._service.measures.refused(error, None)
            status, headers, body = _refusal(error, http)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _answer(self, scope: HTTPScope, receive: Receive, path: str) -> tuple[bytes, int]:
        service = self._service
        service.require_ready()
        judged_at = service.state
        asker = _asker(service, scope)
        body = await read_body(receive, scope["headers"], rule=CHECKS)
        if not body:
            raise MalformedError("body.missing", "a JSON object is required")
        if path in searches.PATHS:
            walk = self._searches.read(path, body, asker)
            moment = await self._searches.moment(walk)
            asker = self._still(asker, judged_at, scope, moment)
            answer = await self._searches.answer(walk, asker, moment)
            await self._kept()
            return answer, moment.state.position
        batch: Batch | None = None
        if path == EVALUATION:
            question = decode_evaluation(body)
        else:
            batch = decode_batch(body)
            question = batch.defaults
            if len(batch.items) > ITEMS_MAX:
                raise MalformedError("batch.too_large", f"at most {ITEMS_MAX} evaluations")
            refuse_malformed(question)
        moment = await self._judge.moment(question.context)
        asker = self._still(asker, judged_at, scope, moment)
        if batch is None or not batch.items:
            answer = await self._single(asker, question, moment)
        else:
            items = await self._all(asker, batch, moment)
            answer = b'{"evaluations":[' + b",".join(items) + b"]}"
        await self._kept()
        return answer, moment.state.position

    async def _kept(self) -> None:
        """Wait for the record of what is about to be answered, where it is required."""
        if self._service.journal.required:
            await self._service.journal.settle()

    def _still(self, asker: Asker, judged_at: State, scope: HTTPScope, moment: Moment) -> Asker:
        """Answer who asks, after the request may have waited since the caller was judged."""
        service = self._service
        if service.state is not judged_at:
            # What came meanwhile may have ended the caller's right to be here.
            service.require_ready()
            asker = _asker(service, scope)
        return asker._replace(looks_back=True) if moment.past else asker

    async def _single(self, asker: Asker, evaluation: Evaluation, moment: Moment) -> bytes:
        judge = self._judge
        asked = judge.read(asker, evaluation, moment)
        allowed = judge.decide(asked, moment)
        service = self._service
        service.journal.decided(Decisions(asker, moment, ((asked, evaluation, allowed),)))
        service.measures.decisions[allowed] += 1
        if asked.explains:
            (explained,) = await self._explain(asker, [(asked, evaluation)], moment)
            return explained
        return _ALLOWED if allowed else _DENIED

    async def _all(self, asker: Asker, batch: Batch, moment: Moment) -> list[bytes]:
        """Judge the items in their order, each failing alone, until the semantic says stop."""
        stop = _STOPS.get(batch.semantic)
        judge, defaults = self._judge, batch.defaults
        # Whoever may ask about the whole tenant is asked for that once.
        asker = asker.remembering()
        answers: list[bytes] = []
        decided: list[Decided] = []
        explained: dict[int, tuple[Asked, Evaluation]] = {}
        for item in batch.items:
            allowed = False
            try:
                if isinstance(item, msgspec.MsgspecError):
                    raise item
                evaluation = with_defaults(item, defaults)
                asked = judge.read(asker, evaluation, moment)
                if asked.explains:
                    _require_few(explained)
                    explained[len(answers)] = asked, evaluation
                allowed = judge.decide(asked, moment)
                decided.append((asked, evaluation, allowed))
                answers.append(_ALLOWED if allowed else _DENIED)
            except (DomainError, RequestError, msgspec.MsgspecError) as error:
                answers.append(_encode(failed(error)))
            if allowed is stop:
                break
        self._service.journal.decided(Decisions(asker, moment, decided))
        self._service.measures.decided(decided)
        if explained:
            reasons = await self._explain(asker, [*explained.values()], moment)
            for index, reason in zip(explained, reasons, strict=True):
                answers[index] = reason
        return answers

    async def _explain(
        self, asker: Asker, questions: list[tuple[Asked, Evaluation]], moment: Moment
    ) -> list[bytes]:
        """Answer the decisions with their reasons, worked out beside the loop."""
        judge = self._judge
        known = [
            (
                asked,
                typed_subject(evaluation),
                judge.sight(asker, asked.tenant, asked.subject, moment.asked),
                judge.token_leaves(asked, moment),
            )
            for asked, evaluation in questions
        ]
        return await asyncio.to_thread(
            lambda: [
                _encode(explain(asked, typed, moment, sight, token_usable=token_usable))
                for asked, typed, sight, token_usable in known
            ]
        )


def _asker(service: Service, scope: HTTPScope) -> Asker:
    """Answer who asks; a check is authenticated by an API token and nothing else."""
    scheme, text = credential(scope)
    if scheme != b"bearer":
        raise AuthenticationError(
            "auth.required", "a check needs an API token", presented=bool(scheme)
        )
    token = bearer(service, text.decode("latin-1"), scope)
    return Asker(token.owner, token, client_address(scope), _request_id(scope))


def _require_few(explained: Collection[object]) -> None:
    if len(explained) >= EXPLAINED_MAX:
        raise MalformedError(
            "batch.too_large", f"at most {EXPLAINED_MAX} items of a request are explained"
        )


def failed(error: Exception) -> FailedItem:
    """Answer the deny of an item that failed alone."""
    status = 403 if isinstance(error, ForbiddenError) else 400
    detail = getattr(error, "detail", "") or "the item is malformed"
    return FailedItem(context=ItemContext(error=ItemError(status, detail)))


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
