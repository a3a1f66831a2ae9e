"""What does the log amount to when it is folded anew, from its store or from an export?"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from domain.state import digest
from ops.cli.local import options
from ops.cli.local.failing import explained
from ops.cli.local.moments import moment
from ops.cli.local.progress import FORMS, Form, progress
from ops.replays import PAGE_RECORDS, exported, replay
from ops.settings import read_settings
from ops.stores import open_reader, read_all

if TYPE_CHECKING:
    from domain.state import State
    from ops.replays import Moment

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("replay")
@options.store
@click.option("--to", metavar="POSITION|INSTANT", help="Up to there; else the head.")
@click.option("--from-export", type=FILE, help="The records of this export of the whole log.")
@click.option("--log", metavar="ID", help="With --from-export: refuse the export of another log.")
@click.option("--progress", "form", type=click.Choice(FORMS), default="auto", show_default=True)
def command(
    data_dir: Path | None,
    database_url: str | None,
    to: str | None,
    from_export: Path | None,
    log: str | None,
    form: Form,
) -> None:
    """Fold the log again, apart from what is served, and print `POSITION SHA-256` of the state.

    The same line as `digest` prints on every node at that position. Works beside a server.
    """
    until: Moment = None if to is None else moment(to, "--to")
    is_given = data_dir is not None or database_url is not None
    with explained():
        if from_export is None:
            if log is not None:
                raise click.UsageError("--log belongs to --from-export")
            state = _of_store(data_dir, database_url, until, form)
        else:
            if is_given:
                log = _id_of(data_dir, database_url, log)
            state = _of_export(from_export, until, log, form)
    click.echo(f"{state.position} {digest(state)}")


def _of_store(data_dir: Path | None, database_url: str | None, until: Moment, form: Form) -> State:
    settings = read_settings(data_dir=data_dir, database_url=database_url)
    with ExitStack() as stack:
        log = stack.enter_context(open_reader(settings))
        length = until if isinstance(until, int) else log.head()
        advance = stack.enter_context(progress("replay", length, form=form))
        return replay(read_all(log, page_records=PAGE_RECORDS), until, advance)


def _of_export(file: Path, until: Moment, log_id: str | None, form: Form) -> State:
    with (
        file.open("rb") as opened,
        progress("replay", file.stat().st_size, "bytes", form) as advance,
    ):
        return replay(exported(opened, advance), until, lambda _: None, log_id)


def _id_of(data_dir: Path | None, database_url: str | None, named: str | None) -> str:
    """Answer the id of the store's log, which the export has to be of."""
    if named is not None:
        raise click.UsageError("give --log, or the store that the export is of")
    with open_reader(read_settings(data_dir=data_dir, database_url=database_url)) as log:
        return log.log_id
