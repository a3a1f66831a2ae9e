"""Does an explanation name what an answer rests on, and what would change it?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from domain.access import Question
from domain.explaining import (
    GRANTS_OF_A_KIND_MAX,
    NEAR_MAX,
    NEW_BINDING,
    NEW_ROLE,
    Code,
    Explanation,
    effective,
    explain,
    explain_unresolved,
)
from domain.groups import GroupDeleted
from domain.ids import MAIN, GroupId, RoleId, SubjectId, UserId
from domain.permissions import from_lists
from domain.principals import (
    BindingCreated,
    MemberAdded,
    TenantAccessEnded,
    TenantAccessGranted,
)
from domain.roles import RoleCreated, RolePermissionsSet
from domain.scopes import WHOLE_TENANT, Scope, ancestors
from domain.service_accounts import (
    ServiceAccountCreated,
    ServiceAccountDisabled,
    ServiceAccountEnabled,
)
from domain.tenants import TenantDeleted
from domain.users import UserDisabled, UserEnabled
from tests.domain.world import (
    ADA,
    BETA,
    BOT,
    BOTS,
    CREW,
    DAN,
    DRONE,
    EVENTS,
    LATER,
    NEW_BOT,
    OPERATOR,
    OPERATOR_PERMISSIONS,
    PROD,
    RECORD,
    SHARED,
    SOON,
    account,
    bound,
    group,
    managed,
    member,
    role,
)
from tests.spec import History, given

if TYPE_CHECKING:
    from domain.events import Event

SECRETS = RoleId("rol_secrets")
DEV = Scope(namespace="dev")
ROLE_MADE = role(SECRETS, from_lists({"SECRET": ["VIEW"]}))
GROUP_BOUND = bound(BOTS, OPERATOR, PROD)
BOT_BOUND = bound(BOT, SECRETS, DEV, expires_at=SOON)
HISTORY: tuple[Event, ...] = (*EVENTS, ROLE_MADE, GROUP_BOUND, BOT_BOUND)
HELD = given(*HISTORY)


def asked(
    type_: str = "FLOW",
    action: str = "EXECUTE",
    namespace: str = "prod.billing",
    resource: tuple[str, str] | None = None,
) -> Question:
    return Question(MAIN, type_, action, ancestors(namespace) if namespace else (), resource)


def why(history: History, question: Question, subject: SubjectId = BOT) -> Explanation:
    return explain(history.state, subject, question, history.at.timestamp())


def at(event: Event) -> int:
    """Answer the position of an event of the history."""
    return HISTORY.index(event) + 1


# Why


def test_an_allow_names_each_event_that_it_rests_on() -> None:
    """Issue 3: enabled since, access, membership, binding and role, each by its position."""
    (path,) = why(HELD, asked()).paths

    assert {
        "enabled": (at(account(BOT, MAIN)[0]),),
        "access": (at(account(BOT, MAIN)[1]),),
        "membership": (at(member(BOTS, BOT)),),
        "binding": (at(GROUP_BOUND),),
        "role": (at(role(OPERATOR, OPERATOR_PERMISSIONS)),),
    } == path.steps
    assert ("FLOW", "EXECUTE") == path.permission
    assert path.held.via is not None
    assert BOTS == path.held.via.group


def test_an_own_binding_is_a_path_without_membership() -> None:
    """What one holds oneself comes through no group."""
    (path,) = why(HELD, asked("SECRET", "VIEW", "dev")).paths

    assert path.held.via is None
    assert ["enabled", "access", "binding", "role"] == [*path.steps]


def test_all_paths_are_named() -> None:
    """Authzen 6: every path that gives the right, and none that does not."""
    more = HELD.and_then(bound(BOT, OPERATOR), bound(BOT, OPERATOR, DEV, id_="bnd_elsewhere"))

    paths = why(more, asked()).paths

    assert {GROUP_BOUND.id, f"bnd_{BOT}_{OPERATOR}"} == {path.held.binding.id for path in paths}


def test_what_was_edited_and_enabled_anew_is_named_by_the_last_time() -> None:
    """A role is behind by its making and by what set its permissions; an account since enabled."""
    edited = from_lists({"FLOW": ["*"]})
    again = HELD.and_then(
        ServiceAccountDisabled(id=BOT),
        ServiceAccountEnabled(id=BOT),
        RolePermissionsSet(tenant=MAIN, id=OPERATOR, permissions=edited),
    )

    (path,) = why(again, asked()).paths

    assert (len(HISTORY) + 2,) == path.steps["enabled"]
    assert (at(role(OPERATOR, OPERATOR_PERMISSIONS)), len(HISTORY) + 3) == path.steps["role"]
    assert ("FLOW", "*") == path.permission


def test_a_user_and_a_group_are_explained_too() -> None:
    """A user since its last enabling; a group, which needs neither that nor access."""
    back = HELD.and_then(UserDisabled(id=ADA), UserEnabled(id=ADA))

    (by_user,) = why(back, asked(), ADA).paths
    (by_group,) = why(HELD, asked(), BOTS).paths

    assert (len(HISTORY) + 2,) == by_user.steps["enabled"]
    assert ["binding", "role"] == [*by_group.steps]


def test_a_legacy_verb_is_named_as_written() -> None:
    """Kestra-iam 5.3: READ grants LIST, and is what the role says."""
    (path,) = why(HELD, asked("EXECUTION", "LIST")).paths

    assert ("EXECUTION", "READ") == path.permission


# Why not


@pytest.mark.parametrize(
    ("more", "subject", "question", "code"),
    [
        ((), UserId("usr_nobody"), asked(), "subject.unknown"),
        ((ServiceAccountDisabled(id=BOT),), BOT, asked(), "subject.disabled"),
        ((UserDisabled(id=DAN),), DAN, asked(), "subject.disabled"),
        ((), DRONE, asked(), "tenant.no_access"),
        ((TenantDeleted(tenant=MAIN),), BOT, asked(), "tenant.no_access"),
        ((), CREW, asked(), "tenant.no_access"),
        ((), DAN, asked(), "binding.none_in_scope"),
        ((), BOT, asked(namespace="staging"), "binding.none_in_scope"),
        ((), BOT, asked(namespace=""), "binding.none_in_scope"),
        ((), BOT, asked("SECRET", "VIEW"), "permission.not_granted"),
        ((), BOT, asked("NEVER", "HEARD"), "permission.not_granted"),
    ],
)
def test_a_deny_says_the_first_condition_that_fails(
    more: tuple[Event, ...], subject: SubjectId, question: Question, code: Code
) -> None:
    """Authzen 6: in the fixed order."""
    assert code == why(HELD.and_then(*more), question, subject).code


def test_a_binding_whose_time_is_over_says_so() -> None:
    """A place that only an expired binding covers is outside its time."""
    found = why(HELD.later(LATER), asked("SECRET", "VIEW", "dev"))

    assert "binding.outside_time" == found.code
    assert [("time", BOT_BOUND.id)] == [(miss.lacks, miss.held.binding.id) for miss in found.near]


def test_a_membership_that_has_not_begun_is_outside_its_time() -> None:
    """The membership's own limits count as the binding's do."""
    soon = HELD.and_then(member(BOTS, DAN, not_before=SOON))

    found = why(soon, asked(), DAN)

    assert ("binding.outside_time", "time") == (found.code, found.near[0].lacks)
    assert "allowed" == why(soon.later(SOON), asked(), DAN).code


def test_a_token_that_does_not_leave_the_right_says_so() -> None:
    """No grant to its owner would widen a token, so none is proposed."""
    found = explain(HELD.state, BOT, asked(), HELD.at.timestamp(), token_usable=False)

    assert ("token.not_usable", ()) == (found.code, found.grants)


def test_near_misses_lack_one_thing_each() -> None:
    """Time, scope or permission; what lacks two of them is not near."""
    near = why(HELD, asked("SECRET", "VIEW")).near
    of_the_group = why(HELD, asked("FLOW", "DELETE")).near

    assert [("scope", BOT_BOUND.id), ("permission", GROUP_BOUND.id)] == [
        (miss.lacks, miss.held.binding.id) for miss in near
    ]
    assert [("permission", GROUP_BOUND.id)] == [
        (miss.lacks, miss.held.binding.id) for miss in of_the_group
    ]


def test_near_misses_are_few() -> None:
    """An explanation stays short, however much somebody holds elsewhere."""
    elsewhere = (
        bound(BOT, SECRETS, Scope(namespace=f"n{number}"), id_=f"bnd_{number:02}")
        for number in range(NEAR_MAX + 5)
    )

    assert NEAR_MAX == len(why(HELD.and_then(*elsewhere), asked("SECRET", "VIEW")).near)


@pytest.mark.parametrize(
    ("type_", "text", "code"),
    [
        ("service_account", "twin", "subject.ambiguous"),
        ("service_account", "bot", "subject.unknown"),
        ("user", "twin", "subject.unknown"),
        ("group", "twin", "subject.unknown"),
        ("robot", "twin", "subject.unknown"),
    ],
)
def test_a_name_that_resolves_to_none_is_unknown_or_ambiguous(
    type_: str, text: str, code: Code
) -> None:
    """Authzen 3: a name that fits several principals of the tenant resolves to none."""
    twins = HELD.and_then(
        ServiceAccountCreated(id=NEW_BOT, name="twin"),
        TenantAccessGranted(tenant=MAIN, principal=NEW_BOT),
        *(
            event
            for id_, tenant in (("sa_other", MAIN), ("sa_beta", BETA))
            for event in (
                ServiceAccountCreated(id=type(NEW_BOT)(id_), name="twin"),
                TenantAccessGranted(tenant=tenant, principal=type(NEW_BOT)(id_)),
            )
        ),
    )

    assert code == explain_unresolved(twins.state, MAIN, type_, text).code
    assert "subject.unknown" == explain_unresolved(twins.state, BETA, type_, text).code


# What would allow it


def test_the_smallest_grant_comes_first() -> None:
    """One permission before a role with one more, before a group with all of another's roles."""
    two = RoleId("rol_two")
    more = HELD.and_then(
        role(two, from_lists({"SECRET": ["VIEW", "DELETE"]})),
        group(GroupId("grp_keepers"), "Keepers"),
        bound(GroupId("grp_keepers"), two),
        bound(GroupId("grp_keepers"), OPERATOR),
    )

    grants = why(more, asked("SECRET", "DELETE"), DAN).grants

    assert [
        (
            RoleCreated(
                tenant=MAIN,
                id=NEW_ROLE,
                name="SECRET DELETE",
                permissions=from_lists({"SECRET": ["DELETE"]}),
            ),
            bound(DAN, NEW_ROLE, Scope(namespace="prod.billing"), id_=NEW_BINDING),
        ),
        (bound(DAN, two, Scope(namespace="prod.billing"), id_=NEW_BINDING),),
        (member(GroupId("grp_keepers"), DAN),),
    ] == [*grants[:3]]


def test_a_role_with_wildcards_is_the_largest() -> None:
    """One `*` may stand for more than any list."""
    grants = why(HELD, asked("SECRET", "DELETE"), DAN).grants

    last = grants[-1][-1]
    assert isinstance(last, BindingCreated)
    assert managed(MAIN, "Admin") == last.role


def test_few_grants_of_a_kind_are_proposed() -> None:
    """The smallest ones; a long list would help nobody."""
    names = [f"rol_{number}" for number in range(GRANTS_OF_A_KIND_MAX + 2)]
    many = HELD.and_then(
        *(role(RoleId(name), from_lists({"SECRET": ["DELETE"]})) for name in names)
    )

    found = [
        events
        for events in why(many, asked("SECRET", "DELETE"), DAN).grants
        if isinstance(events[0], BindingCreated)
    ]

    assert GRANTS_OF_A_KIND_MAX == len(found)


def test_who_is_disabled_and_holds_enough_only_has_to_be_enabled() -> None:
    """Nothing more than needed is proposed."""
    off = HELD.and_then(ServiceAccountDisabled(id=BOT))

    assert ((ServiceAccountEnabled(id=BOT),),) == why(off, asked()).grants


def test_who_lacks_access_and_is_disabled_needs_that_first() -> None:
    """Enabling and access come before the binding, in every grant."""
    out = HELD.and_then(TenantAccessEnded(tenant=MAIN, principal=DAN), UserDisabled(id=DAN))

    first = (UserEnabled(id=DAN), TenantAccessGranted(tenant=MAIN, principal=DAN))
    assert {first} == {grant[:2] for grant in why(out, asked(), DAN).grants}


def test_a_grant_on_one_resource_is_on_that_alone() -> None:
    """The narrowest scope that covers the question; one that cannot be bound is passed over."""
    question = asked("record", "read", "prod", ("record", "r-17"))
    odd = asked("record", "read", "prod", ("record", " r-17"))
    nowhere = asked("record", "read", "", ("a b", "r-17"))

    bindings = [why(HELD, one, DAN).grants[0][-1] for one in (question, odd, nowhere)]

    assert [RECORD, PROD, WHOLE_TENANT] == [
        binding.scope for binding in bindings if isinstance(binding, BindingCreated)
    ]


def test_no_role_is_proposed_for_what_no_role_may_list() -> None:
    """A word that is no identifier is granted by a wildcard alone."""
    grants = why(HELD, asked("no identifier", "x"), DAN).grants

    assert [managed(MAIN, "Admin")] == [
        event.role for grant in grants for event in grant if isinstance(event, BindingCreated)
    ]


def test_a_group_is_proposed_roles_and_no_membership() -> None:
    """Groups are in no groups."""
    grants = why(HELD, asked("SECRET", "DELETE"), BOTS).grants

    kinds = {type(event) for grant in grants for event in grant}
    assert {RoleCreated, BindingCreated} == kinds
    assert {"GROUP"} == {
        event.subject_type
        for grant in grants
        for event in grant
        if isinstance(event, BindingCreated)
    }


def test_a_group_that_would_not_help_is_not_proposed() -> None:
    """Its binding is elsewhere, over, or to a principal."""
    grants = why(HELD.later(LATER), asked("SECRET", "VIEW", "dev"), DAN).grants

    assert not [event for grant in grants for event in grant if isinstance(event, MemberAdded)]


@pytest.mark.parametrize(
    ("more", "subject"),
    [
        ((TenantDeleted(tenant=MAIN),), BOT),
        ((GroupDeleted(tenant=MAIN, id=BOTS),), BOTS),
    ],
)
def test_nothing_helps_where_there_is_no_tenant_or_no_subject(
    more: tuple[Event, ...], subject: SubjectId
) -> None:
    """What is gone is brought back by no grant."""
    assert () == why(HELD.and_then(*more), asked(), subject).grants


# What is effective


def test_effective_is_what_counts_at_the_moment() -> None:
    """Own and group's bindings within their time; nothing of who may not act."""

    def ids(history: History, subject: SubjectId = BOT) -> set[str]:
        held = effective(history.state, MAIN, subject, history.at.timestamp())
        return {one.binding.id for one in held}

    assert {GROUP_BOUND.id, BOT_BOUND.id} == ids(HELD)
    assert {GROUP_BOUND.id} == ids(HELD.later(LATER))
    assert set() == ids(HELD.and_then(ServiceAccountDisabled(id=BOT)))
    assert set() == ids(HELD, SHARED)


def test_what_is_held_in_another_tenant_does_not_count() -> None:
    """Security 2.3: bindings and memberships of one tenant explain nothing in another."""
    there = HELD.and_then(
        member(CREW, SHARED, tenant=BETA),
        bound(CREW, RoleId("rol_beta"), tenant=BETA),
        bound(SHARED, RoleId("rol_beta"), tenant=BETA, id_="bnd_own"),
    )
    in_beta = asked()._replace(tenant=BETA)

    assert ("binding.none_in_scope", ()) == (
        (found := why(there, asked(), SHARED)).code,
        found.near,
    )
    assert {CREW, None} == {
        path.held.via.group if path.held.via else None for path in why(there, in_beta, SHARED).paths
    }
