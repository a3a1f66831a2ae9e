"""What does the event loop count while it answers, for whoever watches the process?

Plain numbers of one thread, so that a check pays next to nothing for them; `ops/metrics.py` gives
them names when someone asks. No key is ever a text that a caller sent.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from api.problem_codes import TITLES
from api.request_errors import (
    AuthenticationError,
    ForeignAddressError,
    MisshapenTokenError,
    UnavailableError,
    UnknownTokenError,
    WrongPasswordError,
)
from domain.errors import CredentialError, DomainError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.call import Call
    from api.journal import Decided

# Upper bounds in seconds.
CHECK_BOUNDS: Final = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5),
)
REQUEST_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

EVALUATION: Final = "evaluation"
EVALUATIONS: Final = "evaluations"
SEARCH: Final = "search"
ENDPOINTS: Final = (EVALUATION, EVALUATIONS, SEARCH)

_TOKEN_FAULTS: Final = {
    "token.expired": "expired",
    "token.revoked": "revoked",
    "token.disabled": "disabled",
    "token.address": "address",
    "principal.disabled": "owner_disabled",
}
_OF_CREDENTIALS: Final = (AuthenticationError, CredentialError, ForeignAddressError)
TOKEN_FAULTS: Final = ("malformed", "unknown", *_TOKEN_FAULTS.values())

SIGN_INS: Final = ("success", "failure", "locked", "busy")

# What was asked too often, or by too many at once, by the code of its refusal.
_THROTTLES: Final = {
    "export.too_many": "export",
    "journal.full": "journal",
    "sign_in.busy": "sign_in",
    "tail.too_many": "tail",
    "writer.busy": "write",
}
CONNECTION: Final = "connection"
THROTTLES: Final = (*_THROTTLES.values(), CONNECTION)


class Histogram:
    """How many values fell up to each bound and not up to the one before, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count a value; a bound itself still belongs to what is up to it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Measures:
    """What the event loop of one process has counted since it began.

    `decisions` are the denied and the allowed; `requests` are counted by method, template of the
    route and status, and their seconds by method and template.
    """

    def __init__(self) -> None:
        self.checks = {endpoint: Histogram(CHECK_BOUNDS) for endpoint in ENDPOINTS}
        self.decisions = [0, 0]
        self.commands_refused: dict[str, int] = {}
        self.token_faults = dict.fromkeys(TOKEN_FAULTS, 0)
        self.sign_ins = dict.fromkeys(SIGN_INS, 0)
        self.throttled = dict.fromkeys(THROTTLES, 0)
        self.requests: dict[tuple[str, str, int], int] = {}
        self.request_seconds: dict[tuple[str, str], Histogram] = {}

    def decided(self, decided: Sequence[Decided]) -> None:
        """Count the decisions of a batch one by one."""
        allowed = sum(one for _, _, one in decided)
        self.decisions[True] += allowed
        self.decisions[False] += len(decided) - allowed

    def refused(self, error: Exception, call: Call | None) -> None:
        """Count a refusal; `call` is there once it is known who asks."""
        code = getattr(error, "code", "")
        if isinstance(error, WrongPasswordError):
            self.sign_ins["locked" if error.locked else "failure"] += 1
        elif code == "sign_in.busy":
            self.sign_ins["busy"] += 1
        if code in _THROTTLES:
            self.throttled[_THROTTLES[code]] += 1
        fault = _token_fault(error, code, call)
        if fault is not None:
            self.token_faults[fault] += 1
        is_command = call is not None and not call.reads
        if is_command and isinstance(error, DomainError | UnavailableError) and code in TITLES:
            self.commands_refused[code] = self.commands_refused.get(code, 0) + 1

    def requested(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that a route answered; `route` is its template."""
        counted, timed = (method, route, status), (method, route)
        self.requests[counted] = self.requests.get(counted, 0) + 1
        if timed not in self.request_seconds:
            self.request_seconds[timed] = Histogram(REQUEST_BOUNDS)
        self.request_seconds[timed].add(seconds)


def _token_fault(error: Exception, code: str, call: Call | None) -> str | None:
    """Answer what is wrong with the token by which was asked, None where that is not it."""
    if isinstance(error, MisshapenTokenError):
        return "malformed"
    if isinstance(error, UnknownTokenError):
        return "unknown"
    if not isinstance(error, _OF_CREDENTIALS):
        return None
    told: str = getattr(error, "token", "")
    by_token = told or (call is not None and call.caller.token is not None)
    return _TOKEN_FAULTS.get(code) if by_token else None
