"""What has changed in a tenant between two moments, and who may do what they could not?"""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import UNSET, Struct, UnsetType

from api.access.walks import word
from api.access_forms import AccessForm, access_form
from api.call import Call, needs, position_parameter
from api.journal import read_trail
from api.pacing import paced
from api.paging import read_instant
from api.request_errors import MalformedError
from domain import names
from domain.ids import TenantId, UserId
from domain.permissions import Permission
from projections.comparing import Comparison, Difference, Kind, Moment, Narrowed, compare

if TYPE_CHECKING:
    from domain.state import State

DIFFERENCES_MAX: Final = 1_000
RIGHTS_MAX: Final = 1_000
_NUMBER: Final = re.compile(r"[0-9]{1,18}\Z")


class MomentForm(Struct, frozen=True, kw_only=True):
    """A position, and the instant by whose clock it is judged."""

    position: int
    at: datetime


class DifferenceForm(Struct, frozen=True, kw_only=True):
    """An object at both moments; without `before` it was added, without `after` it is gone."""

    kind: Kind
    id: str
    before: dict[str, Any] | UnsetType
    after: dict[str, Any] | UnsetType


class ComparisonForm(Struct, frozen=True, kw_only=True, rename="camel"):
    """Objects and rights that differ; of very many the first are listed, and all are counted."""

    begin: MomentForm
    end: MomentForm
    differences: int
    objects: tuple[DifferenceForm, ...]
    access: AccessForm


@get(
    "/{tenant:str}/access/compare",
    opt={**needs(Permission("AUDITLOG", "VIEW")), "looks_back": True},
    operation_id="compareAccess",
    summary="Compare a tenant's objects and effective access at two moments",
    tags=["access"],
)
async def compare_access(
    tenant: FromPath[str], call: NamedDependency[Call]
) -> Response[ComparisonForm]:
    """Compare `from` and `to`, each a position or an instant, by default now.

    In all of the tenant, or about a `principal` (an id) or a `namespace`. Rights are told to those
    who may ask there what others may do.
    """
    if call.past:
        raise MalformedError("position.invalid", "the moments are named by from and to")
    narrowed = _narrowed(call, TenantId(tenant))
    begin = await moment_of(call, "from", word(call.parameter("from"), "from"))
    end = await moment_of(call, "to", call.parameter("to"))
    if begin.state.position > end.state.position:
        raise MalformedError("compare.order", "from must not be later than to")
    hint = "name a principal or a namespace, or moments that are nearer to each other"
    async with call.service.exports.turn:
        pace = paced(call.service, "comparison.too_large", hint)
        found = await asyncio.to_thread(compare, begin, end, narrowed, pace)
    await read_trail(call, "audit_read", results=len(found.differences))
    return call.answer(await _form(call, begin, end, found), position=end.state.position)


def _narrowed(call: Call, tenant: TenantId) -> Narrowed:
    principal, namespace = call.parameter("principal"), call.parameter("namespace")
    if namespace is not None:
        try:
            names.namespace(namespace)
        except ValueError as fault:
            raise MalformedError("query.invalid", f"namespace {fault}") from None
    return Narrowed(
        tenant=tenant,
        principal=None if principal is None else UserId(word(principal, "principal")),
        namespace=namespace,
    )


async def moment_of(call: Call, name: str, text: str | None) -> Moment:
    service = call.service
    if text is None:
        return Moment(service.state, service.inputs.now().timestamp())
    if _NUMBER.match(text):
        position = await service.position_of(position_parameter(call.query, name), None)
        state = await service.state_at(position or 0)
        return Moment(state, state.at.timestamp())
    try:
        instant = read_instant(text)
    except ValueError as fault:
        raise MalformedError("position.invalid", f"{name} {fault}") from None
    position = await service.position_of(None, instant)
    return Moment(await service.state_at(position or 0), instant.timestamp())


async def _form(call: Call, begin: Moment, end: Moment, found: Comparison) -> ComparisonForm:
    states: tuple[State, State] = (begin.state, end.state)
    return ComparisonForm(
        begin=_moment_form(begin),
        end=_moment_form(end),
        differences=len(found.differences),
        objects=tuple(map(_difference_form, found.differences[:DIFFERENCES_MAX])),
        access=await access_form(call, states, found.access, RIGHTS_MAX),
    )


def _difference_form(found: Difference) -> DifferenceForm:
    return DifferenceForm(
        kind=found.kind,
        id=found.id,
        before=UNSET if found.before is None else found.before,
        after=UNSET if found.after is None else found.after,
    )


def _moment_form(moment: Moment) -> MomentForm:
    at = datetime.fromtimestamp(moment.now, moment.state.at.tzinfo)
    return MomentForm(position=moment.state.position, at=at)


ROUTES: Final[list[Any]] = [compare_access]
