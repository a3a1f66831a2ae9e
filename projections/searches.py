"""Who may do that there, on what, and what else: the questions of a check, asked backwards?

First the candidates (authzen 5), then each of them is judged as in every check. Only the state
that is given is read, so all of it may run in any thread.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from domain import access, permissions
from domain.ids import GroupId
from domain.permissions import ANY
from domain.principals import has_access
from domain.scopes import WHOLE_TENANT_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from domain.access import Question
    from domain.ids import BindingId, PrincipalId, SubjectId, TenantId
    from domain.principals import Binding, Membership
    from domain.roles import Role
    from domain.state import State


_NO_BINDINGS: Final[Mapping[BindingId, Binding]] = {}
_NO_MEMBERS: Final[Mapping[PrincipalId, Membership]] = {}


# Subjects


def subjects(
    state: State,
    question: Question,
    now: float,
    among: Callable[[SubjectId], bool],
    most: int | None = None,
) -> list[SubjectId]:
    """Answer the principals and groups that may at `now` (Unix seconds), by id.

    `among` tells which of them are asked about; with `most` only the first so many are answered.
    """
    candidates = sorted({subject for subject in _candidates(state, question) if among(subject)})
    found = (subject for subject in candidates if access.allows(state, subject, question, now))
    return [*islice(found, most)]


def _candidates(state: State, question: Question) -> Iterator[SubjectId]:
    """Yield whoever has, itself or through a group, a binding that grants it and covers it."""
    needed = access.need(state, question.tenant, question.type, question.action)
    places = (WHOLE_TENANT_KEY, question.resource, *question.namespaces)
    for role in _roles(state, question.tenant):
        if not role.mask & needed:
            continue
        for binding in state.bindings_to.get(role.id, _NO_BINDINGS).values():
            if binding.scope.key in places:
                yield binding.subject
                yield from state.members.get(GroupId(binding.subject), _NO_MEMBERS)


# Resources


def resources(state: State, subject: SubjectId, question: Question, now: float) -> list[str]:
    """Answer the ids of the question's type on which the subject may at `now`, in order.

    The namespaces of the question count for each of them; its resource is not read. `*` is no
    resource, though a binding may name it.
    """
    compiled = access.compile_subject(state, question.tenant, subject, now)
    if compiled is None:
        return []
    masks = compiled.masks
    needed = access.need(state, question.tenant, question.type, question.action)
    if access.evaluate(masks, needed, question.namespaces, None):
        candidates = {
            *_named(state, question.tenant, question.type, now),
            *_own(state, question.tenant, question.type),
        }
    else:
        # No more is left than what the subject's own bindings name, be it among thousands.
        candidates = {key[1] for key in masks if isinstance(key, tuple) and key[0] == question.type}
    return sorted(
        id_
        for id_ in candidates - {ANY}
        if access.evaluate(masks, needed, question.namespaces, (question.type, id_))
    )


def _named(state: State, tenant: TenantId, type_: str, now: float) -> Iterator[str]:
    """Yield the ids of that type that a binding of the tenant names, while it is valid."""
    for role in _roles(state, tenant):
        for binding in state.bindings_to.get(role.id, _NO_BINDINGS).values():
            resource = binding.scope.resource
            if (
                resource
                and resource.type == type_
                and access.is_active(binding.not_before, binding.expires_at, now)
            ):
                yield resource.id


def _own(state: State, tenant: TenantId, type_: str) -> Iterator[str]:
    """Yield the ids of the tenant's objects that are Muniment's own; none for another type."""
    if type_ in ("USER", "SERVICE_ACCOUNT"):
        table = state.users if type_ == "USER" else state.service_accounts
        yield from (one.id for one in table.values() if has_access(state, one.id, tenant))
    elif type_ == "GROUP":
        yield from (group.id for group in state.groups.values() if group.tenant == tenant)
    elif type_ == "ROLE":
        yield from (role.id for role in _roles(state, tenant))
    elif type_ == "BINDING":
        for role in _roles(state, tenant):
            yield from state.bindings_to.get(role.id, _NO_BINDINGS)


# Actions


def actions(state: State, subject: SubjectId, question: Question, now: float) -> list[str]:
    """Answer the actions that the subject may on the question's type and place at `now`, in order.

    The question's own action is not read. `*` is no action, though a role may name it.
    """
    compiled = access.compile_subject(state, question.tenant, subject, now)
    if compiled is None:
        return []
    candidates = {
        action
        for role in _roles(state, question.tenant)
        for type_, action in permissions.granted(role.permissions)
        if type_ in (question.type, ANY)
    }
    candidates.update(permissions.KNOWN.get(question.type, ()))
    return sorted(
        action
        for action in candidates - {ANY}
        if access.evaluate(
            compiled.masks,
            access.need(state, question.tenant, question.type, action),
            question.namespaces,
            question.resource,
        )
    )


def _roles(state: State, tenant: TenantId) -> Iterator[Role]:
    return (role for role in state.roles.values() if role.tenant == tenant)
