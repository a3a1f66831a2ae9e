"""How are the campaigns run at their full length? `python -m tests.campaigns NAME --long`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Final

from projections import views
from tests.campaigns import access, completeness, durable, owners, races, shared
from tests.campaigns.report import say
from tests.e2e.node import Node
from tests.projections import undoing

Campaign = Callable[[Path, bool, int], bool]


@contextmanager
def served(directory: Path) -> Iterator[Node]:
    """A new installation, served."""
    node = Node(directory / "data")
    node.init()
    node.start()
    try:
        yield node
    finally:
        node.stop()


def run_owners(directory: Path, long: bool, seed: int) -> bool:  # noqa: FBT001 - one table
    """A5, security 2.6: an owner who can sign in always stays."""
    rounds = owners.LONG if long else owners.SHORT
    with served(directory) as node:
        verdict = owners.run([node.url], rounds=rounds, seed=seed)
    say("A5", verdict, n=rounds, seed=seed)
    return verdict.standing > 0 and not verdict.unfair


def run_races(directory: Path, long: bool, seed: int) -> bool:  # noqa: FBT001 - one table
    """A2, A4: of many exactly one wins."""
    rounds = races.LONG if long else races.SHORT
    with served(directory) as node:
        token = access.owner_token(node.url)
        verdicts = (
            races.same_tag([node.url], token, rounds=rounds),
            races.same_name([node.url], token, rounds=rounds, seed=seed),
            races.same_key([node.url], races.callers(node.url, token), rounds=rounds, seed=seed)[0],
        )
    for name, verdict in zip(("A2, tags", "A2, names", "A4, keys"), verdicts, strict=True):
        say(name, verdict, n=rounds, seed=seed)
    return all(verdict.unfair == 0 for verdict in verdicts)


def run_completeness(directory: Path, long: bool, seed: int) -> bool:  # noqa: FBT001 - one table
    """Security 2.11: the trail holds everything that was done, and nothing else."""
    requests = completeness.LONG if long else completeness.SHORT
    for mutant in completeness.MUTANTS:
        place = directory / mutant
        place.mkdir()
        program = f"tests.campaigns.mutants.{mutant}"
        found = completeness.compare(
            *completeness.run(place, requests=completeness.SHORT, seed=seed, program=program)
        )
        say(f"2.11, control {mutant}", found)
        if not found.missing:
            say("2.11", "not effective: its control was not caught")
            return False
    place = directory / "right"
    place.mkdir()
    told, trail = completeness.run(place, requests=requests, seed=seed)
    verdict = completeness.compare(told, trail)
    say("2.11", verdict, n=requests, seed=seed)
    for fault in (*verdict.missing, *verdict.invented):
        say("2.11", fault)
    return not (verdict.missing or verdict.invented or told.untouched)


def run_blame(directory: Path, long: bool, seed: int) -> bool:  # noqa: FBT001 - one table
    """Undoing what is blamed flips the answer."""
    tries = undoing.LONG if long else undoing.SHORT
    engine = views.open_sqlite(directory / "views.db")
    tried = (one for number in count(seed) for one in undoing.undone(engine, number))
    found = [*islice(tried, tries)]
    engine.dispose()
    say("blame", f"{sum(found)} of {len(found)} flipped", n=tries, seed=seed)
    return all(found)


CAMPAIGNS: Final[dict[str, Campaign]] = {
    **durable.CAMPAIGNS,
    **shared.CAMPAIGNS,
    "blame": run_blame,
    "completeness": run_completeness,
    "owners": run_owners,
    "races": run_races,
}


def main() -> int:
    """Run one campaign on an installation of its own; 0 when every promise was kept."""
    each = "\n".join(f"  {name:13} {run.__doc__}" for name, run in sorted(CAMPAIGNS.items()))
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns",
        epilog=f"the campaigns, and the promise that each holds:\n{each}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=CAMPAIGNS)
    parser.add_argument("--long", action="store_true", help="the full number of tries")
    parser.add_argument("--seed", type=int, default=20261123, help="repeat the run of this seed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="muniment-campaign-") as directory:
        return 0 if CAMPAIGNS[given.name](Path(directory), given.long, given.seed) else 1


if __name__ == "__main__":
    sys.exit(main())
