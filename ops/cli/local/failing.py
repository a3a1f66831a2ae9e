"""With which words and exit code does a local command fail?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from domain.errors import DomainError
from domain.events import UnknownTopicError, UnreadableEventError
from ops.cli.main import CONFLICT, INTEGRITY, INVALID, UNREACHABLE
from ops.replays import NoSuchMomentError
from ops.settings import SettingsError
from ops.setup import AlreadySetUpError
from ops.store_errors import (
    LogMissingError,
    StoreBrokenError,
    StoreError,
    StoreInUseError,
    StoreUnreachableError,
)
from ops.vault import VaultError
from projections.rebuilding import NoViewsError
from projections.verifier import ProofError

EMPTY = (
    "this store is empty: make an installation with `muniment init --admin-email you@example.com`, "
    "or try the demo with `muniment dev`"
)


class Failure(click.ClickException):
    """An end with a message on standard error and an exit code of cli 4."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(f"{message} ({code})")
        setattr(self, "exit_code", status)  # noqa: B010 - click declares it on the class only


# The first class that fits decides: what is said, and the exit code.
_FAILURES: Final[tuple[tuple[type[Exception], str, str, int], ...]] = (
    (
        AlreadySetUpError,
        "instance.already_set_up",
        "there is an installation here already",
        CONFLICT,
    ),
    (LogMissingError, "", EMPTY, INVALID),
    (UnknownTopicError, "log.unreadable", "", INTEGRITY),
    (UnreadableEventError, "log.unreadable", "", INTEGRITY),
    (SettingsError, "settings.invalid", "", INVALID),
    (NoSuchMomentError, "", "", INVALID),
    (NoViewsError, "views.missing", "there are no views of this log yet: start a server", INVALID),
    (ProofError, "", "", INTEGRITY),
    (StoreInUseError, "", "", CONFLICT),
    (StoreBrokenError, "", "", INTEGRITY),
    (StoreUnreachableError, "", "", UNREACHABLE),
    (StoreError, "", "", INVALID),
    (VaultError, "", "", INVALID),
    (DomainError, "", "", INVALID),
)
_KNOWN: Final = tuple(kind for kind, *_ in _FAILURES)


@contextmanager
def explained() -> Iterator[None]:
    """Turn what can go wrong with a store into a message and an exit code."""
    try:
        yield
    except _KNOWN as error:
        raise _failure(error) from error
    except OSError as error:
        # A directory that cannot be made, an address that is taken: the operator's to mend.
        place = f"{error.filename}: " if error.filename else ""
        raise Failure("system.refused", f"{place}{error.strerror}", INVALID) from error


def _failure(error: Exception) -> Failure:
    """Answer what is said of a fault; its own code and words where the table has none."""
    _, code, message, status = next(one for one in _FAILURES if isinstance(error, one[0]))
    own = getattr(error, "detail", None) or str(error)
    return Failure(code or getattr(error, "code", "internal"), message or own, status)
