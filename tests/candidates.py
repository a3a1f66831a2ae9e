"""What may a search find at most, by the plainest reading of authzen 5?

It knows the state's rows and nothing of how the product walks them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.permissions import KNOWN
from tests.domain.model import pairs, span

if TYPE_CHECKING:
    from domain.state import State


def subjects(state: State, type_: str) -> set[str]:
    """Answer every subject of a type, in whatever tenant and state."""
    tables = {
        "user": state.users,
        "service_account": state.service_accounts,
        "group": state.groups,
    }
    return {*tables.get(type_, ())}


def resources(state: State, tenant: str, type_: str, now: float) -> set[str]:
    """Answer the ids that valid bindings of the tenant name, and its own objects."""
    named = {
        row.scope.resource.id
        for row in state.bindings.values()
        if row.tenant == tenant
        and row.scope.resource
        and row.scope.resource.type == type_
        and span(row.not_before, row.expires_at)["begins"] <= now
        and now < span(row.not_before, row.expires_at)["ends"]
    }
    return (named | _own(state, tenant, type_)) - {"*"}


def _own(state: State, tenant: str, type_: str) -> set[str]:
    inside = {who for who, held in state.access.items() if tenant in held}
    own: dict[str, set[str]] = {
        "USER": {*(inside & {*state.users})},
        "SERVICE_ACCOUNT": {*(inside & {*state.service_accounts})},
        "GROUP": {row.id for row in state.groups.values() if row.tenant == tenant},
        "ROLE": {row.id for row in state.roles.values() if row.tenant == tenant},
        "BINDING": {row.id for row in state.bindings.values() if row.tenant == tenant},
    }
    return own.get(type_, set())


def actions(state: State, tenant: str, type_: str) -> set[str]:
    """Answer the actions that the tenant's roles mention for the type, and the catalogue's."""
    mentioned = {
        action
        for role in state.roles.values()
        if role.tenant == tenant
        for listed, action in pairs(role.permissions)
        if listed in (type_, "*")
    }
    # The one legacy verb stands for two others as well (kestra-iam 5.3).
    legacy = {"VIEW", "LIST"} if "READ" in mentioned else set[str]()
    return (mentioned | legacy | {*KNOWN.get(type_, ())}) - {"*"}
