"""Has every node the state of the log, live, replayed and from a snapshot?"""

from __future__ import annotations

import time
from pathlib import Path

from tests.campaigns import access, followers
from tests.campaigns.client import Client, bearer
from tests.campaigns.report import say
from tests.e2e.cluster import running


def test_a_follower_misses_nothing(tmp_path: Path) -> None:
    """Reliability B2 and B6: 16 writers on two nodes; a third, which drops one in 1,000, differs.

    The third is the control: `skip_one`.
    """
    with running(tmp_path, followers.WITNESS) as cluster:
        token = access.owner_token(cluster.first.url)
        with cluster.joined(tmp_path / "skipping", followers.SKIP_ONE) as skipping:
            began = time.monotonic()
            followers.write(cluster.urls, token, events=followers.SHORT)
            position = followers.settled((*cluster.nodes, skipping), token)
            seconds = time.monotonic() - began
        with Client(cluster.second.url, bearer(token)) as client:
            assert client.ask("GET", "/api/v1/me").position == position
        for node in cluster.nodes:
            node.stop()

        witnesses = [followers.told(node) for node in cluster.nodes]
        homes = [node.data_dir for node in cluster.nodes]
        verdict = followers.judge(cluster.database.url, witnesses, homes)
        control = followers.judge(cluster.database.url, [followers.told(skipping)], [])

    verdict.events, verdict.seconds = position, seconds
    say("B2, B6", verdict, n=followers.SHORT)
    say("B2, skip_one", control, n=followers.SHORT)
    assert position >= followers.SHORT
    assert verdict.different == 0
    assert min(len(samples) for samples in witnesses) >= position // 2_000
    assert verdict.snapshots == len(homes)
    assert control.different > 0
