"""Which installations and questions are searches tried on?"""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from msgspec import UNSET

from domain.bindings import Assignment, AssignRole
from domain.errors import DomainError
from domain.groups import AddMember
from domain.ids import MAIN, BindingId, GroupId, PrincipalId, RoleId, SubjectId, TenantId
from domain.permissions import granted
from domain.roles import DeleteRole
from domain.scopes import Resource, Scope
from domain.service_accounts import DisableServiceAccount
from tests.api.checking import Desk, Json, question
from tests.service import Served

if TYPE_CHECKING:
    from domain.commands import Command

TYPES = ("FLOW", "record", "GROUP", "SERVICE_ACCOUNT", "BINDING", "UNHEARD", "*")
VERBS = ("VIEW", "READ", "read", "UPDATE", "UNHEARD", "*")
SPACES = ("", "prod", "prod.billing", "production")
THINGS = ("*", "r-17", "r-18", "x")


def on(id_: str, type_: str = "record") -> Scope:
    """Answer the scope of one resource."""
    return Scope(resource=Resource(type_, id_))


def ids(found: Json) -> list[str]:
    """Answer the ids or names that were found."""
    return [result.get("id") or result["name"] for result in found["results"]]


def assigned(
    http: Served,
    tenant: TenantId,
    subject: SubjectId,
    role: RoleId,
    place: Scope,
    expires_at: Any = UNSET,  # noqa: ANN401 - an instant or none
) -> Command:
    """Answer the command that binds a role."""
    is_group = subject in http.state.groups
    return AssignRole(
        tenant=tenant,
        assignment=Assignment(
            id=BindingId(http.inputs.id()),
            default_binding=BindingId(http.inputs.id()),
            subject_type="GROUP" if is_group else "PRINCIPAL",
            subject=subject,
            role=role,
            scope=place,
            expires_at=expires_at,
        ),
    )


def member(http: Served, group: GroupId, principal: PrincipalId) -> Command:
    """Answer the command that adds a member."""
    return AddMember(
        tenant=http.state.groups[group].tenant,
        group=group,
        principal=principal,
        default_binding=BindingId(http.inputs.id()),
    )


def populate(http: Served) -> None:
    """Let 100 random commands go by in two tenants; those that are refused leave nothing."""
    one = random.Random(7)  # noqa: S311 - nothing is to be secret, all repeatable
    tenants = (MAIN, http.tenant("beta"))
    groups = [http.group(f"G{n}", tenant=one.choice(tenants)) for n in range(4)]
    bots = [http.account(f"bot-{n}", *tenants[: 1 + n % 2]) for n in range(5)]
    people = [
        http.user(f"u{n}@example.com", tenants=tenants[n % 2 :], password=None) for n in range(4)
    ]
    principals: list[PrincipalId] = [*bots, *people]
    roles = [
        http.role({type_: one.sample(VERBS, 2)}, name=f"r{n}", tenant=tenants[n % 2])
        for n, type_ in enumerate(TYPES * 2)
    ]
    places = [Scope(), *(Scope(namespace=space) for space in SPACES[1:])]
    places += [on(thing, type_) for type_ in TYPES[:3] for thing in THINGS]
    for _ in range(100):
        http.inputs.advance(one.choice((0.5, 600.0)))
        role, principal = one.choice(roles), one.choice(principals)
        subject: SubjectId = one.choice([*groups, *principals])
        tenant = http.state.roles[role].tenant if role in http.state.roles else MAIN
        ends = one.choice((UNSET, UNSET, http.inputs.now() + timedelta(hours=3)))
        command = one.choice(
            [assigned(http, tenant, subject, role, one.choice(places), ends)] * 8
            + [member(http, one.choice(groups), principal)] * 3
            + [DisableServiceAccount(id=bots[0]), DeleteRole(tenant=tenant, id=roles[0])]
        )
        try:
            http.give(command)
        except DomainError:
            continue


@st.composite
def questions(draw: st.DrawFn, crowd: Desk) -> Json:
    """Draw a question, mostly near something that a binding gives, of now or of the past."""
    state = crowd.http.state
    subject, tenant = draw(st.sampled_from([*sorted(state.memberships), "nobody"])), "main"
    type_, verb = draw(st.sampled_from(TYPES)), draw(st.sampled_from(VERBS))
    space = draw(st.sampled_from(SPACES))
    if draw(st.sampled_from((True, True, False))):
        binding = state.bindings[draw(st.sampled_from(sorted(state.bindings)))]
        subject, tenant = binding.subject, binding.tenant
        type_, verb = draw(st.sampled_from([*granted(state.roles[binding.role].permissions)]))
        space = binding.scope.namespace or space
    kinds = {"user": state.users, "group": state.groups}
    kind = next((kind for kind, known in kinds.items() if subject in known), "service_account")
    position = draw(st.none() | st.integers(1, state.position))
    return question(
        subject,
        verb,
        space or UNSET,
        type_=kind,
        resource=(type_, draw(st.sampled_from(THINGS))),
        tenant=tenant,
        context=UNSET if position is None else {"as_of": {"position": position}},
    )
