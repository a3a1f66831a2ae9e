"""May all of these subjects do all of that? Thousands of questions at one position and instant.

In one body, or a line for each; judged as every check, a slice at a time, so that others are
answered in between. The caller is judged anew for each slice: whose right ends is told no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import UNSET, Raw, Struct, UnsetType

from api.access.lines import LINE_BYTES_MAX, LineReader, Lines
from api.call import ACCESS, POSITION_HEADER, Call
from api.checks import ItemContext, failed
from api.decoding import BULK, LINES, BodyError, guard_json, type_of_pieces
from api.journal import Decided, Decisions
from api.judging import Judge
from api.query import refuse_token
from api.questions import (
    Action,
    Circumstances,
    Evaluation,
    Resource,
    Subject,
    decode_evaluation,
    given,
    refuse_malformed,
    with_defaults,
)
from api.request_errors import MalformedError, RequestError
from domain.errors import DomainError, FieldFault, ForbiddenError, InvalidError
from domain.ids import TenantId

if TYPE_CHECKING:
    from api.judging import Asker, Moment

T = TypeVar("T")

ITEMS_MAX: Final = 10_000
LINES_MAX: Final = 1_000_000
SLICE_ITEMS: Final = 500

# Shapes


class BulkRequest(Struct, Generic[T], frozen=True, forbid_unknown_fields=True):
    """Questions; what is missing in one is taken from the request, whole, nothing is merged."""

    items: list[T]
    subject: Subject | UnsetType = UNSET
    action: Action | UnsetType = UNSET
    resource: Resource | UnsetType = UNSET
    context: Circumstances | UnsetType = UNSET


class DecisionForm(Struct, frozen=True):
    """A decision and nothing else; for a question that failed alone a deny, with why."""

    decision: bool
    context: ItemContext | UnsetType = UNSET


class DecisionsForm(Struct, frozen=True):
    """A decision for each question, in their order."""

    items: list[DecisionForm]


_ALLOWED: Final = DecisionForm(decision=True)
_DENIED: Final = DecisionForm(decision=False)
_NO_DEFAULTS: Final = Evaluation()
_FAILS_ALONE: Final = (DomainError, RequestError, BodyError, msgspec.MsgspecError, RecursionError)

Item = Evaluation | Exception

_decode: Final = msgspec.json.Decoder(BulkRequest[Raw]).decode
_encode_lines: Final = msgspec.json.Encoder().encode_lines


@post(
    "/{tenant:str}/access/check-bulk",
    status_code=200,
    opt={**ACCESS, "reads": True, "media": BULK, "lines": True},
    operation_id="checkInBulk",
    summary="Decide thousands of questions at one position and instant",
    tags=["access"],
)
async def check_bulk(
    tenant: FromPath[str], request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> Response[DecisionsForm]:
    """Decide up to 10,000 questions in one body, or up to a million, each in a line of its own.

    All of them are about the tenant of the path. Asking about others than oneself needs
    ACCESS:CHECK at the place that a question names. Lines are answered as they come.
    """
    scope = request.scope
    # A body that came with a cookie is read whole and by the strictest rule there is.
    by_cookie = call.caller.cookie is not None
    if not by_cookie and type_of_pieces(scope["headers"], BULK) == LINES:
        scope["state"]["streams"] = True
        return await _stream(LineReader(request.receive), _Desk(call, TenantId(tenant)))
    asked, items = _read(await request.body())
    desk = _Desk(call, TenantId(tenant), asked)
    answers: list[DecisionForm] = []
    for some in _slices(items):
        answers += desk.answers(_decoded(bytes(item)) for item in some)
        await desk.kept()
    return call.answer(DecisionsForm(answers))


# One body


def _read(body: bytes) -> tuple[Evaluation, list[Raw]]:
    """Answer what holds for all questions, and the questions, which are decoded by and by."""
    if not body:
        raise MalformedError("body.missing", "a JSON object is required")
    request = _decode(body)
    if len(request.items) > ITEMS_MAX:
        fault = FieldFault("items", f"must be at most {ITEMS_MAX}", "batch.too_large")
        raise InvalidError("batch.too_large", f"items {fault.detail}", fields=(fault,))
    context = request.context
    if context is not UNSET and (given(context.at_least), given(context.as_of)) != (None, None):
        raise MalformedError("context.invalid", "the moment stands in the query here")
    asked = Evaluation(request.subject, request.action, request.resource, context)
    refuse_malformed(asked)
    return asked, request.items


def _slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for begin in range(0, len(items), SLICE_ITEMS):
        yield items[begin : begin + SLICE_ITEMS]


# Lines


async def _stream(reader: LineReader, desk: _Desk) -> Response[Any]:
    """Answer lines by lines; what is wrong before the first is told as everywhere."""
    pieces = reader.pieces()
    async for first in pieces:
        if first:
            headers = (
                (b"content-type", LINES.encode()),
                (POSITION_HEADER.lower().encode(), b"%d" % desk.position),
            )
            return Lines(_answered(first, pieces, desk), headers)
    raise MalformedError("body.missing", "a line for each question is required")


async def _answered(
    first: list[bytes | None], pieces: AsyncIterator[list[bytes | None]], desk: _Desk
) -> AsyncIterator[bytes]:
    left = LINES_MAX
    piece = first
    while True:
        for some in _slices(piece[:left]):
            answers = desk.answers(_decoded_lines(some))
            await desk.kept()
            yield _encode_lines(answers)
        left -= len(piece)
        if left < 0:
            raise BodyError(413, "batch.too_large", f"at most {LINES_MAX} lines are read")
        try:
            piece = await anext(pieces)
        except StopAsyncIteration:
            return


def _decoded_lines(lines: Sequence[bytes | None]) -> Iterable[Item]:
    """Decode lines that are guarded in one go, and where one is at fault each by itself.

    As long as all before it are JSON, the guard of the whole judges a line rightly.
    """
    sound = [line for line in lines if line is not None]
    whole = b"\n".join(sound)
    if len(sound) == len(lines) and b"mun" not in whole:
        try:
            guard_json(whole, BULK.nodes_max)
            return [decode_evaluation(line) for line in sound]
        except (BodyError, msgspec.MsgspecError):
            pass
    return [_decoded_line(line) for line in lines]


def _decoded_line(line: bytes | None) -> Item:
    if line is None:
        return MalformedError("body.too_large", f"a line has at most {LINE_BYTES_MAX} bytes")
    try:
        guard_json(line)
        refuse_token(line.decode() if b"mun" in line else "")
    except (BodyError, MalformedError) as error:
        return error
    return _decoded(line)


def _decoded(item: bytes) -> Item:
    try:
        return decode_evaluation(item)
    except (msgspec.MsgspecError, RecursionError) as error:
        return error


# Judging


class _Desk:
    """Answers the questions of one request, all at one moment."""

    def __init__(self, call: Call, tenant: TenantId, asked: Evaluation = _NO_DEFAULTS) -> None:
        self._call = call
        self._tenant = tenant
        self._asked = asked
        self._judge = Judge(call.service)
        self._lasting = self._judge.lasting(call.state, call.clock.timestamp())
        self.position = call.state.position

    def answers(self, items: Iterable[Item]) -> list[DecisionForm]:
        """Judge a slice; raises where the caller may be here no more."""
        self._call.require_still()
        moment, asker = self._lasting.moment(), self._call.asker.remembering()
        decided: list[Decided] = []
        answers = [self._answer(item, asker, moment, decided) for item in items]
        self._call.service.journal.decided(Decisions(asker, moment, decided))
        self._call.service.measures.decided(decided)
        return answers

    async def kept(self) -> None:
        """Let others be answered; and wait for the records of a slice where they are required."""
        if self._call.service.journal.required:
            await self._call.service.journal.settle()
        await asyncio.sleep(0)

    def _answer(
        self, item: Item, asker: Asker, moment: Moment, decided: list[Decided]
    ) -> DecisionForm:
        judge = self._judge
        try:
            if isinstance(item, Exception):
                raise item
            question = with_defaults(item, self._asked)
            asked = judge.read(asker, question, moment, self._tenant)
            if asked.tenant != self._tenant:
                raise ForbiddenError(
                    "permission.denied", "asking about others needs ACCESS:CHECK there"
                )
            if asked.explains:
                raise MalformedError("context.invalid", "explanations are given one by one")
            allowed = judge.decide(asked, moment)
        except _FAILS_ALONE as error:
            return DecisionForm(decision=False, context=failed(error).context)
        decided.append((asked, question, allowed))
        return _ALLOWED if allowed else _DENIED


ROUTES: Final[list[Any]] = [check_bulk]
