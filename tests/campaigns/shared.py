"""How are the campaigns run that need several nodes over one PostgreSQL database?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.campaigns import access, decisions, deliveries, halves, reads, revocations, rules
from tests.campaigns.client import Client, bearer
from tests.campaigns.report import say
from tests.e2e.cluster import Cluster, known_everywhere, running


@contextmanager
def cluster_and_token(directory: Path) -> Iterator[tuple[Cluster, str]]:
    """Three nodes, and an owner's token that all of them know."""
    with running(directory, count=3) as cluster:
        token = access.owner_token(cluster.first.url)
        with Client(cluster.first.url, bearer(token)) as owner:
            position = owner.ask("GET", "/api/v1/me").position
        for url in cluster.urls:
            with Client(url, bearer(token)) as owner:
                assert owner.ask("GET", f"/api/v1/me?at_least={position}").ok
        yield cluster, token


def run_deliveries(directory: Path, long: bool, seed: int) -> bool:  # noqa: FBT001 - one table
    """A1, A3: through a bad network each write happens once."""
    writes = deliveries.LONG if long else deliveries.SHORT
    with cluster_and_token(directory) as (cluster, token):
        verdict = deliveries.run(cluster.urls, token, writes=writes, seed=seed)
    say("A1, A3", verdict, n=writes, seed=seed)
    return verdict.broken == 0


def run_rules(directory: Path, long: bool, seed: int) -> bool:  # noqa: FBT001 - one table
    """A5: every rule is decided at the head."""
    rounds = rules.LONG if long else rules.SHORT
    with cluster_and_token(directory) as (cluster, token):
        verdicts = {
            race: rules.run(cluster.urls, token, race, rounds=rounds) for race in rules.RACES
        }
    say("A5", verdicts, n=rounds, seed=seed)
    return not any(verdict.unfair for verdict in verdicts.values())


def run_decisions(directory: Path, long: bool, seed: int) -> bool:  # noqa: FBT001 - one table
    """B1: every node decides as the oracle."""
    checks = decisions.LONG if long else decisions.SHORT
    with cluster_and_token(directory) as (cluster, token):
        urls = cluster.urls
        verdict = decisions.run(urls[0], urls, token, checks=checks, seed=seed)
    say("B1", verdict, n=checks, seed=seed)
    return verdict.different == 0


def run_reads(directory: Path, long: bool, seed: int) -> bool:  # noqa: FBT001 - one table
    """B3: who names a position never sees less."""
    pairs = reads.LONG if long else reads.SHORT
    with cluster_and_token(directory) as (cluster, token):
        verdict = reads.run(cluster.urls, cluster.urls, token, pairs=pairs, seed=seed)
    say("B3", verdict, n=pairs, seed=seed)
    return verdict.stale == 0


def run_revocations(directory: Path, long: bool, seed: int) -> bool:  # noqa: FBT001 - one table
    """B4: a revocation holds everywhere within a second."""
    changes = revocations.LONG if long else revocations.SHORT
    kept = True
    with running(directory, count=3) as cluster:
        for kind in revocations.KINDS:
            world = access.build(cluster.first.url, f"Revoked {kind}")
            known_everywhere(cluster, world)
            verdict = revocations.run(cluster.urls, world, kind, changes=changes)
            say(f"B4, {kind}", str(verdict), seed=seed)
            kept &= not verdict.later_allows and verdict.worst <= revocations.LIMIT_SECONDS
    return kept


def run_halves(directory: Path, long: bool, seed: int) -> bool:  # noqa: FBT001 - one table
    """B9: no check sees half a command."""
    checks = halves.LONG if long else halves.SHORT
    with cluster_and_token(directory) as (cluster, token):
        verdict = halves.run(cluster.first.url, cluster.urls, token, checks=checks, label="long")
    say("B9", verdict, n=checks, seed=seed)
    return verdict.halves == 0


CAMPAIGNS: Final[dict[str, Callable[[Path, bool, int], bool]]] = {
    "decisions": run_decisions,
    "deliveries": run_deliveries,
    "halves": run_halves,
    "reads": run_reads,
    "revocations": run_revocations,
    "rules": run_rules,
}
