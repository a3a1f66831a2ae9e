"""With which words and exit code does a local command fail?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from domain.errors import DomainError
from domain.events import UnknownTopicError, UnreadableEventError
from ops.cli.main import CONFLICT, INTEGRITY, INVALID, UNREACHABLE
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

EMPTY = (
    "this store is empty: make an installation with `muniment init --admin-email you@example.com`, "
    "or try the demo with `muniment dev`"
)


class Failure(click.ClickException):
    """An end with a message on standard error and an exit code of cli 4."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(f"{message} ({code})")
        setattr(self, "exit_code", status)  # noqa: B010 - click declares it on the class only


# The first class that fits decides.
_STATUSES: Final[tuple[tuple[type[Exception], int], ...]] = (
    (StoreInUseError, CONFLICT),
    (StoreBrokenError, INTEGRITY),
    (StoreUnreachableError, UNREACHABLE),
    (StoreError, INVALID),
    (VaultError, INVALID),
    (DomainError, INVALID),
)


@contextmanager
def explained() -> Iterator[None]:
    """Turn what can go wrong with a store into a message and an exit code."""
    try:
        yield
    except AlreadySetUpError:
        raise Failure(
            "instance.already_set_up", "there is an installation here already", CONFLICT
        ) from None
    except LogMissingError as error:
        raise Failure(error.code, EMPTY, INVALID) from error
    except (UnknownTopicError, UnreadableEventError) as error:
        raise Failure("log.unreadable", str(error), INTEGRITY) from error
    except SettingsError as error:
        raise Failure("settings.invalid", str(error), INVALID) from error
    except (StoreError, VaultError, DomainError) as error:
        status = next(status for kind, status in _STATUSES if isinstance(error, kind))
        raise Failure(error.code, str(error), status) from error
    except OSError as error:
        # A directory that cannot be made, an address that is taken: the operator's to mend.
        place = f"{error.filename}: " if error.filename else ""
        raise Failure("system.refused", f"{place}{error.strerror}", INVALID) from error
