"""Who may do that there: the questions of a check, asked backwards?

Whoever may has, itself or through a group, a binding of a role that grants it at a place that
covers the question. So only those are candidates, and each of them is judged as in every check.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from domain import access
from domain.ids import GroupId
from domain.scopes import WHOLE_TENANT_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from domain.access import Question
    from domain.ids import BindingId, PrincipalId, SubjectId
    from domain.principals import Binding, Membership
    from domain.state import State


_NO_BINDINGS: Final[Mapping[BindingId, Binding]] = {}
_NO_MEMBERS: Final[Mapping[PrincipalId, Membership]] = {}


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
    needed = access.need(state, question.tenant, question.type, question.action)
    places = (WHOLE_TENANT_KEY, question.resource, *question.namespaces)
    for role in state.roles.values():
        if role.tenant != question.tenant or not role.mask & needed:
            continue
        for binding in state.bindings_to.get(role.id, _NO_BINDINGS).values():
            if binding.scope.key in places:
                yield binding.subject
                yield from state.members.get(GroupId(binding.subject), _NO_MEMBERS)
