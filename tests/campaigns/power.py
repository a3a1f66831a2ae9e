"""Is what was acknowledged still there after a loss of power at any moment? (D2)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from click.testing import CliRunner
from msgspec import Struct

from domain.events import Record
from ops.cli.main import muniment
from ops.settings import read_settings
from ops.stores import open_reader, read_all
from tests.campaigns.client import Client, bearer
from tests.campaigns.durability import Recording
from tests.campaigns.journal import all_accounts
from tests.campaigns.trace import DIRECTORY, Kind, Step
from tests.e2e.node import Node

SHORT: Final = 40
LONG: Final = 1_000
SERVED_EACH: Final = 10
SECTOR_BYTES: Final = 512
# The objects acknowledged last before the cut, which are looked at one by one.
LAST: Final = 50


class Verdict(Struct):
    """What was found in `images` of the disk after a power cut."""

    images: int = 0
    served: int = 0
    acknowledged: int = 0
    unsynced: int = 0
    dropped: int = 0
    unverified: int = 0
    lost: int = 0

    @property
    def faults(self) -> int:
        """How many images break a promise."""
        return self.unverified + self.lost


def run(recording: Recording, directory: Path, *, images: int, seed: int) -> Verdict:
    """Cut the power at random moments of a recorded life, and look at what is on the disk.

    The last of each ten images is served from as well, and must show all that was acknowledged.
    It ends with the first fault.
    """
    chance = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    answers = [n for n, step in enumerate(recording.steps) if step.kind is Kind.ANSWER]
    whole = _records(recording.after)
    verdict = Verdict()
    for number in range(1, images + 1):
        moment = chance.randrange(answers[0] + 1, len(recording.steps) + 1)
        place = directory / f"image-{number}"
        _write(place, _image(recording, moment, chance, verdict))
        acknowledged = [step for step in recording.steps[:moment] if step.kind is Kind.ANSWER]
        verdict.images += 1
        verdict.acknowledged += len(acknowledged)
        if not _is_whole(place, acknowledged[-1].number, whole, verdict):
            break
        if number % SERVED_EACH == 0:
            # The token's own two acknowledgements come before those of what it made.
            made = len(acknowledged) - (len(answers) - len(recording.made))
            verdict.served += 1
            verdict.lost += _serves(place, recording, max(0, made))
    return verdict


def _image(
    recording: Recording, moment: int, chance: random.Random, verdict: Verdict
) -> dict[str, bytearray]:
    """The files as they could be: all that was synced, and some of what was not, perhaps in part.

    A file's name is there, or gone, for sure once its directory was synced.
    """
    files = {
        path.name: bytearray(path.read_bytes())
        for path in recording.before.iterdir()
        if not path.name.endswith("-shm")
    }
    past = recording.steps[:moment]
    synced: dict[str, int] = {}
    for step in past:
        if step.kind is Kind.SYNC:
            synced[step.file] = max(synced.get(step.file, 0), step.since)
    survival = chance.random()
    nameless: set[str] = set()
    for number, step in enumerate(past):
        if step.kind in {Kind.SYNC, Kind.ANSWER} or step.file.endswith("-shm"):
            continue
        if step.kind is Kind.WRITE and step.file not in files:
            files[step.file] = bytearray()
            if synced.get(DIRECTORY, 0) <= number and chance.random() > survival:
                nameless.add(step.file)
        sure = synced.get(DIRECTORY if step.kind is Kind.REMOVE else step.file, 0) > number
        verdict.unsynced += not sure
        if sure or chance.random() <= survival:
            _apply(files, step, None if sure else chance)
        else:
            verdict.dropped += 1
    return {name: data for name, data in files.items() if name not in nameless}


def _apply(files: dict[str, bytearray], step: Step, chance: random.Random | None) -> None:
    """Do to the files what a step did; by `chance` only its first sectors."""
    if step.kind is Kind.REMOVE:
        files.pop(step.file, None)
        return
    file = files[step.file]
    if step.kind is Kind.TRUNCATE:
        del file[step.number :]
        return
    data = step.data
    if chance is not None and chance.random() < 1 / 2:
        data = data[: SECTOR_BYTES * chance.randrange(len(data) // SECTOR_BYTES + 1)]
    # A hole before what is written reads as zeros.
    file.extend(bytes(max(0, step.number - len(file))))
    file[step.number : step.number + len(data)] = data


def _write(place: Path, files: dict[str, bytearray]) -> None:
    place.mkdir(mode=0o700)
    for name, data in files.items():
        path = place / name
        path.touch(mode=0o600)
        path.write_bytes(data)


def _is_whole(place: Path, acknowledged: int, whole: Sequence[Record], verdict: Verdict) -> bool:
    """Whether the log of an image verifies and begins as the right one, as far as it must."""
    done = CliRunner().invoke(muniment, ("verify", "--data-dir", str(place)))
    if done.exit_code:
        verdict.unverified += 1
        return False
    stored = _records(place)
    if len(stored) < acknowledged or stored != whole[: len(stored)]:
        verdict.lost += 1
        return False
    return True


def _records(place: Path) -> list[Record]:
    with open_reader(read_settings({}, data_dir=place)) as log:
        return list(read_all(log))


def _serves(place: Path, recording: Recording, count: int) -> bool:
    """Whether a server on the image shows less than the first `count` objects."""
    node = Node(place)
    node.start()
    try:
        with Client(node.url, bearer(recording.token)) as owner:
            listed = {row["username"] for row in all_accounts(owner)}
            made = recording.made[:count]
            alone = [(path, name) for path, name in made if "@" in name] + list(made[-LAST:])
            found = all(
                (answer := owner.ask("GET", path)).ok and name.encode() in answer.text
                for path, name in alone
            )
            owner.made("POST", "/api/v1/main/groups", {"name": "After the lights went out"})
    finally:
        node.stop()
    return not found or not {name for _, name in made if "@" not in name} <= listed
