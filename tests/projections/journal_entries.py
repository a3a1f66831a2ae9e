"""Which entries of the journal do the tests of its export tell, one of every kind at least?"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from domain.ids import MAIN
from projections.journal import Counted, Entry, minute_of
from tests.fixed_inputs import START

INDEX: Final = "c0ffee" * 10
EMAIL: Final = "ada@example.com"
MINUTE: Final = timedelta(minutes=1)

_OF_BOT: Final[dict[str, Any]] = {
    "position": 7,
    "tenant": str(MAIN),
    "principal": "bot",
    "principal_type": "service_account",
    "token": "t1",
    "via": "api",
    "address": "10.0.0.9",
    "agent": "curl/8",
    "request_id": "req-1",
}
_OF_ADA: Final[dict[str, Any]] = {
    "position": 8,
    "principal": "ada",
    "principal_type": "user",
    "address": "10.0.0.8",
}
_OF_NOBODY: Final[dict[str, Any]] = {"position": 9, "address": "10.0.0.7"}
_ACCOUNT: Final = f'{{"account":"{INDEX}"}}'


def _at(minutes: int, **members: Any) -> Entry:  # noqa: ANN401 - the members of an entry
    return Entry(at=START + minutes * MINUTE, **{"outcome": "DENIED", **members})


DECISION: Final = _at(
    0,
    kind="decision",
    code="denied",
    clock=START,
    operation="access.evaluate",
    subject_type="user",
    subject_asked=f"index:{INDEX}",
    subject="grace",
    action="UPDATE",
    resource_type="FLOW",
    resource_id="nightly load",
    namespace="prod",
    detail='{"token":"t2"}',
    **_OF_BOT,
)
ENTRIES: Final = (
    DECISION,
    _at(1, kind="sign_in", outcome="ALLOWED", via="sign_in", **_OF_ADA),
    _at(1, kind="sign_in_failure", code="auth.invalid", detail=_ACCOUNT, **_OF_ADA),
    _at(2, kind="sign_in_failure", code="auth.invalid", detail=_ACCOUNT, **_OF_NOBODY),
    _at(2, kind="account_locked", code="account.locked", detail=_ACCOUNT, **_OF_ADA),
    _at(3, kind="sign_out", outcome="ALLOWED", **_OF_ADA),
    _at(3, kind="token_failure", code="token.expired", **_OF_BOT),
    _at(3, kind="token_failure", code="csrf", **_OF_NOBODY),
    _at(4, kind="token_leak", code="token.misplaced", **{**_OF_NOBODY, "token": "t1"}),
    _at(
        4,
        kind="refusal",
        code="role.escalation",
        operation="createRole",
        action="CREATE",
        resource_type="ROLE",
        **_OF_BOT,
    ),
    _at(
        5,
        kind="refusal",
        code="user.unknown",
        operation="deleteUser",
        action="DELETE",
        resource_type="USER",
        resource_id=EMAIL,
        **_OF_ADA,
    ),
    _at(
        5,
        kind="refusal",
        code="permission.denied",
        operation="access.evaluate",
        action="CHECK",
        resource_id=EMAIL,
        **{**_OF_BOT, "tenant": "beta"},
    ),
    _at(
        6,
        kind="search",
        outcome="ALLOWED",
        operation="access.search",
        subject="bot",
        action="VIEW",
        detail='{"total":3}',
        **_OF_BOT,
    ),
    _at(
        6,
        kind="audit_read",
        outcome="ALLOWED",
        operation="listEvents",
        resource_type="AUDITLOG",
        detail='{"results":2,"parameters":["q"]}',
        **_OF_BOT,
    ),
    _at(
        7,
        kind="audit_export",
        outcome="ALLOWED",
        operation="exportAudit",
        resource_type="AUDITLOG",
        **{**_OF_BOT, "tenant": "beta", "address": None, "request_id": None},
    ),
)

_MINUTE: Final = minute_of(START)
_NOTHING: Final = ("",) * 8
COUNTS: Final = (
    Counted(_MINUTE, "decision", "ALLOWED", "", "main", "bot", "t1", "grace", "FLOW", "VIEW", ""),
    Counted(_MINUTE + 2, "token_failure", "DENIED", "auth.invalid", *_NOTHING[:6], "192.0.2.0/24"),
    Counted(_MINUTE + 3, "refusal", "DENIED", *_NOTHING),
    Counted(_MINUTE + 3, "decision", "DENIED", "", "beta", "gone", *_NOTHING[:5]),
    Counted(_MINUTE + 4, "decision", "DENIED", "", "main", "ada", *_NOTHING[:5]),
)
