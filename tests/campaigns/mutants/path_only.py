"""What if only the tenant of the path were judged, not that of the ids? (security 2.3)."""

from __future__ import annotations

from domain import groups
from domain.errors import NotFoundError
from domain.groups import Group
from domain.ids import GroupId, TenantId
from domain.state import Facts
from tests.campaigns.mutants.start import broken


def require_anywhere(state: Facts, tenant: TenantId, id_: GroupId) -> Group:
    """Find a group, whichever tenant it stands in."""
    del tenant
    group = state.groups.get(id_)
    if group is None:
        raise NotFoundError("group.unknown", f"no group {id_}")
    return group


if __name__ == "__main__":
    broken(groups, "require", require_anywhere)
