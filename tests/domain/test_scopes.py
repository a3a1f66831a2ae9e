"""Which place covers which other?"""

from __future__ import annotations

from hypothesis import given as for_all
from hypothesis import strategies as st

from domain.scopes import WHOLE_TENANT, WHOLE_TENANT_KEY, Resource, Scope, ancestors

segments = st.lists(st.text(alphabet="ab_-", min_size=1, max_size=3), min_size=1, max_size=6)


def test_a_namespace_has_those_above_it_nearest_first() -> None:
    """Kestra-iam 5.1: whole segments, prod covers prod.billing and never production."""
    assert ("prod.billing.eu", "prod.billing", "prod") == ancestors("prod.billing.eu")
    assert ("production",) == ancestors("production")


@for_all(segments)
def test_ancestors_are_the_prefixes_in_whole_segments(path: list[str]) -> None:
    """Kestra-iam 5.1: as many as there are segments."""
    expected = tuple(".".join(path[:length]) for length in range(len(path), 0, -1))

    assert expected == ancestors(".".join(path))


def test_no_two_scopes_share_a_key() -> None:
    """Security 2.9: keys are of different types, never joined strings."""
    scopes = (
        WHOLE_TENANT,
        Scope(namespace="record"),
        Scope(namespace="record.r-17"),
        Scope(resource=Resource("record", "r-17")),
        Scope(resource=Resource("record.r", "17")),
        Scope(resource=Resource("record", "")),
    )

    assert len(scopes) == len({scope.key for scope in scopes})
    assert WHOLE_TENANT_KEY == WHOLE_TENANT.key
