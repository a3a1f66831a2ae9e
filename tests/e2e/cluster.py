"""How do tests run several nodes over one PostgreSQL database, with links that can fail?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct
from psycopg.conninfo import make_conninfo

from tests.campaigns.access import World
from tests.campaigns.client import Answer, Client, bearer
from tests.campaigns.link import Link
from tests.e2e.node import PROGRAM, Node
from tests.postgres import Database, create_database, drop_database, socket_address

BOUND_SECONDS: Final = 2.0
BACK_SECONDS: Final = 10.0


class Cluster(Struct, frozen=True):
    """Nodes over one database; the second reaches it through a link that can fail."""

    database: Database
    nodes: tuple[Node, ...]
    link: Link
    stored: dict[str, str]
    linked: dict[str, str]

    @property
    def first(self) -> Node:
        """The node that made the installation."""
        return self.nodes[0]

    @property
    def second(self) -> Node:
        """The node behind the link."""
        return self.nodes[1]

    @property
    def urls(self) -> list[str]:
        """Where every node listens."""
        return [node.url for node in self.nodes]

    @contextmanager
    def joined(self, directory: Path, program: str) -> Iterator[Node]:
        """Let one more node serve from the same database, perhaps a broken build."""
        directory.mkdir(mode=0o700, exist_ok=True)
        node = Node(directory, program=program, settings=self.stored)
        node.start()
        try:
            yield node
        finally:
            node.stop()


@contextmanager
def running(directory: Path, program: str = PROGRAM, count: int = 2) -> Iterator[Cluster]:
    """Make an installation in a database of its own, and serve it by `count` processes."""
    database = create_database(migrated=False)
    with ExitStack() as stack:
        stack.callback(drop_database, database)
        homes = [directory / f"node-{number}" for number in range(count)]
        first = {"MUNIMENT_DATABASE_URL": database.url}
        owned = {**first, "MUNIMENT_OWNER_DATABASE_URL": database.owner_url}
        Node(homes[0], settings=owned).init()
        link = stack.enter_context(Link(socket_address(database)))
        stored = {**first, "MUNIMENT_MASTER_KEY_FILE": str(homes[0] / "master.key")}
        linked = {
            **stored,
            "MUNIMENT_DATABASE_URL": make_conninfo(
                database.url, host="127.0.0.1", port=str(link.port)
            ),
            "MUNIMENT_STALENESS_BOUND_SECONDS": str(BOUND_SECONDS),
        }
        nodes = []
        for number, home in enumerate(homes):
            home.mkdir(mode=0o700, exist_ok=True)
            settings = (first, linked, stored)[min(number, 2)]
            nodes.append(Node(home, program=program, settings=settings))
            nodes[-1].start()
            stack.callback(nodes[-1].stop)
        yield Cluster(database, tuple(nodes), link, stored, linked)


def ready(node: Node) -> Answer:
    """What the node's readiness probe answers."""
    with Client(node.url, timeout_seconds=5) as probe:
        return probe.ask("GET", "/readyz")


def until_ready(node: Node) -> None:
    """Wait until the node is ready again."""
    end = time.monotonic() + BACK_SECONDS
    while ready(node).status != 200:
        assert time.monotonic() < end, "not ready again: " + "".join(node.output)
        time.sleep(0.02)


def known_everywhere(cluster: Cluster, world: World) -> None:
    """Wait until every process knows what the first has acknowledged."""
    path = f"/api/v1/main/groups/{world.group}"
    with Client(cluster.first.url, bearer(world.owner_token)) as owner:
        position = owner.ask("GET", path).position
    for node in cluster.nodes[1:]:
        until_ready(node)
        with Client(node.url, bearer(world.owner_token)) as owner:
            owner.made("GET", f"{path}?at_least={position}")
