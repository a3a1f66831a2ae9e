"""Who may manage tenants and identities everywhere?"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from msgspec import Struct

from domain import principals, privilege
from domain.ids import PrincipalId

if TYPE_CHECKING:
    from domain.commands import Context
    from domain.state import Facts

# Commands


class GrantInstanceOwner(Struct, frozen=True, kw_only=True):
    principal: PrincipalId


class RevokeInstanceOwner(Struct, frozen=True, kw_only=True):
    principal: PrincipalId


Command = GrantInstanceOwner | RevokeInstanceOwner

# Rules


def decide(state: Facts, command: Command, context: Context) -> tuple[principals.Event, ...]:
    principals.require(state, command.principal)
    match command:
        case GrantInstanceOwner():
            return privilege.set_privilege(state, context, command.principal, owner=True)
        case RevokeInstanceOwner():
            return privilege.set_privilege(state, context, command.principal, owner=False)
        case _:
            assert_never(command)
