"""Which parameters, headers and refusals do many routes have in common?

The reusable parts of the OpenAPI document; `api/openapi.py` refers to them.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from api import openapi_audit, openapi_trail
from api.access.walks import LIMIT_DEFAULT, LIMIT_MAX, WORD_CHARACTERS_MAX
from api.call import POSITION_HEADER, REPLAYED_HEADER
from api.paging import SIZE_MAX, SORT_KEYS_MAX
from api.problem_codes import TITLES
from api.problems import (
    MEDIA_TYPE,
    Refusal,
    compose,
)
from domain import names

Schema = dict[str, Any]

_TEXT: Final = {"type": "string"}
_POSITION: Final = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}
_FLAG: Final = {"type": "boolean", "default": False}
_INSTANT: Final = {"type": "string", "format": "date-time"}
_MOMENT: Final = {"anyOf": [_POSITION, _INSTANT]}
_WORD: Final = {"type": "string", "minLength": 1, "maxLength": WORD_CHARACTERS_MAX}
_SUBJECT: Final = {"type": "string", "enum": ["user", "service_account", "group"]}


def _query(name: str, description: str, schema: Schema, **more: object) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema, **more}


def _header(name: str, description: str, schema: Schema, **more: object) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": schema, **more}


_ALL: Final = (
    _query("page", "Which page, from 1", {"type": "integer", "minimum": 1, "default": 1}),
    _query(
        "size",
        "How many a page",
        {"type": "integer", "minimum": 1, "maximum": SIZE_MAX, "default": 10},
    ),
    _query(
        "sort",
        "`field:asc` or `field:desc`; the first is the primary key",
        {"type": "array", "items": _TEXT, "maxItems": SORT_KEYS_MAX},
        example=["id:asc"],
    ),
    _query(
        "filters",
        "`filters[field][OPERATOR]=value`; several stand for all of them",
        {"type": "object", "additionalProperties": True},
        style="deepObject",
        explode=True,
    ),
    _query("at_least", "Wait until this position is applied, else 503", _POSITION),
    _query("log", "Refuse unless positions of this log are meant: its `uuid` of /configs", _TEXT),
    _query("position", "Show the past as of this position", _POSITION),
    _query("at", "Show the past as of this instant", _INSTANT),
    _query("dryRun", "Tell what would be stored and whose rights change, and store nothing", _FLAG),
    _query("ifUnused", "Refuse where something depends on it", _FLAG),
    _query("expandLegacy", "Store verbs of generation 1 in today's words", _FLAG),
    _query("membership", "The new level", {"type": "string", "enum": ["MEMBER", "OWNER"]}),
    _query("previousId", "Compare with right after this event", _TEXT),
    _query(
        "alias",
        "The alias's id, which may hold slashes",
        {"type": "string", "minLength": 1, "maxLength": names.RESOURCE_ID_CHARACTERS_MAX},
        example="spiffe://example.org/ci/bot",
    ),
    _query(
        "type",
        "Of this type: `user`, `service_account`, `group`, that of an alias, or of events, such as "
        "`token.*`, of which several are joined by commas",
        _TEXT,
    ),
    _query("id", "Of the object of this id; a subject also by its name or alias", _TEXT),
    _query("namespace", "In this namespace", _TEXT),
    _query("resourceType", "The type of what is acted on", _WORD, example="FLOW"),
    _query("action", "What is done", _WORD, example="UPDATE"),
    _query("resourceId", "On this one resource; without it on none in particular", _WORD),
    _query("subjectType", "Of this type; without it users and service accounts", _SUBJECT),
    _query(
        "limit",
        "How many a page; the first one's holds for those after it",
        {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
    ),
    _query("cursor", "The page after the one that answered this as `nextCursor`", _TEXT),
    _query("principal", "Only about the principal of this id", _WORD),
    _query("q", "Only what contains this text", _TEXT),
    _query("flowId", "Only of this flow", _TEXT),
    _query("executionId", "Only of this execution", _TEXT),
    _query("userId", "Only of this actor", _TEXT),
    _query("resources", "Only about these resource types, joined by commas", _TEXT),
    _query("details", "Only with these details: `name:value`, joined by commas", _TEXT),
    _query("startDate", "Not before this instant", _INSTANT),
    _query("endDate", "Not after this instant", _INSTANT),
    _query("index", "The leaf's index: the event's position less one", _POSITION),
    _query("from", "The size of the earlier tree, at least 1", _POSITION),
    _query("to", "The size of the later tree; else that of the newest checkpoint", _POSITION),
    _query(
        "limit",
        "How many at most",
        {"type": "integer", "minimum": 1, "maximum": 1_000, "default": 100},
    ),
    _query("cursor", "Where the page before ended", _TEXT),
    *(_query(name, said, rule) for name, (said, rule) in openapi_trail.PARAMETERS.items()),
    _header(
        "If-Match",
        "Only if no event after this position has changed the object; `*`: it exists",
        {"type": "string", "pattern": r'^("[0-9]{1,18}"|\*)$'},
        example='"1042"',
    ),
    _header(
        "Last-Event-ID",
        "Go on behind this position; it stands above `after`",
        {"type": "string", "pattern": "^[0-9]{1,18}$"},
        example="1042",
    ),
    _header("If-None-Match", "Answer 304 where this is still the version", _TEXT),
    _header(
        "Idempotency-Key",
        "The same key with the same request is carried out once",
        {"type": "string", "pattern": r'^"?[\x21\x23-\x7e]{1,255}"?$'},
        example="7c1f4a",
    ),
    _header(
        "X-Muniment-Reason",
        "Why, for the trail",
        {"type": "string", "maxLength": names.REASON_CHARACTERS_MAX},
        example="ticket 4711",
    ),
)
PARAMETERS: Final[dict[str, Schema]] = {
    **{one["name"]: one for one in _ALL},
    "treeSize": _query(
        "size", "The size of the tree; else that of the newest checkpoint", _POSITION
    ),
    "number": _query("number", "A decision by its number in the journal", _POSITION),
    "beginning": _query("from", "From this position or instant", _MOMENT),
    "ending": _query("to", "To this position or instant, by default now", _MOMENT),
    **openapi_audit.PARAMETERS,
}

HEADERS: Final[dict[str, Schema]] = {
    POSITION_HEADER: {"description": "The position that is shown", "schema": _POSITION},
    "ETag": {"description": "The position of the last change, quoted", "schema": _TEXT},
    "Link": {
        "description": "The first, previous, next and last page, as far as there are",
        "schema": _TEXT,
    },
    "Location": {"description": "Where the object is", "schema": _TEXT},
    "Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer", "minimum": 1}},
    REPLAYED_HEADER: {"description": "This had been carried out before", "schema": _TEXT},
    "Set-Cookie": {"description": "The session's cookie, or its end", "schema": _TEXT},
    "X-Accel-Buffering": {"description": "Proxies are to pass on at once", "schema": _TEXT},
    "WWW-Authenticate": {"description": "The challenge of RFC 6750", "schema": _TEXT},
}

SECURITY_SCHEMES: Final[dict[str, Schema]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API token of a service account or user",
    },
    "basic": {"type": "http", "scheme": "basic", "description": "E-mail and password of a user"},
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "JWT",
        "description": (
            "The session of a signed-in user; what a browser changes by it needs X-CSRF-TOKEN, "
            "equal to the csrfToken cookie"
        ),
    },
}

# The name of each refusal's component.
PROBLEMS: Final = {
    400: "Malformed",
    401: "Unauthenticated",
    403: "Forbidden",
    404: "NotFound",
    408: "BodyTooSlow",
    409: "Conflict",
    410: "Gone",
    412: "Stale",
    413: "BodyTooLarge",
    414: "TargetTooLong",
    415: "UnsupportedMediaType",
    422: "Unprocessable",
    428: "VersionRequired",
    429: "TooManyRequests",
    431: "HeadersTooLarge",
    503: "Unavailable",
}
_CODES: Final = {
    400: "query.malformed",
    401: "auth.required",
    403: "permission.denied",
    404: "route.unknown",
    408: "body.too_slow",
    409: "group.name_taken",
    410: "object.unknown",
    412: "etag.mismatch",
    413: "body.too_large",
    414: "target.too_long",
    415: "body.media_type",
    422: "body.invalid",
    428: "etag.required",
    429: "connection.too_many",
    431: "header.too_large",
    503: "not_ready.stale",
}
_HEADERS_OF: Final = {
    401: ("WWW-Authenticate",),
    403: ("WWW-Authenticate",),
    412: ("ETag",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}


def problem_responses() -> dict[str, Schema]:
    """Answer the component of every refusal, with a body that the server itself composed."""
    return {name: _problem(status) for status, name in PROBLEMS.items()}


def _problem(status: int) -> Schema:
    code = _CODES[status]
    _, _, body = compose(
        Refusal(status=status, code=code),
        path="/api/v1/main/groups",
        request_id="4by6NvSLcPXFhCj8nwbZOM",
    )
    headers = {
        name: {"$ref": f"#/components/headers/{name}"} for name in _HEADERS_OF.get(status, ())
    }
    return {
        "description": TITLES[code],
        **({"headers": headers} if headers else {}),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": msgspec.json.decode(body),
            }
        },
    }
