"""What does the HTTP side refuse by itself, with a stable code, beside the rules of the domain?"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from domain.errors import ForbiddenError

if TYPE_CHECKING:
    from api.dry_runs import DryRunForm
    from api.problems import Refusal


class RequestError(Exception):
    """A refusal that no rule of the domain makes, with a stable code."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


class MalformedError(RequestError):
    """The query, a header, a cursor or a filter cannot be read."""


class MalformedCredentialError(MalformedError):
    """The Authorization header cannot be read: two of them, or nothing after the scheme."""


class AuthenticationError(RequestError):
    """There is no credential, or none that is right; `presented` tells which."""

    def __init__(
        self, code: str, detail: str, *, presented: bool, token: str = "", principal: str = ""
    ) -> None:
        """`token` and `principal` are the ids for the journal, where they are known."""
        super().__init__(code, detail)
        self.presented = presented
        self.token = token
        self.principal = principal


class UnknownTokenError(AuthenticationError):
    """The token is of the right form, and this process knows none like it."""

    def __init__(self) -> None:
        super().__init__("auth.invalid", "unknown token", presented=True)


class MisshapenTokenError(AuthenticationError):
    """The token's text is of no form of ours: a typing error, or a scan."""

    def __init__(self) -> None:
        super().__init__("auth.invalid", "no token of this form", presented=True)


class WrongPasswordError(AuthenticationError):
    """E-mail and password do not fit; who is told, whatever the cause, is told the same.

    `account` is the index of the e-mail, `principal` its user where there is one, and `locked`
    whether nothing was judged: these are for the journal.
    """

    def __init__(self, account: bytes, principal: str, *, locked: bool) -> None:
        super().__init__(
            "auth.invalid", "wrong e-mail or password", presented=True, principal=principal
        )
        self.account = account
        self.locked = locked


class ForeignAddressError(ForbiddenError):
    """The token is good, but not from there; whose it is, the journal is told."""

    def __init__(self, token: str, principal: str) -> None:
        super().__init__("token.address", "this token may not be used from here")
        self.token = token
        self.principal = principal


class PreconditionRequiredError(RequestError):
    """The route needs If-Match and got none."""


class _LaterError(RequestError):
    """The same may be asked again after so many seconds."""

    def __init__(self, code: str, retry_after_seconds: float) -> None:
        super().__init__(code, f"try again in {ceil(retry_after_seconds)} s")
        self.retry_after_seconds = retry_after_seconds


class ThrottledError(_LaterError):
    """The caller asked too often."""


class NotSealedError(_LaterError):
    """No signed checkpoint covers so much of the log yet."""

    def __init__(self) -> None:
        super().__init__("proof.not_sealed", 1)


class UnavailableError(_LaterError):
    """The process cannot answer now: behind, halted, full."""


class ChangeRefusedError(RequestError):
    """One change of a simulation was refused; `said` is what the same request would be told."""

    def __init__(self, said: Refusal) -> None:
        super().__init__(said.code, said.detail)
        self.said = said


class DryRun(Exception):  # noqa: N818 - no error: it ends a request before anything is done
    """The answer of a request that only asked what its command would do."""

    def __init__(self, answer: DryRunForm) -> None:
        super().__init__()
        self.answer = answer
