"""What is a subject, and how is it called, as far as the asker may see it?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Literal

from api.iam import principals
from api.judging import Judge

if TYPE_CHECKING:
    from api.call import Call
    from domain.ids import SubjectId, TenantId
    from domain.state import State

Kind = Literal["user", "service_account", "group"]

# By which permissions, of which any will do, the names of each kind are seen.
_NAMED_BY: Final[dict[Kind, str]] = {
    "user": "USER",
    "service_account": "SERVICE_ACCOUNT",
    "group": "GROUP",
}


def kind_of(state: State, subject: SubjectId) -> Kind:
    """Answer what a subject is, one that is unknown a service account."""
    if subject in state.users:
        return "user"
    return "group" if subject in state.groups else "service_account"


async def names_of(
    call: Call, state: State, tenant: TenantId, whom: Iterable[SubjectId]
) -> dict[str, str]:
    """Answer the names that the caller sees in a tenant: its own, and those of kinds it may see."""
    judge, now = Judge(call.service), call.service.inputs.now().timestamp()
    seen = {
        kind
        for kind, type_ in _NAMED_BY.items()
        if any(
            judge.holds(call.asker, (type_, action), tenant, None, None, now)
            for action in ("VIEW", "LIST")
        )
    }
    own = call.caller.principal
    shown = [one for one in whom if one == own or kind_of(state, one) in seen]
    found = await principals.names(call, state, shown)
    named: dict[str, str] = {id_: name.username for id_, name in found.items()}
    named.update({id_: state.groups[id_].name for id_ in shown if id_ in state.groups})
    return named
