"""Who may do this there, and through which groups?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, get_args

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import UNSET, Struct, UnsetType, structs

from api.access.subjects import Kind, kind_of, names_of
from api.access.walks import Walk, next_page, walk, word
from api.call import ACCESS, Call
from api.explanations import Through, Told
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
    pass

_KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_PRINCIPALS: Final = frozenset({"user", "service_account"})


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
    question = question_of(call, TenantId(tenant))
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
            lambda subject: subject > at.last and kind_of(at.state, subject) in wanted,
            at.limit + 1,
        )
        own = call.caller.principal
        return found, [_form(at, one, question, sight, own) for one in found[: at.limit]]

    found, forms = await asyncio.to_thread(page)
    named = await names_of(call, at.state, question.tenant, [UserId(one.id) for one in forms])
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


def question_of(call: Call, tenant: TenantId) -> Question:
    """Answer what the query asks about: a type and an action at a place."""
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
    return AbleForm(type=kind_of(at.state, subject), id=subject, via=via)


ROUTES: Final[list[Any]] = [who_can]
