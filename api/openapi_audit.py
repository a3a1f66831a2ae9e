"""Which parameters do the routes take that hand the audit trail over?"""

from __future__ import annotations

from typing import Any, Final

from api.export_questions import FORMATS, PERSONAL, STREAMS
from api.trail.questions import FILTERS, TOPICS_MAX

_POSITION: Final = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}
_WORD: Final = {"type": "string", "minLength": 1, "maxLength": 256}
_INSTANT: Final = {"type": "string", "format": "date-time"}
_TYPE: Final = r"[a-z_]+(\.[a-z0-9_]+)*(\.\*)?"
_TYPES: Final = {
    "type": "string",
    "maxLength": 256,
    "pattern": rf"^{_TYPE}(,{_TYPE}){{0,{TOPICS_MAX - 1}}}$",
}


def _choice(*choices: str) -> dict[str, Any]:
    return {"type": "string", "enum": [*choices], "default": choices[0]}


# By the name of the component: some parameters are called as others are that mean another thing.
_OWN: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {
    "format": ("format", "How events are written", _choice(*FORMATS)),
    "stream": (
        "stream",
        "The events of the log, or what the journal holds: sign-ins, decisions, refusals, readings",
        _choice(*STREAMS),
    ),
    "exportAfter": ("after", "Only what follows this position of the stream", _POSITION),
    "exportUntil": (
        "until",
        "Up to and with this position, by default the newest; or not after this instant",
        {"anyOf": [_POSITION, _INSTANT]},
    ),
    "subject": ("subject", "The same as `target`", _WORD),
    "until_time": ("until_time", "Not after this instant", _INSTANT),
    "personal": (
        "personal",
        "Whether people are named; needs USER:VIEW as well",
        _choice(*PERSONAL),
    ),
}

PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    **{
        key: {"name": name, "in": "query", "description": said, "schema": schema}
        for key, (name, said, schema) in _OWN.items()
    },
    "eventType": {
        "name": "type",
        "in": "query",
        "description": (
            "Only events of these types, joined by commas; `token.*` is all of tokens, and "
            "`journal.sign_in` a kind of the journal"
        ),
        "schema": _TYPES,
        "example": "token.*",
    },
}

# The filters of the search, but for those that are written out here.
_EXPORTED: Final = (
    *_OWN,
    "eventType",
    "before",
    *(name for name in FILTERS if name not in {"type", "until"}),
)
QUERY: Final[dict[str, tuple[str, ...]]] = {
    "exportAudit": _EXPORTED,
    "exportWholeAudit": ("tenant", *_EXPORTED),
}
