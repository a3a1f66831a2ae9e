"""What does an outsider need to prove that the log was not changed? (transparency-log 4).

Signed checkpoints, the keys to judge them by, and proofs that an event is in the log and that the
log continues an earlier one. Hashes tell nothing, so any caller may have them, or everybody, by a
setting; an event's own bytes are for those who may see it in the audit trail.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import UNSET

from api import cursors
from api.call import OPEN, POSITION_HEADER, SELF, Answer, Call, position_parameter
from api.evidence import Origin, Signed
from api.journal import read_trail
from api.proof_forms import (
    CheckpointForm,
    CheckpointPage,
    ConsistencyForm,
    FormerOriginForm,
    InclusionForm,
    KeyForm,
    KeysForm,
)
from api.request_errors import (
    MalformedError,
    NotSealedError,
    UnavailableError,
)
from domain import access, commands
from domain.errors import InvalidError, NotFoundError
from domain.events import Record, decode
from domain.ids import CommandId
from domain.permissions import Permission
from projections import transparency
from projections.transparency import BehindError
from projections.verifier import InclusionProof, ProofError, entry_of
from projections.views import UnreachableError

if TYPE_CHECKING:
    from api.query import Query
    from api.service import Service

P = ParamSpec("P")
T = TypeVar("T")

LIMIT: Final = 100
LIMIT_MAX: Final = 1_000
TEXT: Final = "text/plain"
BYTES: Final = "application/octet-stream"

_VIEW: Final = Permission("AUDITLOG", "VIEW")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,17}\Z")

AnyRequest = Request[Any, Any, Any]


# Routes


def routes(service: Service) -> list[Any]:
    """Answer the routes below the base path; those about hashes are open where the setting says."""
    gate = OPEN if service.settings.public_checkpoints else SELF
    return [
        _checkpoint(service, gate),
        _checkpoints(service, gate),
        _keys(service, gate),
        _inclusion(service, gate),
        _consistency(service, gate),
        entry,
        proof,
    ]


def _checkpoint(service: Service, gate: dict[str, Any]) -> Any:  # noqa: ANN401 - a route handler
    @get(
        "/audit/checkpoint",
        opt={**gate, "answers": (TEXT,)},
        operation_id="getCheckpoint",
        summary="The newest signed checkpoint, or an earlier one",
        tags=["proofs"],
    )
    async def checkpoint(request: AnyRequest) -> Response[bytes]:
        size = position_parameter(_query(request), "size")
        if size is not None:
            signed = await service.evidence.of_size(size)
            if signed is None:
                raise NotFoundError("checkpoint.unknown", f"no checkpoint of size {size}")
        else:
            signed = await covering(service, 1)
        return _raw(service, signed.note.encode(), TEXT)

    return checkpoint


def _checkpoints(service: Service, gate: dict[str, Any]) -> Any:  # noqa: ANN401 - a route handler
    @get(
        "/audit/checkpoints",
        opt=gate,
        operation_id="listCheckpoints",
        summary="List signed checkpoints of every origin, newest first",
        tags=["proofs"],
    )
    async def checkpoints(request: AnyRequest) -> Response[CheckpointPage]:
        limit, before = _page(service, request)
        # One more than is shown tells whether there is more to come.
        found = await service.evidence.listed(before, limit + 1)
        shown = found[:limit]
        page = CheckpointPage(
            items=tuple(map(_checkpoint_form, shown)),
            next_cursor=UNSET
            if len(found) == len(shown)
            else _cursor(service, request, shown[-1].number, limit),
            sealed_through=service.evidence.sealed_through,
        )
        return _answer(service, page)

    return checkpoints


def _keys(service: Service, gate: dict[str, Any]) -> Any:  # noqa: ANN401 - a route handler
    @get(
        "/audit/keys",
        opt=gate,
        operation_id="listVerifierKeys",
        summary="The keys by which checkpoints are judged",
        tags=["proofs"],
    )
    async def keys() -> Response[KeysForm]:
        evidence = service.evidence
        *former, present = await evidence.origins()
        continued = [*former, present][1:]
        forms = KeysForm(
            origin=present.name,
            keys=tuple(
                KeyForm(
                    verifier_key=str(key.verifier), since=key.since, retired=key.retired or UNSET
                )
                for key in await evidence.keys()
            ),
            former=tuple(
                [
                    _former(origin, after, await evidence.last(origin.name))
                    for origin, after in zip(former, continued, strict=True)
                ]
            ),
        )
        return _answer(service, forms)

    return keys


def _inclusion(service: Service, gate: dict[str, Any]) -> Any:  # noqa: ANN401 - a route handler
    @get(
        "/audit/proofs/inclusion",
        opt=gate,
        operation_id="getInclusionProof",
        summary="Prove that a leaf is in the tree of the log",
        tags=["proofs"],
    )
    async def inclusion(request: AnyRequest) -> Response[InclusionForm]:
        query = _query(request)
        index = _required(position_parameter(query, "index"), "index")
        size = position_parameter(query, "size")
        if size is None:
            size = (await covering(service, index + 1)).size
        if index >= size:
            raise MalformedError("proof.range", "the index must be below the size")
        await covering(service, size)
        proved = await ask(service, size, transparency.inclusion, index, size)
        form = InclusionForm(
            index=index,
            size=size,
            leaf_hash=_base64(proved.begin),
            hashes=tuple(map(_base64, proved.hashes)),
            root=_base64(proved.root),
        )
        return _answer(service, form)

    return inclusion


def _consistency(service: Service, gate: dict[str, Any]) -> Any:  # noqa: ANN401 - a route handler
    @get(
        "/audit/proofs/consistency",
        opt=gate,
        operation_id="getConsistencyProof",
        summary="Prove that the log continues an earlier one",
        tags=["proofs"],
    )
    async def consistency(request: AnyRequest) -> Response[ConsistencyForm]:
        query = _query(request)
        begin = _required(position_parameter(query, "from"), "from")
        end = position_parameter(query, "to")
        if begin == 0:
            raise MalformedError("proof.from_zero", "nothing can be proved from the empty tree")
        if end is None:
            end = (await covering(service, begin)).size
        if begin > end:
            raise MalformedError("proof.range", "from must not be above to")
        await covering(service, end)
        proved = await ask(service, end, transparency.consistency, begin, end)
        form = ConsistencyForm(
            size_from=begin,
            size_to=end,
            hashes=tuple(map(_base64, proved.hashes)),
            root_from=_base64(proved.begin),
            root_to=_base64(proved.root),
        )
        return _answer(service, form)

    return consistency


@get(
    "/audit/events/{position:str}/entry",
    opt={**SELF, "answers": (BYTES,)},
    operation_id="getEventEntry",
    summary="An event as it stands in the tree: topic, line feed, stored bytes",
    description="Needs AUDITLOG:VIEW in the event's tenant; of others an instance owner.",
    tags=["proofs"],
)
async def entry(position: FromPath[str], call: NamedDependency[Call]) -> Response[bytes]:
    record = await _visible(call, position)
    await read_trail(call, "audit_read", position=record.position)
    return _raw(call.service, entry_of(record.topic, record.state), BYTES)


@get(
    "/audit/events/{position:str}/proof",
    opt={**SELF, "answers": (TEXT,)},
    operation_id="getEventProof",
    summary="A file that proves an event, together with its entry and a verifier key",
    description="Needs AUDITLOG:VIEW in the event's tenant; of others an instance owner.",
    tags=["proofs"],
)
async def proof(position: FromPath[str], call: NamedDependency[Call]) -> Response[bytes]:
    record = await _visible(call, position)
    signed = await covering(call.service, record.position)
    index = record.position - 1
    proved = await ask(call.service, signed.size, transparency.inclusion, index, signed.size)
    file = InclusionProof(index, proved.hashes, signed.note).text
    return _raw(call.service, file.encode(), TEXT)


# What they have in common


async def covering(service: Service, size: int) -> Signed:
    """Answer a checkpoint that covers a size: 404 `proof.not_sealed` where there is none yet."""
    signed = await service.evidence.last()
    if signed is None or signed.size < size:
        try:
            await service.reach(size, stranger=service.settings.public_checkpoints)
            await service.reach_views(size)
        except UnavailableError:
            raise NotSealedError from None
        signed = await service.evidence.covering(size)
    if signed is None or signed.size < size:
        raise NotSealedError
    return signed


async def ask(
    service: Service,
    size: int,
    query: Callable[Concatenate[Any, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Answer what is asked of the tree; 503 where it is not there yet, 400 for what is no proof."""
    await service.reach_views(size)
    try:
        return await service.views.ask(query, *args, **kwargs)
    except BehindError as fault:
        raise UnavailableError("views.behind", 1) from fault
    except UnreachableError as fault:
        raise UnavailableError("store.unreachable", 1) from fault
    except ProofError as fault:
        raise MalformedError(fault.code, fault.detail) from fault


async def _visible(call: Call, text: str) -> Record:
    """Answer the record at a position, if there is one whose tenant's trail the caller may see."""
    position = int(text) if _NUMBER.match(text) else 0
    record = await call.service.evidence.record(position) if position else None
    unknown = NotFoundError("auditlog.unknown", f"no event {text}")
    if record is None:
        raise unknown
    state = call.service.state
    context = commands.Context(
        at=call.service.inputs.now(),
        actor=call.caller.actor,
        command_id=CommandId(""),
        correlation_id=call.request_id,
    )
    tenant = decode(record).envelope.tenant
    if not access.is_unbounded_owner(state, context):
        if tenant is UNSET or not access.sees_tenant(state, context, tenant, past=True):
            raise unknown
        commands.require_permission(state, context, tenant, _VIEW)
    return record


def _query(request: AnyRequest) -> Query:
    query: Query = request.scope["state"]["query"]
    return query


def _required(number: int | None, name: str) -> int:
    if number is None:
        raise MalformedError("query.invalid", f"{name} is required")
    return number


def _page(service: Service, request: AnyRequest) -> tuple[int, int | None]:
    """Answer how many checkpoints are asked for, and before which one."""
    parameters = dict(_query(request))
    limit = position_parameter(_query(request), "limit")
    limit = LIMIT if limit is None else limit
    if not 1 <= limit <= LIMIT_MAX:
        raise InvalidError("page.invalid", f"limit must be from 1 to {LIMIT_MAX}")
    token = parameters.get("cursor")
    if token is None:
        return limit, None
    cursor = cursors.unseal(service.vault.cursor_key, token, _walk(request))
    return limit, int(cursor.last)


def _cursor(service: Service, request: AnyRequest, number: int, limit: int) -> str:
    cursor = cursors.Cursor(
        position=service.state.position,
        now=service.inputs.timestamp(),
        last=str(number),
        limit=limit,
    )
    return cursors.seal(service.vault.cursor_key, cursor, _walk(request))


def _walk(request: AnyRequest) -> bytes:
    """Answer what a cursor is bound to: the route, and the caller where there is one."""
    call: Call | None = request.scope["state"].get("call")
    caller = "" if call is None else str(call.caller.principal)
    return f"checkpoints {caller}".encode()


def _former(origin: Origin, after: Origin, last: Signed | None) -> FormerOriginForm:
    return FormerOriginForm(
        origin=origin.name,
        ended=after.begun,
        equal_through=after.continues_from,
        checkpoint=UNSET if last is None else last.note,
    )


def _checkpoint_form(signed: Signed) -> CheckpointForm:
    return CheckpointForm(
        origin=signed.origin,
        size=signed.size,
        root=_base64(signed.root),
        signed_at=signed.at,
        checkpoint=signed.note,
    )


def _answer(service: Service, body: T) -> Response[T]:
    return Answer(body, 200, _headers(service))


def _raw(service: Service, content: bytes, media_type: str) -> Response[bytes]:
    headers = {name.decode(): value.decode() for name, value in _headers(service)}
    return Response(content, media_type=media_type, headers=headers)


def _headers(service: Service) -> tuple[tuple[bytes, bytes], ...]:
    return ((POSITION_HEADER.lower().encode(), b"%d" % service.state.position),)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
