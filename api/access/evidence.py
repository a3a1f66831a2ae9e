"""Which file proves offline what somebody could do, since when, and by whose acts?

A pack holds the events, their proofs, the answers and its own verifier. It is an export of the
trail, so it needs AUDITLOG:EXPORT besides the right to ask about others; events of the
installation that concern an account are told to a tenant without their content.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import UNSET, Struct

from api import listing, proofs
from api.access.blame import subject_of
from api.access.compare import moment_of
from api.access.walks import word
from api.access.who_can import question_of
from api.call import POSITION_HEADER, Call, needs
from api.iam import principals
from api.journal import read_trail
from api.judging import Judge
from api.pacing import paced
from api.questions import NO_RESOURCE
from api.request_errors import MalformedError, UnavailableError
from domain import access
from domain.access import Question
from domain.errors import NotFoundError
from domain.events import decode
from domain.ids import TenantId, UserId
from domain.permissions import Permission
from domain.principals import TenantAccessGranted
from domain.scopes import ancestors
from projections import evidence, evidence_pack, evidence_verifier, journal_parts, transparency
from projections.blame import TooMuchError
from projections.comparing import Moment
from projections.evidence import Json
from projections.evidence_pack import Pack, Proved, Signature
from projections.transparency import TreeProof

if TYPE_CHECKING:
    from domain.events import Fact, Record
    from domain.ids import PrincipalId
    from domain.state import State
    from projections.access_delta import Pace

EVENTS_MAX: Final = 10_000
ZIP: Final = "application/zip"
_HINT: Final = "ask about a principal, an earlier position or a shorter interval"
_ROUTE: Final[dict[str, Any]] = {
    "answers": (ZIP,),
    "looks_back": True,
    **needs(Permission("AUDITLOG", "EXPORT")),
}

_NUMBER: Final = re.compile(r"[1-9][0-9]{0,17}\Z")

_log = logging.getLogger("muniment.evidence")


class _About(Struct, frozen=True, kw_only=True):
    """What a pack tells of: rights and their history of a subject, or of all between two moments.

    `recorded` is what the journal says was decided.
    """

    kind: str
    end: Moment
    begin: Moment | None = None
    subject: PrincipalId | None = None
    question: Question | None = None
    recorded: bool | None = None


class _Material(Struct, frozen=True, kw_only=True):
    """The events that are shown or told, with their records, and the answers."""

    facts: tuple[tuple[Fact, bool], ...]
    records: tuple[Record, ...]
    answers: tuple[Json, ...]


# Routes


@get(
    "/{tenant:str}/access/evidence/decision",
    opt=_ROUTE,
    operation_id="getDecisionEvidence",
    summary="A file that proves a decision offline",
    tags=["access"],
)
async def decision(tenant: FromPath[str], call: NamedDependency[Call]) -> Response[bytes]:
    """Prove what a check answered: one of the journal by its `number`, or any by what it asks.

    Needs ACCESS:CHECK and ACCESS:EXPLAIN in the tenant as well.
    """
    _require_may_ask(call)
    home = TenantId(tenant)
    number = call.parameter("number")
    if number is not None:
        return await _answer(call, await _recorded(call, home, number))
    about = _About(
        kind="decision",
        end=_now(call),
        subject=_subject(call, home),
        question=question_of(call, home),
    )
    return await _answer(call, about)


@get(
    "/{tenant:str}/access/evidence/principal",
    opt=_ROUTE,
    operation_id="getPrincipalEvidence",
    summary="A file that proves offline what a principal may do, and since when",
    tags=["access"],
)
async def principal(tenant: FromPath[str], call: NamedDependency[Call]) -> Response[bytes]:
    """Prove all rights of a user or service account, by id or name, and how they came to be.

    Needs ACCESS:CHECK and ACCESS:EXPLAIN in the tenant as well.
    """
    _require_may_ask(call)
    subject = _subject(call, TenantId(tenant))
    return await _answer(call, _About(kind="principal", end=_now(call), subject=subject))


@get(
    "/{tenant:str}/access/evidence/interval",
    opt=_ROUTE,
    operation_id="getIntervalEvidence",
    summary="A file that proves offline who could do what at two moments, and what came between",
    tags=["access"],
)
async def interval(tenant: FromPath[str], call: NamedDependency[Call]) -> Response[bytes]:
    """Prove the rights of all who had access at `from` and at `to`, positions or instants.

    Needs ACCESS:CHECK and ACCESS:EXPLAIN in the tenant as well.
    """
    del tenant
    _require_may_ask(call)
    if call.past:
        raise MalformedError("position.invalid", "the moments are named by from and to")
    begin = await moment_of(call, "from", word(call.parameter("from"), "from"))
    end = await moment_of(call, "to", call.parameter("to"))
    if begin.state.position > end.state.position:
        raise MalformedError("compare.order", "from must not be later than to")
    return await _answer(call, _About(kind="interval", begin=begin, end=end))


# What is asked


def _require_may_ask(call: Call) -> None:
    judge, asked = Judge(call.service), call.service.inputs.timestamp()
    for asking in ("CHECK", "EXPLAIN"):
        judge.require_may_ask(call.asker, asking, call.tenant, None, None, asked)


def _now(call: Call) -> Moment:
    return Moment(call.state, call.clock.timestamp())


def _subject(call: Call, tenant: TenantId) -> PrincipalId:
    type_, text = word(call.parameter("type"), "type"), word(call.parameter("id"), "id")
    return subject_of(call, tenant, type_, text)


async def _recorded(call: Call, tenant: TenantId, text: str) -> _About:
    """Answer what a decision of the tenant's journal was about: 404 `evidence.unknown`."""
    kept = call.service.journal
    await kept.settle()
    number = int(text) if _NUMBER.match(text) else 0
    entry = await kept.ask(journal_parts.decision, str(tenant), number)
    if entry is None:
        raise NotFoundError("evidence.unknown", f"the journal has no decision {text}")
    if entry.subject is None or entry.subject_type == "group" or not entry.resource_type:
        raise MalformedError("evidence.unsupported", "this was not about a principal")
    if entry.detail is not None:
        # It names a token by which the decision was narrowed, and tokens stand in no pack.
        raise MalformedError("evidence.unsupported", "this was decided for a token")
    at = entry.clock or entry.at
    resource = None
    if entry.resource_id not in {None, NO_RESOURCE}:
        resource = (entry.resource_type, str(entry.resource_id))
    question = Question(
        tenant,
        entry.resource_type,
        str(entry.action),
        ancestors(entry.namespace) if entry.namespace else (),
        resource,
    )
    return _About(
        kind="decision",
        end=Moment(await call.service.state_at(entry.position), at.timestamp()),
        subject=UserId(entry.subject),
        question=question,
        recorded=entry.outcome == "ALLOWED",
    )


# The pack


async def _answer(call: Call, about: _About) -> Response[bytes]:
    service, until = call.service, about.end.state.position
    signed = await proofs.covering(service, until)
    positions = await _positions(call, about)
    pace = paced(service, "evidence.too_large", _HINT)
    async with service.exports.turn:
        found = await asyncio.to_thread(_material, call, about, positions, pace)
        proved = await proofs.ask(
            service, signed.size, _proofs, [one.position for one in found.records], signed.size
        )
        keys = await service.evidence.keys()
        signature = Signature(
            origin=signed.origin,
            checkpoint=signed.note,
            keys=tuple(str(key.verifier) for key in keys if key.verifier.name == signed.origin),
        )
        members = await asyncio.to_thread(_members, call, about, found, proved, signature)
        note = await service.evidence.note(evidence_pack.manifest(members, signed.origin))
        file = await asyncio.to_thread(_verified, evidence_pack.sealed(members, note), signature)
    # It took a while, in which the caller's token may have been revoked.
    call.require_still()
    await read_trail(call, "audit_export", results=len(found.records), stream="evidence")
    name = f"evidence-{about.kind}-{call.tenant}-{until}.zip"
    headers = {
        "content-disposition": f'attachment; filename="{name}"',
        POSITION_HEADER.lower(): str(until),
    }
    return Response(file, media_type=ZIP, headers=headers)


async def _positions(call: Call, about: _About) -> list[int]:
    until = about.end.state.position
    try:
        if about.subject is not None:
            return await listing.ask(
                call, evidence.of_principal, call.tenant, about.subject, until, EVENTS_MAX
            )
        after = about.begin.state.position if about.begin else 0
        return await listing.ask(call, evidence.of_tenant, call.tenant, after, until, EVENTS_MAX)
    except TooMuchError:
        raise MalformedError(
            "evidence.too_large", f"more than {EVENTS_MAX} events are concerned; {_HINT}"
        ) from None


def _material(call: Call, about: _About, positions: Sequence[int], pace: Pace) -> _Material:
    """Answer events and answers; called off the loop. Raises NotFoundError `principal.unknown`."""
    tenant = call.tenant
    sees_all = access.is_unbounded_owner(call.service.state, principals.context(call))
    records = call.service.records.at(positions)
    facts = [(decode(record), record) for record in records]
    seen = [
        (fact, record, is_shown)
        for fact, record in facts
        if (is_shown := evidence_pack.visible(fact, tenant, everything=sees_all)) is not None
    ]
    told = [fact for fact, _, _ in seen]
    if about.subject is not None:
        _require_concerned(told, about.subject)
        answers = _of_subject(tenant, about, about.subject, told, pace)
    else:
        answers = _of_all(tenant, about, pace)
    return _Material(
        facts=tuple((fact, is_shown) for fact, _, is_shown in seen),
        records=tuple(record for _, record, _ in seen),
        answers=tuple(answers),
    )


def _require_concerned(facts: Sequence[Fact], subject: PrincipalId) -> None:
    """Refuse one who never had access to the tenant as unknown there (security 2.3)."""
    events = (fact.envelope.event for fact in facts)
    if not any(isinstance(one, TenantAccessGranted) and one.principal == subject for one in events):
        raise NotFoundError("principal.unknown", "this principal never had access to the tenant")


def _of_subject(
    tenant: TenantId, about: _About, subject: PrincipalId, facts: Sequence[Fact], pace: Pace
) -> list[Json]:
    state, now = about.end
    asked = {} if about.question is None else {"question": _question_form(about.question)}
    common = {"subject": subject, **asked, **_moment_form(about.end)}
    found = evidence.rights(state, tenant, subject, now, about.question)
    if about.recorded not in {None, bool(found)}:
        raise MalformedError("evidence.unsupported", "the events do not amount to what was decided")
    past = evidence.history(facts, tenant, subject, now, about.question, pace)
    answers: list[Json] = [
        {"kind": "rights", **common, "answer": found},
        {"kind": "history", **common, "answer": past},
    ]
    if about.question is not None:
        every = evidence.rights(state, tenant, subject, now)
        whole = {"subject": subject, **_moment_form(about.end)}
        answers.append({"kind": "rights", **whole, "answer": every})
    return answers


def _of_all(tenant: TenantId, about: _About, pace: Pace) -> list[Json]:
    answers: list[Json] = []
    for moment in (about.begin, about.end):
        if moment is not None:
            for subject in sorted(
                one for one, held in moment.state.access.items() if tenant in held
            ):
                pace()
                found = evidence.rights(moment.state, tenant, UserId(subject), moment.now)
                told = {"subject": subject, **_moment_form(moment)}
                answers.append({"kind": "rights", **told, "answer": found})
    return answers


def _members(
    call: Call,
    about: _About,
    found: _Material,
    proved: Sequence[TreeProof],
    signature: Signature,
) -> dict[str, bytes]:
    subject, question = about.subject, about.question
    pack = Pack(
        kind=about.kind,
        tenant=call.tenant,
        log_id=about.end.state.log_id,
        made_at=_instant(call.service.inputs.timestamp()),
        made_by=call.caller.principal,
        subject=UNSET if subject is None else subject,
        question=UNSET if question is None else _question_form(question),
        allowed=UNSET if question is None else bool(found.answers[0]["answer"]),
        begin=UNSET if about.begin is None else _moment_form(about.begin),
        end=_moment_form(about.end),
        complete=()
        if about.begin is None
        else (about.begin.state.position, about.end.state.position),
    )
    lines = [
        evidence_pack.event_line(Proved(record, proof.hashes), is_shown=is_shown)
        for record, proof, (_, is_shown) in zip(found.records, proved, found.facts, strict=True)
    ]
    names = _names(about.end.state, call.tenant)
    is_erased = call.service.vault.is_erased
    page = evidence_pack.page(pack, found.answers, found.facts, names, is_erased)
    return evidence_pack.members(pack, found.answers, lines, page, signature)


def _verified(file: bytes, signature: Signature) -> bytes:
    """Answer the file, which its own verifier has judged: none is given out that fails."""
    try:
        evidence_verifier.verify(file, signature.keys)
    except evidence_verifier.RefusedError as fault:
        _log.error("an evidence pack does not verify", extra={"reason": str(fault)})
        raise UnavailableError("evidence.unprovable", 1) from fault
    return file


def _proofs(connection: Any, positions: Sequence[int], size: int) -> list[TreeProof]:  # noqa: ANN401 - a connection of the views
    return [transparency.inclusion(connection, position - 1, size) for position in positions]


def _names(state: State, tenant: TenantId) -> dict[str, str]:
    """Answer the names of the tenant's groups, roles and programs; people are told by id alone."""
    named: dict[str, str] = {
        one.id: one.name
        for table in (state.groups, state.roles)
        for one in table.values()
        if one.tenant == tenant
    }
    accounts = state.service_accounts.values()
    named.update({one.id: one.name for one in accounts if tenant in state.access.get(one.id, ())})
    return named


def _question_form(question: Question) -> Json:
    form: Json = {"type": question.type, "action": question.action}
    if question.namespaces:
        form["namespace"] = question.namespaces[0]
    if question.resource is not None:
        form["resource"] = {"type": question.resource[0], "id": question.resource[1]}
    return form


def _moment_form(moment: Moment) -> Json:
    return {"position": moment.state.position, "at": _instant(moment.now)}


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


ROUTES: Final[list[Any]] = [decision, principal, interval]
