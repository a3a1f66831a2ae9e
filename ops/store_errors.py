"""What can go wrong between Muniment and its store, and is anything stored afterwards?"""

from __future__ import annotations

from typing import ClassVar


class StoreError(Exception):
    """A fault of the store; `code` is stable (`event-log.md` 3), the wording is not."""

    code: ClassVar[str] = "store.failed"


class PositionTakenError(StoreError):
    """Another process stored these positions first; nothing of this append is stored."""

    code = "log.contention"


class AppendRefusedError(StoreError):
    """The store refused records that no race explains: a gap, a foreign log; nothing is stored."""

    code = "log.refused"


class LogRegressedError(StoreError):
    """What this process has read is no longer in the log: it was cut, or it is another log."""

    code = "log.regressed"


class OutcomeUnknownError(StoreError):
    """Whether the append is stored could not be learned within the bound: neither yes nor no."""

    code = "log.unknown"


class StoreFullError(StoreError):
    """No space is left; nothing of this append is stored."""

    code = "store.full"


class StoreUnreachableError(StoreError):
    """The database does not answer; nothing of this append was sent."""

    code = "store.unreachable"


class StoreSlowError(StoreError):
    """A lock or statement took too long and was given up; nothing of this append is stored."""

    code = "store.slow"


class StoreBrokenError(StoreError):
    """Input or output failed: what is on disk is unknown until the next start reads it."""

    code = "store.broken"


class UnsafeStoreError(StoreError):
    """The store would lose or expose what is acknowledged; its first argument names the setting."""

    code = "store.unsafe"


class SchemaError(StoreError):
    """The schema is not of this release: `muniment migrate` is needed."""

    code = "store.schema"


class LogMissingError(StoreError):
    """The store holds no log yet: `muniment init` is needed."""

    code = "store.empty"


class StoreInUseError(StoreError):
    """Another process holds the data directory."""

    code = "store.in_use"
