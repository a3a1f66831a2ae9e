"""Who is an instance owner, and does one who can sign in always stay?

The rules of kestra-iam 5.5 and security 2.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from domain import access
from domain.errors import ConflictError, ForbiddenError
from domain.principals import Event, InstanceOwnerGranted, InstanceOwnerRevoked

if TYPE_CHECKING:
    from domain.commands import Context
    from domain.ids import PrincipalId
    from domain.state import Facts


def set_privilege(
    state: Facts, context: Context, principal: PrincipalId, *, owner: bool
) -> tuple[Event, ...]:
    """Give or take the privilege of an instance owner; the present value changes nothing.

    Raises ForbiddenError `privilege.denied` and ConflictError `owner.last`.
    """
    if owner == (principal in state.owners):
        return ()
    if not access.is_unbounded_owner(state, context):
        raise ForbiddenError("privilege.denied", "only an instance owner changes the privilege")
    if owner:
        return (InstanceOwnerGranted(principal=principal),)
    require_other_owner(state, principal)
    return (InstanceOwnerRevoked(principal=principal),)


def require_other_owner(state: Facts, principal: PrincipalId) -> None:
    """Keep an enabled instance owner who can sign in besides this one, if this one is such.

    Raises ConflictError `owner.last` (kestra-iam 5.5, security 2.6).
    """
    if not _owns_and_signs_in(state, principal):
        return
    for other in state.owners:
        if other != principal and _owns_and_signs_in(state, other):
            return
    raise ConflictError("owner.last", f"{principal} is the last instance owner who can sign in")


def _owns_and_signs_in(state: Facts, principal: PrincipalId) -> bool:
    user = state.users.get(principal)
    return (
        user is not None
        and user.enabled
        and user.password is not UNSET
        and principal in state.owners
    )
