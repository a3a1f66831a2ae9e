"""What does a request leave in the journal, and in which words?

Every decision, sign-in, failure, refusal and reading of the trail passes here on its way to
`service.journal`, in both worlds, Litestar's routes and the hot endpoints. A decision goes there by
names for what is there already; whoever keeps it in full has its row made of them.
No secret goes in, and no person's e-mail: what was typed in the place of one is kept as its index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar, cast

import msgspec
from msgspec import Struct

from api.questions import typed_subject
from api.request_errors import (
    AuthenticationError,
    MisshapenTokenError,
    UnavailableError,
    WrongPasswordError,
)
from domain import access
from domain.errors import DomainError, ForbiddenError
from domain.token_text import digest, redact
from projections.journal import ACCOUNT, EVALUATE, INDEXED, Entry, Kind, LastUse, Row

if TYPE_CHECKING:
    from litestar.types import HTTPScope

    from api.authentication import Caller
    from api.call import Call
    from api.judging import Asked, Asker, Moment
    from api.questions import Evaluation
    from api.service import Service
    from domain.access import Question
    from domain.ids import SubjectId, TenantId
    from domain.state import State

T = TypeVar("T")

SEARCH: Final = "access.search"
_ALLOWED: Final = "allowed"
TEXT_CHARACTERS_MAX: Final = 256

# By the segments of the paths.
_NOUNS: Final = {
    "auditlogs": "AUDITLOG",
    "bindings": "BINDING",
    "groups": "GROUP",
    "me": "USER",
    "roles": "ROLE",
    "service-accounts": "SERVICE_ACCOUNT",
    "tenant-access": "TENANT_ACCESS",
    "tenants": "TENANT",
    "users": "USER",
}

# Refusals of a credential that has been told apart, before it is known who calls.
_OF_CREDENTIALS: Final = frozenset({"token.address", "csrf", "impersonation.unsupported"})
_encode: Final = msgspec.json.Encoder().encode


# A question with its words looked up, the same as it was written, and the answer: a plain tuple,
# since there is one for each item of a batch.
Decided = tuple["Asked", "Evaluation", bool]


class Decisions(NamedTuple):
    """The answers of one request, taken at one moment."""

    asker: Asker
    moment: Moment
    decided: Sequence[Decided]


class Tally(Struct, frozen=True, kw_only=True, rename="camel"):
    """How the journal of a process stands, since it began.

    `counted` acts are told by counts only; `dropped` ones are not told at all.
    """

    mode: str
    queued: int
    unwritten: int
    written: int
    counted: int
    dropped: int
    write_failures: int


class Journal(Protocol):
    """The journal as the routes see it; nothing here waits but `settle` and the questions."""

    @property
    def required(self) -> bool:
        """Whether nothing is answered whose record is not durable."""
        ...

    def used(
        self, principal: str, token: str, address: str, headers: Iterable[tuple[bytes, bytes]]
    ) -> None:
        """Note that a credential of a principal was right, its token if it is one."""
        ...

    def decided(self, decisions: Decisions) -> None:
        """Note the answers of a request. Raises UnavailableError where records are required."""
        ...

    def noted(self, entry: Entry, *, only_counted: bool = False) -> None:
        """Note anything else. Raises as `decided`."""
        ...

    async def settle(self) -> None:
        """Wait until everything noted so far is durable: UnavailableError where it cannot be."""
        ...

    def last_use(self, id_: str) -> LastUse | None:
        """Answer the last use of a token or a principal, a minute behind at most."""
        ...

    async def ask(self, query: Callable[..., T], *args: object) -> T:
        """Answer a query of the journal, off the loop. Raises as `settle`."""
        ...

    def tally(self) -> Tally:
        """Answer how it stands."""
        ...


# In the loop


def refused(service: Service, scope: HTTPScope, error: Exception) -> None:
    """Note a refusal, of a credential or of one who is known; other errors are no one's act."""
    call: Call | None = scope["state"].get("call")
    entry: Entry | None = None
    if call is not None:
        entry = _refused_call(call, scope, error)
    elif isinstance(error, AuthenticationError) or (
        isinstance(error, ForbiddenError) and error.code in _OF_CREDENTIALS
    ):
        entry = _refused_credential(service, scope, error)
    if entry is None:
        return
    # Of what is no token at all, or none, there is nothing to keep but how often it came.
    nothing = isinstance(error, MisshapenTokenError) or not getattr(error, "presented", True)
    # It is refused anyway: a journal that is full cannot make it less so.
    with suppress(UnavailableError):
        service.journal.noted(entry, only_counted=nothing)


def _refused_credential(
    service: Service, scope: HTTPScope, error: AuthenticationError | ForbiddenError
) -> Entry:
    kind: Kind = "token_failure"
    code, detail = error.code, None
    if isinstance(error, WrongPasswordError):
        kind = "sign_in_failure"
        code = "account.locked" if error.locked else code
        detail = _encode({ACCOUNT: error.account.hex()}).decode()
    return Entry(
        **_of_request(service, scope),
        kind=kind,
        outcome="DENIED",
        code=code,
        **_of_principal(service, getattr(error, "principal", "")),
        token=getattr(error, "token", "") or None,
        detail=detail,
    )


def _refused_call(call: Call, scope: HTTPScope, error: Exception) -> Entry | None:
    """Answer the entry of a command, or a reading, that was refused to one who is known.

    What a reading does not find is no refusal.
    """
    if not isinstance(error, DomainError) or (call.reads and not _keeps_out(call, error)):
        return None
    needed = scope["route_handler"].opt["gate"].needs
    return _of_call(
        call,
        "refusal",
        code=error.code,
        outcome="DENIED",
        resource_type=_noun(call) if needed is None else needed.type,
        action=scope["method"] if needed is None else needed.action,
        resource_id=_cut(call.parameters.get("id")),
    )


def _keeps_out(call: Call, error: DomainError) -> bool:
    """Tell whether a reading was refused, in so many words or as of a tenant that is not there.

    A tenant that there is seems unknown to those only who have no access to it (security 2.3).
    """
    if error.code != "tenant.unknown":
        return isinstance(error, ForbiddenError)
    tenant: TenantId | None = call.parameters.get("tenant")
    return tenant is not None and access.is_open(call.service.state, tenant)


def _noun(call: Call) -> str | None:
    """Answer the type of the objects that a route is about which needs no permission of theirs."""
    return next((_NOUNS[part] for part in call.path.split("/") if part in _NOUNS), None)


def refused_question(
    service: Service, asker: Asker, needed: str, place: tuple[str, str | None, Any]
) -> None:
    """Note that one may not ask about others at a place: tenant, namespace and resource."""
    tenant, namespace, resource = place
    with suppress(UnavailableError):
        service.journal.noted(
            Entry(
                **_of_asker(service, asker),
                position=service.state.position,
                kind="refusal",
                outcome="DENIED",
                code="permission.denied",
                tenant=_cut(tenant),
                operation=EVALUATE,
                resource_type="ACCESS",
                action=needed,
                resource_id=_cut(resource[1]) if resource else None,
                namespace=_cut(namespace),
            )
        )


def searched(
    service: Service,
    asker: Asker,
    moment: Moment,
    subject: tuple[str, SubjectId | None],
    question: Question,
    found: int,
) -> None:
    """Note a search with the number of its results; `subject` is its type and, if one, its id.

    Raises UnavailableError where records are required.
    """
    type_, id_ = subject
    service.journal.noted(
        Entry(
            **_of_asker(service, asker),
            position=moment.state.position,
            clock=None if moment.now == moment.asked else datetime.fromtimestamp(moment.now, UTC),
            kind="search",
            outcome="ALLOWED",
            tenant=_cut(question.tenant),
            operation=SEARCH,
            subject_type=_cut(type_),
            subject=id_,
            action=_cut(question.action),
            resource_type=_cut(question.type),
            resource_id=_cut(question.resource[1]) if question.resource else None,
            namespace=_cut(next(iter(question.namespaces), None)),
            detail=_encode({"total": found}).decode(),
        )
    )


async def listed(call: Call, found: int, **about: str | None) -> None:
    """Note that rights were listed, and wait where records are required."""
    detail = _encode({"count": found}).decode()
    await keep(call.service, _of_call(call, "search", detail=detail, **about))


def signed_in(service: Service, scope: HTTPScope, caller: Caller) -> None:
    """Note that a user signed in. Raises UnavailableError where records are required."""
    service.journal.noted(_of_user(service, scope, caller.principal, "sign_in"))


def signed_out(service: Service, scope: HTTPScope, user: str) -> None:
    """Note that a user signed out. Raises as `signed_in`."""
    service.journal.noted(_of_user(service, scope, user, "sign_out"))


def locked(service: Service, scope: HTTPScope, account: bytes, user: str) -> None:
    """Note that an account has been locked by too many failures; `user` is "" for nobody's."""
    entry = _of_user(service, scope, user, "account_locked")
    detail = _encode({ACCOUNT: account.hex()}).decode()
    with suppress(UnavailableError):
        service.journal.noted(
            msgspec.structs.replace(entry, outcome="DENIED", code="account.locked", detail=detail)
        )


def leaked(service: Service, text: str, address: str, request_id: str) -> None:
    """Note that a token stood in a request target, where it is one of ours (security 4.3)."""
    state = service.state
    id_ = state.digests.get(digest(text))
    if id_ is None:
        return
    token = state.tokens.get(id_)
    with suppress(UnavailableError):
        service.journal.noted(
            Entry(
                at=service.inputs.now(),
                position=state.position,
                kind="token_leak",
                outcome="DENIED",
                code="token.misplaced",
                **_of_principal(service, "" if token is None else token.owner),
                token=id_,
                address=address or None,
                request_id=_cut(request_id),
            )
        )


async def read_trail(call: Call, kind: Kind, **detail: int | str) -> None:
    """Note that the trail itself is read or exported, and wait where records are required."""
    # The names of what it was filtered by; the values may be a person's.
    told: dict[str, Any] = {**detail, "parameters": sorted({clean(name) for name, _ in call.query})}
    entry = _of_call(call, kind, resource_type="AUDITLOG", detail=_encode(told).decode())
    await keep(call.service, entry)


def last_use(call: Call, id_: str) -> LastUse | None:
    """Answer when a token or a principal was last used; of the past nothing is told."""
    return None if call.past else call.service.journal.last_use(id_)


async def keep(service: Service, entry: Entry) -> None:
    """Note what is about to be answered, and wait where records are required."""
    service.journal.noted(entry)
    if service.journal.required:
        await service.journal.settle()


def _of_call(call: Call, kind: Kind, **more: Any) -> Entry:  # noqa: ANN401 - the members of an entry
    caller = call.caller
    actor = caller.actor
    members: dict[str, Any] = {
        "outcome": "ALLOWED",
        "at": call.service.inputs.now(),
        "position": call.service.state.position,
        "tenant": _tenant(call),
        "principal": caller.principal,
        "principal_type": actor.type,
        "token": None if caller.token is None else caller.token.id,
        "via": actor.via or None,
        "address": actor.address or None,
        "agent": _cut(actor.user_agent or None),
        "request_id": _cut(call.request_id),
        "operation": call.operation,
    }
    return Entry(kind=kind, **(members | more))


def _tenant(call: Call) -> str | None:
    """Answer the tenant of the path, where there is one of that name."""
    tenant: TenantId | None = call.parameters.get("tenant")
    return tenant if tenant is not None and tenant in call.service.state.tenants else None


def _of_user(service: Service, scope: HTTPScope, user: str, kind: Kind) -> Entry:
    return Entry(
        **_of_request(service, scope),
        kind=kind,
        outcome="ALLOWED",
        **_of_principal(service, user),
        via="sign_in",
    )


def _of_asker(service: Service, asker: Asker) -> dict[str, Any]:
    return {
        "at": service.inputs.now(),
        **_of_principal(service, asker.principal),
        "token": asker.token_id or None,
        "via": "api",
        "address": asker.address or None,
        "request_id": _cut(asker.request_id),
    }


def _of_request(service: Service, scope: HTTPScope) -> dict[str, Any]:
    state = scope["state"]
    return {
        "at": service.inputs.now(),
        "position": service.state.position,
        "address": state.get("address") or None,
        "agent": agent_of(scope["headers"]) or None,
        "request_id": _cut(state.get("request_id")),
    }


def _of_principal(service: Service, id_: str) -> dict[str, Any]:
    if not id_:
        return {}
    accounts = cast("Any", service.state.service_accounts)
    return {
        "principal": id_,
        "principal_type": "service_account" if id_ in accounts else "user",
    }


# Decisions


def decision(decisions: Decisions, one: Decided, email_index: Callable[[str], bytes]) -> Row:
    """Answer the entry of one decision (authzen 9), as it is stored: there may be a great many."""
    asker, moment, _ = decisions
    asked, written, allowed = one
    type_, text = typed_subject(written)
    found, resource_type, action, tenant, namespace, resource, narrowing, _, _ = asked
    caller, state = asker.principal, moment.state
    resource_id = None if resource is None else resource[1]
    if found is None or text != found:
        text = _subject_asked(found, text, state, email_index)
    row = (
        _stored(moment.asked),
        "decision",
        "ALLOWED" if allowed else "DENIED",
        _ALLOWED if allowed else _why_not(asked),
        state.position,
        None if moment.now == moment.asked else _stored(moment.now),
        tenant,
        caller,
        "service_account" if caller in state.service_accounts else "user",
        asker.token_id or None,
        "api",
        asker.address or None,
        None,  # the agent, which the token's last use tells
        asker.request_id or None,
        EVALUATE,
        type_,
        text,
        found,
        action,
        resource_type,
        resource_id,
        namespace,
        None if narrowing is None else _encode({"token": narrowing}).decode(),
    )
    # What the caller wrote, looked at all together: nearly always it is harmless.
    words = (tenant, asker.request_id, type_, text, action, resource_type, narrowing or "")
    if _is_harmless("".join(words) + (resource_id or "") + (namespace or "")):
        return row
    return tuple(clean(value) if isinstance(value, str) else value for value in row)


def _stored(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _why_not(asked: Asked) -> str:
    """Answer what is known of a deny at no cost; repeated with `explain` it says all."""
    return "subject.unknown" if asked.subject is None else "denied"


def _subject_asked(
    found: SubjectId | None, text: str, state: State, email_index: Callable[[str], bytes]
) -> str:
    """Answer the subject as it was written, in the clear where it names a program or a group.

    Anything else may be a person's e-mail or alias.
    """
    if found is not None and (found in state.service_accounts or found in state.groups):
        return text
    return INDEXED + email_index(text).hex()


def agent_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Answer what a request says it was sent by, without what no database takes."""
    for name, value in headers:
        if name == b"user-agent":
            return clean(value[:TEXT_CHARACTERS_MAX].decode("latin-1"))
    return ""


def clean(text: str) -> str:
    """Answer text as it may be kept for long: no token of ours, no NUL, no half character."""
    if _is_harmless(text):
        return text
    kept = redact(text).replace("\0", "")
    return kept.encode("utf-8", "replace").decode()


def _is_harmless(text: str) -> bool:
    return text.isascii() and text.isprintable() and "mun" not in text


def _cut(text: object) -> str | None:
    """Answer a text of the request, cut and cleaned; None for none."""
    return clean(text[:TEXT_CHARACTERS_MAX]) if isinstance(text, str) and text else None
