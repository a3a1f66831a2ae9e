"""What does a state look like to the oracle, and which questions are put to both?"""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from domain.access import Narrowing
from tests.oracle import Model, allowed, reaches

if TYPE_CHECKING:
    from datetime import datetime

    from msgspec import UnsetType

    from domain.permissions import Permissions
    from domain.scopes import Scope
    from domain.state import State

Question = tuple[str, str, str, str]


def model_of(state: State) -> Model:
    """Answer the state as plain rows; only what was recorded, nothing that was compiled."""
    return {
        "tenants": {row.id for row in state.tenants.values() if not row.deleted},
        "groups": set(state.groups),
        "enabled": {
            row.id: row.enabled
            for table in (state.users, state.service_accounts)
            for row in table.values()
        },
        "access": {(who, tenant) for who, held in state.access.items() for tenant in held},
        "members": [
            {"group": row.group, "principal": row.principal, **span(row.not_before, row.expires_at)}
            for held in state.members.values()
            for row in held.values()
        ],
        "roles": {row.id: pairs(row.permissions) for row in state.roles.values()},
        "bindings": [
            {
                "tenant": row.tenant,
                "subject": row.subject,
                "role": row.role,
                "place": place(row.scope),
                **span(row.not_before, row.expires_at),
            }
            for row in state.bindings.values()
        ],
    }


def span(not_before: datetime | UnsetType, expires_at: datetime | UnsetType) -> dict[str, float]:
    """Answer begin and end in Unix seconds."""
    return {
        "begins": -math.inf if not_before is UNSET else not_before.timestamp(),
        "ends": math.inf if expires_at is UNSET else expires_at.timestamp(),
    }


def pairs(permissions: Permissions) -> list[tuple[str, str]]:
    """Answer the pairs as they were written."""
    return [(entry.type, action) for entry in permissions for action in entry.actions]


def place(scope: Scope) -> str:
    """Answer a scope as the oracle writes it: "", "prod", "record/r-17"."""
    if scope.resource is not UNSET:
        return f"{scope.resource.type}/{scope.resource.id}"
    return "" if scope.namespace is UNSET else scope.namespace


def timeless(model: Model, now: float) -> Model:
    """Answer the model in which all that is not yet over has begun: what may come to be."""
    return model | {
        table: [row | {"begins": -math.inf} for row in model[table] if row["ends"] > now]
        for table in ("members", "bindings")
    }


def leaves(narrowing: Narrowing | UnsetType, tenant: str, question: Question) -> bool:
    """Tell, by the words of kestra-iam 8, whether a narrowing leaves the answer to a question."""
    if narrowing is UNSET:
        return True
    type_, action, namespace, resource = question
    listed: Any = narrowing.permissions
    fits = listed is UNSET or allowed(
        _one_role(pairs(listed)), "t", "p", (type_, action, "", ""), 0
    )
    inside = narrowing.tenants is UNSET or tenant in narrowing.tenants
    places = [*(narrowing.namespaces or ())]
    places += [f"{one.type}/{one.id}" for one in narrowing.resources or ()]
    anywhere = narrowing.namespaces is UNSET and narrowing.resources is UNSET
    return fits and inside and (anywhere or any(reaches(p, namespace, resource) for p in places))


def _one_role(granted: list[tuple[str, str]]) -> Model:
    always = {"begins": -math.inf, "ends": math.inf}
    bound = {"tenant": "t", "subject": "p", "role": "r", "place": ""} | always
    return {
        "tenants": {"t"},
        "groups": set(),
        "enabled": {"p": True},
        "access": {("p", "t")},
        "members": [],
        "roles": {"r": granted},
        "bindings": [bound],
    }


TYPES = ("FLOW", "SECRET", "GROUP", "BINDING", "UNHEARD")
ACTIONS = ("VIEW", "LIST", "READ", "UPDATE", "CREATE", "UNHEARD")
NAMESPACES = ("", "prod", "prod.billing", "production", "dev")
RESOURCES = ("", "record/r-17", "record/r-18")

QUESTIONS: tuple[Question, ...] = tuple(product(TYPES, ACTIONS, NAMESPACES, RESOURCES))
