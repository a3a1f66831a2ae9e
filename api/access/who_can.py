"""Who may do this there, and through which groups?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import UNSET, Struct, UnsetType, structs

from api.access.walks import Walk, next_page, walk, word
from api.call import ACCESS, Call
from api.explanations import Through, Told
from api.iam import principals
from api.journal import listed
from api.judging import Judge, Sight
from api.questions import NO_RESOURCE
from api.request_errors import MalformedError
from domain import explaining, names
from domain.access import Question
from domain.ids import SubjectId, TenantId, UserId
from domain.scopes import ancestors
from projections.searches import subjects

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domain.state import State

Kind = Literal["user", "service_account", "group"]
_KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_PRINCIPALS: Final = frozenset({"user", "service_account"})

# By which permissions, of which any will do, the names of each kind are seen.
_NAMED_BY: Final[dict[Kind, str]] = {
    "user": "USER",
    "service_account": "SERVICE_ACCOUNT",
    "group": "GROUP",
}


class AbleForm(Struct, frozen=True, kw_only=True):
    """One who may, by name where the asker sees it.

    `via` has each way by which it may: the groups that it leads through, none for a binding of
    its own.
    """

    type: Kind
    id: str
    name: str | UnsetType = UNSET
    via: tuple[tuple[Through, ...], ...]


class AbleListForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of those who may, by id."""

    items: tuple[AbleForm, ...]
    next_cursor: str | UnsetType = UNSET


@get(
    "/{tenant:str}/access/who-can",
    opt={**ACCESS, "walks": True},
    operation_id="listWhoCan",
    summary="List the principals that may do something at a place, and how",
    tags=["access"],
)
async def who_can(tenant: FromPath[str], call: NamedDependency[Call]) -> Response[AbleListForm]:
    """Tell of the users and service accounts, or of those of one type, of whom a check says yes.

    Needs ACCESS:SEARCH at the place that is asked about.
    """
    question = _question(call, TenantId(tenant))
    wanted = _wanted(call.parameter("subjectType"))
    at = await walk(call)
    judge, asked = Judge(call.service), call.service.inputs.timestamp()
    namespace = next(iter(question.namespaces), None)
    judge.require_may_ask(
        call.asker, "SEARCH", question.tenant, namespace, question.resource, asked
    )
    sight = judge.sight(call.asker, question.tenant, None, asked)

    def page() -> tuple[list[SubjectId], list[AbleForm]]:
        found = subjects(
            at.state,
            question,
            at.now,
            lambda subject: subject > at.last and _kind(at.state, subject) in wanted,
            at.limit + 1,
        )
        own = call.caller.principal
        return found, [_form(at, one, question, sight, own) for one in found[: at.limit]]

    found, forms = await asyncio.to_thread(page)
    named = await _names(call, at.state, judge, forms, asked)
    items = tuple(structs.replace(one, name=named.get(one.id, UNSET)) for one in forms)
    cursor, link = next_page(call, at, forms[-1].id if len(found) > at.limit else None)
    await listed(
        call,
        len(items),
        resource_type=question.type,
        action=question.action,
        resource_id=question.resource[1] if question.resource else None,
        namespace=namespace,
    )
    form = AbleListForm(items=items, next_cursor=cursor)
    return call.answer(form, position=at.state.position, link=link)


def _question(call: Call, tenant: TenantId) -> Question:
    type_ = word(call.parameter("resourceType"), "resourceType")
    action = word(call.parameter("action"), "action")
    namespace = call.parameter("namespace")
    resource = word(call.parameter("resourceId") or NO_RESOURCE, "resourceId")
    if namespace:
        try:
            names.namespace(namespace)
        except ValueError as fault:
            raise MalformedError("query.invalid", f"namespace {fault}") from None
    return Question(
        tenant,
        type_,
        action,
        ancestors(namespace) if namespace else (),
        None if resource == NO_RESOURCE else (type_, resource),
    )


def _wanted(kind: str | None) -> frozenset[str]:
    if kind is None:
        return _PRINCIPALS
    if kind not in _KINDS:
        raise MalformedError("query.invalid", f"subjectType must be one of {', '.join(_KINDS)}")
    return frozenset({kind})


def _kind(state: State, subject: SubjectId) -> Kind:
    if subject in state.users:
        return "user"
    return "group" if subject in state.groups else "service_account"


def _form(
    at: Walk, subject: SubjectId, question: Question, sight: Sight, own: SubjectId
) -> AbleForm:
    told = Told(at.state, structs.replace(sight, own=subject == own))
    ways = {
        "" if path.held.via is None else path.held.via.group: told.via(path.held)
        for path in explaining.explain(at.state, subject, question, at.now).paths
    }
    # By the group, since no two processes have the order of the maps in common.
    via = tuple(dict.fromkeys(ways[group] for group in sorted(ways)))
    return AbleForm(type=_kind(at.state, subject), id=subject, via=via)


async def _names(
    call: Call, state: State, judge: Judge, forms: Iterable[AbleForm], now: float
) -> dict[str, str]:
    """Answer the names that the asker sees: its own, and those of the kinds that it may see."""
    seen = {
        kind
        for kind, type_ in _NAMED_BY.items()
        if any(
            judge.holds(call.asker, (type_, action), call.tenant, None, None, now)
            for action in ("VIEW", "LIST")
        )
    }
    own = call.caller.principal
    shown: list[SubjectId] = [UserId(one.id) for one in forms if one.type in seen or one.id == own]
    found = await principals.names(call, state, shown)
    named: dict[str, str] = {id_: name.username for id_, name in found.items()}
    named.update({id_: state.groups[id_].name for id_ in shown if id_ in state.groups})
    return named


ROUTES: Final[list[Any]] = [who_can]
