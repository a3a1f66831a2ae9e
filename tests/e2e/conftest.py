"""Which real processes do the end-to-end tests share?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.node import Node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """An initialised installation, served by a process of its own."""
    served = Node(tmp_path / "data")
    served.init()
    served.start()
    yield served
    served.stop()
