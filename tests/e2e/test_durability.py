"""Is what a real server acknowledged on disk, whatever happens next?"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.campaigns import durability, kills

SEED = 20261123


@pytest.fixture(autouse=True)
def _traced_tests_need_strace(request: pytest.FixtureRequest) -> None:
    if "strace" in request.keywords and (refusal := durability.strace_refusal()):
        pytest.skip(refusal)
