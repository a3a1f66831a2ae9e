"""Which real processes do the end-to-end tests share?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.desk import Desk
from tests.e2e.node import Node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """An initialised installation, served by a process of its own."""
    served = Node(tmp_path / "data")
    served.init()
    served.start()
    yield served
    served.stop()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Yield one installation for all tests, each of which makes its own objects."""
    node = Node(tmp_path_factory.mktemp("cli") / "data")
    node.init()
    node.start()
    yield Desk(node, tmp_path_factory.mktemp("home"))
    node.stop()
