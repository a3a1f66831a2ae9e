"""Which installation does a test of the routes ask?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service import Served, served


@pytest.fixture
def http(tmp_path: Path) -> Iterator[Served]:
    """Yield a new installation with an instance owner and the tenant `main`."""
    with served(tmp_path) as installation:
        yield installation
