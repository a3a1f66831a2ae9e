"""Which record of OCSF 1.8.0 does an entry of the journal come to? (audit-export 4).

One row for every kind. What the schema has no place for, but a reader needs, stands in `unmapped`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from projections.export_ocsf import (
    ACCOUNT_CHANGE,
    INFORMATIONAL,
    PRODUCT,
    SERVICE,
    SUCCESS,
    UNKNOWN,
    USER,
    Members,
    Place,
    frame,
    milliseconds,
    user_of,
)
from projections.journal import MINUTE
from projections.journal_parts import actor_type
from projections.journal_trail import TRIED, Act

if TYPE_CHECKING:
    from projections.exporting import Telling
    from projections.journal import Entry, Kind
    from projections.journal_parts import Noted

AUTHENTICATION: Final = 3002
API_ACTIVITY: Final = 6003

_READ: Final = 2
_ACTIVITIES: Final[dict[Act, int]] = {"CREATE": 1, "READ": _READ, "UPDATE": 3, "DELETE": 4}
_LOG_ON, _LOG_OFF, _LOCK = 1, 2, 9
_OTHER: Final = 99
_FAILURE: Final = 2
_LOW, _MEDIUM = 2, 3
_OK: Final = 200


class Row(NamedTuple):
    """The class and the activity of a kind."""

    class_uid: int
    activity_id: int


_CALL: Final = Row(API_ACTIVITY, _READ)
_LOGGING_ON: Final = Row(AUTHENTICATION, _LOG_ON)

TABLE: Final[dict[Kind, Row]] = {
    "decision": _CALL,
    "search": _CALL,
    "sign_in": _LOGGING_ON,
    "sign_in_failure": _LOGGING_ON,
    "sign_out": Row(AUTHENTICATION, _LOG_OFF),
    "account_locked": Row(ACCOUNT_CHANGE, _LOCK),
    "token_failure": _LOGGING_ON,
    "token_leak": _LOGGING_ON,
    "refusal": _CALL,
    "audit_read": _CALL,
    "audit_export": _CALL,
}

_PROTOCOLS: Final[dict[Kind, str]] = {
    "sign_in": "password",
    "sign_in_failure": "password",
    "token_failure": "api_token",
    "token_leak": "api_token",
}
# A failure of a session, which no protocol of ours has.
_FORGED: Final = "csrf"
_ESCALATION: Final = ".escalation"


def ocsf(noted: Noted, telling: Telling) -> Members:
    """Answer the record of an entry; of a count one record, with the minute that it is of."""
    entry, count = noted.entry, noted.counted
    class_uid, activity_id = TABLE[entry.kind]
    if entry.kind == "refusal":
        activity_id = _ACTIVITIES[TRIED.get(entry.action or "", "UPDATE")]
    place = Place(noted.sequence, entry.at, entry.tenant, entry.request_id)
    denied = entry.outcome == "DENIED"
    members: Members = {
        **frame(class_uid, activity_id, place, telling, journal=True),
        "severity_id": _severity(entry),
        "status_id": _FAILURE if denied else SUCCESS,
        **_OBJECTS[class_uid](entry, telling),
    }
    if denied and entry.code is not None:
        members["status_detail"] = entry.code
    if entry.address is not None:
        members["src_endpoint"] = {"ip": entry.address}
    if count is not None:
        members["count"] = count.number
        members["start_time"] = members["time"]
        members["end_time"] = milliseconds(entry.at + MINUTE)
    unmapped = _unmapped(noted)
    return {**members, "unmapped": unmapped} if unmapped else members


def _severity(entry: Entry) -> int:
    if entry.kind == "account_locked" or (entry.code or "").endswith(_ESCALATION):
        return _MEDIUM
    return _LOW if entry.outcome == "DENIED" else INFORMATIONAL


# Objects


def _user(entry: Entry, telling: Telling) -> Members:
    """Answer whose credential it was; nobody's, where an e-mail or a token is not known."""
    if entry.principal is None:
        return {"uid": "unknown", "type_id": UNKNOWN}
    user = user_of(entry.principal, telling)
    if user["type_id"] == UNKNOWN:
        type_id = {"user": USER, "service_account": SERVICE}.get(
            actor_type(entry, telling.state) or ""
        )
        user["type_id"] = UNKNOWN if type_id is None else type_id
    return user


def _account(entry: Entry, telling: Telling) -> Members:
    return {"user": _user(entry, telling)}


def _authentication(entry: Entry, telling: Telling) -> Members:
    members = {"user": _user(entry, telling), "service": {"name": PRODUCT}}
    protocol = None if entry.code == _FORGED else _PROTOCOLS.get(entry.kind)
    if protocol is None:
        return members
    return {**members, "auth_protocol_id": _OTHER, "auth_protocol": protocol}


def _activity(entry: Entry, telling: Telling) -> Members:
    api: Members = {"operation": entry.operation or entry.kind}
    if entry.request_id is not None:
        api["request"] = {"uid": entry.request_id}
    if entry.kind != "refusal":
        # A check that is denied is answered like any other.
        api["response"] = {"code": _OK}
    members: Members = {
        "actor": {"user": _user(entry, telling)},
        # The class wants one; of a count it is not known.
        "src_endpoint": {"name": "unknown"},
        "api": api,
    }
    if entry.resource_id is None:
        return members
    return {**members, "resources": [_resource(entry.resource_id, entry.resource_type)]}


def _resource(id_: str, type_: str | None) -> Members:
    return {"uid": id_} if type_ is None else {"uid": id_, "type": type_}


_OBJECTS: Final = {
    ACCOUNT_CHANGE: _account,
    AUTHENTICATION: _authentication,
    API_ACTIVITY: _activity,
}


_UNMAPPED: Final = (
    *("action", "resource_type", "namespace", "subject_type", "subject", "subject_asked"),
    *("token", "agent"),
)


def _unmapped(noted: Noted) -> dict[str, Any]:
    entry, count = noted.entry, noted.counted
    found: dict[str, Any] = {
        name: value for name in _UNMAPPED if (value := getattr(entry, name)) is not None
    }
    if entry.detail is not None:
        found["detail"] = msgspec.json.decode(entry.detail)
    if count is not None and count.network:
        found["network"] = count.network
    return found
