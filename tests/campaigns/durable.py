"""How are the campaigns about stored events run, at either length, each with its control first?

A control that is not caught makes its row worth nothing: that is a failure (reliability 1).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from domain.sealed import Secret
from ops.demo import seed as seed_demo
from ops.settings import read_settings
from tests.campaigns import disk, durability, kills, outages, power, restarts, tamper
from tests.campaigns.report import say
from tests.campaigns.trace import strace_refusal


def _place(directory: Path, name: str) -> Path:
    place = directory / name
    place.mkdir()
    return place


def _effective(row: str, control: str, verdict: object, *, caught: bool) -> bool:
    say(f"{row}, control {control}", verdict)
    if not caught:
        say(row, "not effective: its control was not caught")
    return caught


def _left_out(row: str, refusal: str) -> bool:
    if refusal:
        say(row, f"left out: {refusal}")
    return bool(refusal)


def run_durability(directory: Path, long: bool, seed: int) -> bool:  # noqa: FBT001 - one table
    """D1 and D2: every acknowledgement follows its sync, and survives a loss of power."""
    if _left_out("D1, D2", strace_refusal()):
        return True
    writes = durability.LONG if long else durability.SHORT
    images = power.LONG if long else power.SHORT
    place = _place(directory, "broken")
    broken = durability.record(place, writes=writes, seed=seed, program=durability.SYNC_NORMAL)
    early = durability.judge(broken.steps)
    lost = power.run(broken, place, images=images, seed=seed)
    if not (
        _effective("D1", "sync_normal", early, caught=early.early > 0)
        and _effective("D2", "sync_normal", lost, caught=lost.lost > 0)
    ):
        return False
    place = _place(directory, "right")
    life = durability.record(place, writes=writes, seed=seed)
    synced = durability.judge(life.steps)
    say("D1", synced, n=writes, seed=seed)
    survived = power.run(life, place, images=images, seed=seed)
    say("D2", survived, n=images, seed=seed)
    return synced.early == 0 and synced.syncs >= writes and survived.faults == 0


def run_kills(directory: Path, long: bool, seed: int) -> bool:  # noqa: FBT001 - one table
    """D3: kill -9 loses nothing that was acknowledged."""
    cycles = kills.LONG if long else kills.SHORT
    for number, program in enumerate((kills.ACK_EARLY, kills.HALF_BATCH)):
        place = _place(directory, f"broken-{number}")
        found = kills.run(place, cycles=cycles, seed=seed, program=program)
        name = program.rpartition(".")[2]
        if not _effective("D3", name, found, caught=found.tally.faults > 0):
            return False
    verdict = kills.run(_place(directory, "right"), cycles=cycles, seed=seed)
    say("D3", verdict, n=cycles, seed=seed)
    return verdict.tally.faults == 0 and verdict.slowest_start_seconds <= kills.READY_SECONDS


def run_disk(directory: Path, long: bool, seed: int) -> bool:  # noqa: FBT001 - one table
    """D4 and D5: a failed sync is fatal, a full disk fails closed; each fault once."""
    del long, seed
    kept = True
    if not _left_out("D4", strace_refusal()):
        broken = disk.fail_syncs(_place(directory, "swallow"), program=disk.SWALLOW)
        failed = disk.fail_syncs(_place(directory, "failed"))
        say("D4", failed)
        kept = (
            _effective("D4", "swallow", broken, caught=broken.acknowledged_after > 0)
            and failed.is_kept
        )
    if not _left_out("D5", disk.small_disk_refusal()):
        half = disk.fill_by_another(_place(directory, "halves"), program=disk.HALF_BATCH)
        kept &= _effective("D5", "half_batch", half, caught=half.tally.halves > 0)
        for name, fill in (("commands", disk.fill_by_commands), ("file", disk.fill_by_another)):
            verdict = fill(_place(directory, name))
            say(f"D5, filled by {name}", verdict)
            kept &= verdict.is_kept
    return kept


def run_tamper(directory: Path, long: bool, seed: int) -> bool:  # noqa: FBT001 - one table
    """D6: every change of the log is found, a cut tail by an older checkpoint."""
    changes = tamper.LONG if long else tamper.SHORT
    store = directory / "year"
    settings = read_settings({}, data_dir=store)
    seed_demo(settings, datetime(2026, 11, 23, tzinfo=UTC), Secret("demo"), Secret("no hash"))
    kept = tamper.sign(store)
    untouched = tamper.printed("verify", store, "--since", str(kept))[0] == 0
    if not _effective("D6", "untouched", "passes", caught=untouched):
        return False
    blind = tamper.run(
        store, kept, directory, changes=tamper.CONTROLS, seed=seed, program=tamper.ROOTLESS
    )
    if not _effective("D6", "rootless", blind, caught=bool(blind.missed)):
        return False
    verdict = tamper.run(store, kept, directory, changes=changes, seed=seed)
    say("D6", verdict, n=changes, seed=seed)
    return not verdict.missed


def run_outages(directory: Path, long: bool, seed: int) -> bool:  # noqa: FBT001 - one table
    """E1 without promotion: restarts and crashes of the database lose nothing."""
    ways = outages.LONG if long else outages.SHORT
    place = _place(directory, "broken")
    with outages.database_server(Path(tempfile.mkdtemp(prefix="muniment-outages-"))) as server:
        crashes = [outages.STOP] * 2
        program = outages.SYNC_NORMAL
        found = outages.run(server, place, outages=crashes, seed=seed, program=program)
    if not _effective("E1", "sync_normal", found, caught=found.tally.lost > 0):
        return False
    place = _place(directory, "right")
    with outages.database_server(Path(tempfile.mkdtemp(prefix="muniment-outages-"))) as server:
        verdict = outages.run(server, place, outages=ways, seed=seed)
    say("E1, without promotion", verdict, n=len(ways), seed=seed)
    return verdict.outages == len(ways) and verdict.is_kept


def run_restarts(directory: Path, long: bool, seed: int) -> bool:  # noqa: FBT001 - one table
    """E3: a restart is seen by nobody who tries twice."""
    count = restarts.LONG if long else restarts.SHORT
    place, program = _place(directory, "broken"), restarts.DROP_ON_TERM
    found = restarts.run(place, restarts=count, seed=seed, program=program)
    if not _effective("E3", "drop_on_term", found, caught=found.unfinished > 0):
        return False
    verdict = restarts.run(_place(directory, "right"), restarts=count, seed=seed)
    say("E3", verdict, n=count, seed=seed)
    return verdict.faults == 0 and verdict.slowest_end_seconds <= restarts.END_SECONDS


CAMPAIGNS: Final[dict[str, Callable[[Path, bool, int], bool]]] = {
    "disk": run_disk,
    "durability": run_durability,
    "kills": run_kills,
    "outages": run_outages,
    "restarts": run_restarts,
    "tamper": run_tamper,
}
