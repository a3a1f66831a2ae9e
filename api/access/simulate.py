"""Who would gain and who would lose what by a list of changes, if they were made now?"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Literal
from urllib.parse import quote

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Struct, UnsetType, field

from api.access.walks import word
from api.access_forms import AccessForm, access_form
from api.call import ACCESS, Call
from api.dry_runs import RIGHTS_MAX, WouldBeForm, would_be
from api.journal import listed
from api.pacing import paced
from api.request_errors import MalformedError
from api.simulation import Asked, Made, Simulation, filled, filled_path
from domain.ids import TenantId
from projections.access_delta import delta

CHANGES_MAX: Final = 100

Removed = Literal["role", "group", "binding", "service-account", "user"]


class ChangeForm(Struct, frozen=True, kw_only=True):
    """A request as it would be sent, or what is to be removed by id or name.

    `as` names what the change makes; `{name}` stands for its id afterwards. `ifMatch` is the header
    of that name, for a change that has to say which version it is about.
    """

    method: Literal["POST", "PUT", "PATCH", "DELETE"] | UnsetType = UNSET
    path: str | UnsetType = UNSET
    body: Any = UNSET
    if_match: str | UnsetType = field(default=UNSET, name="ifMatch")
    name: str | UnsetType = field(default=UNSET, name="as")
    remove: Removed | UnsetType = UNSET
    id: str | UnsetType = UNSET


class SimulationRequest(Struct, frozen=True, kw_only=True):
    """The changes in the order in which they would be made."""

    changes: tuple[ChangeForm, ...]


class SimulatedForm(Struct, frozen=True, kw_only=True):
    """What one change would store; `id` is that of what it would make here and now."""

    id: str | UnsetType
    events: tuple[WouldBeForm, ...]


class SimulationForm(Struct, frozen=True, kw_only=True):
    """All that would happen behind `position`; the rights are compared before and after it all."""

    position: int
    changes: tuple[SimulatedForm, ...]
    access: AccessForm


@post(
    "/{tenant:str}/access/simulate",
    status_code=200,
    opt={**ACCESS, "reads": True},
    operation_id="simulateAccess",
    summary="Try out a list of changes together: who gains and who loses what",
    tags=["access"],
)
async def simulate_access(
    tenant: FromPath[str], data: JSONBody[SimulationRequest], call: NamedDependency[Call]
) -> Response[SimulationForm]:
    """Answer what all of it would store and give, and write nothing.

    Each change is judged as the same request would be, on what those before it leave; where one is
    refused, all of it is, and which one is told.
    """
    if call.past:
        raise MalformedError("simulation.unsupported", "changes are made to the present only")
    if len(data.changes) > CHANGES_MAX:
        raise MalformedError(
            "simulation.too_large", f"at most {CHANGES_MAX} changes; try them out in parts"
        )
    simulation = Simulation(call)
    try:
        made: dict[str, str] = {}
        done: list[Made] = []
        async with call.service.exports.turn:
            pace = paced(call.service, "simulation.too_large", "try fewer changes at a time")
            for number, change in enumerate(data.changes):
                pace()
                asked = _asked(number, change, tenant, simulation, made)
                done.append(await simulation.change(number, asked))
                if change.name is not UNSET:
                    made[change.name] = _made(number, done[-1])
            before, after = simulation.before, simulation.state
            events = [fact.envelope.event for fact in simulation.facts]
            now = max(call.service.inputs.now(), before.at).timestamp()
            found = await asyncio.to_thread(delta, before, after, events, now, pace)
    finally:
        await simulation.end()
    access = await access_form(call, (before, after), found, RIGHTS_MAX)
    await listed(call, access.gains + access.losses)
    forms = (SimulatedForm(id=one.id or UNSET, events=would_be(call, one.facts)) for one in done)
    body = SimulationForm(position=before.position, changes=tuple(forms), access=access)
    return call.answer(body, position=before.position)


def _made(number: int, change: Made) -> str:
    if not change.id:
        raise MalformedError(
            "simulation.invalid", f"changes[{number}] makes nothing that has an id"
        )
    return change.id


def _asked(
    number: int, change: ChangeForm, tenant: str, simulation: Simulation, made: dict[str, str]
) -> Asked:
    """Answer the request of a change; MalformedError where it is none."""
    if change.remove is not UNSET:
        if change.method is not UNSET or change.path is not UNSET or change.body is not UNSET:
            raise MalformedError(
                "simulation.invalid", f"changes[{number}] is a request, or removes something"
            )
        id_ = _found(simulation, TenantId(tenant), change.remove, word(change.id or None, "id"))
        path = _PATHS[change.remove].format(tenant=tenant, id=quote(id_, safe=""))
        return Asked(method="DELETE", target=path, body=UNSET)
    if change.method is UNSET or change.path is UNSET:
        raise MalformedError("simulation.invalid", f"changes[{number}] needs method and path")
    target = filled_path(change.path, made)
    body = filled(change.body, made)
    return Asked(method=change.method, target=target, body=body, if_match=change.if_match)


def _found(simulation: Simulation, tenant: TenantId, kind: Removed, text: str) -> str:
    """Answer the id of what is named by id or name; a text that names nothing as it is."""
    if kind == "role":
        roles = simulation.state.roles.values()
        named = [one.id for one in roles if one.tenant == tenant and text in {one.id, one.name}]
        return named[0] if len(named) == 1 else text
    if kind == "binding":
        return text
    return simulation.graph.resolve(tenant, kind.replace("-", "_"), text) or text


_PATHS: Final[dict[Removed, str]] = {
    "role": "/api/v1/{tenant}/roles/{id}",
    "group": "/api/v1/{tenant}/groups/{id}",
    "binding": "/api/v1/{tenant}/bindings/{id}",
    "service-account": "/api/v1/{tenant}/service-accounts/{id}",
    "user": "/api/v1/users/{id}",
}


ROUTES: Final[list[Any]] = [simulate_access]
