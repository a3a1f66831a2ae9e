"""What does the log amount to when it is folded anew, from its store or from an export?"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from domain.state import digest
from ops.cli.local import options
from ops.cli.local.failing import explained
from ops.cli.local.moments import moment
from ops.cli.local.progress import FORMS, Form, progress
from ops.cli.main import INTEGRITY
from ops.rebuilds import rebuild
from ops.replays import PAGE_RECORDS, exported, replay
from ops.settings import read_settings
from ops.stores import open_reader, read_ahead, read_all
from projections.rebuilding import TABLES

if TYPE_CHECKING:
    from domain.state import State
    from ops.replays import Moment

EVERY_VIEW: Final = "all"
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("replay")
@options.store
@click.option("--to", metavar="POSITION|INSTANT", help="Up to there; else the head.")
@click.option("--from-export", type=FILE, help="The records of this export of the whole log.")
@click.option("--log", metavar="ID", help="With --from-export: refuse the export of another log.")
@click.option(
    "--rebuild-views",
    "view",
    is_flag=False,
    flag_value=EVERY_VIEW,
    metavar="[NAME]",
    help="Make the views anew, compare, and put right what differs; or one of them.",
)
@click.option("--check", is_flag=True, help="With --rebuild-views: only compare.")
@click.option("--progress", "form", type=click.Choice(FORMS), default="auto", show_default=True)
def command(
    data_dir: Path | None,
    database_url: str | None,
    to: str | None,
    from_export: Path | None,
    log: str | None,
    view: str | None,
    check: bool,  # noqa: FBT001 - a flag of the command line
    form: Form,
) -> None:
    """Fold the log again, apart from what is served, and print `POSITION SHA-256` of the state.

    The same line as `digest` prints on every node at that position. Works beside a server. With
    --rebuild-views it prints of each view its rows and both digests, and exits 10 where --check
    finds a difference.
    """
    if view is not None:
        if to is not None or from_export is not None or log is not None:
            raise click.UsageError("--rebuild-views takes none of --to, --from-export and --log")
        _rebuild(data_dir, database_url, view, form, heal=not check)
        return
    if check:
        raise click.UsageError("--check belongs to --rebuild-views")
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


def _rebuild(
    data_dir: Path | None, database_url: str | None, view: str, form: Form, *, heal: bool
) -> None:
    names = tuple(TABLES) if view == EVERY_VIEW else (view,)
    if not set(names) <= set(TABLES):
        raise click.UsageError(f"there is no view {view}; there are {', '.join(TABLES)}")
    with explained():
        settings = read_settings(data_dir=data_dir, database_url=database_url)
        with open_reader(settings) as log:
            length = log.head()
        with progress("rebuild", length, form=form) as advance:
            found = rebuild(settings, names, advance, heal=heal)
    for one in found:
        told = f"{one.differing} rows {'put right' if heal else 'differ'}"
        verdict = told if one.differing else "equal"
        click.echo(f"{one.position} {one.view} {one.rows} {one.live} {one.rebuilt} {verdict}")
    if not heal and any(one.differing for one in found):
        sys.exit(INTEGRITY)


def _of_store(data_dir: Path | None, database_url: str | None, until: Moment, form: Form) -> State:
    settings = read_settings(data_dir=data_dir, database_url=database_url)
    with ExitStack() as stack:
        log = stack.enter_context(open_reader(settings))
        length = until if isinstance(until, int) else log.head()
        advance = stack.enter_context(progress("replay", length, form=form))
        read = read_all if settings.database_url is None else read_ahead
        return replay(read(log, page_records=PAGE_RECORDS), until, advance)


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
