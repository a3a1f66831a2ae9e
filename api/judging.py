"""May the caller ask this, and what is the answer at one moment?

Every question of the check API, and of our own routes about access, is judged here and answered
by the live access graph, or by the same functions as of the past.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from msgspec import UNSET, Struct

from api.authentication import comes_from
from api.journal import refused_question
from api.questions import NO_RESOURCE, given, place_of, refuse_controls
from api.request_errors import MalformedError
from domain import access
from domain.access import Narrowing, Question
from domain.errors import ForbiddenError, Requirement
from domain.ids import MAIN, PrincipalId, SubjectId, TenantId, TokenId
from domain.scopes import ancestors
from domain.state import State
from domain.tokens import Token, refusal
from projections.access_graph import Check, Resolve

if TYPE_CHECKING:
    from msgspec import UnsetType

    from api.questions import AsOf, Circumstances, Evaluation
    from api.service import Service

# What one may ask about others by: a right in the scope that the question names (authzen 3).
Asking = Literal["CHECK", "EXPLAIN", "SEARCH"]
_ACCESS: Final = "ACCESS"


class Asker(NamedTuple):
    """Who asks: by which token, if by one, from which address, and by which request.

    `everywhere` is what it was found to be allowed to ask about a whole tenant, within one
    request; None where that is not worth a look. With `looks_back` it asks about the past, which
    for instance owners is there for ever, also that of a tenant that has been deleted.
    """

    principal: PrincipalId
    token: Token | None
    address: str
    request_id: str = ""
    everywhere: set[tuple[Asking, TenantId]] | None = None
    looks_back: bool = False

    def remembering(self) -> Asker:
        """Answer the same asker, for many questions at one moment."""
        return self._replace(everywhere=set())

    @property
    def token_id(self) -> str:
        """The id of the token, empty for a password or session."""
        return "" if self.token is None else self.token.id

    @property
    def narrowing(self) -> Narrowing | UnsetType:
        """What the credential leaves at most; UNSET where nothing is narrowed."""
        return UNSET if self.token is None else self.token.narrowing


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
    past: bool = False


class Lasting:
    """One moment over many turns of the loop, whatever is published in between."""

    def __init__(self, service: Service, state: State, now: float) -> None:
        self._service = service
        self._state = state
        self._now = now
        graph = service.graph
        self._resolve, self._check = graph.resolve_in(state), graph.check_in(state)

    def moment(self) -> Moment:
        """Answer the moment until the loop's next turn; who asks is judged by the clock of now.

        What the live graph keeps answers as long as it is of these very facts.
        """
        graph, asked = self._service.graph, self._service.inputs.timestamp()
        if graph.state is self._state:
            return Moment(self._state, self._now, asked, graph.resolve, graph.check)
        return Moment(self._state, self._now, asked, self._resolve, self._check)


class Asked(NamedTuple):
    """A question that its asker may ask, with its words looked up; no subject for an unknown one.

    `token` is the token that the decision is narrowed by, and `address` where it is used from;
    `explains` tells whether the answer says why.
    """

    subject: SubjectId | None
    type: str
    action: str
    tenant: TenantId
    namespace: str | None
    resource: tuple[str, str] | None
    token: TokenId | None
    address: str
    explains: bool

    @property
    def question(self) -> Question:
        """What is asked, as the domain has it."""
        above = () if self.namespace is None else ancestors(self.namespace)
        return Question(self.tenant, self.type, self.action, above, self.resource)


class Sight(Struct, frozen=True, kw_only=True):
    """Of which objects of a tenant one may be told; of what is one's `own`, one always is.

    `strangers` are principals that have no access to the tenant: it is not to know of them.
    """

    own: bool
    strangers: bool
    bindings: bool
    roles: bool
    groups: bool


class Judge:
    """Answers questions of one installation."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def lasting(self, state: State, now: float) -> Lasting:
        """Answer a moment of these facts and this clock that holds while others are published."""
        return Lasting(self._service, state, now)

    async def moment(self, context: Circumstances | UnsetType) -> Moment:
        """Wait for `at_least`, then answer the facts and the clock of the request.

        Raises UnavailableError `position.not_reached`, MalformedError `context.invalid`,
        `position.foreign`, `position.before_first` and `position.future`.
        """
        service = self._service
        if context is not UNSET:
            service.require_own(given(context.log))
            if context.at_least:
                await service.reach(context.at_least)
        as_of = None if context is UNSET else given(context.as_of)
        if as_of is None:
            graph, asked = service.graph, service.inputs.timestamp()
            return Moment(graph.state, asked, asked, graph.resolve, graph.check)
        return await self._past(as_of)

    async def _past(self, as_of: AsOf) -> Moment:
        at, position = given(as_of.at), given(as_of.position)
        now = self._service.inputs.now()
        if at is not None and at.tzinfo is None:
            raise MalformedError("context.invalid", "as_of.at needs a time zone")
        if at is not None and at > now:
            raise MalformedError("position.future", "as_of.at lies in the future")
        if at is None and position is None:
            raise MalformedError("context.invalid", "as_of needs position or at")
        resolved = await self._service.position_of(position, at if position is None else None)
        return await self.at(resolved or 0, at, now.timestamp())

    async def at(self, position: int, clock: datetime | None, asked: float) -> Moment:
        """Answer the moment of a position; its event's instant is the clock where none is given."""
        state = await self._service.state_at(position)
        graph = self._service.graph
        return Moment(
            state,
            (clock or state.at).timestamp(),
            asked,
            graph.resolve_in(state),
            graph.check_in(state),
            past=True,
        )

    def read(
        self, asker: Asker, evaluation: Evaluation, moment: Moment, home: TenantId = MAIN
    ) -> Asked:
        """Look up the words of a question; `home` is the tenant of one that names none.

        Raises MalformedError for what is missing or malformed, ForbiddenError for an asker who
        may not ask.
        """
        subject, action, resource = evaluation.subject, evaluation.action, evaluation.resource
        if subject is UNSET or action is UNSET or resource is UNSET:
            raise MalformedError("body.invalid", f"{_missing(evaluation)} is required")
        refuse_controls(subject.type, subject.id, action.name, resource.type, resource.id)
        tenant, namespace = place_of(resource, home)
        key = None if resource.id == NO_RESOURCE else (resource.type, resource.id)
        found = moment.resolve(tenant, subject.type, subject.id)
        if found != asker.principal:
            self.require_may_ask(asker, "CHECK", tenant, namespace, key, moment.asked)
        token, address, explains = None, "", False
        context = evaluation.context
        if context is not UNSET:
            explains = context.explain is True
            if given(context.token) is not None:
                token, address = _narrowed_by(asker, context)
            if explains and found != asker.principal:
                self.require_may_ask(asker, "EXPLAIN", tenant, namespace, key, moment.asked)
        return Asked(
            found, resource.type, action.name, tenant, namespace, key, token, address, explains
        )

    def decide(self, asked: Asked, moment: Moment) -> bool:
        """Answer a question that was read; an unknown subject may nothing."""
        subject, type_, action, tenant, namespace, resource, token, _, _ = asked
        if subject is None:
            return False
        if token is not None and not self.token_leaves(asked, moment):
            return False
        return moment.check(tenant, subject, type_, action, namespace, resource, moment.now)

    def token_leaves(self, asked: Asked, moment: Moment) -> bool:
        """Tell whether the token named, if any, is the subject's, is good, and leaves the right.

        One that may only be used from some addresses is no good where none of them is told.
        """
        if asked.token is None:
            return True
        token = moment.state.tokens.get(asked.token)
        if token is None or token.owner != asked.subject:
            return False
        if refusal(token, datetime.fromtimestamp(moment.now, UTC)) is not None:
            return False
        if not comes_from(token, asked.address):
            return False
        question = asked.question
        return token.narrowing is UNSET or access.narrowing_allows(
            token.narrowing,
            asked.tenant,
            (asked.type, asked.action),
            question.namespaces,
            asked.resource,
        )

    def sight(self, asker: Asker, tenant: TenantId, subject: SubjectId | None, now: float) -> Sight:
        """Answer what the asker may be told of, in an explanation about a subject."""

        def sees(type_: str) -> bool:
            return any(
                self.holds(asker, (type_, action), tenant, None, None, now)
                for action in ("VIEW", "LIST")
            )

        own = subject == asker.principal
        return Sight(
            own=own,
            strangers=own or self._is_owner(asker, tenant),
            bindings=sees("BINDING"),
            roles=sees("ROLE"),
            groups=sees("GROUP"),
        )

    def require_may_ask(
        self,
        asker: Asker,
        asking: Asking,
        tenant: TenantId,
        namespace: str | None,
        resource: tuple[str, str] | None,
        now: float,
    ) -> None:
        """Refuse who may not ask about others there, judged now: `permission.denied` (authzen 3).

        A tenant that does not exist gives the same answer.
        """
        everywhere, pair = asker.everywhere, (_ACCESS, asking)
        if everywhere is not None and (asking, tenant) in everywhere:
            return
        if self.holds(asker, pair, tenant, namespace, resource, now):
            if everywhere is not None and self.holds(asker, pair, tenant, None, None, now):
                everywhere.add((asking, tenant))
            return
        refused_question(self._service, asker, asking, (tenant, namespace, resource))
        raise ForbiddenError(
            "permission.denied",
            f"asking about others needs ACCESS:{asking} there",
            required=(Requirement(_ACCESS, asking, namespace or "", resource),),
        )

    def holds(
        self,
        asker: Asker,
        pair: tuple[str, str],
        tenant: TenantId,
        namespace: str | None,
        resource: tuple[str, str] | None,
        now: float,
    ) -> bool:
        """Tell whether the asker has an administrative right at a place now."""
        graph, narrowing = self._service.graph, asker.narrowing
        if narrowing is not UNSET:
            namespaces = () if namespace is None else ancestors(namespace)
            if not access.narrowing_allows(narrowing, tenant, pair, namespaces, resource):
                return False
        return self._is_owner(asker, tenant) or graph.check(
            tenant, asker.principal, *pair, namespace, resource, now
        )

    def _is_owner(self, asker: Asker, tenant: TenantId) -> bool:
        """Tell whether the asker is an instance owner, by a credential that leaves it that."""
        state, narrowing = self._service.graph.state, asker.narrowing
        privileged = narrowing is UNSET or narrowing.instance_owner
        if not privileged or asker.principal not in state.owners:
            return False
        return tenant in state.tenants if asker.looks_back else access.is_open(state, tenant)


def _narrowed_by(asker: Asker, context: Circumstances) -> tuple[TokenId, str]:
    """Answer the token that a context names, and where it is used from.

    That is what the context says; for the very token of the request, where that came from.
    """
    token = TokenId(given(context.token) or "")
    told = given(context.address)
    if told is None and asker.token is not None and token == asker.token.id:
        return token, asker.address
    return token, told or ""


def _missing(evaluation: Evaluation) -> str:
    for name in ("subject", "action", "resource"):
        if getattr(evaluation, name) is UNSET:
            return name
    return "nothing"
