"""Why may this subject do that there, or why not, and what is the least that would change it?

Nothing is judged here. A path is named when the judge of every check (`access.allows`) says yes to
a state in which the subject holds nothing but that one binding, and a grant is proposed when it
says yes to the state that the grant's events would lead to. So an explanation cannot tell another
story than the decision (authzen 6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from msgspec import Struct, structs

from domain import access, names, principals
from domain.access import Question, allows
from domain.events import Actor, Envelope, Event, Fact, tenant_of
from domain.ids import BindingId, CommandId, GroupId, RoleId, TenantId
from domain.permissions import ANY, TypeActions, granted
from domain.principals import BindingCreated, MemberAdded, TenantAccessGranted
from domain.roles import RoleCreated
from domain.scopes import WHOLE_TENANT, WHOLE_TENANT_KEY, Resource, Scope
from domain.service_accounts import ServiceAccountEnabled
from domain.state import PersistentMap, State, evolve
from domain.users import UserEnabled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from domain.ids import SubjectId
    from domain.permissions import Permissions
    from domain.principals import Binding, Membership

NEAR_MAX: Final = 10
GRANTS_OF_A_KIND_MAX: Final = 3

# The first condition that fails, in the order in which they are judged (authzen 6).
Code = Literal[
    "allowed",
    "subject.unknown",
    "subject.ambiguous",
    "subject.disabled",
    "tenant.no_access",
    "token.not_usable",
    "binding.none_in_scope",
    "binding.outside_time",
    "permission.not_granted",
]
Lacks = Literal["time", "scope", "permission"]
_LACKS: Final[tuple[Lacks, ...]] = ("time", "scope", "permission")

# The ids that what a grant would make has until it is made; no id of ours is of this form.
NEW_ROLE: Final = RoleId("new-role")
NEW_BINDING: Final = BindingId("new-binding")

_NO_BINDINGS: Final[Mapping[BindingId, Binding]] = {}
_NOBODY: Final = Actor(type="system", id="")


class Held(NamedTuple):
    """A binding that counts for a subject: its own, or its group's by a membership."""

    binding: Binding
    via: Membership | None


class Path(NamedTuple):
    """One way by which the subject may, sufficient by itself.

    `permission` is (type, action) as the role lists it. `steps` are the positions of the events
    that it rests on, by what they brought about; without the events of any one step there is no
    such way.
    """

    held: Held
    permission: tuple[str, str]
    steps: dict[str, tuple[int, ...]]


class NearMiss(NamedTuple):
    """A binding that would allow, but for one thing that it lacks."""

    held: Held
    lacks: Lacks


class Explanation(Struct, frozen=True, kw_only=True):
    """Why, in full: all paths for a yes; near misses and the smallest grants for a no.

    Each grant is the events that would come from it, smallest first.
    """

    code: Code
    paths: tuple[Path, ...] = ()
    near: tuple[NearMiss, ...] = ()
    grants: tuple[tuple[Event, ...], ...] = ()


def explain(
    state: State, subject: SubjectId, question: Question, now: float, *, token_usable: bool = True
) -> Explanation:
    """Explain the answer to a question about a known subject at `now` (Unix seconds).

    `token_usable` tells whether the token that the question names, if any, leaves the right.
    """
    held = [*all_held(state, question.tenant, subject)]
    if not token_usable or not allows(state, subject, question, now):
        code = _refusal(state, subject, question, held, now, token_usable=token_usable)
        return Explanation(
            code=code,
            near=_near_misses(state, question, held, now),
            grants=_grants(state, subject, question, now) if token_usable else (),
        )
    return Explanation(
        code="allowed",
        paths=tuple(
            Path(one, _permission(state, one, question), steps(state, subject, one))
            for one in held
            if allows(_alone(state, subject, one), subject, question, now)
        ),
    )


def explain_unresolved(state: State, tenant: TenantId, type_: str, text: str) -> Explanation:
    """Explain why a text names no subject: nobody has that name, or several have."""
    named = (
        account
        for account in state.service_accounts.values()
        if account.name == text and principals.has_access(state, account.id, tenant)
    )
    is_ambiguous = type_ == "service_account" and any(named) and any(named)
    return Explanation(code="subject.ambiguous" if is_ambiguous else "subject.unknown")


# What a subject holds


def all_held(state: State, tenant: TenantId, subject: SubjectId) -> Iterator[Held]:
    """Yield every binding in the tenant that counts for the subject, whatever its time."""
    for binding in access.bindings_of(state, subject):
        if binding.tenant == tenant:
            yield Held(binding, None)
    for membership in access.memberships_of(state, subject):
        for binding in access.bindings_of(state, membership.group):
            if membership.tenant == binding.tenant == tenant:
                yield Held(binding, membership)


def effective(state: State, tenant: TenantId, subject: SubjectId, now: float) -> tuple[Held, ...]:
    """Answer what gives the subject something at `now`; nothing where it may not act at all."""
    if access.compile_subject(state, tenant, subject, now) is None:
        return ()
    return tuple(one for one in all_held(state, tenant, subject) if is_in_time(one, now))


def why_nothing(state: State, tenant: TenantId, subject: SubjectId, now: float) -> Code:
    """Answer the first condition by which a subject that holds nothing at `now` does so."""
    refused = _cannot_act(state, tenant, subject, now)
    if refused is not None:
        return refused
    held = [*all_held(state, tenant, subject)]
    if not held:
        return "binding.none_in_scope"
    in_time = any(is_in_time(one, now) for one in held)
    return "permission.not_granted" if in_time else "binding.outside_time"


def is_in_time(held: Held, now: float) -> bool:
    """Tell whether binding and membership are both within their time limits."""
    return all(
        access.is_active(limited.not_before, limited.expires_at, now)
        for limited in held
        if limited is not None
    )


def _alone(state: State, subject: SubjectId, held: Held) -> State:
    """Answer the state in which this binding is all that the subject holds."""
    binding, via = held
    joined = {} if via is None else {subject: PersistentMap({via.group: via})}
    return structs.replace(
        state,
        bindings_of=PersistentMap({binding.subject: PersistentMap({binding.id: binding})}),
        memberships=PersistentMap(joined),
    )


# Why


def _permission(state: State, held: Held, question: Question) -> tuple[str, str]:
    """Answer the first permission of the role, as it was written, that covers the question."""
    asked = question.type, question.action
    written = (
        (entry.type, action)
        for entry in state.roles[held.binding.role].permissions
        for action in entry.actions
        if any(
            access.covers(pair, asked) for pair in granted((TypeActions(entry.type, (action,)),))
        )
    )
    return next(written)


def steps(state: State, subject: SubjectId, held: Held) -> dict[str, tuple[int, ...]]:
    """Answer the positions of the events that what is held rests on, by what they brought about."""
    binding, via = held
    role = state.roles[binding.role]
    found: dict[str, tuple[int, ...]] = {}
    principal = state.users.get(subject) or state.service_accounts.get(subject)
    if principal is not None:
        found["enabled"] = (principal.enabled_position,)
        found["access"] = (state.access[subject][binding.tenant].position,)
    if via is not None:
        found["membership"] = (via.ordinal,)
    found["binding"] = (binding.changed,)
    found["role"] = tuple(dict.fromkeys((role.created_position, role.permissions_position)))
    return found


# Why not


def _refusal(
    state: State,
    subject: SubjectId,
    question: Question,
    held: list[Held],
    now: float,
    *,
    token_usable: bool,
) -> Code:
    refused = _cannot_act(state, question.tenant, subject, now)
    if refused is not None:
        return refused
    if not token_usable:
        return "token.not_usable"
    covering = [one for one in held if _covers(one.binding.scope, question)]
    if not covering:
        return "binding.none_in_scope"
    if not any(is_in_time(one, now) for one in covering):
        return "binding.outside_time"
    return "permission.not_granted"


def _cannot_act(state: State, tenant: TenantId, subject: SubjectId, now: float) -> Code | None:
    """Answer why the subject may not act in the tenant at all; None where it may."""
    principal = state.users.get(subject) or state.service_accounts.get(subject)
    if principal is None and subject not in state.groups:
        return "subject.unknown"
    if principal is not None and not principal.enabled:
        return "subject.disabled"
    if access.compile_subject(state, tenant, subject, now) is None:
        return "tenant.no_access"
    return None


def _covers(scope: Scope, question: Question) -> bool:
    return scope.key in (WHOLE_TENANT_KEY, question.resource, *question.namespaces)


def _near_misses(
    state: State, question: Question, held: list[Held], now: float
) -> tuple[NearMiss, ...]:
    needed = access.need(state, question.tenant, question.type, question.action)
    found: list[NearMiss] = []
    for one in held:
        has: dict[Lacks, bool] = {
            "time": is_in_time(one, now),
            "scope": _covers(one.binding.scope, question),
            "permission": state.roles[one.binding.role].mask & needed != 0,
        }
        lacking: list[Lacks] = [name for name in _LACKS if not has[name]]
        if len(lacking) == 1:
            found.append(NearMiss(one, lacking[0]))
    found.sort(key=lambda miss: (_LACKS.index(miss.lacks), miss.held.binding.id))
    return tuple(found[:NEAR_MAX])


# What would allow it


class _Size(NamedTuple):
    """How much a grant gives: wildcards first, then the number of permissions."""

    wildcards: int
    permissions: int


def _grants(
    state: State, subject: SubjectId, question: Question, now: float
) -> tuple[tuple[Event, ...], ...]:
    """Answer the smallest grants after which the judge says yes."""
    if not access.is_open(state, question.tenant):
        return ()
    needed_first = _needed_first(state, subject, question.tenant)
    ready = _after(state, needed_first)
    if allows(ready, subject, question, now):
        return (needed_first,)
    sized = [
        *_by_roles(ready, subject, question)[:GRANTS_OF_A_KIND_MAX],
        *_by_groups(ready, subject, question, now)[:GRANTS_OF_A_KIND_MAX],
        *_by_new_role(ready, subject, question),
    ]
    sized.sort(key=lambda one: one[0])
    return tuple(
        (*needed_first, *events)
        for _, events in sized
        if allows(_after(ready, events), subject, question, now)
    )


def _needed_first(state: State, subject: SubjectId, tenant: TenantId) -> tuple[Event, ...]:
    """Answer what has to happen before any grant counts: to be enabled, and to have access."""
    account, user = state.service_accounts.get(subject), state.users.get(subject)
    found: list[Event] = []
    if account is not None and not account.enabled:
        found.append(ServiceAccountEnabled(id=account.id))
    if user is not None and not user.enabled:
        found.append(UserEnabled(id=user.id))
    principal = account or user
    if principal is not None and not principals.has_access(state, principal.id, tenant):
        found.append(TenantAccessGranted(tenant=tenant, principal=principal.id))
    return tuple(found)


def _by_roles(
    state: State, subject: SubjectId, question: Question
) -> list[tuple[_Size, tuple[Event, ...]]]:
    """Answer a binding of each role that grants it, at the narrowest scope that will do."""
    needed = access.need(state, question.tenant, question.type, question.action)
    found: list[tuple[_Size, RoleId]] = [
        (_size(role.permissions), role.id)
        for role in state.roles.values()
        if role.tenant == question.tenant and role.mask & needed
    ]
    return [
        (size, (_bound(state, subject, question, role),))
        for size, role in sorted(found, key=lambda one: (one[0], one[1]))
    ]


def _by_groups(
    state: State, subject: SubjectId, question: Question, now: float
) -> list[tuple[_Size, tuple[Event, ...]]]:
    """Answer a membership in each group whose own bindings allow it."""
    principal = state.users.get(subject) or state.service_accounts.get(subject)
    if principal is None:
        return []
    needed = access.need(state, question.tenant, question.type, question.action)
    groups = {
        GroupId(binding.subject)
        for role in state.roles.values()
        if role.tenant == question.tenant and role.mask & needed
        for binding in state.bindings_to.get(role.id, _NO_BINDINGS).values()
        if binding.subject_type == "GROUP" and _covers(binding.scope, question)
    }
    found = [
        (_size_of_group(state, question.tenant, group, now), group)
        for group in groups
        if allows(state, group, question, now)
    ]
    return [
        (size, (MemberAdded(tenant=question.tenant, group=group, principal=principal.id),))
        for size, group in sorted(found)
    ]


def _by_new_role(
    state: State, subject: SubjectId, question: Question
) -> list[tuple[_Size, tuple[Event, ...]]]:
    """Answer a role with this one permission, and its binding."""
    try:
        names.identifier(question.type)
        names.identifier(question.action)
    except ValueError:
        return []
    permissions = (TypeActions(question.type, (question.action,)),)
    made = RoleCreated(
        tenant=question.tenant,
        id=NEW_ROLE,
        name=f"{question.type} {question.action}",
        permissions=permissions,
    )
    return [(_size(permissions), (made, _bound(state, subject, question, NEW_ROLE)))]


def _bound(state: State, subject: SubjectId, question: Question, role: RoleId) -> BindingCreated:
    return BindingCreated(
        tenant=question.tenant,
        id=NEW_BINDING,
        subject_type="GROUP" if subject in state.groups else "PRINCIPAL",
        subject=subject,
        role=role,
        scope=_narrowest(question),
    )


def _narrowest(question: Question) -> Scope:
    """Answer the narrowest scope that may be bound and covers the question."""
    if question.resource is not None:
        type_, id_ = question.resource
        try:
            names.identifier(type_)
            names.resource_id(id_)
        except ValueError:
            pass
        else:
            return Scope(resource=Resource(type_, id_))
    return Scope(namespace=question.namespaces[0]) if question.namespaces else WHOLE_TENANT


def _size(permissions: Permissions) -> _Size:
    pairs = [*granted(permissions)]
    return _Size(sum(ANY in pair for pair in pairs), len(pairs))


def _size_of_group(state: State, tenant: TenantId, group: GroupId, now: float) -> _Size:
    sizes = [
        _size(state.roles[held.binding.role].permissions)
        for held in effective(state, tenant, group, now)
    ]
    return _Size(sum(one.wildcards for one in sizes), sum(one.permissions for one in sizes))


def _after(state: State, events: Iterable[Event]) -> State:
    """Answer the state that these events would lead to, by the one fold."""
    return evolve(
        state,
        (
            Fact(position, _enveloped(state.at, event))
            for position, event in enumerate(events, state.position + 1)
        ),
    )


def _enveloped(at: datetime, event: Event) -> Envelope[Event]:
    return Envelope(
        at=at,
        actor=_NOBODY,
        tenant=tenant_of(event),
        command_id=CommandId(""),
        correlation_id="",
        event=event,
    )
