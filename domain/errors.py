"""In which ways can a command or a question be refused?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable


class FieldFault(Struct, frozen=True):
    """One value that does not fit; `path` is dotted, with `[2].roleId` inside arrays."""

    path: str
    detail: str
    code: str


class Requirement(Struct, frozen=True):
    """A permission that was missing; both scope members empty stand for the whole tenant."""

    type: str
    action: str
    namespace: str = ""
    resource: tuple[str, str] | None = None


class Dependent(Struct, frozen=True):
    """An object that stands in the way of a deletion."""

    type: str
    id: str


class DomainError(Exception):
    """A refusal with a stable code; `detail` quotes ids, never secrets or personal data."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        fields: tuple[FieldFault, ...] = (),
        required: tuple[Requirement, ...] = (),
        dependents: tuple[Dependent, ...] = (),
    ) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.fields = fields
        self.required = required
        self.dependents = dependents


class NotFoundError(DomainError):
    """The object does not exist, or the caller may not know that it does."""


class ForbiddenError(DomainError):
    """The caller is known and may not do this."""


class CredentialError(DomainError):
    """The credential that the caller used is no longer good."""


class ConflictError(DomainError):
    """The state does not allow it: a name taken, a managed role, the last owner."""


class StaleError(DomainError):
    """The caller's If-Match names an older state; `position` is that of the last change."""

    def __init__(self, code: str, detail: str, *, position: int) -> None:
        super().__init__(code, detail)
        self.position = position


class InvalidError(DomainError):
    """A value breaks a rule of the domain."""


class Faults:
    """Collects every field that does not fit, so that one answer names them all."""

    def __init__(self) -> None:
        self._faults: list[FieldFault] = []

    def add(self, path: str, detail: str, code: str) -> None:
        """Note that the value at `path` does not fit."""
        self._faults.append(FieldFault(path, detail, code))

    def check(self, path: str, rule: Callable[[str], str], value: str) -> str:
        """Answer the value in its normal form, or note what `rule` refused it for."""
        try:
            return rule(value)
        except ValueError as refusal:
            self.add(path, str(refusal), "invalid")
            return value

    def refuse(self, code: str) -> None:
        """Raise InvalidError with every fault noted, if there is any."""
        if self._faults:
            detail = "; ".join(f"{fault.path} {fault.detail}" for fault in self._faults)
            raise InvalidError(code, detail, fields=tuple(self._faults))
