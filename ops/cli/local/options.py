"""Which options do the local commands have in common?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def store(function: F) -> F:
    """Add the options that say where the store is."""
    for option in (
        click.option(
            "--database-url",
            metavar="URL",
            help="PostgreSQL, as the runtime role. [MUNIMENT_DATABASE_URL]",
        ),
        click.option(
            "--data-dir",
            type=click.Path(path_type=Path),
            help="The embedded store's directory, mode 0700. [MUNIMENT_DATA_DIR]",
        ),
    ):
        function = option(function)
    return function
