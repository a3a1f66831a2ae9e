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


@pytest.fixture
def all_kept(tmp_path: Path) -> Iterator[Served]:
    """Yield an installation that keeps every decision in full."""
    with served(tmp_path, "all") as installation:
        yield installation


@pytest.fixture
def strictly_kept(tmp_path: Path) -> Iterator[Served]:
    """Yield an installation that answers nothing before its record is durable."""
    with served(tmp_path, "required") as installation:
        yield installation
