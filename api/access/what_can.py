"""What may this principal do in a tenant, place by place, and where does each right come from?"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import UNSET, Struct, UnsetType

from api.access.walks import Walk, next_page, walk, word
from api.call import ACCESS, Call
from api.explanations import Named, PlaceForm, ResourcePlace, Through, Told, is_known
from api.journal import listed
from api.judging import Judge
from domain import explaining
from domain.explaining import Code
from domain.ids import SubjectId, TenantId
from projections.held_rights import Holding, Place, Source, holdings

if TYPE_CHECKING:
    from domain.access import Narrowing
    from domain.explaining import Held

# Places have no such character in them.
_BETWEEN: Final = "\x1f"
_WALKED: Final = {**ACCESS, "walks": True}

# Shapes


class SourceForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """A binding that gives something there, through a group or by itself.

    Without what the asker may not see. `positions` are those of the events that it rests on;
    `not_before` and `expires_at` limit it together with the membership.
    """

    binding: str | UnsetType = UNSET
    role: Named | UnsetType = UNSET
    via: tuple[Through, ...]
    permissions: dict[str, list[str]] | UnsetType = UNSET
    positions: tuple[int, ...]
    not_before: datetime | UnsetType = UNSET
    expires_at: datetime | UnsetType = UNSET


class HoldingForm(Struct, frozen=True, kw_only=True):
    """What is held at one place; a wildcard stands as it was written, `READ` with its meaning."""

    scope: PlaceForm
    permissions: dict[str, list[str]]
    sources: tuple[SourceForm, ...]


class HoldingsForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of what is held, in the order of places; `code` tells why there is nothing at all.

    `instance_owner` tells of the privilege, which is no right at any place: it opens the routes
    of administration, in every tenant.
    """

    items: tuple[HoldingForm, ...]
    instance_owner: bool
    code: Code | UnsetType = UNSET
    next_cursor: str | UnsetType = UNSET


# Routes


@get(
    "/{tenant:str}/access/what-can",
    opt=_WALKED,
    operation_id="listHoldings",
    summary="List what a subject may do in a tenant, and where it comes from",
    tags=["access"],
)
async def what_can(tenant: FromPath[str], call: NamedDependency[Call]) -> Response[HoldingsForm]:
    """Tell of a user, service account or group, by id or name, the rights in force.

    About others than oneself this needs ACCESS:CHECK and ACCESS:EXPLAIN in the tenant. An unknown
    subject holds nothing.
    """
    type_, text = word(call.parameter("type"), "type"), word(call.parameter("id"), "id")
    at = await walk(call)
    judge, home = Judge(call.service), TenantId(tenant)
    moment = judge.lasting(at.state, at.now).moment()
    subject = moment.resolve(home, type_, text)
    is_own = subject == call.caller.principal
    if not is_own:
        judge.require_may_ask(call.asker, "CHECK", home, None, None, moment.asked)
        judge.require_may_ask(call.asker, "EXPLAIN", home, None, None, moment.asked)
    if subject is None or not (is_own or is_known(at.state, home, subject)):
        code = explaining.explain_unresolved(at.state, home, type_, text).code
        nothing = HoldingsForm(items=(), instance_owner=False, code=code)
        return call.answer(nothing, position=at.state.position)
    return await _answer(call, at, home, subject, UNSET)


@get(
    "/{tenant:str}/access/me",
    opt=_WALKED,
    operation_id="listOwnHoldings",
    summary="List what the caller may do in a tenant, and where it comes from",
    tags=["access"],
)
async def me(tenant: FromPath[str], call: NamedDependency[Call]) -> Response[HoldingsForm]:
    """Tell of the caller's own rights, as far as the token of the request leaves them.

    Where a scope has both a namespace and a resource, a question must name both.
    """
    at = await walk(call)
    narrowing = call.asker.narrowing
    return await _answer(call, at, TenantId(tenant), call.caller.principal, narrowing)


async def _answer(
    call: Call, at: Walk, tenant: TenantId, subject: SubjectId, narrowing: Narrowing | UnsetType
) -> Response[HoldingsForm]:
    asked = call.service.inputs.timestamp()
    sight = Judge(call.service).sight(call.asker, tenant, subject, asked)
    told = Told(at.state, sight)
    sees_pairs = sight.own or sight.roles

    def page() -> tuple[tuple[HoldingForm, ...], str | None, Code | UnsetType]:
        found = holdings(at.state, tenant, subject, at.now, narrowing)
        begin = bisect_right(found, _place_of(at.last), key=lambda one: one.place)
        shown = found[begin : begin + at.limit]
        forms = tuple(_form(at, told, subject, one, sees_pairs=sees_pairs) for one in shown)
        has_more = begin + at.limit < len(found)
        code = UNSET if found else _why_nothing(at, tenant, subject, narrowing)
        return forms, _BETWEEN.join(shown[-1].place) if has_more else None, code

    items, last, code = await asyncio.to_thread(page)
    cursor, link = next_page(call, at, last)
    await listed(call, len(items), subject=subject)
    left = narrowing is UNSET or narrowing.instance_owner
    form = HoldingsForm(
        items=items,
        instance_owner=left and subject in at.state.owners,
        code=code,
        next_cursor=cursor,
    )
    return call.answer(form, position=at.state.position, link=link)


def _why_nothing(
    at: Walk, tenant: TenantId, subject: SubjectId, narrowing: Narrowing | UnsetType
) -> Code:
    if narrowing is not UNSET and holdings(at.state, tenant, subject, at.now):
        return "token.not_usable"
    return explaining.why_nothing(at.state, tenant, subject, at.now)


def _place_of(last: str) -> tuple[str, ...]:
    return tuple(last.split(_BETWEEN)) if last else ()


# Answers


def _form(
    at: Walk, told: Told, subject: SubjectId, found: Holding, *, sees_pairs: bool
) -> HoldingForm:
    return HoldingForm(
        scope=_place_form(found.place),
        permissions=_lists(sorted({pair for source in found.sources for pair in source.pairs})),
        sources=tuple(
            _source_form(at, told, subject, source, sees_pairs=sees_pairs)
            for source in found.sources
        ),
    )


def _source_form(
    at: Walk, told: Told, subject: SubjectId, source: Source, *, sees_pairs: bool
) -> SourceForm:
    held = source.held
    steps = explaining.steps(at.state, subject, held)
    return SourceForm(
        binding=told.binding(held),
        role=told.role_of(held),
        via=told.via(held),
        permissions=_lists(source.pairs) if sees_pairs else UNSET,
        positions=tuple(position for step in steps.values() for position in step),
        not_before=max(_given(one.not_before for one in _limited(held)), default=UNSET),
        expires_at=min(_given(one.expires_at for one in _limited(held)), default=UNSET),
    )


def _limited(held: Held) -> Iterator[Any]:
    return (one for one in held if one is not None)


def _given(instants: Iterable[datetime | UnsetType]) -> list[datetime]:
    return [instant for instant in instants if instant is not UNSET]


def _place_form(place: Place) -> PlaceForm:
    return PlaceForm(
        namespace=place.namespace or UNSET,
        resource=ResourcePlace(place.type, place.id) if place.type else UNSET,
    )


def _lists(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for type_, action in pairs:
        found.setdefault(type_, []).append(action)
    return found


ROUTES: Final[list[Any]] = [what_can, me]
