"""Does a patch say exactly what an act changed, and how to change it back?"""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from projections import audit


def patched(document: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    """Apply a patch of whole members as RFC 6902 says."""
    result = dict(document)
    for operation in operations:
        member = operation["path"][1:].replace("~1", "/").replace("~0", "~")
        if operation["op"] == "remove":
            del result[member]
        else:
            assert (operation["op"] == "replace") is (member in result)
            result[member] = operation["value"]
    return result


DOCUMENTS = st.dictionaries(
    st.text(alphabet="ab/~é", max_size=3), st.integers() | st.text(max_size=3), max_size=5
)


@given(before=DOCUMENTS | st.none(), after=DOCUMENTS | st.none())
def test_patch_leads_from_one_object_to_the_other_and_back(
    before: dict[str, Any] | None, after: dict[str, Any] | None
) -> None:
    """`appliedPatch` and `revertPatch` are each other's way back (RFC 6902)."""
    old = None if before is None else msgspec.json.encode(before).decode()
    new = None if after is None else msgspec.json.encode(after).decode()

    assert patched(before or {}, audit.patch(old, new)) == (after or {})
    assert patched(after or {}, audit.patch(new, old)) == (before or {})
    assert audit.patch(old, old) == []


def test_object_is_shown_for_people_to_compare() -> None:
    """Keys sorted, two spaces; nothing where there was no object (kestra-iam 6.8)."""
    assert audit.as_text('{"b":1,"a":{"d":[],"c":2}}') == (
        '{\n  "a": {\n    "c": 2,\n    "d": []\n  },\n  "b": 1\n}'
    )
    assert audit.as_text(None) == ""
