"""How are an installation's views made anew beside a running server, compared, and put right?"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ops.collection import collection_off
from ops.stores import VIEWS_FILE, open_reader, postgres_engine
from projections import rebuilding, views
from projections.rebuilding import NoViewsError, Rebuilt

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from ops.settings import Settings
    from projections.rebuilding import Compared


def rebuild(
    settings: Settings, names: tuple[str, ...], on_progress: Callable[[int], None], *, heal: bool
) -> list[Compared]:
    """Answer how the views of these names compare with the log, and put right what differs.

    `on_progress` is told how many events more were folded. The rebuilt rows take about the space
    of the live ones, in a directory that is gone at the end. Raises StoreError, NoViewsError, and
    what would halt the views.
    """
    with ExitStack() as stack:
        log = stack.enter_context(open_reader(settings))
        live = _live(settings)
        stack.callback(live.dispose)
        place = settings.data_dir if settings.data_dir.is_dir() else None
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix=".rebuilt-", dir=place))
        rebuilt = Rebuilt(log, Path(directory) / VIEWS_FILE, on_progress)
        stack.callback(rebuilt.close)
        with collection_off():
            return rebuilding.compare(live, rebuilt, names, heal=heal)


def _live(settings: Settings) -> Engine:
    if settings.database_url is not None:
        return views.open_postgresql(postgres_engine(settings.database_url))
    path = settings.data_dir / VIEWS_FILE
    if not path.exists():
        raise NoViewsError
    return views.sqlite_engine(path)
