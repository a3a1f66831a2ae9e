"""What if decisions were kept for a while? (reliability 1: `stale_cache`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from domain.ids import SubjectId, TenantId
from projections.access_graph import AccessGraph
from tests.campaigns.mutants.start import broken

KEPT_SECONDS: Final = 2.0

Question = tuple[str, str, str, str, str | None, tuple[str, str] | None]

_CHECK = AccessGraph.check
_KEPT: dict[object, tuple[float, bool]] = {}


def kept(key_of: Callable[[Question], object]) -> Callable[..., bool]:
    """A check that is answered again for all questions with the same key."""

    def check(
        graph: AccessGraph,
        tenant: TenantId,
        subject: SubjectId,
        type_: str,
        action: str,
        namespace: str | None,
        resource: tuple[str, str] | None,
        now: float,
    ) -> bool:
        key = key_of((tenant, subject, type_, action, namespace, resource))
        found = _KEPT.get(key)
        if found is None or found[0] < time.monotonic():
            decision = _CHECK(graph, tenant, subject, type_, action, namespace, resource, now)
            found = _KEPT[key] = (time.monotonic() + KEPT_SECONDS, decision)
        return found[1]

    return check


if __name__ == "__main__":
    broken(AccessGraph, "check", kept(lambda question: question))
