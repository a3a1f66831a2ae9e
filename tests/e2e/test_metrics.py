"""Does a real node tell how it fares, from its sockets to its sinks?"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest

from tests.campaigns.access import owner_token
from tests.e2e.node import Node
from tests.scraping import Page, faults

WAIT_SECONDS: Final = 60
A_PEER_MAX: Final = 200


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """An installation that may deliver to loopback."""
    served = Node(tmp_path / "data", settings={"MUNIMENT_SINK_NETWORKS": "127.0.0.0/8"})
    served.init()
    served.start()
    yield served
    served.stop()


def scraper(owner: httpx.Client) -> str:
    """Make a program that may see the metrics and nothing else; answer its token."""

    def made(path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = owner.post(f"/api/v1/main/{path}", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    role = made("roles", {"name": "scraper", "permissions": {"METRICS": ["VIEW"]}})["id"]
    account = made("service-accounts", {"name": "prometheus"})["id"]
    made("bindings", {"type": "USER", "externalId": account, "roleId": role})
    token: str = made(f"service-accounts/{account}/api-tokens", {"name": "scrape"})["fullToken"]
    return token


def test_a_node_tells_how_it_fares(node: Node) -> None:
    """Operations 1: with a token for nothing else, over a socket, from every part that there is."""
    closed = socket.create_server(("127.0.0.1", 0))
    dead = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    closed.close()
    with node.client(owner_token(node.url)) as owner, node.client(scraper(owner)) as prometheus:
        sink = {"name": "SIEM", "kind": "webhook", "url": dead, "after": 0}
        id_ = owner.post("/api/v1/audit/sinks", json=sink).json()["id"]
        position = owner.post("/api/v1/main/groups", json={"name": "Bots"}).headers
        question = {
            "subject": {"type": "service_account", "id": "prometheus"},
            "action": {"name": "VIEW"},
            "resource": {"type": "METRICS", "id": "*"},
        }
        assert owner.post("/access/v1/evaluation", json=question).json()["decision"]
        assert prometheus.get("/api/v1/main/groups/search").status_code == 403

        end = time.monotonic() + WAIT_SECONDS
        while True:
            answer = prometheus.get("/metrics")
            page = Page(answer.text)
            if page.value("sink_failures_total", sink=id_) and page.value("log_sealed_size"):
                break
            assert time.monotonic() < end, answer.text
            time.sleep(0.1)

    assert faults(page.text) == []
    head = int(position["x-muniment-position"])
    assert page.value("log_position") == head
    assert page.value("sink_lag_events", sink=id_) == head
    assert page.value("decisions_total", decision="allow") == 1
    assert page.value("check_duration_seconds_sum", endpoint="evaluation") > 0
    assert page.value("append_duration_seconds_sum") > 0
    route = "/api/v1/{tenant}/groups"
    assert page.value("requests_total", method="POST", route=route, status="200") == 1
    assert page.value("checkpoint_age_seconds") < WAIT_SECONDS
    assert "prometheus" not in page.text


def test_connections_that_are_one_too_many_are_told(node: Node) -> None:
    """Operations 1, security 6.3: a crowd from one address is turned away, and seen."""
    token = owner_token(node.url)
    where = urlsplit(node.url)
    with node.client(token) as owner, ExitStack() as held:
        assert Page(owner.get("/metrics").text).value("throttled_total", kind="connection") == 0
        for _ in range(A_PEER_MAX):
            held.enter_context(socket.create_connection((where.hostname, where.port), WAIT_SECONDS))
        last = held.enter_context(
            socket.create_connection((where.hostname, where.port), WAIT_SECONDS)
        )
        assert last.recv(12) == b"HTTP/1.1 429"

        page = Page(owner.get("/metrics").text)

    assert page.value("throttled_total", kind="connection") >= 1
