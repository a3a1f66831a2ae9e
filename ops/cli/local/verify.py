"""Is the log still the one that was signed, here or in an export?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Final

import click

from domain.state import digest
from ops import log_check
from ops.cli.local import options
from ops.cli.local.failing import explained
from ops.cli.local.progress import progress
from ops.settings import read_settings
from projections import evidence_verifier, export_lines
from projections.verifier import (
    NOTE_CHARACTERS_MAX,
    Checkpoint,
    ProofError,
    VerifierKey,
    open_checkpoint,
    unsigned_checkpoint,
    verify_event,
)

FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("verify")
@options.store
@click.option("--since", type=FILE, multiple=True, help="A checkpoint that you kept; repeatable.")
@click.option("--export", type=FILE, help="Verify this export instead, without the store.")
@click.option(
    "--checkpoint", type=FILE, multiple=True, help="With --export: a checkpoint; repeatable."
)
@click.option("--evidence", type=FILE, help="Verify this evidence pack, without the store.")
@click.option("--proof", type=FILE, help="Verify this proof of one event, without the store.")
@click.option("--entry", type=FILE, help="With --proof: the event's entry.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEY",
    help="A verifier key to judge signatures by, as GET /api/v1/audit/keys lists it; repeatable.",
)
def command(
    data_dir: Path | None,
    database_url: str | None,
    since: tuple[Path, ...],
    export: Path | None,
    checkpoint: tuple[Path, ...],
    evidence: Path | None,
    proof: Path | None,
    entry: Path | None,
    keys: tuple[str, ...],
) -> None:
    """Hold every event against what was signed; exit code 10 names the first that is wrong.

    Without a file the live store is read: positions, bytes, fold, and every signed checkpoint.
    With --since also against a checkpoint that was kept elsewhere: only that tells of a log that
    was rolled back, cut or forked together with all that was signed here.
    """
    _require_one_way(since, export, checkpoint, evidence, proof, entry)
    with explained():
        known = [*map(VerifierKey.parse, keys)]
        if export is not None:
            _verify_export(export, checkpoint, known)
        elif evidence is not None:
            _verify_evidence(evidence, keys)
        elif proof is not None and entry is not None:
            _verify_proof(proof, entry, known)
        else:
            _verify_store(data_dir, database_url, since, known)


def _require_one_way(
    since: tuple[Path, ...],
    export: Path | None,
    checkpoint: tuple[Path, ...],
    evidence: Path | None,
    proof: Path | None,
    entry: Path | None,
) -> None:
    if bool(export) != bool(checkpoint):
        raise click.UsageError("--export and --checkpoint belong together")
    if bool(proof) != bool(entry):
        raise click.UsageError("--proof and --entry belong together")
    if sum(map(bool, (since, export, evidence, proof))) > 1:
        raise click.UsageError("give one of --since, --export, --evidence and --proof")


# The live store


def _verify_store(
    data_dir: Path | None,
    database_url: str | None,
    since: tuple[Path, ...],
    known: list[VerifierKey],
) -> None:
    settings = read_settings(data_dir=data_dir, database_url=database_url)
    with log_check.open_places(settings) as places:
        keys = known or log_check.known_keys(places.checkpoints)
        kept = [_opened(path, keys) for path in since]
        with progress("verify", places.log.head()) as advance:
            found = log_check.check(places, kept, advance)
    for signed in found.given_up:
        click.echo(
            f"{signed.origin} was signed up to {signed.size} before the log was restored to less",
            err=True,
        )
    if places.checkpoints is None:
        click.echo("there is no vault here, and so no signed checkpoint to compare with", err=True)
    click.echo(f"{found.state.position} events, digest {digest(found.state)}")
    click.echo(f"checked against {_counted(found.compared)}")


# Offline


def _verify_export(export: Path, notes: tuple[Path, ...], known: list[VerifierKey]) -> None:
    if known:
        kept = [_opened(path, known) for path in notes]
    else:
        kept = [_said(path, unsigned_checkpoint) for path in notes]
    if len({one.origin for one in kept}) > 1:
        raise ProofError("checkpoint.foreign", "these checkpoints are of different logs")
    size = export.stat().st_size
    with export.open("rb") as file, progress("verify", size, "bytes") as advance:
        events, covered = export_lines.verify(_lines(file, advance), kept)
    if not known:
        click.echo(
            "the signature was not judged: give --key to know that the checkpoint is"
            f" {kept[0].origin}'s and not somebody else's",
            err=True,
        )
    if events > covered:
        click.echo(f"{events - covered} events are newer than the checkpoint", err=True)
    click.echo(f"{covered} events, checked against {_counted(len(kept))} of {kept[0].origin}")


def _lines(file: IO[bytes], advance: Callable[[int], None]) -> Iterator[bytes]:
    while line := file.readline(export_lines.LINE_BYTES_MAX):
        yield line
        advance(len(line))


def _verify_proof(proof: Path, entry: Path, known: list[VerifierKey]) -> None:
    if not known:
        raise click.UsageError("--proof needs --key: a proof file is judged by its signature")
    checkpoint = _said(proof, lambda text: verify_event(text, entry.read_bytes(), known))
    click.echo(f"the event is among the first {checkpoint.size} of {checkpoint.origin}")


def _verify_evidence(pack: Path, keys: tuple[str, ...]) -> None:
    try:
        lines = evidence_verifier.verify(pack.read_bytes(), keys)
    except Exception as fault:
        # Whatever it stumbles over, nothing is proved.
        raise ProofError("evidence.refused", f"{pack.name}: {fault}") from fault
    for line in lines:
        click.echo(line)


# What they have in common


def _opened(path: Path, keys: Iterable[VerifierKey]) -> Checkpoint:
    return _said(path, lambda note: open_checkpoint(note, keys))


def _said(path: Path, read: Callable[[str], Checkpoint]) -> Checkpoint:
    """Read a file; what is wrong with it is said with its name."""
    with path.open("rb") as file:
        text = file.read(NOTE_CHARACTERS_MAX).decode(errors="replace")
    try:
        return read(text)
    except ProofError as refusal:
        raise ProofError(refusal.code, f"{path.name}: {refusal.detail}") from refusal


def _counted(number: int) -> str:
    return f"{number} checkpoint{'' if number == 1 else 's'}"
