"""Which parameters do the routes take that hand the audit trail over?"""

from __future__ import annotations

from typing import Any, Final

_POSITION: Final = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}
_WORD: Final = {"type": "string", "minLength": 1, "maxLength": 256}
_INSTANT: Final = {"type": "string", "format": "date-time"}
_TYPES: Final = {
    "type": "string",
    "maxLength": 256,
    "pattern": (
        r"^([a-z][a-z0-9_]*(\.[a-z0-9_]+)*(\.\*)?"
        r"(,[a-z][a-z0-9_]*(\.[a-z0-9_]+)*(\.\*)?)*)?$"
    ),
}


def _choice(*choices: str) -> dict[str, Any]:
    return {"type": "string", "enum": [*choices], "default": choices[0]}


_ASKED: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "format": ("How events are written", _choice("ndjson", "csv", "ocsf", "cloudevents")),
    "stream": ("What is exported", _choice("log")),
    "after": ("Only what follows this position", _POSITION),
    "until": ("Up to and with this position, by default the newest", _POSITION),
    "actor": ("Only what this principal did", _WORD),
    "subject": ("Only what concerns the object of this id", _WORD),
    "since": ("Not before this instant", _INSTANT),
    "until_time": ("Not after this instant", _INSTANT),
    "personal": ("Whether people are named; needs USER:VIEW as well", _choice("omit", "include")),
}

PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    **{
        name: {"name": name, "in": "query", "description": said, "schema": schema}
        for name, (said, schema) in _ASKED.items()
    },
    # There is another `type`, of other things.
    "eventType": {
        "name": "type",
        "in": "query",
        "description": "Only events of these types, joined by commas; `token.*` is all of tokens",
        "schema": _TYPES,
        "example": "token.*",
    },
}

_EXPORTED: Final = (*_ASKED, "eventType")
QUERY: Final[dict[str, tuple[str, ...]]] = {
    "exportAudit": _EXPORTED,
    "exportWholeAudit": _EXPORTED,
}
