"""Which kept answers does each event make untrue?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from domain import principals, roles, service_accounts, tenants, users
from domain.aliases import AliasRemoved
from domain.groups import GroupDeleted
from domain.ids import (
    MAIN,
    BindingId,
    GroupId,
    RoleId,
    ServiceAccountId,
    TenantId,
    UserId,
)
from domain.permissions import from_lists
from domain.principals import BindingDeleted, MemberRemoved, TenantAccessEnded, has_access
from domain.scopes import Resource, Scope
from domain.state import State, evolve
from tests import oracle
from tests.domain.model import Question, model_of
from tests.domain.world import (
    BEGINNING,
    BETA,
    account,
    alias,
    alias_index,
    bound,
    group,
    managed,
    member,
    role,
    user,
)
from tests.spec import facts

if TYPE_CHECKING:
    from domain.events import Event

from tests.domain.world import PAST
from tests.projections.graph import NOW, UNHEARD, Open, ask, email_index

GAMMA = TenantId("gamma")
GAMMA_ROLE = managed(GAMMA, "Viewer")
TEAM = GroupId("grp_team")
IDLE = GroupId("grp_idle")
WRITER = RoleId("rol_writer")
CI = ServiceAccountId("sa_ci")
SPARE_CI = ServiceAccountId("sa_spare")
TWIN = ServiceAccountId("sa_twin")
USER = UserId("usr_u")
GONE = UserId("usr_gone")
RECORD = Scope(resource=Resource("record", "r-17"))
FLOWS = from_lists({"FLOW": ["UPDATE"]})

# Each published alone, so that what one event forgets is not hidden by another of its command.
STEPS: tuple[Event, ...] = (
    *user(USER, MAIN, BETA),
    *user(GONE, MAIN),
    *account(CI, MAIN),
    *account(SPARE_CI, MAIN),
    group(TEAM, "Team"),
    group(IDLE, "Idle"),
    role(WRITER, FLOWS),
    bound(USER, WRITER, Scope(namespace="prod.billing"), id_="bnd_1"),
    bound(TEAM, WRITER, Scope(namespace="dev"), id_="bnd_2"),
    bound(GONE, WRITER, id_="bnd_3"),
    bound(CI, WRITER, id_="bnd_4"),
    bound(SPARE_CI, WRITER, id_="bnd_5"),
    member(TEAM, USER),
    member(TEAM, CI),
    alias(CI, "identity", "ci"),
    alias(CI, "service_account", "twin"),
    alias(USER, "user", "u"),
    alias(USER, "user", f"{GONE}@example.com"),
    alias(USER, "identity", "ci", tenant=BETA),
    alias(GONE, "identity", "gone"),
    bound(TEAM, WRITER, RECORD, id_="bnd_6"),
    bound(USER, WRITER, Scope(namespace="prod.billing"), id_="bnd_10", expires_at=PAST),
    bound(CI, managed(MAIN, "Viewer"), id_="bnd_7"),
    roles.RolePermissionsSet(tenant=MAIN, id=WRITER, permissions=from_lists({"SECRET": ["READ"]})),
    roles.RoleCreated(
        tenant=MAIN, id=RoleId("rol_new"), name="new", permissions=from_lists({"*": ["UNHEARD"]})
    ),
    bound(USER, RoleId("rol_new"), id_="bnd_8"),
    BindingDeleted(tenant=MAIN, id=BindingId("bnd_6")),
    MemberRemoved(tenant=MAIN, group=TEAM, principal=CI),
    *account(TWIN, MAIN),
    member(TEAM, TWIN),
    MemberRemoved(tenant=MAIN, group=TEAM, principal=TWIN),
    service_accounts.ServiceAccountRenamed(id=TWIN, name="ci"),
    service_accounts.ServiceAccountRenamed(id=TWIN, name="other"),
    service_accounts.ServiceAccountDisabled(id=CI),
    service_accounts.ServiceAccountEnabled(id=CI),
    service_accounts.ServiceAccountDeleted(id=SPARE_CI),
    users.UserDisabled(id=USER),
    users.UserEnabled(id=USER),
    users.UserDeleted(id=GONE),
    AliasRemoved(tenant=MAIN, principal=USER, type="user", index=alias_index(MAIN, "user", "u")),
    TenantAccessEnded(tenant=MAIN, principal=CI),
    BindingDeleted(tenant=MAIN, id=BindingId("bnd_2")),
    GroupDeleted(tenant=MAIN, id=IDLE),
    tenants.TenantCreated(tenant=GAMMA, name="Gamma"),
    principals.TenantAccessGranted(tenant=GAMMA, principal=USER),
    tenants.ManagedRoleCreated(
        tenant=GAMMA, id=GAMMA_ROLE, name="Viewer", permissions=from_lists({"FLOW": ["VIEW"]})
    ),
    bound(USER, GAMMA_ROLE, tenant=GAMMA, id_="bnd_9"),
    tenants.TenantDeleted(tenant=GAMMA),
)
SUBJECTS = (USER, GONE, CI, SPARE_CI, TWIN, TEAM, IDLE, "nobody")
QUESTIONS: tuple[Question, ...] = (
    ("FLOW", "UPDATE", "prod.billing.eu", ""),
    ("FLOW", "UPDATE", "prod", ""),
    ("FLOW", "UPDATE", "dev", ""),
    ("FLOW", "UPDATE", "", "record/r-17"),
    ("FLOW", "VIEW", "", ""),
    ("SECRET", "LIST", "dev", ""),
    ("SECRET", "VIEW", "", "record/r-17"),
    ("ANYTHING", "UNHEARD", "", ""),
)
NAMES_ASKED = (
    ("service_account", ("ci", "spare", "twin", "other", CI, TWIN, "nobody")),
    ("user", (f"{USER}@example.com", f"{GONE}@example.com", USER, "usr_u", "@", "u", "ci")),
    ("group", ("Team", "team", "Idle", TEAM, IDLE, "Crew")),
    ("identity", ("ci", CI, "CI", "gone", "twin")),
    ("employee", ("ci",)),
)
DROPPING = (
    principals.BindingCreated,
    principals.BindingDeleted,
    principals.MemberAdded,
    principals.MemberRemoved,
    principals.TenantAccessEnded,
    roles.RoleCreated,
    roles.RolePermissionsSet,
    GroupDeleted,
    service_accounts.ServiceAccountCreated,
    service_accounts.ServiceAccountDeleted,
    service_accounts.ServiceAccountDisabled,
    service_accounts.ServiceAccountRenamed,
    tenants.ManagedRoleCreated,
    tenants.TenantDeleted,
    users.UserDeleted,
    users.UserDisabled,
)


def named(state: State, tenant: TenantId, type_: str, text: str) -> str | None:
    """Answer whom a text names, by the plainest reading of authzen 3."""
    tables: dict[str, dict[str, str]] = {
        "service_account": {one.id: one.name for one in state.service_accounts.values()},
        "user": {one: f"{one}@example.com" for one in state.users},
        "group": {one.id: one.name for one in state.groups.values() if one.tenant == tenant},
    }
    table = tables.get(type_, {})
    if text in table:
        return text
    asked = (tenant, type_, alias_index(tenant, type_, text))
    carriers: list[str] = [
        one.principal
        for held in state.aliases_of.values()
        for one in held.values()
        if one.key == asked
    ]
    found = carriers or [id_ for id_, name in table.items() if name == text]
    if type_ != "group":
        found = [id_ for id_ in found if has_access(state, UserId(id_), tenant)]
    return found[0] if len(found) == 1 else None


def faults(graph: Open) -> list[str]:
    """Answer every question that the graph answers wrongly, and every entry it should not keep."""
    state = graph.state
    model, now = model_of(state), NOW
    found = [
        f"{tenant} {subject} {question}"
        for tenant in (MAIN, BETA, GAMMA, UNHEARD)
        for subject in SUBJECTS
        for question in QUESTIONS
        if ask(graph, tenant, subject, question, now)
        != oracle.allowed(model, tenant, subject, question, now)
    ]
    found += [
        f"{tenant} {type_} {text}"
        for tenant in (MAIN, BETA, GAMMA, UNHEARD)
        for type_, texts in NAMES_ASKED
        for text in texts
        for resolve in (graph.resolve, graph.resolve_in(state))
        if resolve(tenant, type_, text) != named(state, tenant, type_, text)
    ]
    known = {*state.users, *state.service_accounts, *state.groups}
    found += [f"keeps {entry}" for entry in graph.entries() if entry[1] not in known]
    names = {one.name for one in state.service_accounts.values()}
    found += [f"keeps {name}" for name in graph.names() - names]
    return found


def faults_step_by_step(kind: type[Open]) -> list[str]:
    """Publish one event after another; answer what is wrong after any of them."""
    state = evolve(State(), facts(State(), BEGINNING))
    graph = kind(state, email_index, alias_index)
    found = faults(graph)
    for event in STEPS:
        new = facts(state, (event,))
        state = evolve(state, new)
        graph.publish(state, new)
        found += [f"after {type(event).__name__}: {fault}" for fault in faults(graph)]
    return found


def test_every_event_drops_what_it_makes_untrue() -> None:
    """After each event every answer is the oracle's, every name the right one (performance 2)."""
    assert [] == faults_step_by_step(Open)


@pytest.mark.parametrize("kind", DROPPING)
def test_a_graph_that_forgets_to_drop_is_caught(kind: type) -> None:
    """Positive control: for each kind of event, a graph that takes no notice of it."""

    class Forgetful(Open):
        def _drop(self, before: State, event: Event) -> None:
            if not isinstance(event, kind):
                super()._drop(before, event)

    assert faults_step_by_step(Forgetful)


def test_a_graph_of_a_state_answers_as_one_that_followed() -> None:
    """Started late or there from the beginning: the same answers (reliability B6)."""
    state = evolve(State(), facts(State(), (*BEGINNING, *STEPS)))

    assert [] == faults(Open(state, email_index, alias_index))


def test_a_binding_that_came_and_went_in_one_publication_is_never_seen() -> None:
    """Several commands may be published at once; each event is judged by what was before."""
    state = evolve(State(), facts(State(), (*BEGINNING, *STEPS[:10])))
    graph = Open(state, email_index, alias_index)
    assert [] == faults(graph)
    both = (
        bound(CI, WRITER, RECORD, id_="bnd_brief"),
        BindingDeleted(tenant=MAIN, id=BindingId("bnd_brief")),
        service_accounts.ServiceAccountRenamed(id=CI, name="brief"),
        service_accounts.ServiceAccountRenamed(id=CI, name="ci"),
        *account(TWIN, MAIN),
        service_accounts.ServiceAccountDeleted(id=TWIN),
    )
    new = facts(state, both)

    graph.publish(evolve(state, new), new)

    assert [] == faults(graph)
