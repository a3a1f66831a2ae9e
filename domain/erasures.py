"""Whose personal data is gone for good?

The event says so first; then the keys are destroyed, again at every start (transparency-log 5).
No rule depends on what was sealed, so every decision of the past stays as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from msgspec import UNSET, Struct

from domain import users
from domain.errors import InvalidError, NotFoundError
from domain.ids import UserId

if TYPE_CHECKING:
    from domain import principals
    from domain.commands import Context
    from domain.state import Draft, Facts

# Commands


class EraseUser(Struct, frozen=True, kw_only=True):
    """Erase a person; a user that is still there is deleted as well."""

    id: UserId


Command = EraseUser

# Events


class UserErased(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "user.erased.v1"
    id: UserId


Event = UserErased

# Rules


def decide(
    state: Facts, command: EraseUser, context: Context
) -> tuple[UserErased | users.Event | principals.Event, ...]:
    """Erase a user of today or of the past; one who is erased already stays so.

    Raises NotFoundError `user.unknown`, InvalidError `reason.required` and ConflictError
    `owner.last`.
    """
    id_ = command.id
    if id_ in state.erased_users:
        return ()
    if id_ not in state.users and id_ not in state.former_users:
        raise NotFoundError("user.unknown", f"there was never a user {id_}")
    if context.reason is UNSET:
        raise InvalidError("reason.required", "to erase a person needs a reason")
    deleted = users.deleted(state, id_) if id_ in state.users else ()
    return (*deleted, UserErased(id=id_))


# Memory


def apply(draft: Draft, event: UserErased) -> None:
    draft.former_users.pop(event.id, None)
    draft.erased_users[event.id] = draft.position
