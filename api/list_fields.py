"""Which fields can each list of the contract be filtered by?

The table of kestra-iam 2.3; names are in camel case, other spellings are read as these.
"""

from __future__ import annotations

from typing import Final

from api.paging import Kind, Rule, Rules

_TEXT: Final = Rule(Kind.TEXT)
_FLAG: Final = Rule(Kind.FLAG)
_INSTANT: Final = Rule(Kind.INSTANT)

EVERY: Final[Rules] = {
    "q": Rule(Kind.ANYWHERE),
    "id": _TEXT,
    "created": _INSTANT,
    "updated": _INSTANT,
}
SERVICE_ACCOUNTS: Final[Rules] = {
    **EVERY,
    "name": _TEXT,
    "description": _TEXT,
    "enabled": _FLAG,
    "instanceOwner": _FLAG,
    "groupList": _TEXT,
}
USERS: Final[Rules] = {
    **EVERY,
    "name": _TEXT,
    "username": _TEXT,
    "email": _TEXT,
    "enabled": _FLAG,
    "locked": _FLAG,
    "instanceOwner": _FLAG,
    "groupList": _TEXT,
    "type": _TEXT,
    "existingOnly": _FLAG,
}
GROUPS: Final[Rules] = {**EVERY, "name": _TEXT, "description": _TEXT}
TENANTS: Final[Rules] = {**EVERY, "name": _TEXT}
ROLES: Final[Rules] = {**GROUPS, "isDefault": _FLAG, "isManaged": _FLAG}
MEMBERS: Final[Rules] = {**EVERY, "username": _TEXT, "name": _TEXT, "type": _TEXT}
BINDINGS: Final[Rules] = {
    **EVERY,
    "type": _TEXT,
    "externalId": _TEXT,
    "roleId": _TEXT,
    "namespace": Rule(Kind.NAMESPACE),
    "resourceType": _TEXT,
    "resourceId": _TEXT,
    "state": _TEXT,
    "expiredAt": _INSTANT,
}
INVITATIONS: Final[Rules] = {**EVERY, "email": _TEXT, "status": _TEXT, "expiredAt": _INSTANT}
EVENTS: Final[Rules] = {
    **EVERY,
    "type": _TEXT,
    "action": _TEXT,
    "resources": _TEXT,
    "userId": _TEXT,
    "details": Rule(Kind.MAP),
    "namespace": Rule(Kind.NAMESPACE, "details", "namespace"),
    "flowId": Rule(Kind.TEXT, "details", "flowId"),
    "executionId": Rule(Kind.TEXT, "details", "executionId"),
    "startDate": Rule(Kind.INSTANT, "date"),
    "endDate": Rule(Kind.INSTANT, "date"),
    "timeRange": Rule(Kind.AGO, "date"),
    "event": _TEXT,
    "tokenId": _TEXT,
    "ipAddress": _TEXT,
    "position": Rule(Kind.NUMBER),
    "outcome": _TEXT,
}
