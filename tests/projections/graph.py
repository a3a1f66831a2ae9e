"""How is the live graph asked as the oracle is, and seen from inside?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.ids import (
    TenantId,
    UserId,
)
from projections.access_graph import AccessGraph, Check
from tests.domain.model import Question
from tests.domain.world import (
    index,
)
from tests.fixed_inputs import START

if TYPE_CHECKING:
    pass

NOW = START.timestamp()
UNHEARD = TenantId("unheard")


def email_index(email: str) -> bytes:
    """Answer the index that a user of this id and any domain has in tests."""
    return index(email.partition("@")[0])


def ask(graph: AccessGraph, tenant: str, subject: str, asked: Question, now: float) -> bool:
    """Put the oracle's form of a question to the graph."""
    return ask_with(graph.check, tenant, subject, asked, now)


def ask_with(check: Check, tenant: str, subject: str, asked: Question, now: float) -> bool:
    """Put the oracle's form of a question to whatever answers checks."""
    type_, action, namespace, resource = asked
    kind, _, id_ = resource.partition("/")
    return check(
        TenantId(tenant),
        UserId(subject),
        type_,
        action,
        namespace or None,
        (kind, id_) if resource else None,
        now,
    )


class Open(AccessGraph):
    """The graph, and how much it keeps."""

    def entries(self) -> set[tuple[str, str]]:
        """Answer which subjects have an entry, and in which tenants."""
        return {
            (tenant, subject)
            for tenant, found in self._tenants.items()
            for subject in found.compiled
        }

    def names(self) -> set[str]:
        """Answer which names of service accounts are known."""
        return {*self._names}

    def namespaces(self) -> int:
        """Answer of how many namespaces the ancestors are kept."""
        return sum(len(found.ancestors) for found in self._tenants.values())

    def sizes(self) -> list[int]:
        """Answer how much is kept of each kind besides entries."""
        needs = [found.needs for found in self._tenants.values()]
        actions = sum(len(exact) for each in needs for exact, _ in each.values())
        return [len(self._tenants), len(self._names), self.namespaces(), *map(len, needs), actions]
