"""What does the OpenAPI document tell of our own routes of the audit trail, beyond their types?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from api.access.walks import WORD_CHARACTERS_MAX
from api.trail.questions import FILTERS, ORDERS, OUTCOMES
from api.trail.tail import SECONDS_MAX

Schema = dict[str, Any]

_WORD: Final = {"type": "string", "minLength": 1, "maxLength": WORD_CHARACTERS_MAX}
_POSITION: Final = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}
_INSTANT: Final = {"type": "string", "format": "date-time"}
_ADDRESS: Final = {"anyOf": [{"type": "string", "format": kind} for kind in ("ipv4", "ipv6")]}

_LISTED: Final = (*FILTERS, "after", "before", "order", "access")
_JOURNAL: Final = (*FILTERS, "after", "before", "order", "limit")
_TAILED: Final = (*FILTERS, "after", "seconds")
QUERY: Final[Mapping[str, tuple[str, ...]]] = {
    "listEvents": _LISTED,
    "listAllEvents": ("tenant", *_LISTED),
    "getEvent": ("access",),
    "getAnyEvent": ("access",),
    "listJournal": _JOURNAL,
    "listWholeJournal": ("tenant", *_JOURNAL),
    "tailEvents": _TAILED,
    "tailAllEvents": ("tenant", *_TAILED),
}
# The header by which a browser goes on, of the routes whose handlers say `tails`.
HEADERS: Final = ("Last-Event-ID",)

PARAMETERS: Final[Mapping[str, tuple[str, Schema]]] = {
    "actor": ("Only by this user or service account", _WORD),
    "token": ("Only with this API token", _WORD),
    "target": ("Only what concerns the object of this id", _WORD),
    "address": ("Only from this IP address", _ADDRESS),
    "correlation": ("Only of this request", _WORD),
    "command": ("Only of this command", _WORD),
    "outcome": ("Only with this outcome; what is in the log was allowed", {"enum": [*OUTCOMES]}),
    "since": ("Not before this instant", _INSTANT),
    "until": ("Not after this instant", _INSTANT),
    "after": ("Only behind this position; without `order` a feed, oldest first", _POSITION),
    "before": ("Only before this position", _POSITION),
    "order": ("Oldest or newest first", {"type": "string", "enum": [*ORDERS]}),
    "access": ("Tell whose rights each event changed", {"type": "boolean", "default": False}),
    "seconds": (
        "End the stream after so many seconds",
        {"type": "integer", "minimum": 0, "maximum": SECONDS_MAX, "default": SECONDS_MAX},
    ),
    "tenant": ("Only of this tenant", _WORD),
}
